//! Every answer that is not a success: one JSON body, one place that writes it.
//!
//! Handlers and guards return a [`Failure`]; [`as_json`] gives what the libraries refuse the same shape.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::report::{ErrorDetail, ErrorReport};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why a request was not done.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    /// For programs; never changes its meaning.
    pub(super) code: &'static str,
    /// For people: what happened and what to do.
    pub(super) message: String,
    /// Faults of a configuration, a line each.
    pub(super) faults: Vec<String>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), faults: Vec::new() }
    }

    /// What axum and tower-http refuse comes as a bare status.
    fn of_library(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path of the admin API"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path wants another method: see Allow"),
            StatusCode::REQUEST_TIMEOUT => ("request_timeout", "this took too long"),
            StatusCode::PAYLOAD_TOO_LARGE => ("request_too_large", "the body is larger than anything this API reads"),
            _ if status.is_client_error() => ("bad_request", "the request is not one of this API"),
            _ => ("internal", "the request failed inside scoregate; its log says more"),
        };
        Self::new(status, code, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        // Relaxed: the number must differ, nothing more.
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let request_id = format!("admin-{:06}", COUNT.fetch_add(1, Relaxed));
        if self.status.is_server_error() {
            tracing::warn!(request_id, code = self.code, message = self.message, "an admin request failed");
        }
        let mut headers = vec![(header::SERVER, HeaderValue::from_static("scoregate"))];
        if self.status == StatusCode::UNAUTHORIZED {
            headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        let id = HeaderValue::from_str(&request_id).unwrap_or(HeaderValue::from_static("admin"));
        let detail = ErrorDetail { code: self.code.to_owned(), message: self.message, request_id, faults: self.faults };
        let mut response = (self.status, [(REQUEST_ID, id)], Json(ErrorReport { error: detail })).into_response();
        response.headers_mut().extend(headers);
        response
    }
}

/// Rewrites a refusal of the libraries, known by its lack of a request id.
pub(super) async fn as_json(response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() || response.headers().contains_key(REQUEST_ID) {
        return response;
    }
    // Not ready is a report, not a failure.
    let is_report = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_report {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut answer = Failure::of_library(status).into_response();
    if let Some(allow) = allow {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}
