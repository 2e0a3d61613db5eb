//! The built-in model: what `azureml-inference-server-http` is around a `score.py`, and a few paths that tests can use.
//!
//! | path under the service's base | what it does |
//! |---|---|
//! | (nothing) | `GET`: `Healthy` |
//! | `score` | `POST` classifies iris flowers; `OPTIONS` is answered without running the model |
//! | `swagger.json` | `GET`, `?version=2` or `3.1` |
//! | `echo` | the body comes back as it goes in, trailers too, and what was received as `x-echo-…`; `?after`: once it is all there; `?as=json`: a description of it; `?trailers`: Azure's bandwidth trailers |
//! | `sse` | server-sent events: `?events=3&interval=0.1` |
//! | `ws` | WebSocket echo, over HTTP/1.1 and HTTP/2 (RFC 8441) |
//! | `slow` | answers after `?seconds=1` |
//! | `status` | answers with `?code=`, and the fields that Azure has for it |

use std::{convert::Infallible, fmt::Write as _, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header, request::Parts};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{trouble, websocket};
use crate::{
    clock::Clock,
    digest::sha256,
    iris,
    mock_azure::{
        state::guid,
        wire::{Form, with},
    },
    random,
};

/// Longest request id that the container server takes.
const ID_LIMIT: usize = 100;
/// What `x-ms-server-version` says.
const SERVER_VERSION: &str = "azmlinfsrv/1.5.1";
/// Longest body that is kept in memory: 100 MiB and a little.
const MAX_KEPT: usize = 101 << 20;
/// Longest wait that a query may ask for.
const MAX_WAIT: f64 = 3_600.0;

/// Answers a request that was let in. `rest`: the path below the service's base.
pub(super) async fn answer(request: Request<Incoming>, rest: &str) -> Response {
    if let Some(status) = unrouted(rest, request.method()) {
        // The server's router refuses these before anything looks at ids.
        super::drain(request).await;
        let text = if status == StatusCode::NOT_FOUND {
            "The requested URL was not found on the server."
        } else {
            "Method not allowed"
        };
        return failed(trouble::message(status, text), false);
    }
    let ids = Ids::read(request.headers());
    let response = match &ids.too_long {
        Some(text) => {
            super::drain(request).await;
            failed(trouble::message(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text), false)
        }
        None => route(request, rest).await,
    };
    ids.put_on(with(response, "x-ms-server-version", SERVER_VERSION))
}

/// Why there is nothing for a request.
fn unrouted(rest: &str, method: &Method) -> Option<StatusCode> {
    let methods: &[Method] = match rest {
        "" | "swagger.json" => &[Method::GET, Method::HEAD, Method::OPTIONS],
        "score" => &[Method::GET, Method::POST, Method::OPTIONS, Method::HEAD],
        "sse" => &[Method::GET, Method::POST],
        "ws" => &[Method::GET, Method::CONNECT],
        "echo" | "slow" | "status" => return None,
        _ => return Some(StatusCode::NOT_FOUND),
    };
    (!methods.contains(method)).then_some(StatusCode::METHOD_NOT_ALLOWED)
}

async fn route(request: Request<Incoming>, rest: &str) -> Response {
    let method = request.method().clone();
    match (rest, &method) {
        ("score", &Method::OPTIONS) => {
            super::drain(request).await;
            failed(with(Response::new(Body::empty()), "content-type", "text/html; charset=utf-8"), false)
        }
        ("score", _) => score(request).await,
        ("swagger.json", _) => swagger(&Form::of_query(request.uri())),
        ("echo", _) => echo(request).await,
        ("sse", _) => events(request).await,
        ("ws", _) => websocket::accept(request),
        ("slow", _) => slow(request).await,
        ("status", _) => status(request).await,
        _ => {
            super::drain(request).await;
            with(Response::new(Body::from("Healthy")), "content-type", "text/html; charset=utf-8")
        }
    }
}

/// Says that the user's script did not fail, or that it did.
fn failed(response: Response, failed: bool) -> Response {
    with(response, "x-ms-run-function-failed", if failed { "True" } else { "False" })
}

/// The mark of an executed run.
fn executed(response: Response, took: Duration) -> Response {
    with(response, "x-ms-run-fn-exec-ms", &format!("{:.3}", took.as_secs_f64() * 1e3))
}

fn json_body(body: &Value) -> Response {
    with(Response::new(Body::from(body.to_string())), "content-type", "application/json")
}

async fn score(request: Request<Incoming>) -> Response {
    let Some(body) = collect(request.into_body()).await else {
        return failed(trouble::message(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large to score"), false);
    };
    if let Err(error) = std::str::from_utf8(&body) {
        let text = format!("Input cannot be decoded as UTF-8: {error}");
        return failed(trouble::message(StatusCode::BAD_REQUEST, &text), false);
    }
    let clock = Clock::system();
    let response = match iris::score(&body) {
        Ok(result) => json_body(&result),
        Err(text) => trouble::message(StatusCode::BAD_REQUEST, &text),
    };
    let took = Duration::from_micros(clock.now().as_micros());
    executed(failed(response, false), took)
}

async fn collect(body: Incoming) -> Option<Bytes> {
    http_body_util::Limited::new(body, MAX_KEPT).collect().await.ok().map(http_body_util::Collected::to_bytes)
}

fn swagger(query: &Form) -> Response {
    let input = json!({ "type": "object", "properties": { "data": {
        "type": "array", "items": { "type": "array", "items": { "type": "number" } } } } });
    let info =
        json!({ "title": "ML service", "description": "iris flowers by their nearest centroid", "version": "1.0" });
    match query.get("version") {
        None | Some("2") => failed(
            json_body(&json!({
                "swagger": "2.0", "info": info, "schemes": ["http", "https"], "consumes": ["application/json"],
                "produces": ["application/json"], "security": [{ "Bearer": [] }],
                "securityDefinitions": { "Bearer": { "type": "apiKey", "name": "Authorization", "in": "header" } },
                "paths": { "/score": { "post": {
                    "operationId": "RunMLService",
                    "parameters": [{ "name": "serviceInputPayload", "in": "body", "schema": input }],
                    "responses": { "200": { "description": "The species", "schema": { "type": "object" } } },
                } } },
            })),
            false,
        ),
        Some("3.1") => failed(
            json_body(&json!({
                "openapi": "3.1.0", "info": info,
                "paths": { "/score": { "post": {
                    "operationId": "RunMLService",
                    "requestBody": { "content": { "application/json": { "schema": input } } },
                    "responses": { "200": { "description": "The species" } },
                } } },
            })),
            false,
        ),
        Some(_) => {
            let text = "swagger version is not supported: 2 and 3.1 are";
            failed(trouble::message(StatusCode::NOT_FOUND, text), false)
        }
    }
}

/// The body comes back; in which form the query says.
async fn echo(request: Request<Incoming>) -> Response {
    let (parts, body) = request.into_parts();
    let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let has = |name: &str| {
        parts.uri.query().is_some_and(|query| query.split('&').any(|one| one.split('=').next() == Some(name)))
    };
    if query.get("as") == Some("json") {
        return described(&parts, body).await;
    }
    let mut response = if has("after") {
        match body.collect().await {
            Ok(collected) => {
                let trailers = collected.trailers().cloned();
                let full = http_body_util::Full::new(collected.to_bytes());
                match trailers {
                    Some(trailers) => {
                        Response::new(Body::new(full.with_trailers(std::future::ready(Some(Ok(trailers))))))
                    }
                    None => Response::new(Body::new(full)),
                }
            }
            Err(_broken_off) => return trouble::message(StatusCode::BAD_REQUEST, "the body broke off"),
        }
    } else if has("trailers") {
        let mut trailers = HeaderMap::new();
        trailers.insert("ms-azureml-bandwidth-request-delay-ms", HeaderValue::from_static("1"));
        trailers.insert("ms-azureml-bandwidth-response-delay-ms", HeaderValue::from_static("2"));
        Response::new(Body::new(body.with_trailers(std::future::ready(Some(Ok(trailers))))))
    } else {
        Response::new(Body::new(body))
    };
    let names = if has("trailers") {
        Some(HeaderValue::from_static("ms-azureml-bandwidth-request-delay-ms, ms-azureml-bandwidth-response-delay-ms"))
    } else {
        parts.headers.get(header::TRAILER).cloned()
    };
    let headers = response.headers_mut();
    if let (Some(names), Version::HTTP_11) = (names, parts.version) {
        headers.insert(header::TRAILER, names);
    }
    if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
    for (name, value) in [
        ("x-echo-method", parts.method.as_str()),
        ("x-echo-target", parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str)),
        ("x-echo-version", version(parts.version)),
    ] {
        response = with(response, name, value);
    }
    for (name, value) in &parts.headers {
        let Ok(echoed) = HeaderName::try_from(format!("x-echo-{name}")) else { continue };
        let value = if is_secret(name) { hidden(value) } else { value.clone() };
        response.headers_mut().append(echoed, value);
    }
    response
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        _ => "other",
    }
}

fn is_secret(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION || *name == header::PROXY_AUTHORIZATION || name == "x-api-key" || name == "api-key"
}

/// Tests can tell which credential came, and nobody can read it.
fn hidden(value: &HeaderValue) -> HeaderValue {
    let digest = sha256(value.as_bytes()).iter().fold(String::from("sha256:"), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    HeaderValue::try_from(digest).unwrap_or(HeaderValue::from_static("sha256"))
}

/// A request as JSON: its head, and length and digest of its body.
async fn described(parts: &Parts, mut body: Incoming) -> Response {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let (mut length, mut trailers) = (0_u64, Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return trouble::message(StatusCode::BAD_REQUEST, "the body broke off");
        };
        match frame.into_data() {
            Ok(data) => {
                length += data.len() as u64;
                digest.update(&data);
            }
            Err(frame) => trailers = frame.into_trailers().map(|fields| listed(&fields)).unwrap_or_default(),
        }
    }
    let digest = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json_body(&json!({
        "method": parts.method.as_str(), "version": version(parts.version),
        "target": parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str),
        "headers": listed(&parts.headers), "trailers": trailers, "length": length, "sha256": digest,
    }))
}

fn listed(fields: &HeaderMap) -> Vec<[String; 2]> {
    let text = |name: &HeaderName, value: &HeaderValue| {
        let value = if is_secret(name) { hidden(value) } else { value.clone() };
        [name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()]
    };
    fields.iter().map(|(name, value)| text(name, value)).collect()
}

/// A wait that a query asks for.
fn wait(query: &Form, name: &str, usual: f64) -> Duration {
    let asked = query.get(name).and_then(|text| text.parse().ok()).unwrap_or(usual);
    Duration::try_from_secs_f64(if asked <= MAX_WAIT { asked } else { MAX_WAIT }).unwrap_or_default()
}

/// Server-sent events, one by one.
async fn events(request: Request<Incoming>) -> Response {
    let query = Form::of_query(request.uri());
    super::drain(request).await;
    let count: u32 = query.get("events").and_then(|text| text.parse().ok()).unwrap_or(3);
    let interval = wait(&query, "interval", 0.1);
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    tokio::spawn(async move {
        for number in 0..count {
            if number > 0 {
                tokio::time::sleep(interval).await;
            }
            let event = format!("id: {number}\ndata: {{\"event\": {number}}}\n\n");
            if sender.send(Ok(Frame::data(event.into()))).await.is_err() {
                return;
            }
        }
    });
    let response = Response::new(Body::new(Events(receiver)));
    let response = with(response, "content-type", "text/event-stream");
    with(response, "cache-control", "no-cache")
}

/// Frames as they are sent.
struct Events(mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx)
    }
}

async fn slow(request: Request<Incoming>) -> Response {
    let seconds = wait(&Form::of_query(request.uri()), "seconds", 1.0);
    super::drain(request).await;
    tokio::time::sleep(seconds).await;
    executed(failed(json_body(&json!({ "slept": seconds.as_secs_f64() })), false), seconds)
}

async fn status(request: Request<Incoming>) -> Response {
    let query = Form::of_query(request.uri());
    super::drain(request).await;
    let code = query.get("code").and_then(|text| text.parse::<u16>().ok()).unwrap_or(500);
    let Some(status) = StatusCode::from_u16(code).ok().filter(|status| (200..600).contains(&status.as_u16())) else {
        return trouble::message(StatusCode::BAD_REQUEST, "code must be from 200 to 599");
    };
    let response = trouble::with_azures_fields(trouble::message(status, "as you asked"));
    executed(failed(response, status.is_server_error()), Duration::ZERO)
}

/// The ids of a request, as the container server reads and tells them back.
#[derive(Default)]
struct Ids {
    request: Option<String>,
    client: Option<String>,
    legacy: Option<String>,
    /// What is said where one of them is too long; those after it are not looked at.
    too_long: Option<String>,
}

impl Ids {
    fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            value.filter(|text| !text.is_empty())
        };
        let request = text("x-request-id").unwrap_or_else(|| guid(random::bytes().unwrap_or_default()));
        if request.len() > ID_LIMIT {
            let too_long = Some(format!("x-request-id must not exceed {ID_LIMIT} characters"));
            return Self { too_long, ..Self::default() };
        }
        let (client, legacy) = (text("x-ms-client-request-id"), text("x-ms-request-id"));
        let client = client.or_else(|| legacy.clone());
        let legacy = legacy.or_else(|| client.clone()).unwrap_or_else(|| request.clone());
        if legacy.len() > ID_LIMIT || client.as_ref().is_some_and(|client| client.len() > ID_LIMIT) {
            let text = format!("x-ms-request-id and x-ms-client-request-id must not exceed {ID_LIMIT} characters");
            return Self { request: Some(request), too_long: Some(text), ..Self::default() };
        }
        Self { request: Some(request), client, legacy: Some(legacy), too_long: None }
    }

    fn put_on(&self, mut response: Response) -> Response {
        for (name, value) in [
            ("x-request-id", &self.request),
            ("x-ms-request-id", &self.legacy),
            ("x-ms-client-request-id", &self.client),
        ] {
            if let Some(value) = value {
                response = with(response, name, value);
            }
        }
        response
    }
}
