//! A client's byte stream as hyper wants it: plain or TLS, watched for deadlines, and never closed behind our back.
//!
//! hyper ends a connection by shutting its stream down. [`ClientIo`] answers that without doing it, so that the connection task
//! gets a whole stream back and can look once more for bytes, serve them, or linger (`server`). It also notes in [`IoWatch`]
//! when a request head began and since when a write has been blocked; the worker's sweep judges by that.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::clock::Moment;

/// Counts how often a task was polled, so that a stream which had nothing to read is not asked again before the task's next
/// turn: hyper asks up to five times in one, and a single-threaded runtime looks at sockets only between turns. Zero while
/// nobody counts. Atomic (relaxed) only because hyper demands that a stream can be sent.
#[derive(Debug, Default)]
pub struct Turns(AtomicU32);

impl Turns {
    /// The task is polled.
    pub fn begin(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1).max(1), Relaxed);
    }

    /// The present turn.
    #[must_use]
    pub fn present(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// Plain or TLS.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP; boxed since it is 1 KiB and most of it is rustls's.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

/// Where a client connection stands between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// A request head is awaited or has begun: `request_head` holds.
    Head = 0,
    /// Keep-alive with nothing in flight: `idle` holds.
    Idle = 1,
    /// Requests are in flight: their own deadlines hold.
    Busy = 2,
    /// Answered for the last time, waiting for the client to close.
    Lingering = 3,
}

/// What the stream and the sweep tell each other. Both live on one worker; atomics (relaxed throughout) only because hyper
/// demands that a stream can be sent.
#[derive(Debug, Default)]
pub struct IoWatch {
    phase: AtomicU8,
    phase_since: AtomicU64,
    /// Microseconds; 0 = not blocked.
    blocked_since: AtomicU64,
    eof: AtomicBool,
    /// Coarse time of the worker, refreshed by its sweep and its requests.
    now: Arc<AtomicU64>,
    /// Turns of the connection's task.
    pub turns: Turns,
    /// Reads between requests begin a head. Off for HTTP/2, whose connections speak when idle, too.
    heads: AtomicBool,
}

impl IoWatch {
    /// For a connection just accepted, by the worker's coarse clock.
    #[must_use]
    pub fn new(now: Arc<AtomicU64>) -> Arc<Self> {
        let watch = Self { now, heads: AtomicBool::new(true), ..Self::default() };
        watch.enter(Phase::Head);
        Arc::new(watch)
    }

    /// Goes into a phase, now.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.phase_since.store(self.now.load(Relaxed), Relaxed);
    }

    /// The phase, and since when.
    #[must_use]
    pub fn phase(&self) -> (Phase, Moment) {
        let phase = match self.phase.load(Relaxed) {
            0 => Phase::Head,
            1 => Phase::Idle,
            2 => Phase::Busy,
            _ => Phase::Lingering,
        };
        (phase, Moment::from_micros(self.phase_since.load(Relaxed)))
    }

    /// Since when a write has been blocked, if one is.
    #[must_use]
    pub fn blocked_since(&self) -> Option<Moment> {
        Some(self.blocked_since.load(Relaxed)).filter(|since| *since != 0).map(Moment::from_micros)
    }

    /// Whether the client has closed its side.
    #[must_use]
    pub fn saw_eof(&self) -> bool {
        self.eof.load(Relaxed)
    }

    /// For HTTP/2: what is read while idle does not begin a request head.
    pub fn multiplexed(&self) {
        self.heads.store(false, Relaxed);
        self.enter(Phase::Idle);
    }

    fn note_read(&self, bytes: usize) {
        if bytes == 0 {
            self.eof.store(true, Relaxed);
        } else if self.phase.load(Relaxed) == Phase::Idle as u8 && self.heads.load(Relaxed) {
            self.enter(Phase::Head);
        }
    }

    fn note_write(&self, pending: bool) {
        if pending {
            if self.blocked_since.load(Relaxed) == 0 {
                self.blocked_since.store(self.now.load(Relaxed).max(1), Relaxed);
            }
        } else if self.blocked_since.load(Relaxed) != 0 {
            self.blocked_since.store(0, Relaxed);
        }
    }
}

/// A client's stream, handed to hyper and taken back.
#[derive(Debug)]
pub struct ClientIo {
    stream: Stream,
    watch: Arc<IoWatch>,
    /// Bytes read before hyper came, given to it first.
    ahead: Bytes,
    close: Close,
    /// The turn in which there was nothing to read; 0 = none.
    dry: u32,
}

/// What hyper's wish to shut the stream down means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Nothing: the connection task takes the stream back (HTTP/1).
    ByTask,
    /// Our FIN, then whatever the client still sends is read and thrown away until its FIN, so that the close does not reset
    /// the connection under its last answers (HTTP/2, whose streams hyper does not give back).
    Lingering,
    /// Our FIN was sent.
    Sent,
}

impl ClientIo {
    /// Wraps a stream; `ahead` are bytes already read from it.
    #[must_use]
    pub const fn new(stream: Stream, watch: Arc<IoWatch>, ahead: Bytes, close: Close) -> Self {
        Self { stream, watch, ahead, close, dry: 0 }
    }

    /// The stream itself, for what comes after hyper.
    #[must_use]
    pub fn into_stream(self) -> Stream {
        self.stream
    }
}

impl Read for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let take = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(take));
            this.watch.note_read(take);
            return Poll::Ready(Ok(()));
        }
        let turn = this.watch.turns.present();
        if turn != 0 && turn == this.dry {
            return Poll::Pending;
        }
        let Poll::Ready(read) = read_into(Pin::new(&mut this.stream), cx, buf) else {
            this.dry = turn;
            return Poll::Pending;
        };
        this.watch.note_read(read?);
        Poll::Ready(Ok(()))
    }
}

impl Write for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch.note_write(written.is_pending());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch.note_write(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.watch.note_write(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.close == Close::ByTask {
            return self.poll_flush(cx);
        }
        let this = self.as_mut().get_mut();
        if this.close == Close::Lingering {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.close = Close::Sent;
            this.watch.enter(Phase::Lingering);
        }
        let mut scrap = [0_u8; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Reads into hyper's buffer and says how much.
pub(super) fn read_into(
    stream: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    mut buf: ReadBufCursor<'_>,
) -> Poll<io::Result<usize>> {
    #[expect(unsafe_code, reason = "hyper's cursor and tokio's buffer have no safe bridge")]
    // SAFETY: the memory behind the cursor goes to tokio as uninitialised, tokio never un-initialises it, and the cursor is
    // advanced by exactly what tokio reports as filled.
    unsafe {
        let mut filled = ReadBuf::uninit(buf.as_mut());
        ready!(stream.poll_read(cx, &mut filled))?;
        let read = filled.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_while_idle_begins_a_head_and_blocked_writes_are_timed() {
        let now = Arc::new(AtomicU64::new(5));
        let watch = IoWatch::new(Arc::clone(&now));
        assert_eq!(watch.phase(), (Phase::Head, Moment::from_micros(5)));
        watch.enter(Phase::Busy);
        watch.note_read(10);
        assert_eq!(watch.phase().0, Phase::Busy);
        watch.enter(Phase::Idle);
        now.store(9, Relaxed);
        watch.note_read(1);
        assert_eq!(watch.phase(), (Phase::Head, Moment::from_micros(9)));
        watch.note_write(true);
        now.store(12, Relaxed);
        watch.note_write(true);
        assert_eq!(watch.blocked_since(), Some(Moment::from_micros(9)));
        watch.note_write(false);
        assert_eq!(watch.blocked_since(), None);
        watch.multiplexed();
        watch.note_read(1);
        assert_eq!(watch.phase().0, Phase::Idle);
        watch.note_read(0);
        assert!(watch.saw_eof());
    }
}
