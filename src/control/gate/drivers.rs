//! What the drivers of `control::azure` ask of the gate besides publishing.

use std::time::Duration;

use super::Gate;
use crate::{
    config::model::{Service, Slot},
    control::{attach::Attach, azure::Front, desk::Desk},
    ids::Generation,
    telemetry::metrics::Metrics,
};

/// Between two looks whether a chosen key is attached.
const CHOSEN_LOOK: Duration = Duration::from_millis(20);

impl Gate {
    /// The metrics of this process.
    #[must_use]
    pub fn telemetry(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Where people ask the drivers.
    #[must_use]
    pub const fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Where probes of an endpoint go. None while it was not found.
    #[must_use]
    pub(in crate::control) fn front(&self, endpoint: &str) -> Option<Front> {
        let config = self.in_force();
        let configured = config.endpoints.iter().find(|one| one.name == endpoint)?;
        let snapshot = self.shared.snapshots.load();
        let built = snapshot.endpoints.iter().find(|one| &*one.name == endpoint)?;
        let upstream = built.upstreams.first()?;
        Some(Front {
            backend: std::sync::Arc::clone(&upstream.backend),
            addresses: upstream.addresses.clone(),
            scoring: configured.upstreams.first()?.path.clone(),
            header: configured.attach_header.clone(),
            prefix: configured.attach_prefix.clone(),
        })
    }

    /// The generation that an endpoint attaches, 0 where it attaches no values. None: the configuration in force has no such endpoint
    /// of this service.
    #[must_use]
    pub fn attached_generation(&self, endpoint: &str, service: &Service) -> Option<Generation> {
        let facts = self.facts();
        let known = facts.config.endpoints.iter().find(|one| one.name == endpoint)?;
        known.service.as_ref().filter(|known| known.is_like(service))?;
        match facts.attached.get(endpoint) {
            Some(Attach::Values(values)) => Some(values.offer.generation),
            Some(Attach::Nothing | Attach::Awaited | Attach::Missing) | None => Some(0),
        }
    }

    /// Waits until requests get the keys that somebody chose by hand: their drivers attach one when every front end accepts it.
    ///
    /// # Errors
    /// Which is not attached in time.
    pub(super) async fn await_chosen(&self, patience: Duration) -> Result<(), String> {
        let attached = async {
            while self.not_attached_yet().is_some() {
                tokio::time::sleep(CHOSEN_LOOK).await;
            }
        };
        let _in_time = tokio::time::timeout(patience, attached).await;
        self.not_attached_yet().map_or(Ok(()), |(endpoint, slot)| {
            let slot = slot.label();
            let why = format!("endpoint {endpoint}: the {slot} key is not attached after {patience:?}");
            Err(format!("{why}: not every front end was seen to accept it yet"))
        })
    }

    /// An endpoint whose requests do not get the key that its configuration names.
    fn not_attached_yet(&self) -> Option<(String, Slot)> {
        let facts = self.facts();
        facts.config.endpoints.iter().find_map(|endpoint| {
            let slot = endpoint.service.as_ref()?.active?;
            let attach @ Attach::Values(_) = facts.attached.get(&endpoint.name)? else { return None };
            let is_it = attach.values().iter().any(|value| value.slot == Some(slot) && attach.is_active(value.id));
            // Tokens are in no slot.
            let has_slots = attach.values().iter().any(|value| value.slot.is_some());
            (has_slots && !is_it).then(|| (endpoint.name.clone(), slot))
        })
    }

    /// Whether an endpoint attaches values.
    #[must_use]
    pub fn has_values(&self, endpoint: &str) -> bool {
        matches!(self.facts().attached.get(endpoint), Some(Attach::Values(_)))
    }
}
