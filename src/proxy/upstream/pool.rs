//! A worker's connections to one upstream: kept, lent, watched.
//!
//! HTTP/1.1 connections are lent to one request at a time, most recently used first; HTTP/2 connections to many. Each is driven
//! by a task that takes it out of the pool the moment the upstream closes it. Nothing is shared between workers but the count
//! of open connections.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Context,
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use hyper::{body::Incoming, client::conn};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{
    Backend, Protocol,
    connect::{self, Connected},
    io::UpstreamWatch,
};
use crate::{
    clock::Moment,
    proxy::{body::RequestBody, quiet::QuietWaker, reject::Reject, worker::Worker},
    telemetry::metrics::{LocalGauge, Metrics},
};

/// Streams on one HTTP/2 connection before another is opened, whatever the upstream allows: nginx's and Envoy's default of
/// what they accept is 128 and 100.
const MAX_STREAMS: usize = 100;

/// A worker's side of an upstream.
#[derive(Debug)]
pub struct LocalBackend {
    /// What is known of it.
    pub backend: Arc<Backend>,
    /// `Host`, in this worker's memory.
    pub host: HeaderValue,
    #[allow(clippy::vec_box, reason = "lending a connection moves a pointer, and allocates nothing per request")]
    idle: RefCell<Vec<Box<H1>>>,
    multiplexed: RefCell<Vec<Rc<H2>>>,
    in_flight: Cell<usize>,
    open: Cell<usize>,
    /// A connection came back, or one that others wait for is there.
    changed: Notify,
    /// One connection is being made whose protocol decides whether others are needed.
    connecting: Cell<bool>,
    /// Connections that could not be made: those who waited for one of them need not try it again one after the other.
    failures: Cell<u64>,
    /// Requests of this worker that wait for a connection under the cap.
    waiting: Cell<usize>,
    /// What the last negotiation gave.
    speaks_h2: Cell<Option<bool>>,
    next_id: Cell<u64>,
    active_gauge: LocalGauge,
    idle_gauge: LocalGauge,
}

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub struct H1 {
    id: u64,
    sender: conn::http1::SendRequest<RequestBody>,
    watch: Arc<UpstreamWatch>,
    born: Moment,
    idle_since: Moment,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct H2 {
    id: u64,
    sender: conn::http2::SendRequest<RequestBody>,
    born: Moment,
    idle_since: Cell<Moment>,
    streams: Cell<usize>,
    /// What the upstream allows, as last announced.
    allowed: Rc<Cell<usize>>,
}

/// A connection lent to a request. Dropping it closes an HTTP/1.1 connection; [`Lease::give_back`] keeps it.
#[derive(Debug)]
pub struct Lease {
    pool: Rc<LocalBackend>,
    connection: Lent,
    /// Whether it has carried a request before.
    pub reused: bool,
}

#[derive(Debug)]
enum Lent {
    H1(Option<Box<H1>>),
    H2(Rc<H2>),
}

/// Why a request got no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// It was never written: the request itself comes back.
    Unsent(Box<Request<RequestBody>>),
    /// The upstream says that it did not process it (GOAWAY above its last stream, REFUSED_STREAM; RFC 9113 section 8.7).
    Unprocessed,
    /// A connection that had served before closed with no byte of answer.
    Silent,
    /// Anything else.
    Broken(hyper::Error),
}

impl LocalBackend {
    /// A pool with nothing in it.
    pub fn new(backend: Arc<Backend>, endpoint: &str, metrics: &Metrics) -> Rc<Self> {
        let gauge = |state| LocalGauge::new(metrics.upstream_connections.with_label_values(&[endpoint, state]));
        let host = HeaderValue::from_str(backend.authority.as_str()).unwrap_or(HeaderValue::from_static(""));
        Rc::new(Self {
            backend,
            host,
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            in_flight: Cell::new(0),
            open: Cell::new(0),
            changed: Notify::new(),
            connecting: Cell::new(false),
            failures: Cell::new(0),
            waiting: Cell::new(0),
            speaks_h2: Cell::new(None),
            next_id: Cell::new(0),
            active_gauge: gauge("active"),
            idle_gauge: gauge("idle"),
        })
    }

    /// Requests of this worker in flight to it.
    pub const fn load(&self) -> usize {
        self.in_flight.get()
    }

    /// Open connections of this worker, and how many of them are idle.
    pub fn connections(&self) -> (usize, usize) {
        let idle = self.multiplexed.borrow().iter().filter(|h2| h2.streams.get() == 0).count();
        (self.open.get(), self.idle.borrow().len() + idle)
    }

    /// Tells the gauges.
    pub fn flush(&self) {
        let (open, idle) = self.connections();
        self.active_gauge.set(open.saturating_sub(idle));
        self.idle_gauge.set(idle);
    }

    /// A connection for one request: one that is there, else a new one, else the next that comes back.
    ///
    /// # Errors
    /// `upstream_unreachable`. Time is the caller's to limit.
    pub async fn lend(self: &Rc<Self>, worker: &Rc<Worker>, fresh: bool) -> Result<Lease, Reject> {
        loop {
            if !fresh && let Some(lease) = self.take(worker.coarse_now()) {
                return Ok(lease);
            }
            if self.connecting.get() && self.speaks_h2.get() != Some(false) {
                let failures = self.failures.get();
                self.changed.notified().await;
                if self.failures.get() != failures {
                    return Err(Reject::UpstreamUnreachable);
                }
                continue;
            }
            let permit = match Arc::clone(&self.backend.connections).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => {
                    worker.count_limit("upstream_max_connections");
                    let _waiting = Waiting::join(self);
                    tokio::select! {
                        () = self.changed.notified() => continue,
                        permit = Arc::clone(&self.backend.connections).acquire_owned() => {
                            permit.map_err(|_closed| Reject::UpstreamUnreachable)?
                        }
                    }
                }
            };
            return self.open(worker, permit).await;
        }
    }

    fn take(self: &Rc<Self>, now: Moment) -> Option<Lease> {
        {
            let mut idle = self.idle.borrow_mut();
            while let Some(h1) = idle.pop() {
                if h1.sender.is_ready() && now.since(h1.born) < self.backend.max_age {
                    drop(idle);
                    return Some(self.lease(Lent::H1(Some(h1)), true));
                }
            }
        }
        let multiplexed = self.multiplexed.borrow();
        let usable = |h2: &&Rc<H2>| {
            h2.sender.is_ready()
                && h2.streams.get() < h2.allowed.get().min(MAX_STREAMS)
                && now.since(h2.born) < self.backend.max_age
        };
        let h2 = Rc::clone(multiplexed.iter().rev().find(usable)?);
        drop(multiplexed);
        Some(self.lease_h2(h2, true))
    }

    fn lease(self: &Rc<Self>, connection: Lent, reused: bool) -> Lease {
        self.in_flight.set(self.in_flight.get() + 1);
        Lease { pool: Rc::clone(self), connection, reused }
    }

    fn lease_h2(self: &Rc<Self>, h2: Rc<H2>, reused: bool) -> Lease {
        h2.streams.set(h2.streams.get() + 1);
        self.lease(Lent::H2(h2), reused)
    }

    async fn open(self: &Rc<Self>, worker: &Rc<Worker>, permit: OwnedSemaphorePermit) -> Result<Lease, Reject> {
        let decides = self.backend.protocol != Protocol::H1 && self.speaks_h2.get() != Some(false);
        let _turn = decides.then(|| Turn::take(self));
        let connected = connect::connect(&self.backend, worker).await.map_err(|error| {
            tracing::warn!(upstream = %self.backend.authority, error = %error, "cannot connect to an upstream");
            self.failures.set(self.failures.get() + 1);
            Reject::UpstreamUnreachable
        })?;
        let born = worker.coarse_now();
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.open.set(self.open.get() + 1);
        match connected {
            Connected::H1 { sender, driver, watch } => {
                self.speaks_h2.set(Some(false));
                let turns = Arc::clone(&watch);
                self.drive(id, permit, async move {
                    let (mut driver, mut waker) = (driver, QuietWaker::default());
                    let ended = poll_fn(|cx| {
                        turns.turns.begin();
                        Pin::new(&mut driver).poll(&mut Context::from_waker(waker.of(cx)))
                    });
                    if let Err(error) = ended.await {
                        tracing::debug!(%error, "upstream connection ended");
                    }
                });
                Ok(self.lease(Lent::H1(Some(Box::new(H1 { id, sender, watch, born, idle_since: born }))), false))
            }
            Connected::H2 { sender, driver } => {
                self.speaks_h2.set(Some(true));
                let allowed = Rc::new(Cell::new(MAX_STREAMS));
                let h2 = Rc::new(H2 {
                    id,
                    sender,
                    born,
                    idle_since: Cell::new(born),
                    streams: Cell::new(0),
                    allowed: Rc::clone(&allowed),
                });
                self.multiplexed.borrow_mut().push(Rc::clone(&h2));
                self.drive(id, permit, async move {
                    let mut driver = driver;
                    let ended = poll_fn(|cx| {
                        let polled = Pin::new(&mut driver).poll(cx);
                        allowed.set(driver.current_max_send_streams());
                        polled
                    });
                    if let Err(error) = ended.await {
                        tracing::debug!(%error, "upstream connection ended");
                    }
                });
                Ok(self.lease_h2(h2, false))
            }
        }
    }

    /// Runs a connection; when it ends, for whatever reason, it leaves the pool at once.
    fn drive(self: &Rc<Self>, id: u64, permit: OwnedSemaphorePermit, driver: impl Future<Output = ()> + 'static) {
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            driver.await;
            drop(permit);
            pool.open.set(pool.open.get().saturating_sub(1));
            pool.idle.borrow_mut().retain(|h1| h1.id != id);
            pool.multiplexed.borrow_mut().retain(|h2| h2.id != id);
            pool.changed.notify_one();
        });
    }

    fn keep(&self, mut h1: Box<H1>, now: Moment) {
        // Dropped, it makes room for the worker that waits.
        if self.waiting.get() == 0 && self.is_wanted_elsewhere() {
            return;
        }
        h1.idle_since = now;
        self.idle.borrow_mut().push(h1);
        self.changed.notify_one();
    }

    /// Whether another worker waits for a connection under the cap.
    fn is_wanted_elsewhere(&self) -> bool {
        self.backend.waiting.load(Relaxed) > self.waiting.get()
    }

    /// Called by the worker's sweep: closes what was idle too long, is too old, or is idle while another worker waits for it.
    pub fn prune(&self, now: Moment) {
        let (idle, max_age) = (self.backend.idle, self.backend.max_age);
        let idle = if self.is_wanted_elsewhere() { Duration::ZERO } else { idle };
        self.idle.borrow_mut().retain(|h1| now.since(h1.idle_since) < idle && now.since(h1.born) < max_age);
        self.multiplexed.borrow_mut().retain(|h2| {
            let quiet = h2.streams.get() == 0 && now.since(h2.idle_since.get()) >= idle;
            !quiet && now.since(h2.born) < max_age
        });
    }
}

/// A request that waits for a connection under the cap.
struct Waiting<'a>(&'a LocalBackend);

impl<'a> Waiting<'a> {
    fn join(pool: &'a LocalBackend) -> Self {
        pool.waiting.set(pool.waiting.get() + 1);
        pool.backend.waiting.fetch_add(1, Relaxed);
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.backend.waiting.fetch_sub(1, Relaxed);
    }
}

/// The right to make the connection whose protocol decides; however it ends, those who wait look again.
struct Turn<'a>(&'a LocalBackend);

impl<'a> Turn<'a> {
    fn take(pool: &'a LocalBackend) -> Self {
        pool.connecting.set(true);
        Self(pool)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.changed.notify_waiters();
    }
}

impl Lease {
    /// Whether it is HTTP/2.
    pub const fn is_h2(&self) -> bool {
        matches!(self.connection, Lent::H2(_))
    }

    /// The upstream it leads to.
    pub fn backend(&self) -> &Backend {
        &self.pool.backend
    }

    /// The pool it comes from.
    pub const fn pool(&self) -> &Rc<LocalBackend> {
        &self.pool
    }

    /// `Host` of requests to it.
    pub fn host(&self) -> HeaderValue {
        self.pool.host.clone()
    }

    /// Sends a request and awaits the response head.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Unanswered> {
        match &mut self.connection {
            Lent::H1(Some(h1)) => {
                let before = h1.watch.bytes_read();
                let answer = h1.sender.try_send_request(request).await;
                let reused = self.reused;
                let silent = reused && h1.watch.bytes_read() == before;
                answer.map_err(|mut failed| match failed.take_message() {
                    Some(request) => Unanswered::Unsent(Box::new(request)),
                    None if silent => Unanswered::Silent,
                    None => Unanswered::Broken(failed.into_error()),
                })
            }
            Lent::H1(None) => Err(Unanswered::Unsent(Box::new(request))),
            Lent::H2(h2) => {
                h2.sender.clone().try_send_request(request).await.map_err(|mut failed| match failed.take_message() {
                    Some(request) => Unanswered::Unsent(Box::new(request)),
                    None => {
                        let error = failed.into_error();
                        if is_unprocessed(&error) { Unanswered::Unprocessed } else { Unanswered::Broken(error) }
                    }
                })
            }
        }
    }

    /// The answer was read to its end: the connection may serve again.
    pub fn give_back(mut self, worker: &Worker) {
        let now = worker.coarse_now();
        match &mut self.connection {
            Lent::H1(lent) => {
                let Some(h1) = lent.take() else { return };
                if h1.watch.write_failed() || h1.sender.is_closed() {
                    return;
                }
                if h1.sender.is_ready() {
                    self.pool.keep(h1, now);
                } else {
                    keep_when_ready(Rc::clone(&self.pool), h1, now);
                }
            }
            Lent::H2(h2) => h2.idle_since.set(now),
        }
    }
}

/// The answer's last byte was read before the connection's own task had finished with it (or the request is still being
/// written): it goes back to the pool when it says so.
fn keep_when_ready(pool: Rc<LocalBackend>, mut h1: Box<H1>, now: Moment) {
    tokio::task::spawn_local(async move {
        if h1.sender.ready().await.is_ok() && !h1.watch.write_failed() {
            pool.keep(h1, now);
        }
    });
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.in_flight.set(self.pool.in_flight.get().saturating_sub(1));
        if let Lent::H2(h2) = &self.connection {
            h2.streams.set(h2.streams.get().saturating_sub(1));
            self.pool.changed.notify_one();
        }
    }
}

/// GOAWAY that leaves this stream out, or REFUSED_STREAM.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            let graceful = h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR);
            return graceful || (h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM));
        }
        source = cause.source();
    }
    false
}
