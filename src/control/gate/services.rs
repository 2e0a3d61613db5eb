//! What is found out about services of Azure's, as the gate publishes it: the rest of the configuration stays as it is in force.
//!
//! Called by `control::azure`, and by a reload, which carries over what is still true.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;

use super::Gate;
use crate::{
    clock::Clock,
    config::model::{Config, Endpoint, Service, UpstreamUrl},
    control::{
        attach::{Attach, Attached},
        publish::{self, Publisher},
        threads::SEEN_PATIENCE,
    },
    ids::EndpointId,
    proxy::{credential::Report, endpoint::Stale, worker::Drain},
};

/// A drain that takes longer is asked about again, so that a worker's answer cannot be missed for ever.
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);

/// Why endpoints are not ready, by name.
pub(super) type Reasons = HashMap<String, String>;

impl Gate {
    /// The clock that the gate runs by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Serves a service where it was found, unless a reload has changed the endpoint meanwhile.
    ///
    /// # Errors
    /// Where it cannot be served; what is in force stays.
    pub async fn publish_found(&self, endpoint: &str, service: &Service, upstream: UpstreamUrl) -> Result<(), String> {
        let upstreams = vec![upstream];
        let config = self.in_force();
        if !config.endpoints.iter().any(|one| one.name == endpoint && one.upstreams == upstreams) {
            self.change(endpoint, service, |endpoint| endpoint.upstreams = upstreams).await?;
        }
        self.facts().reasons.remove(endpoint);
        Ok(())
    }

    /// Attaches this to requests of an endpoint from now on, unless a reload has changed it meanwhile. Every worker has it, or takes it up
    /// before its next request, when this returns.
    ///
    /// # Errors
    /// Where it cannot be attached; what is in force stays.
    pub async fn attach(&self, endpoint: &str, service: &Service, attach: Attach) -> Result<(), String> {
        {
            let mut publisher = self.publisher.lock().await;
            let config = self.in_force();
            let Some(endpoint) = of(&config, endpoint, service) else { return Ok(()) };
            publisher.attach(endpoint, &attach).map_err(|error| format!("{error:#}"))?;
            let mut facts = self.facts();
            facts.attached.insert(endpoint.name.clone(), attach);
            facts.note_fingerprints(self.shared.clock.now());
        }
        publish::wake(&self.workers);
        Ok(())
    }

    /// Returns once every worker holds what was attached last, and no request that was handed a value which that does not name is
    /// without a response head; never where one does not end.
    pub async fn await_drained(&self, endpoint: &str) {
        let (id, generation) = {
            let publisher = self.publisher.lock().await;
            (publisher.endpoint_id(endpoint), self.shared.snapshots.load().generation)
        };
        let drain = Drain { endpoint: id, stale: Stale::NotNamed };
        while publish::await_drained(&self.workers, drain, generation, DRAIN_PATIENCE).await.is_err() {
            tracing::debug!(endpoint, "requests with an earlier value are still without an answer");
        }
    }

    /// The identity that workers report an endpoint by.
    pub async fn endpoint_id(&self, endpoint: &str) -> Option<EndpointId> {
        self.publisher.lock().await.endpoint_id(endpoint)
    }

    /// What workers say of credentials. Only the first who asks gets it.
    pub fn take_reports(&self) -> Option<mpsc::Receiver<Report>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Remembers why an endpoint is not ready.
    pub fn note_reason(&self, endpoint: &str, service: &Service, why: String) {
        let mut facts = self.facts();
        if of(&facts.config, endpoint, service).is_some() {
            facts.reasons.insert(endpoint.to_owned(), why);
        }
    }

    async fn change(
        &self,
        name: &str,
        service: &Service,
        change: impl FnOnce(&mut Endpoint) + Send,
    ) -> Result<(), String> {
        let generation = {
            let mut publisher = self.publisher.lock().await;
            let mut config = (*self.in_force()).clone();
            let endpoint = config.endpoints.iter_mut().find(|endpoint| endpoint.name == name);
            let Some(endpoint) = endpoint.filter(|endpoint| endpoint.service.as_ref() == Some(service)) else {
                return Ok(());
            };
            change(endpoint);
            self.serve(&mut publisher, config)?
        };
        // Workers that are idle let go of the old value; those that are not look at their next request.
        if publish::await_seen(&self.workers, generation, SEEN_PATIENCE).await.is_err() {
            tracing::warn!(endpoint = name, "a worker did not take up in time what was found");
        }
        Ok(())
    }

    fn serve(&self, publisher: &mut Publisher, config: Config) -> Result<u64, String> {
        let attached = self.facts().attached.clone();
        let generation = publisher.publish(&config, &attached).map_err(|error| format!("{error:#}"))?;
        self.facts().config = Arc::new(config);
        self.follow_names();
        Ok(generation)
    }
}

fn of<'c>(config: &'c Config, name: &str, service: &Service) -> Option<&'c Endpoint> {
    config.endpoints.iter().find(|endpoint| endpoint.name == name && endpoint.service.as_ref() == Some(service))
}

/// Fills in what is known of services that a new configuration still means, and lets go of the rest: a reload leaves them ready.
pub(super) fn carry_over(before: &Config, after: &mut Config, attached: &Attached) -> Attached {
    let place = |config: &Config, service: &Service| {
        let workspace = config.workspaces.iter().find(|workspace| workspace.name == service.workspace);
        workspace.map(|workspace| workspace.place.clone())
    };
    let mut kept: Vec<(usize, Vec<UpstreamUrl>)> = Vec::new();
    for (at, new) in after.endpoints.iter().enumerate() {
        let Some(service) = &new.service else { continue };
        let same = before.endpoints.iter().find(|old| {
            let Some(was) = old.service.as_ref().filter(|_| old.name == new.name) else { return false };
            was.is_like(service) && place(before, was) == place(after, service)
        });
        kept.extend(same.map(|same| (at, same.upstreams.clone())));
    }
    let mut carried = Attached::new();
    for (at, upstreams) in kept {
        let Some(endpoint) = after.endpoints.get_mut(at) else { continue };
        endpoint.upstreams = upstreams;
        if let Some(known) = attached.get(&endpoint.name) {
            carried.insert(endpoint.name.clone(), known.clone());
        }
    }
    carried
}
