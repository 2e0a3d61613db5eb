//! What requests to services of Azure's get: from the credentials' drivers to the data plane, one endpoint at a time, without
//! building the rest anew.
//!
//! A driver names its values by [`ValueId`]s of its own making, so that what the data plane reports means something to it. What was
//! attached last is kept beside the configuration and survives each reload that leaves the endpoint its service.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context, bail};
use http::{HeaderName, HeaderValue};

use crate::{
    clock::Moment,
    config::model::{Endpoint, Slot},
    ids::ValueId,
    proxy::credential::{AttachedValue, Attachment, Care, Offered},
    rotation::offer::Offer,
    secret::Secret,
};

/// What requests to a service get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attach {
    /// Nothing: the service is open.
    Nothing,
    /// None yet, and one is being fetched: requests wait for it, a bounded number of them for a bounded time.
    Awaited,
    /// None, and none can be had now: requests are answered `credential_unavailable`.
    Missing,
    /// These.
    Values(Values),
}

/// Values that a service accepts, or may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// Which requests get which.
    pub offer: Offer<ValueId>,
    /// Every value that the offer names.
    pub values: Vec<Value>,
    /// Of tokens: from then on none is attached, whatever is published.
    pub until: Option<Moment>,
}

/// A key or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Which value it is.
    pub id: ValueId,
    /// Where it stands; none: it is a token.
    pub slot: Option<Slot>,
    /// The value itself.
    pub secret: Secret,
}

/// What was attached last, by the name of the endpoint.
pub type Attached = HashMap<String, Attach>;

impl Attach {
    /// Whether requests can be sent.
    #[must_use]
    pub fn is_ready(&self, now: Moment) -> bool {
        match self {
            Self::Nothing => true,
            Self::Awaited | Self::Missing => false,
            Self::Values(values) => values.until.is_none_or(|until| now < until),
        }
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        match self {
            Self::Values(values) => &values.values,
            Self::Nothing | Self::Awaited | Self::Missing => &[],
        }
    }

    /// Whether it is what new requests get.
    #[must_use]
    pub fn is_active(&self, id: ValueId) -> bool {
        matches!(self, Self::Values(values) if values.offer.others == id)
    }
}

/// As the data plane has it.
///
/// # Errors
/// Where a value cannot stand in a header, without showing it.
pub(super) fn attachment(endpoint: &Endpoint, attach: &Attach) -> anyhow::Result<Attachment> {
    let values = match attach {
        Attach::Nothing => return Ok(Attachment::Nothing),
        Attach::Awaited => return Ok(Attachment::Awaited),
        Attach::Missing => return Ok(Attachment::Missing),
        Attach::Values(values) => values,
    };
    let attached = values.values.iter().map(|value| {
        Ok(AttachedValue { id: value.id, slot: label(value.slot), value: field_value(endpoint, &value.secret)? })
    });
    Ok(Attachment::Offered(Arc::new(Offered {
        header: header(endpoint)?,
        values: attached.collect::<anyhow::Result<_>>()?,
        offer: values.offer,
        until: values.until,
        care: Care::Attended,
    })))
}

/// The label of a slot.
pub(super) const fn label(slot: Option<Slot>) -> &'static str {
    match slot {
        Some(slot) => slot.label(),
        None => "token",
    }
}

/// The name of the field that an endpoint attaches.
///
/// # Errors
/// Where it is none.
pub(super) fn header(endpoint: &Endpoint) -> anyhow::Result<HeaderName> {
    HeaderName::from_bytes(endpoint.attach_header.as_bytes()).context("`attach.header` is not a field name")
}

/// A value as it is attached.
///
/// # Errors
/// Where it cannot stand in a header, without showing it.
pub(super) fn field_value(endpoint: &Endpoint, secret: &Secret) -> anyhow::Result<HeaderValue> {
    // The error would carry nothing of the value, but is not shown either.
    let Ok(value) = secret.to_field(&endpoint.attach_prefix) else {
        bail!("the key has characters that cannot stand in a header")
    };
    Ok(value)
}
