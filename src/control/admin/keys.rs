//! Changes of a service's keys: what people ask of the drivers, and the operations that come of it.
//!
//! Handlers of `routes`. A rule that stands against a wish is 409 with the rule's code; nothing was touched then.

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    SharedOperations,
    failure::Failure,
    report::{Granted, OperationReport, RegenKey},
};
use crate::{
    control::desk::{self, Run, Wish},
    rotation::{refusal::Refusal, slot::Slot},
    secret::Secret,
};

/// Whether what is said to this listener stays between the two: over a socket, or TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Nobody else hears it.
    Private,
    /// Anyone on the way may.
    Open,
}

/// `POST /endpoints/{endpoint}/regen_key`
pub(super) async fn regen_key(
    State(operations): State<SharedOperations>,
    Extension(way): Extension<Way>,
    Path(endpoint): Path<String>,
    body: Result<Json<RegenKey>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(wanted) = body.map_err(|rejection| {
        let message = "the body should be {\"key\": \"Primary\" or \"Secondary\"}, with `set_key`, `dry_run` and `leaked` where wanted";
        let status = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        // The library's words may quote a key.
        Failure::new(status, "bad_request", message)
    })?;
    let slot = wanted.key.as_deref().map(slot_named).transpose()?;
    let set_key = wanted.set_key.as_ref().map(|value| key(&value.0)).transpose()?;
    if set_key.is_some() && way == Way::Open {
        let message = "a key is not sent in plain text: set it over the admin socket or TLS";
        return Err(Failure::new(StatusCode::FORBIDDEN, "set_key_refused", message));
    }
    let wish = match (wanted.leaked, slot, set_key) {
        (true, _, Some(_)) => return Err(refused(Refusal::LeakedTakesNoValue)),
        (true, Some(_), None) => {
            let message = "`leaked` regenerates both keys: leave `key` away";
            return Err(Failure::new(StatusCode::BAD_REQUEST, "bad_request", message));
        }
        (true, None, None) => Wish::Leaked,
        (false, slot, set_key) => Wish::Regenerate { slot, set_key },
    };
    ask(&operations, endpoint, wish, if wanted.dry_run { Run::Dry } else { Run::Wet }).await
}

/// `POST /endpoints/{endpoint}/rollback`
pub(super) async fn rollback(
    State(operations): State<SharedOperations>,
    Path(endpoint): Path<String>,
) -> Result<Response, Failure> {
    ask(&operations, endpoint, Wish::Rollback, Run::Wet).await
}

/// `POST /endpoints/{endpoint}/freeze`
pub(super) async fn freeze(
    State(operations): State<SharedOperations>,
    Path(endpoint): Path<String>,
) -> Result<Response, Failure> {
    ask(&operations, endpoint, Wish::Freeze, Run::Wet).await
}

/// `POST /endpoints/{endpoint}/unfreeze`
pub(super) async fn unfreeze(
    State(operations): State<SharedOperations>,
    Path(endpoint): Path<String>,
) -> Result<Response, Failure> {
    ask(&operations, endpoint, Wish::Unfreeze, Run::Wet).await
}

/// `GET /operations/{id}`
pub(super) async fn operation(
    State(operations): State<SharedOperations>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    find(&operations, &id).map(|found| Json(found).into_response()).ok_or_else(|| {
        let message = "there is no operation of this id, or it ended too long ago: `scoregate keys status` lists them";
        Failure::new(StatusCode::NOT_FOUND, "no_operation", message)
    })
}

fn find(operations: &SharedOperations, id: &str) -> Option<OperationReport> {
    let (endpoint, _) = id.rsplit_once('-')?;
    let known = operations.status().endpoints.into_iter().find(|one| one.name == endpoint)?;
    known.service?.rotation?.operations.into_iter().find(|report| report.id == id)
}

async fn ask(operations: &SharedOperations, endpoint: String, wish: Wish, run: Run) -> Result<Response, Failure> {
    if !operations.status().endpoints.iter().any(|known| known.name == endpoint) {
        return Err(no_endpoint());
    }
    tracing::info!(endpoint, wish = name_of(&wish), ?run, "a change of keys was asked for over the admin API");
    let granted = operations.change_keys(&endpoint, wish, run).await.map_err(refused)?;
    let answer = match granted {
        desk::Granted::Begun(id) => Granted { operation: Some(format!("{endpoint}-{}", id.0)), plan: None },
        desk::Granted::Planned(plan) => Granted { operation: None, plan: Some(plan) },
        desk::Granted::Done => Granted { operation: None, plan: None },
    };
    let Some(id) = &answer.operation else { return Ok(Json(answer).into_response()) };
    let location = HeaderValue::from_str(&format!("/operations/{id}"));
    let mut response = (StatusCode::ACCEPTED, Json(&answer)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

const fn name_of(wish: &Wish) -> &'static str {
    match wish {
        Wish::Regenerate { .. } => "regenerate",
        Wish::Leaked => "leaked",
        Wish::Rollback => "rollback",
        Wish::Freeze => "freeze",
        Wish::Unfreeze => "unfreeze",
    }
}

fn slot_named(name: &str) -> Result<Slot, Failure> {
    let named = Slot::BOTH.into_iter().find(|slot| slot.label().eq_ignore_ascii_case(name));
    named.ok_or_else(|| Failure::new(StatusCode::BAD_REQUEST, "bad_request", "`key` is `Primary` or `Secondary`"))
}

/// Nothing is known of how services make keys up; what no header can carry is none.
fn key(text: &str) -> Result<Secret, Failure> {
    if text.is_empty() || text.chars().any(char::is_control) || text.len() > LONGEST_KEY {
        let message = format!("`set_key` is one line of visible characters, at most {LONGEST_KEY} bytes");
        return Err(Failure::new(StatusCode::BAD_REQUEST, "bad_request", message));
    }
    Ok(Secret::new(text.as_bytes().to_vec()))
}

/// Far above any key, far below what a request head may have.
const LONGEST_KEY: usize = 4 << 10;

fn refused(refusal: Refusal) -> Failure {
    Failure::new(StatusCode::CONFLICT, refusal.code(), refusal.to_string())
}

pub(super) fn no_endpoint() -> Failure {
    let message = "the configuration has no endpoint of this name: `scoregate status` lists them";
    Failure::new(StatusCode::NOT_FOUND, "no_endpoint", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_named_in_any_case_and_nothing_else_is_one() {
        for (name, slot) in [("Primary", Slot::Primary), ("secondary", Slot::Secondary), ("PRIMARY", Slot::Primary)] {
            assert_eq!(slot_named(name).unwrap(), slot);
        }
        assert!(slot_named("both").is_err());
    }

    #[test]
    fn what_no_header_can_carry_is_no_key() {
        assert!(key("canary key").is_ok());
        for wrong in ["", "a\nb", "a\u{7}", &"k".repeat(LONGEST_KEY + 1)] {
            let refused = key(wrong).unwrap_err();
            assert!(wrong.is_empty() || !refused.message.contains(wrong));
        }
    }
}
