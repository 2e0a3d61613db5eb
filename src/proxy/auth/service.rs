//! Callers of a service that scoregate itself plays: Azure's own scheme in front of a container.
//!
//! What is judged by comes from the control plane, which keeps the keys; the judgement is `service_auth`'s, the same as the embedded
//! Azure's. Nothing secret is here: digests of keys and public halves.

use super::{
    digest_memo::DigestMemo,
    reason::Reason,
    token_cache::{Remembered, TokenCache, TokenKey},
};
use crate::{
    clock::Tick,
    ids::{KeySetId, RulesId},
    service_auth::{
        Accepted, AuthMode, EntraRefusal, EntraTokens, FrontEnd, KeyDigests, Refusal, Slot, TokenVerifiers,
    },
};

/// The front end of a service.
#[derive(Debug)]
pub struct ServiceFace {
    /// Which service, as configured.
    pub id: RulesId,
    /// Which keys.
    pub keys_id: KeySetId,
    /// Its name.
    pub name: Box<str>,
    /// What it asks of callers.
    pub auth: AuthMode,
    /// Its two keys.
    pub keys: KeyDigests,
    /// What its tokens are opened with.
    pub tokens: TokenVerifiers,
}

/// A service here is a version 1 web service, which takes no Entra token.
struct NoEntra;

impl EntraTokens for NoEntra {
    fn check(&self, _token: &str, _unix: u64) -> Result<(), EntraRefusal> {
        Err(EntraRefusal::Foreign)
    }
}

impl ServiceFace {
    /// Judges a caller. Gives which of the two keys it has, where it has one.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn judge(
        &self,
        presented: Option<&[u8]>,
        memo: &DigestMemo,
        cache: &TokenCache,
        tick: Tick,
    ) -> Result<Option<&'static str>, Reason> {
        if self.auth == AuthMode::None {
            return Ok(None);
        }
        let value = presented.ok_or(Reason::NoCredential)?;
        let key = (self.auth == AuthMode::Token).then(|| TokenKey {
            rules: self.id,
            keys: self.keys_id,
            digest: memo.digest(value),
        });
        if key.is_some_and(|key| cache.find(&key, tick).is_some()) {
            return Ok(None);
        }
        let front_end = FrontEnd { name: &self.name, auth: self.auth, keys: self.keys, tokens: &self.tokens };
        match front_end.judge(value, || memo.digest(value), tick.unix, &NoEntra) {
            Ok(Accepted::Key(Slot::Primary)) => Ok(Some("primary")),
            Ok(Accepted::Key(Slot::Secondary)) => Ok(Some("secondary")),
            Ok(Accepted::Token(claims)) => {
                if let Some(key) = key {
                    cache.keep(key, Remembered { until: claims.expiry, subject: None }, tick);
                }
                Ok(None)
            }
            Ok(Accepted::Open | Accepted::Entra) => Ok(None),
            Err(Refusal::ExpiredToken) => Err(Reason::TokenExpired),
            Err(Refusal::UnknownKey) => Err(Reason::KeyUnknown),
            Err(Refusal::MalformedToken) => Err(Reason::TokenMalformed),
            Err(_) => Err(Reason::ServiceToken),
        }
    }
}
