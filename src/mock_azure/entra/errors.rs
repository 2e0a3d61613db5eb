//! Entra's errors: a name of OAuth, a number of Microsoft's, and the ids that a person would tell support.

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::{
    mock_azure::{
        state::guid,
        wire::{self, Trouble, with},
        world::World,
    },
    random,
    telemetry::utc::Utc,
};

/// One error. Programs branch on the name and the number.
#[derive(Debug)]
pub(in crate::mock_azure) struct EntraError {
    error: &'static str,
    code: u32,
    status: StatusCode,
    text: String,
}

/// Number, name, status: what is documented of them. A number that is not here is `invalid_request`.
const TABLE: [(u32, &str, u16); 46] = [
    (7_000_215, "invalid_client", 401),
    (7_000_222, "invalid_client", 401),
    (700_027, "invalid_client", 401),
    (700_024, "invalid_client", 401),
    (700_021, "invalid_client", 401),
    (700_023, "invalid_client", 401),
    (50_027, "invalid_client", 401),
    (70_021, "invalid_client", 401),
    (700_211, "invalid_client", 401),
    (700_212, "invalid_client", 401),
    (700_213, "invalid_client", 401),
    (7_000_218, "invalid_client", 401),
    (700_025, "invalid_client", 401),
    (700_016, "unauthorized_client", 400),
    (90_002, "invalid_request", 400),
    (90_013, "invalid_request", 400),
    (900_144, "invalid_request", 400),
    (900_561, "invalid_request", 400),
    (50_011, "invalid_request", 400),
    (50_049, "invalid_instance", 400),
    (70_011, "invalid_scope", 400),
    (1_002_012, "invalid_scope", 400),
    (28_000, "invalid_scope", 400),
    (500_011, "invalid_resource", 400),
    (50_001, "invalid_resource", 400),
    (70_000, "invalid_grant", 400),
    (70_008, "invalid_grant", 400),
    (700_082, "invalid_grant", 400),
    (50_173, "invalid_grant", 400),
    (54_005, "invalid_grant", 400),
    (501_481, "invalid_grant", 400),
    (70_002, "invalid_grant", 400),
    (50_076, "interaction_required", 400),
    (50_079, "interaction_required", 400),
    (53_003, "interaction_required", 400),
    (65_001, "consent_required", 400),
    (70_003, "unsupported_grant_type", 400),
    (90_033, "temporarily_unavailable", 503),
    (50_196, "invalid_grant", 429),
    (70_016, "authorization_pending", 400),
    (70_019, "expired_token", 400),
    (70_018, "bad_verification_code", 400),
    (650_051, "authorization_declined", 400),
    (50_126, "invalid_grant", 400),
    (65_004, "access_denied", 400),
    (90_024, "slow_down", 400),
];

impl EntraError {
    pub(super) fn new(code: u32, text: &str) -> Self {
        let (error, status) = match TABLE.iter().find(|(known, ..)| *known == code) {
            Some((_, error, status)) => (*error, StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST)),
            None => ("invalid_request", StatusCode::BAD_REQUEST),
        };
        Self { error, code, status, text: text.to_owned() }
    }

    pub(super) const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// A parameter is missing.
    pub(super) fn missing(parameter: &str) -> Self {
        Self::new(900_144, &format!("the request must contain the parameter '{parameter}'"))
    }

    /// What a fault asks for: the error of a number, or one that fits a status.
    pub(super) fn of_trouble(trouble: Trouble) -> Self {
        if let Some(code) = trouble.code {
            return Self::new(code, "the mock was told to answer so");
        }
        let code = if trouble.status == StatusCode::TOO_MANY_REQUESTS { 50_196 } else { 90_033 };
        Self::new(code, "the mock was told to answer so").with_status(trouble.status)
    }

    pub(super) const fn name(&self) -> &'static str {
        self.error
    }

    /// With its number, as Entra writes it in front of every text.
    pub(super) fn described(&self) -> String {
        format!("AADSTS{}: {}.", self.code, self.text)
    }

    pub(super) fn answer(&self, stamp: &Stamp) -> Response {
        let time = &stamp.time;
        let body = json!({
            "error": self.error,
            "error_description": format!(
                "{} Trace ID: {} Correlation ID: {} Timestamp: {time}", self.described(), stamp.trace, stamp.correlation
            ),
            "error_codes": [self.code],
            "timestamp": time,
            "trace_id": stamp.trace,
            "correlation_id": stamp.correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        wire::answer(self.status, &body)
    }
}

/// The ids and the time of one request.
#[derive(Debug)]
pub(in crate::mock_azure) struct Stamp {
    time: String,
    trace: String,
    correlation: String,
    /// Told back, where the client wants it.
    client_request_id: Option<String>,
}

impl Stamp {
    pub(super) fn new(world: &World, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let asked = text("client-request-id").map(str::to_owned);
        let wants_it = text("return-client-request-id").is_some_and(|word| word.eq_ignore_ascii_case("true"));
        // An id is for people to find a request by; without randomness it is still an id.
        let made = || guid(random::bytes().unwrap_or_default());
        let millis = world.moment().unix * 1_000;
        let time: String = Utc(millis).to_string().replace('T', " ").chars().take(19).chain(['Z']).collect();
        Self {
            time,
            trace: made(),
            correlation: asked.clone().unwrap_or_else(made),
            client_request_id: asked.filter(|_| wants_it),
        }
    }

    /// The ids as fields of an answer.
    pub(super) fn put_on(&self, response: Response) -> Response {
        let response = with(response, "x-ms-request-id", &self.trace);
        match &self.client_request_id {
            Some(id) => with(response, "client-request-id", id),
            None => response,
        }
    }
}
