//! Tokens of an issuer, as the data plane judges them: what was found is remembered by `token_cache`.

use std::{rc::Rc, sync::Arc};

use tokio::sync::Notify;

use super::{
    reason::Reason,
    token_cache::{Remembered, TokenCache, TokenKey},
};
use crate::{
    clock::Tick,
    ids::{KeySetId, RulesId},
    jwt::{
        key_set::KeySet,
        terms::{BadToken, Terms},
    },
};

/// What a token of one caller must be. Equal rules of two snapshots have one id.
#[derive(Debug)]
pub struct TokenRules {
    /// Which rules these are: never those of another caller, or of an earlier configuration.
    pub id: RulesId,
    /// What they are.
    pub terms: Terms,
    /// Told when a token is signed with a key that the issuer did not have. None where its keys are in a file.
    pub issuer: Option<Arc<Notify>>,
}

/// The keys of an issuer.
#[derive(Debug)]
pub struct IssuerKeys {
    /// Which keys these are.
    pub id: KeySetId,
    /// The keys themselves.
    pub set: Arc<KeySet>,
}

impl TokenRules {
    /// Judges a token. `digest`: its SHA-256. Gives whom it is about.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn judge(
        &self,
        keys: Option<&IssuerKeys>,
        token: &[u8],
        digest: [u8; 32],
        cache: &TokenCache,
        tick: Tick,
    ) -> Result<Option<Rc<str>>, Reason> {
        let key = keys.map(|keys| TokenKey { rules: self.id, keys: keys.id, digest });
        if let Some(found) = key.and_then(|key| cache.find(&key, tick)) {
            return Ok(found.subject);
        }
        let verified = self.terms.verify(keys.map(|keys| &*keys.set), token, tick.unix)?;
        let subject: Option<Rc<str>> = verified.subject.map(Into::into);
        if let Some(key) = key {
            cache.keep(key, Remembered { until: verified.until, subject: subject.clone() }, tick);
        }
        Ok(subject)
    }
}

impl From<BadToken> for Reason {
    fn from(bad: BadToken) -> Self {
        match bad {
            BadToken::Flaw(flaw) => flaw.into(),
            BadToken::Malformed => Self::TokenMalformed,
            BadToken::Type => Self::TokenType,
            BadToken::Issuer => Self::TokenIssuer,
            BadToken::KeysMissing => Self::TokenKeysMissing,
            BadToken::Audience => Self::TokenAudience,
            BadToken::NotYet => Self::TokenNotYet,
            BadToken::Expired => Self::TokenExpired,
            BadToken::Claims => Self::TokenClaims,
        }
    }
}
