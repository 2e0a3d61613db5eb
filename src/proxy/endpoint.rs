//! A worker's side of an endpoint: who is in flight with which value, and places for requests.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use prometheus::local::LocalHistogram;

use super::{
    upstream::{
        Endpoint,
        admission::{Admission, LocalAdmission},
    },
    view::View,
};
use crate::{
    clock::Moment,
    ids::{EndpointId, ValueId},
    telemetry::metrics::{LocalGauge, Metrics},
};

/// A worker's side of an endpoint. Survives snapshots as long as the endpoint does.
#[derive(Debug)]
pub struct LocalEndpoint {
    id: EndpointId,
    admission: RefCell<Rc<LocalAdmission>>,
    /// Requests without a response head, by the value they were handed. A handful of values at most, so a list.
    handed: RefCell<Vec<(ValueId, usize)>>,
    upstream_duration: LocalHistogram,
    in_flight: LocalGauge,
}

impl LocalEndpoint {
    /// The worker's side of an endpoint seen for the first time.
    pub fn new(endpoint: &Endpoint, metrics: &Metrics) -> Rc<Self> {
        let label = [&*endpoint.name];
        Rc::new(Self {
            id: endpoint.id,
            admission: RefCell::new(LocalAdmission::new(Arc::clone(&endpoint.admission))),
            handed: RefCell::default(),
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

    /// Those among them whose value the view no longer attaches.
    pub fn handed_stale(&self, view: &View) -> usize {
        let active = view.active_value(self.id);
        self.handed.borrow().iter().filter(|(value, _)| Some(*value) != active).map(|(_, count)| count).sum()
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
