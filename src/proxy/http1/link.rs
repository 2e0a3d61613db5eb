//! A connection's stream with what was read ahead of it, and the body that is being read from it.
//!
//! Shared by a connection's task and its bodies, all on one worker. Reads go through one scratch buffer per worker, so that a
//! connection with nothing to say holds none; what a read brings too early waits in `ahead`. Large bodies are read straight into
//! the frame that carries them on.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    chunked::{Decoder, Step},
    lines,
    pipe::Pipe,
};
use crate::proxy::{io_watch::IoWatch, stream::Stream};

/// The largest frame of a body, bytes.
const READ: usize = 64 << 10;
/// One read where a head is awaited, or little of a body: what it brings of a large body is copied, and the rest is not.
const READ_SMALL: usize = 16 << 10;
/// From here a body's bytes are read into a frame of their own.
const LARGE: u64 = 8 << 10;
/// From here what is left of a body goes through a pipe where it can: less costs as much to copy (benches/README.md).
const PIPED: u64 = 32 << 10;
/// Memory for bytes read ahead that is kept for the next ones.
const KEPT: usize = 8 << 10;
/// Trailers of a body.
const MAX_TRAILERS: usize = 64;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SMALL].into());
}

/// One HTTP/1.1 connection's stream.
#[derive(Debug)]
pub struct Link {
    stream: RefCell<Stream>,
    ahead: RefCell<Ahead>,
    decoder: RefCell<Decoder>,
    /// Memory for the next frame of a large body.
    frame: RefCell<BytesMut>,
    /// Of a caller's connection: what the sweep judges it by.
    watch: Option<Rc<IoWatch>>,
    /// A caller waits for a 100 before it sends its body: so much of that is still to be written.
    to_continue: Cell<usize>,
    /// Bytes read in all.
    read: Cell<u64>,
    eof: Cell<bool>,
    write_failed: Cell<bool>,
    /// A request is still being sent while its answer is read.
    uploading: Cell<bool>,
}

/// Bytes that were read and not yet taken.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    taken: usize,
}

impl Ahead {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    fn take(&mut self, length: usize) {
        self.taken = self.taken.saturating_add(length);
        if self.taken >= self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
            self.taken = 0;
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }
}

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BadBody {
    /// The stream failed or ended.
    #[error("the body broke off: {0}")]
    Io(io::Error),
    /// Not framed as it says.
    #[error("the body is not framed as HTTP demands")]
    Framing,
}

impl Link {
    /// Wraps a stream. `ahead` was already read of it; `watch` is for callers.
    #[must_use]
    pub fn new(stream: Stream, ahead: &[u8], watch: Option<Rc<IoWatch>>) -> Rc<Self> {
        let link = Self {
            stream: RefCell::new(stream),
            ahead: RefCell::new(Ahead { bytes: ahead.to_vec(), taken: 0 }),
            decoder: RefCell::default(),
            frame: RefCell::default(),
            watch,
            to_continue: Cell::new(0),
            read: Cell::new(0),
            eof: Cell::new(false),
            write_failed: Cell::new(false),
            uploading: Cell::new(false),
        };
        if !ahead.is_empty() {
            link.note_read(ahead.len());
        }
        Rc::new(link)
    }

    /// Looks at what was read and not yet taken.
    pub fn with_ahead<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(self.ahead.borrow().rest())
    }

    /// Takes some of it.
    pub fn take_ahead(&self, length: usize) {
        self.ahead.borrow_mut().take(length);
    }

    /// Whether something was read that nobody took yet.
    pub fn has_ahead(&self) -> bool {
        !self.ahead.borrow().rest().is_empty()
    }

    /// Bytes read since the connection was made.
    pub const fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Whether the peer has closed its side.
    pub const fn saw_eof(&self) -> bool {
        self.eof.get()
    }

    /// A write failed: what is written goes nowhere, and the connection is good for reading what is there at most.
    pub const fn write_failed(&self) -> bool {
        self.write_failed.get()
    }

    /// Notes that a write failed.
    pub fn fail_writes(&self) {
        self.write_failed.set(true);
    }

    /// Whether a request is still being sent while its answer is read.
    pub const fn is_uploading(&self) -> bool {
        self.uploading.get()
    }

    /// Sets that.
    pub fn set_uploading(&self, uploading: bool) {
        self.uploading.set(uploading);
    }

    /// The stream itself, for what comes before and after HTTP. Not to be held across an await.
    pub const fn stream(&self) -> &RefCell<Stream> {
        &self.stream
    }

    /// Ends the connection at once, whoever still holds it.
    pub fn sever(&self) {
        let stream = self.stream.borrow();
        if let Err(error) = socket2::SockRef::from(stream.socket()).shutdown(std::net::Shutdown::Both) {
            tracing::debug!(%error, "a connection was closed already");
        }
    }

    /// Gives memory back that only a busy connection needs.
    pub fn shrink(&self) {
        let mut ahead = self.ahead.borrow_mut();
        if ahead.rest().is_empty() {
            *ahead = Ahead::default();
        }
        self.frame.take();
    }

    /// Reads what is there, for whoever takes it. 0: the peer has closed its side.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof.get() {
            return Poll::Ready(Ok(0));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buf))?;
            let read = buf.filled();
            self.note_read(read.len());
            self.ahead.borrow_mut().put(read);
            Poll::Ready(Ok(read.len()))
        })
    }

    /// Whether anything happens on a connection that should be silent: its end, or bytes that nobody asked for. Pending = silent.
    pub fn poll_disturbed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buf).map(|_ended_or_read| ())
    }

    /// Writes, of several parts as much as goes.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn poll_write(&self, cx: &mut Context<'_>, parts: [&[u8]; 3]) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let stream = Pin::new(&mut *stream);
        let written = match parts {
            [only, [], []] | [[], only, []] => stream.poll_write(cx, only),
            parts => stream.poll_write_vectored(cx, &parts.map(io::IoSlice::new)),
        };
        if let Some(watch) = &self.watch {
            watch.note_write(written.is_pending());
        }
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            other => other,
        }
    }

    /// Sees to it that what was written is on its way (TLS may hold records back).
    ///
    /// # Errors
    /// Those of the stream.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx);
        if let Some(watch) = &self.watch {
            watch.note_write(flushed.is_pending());
        }
        flushed
    }

    // ---- the body that is being read ----

    /// A body begins. `expects`: the peer waits for a 100 before it sends it.
    pub fn begin_body(&self, decoder: Decoder, expects: bool) {
        self.to_continue.set(if expects && !decoder.is_done() { CONTINUE.len() } else { 0 });
        self.decoder.replace(decoder);
    }

    /// Whether the body was read to its end.
    pub fn is_body_done(&self) -> bool {
        self.decoder.borrow().is_done()
    }

    /// Whether the peer still waits for a 100 before it sends the body.
    pub const fn awaits_continue(&self) -> bool {
        self.to_continue.get() > 0
    }

    /// What is known of how much is to come; None where only its end will tell.
    pub fn body_length(&self) -> Option<u64> {
        match &*self.decoder.borrow() {
            Decoder::Done => Some(0),
            Decoder::Length(left) => Some(*left),
            Decoder::Chunked(_) | Decoder::UntilClose | Decoder::Broken => None,
        }
    }

    /// The next frame of the body.
    pub fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BadBody>>> {
        let frame = ready!(self.poll_some(cx));
        if !matches!(frame, Ok(Some(_))) {
            self.frame.take();
        }
        if frame.is_err() {
            self.decoder.replace(Decoder::Broken);
        }
        Poll::Ready(frame.transpose())
    }

    /// Whether what comes next of the body can go through a pipe: a good deal of known length, none of it read, nothing encrypted.
    pub fn is_piped(&self) -> bool {
        let left = matches!(*self.decoder.borrow(), Decoder::Length(left) if left >= PIPED);
        left && self.is_plain() && !self.has_ahead() && !self.awaits_continue()
    }

    /// Whether it is not encrypted.
    pub fn is_plain(&self) -> bool {
        matches!(*self.stream.borrow(), Stream::Plain(_))
    }

    /// Takes what comes next of the body into an empty pipe, in place of [`Link::poll_frame`]. Only where [`Link::is_piped`].
    pub fn poll_take(&self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<Result<usize, BadBody>> {
        // Nothing is read ahead of a body until its end.
        drop(self.ahead.take());
        let mut decoder = self.decoder.borrow_mut();
        let taken = ready!(pipe.poll_take(self.stream.borrow().socket(), decoder.certain(), cx));
        let taken = taken.and_then(|taken| {
            self.note_read(taken);
            if taken == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(taken) }
        });
        match &taken {
            Ok(taken) => decoder.took(*taken),
            Err(_) => *decoder = Decoder::Broken,
        }
        Poll::Ready(taken.map_err(BadBody::Io))
    }

    /// Writes what is in a pipe, as much as goes. Only to a plain stream.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn poll_give(&self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let given = pipe.poll_give(self.stream.borrow().socket(), cx);
        if let Some(watch) = &self.watch {
            watch.note_write(given.is_pending());
        }
        match given {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            other => other,
        }
    }

    fn poll_some(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, BadBody>> {
        loop {
            let mut decoder = self.decoder.borrow_mut();
            match *decoder {
                Decoder::Done => return Poll::Ready(Ok(None)),
                Decoder::Broken => return Poll::Ready(Err(BadBody::Framing)),
                _ => {}
            }
            if self.has_ahead() {
                let mut ahead = self.ahead.borrow_mut();
                match decoder.step(ahead.rest()).map_err(|_why| BadBody::Framing)? {
                    Step::Data { skip, length } => {
                        let data = ahead.rest().get(skip..skip + length).unwrap_or_default();
                        let data = Bytes::copy_from_slice(data);
                        ahead.take(skip + length);
                        self.skip_framing(&mut decoder, &mut ahead)?;
                        return Poll::Ready(Ok(Some(Frame::data(data))));
                    }
                    Step::More { skip } => ahead.take(skip),
                    Step::End { skip, trailers } => {
                        let section = ahead.rest().get(skip..skip + trailers).unwrap_or_default();
                        let fields = read_trailers(section)?;
                        ahead.take(skip + trailers);
                        return Poll::Ready(Ok((!fields.is_empty()).then(|| Frame::trailers(fields))));
                    }
                }
            }
            ready!(self.poll_continue(cx)).map_err(BadBody::Io)?;
            if decoder.certain() >= LARGE && !self.has_ahead() {
                let frame = ready!(self.poll_large(cx, decoder.certain())).map_err(BadBody::Io)?;
                if !frame.is_empty() {
                    decoder.took(frame.len());
                    return Poll::Ready(Ok(Some(Frame::data(frame))));
                }
            } else if ready!(self.poll_fill(cx)).map_err(BadBody::Io)? > 0 {
                continue;
            }
            if *decoder == Decoder::UntilClose {
                *decoder = Decoder::Done;
                return Poll::Ready(Ok(None));
            }
            return Poll::Ready(Err(BadBody::Io(io::ErrorKind::UnexpectedEof.into())));
        }
    }

    /// Takes the framing behind a frame where it is there, so that the last frame is known to be the last.
    fn skip_framing(&self, decoder: &mut Decoder, ahead: &mut Ahead) -> Result<(), BadBody> {
        if !matches!(decoder, Decoder::Chunked(_)) || decoder.certain() > 0 {
            return Ok(());
        }
        // A trailer section is left for the next call.
        const END: &[u8] = b"\r\n0\r\n\r\n";
        if ahead.rest().starts_with(END) {
            decoder.step(ahead.rest()).map_err(|_why| BadBody::Framing)?;
            ahead.take(END.len());
        }
        Ok(())
    }

    fn poll_large(&self, cx: &mut Context<'_>, most: u64) -> Poll<io::Result<Bytes>> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(READ);
        let mut frame = self.frame.borrow_mut();
        frame.reserve(most);
        let mut stream = self.stream.borrow_mut();
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut *stream), cx, &mut (&mut *frame).limit(most)))?;
        self.note_read(read);
        // A frame that is mostly room would hold more memory than it is worth.
        if read < READ / 4 && read < most {
            let small = Bytes::copy_from_slice(&frame);
            frame.clear();
            return Poll::Ready(Ok(small));
        }
        Poll::Ready(Ok(std::mem::take(&mut *frame).freeze()))
    }

    fn poll_continue(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.to_continue.get() > 0 {
            let rest = CONTINUE.get(CONTINUE.len() - self.to_continue.get()..).unwrap_or_default();
            let written = ready!(self.poll_write(cx, [rest, &[], &[]]))?;
            self.to_continue.set(self.to_continue.get().saturating_sub(written));
        }
        Poll::Ready(Ok(()))
    }

    fn note_read(&self, bytes: usize) {
        self.read.set(self.read.get() + bytes as u64);
        if bytes == 0 {
            self.eof.set(true);
        }
        if let Some(watch) = &self.watch {
            watch.note_read(bytes);
        }
    }
}

fn read_trailers(section: &[u8]) -> Result<HeaderMap, BadBody> {
    let mut fields = HeaderMap::new();
    if section.len() <= 2 {
        return Ok(fields);
    }
    let mut sound = true;
    let end = lines::read(&mut section.to_vec(), 0, MAX_TRAILERS, |name, value, _| {
        match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) => drop(fields.append(name, value)),
            _ => sound = false,
        }
    });
    if !sound || end != Ok(Some(section.len())) {
        return Err(BadBody::Framing);
    }
    Ok(fields)
}
