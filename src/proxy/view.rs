//! A snapshot as one worker uses it: with the worker's own copies of whatever has a reference count.
//!
//! Cloning a header value that all workers share would write one cache line from every core for every request; so each worker
//! copies what it attaches once per snapshot, and requests share the copy within the worker.

use std::{cell::OnceCell, rc::Rc, sync::Arc, time::Duration};

use hashbrown::HashMap;
use prometheus::local::LocalHistogram;

use super::{
    auth::Caller,
    connection::Connection,
    credential::{LocalAttachment, LocalOffer, Trials},
    endpoint::LocalEndpoint,
    io_watch::Phase,
    upstream::{Endpoint, pool::LocalBackend},
};
use crate::{
    ids::{BackendId, EndpointId, ListenerId},
    rotation::ladder::Replay,
    snapshot::Snapshot,
    telemetry::metrics::{LocalCounter, LocalGauge, Metrics},
};

/// A snapshot with a worker's own copies.
#[derive(Debug)]
pub struct View {
    /// The snapshot itself.
    pub snapshot: Arc<Snapshot>,
    endpoints: Vec<Rc<EndpointView>>,
    callers: Rc<[Rc<str>]>,
    meters: Rc<Meters>,
    connections: Rc<[ConnectionGauges]>,
}

/// By listener, then route; the last of each row is for requests without a route. Made when first used: most routes of most
/// listeners never are.
type Meters = [Box<[OnceCell<Rc<RouteMeter>>]>];

/// An endpoint with a worker's own copies.
#[derive(Debug)]
pub struct EndpointView {
    /// What it was made from: the same `Arc` means the same view.
    shared: Arc<Endpoint>,
    /// The worker's side of it.
    pub local: Rc<LocalEndpoint>,
    /// What is attached.
    pub attachment: LocalAttachment,
    /// See [`super::upstream::Endpoint::replay`].
    pub replay: Replay,
    /// See [`super::upstream::Endpoint::trials`].
    pub trials: Arc<Trials>,
    /// The worker's connections, by upstream.
    pub backends: Vec<Rc<LocalBackend>>,
    /// See [`super::upstream::Endpoint::retry_unanswered`].
    pub retry_unanswered: bool,
}

impl View {
    /// A view that serves nothing; stands in until the first snapshot is adopted.
    pub fn empty(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, endpoints: Vec::new(), callers: [].into(), meters: [].into(), connections: [].into() }
    }

    /// Makes a worker's copies of a snapshot, carrying over what did not change.
    pub fn build(
        snapshot: Arc<Snapshot>,
        previous: &Self,
        endpoints: &mut HashMap<EndpointId, Rc<LocalEndpoint>>,
        backends: &mut HashMap<BackendId, Rc<LocalBackend>>,
        metrics: &Metrics,
    ) -> Self {
        let before = &previous.snapshot;
        let endpoint_views = snapshot.endpoints.iter().enumerate().map(|(at, endpoint)| {
            let same = previous.endpoints.get(at).filter(|view| Arc::ptr_eq(&view.shared, endpoint));
            same.map_or_else(|| Rc::new(EndpointView::build(endpoint, endpoints, backends, metrics)), Rc::clone)
        });
        let endpoint_views = endpoint_views.collect();
        let callers = if Arc::ptr_eq(&before.callers, &snapshot.callers) && !previous.callers.is_empty() {
            Rc::clone(&previous.callers)
        } else {
            snapshot.callers.iter().map(|caller| (&*caller.name).into()).collect()
        };
        let same_listeners = Arc::ptr_eq(&before.listeners, &snapshot.listeners) && !previous.meters.is_empty();
        let meters = if same_listeners && Arc::ptr_eq(&before.routes, &snapshot.routes) {
            Rc::clone(&previous.meters)
        } else {
            let columns = snapshot.routes.routes().len() + 1;
            snapshot.listeners.iter().map(|_| vec![OnceCell::new(); columns].into()).collect()
        };
        let connections = if same_listeners {
            Rc::clone(&previous.connections)
        } else {
            let gauges = snapshot.listeners.iter().map(|listener| {
                let known = previous.connections.iter().find(|gauges| gauges.listener == listener.id);
                known.cloned().unwrap_or_else(|| ConnectionGauges::new(metrics, listener.id, &listener.name))
            });
            gauges.collect()
        };
        Self { snapshot, endpoints: endpoint_views, callers, meters, connections }
    }

    /// An endpoint, by its position in the snapshot.
    pub fn endpoint(&self, at: usize) -> Option<&EndpointView> {
        self.endpoints.get(at).map(|endpoint| &**endpoint)
    }

    /// The name of a caller that was let in.
    pub fn caller(&self, caller: Caller) -> Option<&Rc<str>> {
        self.callers.get(caller.index())
    }

    /// An endpoint, by its identity; slower.
    pub fn endpoint_by_id(&self, id: EndpointId) -> Option<&EndpointView> {
        self.endpoints.iter().map(|endpoint| &**endpoint).find(|endpoint| endpoint.local.id() == id)
    }

    /// Where requests of a listener and route are counted, by their positions. No route: requests that had none.
    pub fn meter(
        &self,
        listener: usize,
        route: Option<usize>,
        make: impl FnOnce() -> Rc<RouteMeter>,
    ) -> Option<&Rc<RouteMeter>> {
        let row = self.meters.get(listener)?;
        let cell = route.map_or_else(|| row.last(), |at| row.get(at))?;
        Some(cell.get_or_init(make))
    }

    /// Tells the gauges how many connections there are.
    pub fn count_connections<'a>(&self, connections: &(impl Iterator<Item = &'a Connection> + Clone)) {
        for gauges in &*self.connections {
            let mine = connections.clone().filter(|c| c.listener == gauges.listener);
            let idle = mine.clone().filter(|c| c.watch.phase().0 == Phase::Idle).count();
            gauges.idle.set(idle);
            gauges.active.set(mine.count() - idle);
        }
    }
}

impl EndpointView {
    /// Whether it is not known where it is.
    pub fn is_nowhere(&self) -> bool {
        self.backends.is_empty()
    }

    /// What is offered, past its time or not.
    pub const fn offered(&self) -> Option<&LocalOffer> {
        match &self.attachment {
            LocalAttachment::Offered(offered) => Some(offered),
            LocalAttachment::Nothing | LocalAttachment::Awaited | LocalAttachment::Missing => None,
        }
    }

    fn build(
        endpoint: &Arc<Endpoint>,
        endpoints: &mut HashMap<EndpointId, Rc<LocalEndpoint>>,
        backends: &mut HashMap<BackendId, Rc<LocalBackend>>,
        metrics: &Metrics,
    ) -> Self {
        let local = endpoints.entry(endpoint.id).or_insert_with(|| LocalEndpoint::new(endpoint, metrics));
        local.adopt(&endpoint.admission);
        let backends = endpoint.upstreams.iter().map(|upstream| {
            let backend = &upstream.backend;
            let fresh = || LocalBackend::new(Arc::clone(backend), &endpoint.name, metrics);
            let local = backends.entry(backend.id).or_insert_with(fresh);
            local.aim(&upstream.addresses);
            Rc::clone(local)
        });
        Self {
            shared: Arc::clone(endpoint),
            local: Rc::clone(local),
            attachment: LocalAttachment::copy(&endpoint.attachment),
            replay: endpoint.replay,
            trials: Arc::clone(&endpoint.trials),
            backends: backends.collect(),
            retry_unanswered: endpoint.retry_unanswered,
        }
    }
}

#[derive(Debug, Clone)]
struct ConnectionGauges {
    listener: ListenerId,
    idle: Rc<LocalGauge>,
    active: Rc<LocalGauge>,
}

impl ConnectionGauges {
    fn new(metrics: &Metrics, listener: ListenerId, name: &str) -> Self {
        let gauge = |state| Rc::new(LocalGauge::new(metrics.connections.with_label_values(&[name, state])));
        Self { listener, idle: gauge("idle"), active: gauge("active") }
    }
}

/// Where requests of one listener and route are counted, in a worker's own memory.
#[derive(Debug)]
pub struct RouteMeter {
    /// Label.
    pub listener: Arc<str>,
    /// Label.
    pub route: Arc<str>,
    /// Label.
    pub endpoint: Arc<str>,
    classes: [LocalCounter; 6],
    duration: LocalHistogram,
}

impl RouteMeter {
    /// The worker's side of a route's metrics.
    pub fn new(metrics: &Metrics, listener: &str, route: &str, endpoint: &str) -> Self {
        let class = |class| LocalCounter::new(metrics.requests.with_label_values(&[listener, route, class]));
        Self {
            listener: listener.into(),
            route: route.into(),
            endpoint: endpoint.into(),
            classes: ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
            duration: metrics.request_duration.with_label_values(&[route]).local(),
        }
    }

    /// Counts a finished request. Status 0: none was sent.
    pub fn count(&self, status: u16, took: Duration) {
        if let Some(counter) = self.classes.get(usize::from(status / 100)) {
            counter.inc();
        }
        self.duration.observe(took.as_secs_f64());
    }

    /// Adds up.
    pub fn flush(&self) {
        self.classes.iter().for_each(LocalCounter::flush);
        self.duration.flush();
    }
}
