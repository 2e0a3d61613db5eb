//! Errors of front ends, with the fields that Azure's have.

use axum::{body::Body, response::Response};
use http::StatusCode;
use serde_json::json;

use crate::mock_azure::{state::faults::Fault, wire::with};

/// The container server's shape of an error.
pub(super) fn message(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(json!({ "message": text }).to_string()));
    *response.status_mut() = status;
    with(response, "content-type", "application/json")
}

/// What a fault asks for.
pub(super) fn answer(fault: &Fault, usual: StatusCode) -> Response {
    let status = fault.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(usual);
    let response = with_azures_fields(message(status, "the mock was told to answer so"));
    match fault.retry_after {
        Some(seconds) => with(response, "retry-after", &seconds.to_string()),
        None => response,
    }
}

/// A managed endpoint tells of its model's own error in two fields.
pub(super) fn with_azures_fields(response: Response) -> Response {
    match response.status() {
        StatusCode::FAILED_DEPENDENCY => {
            let response = with(response, "ms-azureml-model-error-statuscode", "401");
            with(response, "ms-azureml-model-error-reason", "model_error")
        }
        StatusCode::UNAUTHORIZED => with(response, "www-authenticate", "Bearer"),
        _ => response,
    }
}
