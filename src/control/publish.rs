//! The single writer of snapshots: build, store, wake every worker, know who has seen it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    attach::{self, Attach, Attached},
    build::Carried,
    descriptors::affordable,
    issuers::known::Issuers,
    memory,
    played::Faces,
    quotas::ByName,
};
use crate::{
    config::model::{Config, Endpoint, KeySource, Listener},
    ids::{EndpointId, Generation, ListenerId},
    jwt::key_set::KeySet,
    proxy::{
        self,
        accept::{Caps, WorkerHandle},
        worker::{Drain, Message, Seen},
    },
    snapshot::{Snapshot, SnapshotCell},
    telemetry::metrics::Metrics,
};

/// The single writer.
#[derive(Debug)]
pub struct Publisher {
    cell: Arc<SnapshotCell>,
    carried: Carried,
    generation: Generation,
    published: Vec<Weak<Snapshot>>,
    caps: Arc<Caps>,
    replay_share: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    workers: usize,
}

impl Publisher {
    /// Builds and stores the first snapshot.
    ///
    /// # Errors
    /// Where it cannot be built.
    pub fn first(config: &Config, workers: usize, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let mut carried = Carried::default();
        let snapshot = Arc::new(carried.build(config, &Attached::new(), 1, workers)?);
        metrics.config_generation.set(1);
        Ok(Self {
            published: vec![Arc::downgrade(&snapshot)],
            cell: Arc::new(SnapshotCell::new(snapshot)),
            carried,
            generation: 1,
            caps: Caps::new(affordable(config.limits.max_connections), config.limits.per_address),
            replay_share: Arc::new(AtomicU64::new(replay_share(config, workers))),
            metrics,
            workers,
        })
    }

    /// Where snapshots are stored.
    #[must_use]
    pub const fn cell(&self) -> &Arc<SnapshotCell> {
        &self.cell
    }

    /// Caps on connections.
    #[must_use]
    pub const fn caps(&self) -> &Arc<Caps> {
        &self.caps
    }

    /// Bytes each worker may hold for resends.
    #[must_use]
    pub const fn replay_share(&self) -> &Arc<AtomicU64> {
        &self.replay_share
    }

    /// The identity of a listener of the snapshot in force.
    #[must_use]
    pub fn listener_id(&self, listener: &Listener) -> Option<ListenerId> {
        self.carried.listener_id(listener)
    }

    /// Builds a snapshot and stores it. Where building fails the one in force stays.
    ///
    /// # Errors
    /// What cannot be built.
    pub fn publish(&mut self, config: &Config, attached: &Attached) -> anyhow::Result<Generation> {
        let snapshot = self.carried.build(config, attached, self.generation + 1, self.workers)?;
        self.caps.set(affordable(config.limits.max_connections), config.limits.per_address);
        self.replay_share.store(replay_share(config, self.workers), Relaxed);
        Ok(self.store(snapshot))
    }

    /// Publishes where a name leads to now; none where that changes nothing.
    pub fn readdress(&mut self, name: &str, addresses: &[IpAddr]) -> Option<Generation> {
        self.carried.name_leads_to(name, addresses);
        let mut next = Snapshot::clone(&self.cell.load());
        let mut moved = false;
        for endpoint in &mut next.endpoints {
            if let Some(elsewhere) = self.carried.readdressed(endpoint) {
                *endpoint = Arc::new(elsewhere);
                moved = true;
            }
        }
        moved.then(|| self.store(next))
    }

    /// Publishes what an endpoint attaches now; none where there is no such endpoint.
    ///
    /// # Errors
    /// Where it cannot be attached; what is in force stays.
    pub fn attach(&mut self, endpoint: &Endpoint, attach: &Attach) -> anyhow::Result<Option<Generation>> {
        let attachment = attach::attachment(endpoint, attach)?;
        let mut next = Snapshot::clone(&self.cell.load());
        let id = self.carried.endpoint_id(&endpoint.name);
        let Some(known) = next.endpoints.iter_mut().find(|known| Some(known.id) == id) else { return Ok(None) };
        *known = Arc::new(proxy::upstream::Endpoint { attachment, ..proxy::upstream::Endpoint::clone(known) });
        Ok(Some(self.store(next)))
    }

    /// The identity of an endpoint of the snapshot in force.
    #[must_use]
    pub fn endpoint_id(&self, name: &str) -> Option<EndpointId> {
        self.carried.endpoint_id(name)
    }

    /// The issuers whose keys are looked after.
    #[must_use]
    pub const fn issuers(&self) -> &Issuers {
        self.carried.issuers()
    }

    /// Limits of which the day's requests are counted.
    #[must_use]
    pub fn quotas(&self) -> ByName {
        self.carried.quotas()
    }

    /// Publishes the keys of an issuer; none where that changes nothing.
    pub fn rekey(&mut self, source: &KeySource, set: KeySet) -> Option<Generation> {
        if !self.carried.issuers_mut().learn(source, set) {
            return None;
        }
        let mut next = Snapshot::clone(&self.cell.load());
        next.grounds = Arc::new(self.carried.grounds());
        Some(self.store(next))
    }

    /// Notes what callers of services that are played are judged by, for the next snapshot.
    pub fn play(&mut self, faces: Faces) {
        self.carried.play(faces);
    }

    /// Publishes what callers of services that are played are judged by.
    pub fn replay(&mut self, faces: Faces) -> Generation {
        self.carried.play(faces);
        let mut next = Snapshot::clone(&self.cell.load());
        next.grounds = Arc::new(self.carried.grounds());
        self.store(next)
    }

    fn store(&mut self, mut snapshot: Snapshot) -> Generation {
        self.generation += 1;
        snapshot.generation = self.generation;
        let snapshot = Arc::new(snapshot);
        self.published.retain(|published| published.strong_count() > 0);
        self.published.push(Arc::downgrade(&snapshot));
        self.cell.store(snapshot);
        self.metrics.config_generation.set(i64::try_from(self.generation).unwrap_or(i64::MAX));
        self.generation
    }

    /// Snapshots still in memory.
    pub fn live(&mut self) -> usize {
        self.published.retain(|snapshot| snapshot.strong_count() > 0);
        self.published.len()
    }
}

fn replay_share(config: &Config, workers: usize) -> u64 {
    memory::affordable(config.limits.replay_total) / u64::try_from(workers.max(1)).unwrap_or(1)
}

/// Wakes every worker, so that none holds an old snapshot for longer than it must.
pub fn wake(workers: &[WorkerHandle]) {
    let (answer, _nobody_waits) = mpsc::unbounded_channel();
    for worker in workers {
        let _ended = worker.inbox.send(Message::Published(answer.clone()));
    }
}

/// Wakes every worker and waits until each holds `generation` or a later one.
///
/// # Errors
/// How many did not answer in time.
pub async fn await_seen(workers: &[WorkerHandle], generation: Generation, patience: Duration) -> Result<(), usize> {
    await_answers(workers, Message::Published, generation, patience).await
}

/// Waits until no request that a drain is about is without a response head.
///
/// # Errors
/// How many workers did not answer in time.
pub async fn await_drained(
    workers: &[WorkerHandle],
    drain: Drain,
    generation: Generation,
    patience: Duration,
) -> Result<(), usize> {
    await_answers(workers, |answer| Message::AwaitDrained(drain, answer), generation, patience).await
}

async fn await_answers(
    workers: &[WorkerHandle],
    message: impl Fn(mpsc::UnboundedSender<Seen>) -> Message,
    generation: Generation,
    patience: Duration,
) -> Result<(), usize> {
    let (answer, mut answers) = mpsc::unbounded_channel();
    let mut missing = workers.iter().filter(|worker| worker.inbox.send(message(answer.clone())).is_ok()).count();
    drop(answer);
    let all = async {
        while missing > 0
            && let Some(seen) = answers.recv().await
        {
            if seen.generation >= generation {
                missing -= 1;
            }
        }
    };
    let _in_time = tokio::time::timeout(patience, all).await;
    if missing == 0 { Ok(()) } else { Err(missing) }
}
