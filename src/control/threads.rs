//! The data plane's threads: started, told, watched, joined.
//!
//! One thread per worker and one per listener. If one of them ends without having been told to, the process must end: the
//! receiver of [`Threads::start`] says which and why.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc;

use crate::{
    config::model::Listener,
    ids::ListenerId,
    proxy::{
        accept::{Acceptor, Caps, WorkerHandle},
        worker::{self, Gauges, Message, Shared},
    },
};

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn` (4096 since Linux 5.4).
const BACKLOG: i32 = 4096;

/// The data plane's threads.
#[derive(Debug)]
pub struct Threads {
    workers: Vec<WorkerHandle>,
    worker_threads: Vec<JoinHandle<()>>,
    acceptors: Vec<(UnixStream, JoinHandle<()>)>,
    /// Set before anything is told to end.
    ending: Arc<AtomicBool>,
    deaths: mpsc::UnboundedSender<Death>,
}

/// A thread that had to live ended.
#[derive(Debug)]
pub struct Death {
    /// Its name.
    pub thread: String,
    /// What it said, if it returned at all.
    pub error: Option<String>,
}

impl Threads {
    /// Starts the workers. Deaths are reported to the receiver.
    ///
    /// # Errors
    /// Where a thread cannot be started.
    pub fn start(workers: usize, shared: &Shared) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<Death>)> {
        let (deaths, died) = mpsc::unbounded_channel();
        let mut threads = Self {
            workers: Vec::new(),
            worker_threads: Vec::new(),
            acceptors: Vec::new(),
            ending: Arc::default(),
            deaths,
        };
        for index in 0..workers {
            let (inbox, messages) = mpsc::unbounded_channel();
            let gauges = Arc::<Gauges>::default();
            let (shared, theirs) = (shared.clone(), Arc::clone(&gauges));
            let thread =
                threads.spawn(&format!("worker-{index}"), move || worker::run(index, shared, theirs, messages))?;
            threads.worker_threads.push(thread);
            threads.workers.push(WorkerHandle { inbox, gauges });
        }
        Ok((threads, died))
    }

    /// Starts accepting on a listener.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn accept(
        &mut self,
        listener: ListenerId,
        name: &str,
        socket: TcpListener,
        shared: &Shared,
        caps: &Arc<Caps>,
    ) -> anyhow::Result<()> {
        let (stop, stopped) = UnixStream::pair().context("no socket pair")?;
        let acceptor = Acceptor {
            listener,
            name: name.to_owned(),
            caps: Arc::clone(caps),
            workers: self.workers.clone(),
            snapshots: Arc::clone(&shared.snapshots),
            metrics: Arc::clone(&shared.metrics),
        };
        let thread = self.spawn(&format!("accept-{name}"), move || acceptor.run(&socket, &stopped))?;
        self.acceptors.push((stop, thread));
        Ok(())
    }

    /// The workers' inboxes and gauges.
    #[must_use]
    pub fn workers(&self) -> &[WorkerHandle] {
        &self.workers
    }

    /// Tells every worker; counts those that could be told.
    pub fn tell(&self, message: impl Fn() -> Message) -> usize {
        self.workers.iter().filter(|worker| worker.inbox.send(message()).is_ok()).count()
    }

    /// Closes the listeners' sockets; connections live on.
    pub fn close_listeners(&mut self) {
        self.ending.store(true, Relaxed);
        for (stop, thread) in self.acceptors.drain(..) {
            drop(stop);
            let _ = thread.join();
        }
    }

    /// Ends the workers and waits for them.
    pub fn stop(mut self) {
        self.close_listeners();
        self.tell(|| Message::Stop);
        for thread in self.worker_threads.drain(..) {
            let _ = thread.join();
        }
    }

    fn spawn(
        &self,
        name: &str,
        body: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> anyhow::Result<JoinHandle<()>> {
        let (ending, deaths) = (Arc::clone(&self.ending), self.deaths.clone());
        let label = name.to_owned();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
                if !ending.load(Relaxed) {
                    let error = ended
                        .ok()
                        .map(|result| result.err().map_or_else(|| "it returned".to_owned(), |e| e.to_string()));
                    let _ = deaths.send(Death { thread: label, error });
                }
            })
            .with_context(|| format!("cannot start thread `{name}`"))
    }
}

/// Listening sockets, by listener name: bound before anything else starts.
#[derive(Debug, Default)]
pub struct Sockets(HashMap<String, TcpListener>);

impl Sockets {
    /// Binds every listener that has no socket yet.
    ///
    /// # Errors
    /// Names the listener and the address, and what to do where it is in use.
    pub fn bind(mut self, listeners: &[Listener]) -> anyhow::Result<Self> {
        for listener in listeners {
            if self.0.contains_key(&listener.name) {
                continue;
            }
            let socket = bind(listener.address).map_err(|error| {
                let hint = match error.kind() {
                    io::ErrorKind::AddrInUse => "; another process has it: `ss -ltnp` shows which",
                    io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
                    io::ErrorKind::AddrNotAvailable => "; no interface of this machine has it",
                    _ => "",
                };
                anyhow::anyhow!("listener `{}` cannot listen on {}: {error}{hint}", listener.name, listener.address)
            })?;
            self.0.insert(listener.name.clone(), socket);
        }
        Ok(self)
    }

    /// Uses a socket that somebody else has bound.
    #[must_use]
    pub fn with(mut self, name: &str, socket: TcpListener) -> Self {
        self.0.insert(name.to_owned(), socket);
        self
    }

    /// The address of a listener's socket.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.0.get(name)?.local_addr().ok()
    }

    /// Takes a listener's socket out.
    pub fn take(&mut self, name: &str) -> Option<TcpListener> {
        self.0.remove(name)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // So that a restart need not wait for connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, as nginx and Envoy users expect of a wildcard.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How long workers may take to say that they hold a snapshot before that is reported; they answer between two requests.
pub const SEEN_PATIENCE: Duration = Duration::from_secs(10);
