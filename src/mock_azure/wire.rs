//! What the listeners of the mock have in common: bases of the URLs that are handed out, forms, JSON answers, and misbehaviour.

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts};
use serde_json::{Value, json};

use super::{
    state::faults::{Kind, Meeting, Target},
    world::World,
};

/// Bodies of control planes are small.
pub(super) const MAX_BODY: usize = 1 << 20;

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Via {
    pub(super) tls: bool,
    pub(super) local: SocketAddr,
}

/// Stands in an answer that must not be sent: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abort;

/// No answer at all.
pub(super) fn abort() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Abort);
    response
}

/// The base of the URLs that an answer hands out: as the client has named us, so that names which only it resolves go on working.
pub(super) fn base(parts: &Parts) -> String {
    let field = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let via = parts.extensions.get::<Via>();
    let scheme = field("x-forwarded-proto").filter(|scheme| matches!(*scheme, "http" | "https"));
    let scheme = scheme.unwrap_or(if via.is_some_and(|via| via.tls) { "https" } else { "http" });
    let is_host = |host: &&str| host.parse::<http::uri::Authority>().is_ok_and(|host| !host.as_str().contains('@'));
    let host =
        field("x-forwarded-host").filter(is_host).or_else(|| authority(&parts.uri, &parts.headers).filter(is_host));
    match (host, via) {
        (Some(host), _) => format!("{scheme}://{host}"),
        (None, Some(via)) => format!("{scheme}://{}", via.local),
        (None, None) => format!("{scheme}://localhost"),
    }
}

fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = uri.authority().map(http::uri::Authority::as_str);
    named.or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()))
}

/// The fields of a form or a query. Of one that is there twice, the first counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    pub(super) fn of_query(uri: &Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default().as_bytes())
    }

    /// A field that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, value)| field == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

/// JSON, with a status.
pub(super) fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body.to_string()).into_response()
}

/// JSON, with 200.
pub(super) fn ok(body: &Value) -> Response {
    answer(StatusCode::OK, body)
}

/// Adds a field; one that cannot be sent is left out.
pub(super) fn with(mut response: Response, name: &'static str, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Dates an answer by the mock's clock, a container's too: clients learn from it how far off their own clock is.
pub(super) fn dated(mut response: Response, world: &World) -> Response {
    let now = UNIX_EPOCH + Duration::from_secs(world.moment().unix);
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(now)) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Reads a body; none where it breaks off or is too large.
pub(super) async fn read(body: Body) -> Option<Bytes> {
    axum::body::to_bytes(body, MAX_BODY).await.ok()
}

/// What a fault makes of an error: the status, and the number of one of Entra's errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    pub(super) status: StatusCode,
    pub(super) code: Option<u32>,
}

/// Does the work of a call, unless a fault says otherwise. `error` gives a side's own shape of an error.
pub(super) async fn with_faults(
    world: &World,
    target: Target,
    call: &str,
    service: Option<&str>,
    error: impl Fn(Trouble) -> Response,
    work: impl Future<Output = Response>,
) -> Response {
    let fate = world.fate(&Meeting { target, call, service, front_end: None });
    if fate.delay > 0.0 {
        tokio::time::sleep(Duration::try_from_secs_f64(fate.delay).unwrap_or_default()).await;
    }
    let Some(fault) = fate.fault else { return work.await };
    let trouble = |usual: StatusCode| {
        let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(usual);
        let response = error(Trouble { status, code: fault.code });
        match fault.retry_after {
            Some(seconds) => with(response, "retry-after", &seconds.to_string()),
            None => response,
        }
    };
    match fault.kind {
        Kind::Down => abort(),
        Kind::Status => trouble(StatusCode::SERVICE_UNAVAILABLE),
        Kind::Garbage => ok(&json!({ "unexpected": ["this", "is", "not", "it"], "access_token": null, "value": 7 })),
        Kind::AfterEffect => {
            drop(work.await);
            trouble(StatusCode::INTERNAL_SERVER_ERROR)
        }
        Kind::LostReply => {
            drop(work.await);
            abort()
        }
        Kind::Slow | Kind::RefuseEarly => work.await,
    }
}
