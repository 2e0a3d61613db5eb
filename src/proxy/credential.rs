//! What an endpoint's requests get to show to its service, and what the data plane says of it afterwards.
//!
//! The control plane publishes an [`Attachment`] per endpoint (`control::build` for keys by hand, `control::attach` for services of
//! Azure's); each worker keeps a copy of its own (`view`). Which of the values a request gets, and what comes after a 401, is
//! decided in `trail`; the only function that writes one into a request is [`LocalOffer::write`].

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use http::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::headers::outgoing::FieldSink;
use crate::{
    clock::Moment,
    ids::{EndpointId, Generation, ValueId},
    rotation::{
        ladder,
        offer::{Access, Offer},
    },
    secret::secret_field,
};

/// What an endpoint's requests get.
#[derive(Debug, Clone)]
pub enum Attachment {
    /// Nothing, and nothing is wanted.
    Nothing,
    /// Something that is not there yet and is being fetched: requests wait for it.
    Awaited,
    /// Something that is not there, and cannot be had now.
    Missing,
    /// These values.
    Offered(Arc<Offered>),
}

/// Values that authenticate to a service, as finished headers.
#[derive(Debug)]
pub struct Offered {
    /// The field name.
    pub header: HeaderName,
    /// Every value that the offer names.
    pub values: Box<[AttachedValue]>,
    /// Which requests get which.
    pub offer: Offer<ValueId>,
    /// From then on none is attached, whatever is published.
    pub until: Option<Moment>,
    /// Who looks after them.
    pub care: Care,
}

/// A finished header field value.
#[derive(Debug, Clone)]
pub struct AttachedValue {
    /// Which value it is.
    pub id: ValueId,
    /// Where it stands: `primary`, `secondary` or `token`, the label of `upstream_rejections_total`.
    pub slot: &'static str,
    /// The field value, marked sensitive.
    pub value: HeaderValue,
}

/// Who looks after an endpoint's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Whoever wrote the configuration: nobody reads them anew, and nobody is told of a refusal.
    ByHand,
    /// The control plane, which is told what the service says of them.
    Attended,
}

/// What the control plane is told. A lost report comes again with the next answer of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// A front end answered 401 about a value of ours. At most one per value, generation and second from each worker.
    Rejected {
        /// Whose value.
        endpoint: EndpointId,
        /// Of the offer by which the request was handed it.
        generation: Generation,
        /// Which.
        value: ValueId,
    },
    /// A request with this value was answered with success. At most one per value and second from each worker.
    Accepted {
        /// Whose value.
        endpoint: EndpointId,
        /// Which.
        value: ValueId,
    },
    /// A request that can be sent again has tried every value of an offer, and waits for another.
    Exhausted {
        /// Whose offer.
        endpoint: EndpointId,
        /// Its generation.
        generation: Generation,
    },
}

/// How many reports may wait for the control plane.
pub const REPORTS: usize = 4_096;

/// Where workers report to.
#[derive(Debug, Clone)]
pub struct Reports(mpsc::Sender<Report>);

impl Reports {
    /// Both ends.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Report>) {
        let (sender, receiver) = mpsc::channel(REPORTS);
        (Self(sender), receiver)
    }

    /// Reports, unless the control plane is far behind.
    pub fn send(&self, report: Report) {
        let _full_or_ended = self.0.try_send(report);
    }
}

/// When a locked service last let a request through as a trial; shared by all workers, and touched only while it is locked.
#[derive(Debug, Default)]
pub struct Trials(AtomicU64);

impl Trials {
    /// Whether one more may pass now, if so taken by the asker. Relaxed: the one value decides, and orders nothing else.
    pub fn take(&self, now: Moment) -> bool {
        let last = self.0.load(Relaxed);
        let due = ladder::trial_is_due((last > 0).then(|| Moment::from_micros(last)), now);
        due && self.0.compare_exchange(last, now.as_micros().max(1), Relaxed, Relaxed).is_ok()
    }
}

/// An [`Attachment`] in a worker's own memory: cloning a value that all workers share would write one cache line from every core.
#[derive(Debug)]
pub enum LocalAttachment {
    /// See [`Attachment::Nothing`].
    Nothing,
    /// See [`Attachment::Awaited`].
    Awaited,
    /// See [`Attachment::Missing`].
    Missing,
    /// See [`Attachment::Offered`].
    Offered(LocalOffer),
}

/// An [`Offered`] in a worker's own memory.
#[derive(Debug)]
pub struct LocalOffer {
    header: HeaderName,
    values: Box<[AttachedValue]>,
    /// See [`Offered::offer`].
    pub offer: Offer<ValueId>,
    until: Option<Moment>,
    /// See [`Offered::care`].
    pub care: Care,
}

impl LocalAttachment {
    /// A worker's copy.
    pub fn copy(attachment: &Attachment) -> Self {
        let shared = match attachment {
            Attachment::Nothing => return Self::Nothing,
            Attachment::Awaited => return Self::Awaited,
            Attachment::Missing => return Self::Missing,
            Attachment::Offered(shared) => shared,
        };
        let values = shared.values.iter().map(|shared| {
            let value = secret_field(&[shared.value.as_bytes()]).unwrap_or_else(|_never| shared.value.clone());
            AttachedValue { value, ..shared.clone() }
        });
        Self::Offered(LocalOffer {
            header: shared.header.clone(),
            values: values.collect(),
            offer: shared.offer,
            until: shared.until,
            care: shared.care,
        })
    }

    /// What is offered, unless it is past its time.
    pub fn valid(&self, now: Moment) -> Option<&LocalOffer> {
        match self {
            Self::Offered(offered) if offered.until.is_none_or(|until| now < until) => Some(offered),
            _ => None,
        }
    }
}

impl LocalOffer {
    /// Whether requests are let through without asking.
    pub fn is_open(&self) -> bool {
        self.offer.access == Access::Open
    }

    /// Where a value stands.
    pub fn slot(&self, id: ValueId) -> &'static str {
        self.find(id).map_or("none", |value| value.slot)
    }

    /// Writes a value into a request. Whether there is such a value.
    #[must_use]
    pub fn write(&self, sink: &mut impl FieldSink, id: ValueId) -> bool {
        let found = self.find(id);
        if let Some(found) = found {
            sink.secret(&self.header, &found.value);
        }
        found.is_some()
    }

    fn find(&self, id: ValueId) -> Option<&AttachedValue> {
        self.values.iter().find(|value| value.id == id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_locked_service_is_tried_once_a_second_by_all_workers_together() {
        let trials = Trials::default();
        let start = Moment::from_micros(7_000_000);
        assert!(trials.take(start));
        assert!(!trials.take(start));
        assert!(!trials.take(start + Duration::from_millis(999)));
        assert!(trials.take(start + Duration::from_secs(1)));
        assert!(!trials.take(start + Duration::from_secs(1)));
    }

    #[test]
    fn a_value_past_its_time_is_not_offered() {
        let id = ValueId::fresh();
        let value = AttachedValue { id, slot: "token", value: HeaderValue::from_static("Bearer t") };
        let until = Moment::from_micros(5);
        let local = LocalAttachment::copy(&Attachment::Offered(Arc::new(Offered {
            header: http::header::AUTHORIZATION,
            values: [value].into(),
            offer: Offer::fixed(1, id, None),
            until: Some(until),
            care: Care::Attended,
        })));
        assert!(local.valid(Moment::from_micros(4)).is_some());
        assert!(local.valid(until).is_none());
        assert!(LocalAttachment::Missing.valid(until).is_none());
        let mut fields = http::HeaderMap::new();
        let offered = local.valid(Moment::from_micros(4)).unwrap();
        assert!(offered.write(&mut fields, id) && fields["authorization"].is_sensitive());
        assert!(!offered.write(&mut fields, ValueId::fresh()));
    }
}
