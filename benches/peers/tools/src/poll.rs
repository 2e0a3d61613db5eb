//! epoll with deadlines in nanoseconds.

use std::{fmt, io, os::fd::AsFd, time::Duration};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
};

/// Events taken at once.
const EVENTS: usize = 256;

/// What a socket waits for. The end of the connection is always told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read.
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
    /// Neither.
    Nothing,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
            Self::Both => EventFlags::IN | EventFlags::OUT,
            Self::Nothing => EventFlags::empty(),
        }
    }
}

/// Sockets by number, level-triggered.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// Where the kernel has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // The kernel's default is to be up to 50 µs late, which is what is measured here.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Adds a socket under a number.
    ///
    /// # Errors
    /// Where it is there already.
    pub fn add(&self, socket: impl AsFd, number: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(number as u64), interest.flags())?)
    }

    /// Changes what a socket waits for.
    ///
    /// # Errors
    /// Where it was not added.
    pub fn change(&self, socket: impl AsFd, number: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(number as u64), interest.flags())?)
    }

    /// Waits, at most so long, and fills in the numbers of sockets that are ready. What they are ready for, a call will show.
    ///
    /// # Errors
    /// What epoll says.
    pub fn wait(&mut self, at_most: Option<Duration>, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = at_most.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| usize::try_from(event.data.u64()).unwrap_or(usize::MAX)));
        Ok(())
    }
}
