//! Sign-in on a device without a browser (RFC 8628): its codes, and the page where a person approves.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::{
    Asked, Version, audience, check_tenant,
    errors::EntraError,
    html, page,
    token::{check_resource, tick},
};
use crate::mock_azure::{
    state::{
        directory::Client,
        grants::{self, Decision},
    },
    wire::{self, Form},
};

/// Gives a device its codes. adal for Node asks with a query.
pub(super) fn start(asked: &Asked<'_>, tenant: &str, version: Version) -> Result<Response, EntraError> {
    check_tenant(asked.world, tenant, true)?;
    let field = |name: &str| asked.form.get(name).or_else(|| asked.query.get(name));
    let client_id = field("client_id").ok_or_else(|| EntraError::missing("client_id"))?;
    check_client(asked, client_id)?;
    let (audience, scope) = match version {
        Version::V1 => {
            let resource = field("resource").ok_or_else(|| EntraError::missing("resource"))?;
            (resource.to_owned(), "user_impersonation".to_owned())
        }
        Version::V2 => {
            let scope = field("scope").ok_or_else(|| EntraError::missing("scope"))?;
            (audience::of_person_scopes(scope)?, scope.to_owned())
        }
    };
    check_resource(asked, &audience)?;
    let tick = tick(asked.world)?;
    let device = grants::Asked { client_id: client_id.to_owned(), audience, scope };
    let (lifetime, interval, device_code, user_code) = {
        let mut directory = asked.world.directory();
        let (lifetime, interval) = (directory.knobs.device_lifetime, directory.knobs.device_interval);
        let (device_code, user_code) = directory.grants.start_device(device, lifetime, interval, &tick);
        (lifetime, interval, device_code, user_code)
    };
    let page = format!("{}/devicelogin", asked.base);
    let message = format!("To sign in, open the page {page} and enter the code {user_code}.");
    Ok(wire::ok(&match version {
        Version::V1 => json!({
            "user_code": user_code, "device_code": device_code, "verification_url": page, "message": message,
            "expires_in": lifetime.to_string(), "interval": interval.to_string(),
        }),
        Version::V2 => json!({
            "user_code": user_code, "device_code": device_code, "verification_uri": page, "message": message,
            "expires_in": lifetime, "interval": interval,
        }),
    }))
}

/// Refuses a client that is not registered.
pub(super) fn check_client(asked: &Asked<'_>, client_id: &str) -> Result<(), EntraError> {
    match asked.world.directory().client(client_id) {
        Some(Client::Public | Client::Confidential(_)) => Ok(()),
        None => {
            let text = format!("the application '{client_id}' is not known in this tenant");
            Err(EntraError::new(700_016, &text))
        }
    }
}

/// The page where a person enters a device's code.
pub(super) fn page(asked: &Asked<'_>) -> Response {
    html(StatusCode::OK, page::device(asked.query.get("code").unwrap_or_default(), None))
}

/// The person's decision.
pub(super) fn decide(asked: &Asked<'_>) -> Result<Response, EntraError> {
    let code = asked.form.get("user_code").unwrap_or_default();
    if !signs_in(asked, &asked.form) {
        let page = page::device(code, Some("This name and password are not those of the mock's person."));
        return Ok(html(StatusCode::UNAUTHORIZED, page));
    }
    let declines = asked.form.get("decision") == Some("decline");
    let decision = if declines { Decision::Declined } else { Decision::Approved };
    let decided = asked.world.directory().grants.decide(code, decision, &tick(asked.world)?);
    Ok(if decided {
        html(StatusCode::OK, page::said(if declines { "Declined." } else { "Approved. The device is signed in." }))
    } else {
        html(StatusCode::BAD_REQUEST, page::device(code, Some("No device waits with this code.")))
    })
}

/// Whether the form has the person's name and password.
pub(super) fn signs_in(asked: &Asked<'_>, form: &Form) -> bool {
    let (name, password) = (form.get("username").unwrap_or_default(), form.get("password").unwrap_or_default());
    asked.world.directory().knows(name, password)
}
