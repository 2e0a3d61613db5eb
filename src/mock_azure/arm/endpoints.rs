//! Online endpoints: look, keys, tokens, regeneration, and the two addresses at which an operation is polled.

use axum::{body::Body, response::Response};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Asked, Holder, PROVIDER, act, errors::ControlError, may, nothing_here, only, only_get};
use crate::{
    mock_azure::{
        state::{
            role,
            service::{Action, Operation, Outcome},
        },
        wire::{self, with},
        world::Deployed,
    },
    service_auth::{AuthMode, Regenerate, ServiceKind, keys_body, online_token_body},
};

/// Seconds between two polls: a test suite should not wait for the libraries' own 30.
const RETRY_AFTER: &str = "1";

pub(super) fn route(asked: &Asked<'_>, holder: &Holder, rest: &[&str]) -> Result<Response, ControlError> {
    match rest {
        [] => {
            may(holder, role::ONLINE)?;
            only_get(asked).map(|()| list(asked))
        }
        [name] => {
            only_get(asked)?;
            let endpoint = find(asked, name)?;
            act(asked, holder, endpoint, Action::Read, |_, _| Ok(()))?;
            Ok(wire::ok(&endpoint_json(asked, endpoint)))
        }
        [name, "deployments"] => only_get(asked).and_then(|()| deployments(asked, holder, name)),
        [name, "deployments", deployment] => {
            only_get(asked).and_then(|()| one_deployment(asked, holder, name, deployment))
        }
        [name, "listkeys"] => only(asked, &Method::POST).and_then(|()| list_keys(asked, holder, name)),
        [name, "regeneratekeys"] => only(asked, &Method::POST).and_then(|()| regenerate(asked, holder, name)),
        [name, "token"] => only(asked, &Method::POST).and_then(|()| token(asked, holder, name)),
        _ => Err(nothing_here()),
    }
}

fn find<'a>(asked: &Asked<'a>, name: &str) -> Result<&'a Deployed, ControlError> {
    let found = asked.world.service(name).filter(|deployed| deployed.lock().setup.kind == ServiceKind::Online);
    found.map(AsRef::as_ref).ok_or_else(|| {
        let workspace = &asked.world.setup.workspace;
        let text = format!("The Resource '{PROVIDER}/workspaces/{workspace}/onlineEndpoints/{name}' was not found.");
        ControlError::new(StatusCode::NOT_FOUND, "ResourceNotFound", &text)
    })
}

fn list(asked: &Asked<'_>) -> Response {
    let online: Vec<&Deployed> = asked
        .world
        .services()
        .map(AsRef::as_ref)
        .filter(|deployed| deployed.lock().setup.kind == ServiceKind::Online)
        .collect();
    let (page, next) = page(asked, &online);
    let value: Vec<Value> = page.iter().map(|endpoint| endpoint_json(asked, endpoint)).collect();
    let mut body = json!({ "value": value });
    if let (Some(next), Some(body)) = (next, body.as_object_mut()) {
        body.insert("nextLink".to_owned(), json!(next));
    }
    wire::ok(&body)
}

/// One page of a list, and the address of the next one.
pub(in crate::mock_azure) fn page<'a, T>(asked: &Asked<'_>, all: &'a [T]) -> (&'a [T], Option<String>) {
    let from = asked.query.get("$skip").and_then(|skip| skip.parse().ok()).unwrap_or(0).min(all.len());
    let until = (from + asked.world.setup.page_size).min(all.len());
    let page = all.get(from..until).unwrap_or_default();
    if until >= all.len() {
        return (page, None);
    }
    let query = asked.uri.query().unwrap_or_default();
    let kept = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "$skip");
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(kept)
        .append_pair("$skip", &until.to_string())
        .finish();
    (page, Some(format!("{}{}?{query}", asked.base, asked.uri.path())))
}

fn endpoint_json(asked: &Asked<'_>, deployed: &Deployed) -> Value {
    let setup = &asked.world.setup;
    let auth = deployed.lock().auth.auth;
    let mode = match auth {
        AuthMode::Key | AuthMode::None => "Key",
        AuthMode::Token => "AMLToken",
        AuthMode::Entra => "AADToken",
    };
    let (name, scoring) = (&deployed.name, deployed.scoring_uri());
    let swagger = scoring.rsplit_once('/').map_or("", |(base, _)| base);
    json!({
        "id": format!("{}/onlineEndpoints/{name}", setup.workspace_resource()), "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
        "location": setup.region, "kind": "Managed", "tags": {},
        "identity": { "type": "SystemAssigned", "principalId": setup.workspace_id, "tenantId": setup.tenant },
        "properties": {
            "authMode": mode, "scoringUri": scoring, "swaggerUri": format!("{swagger}/swagger.json"),
            "provisioningState": "Succeeded", "traffic": { "blue": 100 }, "mirrorTraffic": {},
            "publicNetworkAccess": "Enabled", "description": null, "compute": null, "keys": null,
            "properties": { "azureml.onlineendpointid": format!("{}/onlineEndpoints/{name}", setup.workspace_resource()) },
        },
    })
}

fn deployments(asked: &Asked<'_>, holder: &Holder, name: &str) -> Result<Response, ControlError> {
    let endpoint = find(asked, name)?;
    act(asked, holder, endpoint, Action::Read, |_, _| Ok(()))?;
    Ok(wire::ok(&json!({ "value": [deployment_json(asked, endpoint)] })))
}

fn one_deployment(asked: &Asked<'_>, holder: &Holder, name: &str, deployment: &str) -> Result<Response, ControlError> {
    let endpoint = find(asked, name)?;
    act(asked, holder, endpoint, Action::Read, |_, _| Ok(()))?;
    if deployment == "blue" {
        return Ok(wire::ok(&deployment_json(asked, endpoint)));
    }
    let text = format!("The deployment '{deployment}' was not found.");
    Err(ControlError::new(StatusCode::NOT_FOUND, "ResourceNotFound", &text))
}

/// Every endpoint has one deployment, which takes all traffic.
fn deployment_json(asked: &Asked<'_>, endpoint: &Deployed) -> Value {
    let setup = &asked.world.setup;
    json!({
        "id": format!("{}/onlineEndpoints/{}/deployments/blue", setup.workspace_resource(), endpoint.name), "name": "blue",
        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments",
        "location": setup.region, "kind": "Managed", "tags": {}, "sku": { "name": "Default", "tier": "Standard", "capacity": 1 },
        "properties": {
            "endpointComputeType": "Managed", "provisioningState": "Succeeded", "instanceType": "Standard_DS3_v2",
            "appInsightsEnabled": false, "properties": {}, "scaleSettings": { "scaleType": "Default" },
            "requestSettings": { "requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 1, "maxQueueWait": "PT0.5S" },
        },
    })
}

fn list_keys(asked: &Asked<'_>, holder: &Holder, name: &str) -> Result<Response, ControlError> {
    let endpoint = find(asked, name)?;
    let keys = act(asked, holder, endpoint, Action::Listkeys, |service, tick| {
        demand(service.auth.auth, AuthMode::Key, "the endpoint's authMode is not Key")?;
        Ok(service.list_keys(tick.now))
    })?;
    Ok(wire::ok(&keys_body(&keys)))
}

fn token(asked: &Asked<'_>, holder: &Holder, name: &str) -> Result<Response, ControlError> {
    let endpoint = find(asked, name)?;
    let issued = act(asked, holder, endpoint, Action::Token, |service, tick| {
        demand(service.auth.auth, AuthMode::Token, "the endpoint's authMode is not AMLToken")?;
        Ok(service.issue(tick))
    })?;
    Ok(wire::ok(&online_token_body(&issued)))
}

fn demand(is: AuthMode, wanted: AuthMode, text: &str) -> Result<(), ControlError> {
    if is == wanted { Ok(()) } else { Err(ControlError::new(StatusCode::BAD_REQUEST, "BadRequest", text)) }
}

fn regenerate(asked: &Asked<'_>, holder: &Holder, name: &str) -> Result<Response, ControlError> {
    let endpoint = find(asked, name)?;
    let bad =
        |text: &dyn ToString| ControlError::new(StatusCode::BAD_REQUEST, "InvalidRequestContent", &text.to_string());
    let wanted = Regenerate::read(&asked.body).map_err(|error| bad(&error))?;
    let id = act(asked, holder, endpoint, Action::Regeneratekeys, |service, tick| {
        demand(service.auth.auth, AuthMode::Key, "the endpoint's authMode is not Key")?;
        service.regenerate(wanted, tick).map_err(|_busy| {
            ControlError::new(StatusCode::CONFLICT, "Conflict", "another operation runs on this endpoint")
        })
    })?;
    let setup = &asked.world.setup;
    let place = |what: &str| {
        format!(
            "{}/subscriptions/{}/providers/{PROVIDER}/locations/{}/{what}/oe:{}:{id}?api-version=2023-04-01",
            asked.base, setup.subscription, setup.region, setup.workspace_id
        )
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    let response = with(response, "azure-asyncoperation", &place("mfeOperationsStatus"));
    let response = with(response, "location", &place("mfeOperationResults"));
    Ok(with(response, "retry-after", RETRY_AFTER))
}

/// What `Azure-AsyncOperation` says.
pub(super) fn status(asked: &Asked<'_>, id: &str) -> Result<Response, ControlError> {
    let operation = operation(asked, id)?;
    let status = match (operation.ended, operation.outcome) {
        (None, _) => "InProgress",
        (Some(_), Outcome::Succeeded) => "Succeeded",
        // One l, and no time-outs of its own.
        (Some(_), Outcome::Cancelled) => "Canceled",
        (Some(_), Outcome::Failed | Outcome::TimedOut) => "Failed",
    };
    let mut body = json!({ "id": asked.uri.path(), "name": id, "status": status });
    if let (Some(_), false, Some(body)) =
        (operation.ended, operation.outcome == Outcome::Succeeded, body.as_object_mut())
    {
        body.insert("error".to_owned(), json!({ "code": "OperationFailed", "message": "the mock was told to fail" }));
    }
    let response = wire::ok(&body);
    Ok(if operation.ended.is_none() { with(response, "retry-after", RETRY_AFTER) } else { response })
}

/// What `Location` says: 202 while it runs.
pub(super) fn result(asked: &Asked<'_>, id: &str) -> Result<Response, ControlError> {
    let operation = operation(asked, id)?;
    let mut response = Response::new(Body::empty());
    if operation.ended.is_none() {
        *response.status_mut() = StatusCode::ACCEPTED;
        let here = format!("{}{}", asked.base, asked.uri);
        return Ok(with(with(response, "location", &here), "retry-after", RETRY_AFTER));
    }
    if operation.outcome != Outcome::Succeeded {
        return Err(ControlError::new(StatusCode::CONFLICT, "OperationFailed", "the mock was told to fail"));
    }
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn operation(asked: &Asked<'_>, id: &str) -> Result<Operation, ControlError> {
    let own = id.rsplit_once(':').map_or(id, |(_, own)| own);
    let tick = asked.world.moment();
    let find = |deployed: &Deployed| {
        let mut service = deployed.lock();
        service.settle(&tick);
        service.operation(own).cloned()
    };
    asked
        .world
        .services()
        .find_map(|deployed| find(deployed))
        .ok_or_else(|| ControlError::new(StatusCode::NOT_FOUND, "ResourceNotFound", "there is no such operation"))
}
