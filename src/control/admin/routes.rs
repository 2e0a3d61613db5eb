//! What can be asked, by listener: the table of contents of the admin API.
//!
//! `serve` builds a router for each listener. Handlers only translate between HTTP and [`super::Operations`].

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{Path, RawQuery, Request, State, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use serde_json::json;
use tower_http::{limit::RequestBodyLimitLayer, timeout::TimeoutLayer};

use super::{
    SharedOperations,
    failure::{self, Failure},
    guard::{self, Gate},
    keys::{self as changes, Way},
    report::{EndpointKeys, EndpointStatus, LogLevel, ReloadErrorKind},
};
use crate::{
    control::played::{NotChanged, manage::Asked, owner::Order},
    service_auth::Regenerate,
    telemetry::logs,
};

/// The largest body that any route reads is a level's name.
const BODY_BYTES: usize = 64 << 10;
/// Everything but a reload is answered from memory.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A drained reload waits for the slowest request, however long its route allows; it has a deadline of its own.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// For kubelet and Prometheus: nothing secret, so no token, and any `Host`, since they come by the name of a service.
pub(super) fn health(operations: SharedOperations) -> Router {
    finish(probes(), operations)
}

/// For whoever may open the socket's file: everything.
pub(super) fn socket(operations: SharedOperations) -> Router {
    finish(open().merge(guarded()).merge(owned()).layer(Extension(Way::Private)), operations)
}

/// For whoever can connect: everything with the token, some without on loopback, nothing for a page in a browser.
pub(super) fn tcp(operations: SharedOperations, gate: Gate) -> Router {
    let way = if gate.tls { Way::Private } else { Way::Open };
    let gate = Arc::new(gate);
    let token = from_fn_with_state(gate.clone(), guard::require_token);
    let open = if gate.loopback { open() } else { open().route_layer(token.clone()) };
    // A manager's own token is what counts there.
    let all = open.merge(guarded().route_layer(token)).merge(management());
    finish(all.layer(Extension(way)).layer(from_fn_with_state(gate, guard::refuse_foreign_pages)), operations)
}

fn finish(routes: Router<SharedOperations>, operations: SharedOperations) -> Router {
    routes.layer(RequestBodyLimitLayer::new(BODY_BYTES)).layer(map_response(failure::as_json)).with_state(operations)
}

fn probes() -> Router<SharedOperations> {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route_layer(time_out(REQUEST_TIMEOUT))
}

fn open() -> Router<SharedOperations> {
    probes().merge(Router::new().route("/status", get(status)).route_layer(time_out(REQUEST_TIMEOUT)))
}

fn guarded() -> Router<SharedOperations> {
    let quick = Router::new()
        .route("/config", get(config))
        .route("/endpoints/{endpoint}/keys", get(keys))
        .route("/endpoints/{endpoint}/regen_key", post(changes::regen_key))
        .route("/endpoints/{endpoint}/rollback", post(changes::rollback))
        .route("/endpoints/{endpoint}/freeze", post(changes::freeze))
        .route("/endpoints/{endpoint}/unfreeze", post(changes::unfreeze))
        .route("/operations/{id}", get(changes::operation))
        .route("/drain", post(drain))
        .route("/log-level", put(set_log_level))
        .route_layer(time_out(REQUEST_TIMEOUT));
    let slow = Router::new().route("/reload", post(reload)).route_layer(time_out(RELOAD_TIMEOUT));
    quick.merge(slow)
}

/// Keys of services that are played: values of theirs go over the socket alone.
fn owned() -> Router<SharedOperations> {
    Router::new()
        .route("/services/{service}/keys", get(service_keys))
        .route("/services/{service}/regen_key", post(service_regen))
        .route_layer(time_out(REQUEST_TIMEOUT))
}

async fn service_keys(
    State(operations): State<SharedOperations>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let order = Order::Show { reveal: has_flag(query.as_deref(), "reveal") };
    operations.order(name, order).await.map(|keys| Json(keys).into_response()).map_err(|why| not_done(&why))
}

async fn service_regen(
    State(operations): State<SharedOperations>,
    Path(name): Path<String>,
    body: axum::body::Bytes,
) -> Result<Response, Failure> {
    let wanted =
        Regenerate::read(&body).map_err(|why| Failure::new(StatusCode::BAD_REQUEST, "bad_request", why.to_string()))?;
    let done = operations.order(name, Order::Regenerate(wanted)).await;
    done.map(|keys| Json(keys).into_response()).map_err(|why| not_done(&why))
}

fn not_done(why: &NotChanged) -> Failure {
    let (status, code) = match why {
        NotChanged::NoService => (StatusCode::NOT_FOUND, "no_service"),
        NotChanged::NoKeys => (StatusCode::CONFLICT, "no_keys"),
        NotChanged::OtherKey => (StatusCode::CONFLICT, "other_key"),
        NotChanged::NotKept(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not_kept"),
    };
    Failure::new(status, code, why.to_string())
}

/// Services that are played, for who may manage them.
fn management() -> Router<SharedOperations> {
    Router::new().route("/modelmanagement/{*rest}", any(manage)).route_layer(time_out(REQUEST_TIMEOUT))
}

async fn manage(State(operations): State<SharedOperations>, request: Request) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES).await.map_err(|_broken_or_long| {
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "the body is too large, or broke off")
    })?;
    let asked = Asked {
        token: guard::bearer(&head.headers).map(<[u8]>::to_vec),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        method: head.method,
        body: body.to_vec(),
    };
    let answer = operations.manage(asked).await;
    let mut response = answer.body.map_or_else(|| StatusCode::OK.into_response(), |body| Json(body).into_response());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(place) = answer.operation.and_then(|place| HeaderValue::try_from(place).ok()) {
        response.headers_mut().insert("operation-location", place);
    }
    Ok(response)
}

fn time_out(after: Duration) -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, after)
}

async fn live(State(operations): State<SharedOperations>) -> Response {
    let live = operations.live();
    let status = if live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "live": live }))).into_response()
}

async fn ready(State(operations): State<SharedOperations>, RawQuery(query): RawQuery) -> Response {
    let mut report = operations.ready();
    if !has_flag(query.as_deref(), "verbose") {
        report.endpoints.clear();
    }
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn metrics(State(operations): State<SharedOperations>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], operations.metrics()).into_response()
}

async fn status(State(operations): State<SharedOperations>) -> Response {
    Json(operations.status()).into_response()
}

async fn config(State(operations): State<SharedOperations>) -> Response {
    Json(operations.config()).into_response()
}

/// What is known of an endpoint's keys: fingerprints, ages, generations; never a value.
async fn keys(State(operations): State<SharedOperations>, Path(name): Path<String>) -> Result<Response, Failure> {
    let status = operations.status();
    match status.endpoints.into_iter().find(|endpoint| endpoint.name == name) {
        Some(endpoint) => {
            let EndpointStatus { slots, service, .. } = endpoint;
            let report = EndpointKeys { endpoint: name, generation: status.generation, slots, service };
            Ok(Json(report).into_response())
        }
        None => Err(changes::no_endpoint()),
    }
}

async fn reload(State(operations): State<SharedOperations>, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let drained = has_flag(query.as_deref(), "drained");
    tracing::info!(drained, "a reload was asked for over the admin API");
    let error = match operations.reload(drained).await {
        Ok(report) => return Ok(Json(report).into_response()),
        Err(error) => error,
    };
    let (status, code) = match error.kind {
        ReloadErrorKind::Config => (StatusCode::UNPROCESSABLE_ENTITY, "config_invalid"),
        ReloadErrorKind::NotDrained => (StatusCode::CONFLICT, "reload_not_drained"),
        ReloadErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    let message = error.to_string();
    Err(Failure { status, code, message, faults: error.faults })
}

async fn drain(State(operations): State<SharedOperations>) -> Response {
    tracing::info!("a drain was asked for over the admin API");
    operations.drain();
    (StatusCode::ACCEPTED, Json(json!({ "draining": true }))).into_response()
}

async fn set_log_level(
    State(operations): State<SharedOperations>,
    body: Result<Json<LogLevel>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(wanted) = body.map_err(|rejection| {
        let message = format!("the body should be {{\"level\": \"debug\"}}: {}", rejection.body_text());
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Failure::new(rejection.status(), "request_too_large", message),
            _ => Failure::new(StatusCode::BAD_REQUEST, "bad_request", message),
        }
    })?;
    let Some(level) = logs::level_named(&wanted.level) else {
        let known = logs::LEVELS.map(|(name, _)| name).join(", ");
        let message = format!("no such level; there are {known}");
        return Err(Failure::new(StatusCode::BAD_REQUEST, "bad_request", message));
    };
    operations.set_log_level(level);
    tracing::info!(level = wanted.level, "the log level was changed over the admin API");
    Ok(Json(wanted).into_response())
}

/// `?name`, `?name=true`, `?name=1`; not `?name=false`, `?name=0`.
fn has_flag(query: Option<&str>, name: &str) -> bool {
    query.unwrap_or_default().split('&').any(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        key == name && !matches!(value, "false" | "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_a_bare_word_or_says_yes() {
        for (query, set) in [
            (None, false),
            (Some(""), false),
            (Some("drained"), true),
            (Some("a=b&drained"), true),
            (Some("drained=true"), true),
            (Some("drained=1"), true),
            (Some("drained=false"), false),
            (Some("drained=0"), false),
            (Some("undrained"), false),
            (Some("a=drained"), false),
        ] {
            assert_eq!(has_flag(query, "drained"), set, "{query:?}");
        }
    }
}
