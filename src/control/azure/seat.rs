//! What a driver has to do with: the endpoints that its service is, the way to Azure, the gate, and who asks.
//!
//! One per service, made by `attend` and handed to whichever driver the service needs. It decides nothing.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{backoff::Backoff, found, probe::Front};
use crate::{
    azure::{
        calls::Calls,
        error::Error,
        service::{Auth, ControlPlane},
    },
    clock::{Clock, Moment, Tick},
    config::model::{Service, UpstreamUrl},
    control::{admin::report::ServiceStatus, attach::Attach, desk, gate::Gate, journals::Journals},
    ids::Generation,
    proxy::credential::Report,
    random,
    rotation::refusal::Refusal,
};

/// How long a description may take, with a sign-in and a look for the workspace.
const DESCRIBE_PATIENCE: Duration = Duration::from_secs(150);

/// A place to drive a service from.
pub(super) struct Seat {
    pub(super) gate: Arc<Gate>,
    pub(super) journals: Journals,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) requests: mpsc::UnboundedReceiver<desk::Request>,
    pub(super) status: watch::Sender<Option<ServiceStatus>>,
    pub(super) subject: Subject,
}

/// What is driven.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// Endpoints that are this service, by name; the first stands for it in counters. Never empty.
    pub(super) endpoints: Vec<(String, Service)>,
    /// The way to Azure.
    pub(super) plane: Arc<dyn ControlPlane>,
}

/// What `attend` says to a driver.
#[derive(Debug)]
pub(super) enum Order {
    /// A reload has this of its service now.
    Renewed(Subject),
    /// A reload has no endpoint of it any more.
    Removed,
    /// The data plane has seen something.
    Report(Report),
}

/// Why a driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The configuration has no endpoint of the service any more, and nothing is open.
    Removed,
    /// The service has become another one.
    Changed,
}

/// A service, described by its control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    /// Where it scores.
    pub(super) upstream: UpstreamUrl,
    /// How it lets us in.
    pub(super) auth: Auth,
    /// Its resource id, in whatever case; of a service with keys.
    pub(super) id: Option<String>,
}

impl Seat {
    /// The endpoint that stands for the service in counters.
    pub(super) fn label(&self) -> &str {
        self.subject.endpoints.first().map_or("", |(name, _)| name)
    }

    /// How the service is kept, by the configuration in force. Endpoints of one service agree.
    pub(super) fn service(&self) -> Option<&Service> {
        self.subject.endpoints.first().map(|(_, service)| service)
    }

    pub(super) fn clock(&self) -> &Clock {
        self.gate.clock()
    }

    pub(super) fn tick(&self) -> Tick {
        let clock = self.gate.clock();
        Tick { now: clock.now(), unix: clock.unix_seconds(), dice: dice() }
    }

    /// Gives requests of every endpoint this from now on.
    pub(super) async fn attach(&self, attach: &Attach) -> Result<(), String> {
        for (name, service) in &self.subject.endpoints {
            self.gate.attach(name, service, attach.clone()).await.map_err(|why| format!("endpoint {name}: {why}"))?;
        }
        Ok(())
    }

    /// Sends requests of every endpoint there from now on.
    pub(super) async fn serve(&self, upstream: &UpstreamUrl) -> Result<(), String> {
        for (name, service) in &self.subject.endpoints {
            let published = self.gate.publish_found(name, service, upstream.clone()).await;
            published.map_err(|why| format!("endpoint {name}: {why}"))?;
        }
        Ok(())
    }

    /// Remembers why the endpoints are not ready.
    pub(super) fn note_reason(&self, why: &str) {
        for (name, service) in &self.subject.endpoints {
            self.gate.note_reason(name, service, why.to_owned());
        }
    }

    /// Where probes go at present.
    pub(super) fn front(&self) -> Option<Front> {
        self.subject.endpoints.iter().find_map(|(name, _)| self.gate.front(name))
    }

    /// Asks the control plane what the service is.
    pub(super) fn describe(&self) -> impl Future<Output = Result<Located, Error>> + Send + 'static {
        let plane = Arc::clone(&self.subject.plane);
        let service = self.service().cloned();
        async move {
            let Some(service) = service else { return Err(Error::local("find a service", "none is named")) };
            let mut calls = Calls::default();
            let describing = async {
                let (upstream, auth) = found::locate(&*plane, &service, &mut calls).await?;
                let id = if auth == Auth::Key { Some(plane.resource_id(&mut calls).await?) } else { None };
                Ok(Located { upstream, auth, id })
            };
            let described = tokio::time::timeout(DESCRIBE_PATIENCE, Box::pin(describing)).await;
            described.unwrap_or_else(|_elapsed| {
                let why = format!("nothing came of it within {DESCRIBE_PATIENCE:?}");
                Err(Error::local(format!("find {}", service.name), why))
            })
        }
    }

    /// Looks for the service until it is found. None: it is no longer wanted.
    pub(super) async fn find(&mut self) -> Option<Located> {
        let clock = self.clock().clone();
        let mut backoff = Backoff::default();
        let mut missing = false;
        loop {
            let found = {
                let mut describing = Box::pin(self.describe());
                loop {
                    tokio::select! {
                        found = &mut describing => break found,
                        order = self.orders.recv() => match order? {
                            Order::Renewed(subject) => {
                                self.subject = subject;
                                backoff = Backoff::default();
                                describing = Box::pin(self.describe());
                            }
                            Order::Removed => return None,
                            Order::Report(_) => {}
                        },
                        Some(request) = self.requests.recv() => refuse(request),
                    }
                }
            };
            let pause = match found {
                Ok(located) => match self.serve(&located.upstream).await {
                    Ok(()) => {
                        let name = self.service().map(|service| service.name.to_string()).unwrap_or_default();
                        tracing::info!(endpoint = self.label(), service = name, auth = located.auth.word(), "found");
                        return Some(located);
                    }
                    Err(why) => {
                        tracing::error!(endpoint = self.label(), why, "what was found cannot be served");
                        self.note_reason(&why);
                        backoff.next(None, dice())
                    }
                },
                Err(error) => {
                    let pause = backoff.next(Some(&error), dice());
                    tracing::warn!(endpoint = self.label(), %error, again_in = ?pause, "not found");
                    self.note_reason(&error.to_string());
                    pause
                }
            };
            if !missing {
                missing = true;
                self.miss().await;
            }
            let until = clock.now() + pause;
            loop {
                tokio::select! {
                    () = clock.sleep(until.since(clock.now())) => break,
                    order = self.orders.recv() => match order? {
                        Order::Renewed(subject) => {
                            self.subject = subject;
                            backoff = Backoff::default();
                            break;
                        }
                        Order::Removed => return None,
                        Order::Report(_) => {}
                    },
                    Some(request) = self.requests.recv() => refuse(request),
                }
            }
        }
    }

    /// Nothing can be had for now: requests need not wait. What is attached and valid stays.
    pub(super) async fn miss(&self) {
        for (name, service) in &self.subject.endpoints {
            if !self.gate.has_values(name)
                && let Err(why) = self.gate.attach(name, service, Attach::Missing).await
            {
                tracing::error!(endpoint = name, why, "it cannot be said that there is no credential");
            }
        }
    }
}

/// Whether every endpoint of these that the configuration still has attaches this generation or a later one.
pub(super) fn all_attach(gate: &Gate, endpoints: &[(String, Service)], generation: Generation) -> bool {
    endpoints
        .iter()
        .all(|(name, service)| gate.attached_generation(name, service).is_none_or(|known| known >= generation))
}

/// Nothing is known of the service yet.
pub(super) fn refuse(request: desk::Request) {
    let _nobody_waits = request.answer.send(Err(Refusal::NotReady));
}

/// Waits for a moment; for ever where there is none.
pub(super) async fn until(clock: &Clock, moment: Option<Moment>) {
    match moment {
        Some(moment) => clock.sleep(moment.since(clock.now())).await,
        None => std::future::pending().await,
    }
}

pub(super) fn dice() -> u64 {
    random::bytes().map_or(0, u64::from_ne_bytes)
}
