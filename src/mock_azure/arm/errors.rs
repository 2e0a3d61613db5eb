//! Errors of the control planes: the resource manager nests them under `error`, the model management service does not.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::mock_azure::wire::{self, with};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock_azure) enum Shape {
    Nested,
    Flat,
}

/// One error. Programs branch on the status.
#[derive(Debug)]
pub(in crate::mock_azure) struct ControlError {
    status: StatusCode,
    code: &'static str,
    text: String,
    /// `WWW-Authenticate`, of a 401.
    challenge: Option<String>,
}

impl ControlError {
    pub(in crate::mock_azure) fn new(status: StatusCode, code: &'static str, text: &str) -> Self {
        Self { status, code, text: text.to_owned(), challenge: None }
    }

    pub(in crate::mock_azure) fn with_challenge(mut self, challenge: String) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// What a fault asks for.
    pub(in crate::mock_azure) fn of_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::UNAUTHORIZED => "AuthenticationFailed",
            StatusCode::FORBIDDEN => "AuthorizationFailed",
            StatusCode::NOT_FOUND => "ResourceNotFound",
            StatusCode::CONFLICT => "Conflict",
            StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
            StatusCode::GATEWAY_TIMEOUT => "GatewayTimeout",
            _ if status.is_client_error() => "BadRequest",
            _ => "InternalServerError",
        };
        Self::new(status, code, "the mock was told to answer so")
    }

    pub(in crate::mock_azure) fn answer(&self, shape: Shape) -> Response {
        let Self { status, code, text, challenge } = self;
        let body = match shape {
            Shape::Nested => json!({ "error": {
                "code": code, "message": text, "target": null, "details": [],
                "additionalInfo": [{ "type": "ComponentName", "info": { "value": "managementfrontend" } }],
            } }),
            Shape::Flat => json!({
                "code": code, "statusCode": status.as_u16(), "message": text,
                "details": [{ "code": code, "message": text, "target": null }],
            }),
        };
        let response = wire::answer(*status, &body);
        match challenge {
            Some(challenge) => with(response, "www-authenticate", challenge),
            None => response,
        }
    }
}
