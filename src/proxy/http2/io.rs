//! A caller's byte stream as hyper wants it for HTTP/2, watched for deadlines, and closed so that its last answers can be read.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use crate::proxy::{
    io_watch::{IoWatch, Phase},
    stream::{Stream, read_into},
};

/// A caller's stream, handed to hyper.
#[derive(Debug)]
pub struct ClientIo {
    stream: Stream,
    watch: Rc<IoWatch>,
    /// Bytes read before hyper came, given to it first.
    ahead: Bytes,
    /// Our FIN was sent.
    finished: bool,
    frames: Frames,
}

impl ClientIo {
    /// Wraps a stream; `ahead` are bytes already read from it.
    #[must_use]
    pub fn new(stream: Stream, watch: Rc<IoWatch>, ahead: Bytes) -> Self {
        Self { stream, watch, ahead, finished: false, frames: Frames::default() }
    }
}

impl Read for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = if this.ahead.is_empty() {
            ready!(read_into(Pin::new(&mut this.stream), cx, buf, |read| this.frames.feed(read)))?
        } else {
            let piece = this.ahead.split_to(this.ahead.len().min(buf.remaining()));
            this.frames.feed(&piece);
            buf.put_slice(&piece);
            piece.len()
        };
        if this.frames.violates() {
            // Closed without a GOAWAY, which is as good (RFC 9113 section 5.4.1).
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        this.watch.note_read(read);
        this.watch.note_head(this.frames.in_head());
        if this.frames.spoke() && this.watch.phase().0 == Phase::Head {
            this.watch.enter(Phase::Idle);
        }
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

    /// Our FIN, then whatever the caller still sends is read and thrown away until its FIN, so that the close does not reset the
    /// connection under its last answers.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.finished {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.finished = true;
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
