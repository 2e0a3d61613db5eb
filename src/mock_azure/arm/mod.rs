//! The control plane: the resource manager, and on the same base the discovery document and the v1 model management service.
//!
//! Paths have no case (ARM's rule). Every call but discovery and cloud metadata shows an Entra token.

mod bearer;
mod endpoints;
pub(super) mod errors;
mod workspace;

pub(super) use self::{endpoints::page, workspace::CLUSTER};

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, Method, StatusCode, Uri};

use self::errors::{ControlError, Shape};
use super::{
    mms,
    state::{
        faults::Target,
        role::{self, Role},
        service::{Action, Service},
    },
    wire::{self, Form, with, with_faults},
    world::{Deployed, Side, World},
};

pub(super) const PROVIDER: &str = "Microsoft.MachineLearningServices";

pub(super) fn router(world: Arc<World>) -> Router {
    Router::new().fallback(handle).with_state(world)
}

/// A request that has been read.
pub(super) struct Asked<'a> {
    pub(super) world: &'a World,
    pub(super) method: Method,
    /// Base of the URLs to hand out.
    pub(super) base: String,
    pub(super) headers: HeaderMap,
    pub(super) uri: Uri,
    pub(super) query: Form,
    pub(super) body: Bytes,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) client_id: String,
    pub(super) role: Role,
}

async fn handle(State(world): State<Arc<World>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let lower: Vec<String> = segments.iter().map(|segment| segment.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let call = call(&lower, &parts.method);
    let (side, target, shape) = match call.side {
        Side::Mms => (Side::Mms, Target::Mms, Shape::Flat),
        Side::Entra | Side::Arm | Side::Imds => (Side::Arm, Target::Arm, Shape::Nested),
    };
    world.count_call(side, call.name);
    let service = call.service.and_then(|name| world.service(name));
    if let Some(service) = service {
        service.lock().seen.add(world.real_millis(), [super::state::counters::Count::Call(call.name)]);
    }
    let Some(body) = wire::read(body).await else {
        return ControlError::new(StatusCode::BAD_REQUEST, "InvalidRequestContent", "the body cannot be read")
            .answer(shape);
    };
    let base = wire::base(&parts);
    let query = Form::of_query(&parts.uri);
    let asked =
        Asked { world: &world, method: parts.method, base, headers: parts.headers, uri: parts.uri, query, body };
    let error = |trouble: wire::Trouble| ControlError::of_status(trouble.status).answer(shape);
    let work = async { route(&asked, &lower).unwrap_or_else(|error| error.answer(shape)) };
    let name = service.map(|service| service.name.as_str());
    let response = with_faults(&world, target, call.name, name, error, work).await;
    let tick = world.tick().unwrap_or_else(|_no_randomness| world.moment());
    let response = with(response, "x-ms-request-id", &tick.guid(0));
    with(response, "x-ms-correlation-request-id", &tick.guid(16))
}

/// What a call is counted as, and whom it is about.
struct Call<'a> {
    side: Side,
    name: &'static str,
    service: Option<&'a str>,
}

fn call<'a>(lower: &[&'a str], method: &Method) -> Call<'a> {
    let of = |side, name, service| Call { side, name, service };
    match lower {
        ["discovery", ..] => of(Side::Mms, "discovery", None),
        [
            "modelmanagement",
            "v1.0",
            "subscriptions",
            _,
            "resourcegroups",
            _,
            "providers",
            _,
            "workspaces",
            _,
            rest @ ..,
        ] => match rest {
            ["services"] => of(Side::Mms, "list", None),
            ["services", name] => of(Side::Mms, if method == Method::GET { "get" } else { "other" }, Some(name)),
            ["services", name, "listkeys"] => of(Side::Mms, "listkeys", Some(name)),
            ["services", name, "regeneratekeys"] => of(Side::Mms, "regenerateKeys", Some(name)),
            ["services", name, "token"] => of(Side::Mms, "token", Some(name)),
            ["operations", _] => of(Side::Mms, "operation", None),
            _ => of(Side::Mms, "other", None),
        },
        ["modelmanagement", ..] => of(Side::Mms, "other", None),
        ["subscriptions", _, "resourcegroups", _, "providers", _, "workspaces", _, "onlineendpoints", rest @ ..] => {
            match rest {
                [] => of(Side::Arm, "list", None),
                [name] => of(Side::Arm, "get", Some(name)),
                [name, "deployments", ..] => of(Side::Arm, "deployments", Some(name)),
                [name, "listkeys"] => of(Side::Arm, "listkeys", Some(name)),
                [name, "regeneratekeys"] => of(Side::Arm, "regenerateKeys", Some(name)),
                [name, "token"] => of(Side::Arm, "token", Some(name)),
                _ => of(Side::Arm, "other", None),
            }
        }
        ["subscriptions", _, "resourcegroups", _, "providers", _, "workspaces", _] => of(Side::Arm, "workspace", None),
        ["subscriptions", .., "workspaces"] => of(Side::Arm, "workspaces", None),
        ["subscriptions"] | ["subscriptions", _] => of(Side::Arm, "subscriptions", None),
        ["subscriptions", _, "providers", _, "locations", _, "mfeoperationsstatus" | "mfeoperationresults", _] => {
            of(Side::Arm, "operation", None)
        }
        ["metadata", "endpoints"] => of(Side::Arm, "metadata", None),
        _ => of(Side::Arm, "other", None),
    }
}

fn route(asked: &Asked<'_>, lower: &[&str]) -> Result<Response, ControlError> {
    match lower {
        // Asked for without a token.
        ["discovery", ..] => return only_get(asked).map(|()| workspace::discovery(asked)),
        ["metadata", "endpoints"] => return only_get(asked).map(|()| workspace::clouds(asked)),
        _ => {}
    }
    let holder = bearer::check(asked)?;
    if let ["modelmanagement", "v1.0", rest @ ..] = lower {
        let rest = in_workspace(asked, rest)?;
        return mms::route(asked, &holder, rest);
    }
    check_api_version(&asked.query)?;
    match lower {
        ["subscriptions"] => only_get(asked).map(|()| workspace::subscriptions(asked)),
        ["subscriptions", subscription] => {
            in_subscription(asked, subscription)?;
            only_get(asked).map(|()| workspace::subscription(asked))
        }
        ["tenants"] => only_get(asked).map(|()| workspace::tenants(asked)),
        ["subscriptions", subscription, "providers", "microsoft.machinelearningservices", rest @ ..] => {
            in_subscription(asked, subscription)?;
            match rest {
                ["workspaces"] => only_get(asked).map(|()| workspace::list(asked, &holder)),
                ["locations", _, "mfeoperationsstatus", id] => {
                    only_get(asked).and_then(|()| endpoints::status(asked, id))
                }
                ["locations", _, "mfeoperationresults", id] => {
                    only_get(asked).and_then(|()| endpoints::result(asked, id))
                }
                _ => Err(nothing_here()),
            }
        }
        ["subscriptions", subscription, "resourcegroups", group] => {
            in_group(asked, subscription, group)?;
            only_get(asked).map(|()| workspace::resource_group(asked))
        }
        [
            "subscriptions",
            subscription,
            "resourcegroups",
            group,
            "providers",
            "microsoft.machinelearningservices",
            "workspaces",
        ] => {
            in_group(asked, subscription, group)?;
            only_get(asked).map(|()| workspace::list(asked, &holder))
        }
        _ => {
            let rest = in_workspace(asked, lower)?;
            match rest {
                [] => {
                    may(&holder, role::WORKSPACE)?;
                    only_get(asked).map(|()| workspace::get(asked))
                }
                ["onlineendpoints", rest @ ..] => endpoints::route(asked, &holder, rest),
                ["computes", name] => {
                    may(&holder, role::COMPUTE)?;
                    only_get(asked).and_then(|()| workspace::compute(asked, name))
                }
                ["providers", "microsoft.authorization", "permissions"] => {
                    may(&holder, role::PERMISSIONS)?;
                    only_get(asked).map(|()| workspace::permissions(asked, &holder))
                }
                _ => Err(nothing_here()),
            }
        }
    }
}

pub(super) fn nothing_here() -> ControlError {
    ControlError::new(StatusCode::NOT_FOUND, "InvalidResourceType", "there is no resource of this type here")
}

pub(super) fn only_get(asked: &Asked<'_>) -> Result<(), ControlError> {
    only(asked, &Method::GET)
}

pub(super) fn only(asked: &Asked<'_>, method: &Method) -> Result<(), ControlError> {
    if asked.method == *method {
        return Ok(());
    }
    let text = format!("this wants {method}");
    Err(ControlError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", &text))
}

/// ARM demands an `api-version`, and takes any that is a date.
fn check_api_version(query: &Form) -> Result<(), ControlError> {
    let bad = |code, text: &str| Err(ControlError::new(StatusCode::BAD_REQUEST, code, text));
    match query.get("api-version") {
        None => bad("MissingApiVersionParameter", "the query parameter api-version is required"),
        Some(version) if is_api_version(version) => Ok(()),
        Some(_) => bad("InvalidApiVersionParameter", "api-version is a date such as 2023-04-01 or 2022-02-01-preview"),
    }
}

fn is_api_version(version: &str) -> bool {
    let (date, rest) = version.split_at_checked(10).unwrap_or((version, ""));
    let shaped = date.len() == 10
        && date
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    let word = rest.strip_prefix('-');
    shaped
        && (rest.is_empty()
            || word.is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric())))
}

fn in_subscription(asked: &Asked<'_>, subscription: &str) -> Result<(), ControlError> {
    if subscription.eq_ignore_ascii_case(&asked.world.setup.subscription) {
        return Ok(());
    }
    let text = format!("The subscription '{subscription}' could not be found.");
    Err(ControlError::new(StatusCode::NOT_FOUND, "SubscriptionNotFound", &text))
}

fn in_group(asked: &Asked<'_>, subscription: &str, group: &str) -> Result<(), ControlError> {
    in_subscription(asked, subscription)?;
    if group.eq_ignore_ascii_case(&asked.world.setup.resource_group) {
        return Ok(());
    }
    let text = format!("Resource group '{group}' could not be found.");
    Err(ControlError::new(StatusCode::NOT_FOUND, "ResourceGroupNotFound", &text))
}

/// What follows the workspace in a path.
fn in_workspace<'a, 'b>(asked: &Asked<'_>, lower: &'a [&'b str]) -> Result<&'a [&'b str], ControlError> {
    let ["subscriptions", subscription, "resourcegroups", group, "providers", provider, "workspaces", name, rest @ ..] =
        lower
    else {
        return Err(nothing_here());
    };
    in_group(asked, subscription, group)?;
    if provider.eq_ignore_ascii_case(PROVIDER) && name.eq_ignore_ascii_case(&asked.world.setup.workspace) {
        return Ok(rest);
    }
    let text = format!("The Resource '{PROVIDER}/workspaces/{name}' was not found.");
    Err(ControlError::new(StatusCode::NOT_FOUND, "ResourceNotFound", &text))
}

/// Whether the caller's role has an action.
pub(super) fn may(holder: &Holder, action: &str) -> Result<(), ControlError> {
    if holder.role.permits(action) { Ok(()) } else { Err(denied(holder, action)) }
}

fn denied(holder: &Holder, action: &str) -> ControlError {
    let text = format!("The client '{}' does not have authorization to perform action '{action}'.", holder.client_id);
    ControlError::new(StatusCode::FORBIDDEN, "AuthorizationFailed", &text)
}

/// Does something with a service, unless the caller may not or the service was told to deny it.
pub(super) fn act<T>(
    asked: &Asked<'_>,
    holder: &Holder,
    deployed: &Deployed,
    action: Action,
    work: impl FnOnce(&mut Service, &super::state::Tick) -> Result<T, ControlError>,
) -> Result<T, ControlError> {
    let tick =
        asked.world.tick().map_err(|_no_randomness| ControlError::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
    let mut service = deployed.lock();
    let needed = role::needed(service.setup.kind, action);
    may(holder, needed)?;
    if service.denies(action) {
        return Err(denied(holder, needed));
    }
    service.settle(&tick);
    work(&mut service, &tick)
}

#[cfg(test)]
mod tests {
    use super::is_api_version;

    #[test]
    fn any_date_is_a_version() {
        for good in ["2023-04-01", "2022-02-01-preview", "2019-12-01-preview2"] {
            assert!(is_api_version(good), "{good}");
        }
        for bad in ["", "1.0", "2023-4-1", "2023-04-01-", "2023-04-01preview", "2023-04-01-a b", "日本語日本語日本"]
        {
            assert!(!is_api_version(bad), "{bad}");
        }
    }
}
