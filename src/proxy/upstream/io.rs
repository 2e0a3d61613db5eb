//! An upstream's byte stream as hyper wants it, with two additions.
//!
//! It counts what was read, so that "no byte of answer" is a fact and not a guess. And a write error is not reported at once:
//! an upstream that answers early and resets has its answer lying in our receive buffer, and hyper would give up before
//! reading it. So after a write error what is written goes nowhere, the connection is marked for no reuse, and the read side
//! decides: the answer wins over the write error, and where there is none the read fails by itself.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::proxy::stream::{Turns, read_into};

/// What is known of an upstream connection from the outside. Relaxed throughout: stream and reader live on one worker.
#[derive(Debug, Default)]
pub struct UpstreamWatch {
    /// Turns of the connection's task.
    pub turns: Turns,
    read: AtomicU64,
    write_failed: AtomicBool,
}

impl UpstreamWatch {
    /// Bytes read since the connection was made.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// A write failed: this connection takes no further request.
    #[must_use]
    pub fn write_failed(&self) -> bool {
        self.write_failed.load(Relaxed)
    }
}

/// Plain or TLS.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
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

/// An upstream's stream, handed to hyper.
#[derive(Debug)]
pub struct UpstreamIo {
    stream: Stream,
    watch: Arc<UpstreamWatch>,
    /// The turn in which there was nothing to read; 0 = none.
    dry: u32,
}

impl UpstreamIo {
    /// Wraps a connected stream.
    #[must_use]
    pub const fn new(stream: Stream, watch: Arc<UpstreamWatch>) -> Self {
        Self { stream, watch, dry: 0 }
    }

    /// The answer of a write, with errors kept back.
    fn settle<T>(&self, result: Poll<io::Result<T>>, as_if: T) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(_)) => {
                self.watch.write_failed.store(true, Relaxed);
                Poll::Ready(Ok(as_if))
            }
            other => other,
        }
    }
}

impl Read for UpstreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let turn = this.watch.turns.present();
        if turn != 0 && turn == this.dry {
            return Poll::Pending;
        }
        let Poll::Ready(read) = read_into(Pin::new(&mut this.stream), cx, buf) else {
            this.dry = turn;
            return Poll::Pending;
        };
        this.watch.read.store(this.watch.read.load(Relaxed) + read? as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl Write for UpstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.watch.write_failed() {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = this.stream.poll_write(cx, buf);
        this.settle(result, buf.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if this.watch.write_failed() {
            return Poll::Ready(Ok(all));
        }
        let result = this.stream.poll_write_vectored(cx, bufs);
        this.settle(result, all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.write_failed() {
            return Poll::Ready(Ok(()));
        }
        let result = this.stream.poll_flush(cx);
        this.settle(result, ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_shutdown(cx)
    }
}
