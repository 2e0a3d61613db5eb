//! Accepting connections: one thread per listener, which hands each raw socket to the worker with the fewest connections.
//!
//! Never ends for an error of one connection. Out of descriptors it refuses at once instead of leaving callers to wait: a spare
//! descriptor is given up, the connection taken, and the descriptor it came on is the spare again.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::Errno,
};
use tokio::sync::mpsc;

use super::{
    descriptors::{self, Shortage},
    socket::{Listening, RawSocket, Remote},
    worker::{Gauges, Message},
};
use crate::{clock::Clock, ids::ListenerId, snapshot::SnapshotCell, telemetry::metrics::Metrics};

/// How long accepting rests after an error that is not one connection's (Linux: ENOBUFS, ENOMEM).
const REST: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A connection on its way to a worker.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, not yet known to any runtime.
    pub socket: RawSocket,
    /// Where its other end is.
    pub remote: Remote,
    /// Where it came in.
    pub listener: ListenerId,
    /// Its place among all connections.
    pub permit: Permit,
}

/// Where a worker gets its messages, and how busy it is.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    /// The inbox.
    pub inbox: mpsc::UnboundedSender<Message>,
    /// How busy it is.
    pub gauges: Arc<Gauges>,
}

/// Caps on connections, over all listeners. Touched once per connection, never per request.
#[derive(Debug)]
pub struct Caps {
    open: AtomicUsize,
    max: AtomicUsize,
    max_per_address: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Caps {
    /// Caps in force from the start.
    #[must_use]
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            max_per_address: AtomicUsize::new(max_per_address),
            by_address: Mutex::default(),
        })
    }

    /// New caps, for connections from now on.
    pub fn set(&self, max: usize, max_per_address: usize) {
        self.max.store(max, Relaxed);
        self.max_per_address.store(max_per_address, Relaxed);
    }

    /// Open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// A place for a connection, and one among those of its address, where that has a cap of its own.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, &'static str> {
        if self.open.fetch_add(1, Relaxed) >= self.max.load(Relaxed) {
            self.open.fetch_sub(1, Relaxed);
            return Err("max_connections");
        }
        let mut permit = Permit { caps: Arc::clone(self), address: None };
        if let Some(address) = address {
            permit.count(address)?;
        }
        Ok(permit)
    }
}

/// A connection's place among all connections.
#[derive(Debug)]
pub struct Permit {
    caps: Arc<Caps>,
    address: Option<IpAddr>,
}

impl Permit {
    /// Counts the connection among those of its address, where that becomes known only now.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn count(&mut self, address: IpAddr) -> Result<(), &'static str> {
        let mut by_address = self.caps.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_address.entry(address).or_default();
        if *open >= self.caps.max_per_address.load(Relaxed) {
            return Err("per_address");
        }
        *open += 1;
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.caps.open.fetch_sub(1, Relaxed);
        let Some(address) = self.address else { return };
        let mut by_address = self.caps.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_address.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// An acceptor's surroundings.
#[derive(Debug)]
pub struct Acceptor {
    /// The listener's identity.
    pub listener: ListenerId,
    /// Its name, for logs.
    pub name: String,
    /// Caps.
    pub caps: Arc<Caps>,
    /// Workers to choose from.
    pub workers: Vec<WorkerHandle>,
    /// For `trusted_proxies`.
    pub snapshots: Arc<SnapshotCell>,
    /// For refusals.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Clock,
    /// Of descriptors: nobody is let in then.
    pub shortage: Arc<Shortage>,
}

impl Acceptor {
    /// Accepts until the other end of `stop` is dropped. Call it on a thread of its own; the socket is closed when it returns.
    ///
    /// # Errors
    /// Where the socket cannot be watched at all.
    pub fn run(self, socket: &Listening, stop: &UnixStream) -> io::Result<()> {
        socket.set_nonblocking()?;
        let mut spares = Spares::new()?;
        let mut resting = false;
        loop {
            let readable = if resting { PollFlags::empty() } else { PollFlags::IN };
            let mut watched = [PollFd::new(stop, PollFlags::IN), PollFd::new(socket, readable)];
            match poll(&mut watched, resting.then_some(&REST)) {
                Ok(_) => resting = false,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if !watched[0].revents().is_empty() {
                // Who has connected by now is served.
                while let Ok((socket, remote)) = socket.accept() {
                    self.hand_over(socket, remote);
                }
                return Ok(());
            }
            match socket.accept() {
                Ok((socket, remote)) => self.hand_over(socket, remote),
                Err(error) if descriptors::are_out(&error) => {
                    // Where there is none left, asking again at once would only burn a core.
                    resting = !spares.refuse(socket);
                    self.metrics.limit_hits.with_label_values(&["descriptors"]).inc();
                    tracing::error!(
                        listener = self.name,
                        "out of file descriptors: connection refused; raise `ulimit -n`"
                    );
                }
                Err(error) if is_one_connections(&error) => {}
                Err(error) => {
                    tracing::error!(listener = self.name, %error, "cannot accept connections for the moment");
                    resting = true;
                }
            }
        }
    }

    fn hand_over(&self, socket: RawSocket, remote: Remote) {
        let admitted = if self.shortage.is_on(self.clock.now()) {
            Err("descriptors")
        } else {
            self.caps.admit(remote.ip().filter(|_| !remote.is_loopback() && !self.is_trusted(remote)))
        };
        let permit = match admitted {
            Ok(permit) => permit,
            Err(limit) => {
                self.metrics.limit_hits.with_label_values(&[limit]).inc();
                return;
            }
        };
        if socket.prepare().is_err() {
            return;
        }
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.gauges.connections.load(Relaxed)) else {
            return;
        };
        worker.gauges.connections.fetch_add(1, Relaxed);
        let accepted = Accepted { socket, remote, listener: self.listener, permit };
        if worker.inbox.send(Message::Accepted(accepted)).is_err() {
            worker.gauges.connections.fetch_sub(1, Relaxed);
        }
    }

    fn is_trusted(&self, remote: Remote) -> bool {
        self.snapshots.load().listener(self.listener).is_some_and(|listener| listener.trusts(remote))
    }
}

/// Descriptors kept for the day on which there are no others.
struct Spares {
    nothing: OwnedFd,
    kept: Vec<OwnedFd>,
}

/// Other threads may take one that was given up before a connection comes on it: so many times in a row is unlikely.
const SPARES: usize = 8;

impl Spares {
    fn new() -> io::Result<Self> {
        // Not /dev/null: an empty root has none.
        let mut spares = Self { nothing: eventfd(0, EventfdFlags::CLOEXEC)?, kept: Vec::new() };
        spares.fill();
        Ok(spares)
    }

    fn fill(&mut self) {
        while self.kept.len() < SPARES
            && let Ok(spare) = self.nothing.try_clone()
        {
            self.kept.push(spare);
        }
    }

    /// Takes the next connection and ends it. False where there is no descriptor to take it on.
    fn refuse(&mut self, socket: &Listening) -> bool {
        while let Some(spare) = self.kept.pop() {
            drop(spare);
            match socket.accept() {
                Ok((refused, _)) => {
                    let mut descriptor = OwnedFd::from(refused);
                    // In one step: nobody else can have the number in between.
                    if rustix::io::dup2(&self.nothing, &mut descriptor).is_ok() {
                        self.kept.push(descriptor);
                    }
                    self.fill();
                    return true;
                }
                Err(error) if descriptors::are_out(&error) => {}
                // The connection is gone; the descriptor may still be there.
                Err(_) => {
                    self.fill();
                    return true;
                }
            }
        }
        self.fill();
        !self.kept.is_empty()
    }
}

/// Errors of a connection that went away before it was accepted (accept(2)).
fn is_one_connections(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_and_places_come_back() {
        let caps = Caps::new(3, 1);
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let two: IpAddr = "10.0.0.2".parse().unwrap();
        let first = caps.admit(Some(one)).unwrap();
        assert_eq!(caps.admit(Some(one)).unwrap_err(), "per_address");
        let _second = caps.admit(Some(two)).unwrap();
        let mut third = caps.admit(None).unwrap();
        assert_eq!(caps.admit(None).unwrap_err(), "max_connections");
        assert_eq!(third.count(one), Err("per_address"));
        drop(first);
        assert_eq!(third.count(one), Ok(()));
        assert_eq!(caps.admit(Some(one)).unwrap_err(), "per_address");
        drop(third);
        assert!(caps.admit(Some(one)).is_ok());
        assert_eq!(caps.open(), 1);
    }
}
