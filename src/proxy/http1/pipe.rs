//! A pipe of the kernel's, through which a large body goes from one plain socket to another without a copy into this process.
//!
//! `Link::poll_take` fills one, [`Output`](super::output::Output) empties it. A pipe is held only while there is something in it;
//! empty ones wait with their worker. There are only so many of them: where none is left, bodies are copied.
//!
//! Source: splice(2). What it saves is measured in benches/README.md.

use std::{
    cell::RefCell,
    io,
    os::fd::OwnedFd,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType},
    pipe::{PipeFlags, SpliceFlags},
    process::{Resource, getrlimit},
};

use crate::proxy::socket::Socket;

/// Most that one pipe holds, bytes: what Linux gives it (pipe(7)).
const ROOM: usize = 64 << 10;
/// Empty pipes that a worker keeps.
const KEPT: usize = 8;
/// Most pipes of the process, however many descriptors it may have: beyond 1,024 Linux gives an unprivileged user's pipes one page
/// (`pipe-user-pages-soft`).
const MOST: usize = 512;
/// Of the descriptors that the process may have, the part that pipes may take: an eighth.
pub const DESCRIPTORS: u64 = 8;

/// Pipes there are, in all workers. Touched when one is made or closed, which few bodies do.
static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static EMPTY: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// A pipe, and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    /// None only while it is dropped.
    ends: Option<Ends>,
    held: usize,
}

#[derive(Debug)]
struct Ends {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipe {
    /// An empty pipe, if there is one to be had.
    #[must_use]
    pub fn open() -> Option<Self> {
        let kept = EMPTY.try_with(|empty| empty.borrow_mut().pop()).ok().flatten();
        Some(Self { ends: Some(kept.or_else(Ends::new)?), held: 0 })
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes up to `most` bytes out of a socket; 0 where that has ended. Only for an empty pipe, since a full one would wait for the
    /// socket.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_take(&mut self, socket: &Socket, most: u64, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        let most = usize::try_from(most).unwrap_or(ROOM).min(ROOM);
        let taken = ready!(socket.poll_read_with(cx, |socket| splice(socket, &ends.into, most)))?;
        self.held += taken;
        Poll::Ready(Ok(taken))
    }

    /// Gives a socket what it will take.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_give(&mut self, socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        let given = ready!(socket.poll_write_with(cx, |socket| splice(&ends.out, socket, self.held)))?;
        self.held = self.held.saturating_sub(given);
        Poll::Ready(Ok(given))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        // Bytes of one body must never be found in another's.
        if self.held == 0 {
            // While a thread ends there is nobody to keep it for.
            let _ = EMPTY.try_with(|empty| {
                let mut empty = empty.borrow_mut();
                if empty.len() < KEPT {
                    empty.push(ends);
                }
            });
        }
    }
}

impl Ends {
    fn new() -> Option<Self> {
        if OPEN.fetch_add(1, Ordering::Relaxed) < budget()
            && let Ok((out, into)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        {
            return Some(Self { out, into });
        }
        OPEN.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

fn splice(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::io::retry_on_intr(|| rustix::pipe::splice(&from, None, &to, None, most, flags))?)
}

/// How many pipes the process may have; none where the kernel (a sandbox, say) does not let it splice.
fn budget() -> usize {
    static BUDGET: OnceLock<usize> = OnceLock::new();
    *BUDGET.get_or_init(|| {
        if let Err(error) = rehearse() {
            tracing::debug!(%error, "bodies are copied: this system does not splice");
            return 0;
        }
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        usize::try_from(descriptors / DESCRIPTORS / 2).unwrap_or(MOST).min(MOST)
    })
}

/// Sends one byte the way that bodies go.
fn rehearse() -> io::Result<()> {
    let pair = || rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let ((caller, from), (to, _upstream)) = (pair()?, pair()?);
    let (out, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::write(&caller, b"1")?;
    if splice(&from, &into, 1)? + splice(&out, &to, 1)? == 2 {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Write, os::unix::net::UnixStream};

    use super::*;
    use crate::proxy::socket::RawSocket;

    fn pair() -> (UnixStream, Socket) {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        (near, RawSocket::Unix(far).try_into().unwrap())
    }

    #[tokio::test]
    async fn what_is_left_of_one_body_is_never_part_of_another() {
        let (mut near, far) = pair();
        near.write_all(b"secret").unwrap();
        let mut pipe = Pipe::open().unwrap();
        assert_eq!(poll_fn(|cx| pipe.poll_take(&far, 6, cx)).await.unwrap(), 6);
        drop(pipe);
        near.write_all(b"public").unwrap();
        let mut pipe = Pipe::open().unwrap();
        assert_eq!(poll_fn(|cx| pipe.poll_take(&far, 3, cx)).await.unwrap(), 3);
        let (mut reader, to) = pair();
        assert_eq!(poll_fn(|cx| pipe.poll_give(&to, cx)).await.unwrap(), 3);
        assert!(pipe.is_empty());
        let mut read = [0; 8];
        let length = io::Read::read(&mut reader, &mut read).unwrap();
        assert_eq!(&read[..length], b"pub");
    }

    #[tokio::test]
    async fn the_end_of_a_socket_is_told_from_silence() {
        let (near, far) = pair();
        let mut pipe = Pipe::open().unwrap();
        let silent = poll_fn(|cx| Poll::Ready(pipe.poll_take(&far, 9, cx).is_pending())).await;
        assert!(silent);
        drop(near);
        assert_eq!(poll_fn(|cx| pipe.poll_take(&far, 9, cx)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_empty_pipe_is_used_again_and_a_full_one_closed() {
        let first = Pipe::open().unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&first.ends.as_ref().unwrap().out);
        drop(first);
        let again = Pipe::open().unwrap();
        assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&again.ends.as_ref().unwrap().out), descriptor);
    }
}
