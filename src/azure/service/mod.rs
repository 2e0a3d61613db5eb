//! One scoring service as its control plane sees it: where it is, how it authenticates, its keys and tokens.
//!
//! [`ControlPlane`] is the seam: the gate, the command line and later the rotation drive a service through it, tests put a fake in
//! its place. [`v1`] speaks to model management (ACI and AKS web services), [`online`] to the resource manager (online endpoints).
//! A call here is one piece of work with an end; whoever wants to wait between two of them waits himself.

pub mod online;
pub mod operation;
pub mod v1;

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;

use self::operation::{Operation, Progress};
use super::{
    BoxFuture,
    calls::Calls,
    error::Error,
    http::Reply,
    identity::{Number, SecretText},
    token::their_now,
    url::Url,
    workspace::Workspace,
};
use crate::{config::model::Slot, secret::Secret};

/// What a service runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A v1 web service on Container Instances.
    Aci,
    /// A v1 web service on Kubernetes.
    Aks,
    /// A v2 online endpoint.
    Online,
}

impl Kind {
    /// As the configuration has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Aci => "aci",
            Self::Aks => "aks",
            Self::Online => "online",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How a service lets callers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Auth {
    /// By one of two keys.
    Key,
    /// By a token of Azure ML's.
    Token,
    /// By a token of the identity provider's; online endpoints alone.
    Entra,
    /// It lets everybody in.
    Open,
}

impl Auth {
    /// As the configuration has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Token => "token",
            Self::Entra => "entra",
            Self::Open => "none",
        }
    }
}

impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A service's name in its workspace, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// What it is called.
    pub name: String,
    /// What it runs on.
    pub kind: Kind,
}

/// What its control plane says of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where it scores; `None` until a deployment worked.
    pub scoring: Option<Url>,
    /// How it lets callers in; `None` where that is not known to us, as with a word that is newer than this program.
    pub auth: Option<Auth>,
    /// Its state, in Azure's word.
    pub state: String,
    /// Where it runs, where that is said.
    pub region: Option<String>,
    /// The compute that it runs on, where that is said.
    pub compute: Option<String>,
}

impl Description {
    /// Where it scores and how it lets callers in; what somebody configured wins over what is reported.
    ///
    /// # Errors
    /// What is missing.
    pub fn usable(&self, who: &Name, configured: Option<Auth>) -> Result<(Url, Auth), Error> {
        let doing = format!("use {who}");
        let Some(scoring) = &self.scoring else {
            return Err(Error::unusable(doing, format!("it has no scoring URI (state {})", self.state))
                .advise("is it deployed?"));
        };
        match configured.or(self.auth) {
            Some(auth) => Ok((scoring.clone(), auth)),
            None => {
                let error =
                    Error::unusable(doing, "what it reports does not say whether it wants a key, a token or nothing");
                Err(error.advise("write `auth` in the endpoint"))
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Online => write!(f, "online endpoint {}", self.name),
            Kind::Aci | Kind::Aks => write!(f, "{} service {}", self.kind.word().to_ascii_uppercase(), self.name),
        }
    }
}

/// A service's two keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Slot Primary.
    pub primary: Secret,
    /// Slot Secondary.
    pub secondary: Secret,
}

impl KeyPair {
    /// One of them.
    #[must_use]
    pub const fn of(&self, slot: Slot) -> &Secret {
        match slot {
            Slot::Primary => &self.primary,
            Slot::Secondary => &self.secondary,
        }
    }
}

/// A token for scoring, with its times as Azure states them.
#[derive(Debug, Clone)]
pub struct ServiceToken {
    /// The token itself.
    pub value: Secret,
    /// It is refused from then on; Unix seconds of Azure's clock.
    pub expires_unix: i64,
    /// It should be renewed from then on; between the two it works, and a renewal that fails does no harm.
    pub refresh_unix: i64,
    /// Seconds by which Azure's clock is ahead of ours, from the answer that brought the token.
    pub ahead: Option<i64>,
}

impl ServiceToken {
    /// How long it is good for from `now_unix` of our clock on.
    #[must_use]
    pub fn good_for(&self, now_unix: u64) -> Duration {
        Self::until(self.expires_unix, now_unix, self.ahead)
    }

    /// How long until it should be renewed.
    #[must_use]
    pub fn refresh_in(&self, now_unix: u64) -> Duration {
        Self::until(self.refresh_unix, now_unix, self.ahead)
    }

    fn until(unix: i64, now_unix: u64, ahead: Option<i64>) -> Duration {
        let seconds = unix.saturating_sub(their_now(now_unix, ahead));
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

/// How a regenerate was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Regenerated {
    /// It is done.
    Done,
    /// It goes on; first look after this pause, where one was asked for.
    Started(Operation, Option<Duration>),
    /// It goes on, and nothing says where to look: the keys themselves will tell.
    Untracked,
}

/// The control plane of one service.
pub trait ControlPlane: fmt::Debug + Send + Sync {
    /// The service's resource id, letter by letter as it was configured or found; it compares without regard to case.
    ///
    /// # Errors
    /// Where its workspace has to be found and cannot.
    fn resource_id<'a>(&'a self, calls: &'a mut Calls) -> BoxFuture<'a, Result<String, Error>>;

    /// What it says of the service.
    ///
    /// # Errors
    /// Where there is no such service, or it is of another kind.
    fn describe<'a>(&'a self, calls: &'a mut Calls) -> BoxFuture<'a, Result<Description, Error>>;

    /// Reads both keys. What it says may be stale for a while after a change.
    ///
    /// # Errors
    /// Where they cannot be read.
    fn list_keys<'a>(&'a self, calls: &'a mut Calls) -> BoxFuture<'a, Result<KeyPair, Error>>;

    /// Makes a slot's key anew; Azure makes the value unless one is given. Sent once: [`Error::may_have_happened`] says of a
    /// failure whether the key may have changed all the same.
    ///
    /// # Errors
    /// Where it was refused or not answered.
    fn regenerate<'a>(
        &'a self,
        slot: Slot,
        value: Option<&'a Secret>,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<Regenerated, Error>>;

    /// Looks how a regenerate stands: once.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn poll<'a>(&'a self, operation: &'a Operation, calls: &'a mut Calls) -> BoxFuture<'a, Result<Progress, Error>>;

    /// Fetches a token for scoring, as the service's `auth` wants it: of Azure ML's, or for [`Auth::Entra`] of the identity
    /// provider's. Another one than `refused`, which the service did not take: no cache may answer with that.
    ///
    /// # Errors
    /// Where there is none.
    fn token<'a>(
        &'a self,
        auth: Auth,
        refused: Option<&'a Secret>,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<ServiceToken, Error>>;
}

/// The control plane of a service in a workspace.
#[must_use]
pub fn connect(workspace: Arc<Workspace>, name: Name) -> Arc<dyn ControlPlane> {
    match name.kind {
        Kind::Aci | Kind::Aks => Arc::new(v1::WebService::new(workspace, name)),
        Kind::Online => Arc::new(online::OnlineEndpoint::new(workspace, name)),
    }
}

/// As people and Azure write the slots.
#[must_use]
pub const fn slot_word(slot: Slot) -> &'static str {
    match slot {
        Slot::Primary => "Primary",
        Slot::Secondary => "Secondary",
    }
}

/// Reads the answer to `listKeys`, which has one form everywhere.
fn read_keys(reply: &Reply) -> Result<KeyPair, Error> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(rename = "primaryKey")]
        primary: SecretText,
        #[serde(rename = "secondaryKey")]
        secondary: SecretText,
    }
    let Keys { primary, secondary } = reply.json("two keys")?;
    for key in [&primary, &secondary] {
        let bytes = key.0.expose_bytes();
        // How keys are made up is not established, and people may set them: nothing else is asked of them.
        if bytes.is_empty() || bytes.iter().any(u8::is_ascii_control) {
            return Err(reply.malformed("a key that no header can carry", "two keys"));
        }
    }
    Ok(KeyPair { primary: primary.0, secondary: secondary.0 })
}

/// Reads the answer to `token`, whose two times have a name of their own in each API.
fn read_token(reply: &Reply) -> Result<ServiceToken, Error> {
    #[derive(Deserialize)]
    struct Token {
        #[serde(rename = "accessToken")]
        value: SecretText,
        #[serde(rename = "expiryOn", alias = "expiryTimeUtc", default)]
        expires: Number,
        #[serde(rename = "refreshAfter", alias = "refreshAfterTimeUtc", default)]
        refresh: Number,
    }
    let Token { value, expires, refresh } = reply.json("a token")?;
    let bytes = value.0.expose_bytes();
    if bytes.is_empty() || bytes.iter().any(u8::is_ascii_control) {
        return Err(reply.malformed("a token that no header can carry", "a token"));
    }
    let Some(expires_unix) = expires.0 else {
        return Err(reply.malformed("a token without its expiry", "a token"));
    };
    // Renewed at its very end where nothing says when.
    let refresh_unix = refresh.0.unwrap_or(expires_unix).min(expires_unix);
    Ok(ServiceToken { value: value.0, expires_unix, refresh_unix, ahead: reply.ahead() })
}

/// The body of `regenerateKeys`.
fn regenerate_body(slot: Slot, value: Option<&Secret>) -> Result<Secret, String> {
    let mut body = serde_json::Map::new();
    body.insert("keyType".to_owned(), slot_word(slot).into());
    if let Some(value) = value {
        let text =
            std::str::from_utf8(value.expose_bytes()).map_err(|_not_text| "the new key is not UTF-8".to_owned())?;
        body.insert("keyValue".to_owned(), text.into());
    }
    serde_json::to_vec(&body).map(Secret::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regenerate_says_the_slot_alone_unless_a_value_is_given() {
        let body = |slot, value: Option<&str>| {
            let value = value.map(|value| Secret::new(value.as_bytes().to_vec()));
            String::from_utf8(regenerate_body(slot, value.as_ref()).unwrap().expose_bytes().to_vec()).unwrap()
        };
        assert_eq!(body(Slot::Primary, None), r#"{"keyType":"Primary"}"#);
        assert_eq!(body(Slot::Secondary, Some("a\"b")), r#"{"keyType":"Secondary","keyValue":"a\"b"}"#);
    }

    #[test]
    fn a_tokens_times_are_told_by_azures_clock() {
        let token =
            ServiceToken { value: Secret::new(vec![]), expires_unix: 5_000, refresh_unix: 3_000, ahead: Some(-300) };
        assert_eq!(token.good_for(1_300), Duration::from_secs(4_000), "our clock is five minutes ahead");
        assert_eq!(token.refresh_in(1_300), Duration::from_secs(2_000));
        assert_eq!(token.good_for(9_000), Duration::ZERO);
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let name = Name { name: "x".into(), kind: Kind::Aks };
        let url = Url::parse("https://h/score").unwrap();
        let describe = |scoring: Option<&Url>, auth| Description {
            scoring: scoring.cloned(),
            auth,
            state: "Transitioning".into(),
            region: None,
            compute: None,
        };
        let error = describe(None, Some(Auth::Key)).usable(&name, None).unwrap_err().to_string();
        assert_eq!(error, "cannot use AKS service x: it has no scoring URI (state Transitioning); is it deployed?");
        assert!(describe(Some(&url), None).usable(&name, None).unwrap_err().to_string().contains("write `auth`"));
        assert_eq!(describe(Some(&url), None).usable(&name, Some(Auth::Token)).unwrap().1, Auth::Token);
        assert_eq!(describe(Some(&url), Some(Auth::Open)).usable(&name, None).unwrap().1, Auth::Open);
    }
}
