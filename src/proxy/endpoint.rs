//! A worker's side of an endpoint: who is in flight with which value, and places for requests.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use prometheus::local::LocalHistogram;

use super::{
    credential::Report,
    upstream::{
        Endpoint,
        admission::{Admission, LocalAdmission},
    },
    view::View,
    worker::Worker,
};
use crate::{
    clock::Moment,
    ids::{EndpointId, Generation, ValueId},
    telemetry::metrics::{LocalGauge, Metrics},
};

/// What the control plane was told last, and when: the same again is no news for a while.
#[derive(Debug, Default)]
struct Reported {
    rejected: Option<(ValueId, Generation, Moment)>,
    accepted: Option<(ValueId, Moment)>,
}

/// For how long.
const NO_NEWS: Duration = Duration::from_secs(1);

/// Which requests a drain waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Those with a value that no first sending gets any more: after a reload.
    NotFirst,
    /// Those with a value that no request can be sent with any more.
    NotNamed,
}

/// A worker's side of an endpoint. Survives snapshots as long as the endpoint does.
#[derive(Debug)]
pub struct LocalEndpoint {
    id: EndpointId,
    name: Box<str>,
    admission: RefCell<Rc<LocalAdmission>>,
    /// Requests without a response head, by the value they were handed. A handful of values at most, so a list.
    handed: RefCell<Vec<(ValueId, usize)>>,
    reported: RefCell<Reported>,
    upstream_duration: LocalHistogram,
    in_flight: LocalGauge,
}

impl LocalEndpoint {
    /// The worker's side of an endpoint seen for the first time.
    pub fn new(endpoint: &Endpoint, metrics: &Metrics) -> Rc<Self> {
        let label = [&*endpoint.name];
        Rc::new(Self {
            id: endpoint.id,
            name: endpoint.name.clone(),
            admission: RefCell::new(LocalAdmission::new(Arc::clone(&endpoint.admission))),
            handed: RefCell::default(),
            reported: RefCell::default(),
            upstream_duration: metrics.upstream_duration.with_label_values(&label).local(),
            in_flight: LocalGauge::new(metrics.in_flight.with_label_values(&label)),
        })
    }

    /// Which endpoint.
    pub const fn id(&self) -> EndpointId {
        self.id
    }

    /// Takes new numbers into use, if they changed.
    pub fn adopt(&self, admission: &Arc<Admission>) {
        if !Arc::ptr_eq(self.admission.borrow().shared(), admission) {
            self.admission.replace(LocalAdmission::new(Arc::clone(admission)));
        }
    }

    /// Places for requests.
    pub fn admission(&self) -> Rc<LocalAdmission> {
        Rc::clone(&self.admission.borrow())
    }

    /// Counts a request that is handed a value, until the guard is dropped.
    pub fn hand(self: &Rc<Self>, value: ValueId) -> Handed {
        let mut handed = self.handed.borrow_mut();
        match handed.iter_mut().find(|(v, _)| *v == value) {
            Some((_, count)) => *count += 1,
            None => handed.push((value, 1)),
        }
        drop(handed);
        Handed { endpoint: Rc::clone(self), value }
    }

    /// Requests that were handed a value and have no response head yet.
    pub fn handed(&self) -> usize {
        self.handed.borrow().iter().map(|(_, count)| count).sum()
    }

    /// Those among them whose value is not what the view offers any more.
    pub fn handed_stale(&self, view: &View, stale: Stale) -> usize {
        let offered = view.endpoint_by_id(self.id).and_then(|endpoint| endpoint.offered());
        let is_fresh = |value: ValueId| {
            offered.is_some_and(|offered| match stale {
                Stale::NotFirst => value == offered.offer.held || value == offered.offer.others,
                Stale::NotNamed => offered.offer.names(value),
            })
        };
        self.handed.borrow().iter().filter(|(value, _)| !is_fresh(*value)).map(|(_, count)| count).sum()
    }

    /// Label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells the control plane that a value was refused, unless it was told just now.
    pub fn report_rejected(&self, worker: &Worker, value: ValueId, generation: Generation) {
        let now = worker.coarse_now();
        let mut reported = self.reported.borrow_mut();
        let known = reported
            .rejected
            .is_some_and(|(same, of, at)| same == value && of == generation && now.since(at) < NO_NEWS);
        if !known {
            reported.rejected = Some((value, generation, now));
            // What is accepted from here is news again.
            reported.accepted = None;
            worker.report(Report::Rejected { endpoint: self.id, generation, value });
        }
    }

    /// Tells the control plane that a value was accepted, unless it was told just now.
    pub fn report_accepted(&self, worker: &Worker, value: ValueId) {
        let now = worker.coarse_now();
        let mut reported = self.reported.borrow_mut();
        if reported.accepted.is_none_or(|(same, at)| same != value || now.since(at) >= NO_NEWS) {
            reported.accepted = Some((value, now));
            drop(reported);
            worker.report(Report::Accepted { endpoint: self.id, value });
        }
    }

    /// A response head came.
    pub fn answered(&self, sent: Moment, now: Moment) {
        self.upstream_duration.observe(now.since(sent).as_secs_f64());
    }

    /// Adds metrics up.
    pub fn flush(&self) {
        self.upstream_duration.flush();
        self.in_flight.set(self.admission.borrow().admitted());
    }
}

/// A request that was handed a value and has no response head yet.
#[derive(Debug)]
pub struct Handed {
    endpoint: Rc<LocalEndpoint>,
    value: ValueId,
}

impl Drop for Handed {
    fn drop(&mut self) {
        let mut handed = self.endpoint.handed.borrow_mut();
        if let Some(at) = handed.iter().position(|(value, _)| *value == self.value)
            && let Some((_, count)) = handed.get_mut(at)
        {
            *count -= 1;
            if *count == 0 {
                handed.swap_remove(at);
            }
        }
    }
}
