//! A scoring service's own side of Azure's scheme: two keys, or tokens, and which of them a front end takes at a moment.
//!
//! The embedded Azure's front ends judge with it, and so does scoregate where it plays ACI or AKS in front of a container
//! (`callers.*.service`). Pure: time and randomness are arguments; no IO, no configuration, no control plane, nothing of the
//! embedded Azure.
//!
//! The truth about a service is one [`ServiceAuth`]. What a front end knows of it, which may lag behind, is its [`Sight`].

mod body;
mod credential;
mod front_end;
mod keys;
mod sight;
mod token;

pub use self::{
    body::{BadRegenerate, Regenerate, keys_body, online_token_body, web_service_token_body},
    credential::{Accepted, EntraRefusal, EntraTokens, Presented, Refusal},
    front_end::FrontEnd,
    keys::{BadKey, KeyDigest, KeyDigests, KeyValue, Keys, Slot},
    sight::Sight,
    token::{Issued, Lifetimes, Retired, TokenClaims, TokenKeys, TokenVerifiers},
};

use crate::{clock::Moment, digest::sha256};

/// What a scoring service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// A version 1 web service in a container instance.
    Aci,
    /// A version 1 web service in a Kubernetes cluster.
    Aks,
    /// An online endpoint.
    Online,
}

/// What a scoring service asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// One of its two keys.
    Key,
    /// A token of its own, which the control plane hands out.
    Token,
    /// An Entra token for `https://ml.azure.com`.
    Entra,
    /// Nothing.
    None,
}

impl ServiceKind {
    /// Whether Azure has such a service: tokens need a cluster or an online endpoint, Entra an online endpoint, and an online
    /// endpoint is never open.
    #[must_use]
    pub const fn allows(self, auth: AuthMode) -> bool {
        match self {
            Self::Aci => matches!(auth, AuthMode::Key | AuthMode::None),
            Self::Aks => matches!(auth, AuthMode::Key | AuthMode::Token | AuthMode::None),
            Self::Online => matches!(auth, AuthMode::Key | AuthMode::Token | AuthMode::Entra),
        }
    }
}

/// The moment of a judgement: lags are judged by the monotonic clock, tokens by the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct When {
    /// Monotonic.
    pub now: Moment,
    /// Unix seconds.
    pub unix: u64,
}

/// The truth about one service's credentials.
#[derive(Debug, Clone)]
pub struct ServiceAuth {
    /// The service's name: part of every token, so that no other service takes it.
    pub name: String,
    /// What it asks of callers.
    pub auth: AuthMode,
    /// Its two keys. They exist, and can be regenerated, whatever `auth` says.
    pub keys: Keys,
    /// What its tokens are signed with.
    pub tokens: TokenKeys,
    /// How long its tokens live.
    pub lifetimes: Lifetimes,
}

impl ServiceAuth {
    /// Makes a token. `unique` makes it differ from every other.
    #[must_use]
    pub fn issue(&self, unix: u64, unique: &[u8; 32]) -> Issued {
        self.tokens.issue(&self.name, unix, self.lifetimes, unique)
    }

    /// Judges what a caller presented, as the front end does whose sight this is.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn judge(
        &self,
        sight: &Sight,
        presented: &Presented<'_>,
        when: When,
        entra: &dyn EntraTokens,
    ) -> Result<Accepted, Refusal> {
        if self.auth == AuthMode::None {
            return Ok(Accepted::Open);
        }
        let value = presented.value()?;
        let (keys, tokens) = (sight.digests(when.now), self.tokens.verifiers());
        let front_end = FrontEnd { name: &self.name, auth: self.auth, keys, tokens: &tokens };
        front_end.judge(value, || sha256(value), when.unix, entra)
    }
}

#[cfg(test)]
mod tests;
