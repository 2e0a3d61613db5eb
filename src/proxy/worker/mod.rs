//! A data-plane worker: one thread, one single-threaded runtime, its own view of the snapshot, its own connections.
//!
//! Started by `run`. Connections come from the acceptors, orders from the control plane, both through one inbox. What many
//! requests need is kept here in plain cells: nothing on the path of a request is shared with another worker but the `Arc` of
//! the snapshot.

mod room;
mod sweep;

use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::Cache;
use hashbrown::HashMap;
use slab::Slab;
use tokio::sync::{Notify, mpsc};

pub use super::view::RouteMeter;
use super::{
    accept::Accepted,
    auth::token_cache::TokenCache,
    connection::{Connection, Leash},
    credential::{Report, Reports},
    descriptors::Shortage,
    endpoint::{LocalEndpoint, Stale},
    exchange::{Exchange, Logged},
    head::{RequestHead, ResponseHead},
    http2::runner::Runners,
    memory::Spare,
    reject::Reject,
    route::Action,
    server,
    spare_heads::SpareHeads,
    upstream::pool::LocalBackend,
    view::View,
};
use crate::{
    clock::{Clock, Moment, Tick},
    ids::{BackendId, EndpointId, Generation, ListenerId},
    snapshot::{Access, ListenerPolicy, Snapshot, SnapshotCell},
    telemetry::{
        access_log::{AccessRecord, AccessSender},
        metrics::{LocalGauge, Metrics},
    },
};

/// What all workers are given.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The meeting point.
    pub snapshots: Arc<SnapshotCell>,
    /// Time.
    pub clock: Clock,
    /// Metrics to add up into.
    pub metrics: Arc<Metrics>,
    /// Where access records go.
    pub access: AccessSender,
    /// Bytes of request bodies one worker may hold for a resend.
    pub replay_share: Arc<AtomicU64>,
    /// Requests that wait for a token, of all workers. Touched by those alone. Relaxed: a count.
    pub token_waiters: Arc<AtomicUsize>,
    /// Of descriptors. Looked at once a connection.
    pub shortage: Arc<Shortage>,
    /// Where workers say what services think of their credentials.
    pub reports: Reports,
}

/// What a worker is told.
#[derive(Debug)]
pub enum Message {
    /// A client connection.
    Accepted(Accepted),
    /// A snapshot was published. Answered once this worker holds it.
    Published(mpsc::UnboundedSender<Seen>),
    /// Answered once no such request of this worker is without a response head.
    AwaitDrained(Drain, mpsc::UnboundedSender<Seen>),
    /// Every connection answers what has begun and closes; so does every later one.
    Drain,
    /// Whatever is left is dropped.
    Stop,
}

/// Which requests are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Of which endpoint; none: of all.
    pub endpoint: Option<EndpointId>,
    /// With which values.
    pub stale: Stale,
}

/// A worker's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which worker.
    pub worker: usize,
    /// The generation it holds.
    pub generation: Generation,
}

/// What the outside may know of a worker at any time; updated by its sweep. Relaxed: for people to read.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Client connections, those in its inbox included: the acceptors give the next one to the worker with the fewest.
    pub connections: AtomicUsize,
    /// Requests in flight.
    pub in_flight: AtomicUsize,
    /// Generation of the snapshot it holds.
    pub generation: AtomicU64,
}

/// A worker's own memory.
#[derive(Debug)]
pub struct Worker {
    index: usize,
    shared: Shared,
    gauges: Arc<Gauges>,
    snapshots: RefCell<Cache<SnapshotSource, Arc<Snapshot>>>,
    view: RefCell<Rc<View>>,
    /// Coarse time: of the last sweep or request.
    coarse: Rc<Cell<Moment>>,
    wall: Cell<(Moment, u64)>,
    /// The second it is of, and the date.
    date: Cell<(u64, [u8; 29])>,
    random: Cell<u64>,
    /// Policies of listeners that a reload took away, for the connections that were accepted before.
    retired: RefCell<Vec<Arc<ListenerPolicy>>>,
    endpoints: RefCell<HashMap<EndpointId, Rc<LocalEndpoint>>>,
    backends: RefCell<HashMap<BackendId, Rc<LocalBackend>>>,
    /// Callers' tokens that were found good, and when it was looked through last.
    tokens: (TokenCache, Cell<Moment>),
    meters: RefCell<HashMap<MeterKey, Rc<RouteMeter>>>,
    connections: RefCell<Slab<Rc<Connection>>>,
    exchanges: RefCell<Slab<Rc<Exchange>>>,
    stream_leash: RefCell<Option<Rc<Leash>>>,
    held: Cell<u64>,
    held_gauge: LocalGauge,
    awaiting_drain: RefCell<Vec<(Drain, mpsc::UnboundedSender<Seen>)>>,
    /// Another snapshot was taken into use.
    changed: Rc<Notify>,
    draining: Cell<bool>,
    runners: Runners,
    request_heads: SpareHeads<RequestHead>,
    answer_heads: SpareHeads<ResponseHead>,
    /// When a client was last told to go for want of descriptors.
    made_room: Cell<Moment>,
    /// Memory that idle connections let go of.
    spare: Spare,
    stirred: Notify,
}

/// Policies of listeners that are gone: more than any one reload takes away while connections of theirs are on their way.
const MAX_RETIRED: usize = 256;

/// A listener and a route, by name: what is counted survives a reload.
type MeterKey = (Option<ListenerId>, Box<str>);

/// Lets `arc_swap::Cache` read the cell.
#[derive(Debug, Clone)]
struct SnapshotSource(Arc<SnapshotCell>);

impl std::ops::Deref for SnapshotSource {
    type Target = arc_swap::ArcSwap<Snapshot>;

    fn deref(&self) -> &Self::Target {
        self.0.source()
    }
}

/// Runs a worker until it is told to stop, or has nothing left while draining. Call it on a thread of its own.
///
/// # Errors
/// Where the runtime cannot be made.
pub fn run(
    index: usize,
    shared: Shared,
    gauges: Arc<Gauges>,
    inbox: mpsc::UnboundedReceiver<Message>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    let worker = Worker::new(index, shared, gauges);
    let sweeper = Rc::clone(&worker);
    let sweeper = tasks.spawn_local(async move { sweeper.sweep_forever().await });
    tasks.block_on(&runtime, async {
        tokio::select! {
            () = worker.serve(inbox) => Ok(()),
            _panicked = sweeper => Err(std::io::Error::other("its sweep ended, without which no time-out holds")),
        }
    })
}

impl Worker {
    fn new(index: usize, shared: Shared, gauges: Arc<Gauges>) -> Rc<Self> {
        let mut snapshots = Cache::new(SnapshotSource(Arc::clone(&shared.snapshots)));
        let snapshot = Arc::clone(snapshots.load());
        let seed = shared.clock.unix_millis().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index as u64;
        let worker = Rc::new(Self {
            index,
            gauges,
            snapshots: RefCell::new(snapshots),
            view: RefCell::new(Rc::new(View::empty(Arc::clone(&snapshot)))),
            coarse: Rc::new(Cell::new(shared.clock.now())),
            wall: Cell::new((shared.clock.now(), shared.clock.unix_seconds())),
            date: Cell::new((u64::MAX, *b"Thu, 01 Jan 1970 00:00:00 GMT")),
            random: Cell::new(crate::random::bytes().map_or(seed, u64::from_ne_bytes) | 1),
            retired: RefCell::default(),
            tokens: (TokenCache::default(), Cell::new(shared.clock.now())),
            endpoints: RefCell::default(),
            backends: RefCell::default(),
            meters: RefCell::default(),
            connections: RefCell::default(),
            exchanges: RefCell::default(),
            stream_leash: RefCell::default(),
            held: Cell::new(0),
            held_gauge: LocalGauge::new(shared.metrics.buffered_bytes.clone()),
            awaiting_drain: RefCell::default(),
            changed: Rc::default(),
            draining: Cell::new(false),
            runners: Runners::default(),
            request_heads: SpareHeads::default(),
            answer_heads: SpareHeads::default(),
            made_room: Cell::default(),
            spare: Spare::default(),
            stirred: Notify::new(),
            shared,
        });
        worker.adopt(&snapshot);
        worker
    }

    async fn serve(self: &Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Message>) {
        while let Some(message) = inbox.recv().await {
            match message {
                Message::Accepted(accepted) => {
                    let worker = Rc::clone(self);
                    tokio::task::spawn_local(async move { server::serve(worker, accepted).await });
                }
                Message::Published(seen) => {
                    self.view();
                    let _ = seen.send(self.seen());
                }
                Message::AwaitDrained(drain, seen) => {
                    self.view();
                    self.awaiting_drain.borrow_mut().push((drain, seen));
                    self.answer_drained();
                    self.stirred.notify_one();
                }
                Message::Drain => {
                    self.draining.set(true);
                    for (_, connection) in self.connections.borrow().iter() {
                        connection.leash.finish();
                    }
                }
                Message::Stop => break,
            }
        }
        self.flush();
    }

    // ---- what a request asks of its worker ----

    /// Reads the clock, for a request that begins: exact time, and the dice.
    pub fn tick(&self) -> Tick {
        let now = self.now();
        let (read_at, mut unix) = self.wall.get();
        let age = now.since(read_at).as_secs();
        if age >= 1 {
            unix = self.shared.clock.unix_seconds();
            self.wall.set((now, unix));
        }
        Tick { now, unix, dice: self.dice() }
    }

    /// Exact time; refreshes the coarse one.
    pub fn now(&self) -> Moment {
        let now = self.shared.clock.now();
        self.coarse.set(now);
        now
    }

    /// The time of the last sweep or request: good enough for time-outs, free to read.
    pub fn coarse_now(&self) -> Moment {
        self.coarse.get()
    }

    /// The coarse clock itself, for streams.
    pub fn coarse_clock(&self) -> Rc<Cell<Moment>> {
        Rc::clone(&self.coarse)
    }

    /// Uniformly distributed bits (xorshift64*, Vigna 2016). For balance and request ids; nothing secret depends on them.
    pub fn dice(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The date as answers have it (RFC 9110 section 5.6.7).
    pub fn date(&self) -> [u8; 29] {
        let unix = self.wall.get().1;
        let (of, date) = self.date.get();
        if of == unix {
            return date;
        }
        let text = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(unix));
        let date = text.as_bytes().try_into().unwrap_or(date);
        self.date.set((unix, date));
        date
    }

    /// The present view. One relaxed load where nothing was published.
    pub fn view(&self) -> Rc<View> {
        let fresh = {
            let mut snapshots = self.snapshots.borrow_mut();
            let snapshot = snapshots.load();
            let view = self.view.borrow();
            if Arc::ptr_eq(snapshot, &view.snapshot) {
                return Rc::clone(&view);
            }
            Arc::clone(snapshot)
        };
        self.adopt(&fresh);
        Rc::clone(&self.view.borrow())
    }

    /// What changes faster than snapshots: too little memory, shutting down.
    pub fn overloaded(&self) -> bool {
        self.shared.snapshots.overloaded()
    }

    /// An executor for hyper's own tasks.
    pub const fn executor(&self) -> LocalExecutor {
        LocalExecutor
    }

    /// The leash of the task that is being polled: an HTTP/2 stream's, else the connection's.
    pub fn current_leash(&self, connection: &Connection) -> Rc<Leash> {
        self.stream_leash.borrow().as_ref().map_or_else(|| Rc::clone(&connection.leash), Rc::clone)
    }

    /// Polls something with a stream's leash as the current one.
    pub fn with_leash<T>(&self, leash: &Rc<Leash>, poll: impl FnOnce() -> T) -> T {
        let before = self.stream_leash.replace(Some(Rc::clone(leash)));
        let polled = poll();
        self.stream_leash.replace(before);
        polled
    }

    /// The policy of a listener, that of one which is gone included.
    pub fn policy(&self, listener: ListenerId) -> Option<Arc<ListenerPolicy>> {
        let view = self.view();
        let retired = self.retired.borrow();
        view.snapshot.listener(listener).or_else(|| retired.iter().find(|policy| policy.id == listener)).cloned()
    }

    /// Tasks that wait for a stream of HTTP/2.
    pub const fn runners(&self) -> &Runners {
        &self.runners
    }

    /// Heads for requests of HTTP/2.
    pub const fn request_heads(&self) -> &SpareHeads<RequestHead> {
        &self.request_heads
    }

    /// Heads for answers of HTTP/1.1.
    pub const fn answer_heads(&self) -> &SpareHeads<ResponseHead> {
        &self.answer_heads
    }

    /// Callers' tokens that were found good.
    pub const fn tokens(&self) -> &TokenCache {
        &self.tokens.0
    }

    /// The metrics of the process, for rare events.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Where requests of a listener and route are counted, by their positions in the snapshot.
    pub fn meter(&self, view: &View, listener: usize, route: Option<usize>) -> Option<Rc<RouteMeter>> {
        let snapshot = &view.snapshot;
        let make = || {
            let policy = snapshot.listeners.get(listener);
            let (id, name) = policy.map_or((None, "none"), |policy| (Some(policy.id), &*policy.name));
            let route = route.and_then(|at| snapshot.routes.routes().get(at));
            let label = route.map_or("none", |route| &*route.name);
            let endpoint = route.and_then(|route| match &route.action {
                Action::Forward(forward) => snapshot.endpoints.get(forward.endpoint).map(|endpoint| &*endpoint.name),
                Action::Deny => None,
            });
            let fresh = || Rc::new(RouteMeter::new(&self.shared.metrics, name, label, endpoint.unwrap_or("none")));
            Rc::clone(self.meters.borrow_mut().entry((id, label.into())).or_insert_with(fresh))
        };
        view.meter(listener, route, make).map(Rc::clone)
    }

    /// A limit or time-out of the configuration acted.
    pub fn count_limit(&self, limit: &str) {
        self.shared.metrics.limit_hits.with_label_values(&[limit]).inc();
    }

    /// An upstream broke an answer off after its head.
    pub fn count_cut_off(&self, exchange: &Exchange) {
        if let Some(meter) = &*exchange.record.meter.borrow() {
            self.shared.metrics.responses_cut_off.with_label_values(&[&*meter.endpoint]).inc();
        }
    }

    /// A request is sent again because a connection lost it unprocessed.
    pub fn count_resend(&self, exchange: &Exchange, reason: &str) {
        let meter = exchange.record.meter.borrow();
        let endpoint = meter.as_ref().map_or("none", |meter| &*meter.endpoint);
        self.shared.metrics.resends.with_label_values(&[endpoint, reason]).inc();
    }

    /// Tells the control plane something.
    pub fn report(&self, report: Report) {
        self.shared.reports.send(report);
    }

    /// Told whenever another snapshot was taken into use.
    pub fn changed(&self) -> Rc<Notify> {
        Rc::clone(&self.changed)
    }

    /// A place among those who wait for a token.
    ///
    /// # Errors
    /// `credential_unavailable`, where `limits.token_waiters` wait already.
    pub fn wait_for_token(&self) -> Result<TokenWaiter, Reject> {
        let waiters = &self.shared.token_waiters;
        let place = TokenWaiter(Arc::clone(waiters));
        if waiters.fetch_add(1, Relaxed) >= self.view.borrow().snapshot.limits.token_waiters {
            self.count_limit("token_waiters");
            return Err(Reject::CredentialUnavailable);
        }
        Ok(place)
    }

    /// Room for this many more bytes of request bodies held for a resend?
    pub fn try_hold(&self, bytes: u64) -> bool {
        let held = self.held.get() + bytes;
        let room = held <= self.shared.replay_share.load(Relaxed);
        if room {
            self.held.set(held);
        }
        room
    }

    /// Held bytes were let go.
    pub fn release_held(&self, bytes: u64) {
        self.held.set(self.held.get().saturating_sub(bytes));
    }

    // ---- what it watches ----

    /// Watches a connection until [`Worker::forget_connection`].
    pub fn watch_connection(&self, connection: &Rc<Connection>) {
        connection.slot.set(self.connections.borrow_mut().insert(Rc::clone(connection)));
        if self.draining.get() || self.view.borrow().snapshot.listener(connection.listener).is_none() {
            connection.leash.finish();
        }
        self.stirred.notify_one();
    }

    /// The connection is closed.
    pub fn forget_connection(&self, connection: &Connection) {
        self.connections.borrow_mut().try_remove(connection.slot.get());
        self.spare.note(self.coarse_now());
        self.gauges.connections.fetch_sub(1, Relaxed);
    }

    /// Watches an exchange until [`Worker::finish`].
    pub fn watch_exchange(&self, exchange: &Rc<Exchange>) {
        exchange.slot.set(self.exchanges.borrow_mut().insert(Rc::clone(exchange)));
    }

    /// An exchange is over: counted, logged, forgotten.
    pub fn finish(&self, exchange: &Exchange) {
        if let Ok(mut upload) = exchange.upload.try_borrow_mut() {
            upload.close(self);
        }
        drop(exchange.place.take());
        drop(exchange.held.take());
        exchange.connection.request_ended();
        let _last = self.exchanges.borrow_mut().try_remove(exchange.slot.get());
        let record = &exchange.record;
        let took = self.now().since(exchange.started);
        if let Some(meter) = &*record.meter.borrow() {
            meter.count(record.status.get(), took);
        }
        let failed = record.status.get() >= 400 || record.reject.get().is_some() || !record.complete.get();
        let wanted = match self.view.borrow().snapshot.access {
            Access::Off => false,
            Access::Errors => failed,
            Access::All => true,
        };
        if wanted && let Some(logged) = record.logged.take() {
            self.log(exchange, logged, took);
        }
    }

    fn log(&self, exchange: &Exchange, logged: Logged, took: Duration) {
        let record = &exchange.record;
        let meter = record.meter.borrow();
        self.shared.access.send(AccessRecord {
            time_unix_ms: self.shared.clock.unix_millis(),
            request_id: exchange.request_id.as_str().to_owned(),
            listener: meter.as_ref().map_or_else(|| "none".into(), |meter| Arc::clone(&meter.listener)),
            route: meter.as_ref().map(|meter| Arc::clone(&meter.route)),
            caller: logged.caller.map(|name| (&*name).into()),
            subject: logged.subject.map(Arc::from),
            method: logged.method,
            path: logged.path.into(),
            status: record.status.get(),
            code: record.reject.get().map(Reject::code),
            bytes_in: exchange.sending.bytes(),
            bytes_out: exchange.reading.bytes(),
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            upstream: logged.upstream.map(|pool| pool.backend.authority.to_string()),
        });
    }

    // ---- what it takes from others ----

    /// Takes a snapshot into use: local copies are made now, so that no request makes them.
    fn adopt(&self, snapshot: &Arc<Snapshot>) {
        let view = View::build(
            Arc::clone(snapshot),
            &self.view.borrow(),
            &mut self.endpoints.borrow_mut(),
            &mut self.backends.borrow_mut(),
            &self.shared.metrics,
        );
        let before = self.view.replace(Rc::new(view));
        self.changed.notify_waiters();
        let gone = before.snapshot.listeners.iter().filter(|policy| snapshot.listener(policy.id).is_none());
        for policy in gone {
            let mut retired = self.retired.borrow_mut();
            if retired.len() >= MAX_RETIRED {
                // What was accepted on the oldest has long reached its worker.
                retired.remove(0);
            }
            retired.push(Arc::clone(policy));
            for (_, connection) in self.connections.borrow().iter() {
                if connection.listener == policy.id {
                    connection.leash.finish();
                }
            }
        }
    }

    fn seen(&self) -> Seen {
        Seen { worker: self.index, generation: self.view.borrow().snapshot.generation }
    }

    fn answer_drained(&self) {
        if self.awaiting_drain.borrow().is_empty() {
            return;
        }
        let view = Rc::clone(&self.view.borrow());
        let endpoints = self.endpoints.borrow();
        let is_drained = |drain: &Drain| {
            let asked = endpoints.values().filter(|endpoint| drain.endpoint.is_none_or(|id| id == endpoint.id()));
            asked.map(|endpoint| endpoint.handed_stale(&view, drain.stale)).sum::<usize>() == 0
        };
        self.awaiting_drain.borrow_mut().retain(|(drain, waiting)| {
            let drained = is_drained(drain);
            if drained {
                let _ = waiting.send(self.seen());
            }
            !drained && !waiting.is_closed()
        });
    }
}

/// A request that waits for a token.
#[derive(Debug)]
pub struct TokenWaiter(Arc<AtomicUsize>);

impl Drop for TokenWaiter {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Runs hyper's tasks on the worker's thread.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
