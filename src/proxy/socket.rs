//! Sockets of callers and upstreams, TCP or Unix, and where their other end is.
//!
//! `accept` takes them raw from a [`Listening`] socket; the worker that gets one makes a [`Socket`] of its own runtime of it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// A socket that is listened on. Unknown to any runtime.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// A socket that was accepted. Unknown to any runtime yet.
#[derive(Debug)]
pub enum RawSocket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// Unix.
    Unix(std::os::unix::net::UnixStream),
}

/// Where the other end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// An address.
    Address(SocketAddr),
    /// A process of this machine, over a Unix socket.
    Local,
}

impl Remote {
    /// Its address, if it has one; IPv4 addresses mapped into IPv6 as IPv4.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip().to_canonical()),
            Self::Local => None,
        }
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.ip().is_none_or(|ip| ip.is_loopback())
    }
}

impl Listening {
    /// The next connection, without waiting.
    ///
    /// # Errors
    /// Those of accept(2).
    pub fn accept(&self) -> io::Result<(RawSocket, Remote)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, address) = listener.accept()?;
                Ok((RawSocket::Tcp(socket), Remote::Address(address)))
            }
            Self::Unix(listener) => Ok((RawSocket::Unix(listener.accept()?.0), Remote::Local)),
        }
    }

    /// Makes [`Listening::accept`] return at once.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    /// The address, where it is one of TCP.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl From<RawSocket> for OwnedFd {
    fn from(socket: RawSocket) -> Self {
        match socket {
            RawSocket::Tcp(socket) => socket.into(),
            RawSocket::Unix(socket) => socket.into(),
        }
    }
}

impl RawSocket {
    /// Ready for a runtime, small writes sent at once.
    ///
    /// # Errors
    /// Those of the socket, which is gone then.
    pub fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true)),
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }
}

/// A connected socket of a worker's runtime.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Socket {
    /// Ready once there is something to read, or the end. Only for a socket that was read until it had nothing.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    /// Tries a call that takes something out of the socket until it does.
    ///
    /// # Errors
    /// Those of the call, but that there is nothing.
    pub fn poll_read_with(
        &self,
        cx: &mut Context<'_>,
        call: impl Fn(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            match self.try_io(Interest::READABLE, &call) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Tries a call that puts something into the socket until it does.
    ///
    /// # Errors
    /// Those of the call, but that there is no room.
    pub fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        call: impl Fn(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let room = match self {
                Self::Tcp(socket) => socket.poll_write_ready(cx),
                Self::Unix(socket) => socket.poll_write_ready(cx),
            };
            ready!(room)?;
            match self.try_io(Interest::WRITABLE, &call) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn try_io(&self, interest: Interest, call: impl Fn(BorrowedFd<'_>) -> io::Result<usize>) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_io(interest, || call(socket.as_fd())),
            Self::Unix(socket) => socket.try_io(interest, || call(socket.as_fd())),
        }
    }

    /// Whether there is something to read, as the kernel has it now. The end is nothing to read.
    #[must_use]
    pub fn has_bytes(&self) -> bool {
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        rustix::net::recv(self.as_fd(), &mut [0_u8; 1], flags).is_ok_and(|(read, _)| read > 0)
    }
}

impl TryFrom<RawSocket> for Socket {
    type Error = io::Error;

    fn try_from(raw: RawSocket) -> io::Result<Self> {
        match raw {
            RawSocket::Tcp(socket) => TcpStream::from_std(socket).map(Self::Tcp),
            RawSocket::Unix(socket) => UnixStream::from_std(socket).map(Self::Unix),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has what was written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
