//! The v1 model management service: web services, their keys and tokens, and operations. There is no `api-version` here.

mod payload;

use axum::{body::Body, response::Response};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    arm::{Asked, Holder, act, errors::ControlError, may, nothing_here, only, only_get, page},
    state::{
        role,
        service::{Action, Operation, Outcome},
    },
    wire::{self, with},
    world::Deployed,
};
use crate::{
    service_auth::{AuthMode, Regenerate, ServiceKind, keys_body, web_service_token_body},
    telemetry::utc::Utc,
};

/// What follows the workspace in a path, in lower case.
pub(super) fn route(asked: &Asked<'_>, holder: &Holder, rest: &[&str]) -> Result<Response, ControlError> {
    match rest {
        ["services"] => {
            may(holder, role::SERVICE)?;
            only_get(asked).map(|()| list(asked))
        }
        ["services", name] => only_get(asked).and_then(|()| get(asked, holder, name)),
        ["services", name, "listkeys"] => only(asked, &Method::POST).and_then(|()| list_keys(asked, holder, name)),
        ["services", name, "regeneratekeys"] => {
            only(asked, &Method::POST).and_then(|()| regenerate(asked, holder, name))
        }
        ["services", name, "token"] => only(asked, &Method::POST).and_then(|()| token(asked, holder, name)),
        ["operations", id] => {
            may(holder, role::SERVICE)?;
            only_get(asked).and_then(|()| operation(asked, id))
        }
        _ => Err(nothing_here()),
    }
}

fn is_web_service(deployed: &Deployed) -> bool {
    deployed.lock().setup.kind != ServiceKind::Online
}

fn find<'a>(asked: &Asked<'a>, name: &str) -> Result<&'a Deployed, ControlError> {
    let found = asked.world.service(name).filter(|deployed| is_web_service(deployed));
    found.map(AsRef::as_ref).ok_or_else(|| {
        let text = format!("Service with name '{name}' was not found.");
        ControlError::new(StatusCode::NOT_FOUND, "WebserviceNotFound", &text)
    })
}

fn list(asked: &Asked<'_>) -> Response {
    let fits = |deployed: &Deployed| {
        let service = deployed.lock();
        let kind = payload::compute_type(service.setup.kind);
        // Compared with case, unlike paths.
        let of_kind = asked.query.get("computeType").is_none_or(|wanted| wanted == kind);
        let tagged = asked.query.get("tags").is_none_or(payload::has_tags);
        let modelled =
            ["modelName", "modelId", "imageId", "properties"].iter().all(|name| asked.query.get(name).is_none());
        service.setup.kind != ServiceKind::Online && of_kind && tagged && modelled
    };
    let services: Vec<&Deployed> =
        asked.world.services().map(AsRef::as_ref).filter(|deployed| fits(deployed)).collect();
    let (page, next) = page(asked, &services);
    let value: Vec<Value> = page.iter().map(|deployed| payload::service(asked, deployed)).collect();
    let mut body = json!({ "value": value });
    // Absent on the last page, and never null: azureml-core would follow that.
    if let (Some(next), Some(body)) = (next, body.as_object_mut()) {
        body.insert("nextLink".to_owned(), json!(next));
    }
    wire::ok(&body)
}

fn get(asked: &Asked<'_>, holder: &Holder, name: &str) -> Result<Response, ControlError> {
    let deployed = find(asked, name)?;
    act(asked, holder, deployed, Action::Read, |_, _| Ok(()))?;
    Ok(wire::ok(&payload::service(asked, deployed)))
}

fn list_keys(asked: &Asked<'_>, holder: &Holder, name: &str) -> Result<Response, ControlError> {
    let deployed = find(asked, name)?;
    let keys = act(asked, holder, deployed, Action::Listkeys, |service, tick| {
        demand(service.auth.auth, AuthMode::Key, "key authentication is off for this service")?;
        Ok(service.list_keys(tick.now))
    })?;
    Ok(wire::ok(&keys_body(&keys)))
}

fn token(asked: &Asked<'_>, holder: &Holder, name: &str) -> Result<Response, ControlError> {
    let deployed = find(asked, name)?;
    let issued = act(asked, holder, deployed, Action::Token, |service, tick| {
        demand(service.auth.auth, AuthMode::Token, "token authentication is off for this service")?;
        Ok(service.issue(tick))
    })?;
    Ok(wire::answer(StatusCode::CREATED, &web_service_token_body(&issued)))
}

fn demand(is: AuthMode, wanted: AuthMode, text: &str) -> Result<(), ControlError> {
    if is == wanted { Ok(()) } else { Err(ControlError::new(StatusCode::BAD_REQUEST, "AuthNotEnabled", text)) }
}

fn regenerate(asked: &Asked<'_>, holder: &Holder, name: &str) -> Result<Response, ControlError> {
    let deployed = find(asked, name)?;
    let bad = |text: &dyn ToString| ControlError::new(StatusCode::BAD_REQUEST, "BadRequest", &text.to_string());
    let wanted = Regenerate::read(&asked.body).map_err(|error| bad(&error))?;
    let id = act(asked, holder, deployed, Action::Regeneratekeys, |service, tick| {
        demand(service.auth.auth, AuthMode::Key, "key authentication is off for this service")?;
        service.regenerate(wanted, tick).map_err(|_busy| {
            ControlError::new(StatusCode::CONFLICT, "Conflict", "another operation runs on this service")
        })
    })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    // Without a query: azureml-core takes what follows the last slash as the id.
    let place =
        format!("{}/modelmanagement/v1.0{}/operations/{id}", asked.base, asked.world.setup.workspace_resource());
    Ok(with(response, "operation-location", &place))
}

fn operation(asked: &Asked<'_>, id: &str) -> Result<Response, ControlError> {
    let tick = asked.world.moment();
    let find = |deployed: &Deployed| {
        let mut service = deployed.lock();
        service.settle(&tick);
        service.operation(id).map(|operation| operation_json(asked, &deployed.name, operation))
    };
    let services = asked.world.services().filter(|deployed| is_web_service(deployed));
    let found = services.into_iter().find_map(|deployed| find(deployed));
    found
        .map(|body| wire::ok(&body))
        .ok_or_else(|| ControlError::new(StatusCode::NOT_FOUND, "OperationNotFound", "there is no such operation"))
}

fn operation_json(asked: &Asked<'_>, name: &str, operation: &Operation) -> Value {
    let state = match (operation.ended, operation.outcome) {
        (None, _) => "Running",
        (Some(_), Outcome::Succeeded) => "Succeeded",
        (Some(_), Outcome::Failed) => "Failed",
        (Some(_), Outcome::Cancelled) => "Cancelled",
        (Some(_), Outcome::TimedOut) => "TimedOut",
    };
    let failed = operation.ended.is_some() && operation.outcome != Outcome::Succeeded;
    let error = failed.then(|| {
        json!({ "code": "OperationFailed", "statusCode": 500, "message": "the mock was told to fail", "details": [] })
    });
    json!({
        "id": operation.id, "operationType": "Service", "state": state,
        "createdTime": Utc(operation.created * 1_000).to_string(),
        "endTime": operation.ended.map(|ended| Utc(ended * 1_000).to_string()), "error": error,
        "resourceLocation": format!("{}/services/{name}", asked.world.setup.workspace_resource()),
        "operationDetails": { "subOperationType": "RegenerateKeys", "subOperationState": state },
    })
}
