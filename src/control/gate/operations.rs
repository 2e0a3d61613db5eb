//! What the admin side asks of a gate: how it stands, and what it is told to do.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{Facts, Gate};
use crate::{
    clock::Moment,
    config::model::{Config, Credential, Endpoint, Readiness, Slot},
    control::{
        admin::{
            BoxFuture, Operations,
            report::{
                EndpointReady, EndpointStatus, ListenerStatus, ReadyReport, ReloadError, ReloadReport, SlotStatus,
                Status, WorkerStatus,
            },
        },
        desk::{Granted, Run, Wish},
        fingerprint::Place,
        played::{
            NotChanged,
            manage::{Answer, Asked},
            owner::{Order, ServiceKeys},
        },
    },
    rotation::refusal::Refusal,
    telemetry::{logs::LogControl, metrics::Metrics},
};

impl Gate {
    fn endpoint_status(&self, config: &Config, facts: &Facts) -> Vec<EndpointStatus> {
        let now = self.shared.clock.now();
        let status = |endpoint: &Endpoint| {
            let places = [
                (Place::Slot(Slot::Primary), "primary"),
                (Place::Slot(Slot::Secondary), "secondary"),
                (Place::Token, "token"),
            ];
            let slots = places.into_iter().filter_map(|(place, name)| {
                let seen = facts.fingerprints.of(&endpoint.name, place)?;
                Some(SlotStatus {
                    slot: name.to_owned(),
                    active: facts.is_active(endpoint, place),
                    fingerprint: Some(seen.digest.fingerprint()),
                    age_seconds: now.since(seen.since).as_secs(),
                    generation: seen.generation,
                })
            });
            let slots = slots.collect();
            let in_flight = self.shared.metrics.in_flight.with_label_values(&[&endpoint.name]).get();
            EndpointStatus {
                name: endpoint.name.clone(),
                ready: facts.is_ready(endpoint, now),
                reason: reason(endpoint, facts, now),
                upstreams: endpoint
                    .upstreams
                    .iter()
                    .map(|url| {
                        format!("{}://{}:{}{}", if url.tls { "https" } else { "http" }, url.host, url.port, url.path)
                    })
                    .collect(),
                slots,
                service: self.desk().status(&endpoint.name),
                in_flight: u64::try_from(in_flight).unwrap_or(0),
            }
        };
        config.endpoints.iter().map(status).collect()
    }
}

impl Facts {
    /// How old the values are that are attached.
    fn tell_ages(&self, metrics: &Metrics, now: Moment) {
        metrics.credential_age.reset();
        for endpoint in &self.config.endpoints {
            for place in [Place::Slot(Slot::Primary), Place::Slot(Slot::Secondary), Place::Token] {
                if let Some(seen) = self.fingerprints.of(&endpoint.name, place) {
                    let slot = match place {
                        Place::Slot(slot) => slot.label(),
                        Place::Token => "token",
                    };
                    let age = now.since(seen.since).as_secs_f64();
                    metrics.credential_age.with_label_values(&[&endpoint.name, slot]).set(age);
                }
            }
        }
    }

    /// Whether new requests get what stands there.
    fn is_active(&self, endpoint: &Endpoint, place: Place) -> bool {
        match (&endpoint.credential, place) {
            (Credential::Keys { active, .. }, Place::Slot(slot)) => *active == slot,
            (Credential::OfService, Place::Slot(slot)) => self.attached.get(&endpoint.name).is_some_and(|attach| {
                attach.values().iter().any(|value| value.slot == Some(slot) && attach.is_active(value.id))
            }),
            _ => true,
        }
    }
}

impl Operations for Arc<Gate> {
    fn ready(&self) -> ReadyReport {
        let draining = self.shared.snapshots.draining();
        let facts = self.facts();
        let (config, now) = (Arc::clone(&facts.config), self.shared.clock.now());
        let asked = |name: &String| match &config.readiness {
            Readiness::All | Readiness::Any => true,
            Readiness::Named(names) => names.contains(name),
        };
        let endpoints = config.endpoints.iter().filter(|endpoint| asked(&endpoint.name));
        let endpoints: Vec<EndpointReady> = endpoints
            .map(|endpoint| {
                let ready = facts.is_ready(endpoint, now);
                // Whoever may ask this need not know whom we ask at Azure: `status` and the log say more.
                let reason = (!ready).then(|| "its service or its credential is not known yet".to_owned());
                EndpointReady { name: endpoint.name.clone(), ready, reason }
            })
            .collect();
        let enough = match config.readiness {
            Readiness::Any => endpoints.is_empty() || endpoints.iter().any(|endpoint| endpoint.ready),
            Readiness::All | Readiness::Named(_) => endpoints.iter().all(|endpoint| endpoint.ready),
        };
        ReadyReport { ready: enough && !draining, draining, endpoints }
    }

    fn live(&self) -> bool {
        self.alive.load(Relaxed)
    }

    fn status(&self) -> Status {
        let config = self.in_force();
        let clock = &self.shared.clock;
        let gauge = |name: &str, state| self.shared.metrics.connections.with_label_values(&[name, state]).get();
        let facts = self.facts();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: clock.now().since(self.started).as_secs(),
            generation: self.shared.snapshots.load().generation,
            draining: self.shared.snapshots.draining(),
            listeners: config
                .listeners
                .iter()
                .map(|listener| ListenerStatus {
                    name: listener.name.clone(),
                    address: self.address_of(listener),
                    tls: listener.tls.is_some(),
                    connections: u64::try_from(gauge(&listener.name, "idle") + gauge(&listener.name, "active"))
                        .unwrap_or(0),
                })
                .collect(),
            endpoints: self.endpoint_status(&config, &facts),
            workers: self
                .workers
                .iter()
                .enumerate()
                .map(|(index, worker)| WorkerStatus {
                    index: u32::try_from(index).unwrap_or(u32::MAX),
                    generation: worker.gauges.generation.load(Relaxed),
                    connections: count(worker.gauges.connections.load(Relaxed)),
                    in_flight: count(worker.gauges.in_flight.load(Relaxed)),
                })
                .collect(),
            last_reload: facts.last_reload.clone(),
        }
    }

    fn metrics(&self) -> String {
        let metrics = &self.shared.metrics;
        self.facts().tell_ages(metrics, self.shared.clock.now());
        if let Ok(mut publisher) = self.publisher.try_lock() {
            metrics.snapshots_live.set(i64::try_from(publisher.live()).unwrap_or(i64::MAX));
        }
        let dropped = self.shared.access.dropped() + self.logs.as_ref().map_or(0, LogControl::dropped);
        metrics.log_dropped.inc_by(dropped.saturating_sub(metrics.log_dropped.get()));
        metrics.render()
    }

    fn config(&self) -> serde_json::Value {
        crate::config::redacted(&self.in_force())
    }

    fn reload(&self, drained: bool) -> BoxFuture<'static, Result<ReloadReport, ReloadError>> {
        let gate = Self::clone(self);
        Box::pin(async move { Gate::reload(&gate, drained).await })
    }

    fn change_keys<'a>(&'a self, endpoint: &'a str, wish: Wish, run: Run) -> BoxFuture<'a, Result<Granted, Refusal>> {
        Box::pin(self.desk().ask(endpoint, wish, run))
    }

    fn drain(&self) {
        self.drain_asked.notify_one();
    }

    fn manage(&self, asked: Asked) -> BoxFuture<'static, Answer> {
        Box::pin(Gate::manage(Self::clone(self), asked))
    }

    fn order(&self, service: String, order: Order) -> BoxFuture<'static, Result<ServiceKeys, NotChanged>> {
        Box::pin(Gate::order_played(Self::clone(self), service, order))
    }

    fn set_log_level(&self, level: tracing::Level) {
        if let Some(logs) = &self.logs {
            logs.set_level(level);
        }
    }
}

fn reason(endpoint: &Endpoint, facts: &Facts, now: Moment) -> Option<String> {
    let unready = !facts.is_ready(endpoint, now);
    unready.then(|| facts.reasons.get(&endpoint.name).cloned().unwrap_or_else(|| "it is being looked for".to_owned()))
}
