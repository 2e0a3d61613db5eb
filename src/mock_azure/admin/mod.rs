//! The mock's own admin API: it makes it misbehave, and tells what it saw. No token: it listens on loopback, and nothing is real.
//!
//! A request with `Origin` is refused, so that no page in a browser gives orders here.

mod knobs;
mod seen;

pub(super) use self::knobs::{EntraChange, ServiceChange};

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use http::{StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    PortFile,
    entra::claims,
    setup::{CLUSTER_AUDIENCE, CLUSTER_ISSUER, CLUSTER_SUBJECT},
    state::{
        faults::{Fault, Faults},
        grants::Decision,
    },
    wire::{self, answer},
    world::{Deployed, World},
};
use crate::service_auth::{KeyValue, Slot};

/// Federated tokens live as long as a cluster's own.
const FEDERATED_LIFETIME: u64 = 3_600;
/// Longest shift of the clock: ten years, seconds.
const MAX_OFFSET: f64 = 315_360_000.0;

#[derive(Clone)]
struct Admin {
    world: Arc<World>,
    port_file: Arc<PortFile>,
}

/// Why an order is not carried out, for a person.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        answer(self.0, &json!({ "error": { "message": self.1 } }))
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

fn bad(text: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, text.into())
}

pub(super) fn router(world: Arc<World>, port_file: Arc<PortFile>) -> Router {
    Router::new()
        .route("/", get(async |State(admin): State<Admin>| Json(json!(*admin.port_file))))
        .route("/livez", get(async || "ok"))
        .route("/faults", get(faults).put(put_fault).delete(clear_faults))
        .route("/clock", get(clock).put(shift_clock))
        .route("/entra", get(entra).put(put_entra))
        .route("/entra/revoke", post(revoke))
        .route("/services/{name}", get(service).put(put_service))
        .route("/services/{name}/regenerate", post(regenerate))
        .route("/services/{name}/rotate_token_key", post(rotate_token_key))
        .route("/seen", get(see))
        .route("/devicecode", get(waiting))
        .route("/devicecode/{user_code}/{decision}", post(decide))
        .route("/federated_token", post(federated_token))
        .route("/reset", post(reset))
        .route("/services", put(async || Refused(StatusCode::METHOD_NOT_ALLOWED, "name a service".to_owned())))
        .fallback(async || Refused(StatusCode::NOT_FOUND, "there is nothing at this path of the admin API".to_owned()))
        .layer(middleware::from_fn(refuse_pages))
        .with_state(Admin { world, port_file })
}

async fn refuse_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return Refused(StatusCode::FORBIDDEN, "the admin API does not talk to web pages".to_owned()).into_response();
    }
    next.run(request).await
}

/// The body of an order. An empty one is `{}`; the content type does not matter.
async fn body<T: DeserializeOwned>(request: Request) -> Result<T, Refused> {
    let bytes = wire::read(request.into_body()).await.ok_or_else(|| bad("the body cannot be read"))?;
    let bytes = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| bad(format!("the body does not fit: {error}")))
}

fn done() -> Json<Value> {
    Json(json!({ "done": true }))
}

async fn faults(State(admin): State<Admin>) -> Json<Value> {
    Json(json!({ "faults": admin.world.faults().all() }))
}

async fn put_fault(State(admin): State<Admin>, request: Request) -> Result<Json<Value>, Refused> {
    let fault: Fault = body(request).await?;
    if let Some(complaint) = fault.complaint() {
        return Err(bad(complaint));
    }
    if let Some(name) = &fault.service {
        find(&admin.world, name)?;
    }
    admin.world.change_faults(|faults| faults.put(fault));
    Ok(faults(State(admin)).await)
}

async fn clear_faults(State(admin): State<Admin>) -> Json<Value> {
    admin.world.change_faults(Faults::clear);
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offset {
    offset: f64,
}

async fn clock(State(admin): State<Admin>) -> Json<Value> {
    let millis = i32::try_from(admin.world.offset_millis())
        .map_or_else(|_far| json!(admin.world.offset_millis() / 1_000), |millis| json!(f64::from(millis) / 1e3));
    Json(json!({ "offset": millis, "unix": admin.world.moment().unix }))
}

#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
async fn shift_clock(State(admin): State<Admin>, request: Request) -> Result<Json<Value>, Refused> {
    let Offset { offset } = body(request).await?;
    if !(-MAX_OFFSET..=MAX_OFFSET).contains(&offset) {
        return Err(bad("offset is in seconds, at most ten years either way"));
    }
    admin.world.shift_clock((offset * 1e3).round() as i64);
    Ok(clock(State(admin)).await)
}

async fn entra(State(admin): State<Admin>) -> Json<Value> {
    Json(knobs::entra_json(&admin.world.directory().knobs))
}

async fn put_entra(State(admin): State<Admin>, request: Request) -> Result<Json<Value>, Refused> {
    let change: EntraChange = body(request).await?;
    {
        let mut directory = admin.world.directory();
        directory.knobs = change.apply(directory.knobs).map_err(bad)?;
    }
    Ok(entra(State(admin)).await)
}

async fn revoke(State(admin): State<Admin>) -> Json<Value> {
    admin.world.directory().grants.revoke();
    done()
}

fn find<'a>(world: &'a World, name: &str) -> Result<&'a Arc<Deployed>, Refused> {
    world.service(name).ok_or_else(|| {
        let names: Vec<&str> = world.services().map(|deployed| deployed.name.as_str()).collect();
        Refused(StatusCode::NOT_FOUND, format!("there is no service '{name}': there are {}", names.join(", ")))
    })
}

async fn service(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Json<Value>, Refused> {
    let deployed = find(&admin.world, &name)?;
    let mut service = deployed.lock();
    service.settle(&admin.world.moment());
    Ok(Json(knobs::service_json(&service)))
}

async fn put_service(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, Refused> {
    let change: ServiceChange = body(request).await?;
    {
        let deployed = find(&admin.world, &name)?;
        let mut service = deployed.lock();
        service.settle(&admin.world.moment());
        let (knobs, lifetimes) =
            change.apply(&service.knobs, service.auth.lifetimes, service.setup.front_ends).map_err(bad)?;
        service.knobs = knobs;
        service.auth.lifetimes = lifetimes;
    }
    service(State(admin), Path(name)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    key: Which,
    #[serde(default)]
    value: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
enum Which {
    Primary,
    Secondary,
    Both,
}

/// Somebody else regenerates a key, or both.
async fn regenerate(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, Refused> {
    let Outside { key, value } = body(request).await?;
    if key == Which::Both && value.is_some() {
        return Err(bad("value goes with one key"));
    }
    let value = value.map(|text| KeyValue::new(&text)).transpose().map_err(|error| bad(format!("value: {error}")))?;
    let slots: &[Slot] = match key {
        Which::Primary => &[Slot::Primary],
        Which::Secondary => &[Slot::Secondary],
        Which::Both => &Slot::BOTH,
    };
    {
        let deployed = find(&admin.world, &name)?;
        for slot in slots {
            let tick = admin.world.tick()?;
            let mut service = deployed.lock();
            service.settle(&tick);
            service.regenerate_outside(*slot, value.clone(), &tick, admin.world.real_millis());
        }
    }
    service(State(admin), Path(name)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlap {
    /// Seconds for which older tokens still hold.
    #[serde(default)]
    overlap: u64,
}

async fn rotate_token_key(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, Refused> {
    let Overlap { overlap } = body(request).await?;
    let tick = admin.world.tick()?;
    let deployed = find(&admin.world, &name)?;
    deployed.lock().auth.tokens.rotate(&tick.random, tick.unix, tick.unix.saturating_add(overlap));
    Ok(done())
}

#[derive(Deserialize)]
struct Since {
    since: Option<f64>,
}

async fn see(State(admin): State<Admin>, Query(Since { since }): Query<Since>) -> Result<Json<Value>, Refused> {
    let since = match since {
        None => None,
        Some(since) if since >= 0.0 && since.is_finite() => Some(since),
        Some(_) => return Err(bad("since is in Unix seconds: the `at` of an earlier answer")),
    };
    Ok(Json(seen::report(&admin.world, since)))
}

async fn waiting(State(admin): State<Admin>) -> Json<Value> {
    let waiting = admin.world.directory().grants.waiting(&admin.world.moment());
    Json(json!({ "waiting": waiting }))
}

async fn decide(
    State(admin): State<Admin>,
    Path((user_code, decision)): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    let decision = match decision.as_str() {
        "approve" => Decision::Approved,
        "decline" => Decision::Declined,
        _ => return Err(Refused(StatusCode::NOT_FOUND, "a device code is approved or declined".to_owned())),
    };
    let tick = admin.world.moment();
    if admin.world.directory().grants.decide(&user_code, decision, &tick) {
        Ok(done())
    } else {
        Err(Refused(StatusCode::NOT_FOUND, "no device waits with this code".to_owned()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Federated {
    issuer: Option<String>,
    subject: Option<String>,
    audience: Option<String>,
    lifetime: Option<u64>,
}

/// A token of the built-in cluster, or one that is wrong in a chosen way.
async fn federated_token(State(admin): State<Admin>, request: Request) -> Result<Json<Value>, Refused> {
    let asked: Federated = body(request).await?;
    let token = cluster_token(
        &admin.world,
        asked.issuer.as_deref().unwrap_or(CLUSTER_ISSUER),
        asked.subject.as_deref().unwrap_or(CLUSTER_SUBJECT),
        asked.audience.as_deref().unwrap_or(CLUSTER_AUDIENCE),
        asked.lifetime.unwrap_or(FEDERATED_LIFETIME),
    )?;
    Ok(Json(json!({ "federated_token": token })))
}

/// A token as a cluster projects it into a pod.
pub(super) fn cluster_token(
    world: &World,
    issuer: &str,
    subject: &str,
    audience: &str,
    lifetime: u64,
) -> anyhow::Result<String> {
    let tick = world.tick()?;
    let until = tick.unix.saturating_add(lifetime);
    let claims = json!({
        "iss": issuer, "sub": subject, "aud": [audience],
        "iat": tick.unix, "nbf": tick.unix, "exp": until, "jti": tick.guid(0),
    });
    Ok(claims::sign(world, &claims)?)
}

async fn reset(State(admin): State<Admin>) -> Result<Json<Value>, Refused> {
    admin.world.reset()?;
    Ok(done())
}
