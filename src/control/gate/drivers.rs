//! What the drivers of `control::azure` ask of the gate besides publishing.

use super::Gate;
use crate::{
    config::model::Service,
    control::{attach::Attach, azure::Front, desk::Desk},
    ids::Generation,
    telemetry::metrics::Metrics,
};

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

    /// Whether an endpoint attaches values.
    #[must_use]
    pub fn has_values(&self, endpoint: &str) -> bool {
        matches!(self.facts().attached.get(endpoint), Some(Attach::Values(_)))
    }
}
