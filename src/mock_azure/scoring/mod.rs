//! Front ends: they judge the credential, and hand what is let in to the built-in model or to a container.
//!
//! A request that is refused is read to its end and its connection kept, unless a fault says otherwise. `OPTIONS` is judged like
//! everything else. hyper directly, not axum: load tests send thousands of requests a second here.

mod backend;
mod model;
mod trouble;
mod websocket;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

pub(super) use self::backend::Backend;
use super::{
    state::{
        counters::Count,
        faults::{Fault, Kind, Meeting, Target},
        service::Action,
    },
    wire::{abort, with},
    world::{Deployed, World},
};
use crate::service_auth::{Presented, Refusal, ServiceKind};

/// One listener of a service: its scoring URI, or one of its front ends.
#[derive(Debug)]
pub(super) struct Line {
    deployed: Arc<Deployed>,
    which: Which,
    backend: Option<Arc<Backend>>,
    /// What every path of the service begins with, ending in `/`.
    base: String,
}

/// Who answers a connection.
#[derive(Debug)]
pub(super) enum Which {
    One(usize),
    /// Each connection the next of so many. Relaxed: nothing else goes with the number.
    InTurn(AtomicUsize, usize),
}

/// Where a service's paths begin, as Azure has it.
pub(super) fn base_path(kind: ServiceKind, name: &str) -> String {
    match kind {
        ServiceKind::Aks => format!("/api/v1/service/{name}/"),
        ServiceKind::Aci | ServiceKind::Online => "/".to_owned(),
    }
}

impl Line {
    pub(super) fn new(deployed: Arc<Deployed>, which: Which, backend: Option<Arc<Backend>>) -> Self {
        let kind = deployed.lock().setup.kind;
        let base = base_path(kind, &deployed.name);
        Self { deployed, which, backend, base }
    }

    pub(super) fn name(&self) -> &str {
        &self.deployed.name
    }

    /// Whose turn the next connection is.
    pub(super) fn next_front_end(&self) -> usize {
        match &self.which {
            Which::One(front_end) => *front_end,
            Which::InTurn(next, count) => next.fetch_add(1, Relaxed) % count,
        }
    }

    pub(super) fn count_connection(&self, world: &World, front_end: usize) {
        let counts = [Count::Connections, Count::FrontEndConnections(front_end)];
        self.deployed.lock().seen.add(world.real_millis(), counts);
    }

    /// Answers one request.
    pub(super) async fn answer(
        &self,
        world: &World,
        front_end: usize,
        request: Request<Incoming>,
        local: SocketAddr,
    ) -> Response {
        let verdict = {
            let presented = Presented::read(request.headers());
            let mut service = self.deployed.lock();
            let verdict = service.judge(front_end, &presented, &world.moment(), world.real_millis(), world);
            verdict.map(|_accepted| service.denies(Action::Score))
        };
        let rest = request.uri().path().strip_prefix(self.base.as_str()).map(str::to_owned);
        let meeting = Meeting {
            target: Target::Scoring,
            call: rest.as_deref().unwrap_or("other"),
            service: Some(&self.deployed.name),
            front_end: Some(front_end),
        };
        let fate = world.fate(&meeting);
        if fate.delay > 0.0 {
            tokio::time::sleep(Duration::try_from_secs_f64(fate.delay).unwrap_or_default()).await;
        }
        match fate.fault {
            None => self.judged(verdict, request, rest, local).await,
            Some(fault) => self.misbehave(&fault, verdict, request, rest, local).await,
        }
    }

    async fn judged(
        &self,
        verdict: Result<bool, Refusal>,
        request: Request<Incoming>,
        rest: Option<String>,
        local: SocketAddr,
    ) -> Response {
        match verdict {
            Err(refusal) => {
                drain(request).await;
                refused(refusal)
            }
            Ok(true) => {
                drain(request).await;
                trouble::message(StatusCode::FORBIDDEN, "the identity may not score here")
            }
            Ok(false) => match (rest, &self.backend) {
                (Some(rest), Some(backend)) => backend.forward(request, &rest, local).await,
                (Some(rest), None) => model::answer(request, &rest).await,
                (None, _) => {
                    drain(request).await;
                    trouble::message(StatusCode::NOT_FOUND, "there is no service at this path")
                }
            },
        }
    }

    async fn misbehave(
        &self,
        fault: &Fault,
        verdict: Result<bool, Refusal>,
        request: Request<Incoming>,
        rest: Option<String>,
        local: SocketAddr,
    ) -> Response {
        match (fault.kind, verdict) {
            (Kind::Down, _) => abort(),
            (Kind::RefuseEarly, Err(refusal)) => with(refused(refusal), "connection", "close"),
            (Kind::Status, _) => {
                drain(request).await;
                trouble::answer(fault, StatusCode::SERVICE_UNAVAILABLE)
            }
            (Kind::Garbage, _) => {
                drain(request).await;
                let mut response = Response::new(Body::from("{\"unexpected\":"));
                response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
                response
            }
            (Kind::AfterEffect, verdict) => {
                finish(self.judged(verdict, request, rest, local).await).await;
                trouble::answer(fault, StatusCode::INTERNAL_SERVER_ERROR)
            }
            (Kind::LostReply, verdict) => {
                finish(self.judged(verdict, request, rest, local).await).await;
                abort()
            }
            (Kind::RefuseEarly | Kind::Slow, verdict) => self.judged(verdict, request, rest, local).await,
        }
    }
}

fn refused(refusal: Refusal) -> Response {
    if refusal.is_forbidden() {
        return trouble::message(StatusCode::FORBIDDEN, "the identity may not score here");
    }
    let response = trouble::message(StatusCode::UNAUTHORIZED, &refusal.to_string());
    with(response, "www-authenticate", "Bearer")
}

/// Reads a request to its end.
async fn drain(request: Request<Incoming>) {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
}

/// Reads an answer to its end, so that the work is done.
async fn finish(response: Response) {
    let mut body = response.into_body();
    while let Some(Ok(_)) = body.frame().await {}
}
