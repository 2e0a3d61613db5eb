//! The data plane's threads: started, told, watched, joined.
//!
//! One thread per worker and one per listener. If one of them ends without having been told to, the process must end: the
//! receiver of [`Threads::start`] says which and why.

use std::{
    collections::HashMap,
    io,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use tokio::sync::mpsc;

use super::{
    listening::{Bound, ListenerKey},
    nursery::Nursery,
};
use crate::{
    ids::ListenerId,
    proxy::{
        accept::{Acceptor, Caps, WorkerHandle},
        worker::{self, Gauges, Message, Shared},
    },
};

/// The data plane's threads.
#[derive(Debug)]
pub struct Threads {
    nursery: Nursery,
    workers: Vec<WorkerHandle>,
    worker_threads: Vec<JoinHandle<()>>,
    acceptors: HashMap<ListenerKey, AcceptorThread>,
    /// Set before all of it is told to end.
    ending: Arc<AtomicBool>,
    deaths: mpsc::UnboundedSender<Death>,
}

#[derive(Debug)]
struct AcceptorThread {
    /// Dropped, it stops.
    stop: UnixStream,
    thread: JoinHandle<()>,
    /// Set before it is told to end.
    ending: Arc<AtomicBool>,
}

impl AcceptorThread {
    /// Whoever has connected by now is served.
    fn end(self) {
        self.ending.store(true, Relaxed);
        drop(self.stop);
        let _ = self.thread.join();
    }
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
            nursery: Nursery::open().context("cannot start the thread that starts others")?,
            workers: Vec::new(),
            worker_threads: Vec::new(),
            acceptors: HashMap::new(),
            ending: Arc::default(),
            deaths,
        };
        for index in 0..workers {
            let (inbox, messages) = mpsc::unbounded_channel();
            let gauges = Arc::<Gauges>::default();
            let (shared, theirs) = (shared.clone(), Arc::clone(&gauges));
            let ending = Arc::clone(&threads.ending);
            let body = move || worker::run(index, shared, theirs, messages);
            let thread = threads.spawn(&format!("worker-{index}"), ending, body)?;
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
        key: &ListenerKey,
        listener: ListenerId,
        bound: Bound,
        shared: &Shared,
        caps: &Arc<Caps>,
    ) -> anyhow::Result<()> {
        let (stop, stopped) = UnixStream::pair().context("no socket pair")?;
        let acceptor = Acceptor {
            listener,
            name: key.0.clone(),
            caps: Arc::clone(caps),
            workers: self.workers.clone(),
            snapshots: Arc::clone(&shared.snapshots),
            metrics: Arc::clone(&shared.metrics),
            clock: shared.clock.clone(),
            shortage: Arc::clone(&shared.shortage),
        };
        let ending = Arc::<AtomicBool>::default();
        let body = move || acceptor.run(&bound.socket, &stopped);
        let thread = self.spawn(&format!("accept-{}", key.0), Arc::clone(&ending), body)?;
        self.acceptors.insert(key.clone(), AcceptorThread { stop, thread, ending });
        Ok(())
    }

    /// Which listeners are accepted on.
    pub fn accepting(&self) -> impl Iterator<Item = &ListenerKey> {
        self.acceptors.keys()
    }

    /// Stops accepting on a listener; its connections live on.
    pub fn stop_accepting(&mut self, key: &ListenerKey) {
        if let Some(acceptor) = self.acceptors.remove(key) {
            acceptor.end();
        }
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
        self.acceptors.drain().for_each(|(_, acceptor)| acceptor.end());
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
        ending: Arc<AtomicBool>,
        body: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> anyhow::Result<JoinHandle<()>> {
        let deaths = self.deaths.clone();
        let label = name.to_owned();
        let body = move || {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            if !ending.load(Relaxed) {
                let error =
                    ended.ok().map(|result| result.err().map_or_else(|| "it returned".to_owned(), |e| e.to_string()));
                let _ = deaths.send(Death { thread: label, error });
            }
        };
        self.nursery.start(name, body).with_context(|| format!("cannot start thread `{name}`"))
    }
}

/// How long workers may take to say that they hold a snapshot before that is reported; they answer between two requests.
pub const SEEN_PATIENCE: Duration = Duration::from_secs(10);
