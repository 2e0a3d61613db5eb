//! `callers.*.jwt`: whose tokens, for whom, and where the issuer's keys are.

use std::{sync::Arc, time::Duration};

use super::{
    context::{Context, items, sound},
    settings::span,
    tls::{self, NamedFile},
};
use crate::{
    config::{
        fault::quote,
        model::{IssuerKeys, KeySource, TokenCaller, TrustedCa},
        path::KeyPath,
        raw::{AlgorithmWord, ClaimValue, Jwt, List, OneOrMore},
    },
    jwt::{
        algorithm::{Algorithm, Algorithms},
        key_set::KeySet,
        terms::{Expected, Terms},
    },
};

/// Stands for the tenant of a token in the issuers of Entra.
const TENANT: &str = "{tenantid}";
const REFRESH: Duration = Duration::from_secs(600);
const LEAST_REFRESH: Duration = Duration::from_secs(30);
const SKEW: Duration = Duration::from_secs(60);
/// More would take tokens that ended long ago.
const MOST_SKEW: Duration = Duration::from_secs(600);

pub(super) fn tokens(cx: &mut Context<'_>, raw: &Jwt, path: &KeyPath) -> Option<TokenCaller> {
    let terms = terms(cx, raw, path);
    let keys = keys(cx, raw, path)?;
    Some(TokenCaller { terms, keys })
}

fn terms(cx: &mut Context<'_>, raw: &Jwt, path: &KeyPath) -> Terms {
    let require = raw.require.as_ref();
    let required = path.key("require");
    let tenants = texts(require.and_then(|require| require.tid.as_ref()));
    let issuers = one_or_more(raw.issuer.as_ref());
    for issuer in &issuers {
        let at = path.key("issuer");
        let stands = issuer.matches(TENANT).count();
        if issuer.is_empty() || stands > 1 {
            cx.error(&at, quote(issuer), "the `iss` of a token, with `{tenantid}` at most once");
        } else if stands == 1 && tenants.is_empty() {
            cx.error(&at, "an issuer of any tenant", "the tenants that are let in, in `require.tid`")
                .hint("whoever has a tenant of their own could let themselves in");
            break;
        }
    }
    let audiences = one_or_more(raw.audience.as_ref());
    if audiences.iter().any(|audience| audience.is_empty()) {
        cx.error(&path.key("audience"), "an empty text", "the `aud` of a token");
    }
    let skew = raw.skew.as_ref().map_or(SKEW, |skew| skew.0.0);
    if skew > MOST_SKEW {
        cx.error(&path.key("skew"), format!("{} s", skew.as_secs()), "at most 10m");
    }
    let algorithms = raw.algorithms.as_ref();
    Terms {
        issuers,
        audiences,
        algorithms: algorithms.map_or(Algorithms::ALL, |list| sound(Some(list)).copied().map(algorithm).collect()),
        skew: skew.as_secs(),
        tenants,
        objects: texts(require.and_then(|require| require.oid.as_ref())),
        roles: texts(require.and_then(|require| require.roles.as_ref())),
        scopes: scopes(cx, require.and_then(|require| require.scopes.as_ref()), &required.key("scopes")),
        claims: require
            .and_then(|require| require.claims.as_ref())
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.as_str().into(), expected(value.as_ref()?))))
            .collect(),
    }
}

fn keys(cx: &mut Context<'_>, raw: &Jwt, path: &KeyPath) -> Option<IssuerKeys> {
    if let Some(written) = &raw.jwks_file {
        for (key, stands) in [
            ("ca", raw.ca.is_some()),
            ("refresh", raw.refresh.is_some()),
            ("least_refresh", raw.least_refresh.is_some()),
        ] {
            if stands {
                cx.error(&path.key(key), "a key beside `jwks_file`", "one that goes with `jwks_uri`");
            }
        }
        let at = path.key("jwks_file");
        let document = cx.read(&at, written)?;
        return match KeySet::read(&document) {
            Ok(set) => Some(IssuerKeys::File(Arc::new(set))),
            Err(why) => {
                cx.error(&at, format!("a file that cannot be used: {why}"), "a JSON Web Key Set (RFC 7517)");
                None
            }
        };
    }
    let url = raw.jwks_uri.as_ref()?.0.clone();
    let ca = raw.ca.as_ref().map(|written| tls::roots(cx, NamedFile { written, at: &path.key("ca") }));
    let ca = match ca {
        None => None,
        Some(read) => read.map(|(roots, digest)| TrustedCa { roots, digest }),
    };
    if ca.is_some() && !url.is_tls() {
        cx.error(&path.key("ca"), "authorities for an address without TLS", "`https://` in `jwks_uri`");
    }
    Some(IssuerKeys::Published(KeySource {
        url,
        ca,
        refresh: span(raw.refresh.as_ref()).unwrap_or(REFRESH),
        least_refresh: span(raw.least_refresh.as_ref()).unwrap_or(LEAST_REFRESH),
    }))
}

/// A scope is one word: `read write` would be asked for as one and never be found.
fn scopes(cx: &mut Context<'_>, list: Option<&List<String>>, path: &KeyPath) -> Box<[Box<str>]> {
    for (path, scope) in items(list, path) {
        if scope.is_empty() || scope.contains(' ') {
            cx.error(&path, quote(scope), "one scope").hint("write several as items of the list");
        }
    }
    texts(list)
}

fn one_or_more(written: Option<&OneOrMore>) -> Box<[Box<str>]> {
    match written {
        None => Box::default(),
        Some(OneOrMore::One(one)) => [one.as_str().into()].into(),
        Some(OneOrMore::More(list)) => texts(Some(list)),
    }
}

fn texts(list: Option<&List<String>>) -> Box<[Box<str>]> {
    sound(list).map(|text| text.as_str().into()).collect()
}

fn expected(value: &ClaimValue) -> Box<[Expected]> {
    match value {
        ClaimValue::Text(text) => [Expected::Text(text.as_str().into())].into(),
        ClaimValue::Number(number) => [Expected::Number(*number)].into(),
        ClaimValue::Truth(truth) => [Expected::Truth(*truth)].into(),
        ClaimValue::OneOf(list) => sound(Some(list)).map(|text| Expected::Text(text.as_str().into())).collect(),
    }
}

const fn algorithm(word: AlgorithmWord) -> Algorithm {
    match word {
        AlgorithmWord::Rs256 => Algorithm::Rs256,
        AlgorithmWord::Rs384 => Algorithm::Rs384,
        AlgorithmWord::Rs512 => Algorithm::Rs512,
        AlgorithmWord::Ps256 => Algorithm::Ps256,
        AlgorithmWord::Ps384 => Algorithm::Ps384,
        AlgorithmWord::Ps512 => Algorithm::Ps512,
        AlgorithmWord::Es256 => Algorithm::Es256,
        AlgorithmWord::Es384 => Algorithm::Es384,
        AlgorithmWord::EdDsa => Algorithm::EdDsa,
    }
}
