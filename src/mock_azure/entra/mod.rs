//! The identity provider: Entra ID's token endpoints of both versions, and everything that leads to them.
//!
//! `/{tenant}/oauth2[/v2.0]/{token,devicecode,authorize}`, discovery documents, signing keys, and `/devicelogin`, where a person
//! approves a device. Any `Host` is accepted, and the URLs handed out are built from it.

mod assertion;
mod audience;
mod authorize;
pub(super) mod claims;
mod client;
mod device;
mod discovery;
mod errors;
mod page;
mod token;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{Method, StatusCode};

pub(super) use self::audience::is_here;
use self::errors::{EntraError, Stamp};
use super::{
    state::faults::Target,
    wire::{self, Form, with, with_faults},
    world::{Side, World},
};

/// The form of the token endpoint and its answers: they differ in names and in how numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

pub(super) fn router(world: Arc<World>) -> Router {
    Router::new().fallback(handle).with_state(world)
}

/// A request whose form has been read.
struct Asked<'a> {
    world: &'a World,
    /// Base of the URLs to hand out.
    base: String,
    query: Form,
    form: Form,
}

async fn handle(State(world): State<Arc<World>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let stamp = Stamp::new(&world, &parts.headers);
    let Some(body) = wire::read(body).await else {
        return EntraError::new(900_144, "the body cannot be read").answer(&stamp);
    };
    let asked =
        Asked { world: &world, base: wire::base(&parts), query: Form::of_query(&parts.uri), form: Form::parse(&body) };
    let path = parts.uri.path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let call = call(&segments, &asked.form);
    world.count_call(Side::Entra, call);
    let error = |trouble| EntraError::of_trouble(trouble).answer(&stamp);
    let work = async { route(&asked, &parts.method, &segments).unwrap_or_else(|error| error.answer(&stamp)) };
    let response = with_faults(&world, Target::Entra, call, None, error, work).await;
    stamp.put_on(with(response, "cache-control", "no-store"))
}

/// What a call is counted as.
fn call(segments: &[&str], form: &Form) -> &'static str {
    match segments {
        [_, "oauth2", "token"] | [_, "oauth2", "v2.0", "token"] => match form.get("grant_type") {
            Some("client_credentials") => "token:client_credentials",
            Some("authorization_code") => "token:authorization_code",
            Some("refresh_token") => "token:refresh_token",
            Some("device_code" | "urn:ietf:params:oauth:grant-type:device_code") => "token:device_code",
            _ => "token:other",
        },
        [_, "oauth2", "devicecode"] | [_, "oauth2", "v2.0", "devicecode"] => "devicecode",
        [_, "oauth2", "authorize"] | [_, "oauth2", "v2.0", "authorize"] => "authorize",
        [_, "v2.0", ".well-known", "openid-configuration"] | [_, ".well-known", "openid-configuration"] => "discovery",
        ["common", "discovery", "instance"] => "instance_discovery",
        [_, "discovery", "v2.0", "keys"] | [_, "discovery", "keys"] => "keys",
        ["devicelogin"] => "devicelogin",
        _ => "other",
    }
}

fn route(asked: &Asked<'_>, method: &Method, segments: &[&str]) -> Result<Response, EntraError> {
    let (get, post) = (*method == Method::GET, *method == Method::POST);
    match segments {
        [tenant, "oauth2", "token"] if post => token::answer(asked, tenant, Version::V1),
        [tenant, "oauth2", "v2.0", "token"] if post => token::answer(asked, tenant, Version::V2),
        // adal for Node and old clients ask with GET.
        [tenant, "oauth2", "devicecode"] if post || get => device::start(asked, tenant, Version::V1),
        [tenant, "oauth2", "v2.0", "devicecode"] if post => device::start(asked, tenant, Version::V2),
        [tenant, "oauth2", "authorize"] if post || get => authorize::answer(asked, tenant, Version::V1, post),
        [tenant, "oauth2", "v2.0", "authorize"] if post || get => authorize::answer(asked, tenant, Version::V2, post),
        [tenant, "v2.0", ".well-known", "openid-configuration"] if get => discovery::openid(asked, tenant, Version::V2),
        [tenant, ".well-known", "openid-configuration"] if get => discovery::openid(asked, tenant, Version::V1),
        ["common", "discovery", "instance"] if get => discovery::instance(asked),
        [tenant, "discovery", "v2.0", "keys"] | [tenant, "discovery", "keys"] if get => discovery::keys(asked, tenant),
        ["devicelogin"] if get => Ok(device::page(asked)),
        ["devicelogin"] if post => device::decide(asked),
        [_, "oauth2", "token" | "devicecode" | "authorize"]
        | [_, "oauth2", "v2.0", "token" | "devicecode" | "authorize"] => {
            Err(EntraError::new(900_561, "the endpoint accepts another method")
                .with_status(StatusCode::METHOD_NOT_ALLOWED))
        }
        _ => {
            let error = EntraError::new(90_013, "there is nothing at this path of the identity provider");
            Err(error.with_status(StatusCode::NOT_FOUND))
        }
    }
}

/// Checks the tenant of a path: `common` and `organizations` are for people only.
fn check_tenant(world: &World, tenant: &str, for_people: bool) -> Result<(), EntraError> {
    let shared = for_people && matches!(tenant, "common" | "organizations");
    if shared || world.directory().is_tenant(tenant) {
        return Ok(());
    }
    Err(EntraError::new(90_002, &format!("tenant '{tenant}' is not known here")))
}

/// Whether managed identities have tokens for a resource.
pub(super) fn is_known_resource(resource: &str) -> bool {
    audience::check(resource, &[], "").is_ok()
}

/// A page for a person.
fn html(status: StatusCode, page: String) -> Response {
    let mut response = Response::new(Body::from(page));
    *response.status_mut() = status;
    let response = with(response, "content-type", "text/html; charset=utf-8");
    let response = with(
        response,
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    );
    with(response, "x-content-type-options", "nosniff")
}
