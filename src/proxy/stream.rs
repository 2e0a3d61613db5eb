//! A byte stream of either side, plain or TLS, and how hyper reads it.
//!
//! Below `client_io` and `upstream::io`, which add what each side needs to know of its stream.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use hyper::rt::ReadBufCursor;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

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

/// Reads into hyper's buffer and says how much; does not ask a stream twice in a turn that was found empty. `dry` is the
/// turn in which that was; 0 = none.
pub(super) fn read_once_a_turn(
    stream: &mut Stream,
    turns: &Turns,
    dry: &mut u32,
    cx: &mut Context<'_>,
    buf: ReadBufCursor<'_>,
) -> Poll<io::Result<usize>> {
    let turn = turns.present();
    if turn != 0 && turn == *dry {
        return Poll::Pending;
    }
    let read = read_into(Pin::new(stream), cx, buf);
    if read.is_pending() {
        *dry = turn;
    }
    read
}

/// Reads into hyper's buffer and says how much.
fn read_into(
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
