//! A running gate: the data plane's threads, the writer of snapshots, and what the admin side asks of both.
//!
//! Made by `run` (from a file), `demo` and tests (from a value). Reloads queue; each is parse, build, swap, and where any of it
//! fails the configuration in force stays whole.

mod drivers;
mod operations;
mod played_services;
mod services;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc};

use super::{
    admin::report::{LastReload, ReloadError, ReloadErrorKind, ReloadReport, ReloadResult},
    attach::Attached,
    changes,
    desk::Desk,
    fingerprint::Fingerprints,
    issuers::Following,
    listening::{self, ListenerKey, Sockets},
    memory::MemoryGauge,
    names::{Names, Resolve},
    played::Played,
    publish::{self, Publisher},
    quotas::{self, Quotas},
    threads::{Death, SEEN_PATIENCE, Threads},
};
use crate::{
    azure::http::Http,
    clock::{Clock, Moment},
    config::model::{Config, Credential, Endpoint, KeySource, Listener},
    jwt::key_set::KeySet,
    proxy::{
        accept::WorkerHandle,
        credential::{Report, Reports},
        endpoint::Stale,
        worker::{Drain, Message, Shared},
    },
    rotation::digest::Salt,
    telemetry::{access_log::AccessSender, logs::LogControl, metrics::Metrics},
};

/// How often memory is looked at: callers who upload at the speed of the network fill a small limit in less than a second.
const MEMORY_LOOK: Duration = Duration::from_millis(100);
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
    /// Sockets of its listeners.
    pub sockets: Sockets,
    /// Time.
    pub clock: Clock,
    /// Where access records go.
    pub access: AccessSender,
    /// What fingerprints of keys are made with.
    pub salt: Salt,
    /// The log's level and losses; none where nobody configured a log.
    pub logs: Option<LogControl>,
    /// For upstreams that are given by name.
    pub resolver: Arc<dyn Resolve>,
    /// The way to the issuers of callers' tokens.
    pub http: Http,
    /// The state directory, where there is one that can be used.
    pub state: Option<PathBuf>,
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
    sockets: Mutex<Sockets>,
    /// One reload at a time.
    publisher: tokio::sync::Mutex<Publisher>,
    source: Source,
    names: Mutex<Names>,
    /// What workers say of credentials, until somebody listens.
    reports: Mutex<Option<mpsc::Receiver<Report>>>,
    desk: Desk,
    issuers: Mutex<Following>,
    quotas: Mutex<Option<Quotas>>,
    /// Locked after `publisher`, where both are.
    played: Arc<tokio::sync::Mutex<Played>>,
    /// For tasks that must not keep the gate alive.
    me: Weak<Self>,
    facts: Mutex<Facts>,
    logs: Option<LogControl>,
    started: Moment,
    alive: AtomicBool,
    /// Somebody asked for a drain over the admin side.
    pub drain_asked: Notify,
    /// A reload took.
    pub config_changed: Notify,
}

struct Facts {
    config: Arc<Config>,
    /// What requests to services of Azure's get, beside what the configuration says.
    attached: Attached,
    last_reload: Option<LastReload>,
    fingerprints: Fingerprints,
    reasons: services::Reasons,
}

impl Facts {
    fn note_fingerprints(&mut self, now: Moment) {
        self.fingerprints.note(&self.config, &self.attached, now);
    }

    /// Whether requests can be sent to an endpoint: a service of Azure's was found, and what it wants is there.
    fn is_ready(&self, endpoint: &Endpoint, now: Moment) -> bool {
        let has_credential = match endpoint.credential {
            Credential::None | Credential::Keys { .. } => true,
            Credential::OfService => self.attached.get(&endpoint.name).is_some_and(|attach| attach.is_ready(now)),
        };
        has_credential && !endpoint.upstreams.is_empty()
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Gate {
    /// Starts everything. Traffic is served when this returns; deaths of threads are reported to the receiver.
    ///
    /// # Errors
    /// What could not be built or started.
    pub fn start(parts: Parts) -> anyhow::Result<(Arc<Self>, mpsc::UnboundedReceiver<Death>)> {
        let Parts { config, source, sockets, clock, access, salt, logs, resolver, http, state } = parts;
        let count = config.workers.unwrap_or_else(cores);
        let metrics = Arc::new(Metrics::new()?);
        let mut publisher = Publisher::first(&config, count, Arc::clone(&metrics))?;
        let (reports, received) = Reports::channel();
        let mut played = Played::new(state.clone());
        let faces = played.adopt(&config, clock.unix_seconds())?;
        if !faces.is_empty() {
            publisher.replay(faces);
        }
        let quotas = state.clone().map(|dir| Quotas::resume(dir, &publisher.quotas()));
        let issuers = Following::new(http, state);
        let sources = publisher.issuers().sources();
        for (source, _) in &sources {
            if let Some(set) = issuers.kept().read(source) {
                publisher.rekey(source, set);
            }
        }
        let shared = Shared {
            snapshots: Arc::clone(publisher.cell()),
            clock: clock.clone(),
            metrics,
            access,
            replay_share: Arc::clone(publisher.replay_share()),
            token_waiters: Arc::default(),
            shortage: Arc::default(),
            reports,
        };
        let (mut threads, deaths) = Threads::start(count, &shared)?;
        for listener in &config.listeners {
            start_accepting(&mut threads, listener, &sockets, &publisher, &shared)?;
        }
        shared.metrics.config_last_success.set(seconds(clock.unix_seconds()));
        let mut fingerprints = Fingerprints::new(salt);
        fingerprints.note(&config, &Attached::new(), clock.now());
        let gate = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            workers: threads.workers().to_vec(),
            threads: Mutex::new(Some(threads)),
            sockets: Mutex::new(sockets),
            publisher: tokio::sync::Mutex::new(publisher),
            source,
            reports: Mutex::new(Some(received)),
            desk: Desk::default(),
            names: Mutex::new(Names::new(resolver)),
            issuers: Mutex::new(issuers),
            quotas: Mutex::new(quotas),
            played: Arc::new(tokio::sync::Mutex::new(played)),
            facts: Mutex::new(Facts {
                config: Arc::new(config),
                attached: Attached::new(),
                last_reload: None,
                fingerprints,
                reasons: services::Reasons::new(),
            }),
            logs,
            started: clock.now(),
            alive: AtomicBool::new(true),
            drain_asked: Notify::new(),
            config_changed: Notify::new(),
            shared,
        });
        gate.follow_names();
        gate.follow_issuers(sources);
        tokio::spawn(Self::keep_quotas(Weak::clone(&gate.me)));
        tokio::spawn(Self::keep_signing(Weak::clone(&gate.me)));
        Ok((gate, deaths))
    }

    /// The address that a listener has, where it is one of TCP.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        let config = self.in_force();
        let listener = config.listeners.iter().find(|known| known.name == listener)?;
        self.sockets().get(listener)?.socket.address()
    }

    /// Where a listener listens, for people.
    fn address_of(&self, listener: &Listener) -> String {
        let bound = self.sockets().get(listener).and_then(|bound| bound.socket.address());
        bound.map_or_else(|| listener.address.to_string(), |address| address.to_string())
    }

    fn sockets(&self) -> std::sync::MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that had to live is dead: `/livez` says so from here.
    pub fn mark_dead(&self) {
        self.alive.store(false, Relaxed);
    }

    /// Publishes where a name leads to now.
    pub async fn adopt_addresses(&self, name: &str, addresses: &[IpAddr]) {
        if self.publisher.lock().await.readdress(name, addresses).is_some() {
            publish::wake(&self.workers);
        }
    }

    /// A name could not be looked up.
    pub fn count_name_failure(&self, name: &str) {
        self.shared.metrics.name_failures.with_label_values(&[name]).inc();
    }

    /// Serves by the keys that an issuer publishes now. Whether they are others than before.
    pub async fn adopt_issuer_keys(&self, source: &KeySource, set: KeySet) -> bool {
        let adopted = self.publisher.lock().await.rekey(source, set).is_some();
        if adopted {
            publish::wake(&self.workers);
        }
        adopted
    }

    /// An issuer was asked for its keys.
    pub fn count_issuer_refresh(&self, issuer: &str, result: &str) {
        self.shared.metrics.issuer_refreshes.with_label_values(&[issuer, result]).inc();
    }

    /// Writes what was used of the day's requests, every few seconds, as long as the gate lives.
    async fn keep_quotas(me: Weak<Self>) {
        loop {
            tokio::time::sleep(quotas::WRITTEN).await;
            let Some(gate) = me.upgrade() else { return };
            gate.write_quotas().await;
        }
    }

    /// Writes what was used of the day's requests.
    pub async fn write_quotas(self: Arc<Self>) {
        let limits = self.publisher.lock().await.quotas();
        let written = tokio::task::spawn_blocking(move || {
            if let Some(quotas) = &mut *self.quotas.lock().unwrap_or_else(PoisonError::into_inner) {
                quotas.write(&limits);
            }
        });
        if let Err(panic) = written.await {
            tracing::error!(%panic, "the quotas of today cannot be written");
        }
    }

    fn follow_issuers(&self, sources: Vec<(KeySource, Arc<Notify>)>) {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner).follow(sources, &self.me);
    }

    /// Looks after the names of the upstreams that are in force.
    fn follow_names(&self) {
        let config = self.in_force();
        self.names.lock().unwrap_or_else(PoisonError::into_inner).follow(&config, &self.me);
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
            self.await_chosen(longest).await.map_err(not_drained)?;
            let generation = self.shared.snapshots.load().generation;
            let all = Drain { endpoint: None, stale: Stale::NotFirst };
            if publish::await_drained(&self.workers, all, generation, longest).await.is_err() {
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
        let (mut config, warnings) = read.map_err(refused)?;
        let before = self.in_force();
        let attached = services::carry_over(&before, &mut config, &self.facts().attached);
        let restart = changes::needs_restart(&before, &config);
        if !restart.is_empty() {
            return Err(refused(restart));
        }
        // What cannot be listened on leaves the configuration in force whole; what was bound for nothing is let go.
        let bound = self.sockets().bind(&config.listeners);
        // Old services are played on until the new configuration is in force.
        let published = match bound {
            Ok(()) => self.play(publisher, &config).await.and_then(|()| publisher.publish(&config, &attached)),
            Err(error) => Err(error),
        };
        let generation = match published {
            Ok(generation) => generation,
            Err(error) => {
                self.sockets().keep(&before.listeners);
                if let Err(error) = self.play(publisher, &before).await {
                    tracing::error!("services that were played before: {error:#}");
                }
                return Err(refused(vec![format!("{error:#}")]));
            }
        };
        self.adopt_listeners(&config, publisher).map_err(|error| internal(format!("{error:#}")))?;
        let changed = changes::describe(&before, &config);
        if let Some(logs) = self.logs.as_ref().filter(|_| before.log.level != config.log.level) {
            logs.set_level(config.log.level);
        }
        {
            let mut facts = self.facts();
            // Another service may have the name now; one that was carried over has its reason said again when it fails again.
            facts.reasons.retain(|name, _| config.endpoints.iter().any(|endpoint| endpoint.name == *name));
            facts.config = Arc::new(config);
            facts.attached = attached;
            facts.note_fingerprints(self.shared.clock.now());
        }
        self.follow_names();
        self.follow_issuers(publisher.issuers().sources());
        self.config_changed.notify_one();
        Ok(ReloadReport { generation, changed, warnings, drained: false })
    }

    /// Accepts on what is new, and no more on what is gone: its connections are told to finish by their workers.
    fn adopt_listeners(&self, config: &Config, publisher: &Publisher) -> anyhow::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // None: draining, and nothing is accepted any more.
        let Some(threads) = &mut *threads else { return Ok(()) };
        let wanted: Vec<ListenerKey> = config.listeners.iter().map(listening::key).collect();
        let running: Vec<ListenerKey> = threads.accepting().cloned().collect();
        for listener in config.listeners.iter().filter(|listener| !running.contains(&listening::key(listener))) {
            start_accepting(threads, listener, &self.sockets(), publisher, &self.shared)?;
        }
        for gone in running.iter().filter(|running| !wanted.contains(running)) {
            threads.stop_accepting(gone);
        }
        self.sockets().keep(&config.listeners);
        Ok(())
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
        self.sockets().keep(&[]);
        let all_gone = async {
            while self.open_connections() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        if tokio::time::timeout(timeouts.drain, all_gone).await.is_err() {
            tracing::warn!(connections = self.open_connections(), "drain time is over: the rest is dropped");
        }
        let _ = tokio::task::spawn_blocking(move || threads.stop()).await;
        Arc::clone(self).write_quotas().await;
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

    /// The configuration that is served, with what was found of services.
    pub fn in_force(&self) -> Arc<Config> {
        Arc::clone(&self.facts().config)
    }

    fn facts(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_accepting(
    threads: &mut Threads,
    listener: &Listener,
    sockets: &Sockets,
    publisher: &Publisher,
    shared: &Shared,
) -> anyhow::Result<()> {
    if let (Some(id), Some(bound)) = (publisher.listener_id(listener), sockets.get(listener)) {
        threads.accept(&listening::key(listener), id, bound.clone(), shared, publisher.caps())?;
    }
    Ok(())
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
