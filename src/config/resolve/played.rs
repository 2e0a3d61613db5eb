//! `callers.*.service`: Azure's scheme for any container.

use std::time::Duration;

use super::{
    context::{Context, items},
    secrets,
    settings::span,
    tokens,
};
use crate::{
    config::{
        fault::quote,
        model::{ServiceCaller, TokenCaller, UpstreamUrl},
        path::KeyPath,
        raw::{Jwt, OneOrMore, PlayedAuth, PlayedKind, PlayedService, Required},
    },
    service_auth::{AuthMode, ServiceKind},
};

const TOKEN_LIFETIME: Duration = Duration::from_secs(3_600);
/// Shorter ones would be refreshed all the time: `refresh_by` is at half of it.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(60);

/// What is played where the configuration does not say otherwise: Azure's own defaults.
pub(super) fn auth(raw: &PlayedService) -> AuthMode {
    match (raw.auth, raw.kind) {
        (Some(PlayedAuth::Key), _) | (None, Some(PlayedKind::Aks) | None) => AuthMode::Key,
        (Some(PlayedAuth::Token), _) => AuthMode::Token,
        (Some(PlayedAuth::None), _) | (None, Some(PlayedKind::Aci)) => AuthMode::None,
    }
}

pub(super) fn service(cx: &mut Context<'_>, raw: &PlayedService, path: &KeyPath) -> Option<ServiceCaller> {
    let kind = match raw.kind? {
        PlayedKind::Aci => ServiceKind::Aci,
        PlayedKind::Aks => ServiceKind::Aks,
    };
    let auth = auth(raw);
    if !kind.allows(auth) {
        cx.error(&path.key("auth"), "tokens for a container instance", "`key` or `none`, or `kind: aks`");
    }
    let seal_key = raw.seal_key.as_ref().and_then(|secret| {
        let path = path.key("seal_key");
        let secret = secrets::secret(cx, secret, &path)?;
        secrets::warn_if_short(cx, &secret, &path);
        Some(secret)
    });
    let token_lifetime = span(raw.token_lifetime.as_ref()).unwrap_or(TOKEN_LIFETIME);
    if token_lifetime < SHORTEST_LIFETIME {
        cx.error(&path.key("token_lifetime"), format!("{} s", token_lifetime.as_secs()), "at least 1m");
    }
    Some(ServiceCaller {
        kind,
        auth,
        seal_key,
        managers: managers(cx, raw, path).map(Box::new),
        token_lifetime,
        scoring_uri: raw.scoring_uri.as_ref().map(|url| text(&url.0)),
    })
}

fn managers(cx: &mut Context<'_>, raw: &PlayedService, path: &KeyPath) -> Option<TokenCaller> {
    for (path, manager) in items(raw.managers.as_ref(), &path.key("managers")) {
        if manager.is_empty() {
            cx.error(&path, quote(manager), "the object id of a principal");
        }
    }
    let (Some(managers), Some(trust)) = (&raw.managers, &raw.trust) else {
        match (&raw.managers, &raw.trust) {
            (Some(_), None) => cx.missing(&path.key("trust"), "the issuer whose tokens managers show"),
            (None, Some(_)) => {
                cx.error(&path.key("trust"), "an issuer whose tokens nobody may show", "`managers`")
                    .hint("a token for the resource manager alone proves nothing: name who may");
            }
            _ => {}
        }
        return None;
    };
    // What a manager's token must be is what a caller's must, and the principals are listed.
    let jwt = Jwt {
        issuer: trust.issuer.as_ref().map(OneOrMore::again),
        audience: trust.audiences.as_ref().map(|audiences| OneOrMore::More(audiences.clone())),
        jwks_uri: trust.jwks_uri.as_ref().map(|url| crate::config::text::Text(url.0.clone())),
        jwks_file: trust.jwks_file.clone(),
        ca: trust.ca.clone(),
        refresh: None,
        least_refresh: None,
        algorithms: None,
        skew: None,
        require: Some(Required { oid: Some(managers.clone()), ..Required::default() }),
    };
    tokens::tokens(cx, &jwt, &path.key("trust"))
}

fn text(url: &UpstreamUrl) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    format!("{}://{host}:{}{}", if url.tls { "https" } else { "http" }, url.port, url.path)
}
