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
    found::{Found, TokenTimes, find, upstream},
};
use super::gate::Gate;
use crate::{
    azure::{calls::Calls, service::ControlPlane},
    clock::{Clock, Moment},
    config::model::{Credential, Service},
    random,
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
            let attendance = Attendance {
                endpoint: endpoint.name.clone(),
                service: service.clone(),
                plane,
                expires: match &endpoint.credential {
                    Credential::Token(token) => Some(token.expires),
                    Credential::None | Credential::Awaited | Credential::Keys { .. } => None,
                },
            };
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
    /// When what is published must no longer be attached, whoever published it.
    expires: Option<Moment>,
}

impl Attendance {
    /// Finds the service, publishes what was found, and begins again when its token is due; for ever.
    async fn go_on(self, gate: Arc<Gate>) -> std::convert::Infallible {
        let Self { endpoint, service, plane, mut expires } = self;
        let clock = gate.clock().clone();
        let mut backoff = Backoff::default();
        loop {
            let mut calls = Calls::default();
            // However long it takes: a token that is still attached leaves at its very end.
            let found = tokio::select! {
                found = find(&*plane, &service, &clock, &mut calls) => found,
                () = until(&clock, expires) => {
                    gate.withhold(&endpoint, &service).await;
                    expires = None;
                    continue;
                }
            };
            let now = clock.now();
            let pause = match found {
                Ok(found) => {
                    let good_until = found.token.map(|token| now + token.good_for);
                    let again = found.token.map(TokenTimes::look_again);
                    tracing::info!(endpoint, service = %service.name, auth = found.auth.word(), %calls, "found");
                    match gate.publish_found(&endpoint, &service, found).await {
                        Ok(()) => {
                            expires = good_until;
                            backoff = Backoff::default();
                            // Keys are read once: nothing is to be done until a reload.
                            match again {
                                Some(pause) => pause,
                                None => std::future::pending().await,
                            }
                        }
                        Err(why) => {
                            tracing::error!(endpoint, service = %service.name, why, "what was found cannot be served");
                            gate.note_reason(&endpoint, &service, why);
                            backoff.next(None, dice())
                        }
                    }
                }
                Err(error) => {
                    let pause = backoff.next(Some(&error), dice());
                    tracing::warn!(endpoint, service = %service.name, %error, %calls, again_in = ?pause, "not found");
                    gate.note_reason(&endpoint, &service, error.to_string());
                    pause
                }
            };
            tokio::select! {
                () = clock.sleep(pause) => {}
                () = until(&clock, expires) => {
                    gate.withhold(&endpoint, &service).await;
                    expires = None;
                }
            }
        }
    }
}

/// Waits for a moment; for ever where there is none.
async fn until(clock: &Clock, moment: Option<Moment>) {
    match moment {
        Some(moment) => clock.sleep(moment.since(clock.now())).await,
        None => std::future::pending().await,
    }
}

fn dice() -> u64 {
    random::bytes().map_or(0, u64::from_ne_bytes)
}
