//! What has to be known of a service before requests can be sent to it: where it scores, how it lets us in, and with what.

use std::time::Duration;

use crate::{
    azure::{
        calls::Calls,
        error::Error,
        service::{Auth, ControlPlane},
        url::Url,
    },
    clock::{Clock, Moment},
    config::model::{Service, Slot, UpstreamUrl},
    secret::Secret,
};

/// A service that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it scores.
    pub upstream: UpstreamUrl,
    /// How it lets us in.
    pub auth: Auth,
    /// What is attached.
    pub credential: Credential,
    /// The times of a token, where that is what is attached.
    pub token: Option<TokenTimes>,
}

/// What a service lets us in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    Open,
    /// Its two keys.
    Keys {
        /// Slot Primary.
        primary: Secret,
        /// Slot Secondary.
        secondary: Secret,
        /// Which is attached first.
        active: Slot,
    },
    /// A token.
    Token {
        /// The token itself.
        value: Secret,
        /// It is attached no longer than until then, by the gate's clock.
        until: Moment,
    },
}

/// How long a token is good for, and after what time it should be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTimes {
    /// It is refused afterwards.
    pub good_for: Duration,
    /// It should be renewed afterwards.
    pub refresh_in: Duration,
}

/// Finds out where a service scores and how it lets us in.
///
/// # Errors
/// What is missing.
pub(super) async fn locate(
    plane: &dyn ControlPlane,
    service: &Service,
    calls: &mut Calls,
) -> Result<(UpstreamUrl, Auth), Error> {
    let description = plane.describe(calls).await?;
    let (scoring, auth) = description.usable(&service.name, service.auth)?;
    Ok((upstream(service, &scoring, auth)?, auth))
}

/// Finds a service and reads what it wants.
///
/// # Errors
/// What is missing.
pub async fn find(
    plane: &dyn ControlPlane,
    service: &Service,
    clock: &Clock,
    calls: &mut Calls,
) -> Result<Found, Error> {
    let (upstream, auth) = locate(plane, service, calls).await?;
    let (credential, token) = match auth {
        Auth::Open => (Credential::Open, None),
        Auth::Key => {
            let keys = plane.list_keys(calls).await?;
            let active = service.active.unwrap_or(Slot::Primary);
            let credential = Credential::Keys { primary: keys.primary, secondary: keys.secondary, active };
            (credential, None)
        }
        Auth::Token | Auth::Entra => {
            let token = plane.token(auth, None, calls).await?;
            let now_unix = clock.unix_seconds();
            let times = TokenTimes { good_for: token.good_for(now_unix), refresh_in: token.refresh_in(now_unix) };
            if times.good_for.is_zero() {
                let doing = format!("use {}", service.name);
                let error = Error::unusable(doing, "the token that was fetched has expired by this machine's clock");
                return Err(error.advise("set the clock: it differs by more than ten minutes from Azure's"));
            }
            let until = clock.now() + times.good_for;
            (Credential::Token { value: token.value, until }, Some(times))
        }
    };
    Ok(Found { upstream, auth, credential, token })
}

/// The scoring URI as the address of an upstream.
///
/// # Errors
/// Where a credential would go over the network in plain text unasked, or the URI has a query.
pub fn upstream(service: &Service, scoring: &Url, auth: Auth) -> Result<UpstreamUrl, Error> {
    let doing = format!("use {}", service.name);
    if auth != Auth::Open && !service.plaintext && !scoring.keeps_secrets() {
        let what = format!("its scoring URI is {scoring}, over which anyone on the way can read the credential");
        return Err(Error::unusable(doing, what).advise("give it TLS, or write `plaintext: allow` in the endpoint"));
    }
    if scoring.query().is_some() {
        return Err(Error::unusable(doing, format!("its scoring URI {scoring} has a query")));
    }
    let host = scoring.host().to_ascii_lowercase();
    Ok(UpstreamUrl { tls: scoring.is_tls(), host, port: scoring.port(), path: scoring.path().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        azure::service::{Kind, Name},
        config::model::Upkeep,
    };

    #[test]
    fn no_credential_goes_in_plain_text_unasked() {
        let service = |plaintext| Service {
            workspace: "w".into(),
            name: Name { name: "x".into(), kind: Kind::Aks },
            auth: None,
            active: None,
            plaintext,
            upkeep: Upkeep::default(),
        };
        let url = |text| Url::parse(text).unwrap();
        let plain = url("http://10.0.0.7:80/api/v1/service/x/score");
        let error = upstream(&service(false), &plain, Auth::Key).unwrap_err().to_string();
        assert!(error.contains("`plaintext: allow`") && error.contains("http://10.0.0.7:80/api"), "{error}");
        for (service, url, auth) in [
            (service(true), &plain, Auth::Key),
            (service(false), &plain, Auth::Open),
            (service(false), &url("http://127.0.0.1:1/score"), Auth::Token),
            (service(false), &url("https://h/score"), Auth::Key),
        ] {
            assert!(upstream(&service, url, auth).is_ok(), "{url} {auth}");
        }
        assert!(upstream(&service(false), &url("https://h/score?code=canary"), Auth::Key).is_err());
        let found = upstream(&service(true), &plain, Auth::Key).unwrap();
        assert_eq!((found.host.as_str(), found.port, found.path.as_str()), ("10.0.0.7", 80, "/api/v1/service/x/score"));
    }
}
