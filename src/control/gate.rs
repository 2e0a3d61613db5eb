//! A running gate: the data plane's threads, the writer of snapshots, and what the admin side asks of both.
//!
//! Made by `run` (from a file), `demo` and tests (from a value). Reloads queue; each is parse, build, swap, and where any of it
//! fails the configuration in force stays whole.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc};

use super::{
    admin::{
        BoxFuture, Operations,
        report::{
            EndpointReady, EndpointStatus, LastReload, ListenerStatus, ReadyReport, ReloadError, ReloadErrorKind,
            ReloadReport, ReloadResult, SlotStatus, Status, WorkerStatus,
        },
    },
    changes,
    fingerprint::Fingerprints,
    memory::MemoryGauge,
    publish::{self, Publisher},
    threads::{Death, SEEN_PATIENCE, Sockets, Threads},
};
use crate::{
    clock::{Clock, Moment},
    config::model::{Config, Credential, Readiness, Slot},
    proxy::{
        accept::WorkerHandle,
        worker::{Message, Shared},
    },
    telemetry::{access_log::AccessSender, logs::LogControl, metrics::Metrics},
};

/// How often memory is looked at.
const MEMORY_LOOK: Duration = Duration::from_secs(1);
/// How often a drain looks whether connections are left.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long `reload --drained` waits beyond the longest a request may take to its response head.
const DRAINED_MARGIN: Duration = Duration::from_secs(10);

/// Reads the configuration again: what it is now with its warnings, or every fault.
pub type Source = Box<dyn Fn() -> Result<(Config, Vec<String>), Vec<String>> + Send + Sync>;

/// What a gate is given.
pub struct Parts {
    /// The configuration to begin with.
    pub config: Config,
    /// Where it comes from when it is read again.
    pub source: Source,
    /// Bound sockets, one per listener.
    pub sockets: Sockets,
    /// Time.
    pub clock: Clock,
    /// Where access records go.
    pub access: AccessSender,
    /// The log's level and losses; none where nobody configured a log.
    pub logs: Option<LogControl>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// A running gate.
pub struct Gate {
    shared: Shared,
    workers: Vec<WorkerHandle>,
    threads: Mutex<Option<Threads>>,
    addresses: HashMap<String, SocketAddr>,
    /// One reload at a time.
    publisher: tokio::sync::Mutex<Publisher>,
    source: Source,
    facts: Mutex<Facts>,
    logs: Option<LogControl>,
    started: Moment,
    alive: AtomicBool,
    /// Somebody asked for a drain over the admin side.
    pub drain_asked: Notify,
}

struct Facts {
    config: Arc<Config>,
    last_reload: Option<LastReload>,
    fingerprints: Fingerprints,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Gate {
    /// Starts everything. Traffic is served when this returns; deaths of threads are reported to the receiver.
    ///
    /// # Errors
    /// What could not be built or started.
    pub fn start(parts: Parts) -> anyhow::Result<(Arc<Self>, mpsc::UnboundedReceiver<Death>)> {
        let Parts { config, source, mut sockets, clock, access, logs } = parts;
        let count = config.workers.unwrap_or_else(cores);
        let metrics = Arc::new(Metrics::new()?);
        let publisher = Publisher::first(&config, count, Arc::clone(&metrics))?;
        let shared = Shared {
            snapshots: Arc::clone(publisher.cell()),
            clock: clock.clone(),
            metrics,
            access,
            replay_share: Arc::clone(publisher.replay_share()),
        };
        let (mut threads, deaths) = Threads::start(count, &shared)?;
        let mut addresses = HashMap::new();
        for listener in &config.listeners {
            let (Some(id), Some(socket)) = (publisher.listener_id(listener), sockets.take(&listener.name)) else {
                continue;
            };
            addresses.insert(listener.name.clone(), socket.local_addr()?);
            threads.accept(id, &listener.name, socket, &shared, publisher.caps())?;
        }
        shared.metrics.config_last_success.set(seconds(clock.unix_seconds()));
        let mut fingerprints = Fingerprints::new()?;
        fingerprints.note(&config, clock.now());
        let gate = Arc::new(Self {
            workers: threads.workers().to_vec(),
            threads: Mutex::new(Some(threads)),
            addresses,
            publisher: tokio::sync::Mutex::new(publisher),
            source,
            facts: Mutex::new(Facts { config: Arc::new(config), last_reload: None, fingerprints }),
            logs,
            started: clock.now(),
            alive: AtomicBool::new(true),
            drain_asked: Notify::new(),
            shared,
        });
        Ok((gate, deaths))
    }

    /// The address that a listener has.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.get(listener).copied()
    }

    /// A thread that had to live is dead: `/livez` says so from here.
    pub fn mark_dead(&self) {
        self.alive.store(false, Relaxed);
    }

    /// Looks at the memory once a second, for ever, and refuses requests while too little is left.
    pub async fn watch_memory(self: Arc<Self>) {
        let Some(gauge) = MemoryGauge::of_this_process() else { return std::future::pending().await };
        loop {
            let limit = self.in_force().limits.memory;
            let full = gauge.share().is_some_and(|share| share > limit);
            if full != self.shared.snapshots.overloaded() {
                tracing::warn!(
                    full,
                    limit,
                    "memory of this cgroup: new requests are {}",
                    if full { "refused" } else { "served again" }
                );
                self.shared.snapshots.set_overloaded(full);
            }
            tokio::time::sleep(MEMORY_LOOK).await;
        }
    }

    /// Reads the configuration again and serves it. A reload that has begun goes on even if nobody waits for it.
    ///
    /// # Errors
    /// Every fault; the configuration in force stays.
    pub async fn reload(self: &Arc<Self>, drained: bool) -> Result<ReloadReport, ReloadError> {
        let gate = Arc::clone(self);
        let reload = tokio::spawn(async move { gate.reload_whole(drained).await });
        reload.await.unwrap_or_else(|error| Err(internal(format!("the reload's task ended: {error}"))))
    }

    async fn reload_whole(self: Arc<Self>, drained: bool) -> Result<ReloadReport, ReloadError> {
        let published = {
            let mut publisher = self.publisher.lock().await;
            self.swap(&mut publisher).await
        };
        self.note_reload(&published);
        let mut report = published?;
        if publish::await_seen(&self.workers, report.generation, SEEN_PATIENCE).await.is_err() {
            return Err(not_drained("a worker did not take the new configuration up in time".to_owned()));
        }
        if drained {
            let longest = longest_request(&self.in_force()) + DRAINED_MARGIN;
            if publish::await_drained(&self.workers, report.generation, longest).await.is_err() {
                return Err(not_drained(format!(
                    "requests with an earlier key are without an answer after {longest:?}: change no key at the service yet"
                )));
            }
            report.drained = true;
        }
        Ok(report)
    }

    async fn swap(self: &Arc<Self>, publisher: &mut Publisher) -> Result<ReloadReport, ReloadError> {
        let gate = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || (gate.source)()).await;
        let read = read.map_err(|error| internal(format!("reading the configuration failed: {error}")))?;
        let (config, warnings) = read.map_err(refused)?;
        let before = self.in_force();
        let restart = changes::needs_restart(&before, &config);
        if !restart.is_empty() {
            return Err(refused(restart));
        }
        let generation = publisher.publish(&config).map_err(|error| refused(vec![format!("{error:#}")]))?;
        let changed = changes::describe(&before, &config);
        if let Some(logs) = self.logs.as_ref().filter(|_| before.log.level != config.log.level) {
            logs.set_level(config.log.level);
        }
        let mut facts = self.facts();
        facts.fingerprints.note(&config, self.shared.clock.now());
        facts.config = Arc::new(config);
        Ok(ReloadReport { generation, changed, warnings, drained: false })
    }

    fn note_reload(&self, outcome: &Result<ReloadReport, ReloadError>) {
        let at_unix = self.shared.clock.unix_seconds();
        let (result, label, message, changed) = match outcome {
            Ok(report) => {
                self.shared.metrics.config_last_success.set(seconds(at_unix));
                tracing::info!(generation = report.generation, changed = ?report.changed, "configuration reloaded");
                (ReloadResult::Ok, "ok", "the new configuration is served".to_owned(), report.changed.clone())
            }
            Err(error) => {
                tracing::error!(%error, "reload refused");
                (ReloadResult::Refused, "refused", error.to_string(), Vec::new())
            }
        };
        self.shared.metrics.config_reloads.with_label_values(&[label]).inc();
        self.facts().last_reload = Some(LastReload { at_unix, result, message, changed });
    }

    /// Takes leave: not ready, still accepting for `lame_duck`, then `connection: close` and GOAWAY, listeners closed, and
    /// whatever is left after `drain` dropped. Returns when every thread has ended.
    pub async fn drain(self: &Arc<Self>) {
        let timeouts = self.in_force().timeouts.clone();
        self.shared.snapshots.set_draining();
        tracing::info!(lame_duck = ?timeouts.lame_duck, drain = ?timeouts.drain, "draining");
        tokio::time::sleep(timeouts.lame_duck).await;
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut threads) = threads else { return };
        threads.tell(|| Message::Drain);
        let closed = tokio::task::spawn_blocking(move || {
            threads.close_listeners();
            threads
        });
        let Ok(threads) = closed.await else { return };
        let all_gone = async {
            while self.open_connections() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        if tokio::time::timeout(timeouts.drain, all_gone).await.is_err() {
            tracing::warn!(connections = self.open_connections(), "drain time is over: the rest is dropped");
        }
        let _ = tokio::task::spawn_blocking(move || threads.stop()).await;
        tracing::info!("drained");
    }

    /// Ends every thread at once, whatever is in flight.
    pub async fn drop_everything(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(threads) = threads {
            let _ = tokio::task::spawn_blocking(move || threads.stop()).await;
        }
    }

    fn open_connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.gauges.connections.load(Relaxed)).sum()
    }

    fn in_force(&self) -> Arc<Config> {
        Arc::clone(&self.facts().config)
    }

    fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint_status(&self, config: &Config, facts: &Facts) -> Vec<EndpointStatus> {
        let now = self.shared.clock.now();
        let status = |endpoint: &crate::config::model::Endpoint| {
            let slots = match &endpoint.credential {
                Credential::None => Vec::new(),
                Credential::Keys { active, .. } => [(Slot::Primary, "primary"), (Slot::Secondary, "secondary")]
                    .into_iter()
                    .filter_map(|(slot, name)| {
                        let seen = facts.fingerprints.of(&endpoint.name, slot)?;
                        Some(SlotStatus {
                            slot: name.to_owned(),
                            active: *active == slot,
                            fingerprint: Some(seen.digest.fingerprint()),
                            age_seconds: now.since(seen.since).as_secs(),
                            generation: seen.generation,
                        })
                    })
                    .collect(),
            };
            let in_flight = self.shared.metrics.in_flight.with_label_values(&[&endpoint.name]).get();
            EndpointStatus {
                name: endpoint.name.clone(),
                ready: true,
                upstreams: endpoint
                    .upstreams
                    .iter()
                    .map(|url| {
                        format!("{}://{}:{}{}", if url.tls { "https" } else { "http" }, url.host, url.port, url.path)
                    })
                    .collect(),
                slots,
                in_flight: u64::try_from(in_flight).unwrap_or(0),
            }
        };
        config.endpoints.iter().map(status).collect()
    }
}

impl Operations for Arc<Gate> {
    fn ready(&self) -> ReadyReport {
        let draining = self.shared.snapshots.draining();
        let config = self.in_force();
        let asked = |name: &String| match &config.readiness {
            Readiness::All | Readiness::Any => true,
            Readiness::Named(names) => names.contains(name),
        };
        // Keys from files are there as soon as the configuration is. Services of Azure's will have more to say.
        let endpoints = config.endpoints.iter().filter(|endpoint| asked(&endpoint.name));
        let endpoints = endpoints
            .map(|endpoint| EndpointReady { name: endpoint.name.clone(), ready: true, reason: None })
            .collect();
        ReadyReport { ready: !draining, draining, endpoints }
    }

    fn live(&self) -> bool {
        self.alive.load(Relaxed)
    }

    fn status(&self) -> Status {
        let config = self.in_force();
        let clock = &self.shared.clock;
        let gauge = |name: &str, state| self.shared.metrics.connections.with_label_values(&[name, state]).get();
        let facts = self.facts();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: clock.now().since(self.started).as_secs(),
            generation: self.shared.snapshots.load().generation,
            draining: self.shared.snapshots.draining(),
            listeners: config
                .listeners
                .iter()
                .map(|listener| ListenerStatus {
                    name: listener.name.clone(),
                    address: self.addresses.get(&listener.name).unwrap_or(&listener.address).to_string(),
                    tls: listener.tls.is_some(),
                    connections: u64::try_from(gauge(&listener.name, "idle") + gauge(&listener.name, "active"))
                        .unwrap_or(0),
                })
                .collect(),
            endpoints: self.endpoint_status(&config, &facts),
            workers: self
                .workers
                .iter()
                .enumerate()
                .map(|(index, worker)| WorkerStatus {
                    index: u32::try_from(index).unwrap_or(u32::MAX),
                    generation: worker.gauges.generation.load(Relaxed),
                    connections: count(worker.gauges.connections.load(Relaxed)),
                    in_flight: count(worker.gauges.in_flight.load(Relaxed)),
                })
                .collect(),
            last_reload: facts.last_reload.clone(),
        }
    }

    fn metrics(&self) -> String {
        let metrics = &self.shared.metrics;
        if let Ok(mut publisher) = self.publisher.try_lock() {
            metrics.snapshots_live.set(i64::try_from(publisher.live()).unwrap_or(i64::MAX));
        }
        let dropped = self.shared.access.dropped() + self.logs.as_ref().map_or(0, LogControl::dropped);
        metrics.log_dropped.inc_by(dropped.saturating_sub(metrics.log_dropped.get()));
        metrics.render()
    }

    fn config(&self) -> serde_json::Value {
        crate::config::redacted(&self.in_force())
    }

    fn reload(&self, drained: bool) -> BoxFuture<'static, Result<ReloadReport, ReloadError>> {
        let gate = Self::clone(self);
        Box::pin(async move { Gate::reload(&gate, drained).await })
    }

    fn drain(&self) {
        self.drain_asked.notify_one();
    }

    fn set_log_level(&self, level: tracing::Level) {
        if let Some(logs) = &self.logs {
            logs.set_level(level);
        }
    }
}

/// One thread per core that this process may use: affinity and cgroup quota count.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The longest a request may be without a response head.
fn longest_request(config: &Config) -> Duration {
    let of_routes = config.routes.iter().filter_map(|route| match &route.action {
        crate::config::model::Action::Forward(forward) => forward.timeout,
        crate::config::model::Action::Deny => None,
    });
    of_routes.chain([config.timeouts.request]).max().unwrap_or_default()
}

fn refused(faults: Vec<String>) -> ReloadError {
    ReloadError { kind: ReloadErrorKind::Config, faults }
}

fn not_drained(fault: String) -> ReloadError {
    ReloadError { kind: ReloadErrorKind::NotDrained, faults: vec![fault] }
}

fn internal(fault: String) -> ReloadError {
    ReloadError { kind: ReloadErrorKind::Internal, faults: vec![fault] }
}

#[expect(clippy::cast_precision_loss, reason = "Unix seconds have 31 bits")]
fn seconds(unix: u64) -> f64 {
    unix as f64
}
