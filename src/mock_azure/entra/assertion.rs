//! Client assertions (RFC 7523): a JWT signed with an application's certificate, or somebody else's token that the application is
//! registered for.

use super::errors::EntraError;
use crate::{
    jwt::{
        Compact, decode_base64url,
        rsa::{RsaAlgorithm, RsaPublic},
    },
    mock_azure::state::directory::Application,
};

/// Clocks may differ by this much, seconds: what Entra allows.
const SKEW: u64 = 300;

/// What an assertion is checked against.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) tenant: &'a str,
    /// Signs the tokens of the built-in cluster.
    pub(super) cluster_key: &'a RsaPublic,
    pub(super) unix: u64,
}

/// Checks an assertion of an application.
///
/// # Errors
/// Entra's error for what is wrong with it.
pub(super) fn check(assertion: &str, application: &Application, expected: &Expected<'_>) -> Result<(), EntraError> {
    let token =
        Compact::parse(assertion).map_err(|_malformed| EntraError::new(50_027, "the client assertion is malformed"))?;
    let own = token.text("iss").is_some_and(|issuer| issuer.eq_ignore_ascii_case(&application.client_id));
    if own { check_own(&token, application, expected) } else { check_federated(&token, application, expected) }
}

fn check_own(token: &Compact<'_>, application: &Application, expected: &Expected<'_>) -> Result<(), EntraError> {
    if !token.text("sub").is_some_and(|subject| subject.eq_ignore_ascii_case(&application.client_id)) {
        return Err(EntraError::new(700_021, "the client assertion is of another application"));
    }
    let unsigned = || EntraError::new(700_027, "the client assertion is not signed by a registered certificate");
    let algorithm = token.header_text("alg").and_then(RsaAlgorithm::named).ok_or_else(unsigned)?;
    let thumbprint = |name| token.header_text(name).and_then(decode_base64url);
    let certificate = match (thumbprint("x5t#S256"), thumbprint("x5t")) {
        (Some(sha256), _) => application.certificates.iter().find(|one| one.sha256[..] == sha256),
        (None, Some(sha1)) => application.certificates.iter().find(|one| one.sha1 == sha1),
        (None, None) => None,
    };
    let certificate = certificate.ok_or_else(unsigned)?;
    if !certificate.public.verify(algorithm, token.signed, &token.signature) {
        return Err(unsigned());
    }
    check_time(token, expected.unix)?;
    if !token.audiences().any(|audience| is_token_endpoint(audience, expected.tenant)) {
        return Err(EntraError::new(700_023, "the client assertion is for another audience"));
    }
    Ok(())
}

/// Any name of ours will do: what counts is the tenant and the path.
fn is_token_endpoint(audience: &str, tenant: &str) -> bool {
    let Ok(uri) = audience.parse::<http::Uri>() else { return false };
    let path = uri.path().trim_end_matches('/');
    let path = path.strip_prefix('/').unwrap_or(path);
    let Some((named, rest)) = path.split_once('/') else {
        return uri.host().is_some() && path.eq_ignore_ascii_case(tenant);
    };
    let shared = matches!(named, "common" | "organizations");
    (shared || named.eq_ignore_ascii_case(tenant)) && matches!(rest, "oauth2/token" | "oauth2/v2.0/token" | "v2.0")
}

fn check_federated(token: &Compact<'_>, application: &Application, expected: &Expected<'_>) -> Result<(), EntraError> {
    if application.federated.is_empty() {
        return Err(EntraError::new(70_021, "the application has no federated identity"));
    }
    let issuer = token.text("iss").unwrap_or_default();
    let of_issuer: Vec<_> = application.federated.iter().filter(|one| one.issuer == issuer).collect();
    if of_issuer.is_empty() {
        return Err(EntraError::new(700_211, "no federated identity of the application has the assertion's issuer"));
    }
    let subject = token.text("sub").unwrap_or_default();
    let of_subject: Vec<_> = of_issuer.into_iter().filter(|one| one.subject == subject).collect();
    if of_subject.is_empty() {
        return Err(EntraError::new(700_213, "no federated identity of the application has the assertion's subject"));
    }
    if !of_subject.iter().any(|one| token.audiences().any(|audience| audience == one.audience)) {
        return Err(EntraError::new(700_212, "no federated identity of the application has the assertion's audience"));
    }
    let algorithm = token.header_text("alg").and_then(RsaAlgorithm::named);
    if !algorithm.is_some_and(|algorithm| expected.cluster_key.verify(algorithm, token.signed, &token.signature)) {
        return Err(EntraError::new(700_027, "the assertion is not signed by its issuer"));
    }
    check_time(token, expected.unix)
}

fn check_time(token: &Compact<'_>, unix: u64) -> Result<(), EntraError> {
    let begins = token.seconds("nbf").unwrap_or(0);
    match token.seconds("exp") {
        Some(ends) if begins <= unix + SKEW && unix < ends.saturating_add(SKEW) => Ok(()),
        _ => Err(EntraError::new(700_024, "the client assertion is not within its valid time range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_token_endpoint_is_one_audience() {
        for good in [
            "https://login.microsoftonline.com/T1/oauth2/v2.0/token",
            "https://localhost:1/t1/oauth2/token",
            "https://login.microsoftonline.com/t1/v2.0",
            "https://login.windows.net/common/oauth2/token/",
            "https://login.microsoftonline.com/t1/",
        ] {
            assert!(is_token_endpoint(good, "t1"), "{good}");
        }
        for bad in ["", "t1", "https://localhost/t2/oauth2/token", "https://localhost/t1/oauth2/authorize"] {
            assert!(!is_token_endpoint(bad, "t1"), "{bad}");
        }
    }
}
