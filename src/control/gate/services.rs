//! What is found out about services of Azure's, as the gate publishes it: the rest of the configuration stays as it is in force.
//!
//! Called by `control::azure`, and by a reload, which carries over what is still true.

use std::{collections::HashMap, sync::Arc};

use super::Gate;
use crate::{
    clock::Clock,
    config::model::{Config, Credential, Endpoint, Service, Slot},
    control::{
        azure::Found,
        publish::{self, Publisher},
        threads::SEEN_PATIENCE,
    },
};

/// Why endpoints are not ready, by name.
pub(super) type Reasons = HashMap<String, String>;

impl Gate {
    /// The clock that the gate runs by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Serves what was found of a service, unless a reload has changed the endpoint meanwhile.
    ///
    /// # Errors
    /// Where it cannot be served; what is in force stays.
    pub async fn publish_found(&self, endpoint: &str, service: &Service, found: Found) -> Result<(), String> {
        let Found { upstream, credential, .. } = found;
        let upstreams = vec![upstream];
        let same = |endpoint: &Endpoint| endpoint.upstreams == upstreams && endpoint.credential == credential;
        if !self.in_force().endpoints.iter().any(|one| one.name == endpoint && same(one)) {
            self.change(endpoint, service, |endpoint| {
                endpoint.upstreams = upstreams;
                endpoint.credential = credential;
            })
            .await?;
        }
        self.facts().reasons.remove(endpoint);
        Ok(())
    }

    /// Attaches nothing any more: what was attached is no longer good.
    pub async fn withhold(&self, endpoint: &str, service: &Service) {
        tracing::warn!(endpoint, "its token has expired and there is no newer one: requests are refused");
        if let Err(why) = self.change(endpoint, service, |endpoint| endpoint.credential = Credential::Awaited).await {
            tracing::error!(endpoint, why, "an expired token could not be taken out of use");
        }
    }

    /// Remembers why an endpoint is not ready.
    pub fn note_reason(&self, endpoint: &str, service: &Service, why: String) {
        let mut facts = self.facts();
        if is_of(&facts.config, endpoint, service) {
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
        let generation = publisher.publish(&config).map_err(|error| format!("{error:#}"))?;
        {
            let mut facts = self.facts();
            facts.fingerprints.note(&config, self.shared.clock.now());
            facts.config = Arc::new(config);
        }
        self.follow_names();
        Ok(generation)
    }
}

fn is_of(config: &Config, name: &str, service: &Service) -> bool {
    config.endpoints.iter().any(|endpoint| endpoint.name == name && endpoint.service.as_ref() == Some(service))
}

/// Fills in what is known of services that a new configuration still means: a reload leaves them ready. Which key is attached may
/// change without asking Azure.
pub(super) fn carry_over(before: &Config, after: &mut Config) {
    let place = |config: &Config, service: &Service| {
        let workspace = config.workspaces.iter().find(|workspace| workspace.name == service.workspace);
        workspace.map(|workspace| workspace.place.clone())
    };
    let mut known: HashMap<String, Endpoint> = HashMap::new();
    for new in &after.endpoints {
        let Some(service) = &new.service else { continue };
        let same = before.endpoints.iter().find(|old| {
            let Some(was) = old.service.as_ref().filter(|_| old.name == new.name) else { return false };
            was.is_like(service) && place(before, was) == place(after, service)
        });
        if let Some(same) = same {
            known.insert(new.name.clone(), same.clone());
        }
    }
    for endpoint in &mut after.endpoints {
        let Some(known) = known.remove(&endpoint.name) else { continue };
        endpoint.upstreams = known.upstreams;
        endpoint.credential =
            with_active(known.credential, endpoint.service.as_ref().and_then(|service| service.active));
    }
}

fn with_active(credential: Credential, slot: Option<Slot>) -> Credential {
    match (credential, slot) {
        (Credential::Keys { primary, secondary, .. }, Some(active)) => Credential::Keys { primary, secondary, active },
        (credential, _) => credential,
    }
}
