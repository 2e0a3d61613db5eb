//! Managed identity, in its forms on plain HTTP: IMDS of a machine, App Service, Azure ML compute, Cloud Shell.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::{
    entra::{claims, claims::Principal, is_known_resource},
    state::{directory::ManagedIdentity, faults::Target},
    wire::{self, Form, answer, with_faults},
    world::{Side, World},
};

/// `IDENTITY_ENDPOINT`'s path.
pub(super) const APP_SERVICE_PATH: &str = "/msi/token";
/// `MSI_ENDPOINT`'s path.
pub(super) const MSI_PATH: &str = "/msi/aml/token";
const IMDS_PATH: &str = "/metadata/identity/oauth2/token";

pub(super) fn router(world: Arc<World>) -> Router {
    Router::new().fallback(handle).with_state(world)
}

/// Which form was asked, and so how errors look and which fields an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Imds,
    AppService,
    AzureMl,
    CloudShell,
}

impl Endpoint {
    const fn call(self) -> &'static str {
        match self {
            Self::Imds => "imds",
            Self::AppService => "app_service",
            Self::AzureMl => "msi",
            Self::CloudShell => "cloud_shell",
        }
    }

    /// Names of the parameters that choose an identity.
    const fn selectors(self) -> [&'static str; 3] {
        match self {
            Self::Imds => ["client_id", "object_id", "msi_res_id"],
            Self::AppService => ["client_id", "object_id", "mi_res_id"],
            // Without the underscore.
            Self::AzureMl | Self::CloudShell => ["clientid", "object_id", "mi_res_id"],
        }
    }

    fn error(self, status: StatusCode, error: &str, text: &str) -> Response {
        let body = match self {
            Self::AppService => json!({ "statusCode": status.as_u16(), "message": text }),
            Self::Imds | Self::AzureMl | Self::CloudShell => json!({ "error": error, "error_description": text }),
        };
        answer(status, &body)
    }
}

async fn handle(State(world): State<Arc<World>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let form = match (&parts.method, parts.uri.path()) {
        (&Method::GET, IMDS_PATH) => Endpoint::Imds,
        (&Method::GET, APP_SERVICE_PATH) => Endpoint::AppService,
        (&Method::GET, MSI_PATH) => Endpoint::AzureMl,
        (&Method::POST, MSI_PATH) => Endpoint::CloudShell,
        _ => {
            world.count_call(Side::Imds, "other");
            let text = "there is no managed-identity endpoint at this path, or not for this method";
            return Endpoint::Imds.error(StatusCode::NOT_FOUND, "not_found", text);
        }
    };
    world.count_call(Side::Imds, form.call());
    let asked = if form == Endpoint::CloudShell {
        let Some(body) = wire::read(body).await else {
            return form.error(StatusCode::BAD_REQUEST, "invalid_request", "the body cannot be read");
        };
        Form::parse(&body)
    } else {
        Form::of_query(&parts.uri)
    };
    let error = |trouble: wire::Trouble| {
        form.error(trouble.status, "temporarily_unavailable", "the mock was told to answer so")
    };
    let work = async { token(&world, form, &parts.headers, &asked).unwrap_or_else(|refusal| *refusal) };
    with_faults(&world, Target::Imds, form.call(), None, error, work).await
}

fn token(world: &World, form: Endpoint, headers: &HeaderMap, asked: &Form) -> Result<Response, Box<Response>> {
    let bad = |error: &str, text: &str| Box::new(form.error(StatusCode::BAD_REQUEST, error, text));
    prove(world, form, headers)?;
    if form != Endpoint::CloudShell && asked.get("api-version").is_none() {
        return Err(bad("invalid_request", "the query must contain api-version"));
    }
    let resource = asked.get("resource").ok_or_else(|| bad("invalid_request", "the query must contain resource"))?;
    if !is_known_resource(resource) {
        return Err(bad("invalid_resource", "AADSTS500011: the resource principal is not known in this tenant."));
    }
    let (identity, lifetime) = {
        let directory = world.directory();
        (directory.managed_identity.clone(), directory.knobs.token_lifetime)
    };
    if !is_chosen(&identity, form, asked) {
        return Err(bad("invalid_request", "Identity not found"));
    }
    let failed = |text: &str| Box::new(form.error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", text));
    let tick = world.tick().map_err(|_no_randomness| failed("the operating system gave no random bytes"))?;
    let principal =
        Principal { object_id: identity.object_id, client_id: identity.client_id.clone(), proof: "2", person: None };
    let token = claims::access_token(world, &principal, resource, lifetime, &tick)
        .map_err(|_failed| failed("the mock's own key cannot be used"))?;
    let text = |number: u64| json!(number.to_string());
    let mut body = Map::new();
    body.insert("access_token".to_owned(), json!(token));
    body.insert("client_id".to_owned(), json!(identity.client_id));
    body.insert("expires_on".to_owned(), text(tick.unix + lifetime));
    body.insert("resource".to_owned(), json!(resource));
    body.insert("token_type".to_owned(), json!("Bearer"));
    if matches!(form, Endpoint::Imds | Endpoint::CloudShell) {
        body.insert("expires_in".to_owned(), text(lifetime));
        body.insert("ext_expires_in".to_owned(), text(lifetime));
        body.insert("not_before".to_owned(), text(tick.unix));
    }
    Ok(wire::ok(&Value::Object(body)))
}

/// What shows that the request comes from the machine itself and was not forged through another program on it.
fn prove(world: &World, form: Endpoint, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let metadata = headers.get("metadata").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    let shows = |name: &str, secret: &str| {
        headers.get(name).is_some_and(|value| bool::from(value.as_bytes().ct_eq(secret.as_bytes())))
    };
    let refuse = |status, error: &str, text: &str| Err(Box::new(form.error(status, error, text)));
    match form {
        Endpoint::Imds | Endpoint::CloudShell if headers.contains_key("x-forwarded-for") => {
            refuse(StatusCode::BAD_REQUEST, "invalid_request", "a request with X-Forwarded-For was forwarded")
        }
        Endpoint::Imds | Endpoint::CloudShell if !metadata => {
            let text = "Required metadata header not specified";
            refuse(StatusCode::BAD_REQUEST, "bad_request_102", text)
        }
        Endpoint::AppService if !shows("x-identity-header", &world.setup.identity_header) => {
            refuse(StatusCode::UNAUTHORIZED, "unauthorized", "X-IDENTITY-HEADER is missing or wrong")
        }
        Endpoint::AzureMl if !shows("secret", &world.setup.msi_secret) => {
            refuse(StatusCode::UNAUTHORIZED, "unauthorized", "the field Secret is missing or wrong")
        }
        Endpoint::Imds | Endpoint::CloudShell | Endpoint::AppService | Endpoint::AzureMl => Ok(()),
    }
}

/// Whether the one identity is the one that is asked for; where none is named, it is.
fn is_chosen(identity: &ManagedIdentity, form: Endpoint, asked: &Form) -> bool {
    let [client, object, resource] = form.selectors();
    let fits = |name: &str, own: &str| asked.get(name).is_none_or(|named| named.eq_ignore_ascii_case(own));
    // Azure ML's documents spell it both ways.
    fits(client, &identity.client_id)
        && fits("client_id", &identity.client_id)
        && fits(object, &identity.object_id)
        && fits(resource, &identity.resource_id)
}
