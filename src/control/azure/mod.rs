//! Endpoints that are services of Azure's: found, read once, published; and looked at again with each reload.
//!
//! `run` starts [`attend`] and lives no longer than it. Each service has a task of its own, so that one endpoint's trouble delays no
//! other's. What a task learns reaches the data plane through [`Gate::publish_found`] and in no other way. The renewal of
//! tokens before they are due, healing and rotation take the place of `Attendance`'s inside later; the seam is
//! [`Connect`] on the one side and [`Gate`] on the other.

mod backoff;
mod clients;
mod found;
mod probe;

use std::sync::Arc;

use anyhow::bail;
use tokio::task::JoinSet;

use self::backoff::Backoff;
pub use self::{
    clients::{Clients, Connect},
    found::{Credential, Found, TokenTimes, find, upstream},
};
use super::{
    attach::{Attach, Value, Values},
    gate::Gate,
};
use crate::{
    azure::{calls::Calls, service::ControlPlane},
    config::model::{Service, Slot},
    ids::{Generation, ValueId},
    random,
    rotation::offer::Offer,
};

/// Looks after every service, until the gate ends.
///
/// # Errors
/// Where a task ended, which must live as long as its endpoint.
pub async fn attend(gate: Arc<Gate>, mut azure: impl Connect) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    loop {
        let config = gate.in_force();
        for endpoint in &config.endpoints {
            let Some(service) = &endpoint.service else { continue };
            let Some(plane) = azure.connect(&config, service) else { continue };
            let attendance =
                Attendance { endpoint: endpoint.name.clone(), service: service.clone(), plane, generation: 0 };
            tasks.spawn(attendance.go_on(Arc::clone(&gate)));
        }
        azure.forget_all_but(&config);
        loop {
            tokio::select! {
                () = gate.config_changed.notified() => break,
                Some(ended) = tasks.join_next() => match ended {
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => bail!("the task that looks after a service ended: {error}"),
                    Ok(never) => match never {},
                },
            }
        }
        // Whoever reloads has changed or mended something, here or at Azure: everything is looked at anew, and what was known is
        // served meanwhile.
        tasks.abort_all();
    }
}

/// One service, looked after.
struct Attendance {
    endpoint: String,
    service: Service,
    plane: Arc<dyn ControlPlane>,
    /// Of what was attached last.
    generation: Generation,
}

impl Attendance {
    /// Finds the service, publishes what was found, and begins again when its token is due; for ever.
    async fn go_on(mut self, gate: Arc<Gate>) -> std::convert::Infallible {
        let clock = gate.clock().clone();
        let mut backoff = Backoff::default();
        loop {
            let mut calls = Calls::default();
            let found = find(&*self.plane, &self.service, &clock, &mut calls).await;
            let name = &self.service.name;
            let pause = match found {
                Ok(found) => {
                    let again = found.token.map(TokenTimes::look_again);
                    tracing::info!(endpoint = self.endpoint, service = %name, auth = found.auth.word(), %calls, "found");
                    match self.publish(&gate, found).await {
                        Ok(()) => {
                            backoff = Backoff::default();
                            // Keys are read once: nothing is to be done until a reload.
                            match again {
                                Some(pause) => pause,
                                None => std::future::pending().await,
                            }
                        }
                        Err(why) => {
                            tracing::error!(endpoint = self.endpoint, service = %self.service.name, why, "what was found cannot be served");
                            gate.note_reason(&self.endpoint, &self.service, why);
                            backoff.next(None, dice())
                        }
                    }
                }
                Err(error) => {
                    let pause = backoff.next(Some(&error), dice());
                    tracing::warn!(endpoint = self.endpoint, service = %name, %error, %calls, again_in = ?pause, "not found");
                    gate.note_reason(&self.endpoint, &self.service, error.to_string());
                    pause
                }
            };
            clock.sleep(pause).await;
        }
    }

    async fn publish(&mut self, gate: &Gate, found: Found) -> Result<(), String> {
        gate.publish_found(&self.endpoint, &self.service, found.upstream).await?;
        self.generation += 1;
        let attach = attach(self.generation, found.credential);
        gate.attach(&self.endpoint, &self.service, attach).await
    }
}

/// What requests get of what was found.
fn attach(generation: Generation, credential: Credential) -> Attach {
    let value = |slot, secret| Value { id: ValueId::fresh(), slot, secret };
    let (values, until) = match credential {
        Credential::Open => return Attach::Nothing,
        Credential::Keys { primary, secondary, active } => {
            let mut values = vec![value(Some(Slot::Primary), primary), value(Some(Slot::Secondary), secondary)];
            if active == Slot::Secondary {
                values.reverse();
            }
            (values, None)
        }
        Credential::Token { value: token, until } => (vec![value(None, token)], Some(until)),
    };
    let Some(first) = values.first() else { return Attach::Missing };
    let offer = Offer::fixed(generation, first.id, values.get(1).map(|other| other.id));
    Attach::Values(Values { offer, values, until })
}

fn dice() -> u64 {
    random::bytes().map_or(0, u64::from_ne_bytes)
}
