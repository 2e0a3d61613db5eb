//! Discovery documents and signing keys.

use axum::response::Response;
use serde_json::json;

use super::{Asked, Version, audience, check_tenant, errors::EntraError};
use crate::mock_azure::wire;

/// Hosts under which Entra is known, as msal lists them.
const HOSTS: [&str; 12] = [
    "login.microsoftonline.com",
    "login.microsoft.com",
    "login.windows.net",
    "sts.windows.net",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
    "login.microsoftonline.us",
    "login.usgovcloudapi.net",
    "login-us.microsoftonline.com",
    "login.microsoftonline.de",
    "login.sovcloud-identity.fr",
    "login.sovcloud-identity.de",
];

/// OpenID Connect's document of a tenant.
pub(super) fn openid(asked: &Asked<'_>, tenant: &str, version: Version) -> Result<Response, EntraError> {
    check_tenant(asked.world, tenant, true)?;
    let base = format!("{}/{tenant}", asked.base);
    let own = &asked.world.setup.tenant;
    let (issuer, oauth, keys) = match version {
        Version::V1 => {
            (format!("https://sts.windows.net/{own}/"), format!("{base}/oauth2"), format!("{base}/discovery/keys"))
        }
        Version::V2 => {
            // Of the shared tenants the issuer is a template, which clients fill in with the token's tenant.
            let shared = matches!(tenant, "common" | "organizations");
            let named = if shared { "{tenantid}" } else { own };
            let issuer = format!("{}/{named}/v2.0", asked.base);
            (issuer, format!("{base}/oauth2/v2.0"), format!("{base}/discovery/v2.0/keys"))
        }
    };
    Ok(wire::ok(&json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{oauth}/authorize"),
        "token_endpoint": format!("{oauth}/token"),
        "device_authorization_endpoint": format!("{oauth}/devicecode"),
        "jwks_uri": keys,
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "code_challenge_methods_supported": ["S256", "plain"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver"],
        "tenant_region_scope": null,
    })))
}

/// The keys that tokens are signed with (RFC 7517).
pub(super) fn keys(asked: &Asked<'_>, tenant: &str) -> Result<Response, EntraError> {
    check_tenant(asked.world, tenant, true)?;
    Ok(wire::ok(&json!({ "keys": [asked.world.material.signer.jwk()] })))
}

/// Whether an authority is one of Entra's: asked by clients that do not know its host.
pub(super) fn instance(asked: &Asked<'_>) -> Result<Response, EntraError> {
    let endpoint = asked.query.get("authorization_endpoint");
    let endpoint = endpoint.ok_or_else(|| EntraError::missing("authorization_endpoint"))?;
    let unknown = || EntraError::new(50_049, "the instance is not known, or the tenant is not");
    let uri: http::Uri = endpoint.parse().map_err(|_no_url| unknown())?;
    let host = uri.host().ok_or_else(unknown)?;
    let known = HOSTS.iter().any(|known| host.eq_ignore_ascii_case(known));
    let own = asked
        .base
        .rsplit_once("://")
        .is_some_and(|(_, own)| uri.authority().is_some_and(|named| named.as_str() == own));
    if !known && !own && !audience::is_here(endpoint) {
        return Err(unknown());
    }
    let tenant = uri.path().split('/').nth(1).filter(|tenant| !tenant.is_empty()).ok_or_else(unknown)?;
    let authority = uri.authority().map_or(host, http::uri::Authority::as_str);
    let mut body = json!({
        "tenant_discovery_endpoint": format!("https://{authority}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": asked.query.get("api-version").unwrap_or("1.1"),
    });
    if asked.query.get("api-version") != Some("1.0")
        && let Some(body) = body.as_object_mut()
    {
        let public = ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"];
        let mut metadata =
            vec![json!({ "preferred_network": public[0], "preferred_cache": "login.windows.net", "aliases": public })];
        if !public.contains(&host) {
            metadata
                .push(json!({ "preferred_network": authority, "preferred_cache": authority, "aliases": [authority] }));
        }
        body.insert("metadata".to_owned(), json!(metadata));
    }
    Ok(wire::ok(&body))
}
