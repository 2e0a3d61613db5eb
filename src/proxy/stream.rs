//! A byte stream of either side, plain or TLS, and how hyper reads it for HTTP/2 towards upstreams.
//!
//! Below `http1::link` and `http2`, and below `upstream::io`.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::socket::Socket;

/// Plain or TLS.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(Socket),
    /// TLS; boxed since it is 1 KiB and most of it is rustls's.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// The socket below.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Ready once there is something to read, or the end. Only for a stream that was read until it had nothing.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_read_ready(cx)
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

/// Reads into hyper's buffer and says how much; shows what was read to `look`.
pub(super) fn read_into(
    stream: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    mut buf: ReadBufCursor<'_>,
    look: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    #[expect(unsafe_code, reason = "hyper's cursor and tokio's buffer have no safe bridge")]
    // SAFETY: the memory behind the cursor goes to tokio as uninitialised, tokio never un-initialises it, and the cursor is
    // advanced by exactly what tokio reports as filled.
    unsafe {
        let mut filled = ReadBuf::uninit(buf.as_mut());
        ready!(stream.poll_read(cx, &mut filled))?;
        let read = filled.filled().len();
        look(filled.filled());
        buf.advance(read);
        Poll::Ready(Ok(read))
    }
}
