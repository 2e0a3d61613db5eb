//! The token endpoints: five grants, two versions.

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{
    Asked, Version, audience, check_tenant,
    claims::{self, IdToken, Principal},
    client::{self, Proven},
    errors::EntraError,
};
use crate::{
    jwt::encode_base64url,
    mock_azure::{
        state::{
            Tick,
            grants::{self, BadCode, Waiting},
        },
        wire,
        world::World,
    },
};

/// What a grant leads to.
struct Granted {
    principal: Principal,
    audience: String,
    /// As it was asked, told back on version 1.
    resource: String,
    /// Of a person.
    session: Option<Session>,
}

struct Session {
    scope: String,
    nonce: Option<String>,
    refresh_token: String,
}

pub(super) fn answer(asked: &Asked<'_>, tenant: &str, version: Version) -> Result<Response, EntraError> {
    let grant = asked.form.get("grant_type").ok_or_else(|| EntraError::missing("grant_type"))?;
    check_tenant(asked.world, tenant, grant != "client_credentials")?;
    let tick = tick(asked.world)?;
    let granted = match grant {
        "client_credentials" => client_credentials(asked, version)?,
        "authorization_code" => authorization_code(asked, version, &tick)?,
        "refresh_token" => refresh(asked, version, &tick)?,
        "device_code" | "urn:ietf:params:oauth:grant-type:device_code" => device(asked, &tick)?,
        other => return Err(EntraError::new(70_003, &format!("the grant type '{other}' is not supported"))),
    };
    render(asked, version, &granted, &tick)
}

/// The moment of a step.
pub(super) fn tick(world: &World) -> Result<Tick, EntraError> {
    world.tick().map_err(|_no_randomness| EntraError::new(90_033, "the operating system gave no random bytes"))
}

fn client_credentials(asked: &Asked<'_>, version: Version) -> Result<Granted, EntraError> {
    let proven = client::authenticate(asked)?;
    let Proven::Confidential(application, proof) = &proven else {
        return Err(EntraError::new(7_000_218, "the request must contain client_assertion or client_secret"));
    };
    let resource = match version {
        Version::V1 => asked.form.get("resource").ok_or_else(|| EntraError::missing("resource"))?,
        Version::V2 => {
            let scope = asked.form.get("scope").ok_or_else(|| EntraError::missing("scope"))?;
            audience::of_application_scope(scope)?
        }
    };
    check_resource(asked, resource)?;
    let principal = Principal {
        object_id: application.object_id.clone(),
        client_id: application.client_id.clone(),
        proof,
        person: None,
    };
    Ok(Granted { principal, audience: resource.to_owned(), resource: resource.to_owned(), session: None })
}

fn authorization_code(asked: &Asked<'_>, version: Version, tick: &Tick) -> Result<Granted, EntraError> {
    let proven = client::authenticate(asked)?;
    let code = asked.form.get("code").ok_or_else(|| EntraError::missing("code"))?;
    let redirect_uri = asked.form.get("redirect_uri").ok_or_else(|| EntraError::missing("redirect_uri"))?;
    let verifier = asked.form.get("code_verifier");
    let redeemed = asked.world.directory().grants.redeem(code, proven.client_id(), redirect_uri, verifier, tick);
    let code = redeemed.map_err(|bad| match bad {
        BadCode::Unknown => EntraError::new(70_000, "the authorization code is not one of ours"),
        BadCode::Used => EntraError::new(54_005, "the authorization code was redeemed already"),
        BadCode::Expired => EntraError::new(70_008, "the authorization code has expired"),
        BadCode::OtherClient => EntraError::new(70_000, "the authorization code is another client's"),
        BadCode::OtherRedirect => EntraError::new(50_011, "the redirect URI is not that of the authorization code"),
        BadCode::Verifier => EntraError::new(501_481, "the code verifier does not match the code challenge"),
    })?;
    let narrowed = narrowed(asked, version, code.asked)?;
    Ok(person(asked.world, &proven, narrowed, code.nonce, tick))
}

fn refresh(asked: &Asked<'_>, version: Version, tick: &Tick) -> Result<Granted, EntraError> {
    let proven = client::authenticate(asked)?;
    let token = asked.form.get("refresh_token").ok_or_else(|| EntraError::missing("refresh_token"))?;
    let was = asked.world.directory().grants.refresh(token, proven.client_id(), tick);
    let was =
        was.ok_or_else(|| EntraError::new(700_082, "the refresh token has expired, was revoked, or is none of ours"))?;
    let narrowed = narrowed(asked, version, was)?;
    Ok(person(asked.world, &proven, narrowed, None, tick))
}

fn device(asked: &Asked<'_>, tick: &Tick) -> Result<Granted, EntraError> {
    let proven = client::authenticate(asked)?;
    let code = asked.form.get("device_code").or_else(|| asked.form.get("code"));
    let code = code.ok_or_else(|| EntraError::missing("device_code"))?;
    let polled = asked.world.directory().grants.poll_device(code, proven.client_id(), tick);
    let granted = polled.map_err(|waiting| match waiting {
        Waiting::Pending => EntraError::new(70_016, "the person has not approved yet"),
        Waiting::SlowDown => EntraError::new(90_024, "ask less often"),
        Waiting::Declined => EntraError::new(650_051, "the person declined"),
        Waiting::Expired => EntraError::new(70_019, "the device code has expired"),
        Waiting::Unknown => EntraError::new(70_018, "the device code is not one of ours"),
    })?;
    Ok(person(asked.world, &proven, granted, None, tick))
}

/// What a person granted, or what of it the client asks for now: a refresh token is good for every resource.
fn narrowed(asked: &Asked<'_>, version: Version, was: grants::Asked) -> Result<grants::Asked, EntraError> {
    let named = match version {
        Version::V1 => asked.form.get("resource").map(|resource| (resource.to_owned(), was.scope.clone())),
        Version::V2 => match asked.form.get("scope") {
            Some(scope) => Some((audience::of_person_scopes(scope)?, scope.to_owned())),
            None => None,
        },
    };
    let Some((audience, scope)) = named else { return Ok(was) };
    check_resource(asked, &audience)?;
    Ok(grants::Asked { audience, scope, ..was })
}

fn person(world: &World, proven: &Proven, granted: grants::Asked, nonce: Option<String>, tick: &Tick) -> Granted {
    let refresh_token = world.directory().grants.keep(&granted, tick);
    let principal = Principal {
        object_id: world.setup.user.object_id.clone(),
        client_id: proven.client_id().to_owned(),
        proof: proven.proof(),
        person: Some((world.setup.user.name.clone(), granted.scope.clone())),
    };
    let session = Session { scope: granted.scope, nonce, refresh_token };
    Granted { principal, resource: granted.audience.clone(), audience: granted.audience, session: Some(session) }
}

/// Refuses what nobody has a token for.
pub(super) fn check_resource(asked: &Asked<'_>, resource: &str) -> Result<(), EntraError> {
    let own: Vec<String> = {
        let directory = asked.world.directory();
        directory.applications.iter().map(|application| application.client_id.clone()).collect()
    };
    audience::check(resource, &own, &asked.base)
}

fn render(asked: &Asked<'_>, version: Version, granted: &Granted, tick: &Tick) -> Result<Response, EntraError> {
    let failed = |_failed| EntraError::new(90_033, "the mock's own key cannot be used");
    let knobs = asked.world.directory().knobs;
    let lifetime = knobs.token_lifetime;
    let token =
        claims::access_token(asked.world, &granted.principal, &granted.audience, lifetime, tick).map_err(failed)?;
    let number = |number: u64| match version {
        Version::V1 => json!(number.to_string()),
        Version::V2 => json!(number),
    };
    let mut body = Map::new();
    body.insert("token_type".to_owned(), json!("Bearer"));
    body.insert("expires_in".to_owned(), number(lifetime));
    body.insert("ext_expires_in".to_owned(), number(lifetime));
    body.insert("access_token".to_owned(), json!(token));
    if let Some(refresh_in) = knobs.refresh_in {
        body.insert("refresh_in".to_owned(), number(refresh_in));
    }
    if version == Version::V1 {
        body.insert("expires_on".to_owned(), number(tick.unix + lifetime));
        body.insert("not_before".to_owned(), number(tick.unix));
        body.insert("resource".to_owned(), json!(granted.resource));
    }
    if let Some(session) = &granted.session {
        let tenant = &asked.world.setup.tenant;
        let (issuer, id_version) = match version {
            Version::V1 => (format!("https://sts.windows.net/{tenant}/"), "1.0"),
            Version::V2 => (format!("{}/{tenant}/v2.0", asked.base), "2.0"),
        };
        let id = IdToken {
            issuer,
            client_id: &granted.principal.client_id,
            nonce: session.nonce.as_deref(),
            lifetime,
            version: id_version,
        };
        body.insert("scope".to_owned(), json!(told_scope(version, &session.scope)));
        body.insert("refresh_token".to_owned(), json!(session.refresh_token));
        body.insert("id_token".to_owned(), json!(claims::id_token(asked.world, &id, tick).map_err(failed)?));
        // Without it msal cannot tell accounts apart.
        let info = json!({ "uid": granted.principal.object_id, "utid": tenant });
        body.insert("client_info".to_owned(), json!(encode_base64url(info.to_string().as_bytes())));
    }
    Ok(wire::ok(&Value::Object(body)))
}

fn told_scope(version: Version, scope: &str) -> &str {
    match version {
        Version::V1 => "user_impersonation",
        Version::V2 => scope,
    }
}
