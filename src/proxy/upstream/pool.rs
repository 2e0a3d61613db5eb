//! A worker's connections to one upstream: kept, lent, watched.
//!
//! HTTP/1.1 connections are lent to one request at a time, most recently used first; HTTP/2 connections to many. One that the
//! upstream closes leaves the pool at once: the task that drives it ends (HTTP/2), or the pool's own watch over its idle
//! connections wakes (HTTP/1.1). Nothing is shared between workers but the count of open connections.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    rc::{Rc, Weak},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, client::conn};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{
    Addresses, Backend, Protocol,
    connect::{self, ConnectError, Connected},
};
use crate::{
    clock::Moment,
    proxy::{
        body::RequestBody,
        head::ResponseHead,
        http1::{
            client::{self, Answered, NoAnswer},
            link::Link,
        },
        reject::Reject,
        worker::Worker,
    },
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
    /// Where it is at present.
    addresses: RefCell<Addresses>,
    /// That is known now, or has changed.
    known: Notify,
    /// Which address the next connection tries first.
    turn: Cell<usize>,
    #[allow(clippy::vec_box, reason = "lending a connection moves a pointer, and allocates nothing per request")]
    idle: RefCell<Vec<Box<H1>>>,
    /// Wakes the watch over the idle ones.
    watch: RefCell<Option<Waker>>,
    watching: Cell<bool>,
    multiplexed: RefCell<Vec<Rc<H2>>>,
    in_flight: Cell<usize>,
    open: Cell<usize>,
    /// A connection came back, or one that others wait for is there.
    changed: Notify,
    /// One connection is being made whose protocol decides whether others are needed.
    connecting: Cell<bool>,
    /// Connections that could not be made, and why the last one was not: those who waited for one of them need not try it again one after
    /// the other.
    failures: Cell<(u64, Reject)>,
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
    link: Rc<Link>,
    address: SocketAddr,
    /// For the heads of requests.
    memory: Vec<u8>,
    /// The upstream keeps it after the answer that is being read.
    keeps: bool,
    born: Moment,
    idle_since: Moment,
    _open: Open,
}

impl H1 {
    /// Whether it can carry another request, once the answer was read to its end.
    fn can_go_on(&self) -> bool {
        let link = &self.link;
        self.keeps && !link.write_failed() && !link.is_uploading() && !link.has_ahead() && !link.saw_eof()
    }
}

impl Drop for H1 {
    /// What still sends a request of which nobody wants the answer must not go on.
    fn drop(&mut self) {
        if self.link.is_uploading() {
            self.link.sever();
        }
    }
}

/// An open connection, counted; makes room for others when it goes.
#[derive(Debug)]
struct Open {
    pool: Weak<LocalBackend>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn count(pool: &Rc<LocalBackend>, permit: OwnedSemaphorePermit) -> Self {
        pool.open.set(pool.open.get() + 1);
        Self { pool: Rc::downgrade(pool), _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.open.set(pool.open.get().saturating_sub(1));
            pool.changed.notify_one();
        }
    }
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct H2 {
    id: u64,
    address: SocketAddr,
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

/// What a connection has to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// Made for this request.
    pub fresh: bool,
    /// HTTP/1.1, whatever else could be negotiated.
    pub h1: bool,
    /// To this address, and no other.
    pub address: Option<SocketAddr>,
}

/// Why a request over HTTP/2 got no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// It was never written.
    Unsent,
    /// The upstream says that it did not process it (GOAWAY above its last stream, REFUSED_STREAM; RFC 9113 section 8.7).
    Unprocessed,
    /// Anything else.
    Broken(Box<dyn std::error::Error>),
}

impl LocalBackend {
    /// A pool with nothing in it.
    pub fn new(backend: Arc<Backend>, endpoint: &str, metrics: &Metrics) -> Rc<Self> {
        let gauge = |state| LocalGauge::new(metrics.upstream_connections.with_label_values(&[endpoint, state]));
        Rc::new(Self {
            backend,
            addresses: RefCell::default(),
            known: Notify::new(),
            turn: Cell::new(0),
            idle: RefCell::default(),
            watch: RefCell::default(),
            watching: Cell::new(false),
            multiplexed: RefCell::default(),
            in_flight: Cell::new(0),
            open: Cell::new(0),
            changed: Notify::new(),
            connecting: Cell::new(false),
            failures: Cell::new((0, Reject::UpstreamUnreachable)),
            waiting: Cell::new(0),
            speaks_h2: Cell::new(None),
            next_id: Cell::new(0),
            active_gauge: gauge("active"),
            idle_gauge: gauge("idle"),
        })
    }

    /// Takes up where it is at present. Connections to where it was before are left to finish what they do, and used no more.
    pub fn aim(&self, addresses: &Addresses) {
        if *self.addresses.borrow() != *addresses {
            self.addresses.replace(addresses.clone());
            self.idle.borrow_mut().retain(|h1| self.leads_to(h1.address));
            self.known.notify_waiters();
        }
    }

    fn leads_to(&self, address: SocketAddr) -> bool {
        self.addresses.borrow().as_ref().is_some_and(|addresses| addresses.contains(&address))
    }

    /// Where it is, each connection beginning with another address; waits for the first answer to where that is.
    async fn whereabouts(&self) -> Vec<SocketAddr> {
        loop {
            let known = self.known.notified();
            if let Some(addresses) = &*self.addresses.borrow() {
                let mut addresses = addresses.to_vec();
                let turn = self.turn.replace(self.turn.get().wrapping_add(1)).checked_rem(addresses.len());
                addresses.rotate_left(turn.unwrap_or(0));
                return addresses;
            }
            known.await;
        }
    }

    async fn candidates(&self, wish: Wish) -> Vec<SocketAddr> {
        match wish.address {
            Some(address) => vec![address],
            None => self.whereabouts().await,
        }
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
    /// `upstream_unreachable`; `overloaded` where this process has no descriptor for one. Time is the caller's to limit.
    pub async fn lend(self: &Rc<Self>, worker: &Rc<Worker>, wish: Wish) -> Result<Lease, Reject> {
        let mut has_waited = false;
        loop {
            if let Some(lease) = self.take(worker.coarse_now(), wish) {
                return Ok(lease);
            }
            if self.connecting.get() && self.speaks_h2.get() != Some(false) && !wish.h1 {
                let (before, _) = self.failures.get();
                self.changed.notified().await;
                let (failures, why) = self.failures.get();
                // For want of a descriptor each tries once for itself: some of them will have made room.
                if failures != before && (why != Reject::Overloaded || has_waited) {
                    return Err(why);
                }
                has_waited |= failures != before;
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
            return self.open(worker, permit, wish).await;
        }
    }

    /// A connection that is there, unless one made for the request is wished for.
    pub fn take(self: &Rc<Self>, now: Moment, wish: Wish) -> Option<Lease> {
        if wish.fresh {
            return None;
        }
        {
            let mut idle = self.idle.borrow_mut();
            let next = |idle: &mut Vec<Box<H1>>| match wish.address {
                None => idle.pop(),
                Some(address) => idle.iter().rposition(|h1| h1.address == address).map(|at| idle.swap_remove(at)),
            };
            while let Some(h1) = next(&mut idle) {
                if self.is_silent(&h1) && now.since(h1.born) < self.backend.max_age {
                    drop(idle);
                    return Some(self.lease(Lent::H1(Some(h1)), true));
                }
            }
        }
        if wish.h1 {
            return None;
        }
        let multiplexed = self.multiplexed.borrow();
        let usable = |h2: &&Rc<H2>| {
            self.leads_to(h2.address)
                && wish.address.is_none_or(|address| address == h2.address)
                && h2.sender.is_ready()
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

    async fn open(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        permit: OwnedSemaphorePermit,
        wish: Wish,
    ) -> Result<Lease, Reject> {
        let decides = self.backend.protocol != Protocol::H1 && self.speaks_h2.get() != Some(false) && !wish.h1;
        let _turn = decides.then(|| Turn::take(self));
        let connected =
            connect::connect(&self.backend, self.candidates(wish), worker, wish.h1).await.map_err(|error| {
                tracing::warn!(upstream = %self.backend.authority, error = %error, "cannot connect to an upstream");
                let why = match error {
                    ConnectError::Descriptors => {
                        worker.count_limit("descriptors");
                        Reject::Overloaded
                    }
                    _ => Reject::UpstreamUnreachable,
                };
                self.failures.set((self.failures.get().0 + 1, why));
                why
            })?;
        let born = worker.coarse_now();
        let open = Open::count(self, permit);
        let (connected, address) = connected;
        match connected {
            Connected::H1(link) => {
                if !wish.h1 {
                    self.speaks_h2.set(Some(false));
                }
                let h1 = H1 { link, address, memory: Vec::new(), keeps: false, born, idle_since: born, _open: open };
                Ok(self.lease(Lent::H1(Some(Box::new(h1))), false))
            }
            Connected::H2 { sender, driver } => {
                self.speaks_h2.set(Some(true));
                let allowed = Rc::new(Cell::new(MAX_STREAMS));
                let id = self.next_id.replace(self.next_id.get() + 1);
                let h2 = Rc::new(H2 {
                    id,
                    address,
                    sender,
                    born,
                    idle_since: Cell::new(born),
                    streams: Cell::new(0),
                    allowed: Rc::clone(&allowed),
                });
                self.multiplexed.borrow_mut().push(Rc::clone(&h2));
                self.drive(id, open, async move {
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
    fn drive(self: &Rc<Self>, id: u64, open: Open, driver: impl Future<Output = ()> + 'static) {
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            driver.await;
            pool.multiplexed.borrow_mut().retain(|h2| h2.id != id);
            drop(open);
        });
    }

    fn keep(self: &Rc<Self>, mut h1: Box<H1>, now: Moment) {
        // Dropped, it makes room for the worker that waits.
        if self.waiting.get() == 0 && self.is_wanted_elsewhere() || !self.leads_to(h1.address) {
            return;
        }
        if !self.watching.replace(true) {
            self.watch_idle();
        }
        if !self.is_silent(&h1) {
            return;
        }
        h1.idle_since = now;
        self.idle.borrow_mut().push(h1);
        self.changed.notify_one();
    }

    /// Whether nothing has come over a connection that nobody uses; if something does, the watch wakes.
    fn is_silent(&self, h1: &H1) -> bool {
        let watch = self.watch.borrow();
        let mut cx = Context::from_waker(watch.as_ref().unwrap_or(Waker::noop()));
        h1.link.poll_disturbed(&mut cx).is_pending()
    }

    /// Starts the watch over idle HTTP/1.1 connections: one task for all of them, woken when one of them is closed or speaks.
    fn watch_idle(self: &Rc<Self>) {
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(poll_fn(move |cx| {
            let Some(pool) = pool.upgrade() else { return Poll::Ready(()) };
            pool.watch.replace(Some(cx.waker().clone()));
            pool.idle.borrow_mut().retain(|h1| h1.link.poll_disturbed(cx).is_pending());
            Poll::Pending
        }));
    }

    /// Whether another worker waits for a connection under the cap.
    fn is_wanted_elsewhere(&self) -> bool {
        self.backend.waiting.load(Relaxed) > self.waiting.get()
    }

    /// Closes a connection that nobody uses: of HTTP/1.1 the one that has been idle longest. False where there is none.
    pub fn let_one_go(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            idle.remove(0);
            return true;
        }
        let mut multiplexed = self.multiplexed.borrow_mut();
        let unused = multiplexed.iter().position(|h2| h2.streams.get() == 0);
        unused.is_some_and(|at| {
            multiplexed.remove(at);
            true
        })
    }

    /// Called by the worker's sweep: closes what was idle too long, is too old, or is idle while another worker waits for it.
    pub fn prune(&self, now: Moment) {
        let (idle, max_age) = (self.backend.idle, self.backend.max_age);
        let idle = if self.is_wanted_elsewhere() { Duration::ZERO } else { idle };
        self.idle.borrow_mut().retain(|h1| now.since(h1.idle_since) < idle && now.since(h1.born) < max_age);
        self.multiplexed.borrow_mut().retain(|h2| {
            let quiet = h2.streams.get() == 0 && now.since(h2.idle_since.get()) >= idle;
            !quiet && now.since(h2.born) < max_age && self.leads_to(h2.address)
        });
    }
}

impl Drop for LocalBackend {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.wake();
        }
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

    /// Where the connection leads.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.connection {
            Lent::H1(h1) => h1.as_ref().map(|h1| h1.address),
            Lent::H2(h2) => Some(h2.address),
        }
    }

    /// The answer was read to its end, and another request is to go over the same connection. Whether it can.
    pub fn renew(&mut self) -> bool {
        self.reused = true;
        match &self.connection {
            Lent::H1(h1) => h1.as_ref().is_some_and(|h1| h1.can_go_on()),
            Lent::H2(_) => true,
        }
    }

    /// Nothing was written there after all.
    pub fn put_memory_back(&mut self, memory: Vec<u8>) {
        if let Lent::H1(Some(h1)) = &mut self.connection {
            h1.memory = memory;
        }
    }

    /// Where the head of a request is to be written; None where the connection is HTTP/2.
    pub fn take_memory(&mut self) -> Option<Vec<u8>> {
        match &mut self.connection {
            Lent::H1(h1) => Some(h1.as_mut().map(|h1| std::mem::take(&mut h1.memory)).unwrap_or_default()),
            Lent::H2(_) => None,
        }
    }

    /// The stream of an HTTP/1.1 connection.
    pub fn link(&self) -> Option<Rc<Link>> {
        match &self.connection {
            Lent::H1(h1) => h1.as_ref().map(|h1| Rc::clone(&h1.link)),
            Lent::H2(_) => None,
        }
    }

    /// Sends a request over HTTP/1.1 and awaits the head of its answer.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn send_h1(
        &mut self,
        request: client::Outbound,
        informational: impl Fn(&ResponseHead),
    ) -> Result<Box<ResponseHead>, NoAnswer> {
        let Lent::H1(Some(h1)) = &mut self.connection else { return Err(NoAnswer::Unsent(None)) };
        let Answered { head, keeps, memory } = client::exchange(&h1.link, request, informational).await?;
        h1.keeps = keeps;
        h1.memory = memory;
        Ok(head)
    }

    /// Sends a request over HTTP/2 and awaits the head of its answer.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn send_h2(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Unanswered> {
        let Lent::H2(h2) = &self.connection else { return Err(Unanswered::Unsent) };
        h2.sender.clone().try_send_request(request).await.map_err(|mut failed| {
            if failed.take_message().is_some() {
                return Unanswered::Unsent;
            }
            let error = failed.into_error();
            if is_unprocessed(&error) { Unanswered::Unprocessed } else { Unanswered::Broken(error.into()) }
        })
    }

    /// The answer was read to its end: the connection may serve again.
    pub fn give_back(mut self, worker: &Worker) {
        let now = worker.coarse_now();
        match &mut self.connection {
            Lent::H1(lent) => {
                let Some(h1) = lent.take() else { return };
                if h1.can_go_on() {
                    self.pool.keep(h1, now);
                }
            }
            Lent::H2(h2) => h2.idle_since.set(now),
        }
    }
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
