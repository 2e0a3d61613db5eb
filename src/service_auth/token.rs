//! A service's own tokens: made, signed, and opened again, with a key that can change while older tokens still hold.
//!
//! Callers take them as they are (Azure documents nothing about what is in them). They are signed with Ed25519 rather than a shared
//! secret: front ends need no secret to check them, and may go on doing so after whoever signed is gone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::credential::Refusal;
use crate::{
    jwt::{
        self,
        ed25519::{Ed25519Public, Ed25519Signer},
        encode_base64url,
        jws::{Flaw, Jws},
    },
    secret::Secret,
};

const ISSUER: &str = "https://ml.azure.com/service-tokens";

/// How long tokens live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// From issue to expiry, seconds.
    pub lifetime: u64,
    /// From issue to the moment from which a new one should be fetched, seconds. Advice only.
    pub refresh_after: u64,
}

/// A token that was just made.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The token.
    pub token: Secret,
    /// It is taken before this moment, Unix seconds.
    pub expiry: u64,
    /// A new one should be fetched from this moment on, Unix seconds.
    pub refresh_by: u64,
}

/// What an accepted token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenClaims {
    /// Unix seconds.
    pub issued: u64,
    /// Unix seconds.
    pub refresh_by: u64,
    /// Unix seconds.
    pub expiry: u64,
}

/// The key that signs, and the public halves of those that did and are still believed.
#[derive(Debug, Clone)]
pub struct TokenKeys {
    signer: Arc<Ed25519Signer>,
    retired: Vec<Retired>,
}

/// A key that signs no more, and is believed for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The key.
    pub key: Ed25519Public,
    /// Believed before this moment, Unix seconds.
    pub until: u64,
}

impl TokenKeys {
    /// Starts with one key of 256 random bits.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self::with(seed, Vec::new())
    }

    /// Goes on from what was kept.
    #[must_use]
    pub fn with(seed: &[u8; 32], retired: Vec<Retired>) -> Self {
        Self { signer: Arc::new(Ed25519Signer::from_seed(seed)), retired }
    }

    /// Signs with another key from now on. What the present one signed is believed until `until` (Unix seconds).
    pub fn rotate(&mut self, seed: &[u8; 32], unix: u64, until: u64) {
        self.retired.retain(|retired| retired.until > unix);
        let before = std::mem::replace(&mut self.signer, Arc::new(Ed25519Signer::from_seed(seed)));
        self.retired.push(Retired { key: before.public().clone(), until });
    }

    /// What a front end needs to open tokens.
    #[must_use]
    pub fn verifiers(&self) -> TokenVerifiers {
        TokenVerifiers { current: self.signer.public().clone(), retired: self.retired.clone() }
    }

    pub(super) fn issue(&self, service: &str, unix: u64, lifetimes: Lifetimes, unique: &[u8; 32]) -> Issued {
        let Lifetimes { lifetime, refresh_after } = lifetimes;
        let (expiry, refresh_by) = (unix.saturating_add(lifetime), unix.saturating_add(refresh_after));
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": self.signer.public().id() });
        let claims = json!({
            "iss": ISSUER, "aud": service, "iat": unix, "nbf": unix, "exp": expiry, "refresh_by": refresh_by,
            "jti": encode_base64url(unique),
        });
        let signed =
            jwt::assemble(&header, &claims, |bytes| Ok::<_, std::convert::Infallible>(self.signer.sign(bytes)));
        let token = signed.unwrap_or_else(|never| match never {});
        Issued { token: Secret::new(token.into_bytes()), expiry, refresh_by }
    }
}

/// The public half of [`TokenKeys`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenVerifiers {
    /// The key that signs.
    pub current: Ed25519Public,
    /// Those that did.
    pub retired: Vec<Retired>,
}

impl TokenVerifiers {
    /// Opens a token of this service.
    ///
    /// # Errors
    /// Why it is none, or none any more.
    pub fn open(&self, service: &str, token: &[u8], unix: u64) -> Result<TokenClaims, Refusal> {
        let token = Jws::parse(token).map_err(|flaw| match flaw {
            Flaw::Malformed => Refusal::MalformedToken,
            _ => Refusal::ForeignToken,
        })?;
        let (key, until) = self.key(token.kid().unwrap_or_default(), unix).ok_or(Refusal::ForeignToken)?;
        if !key.signed(&token) {
            return Err(Refusal::ForeignToken);
        }
        let claims = token.claims().ok_or(Refusal::MalformedToken)?;
        let says = |name: &str, value: &str| claims.get(name).and_then(Value::as_str) == Some(value);
        if !says("iss", ISSUER) || !says("aud", service) {
            return Err(Refusal::ForeignToken);
        }
        let moment = |name: &str| claims.get(name).and_then(Value::as_u64).ok_or(Refusal::MalformedToken);
        let expiry = moment("exp")?.min(until);
        let claims = TokenClaims { issued: moment("iat")?, refresh_by: moment("refresh_by")?, expiry };
        if unix >= claims.expiry { Err(Refusal::ExpiredToken) } else { Ok(claims) }
    }

    /// A key by its name, and until when it is believed.
    fn key(&self, id: &str, unix: u64) -> Option<(&Ed25519Public, u64)> {
        let retired =
            self.retired.iter().map(|retired| (&retired.key, retired.until)).filter(|(_, until)| *until > unix);
        std::iter::once((&self.current, u64::MAX)).chain(retired).find(|(key, _)| key.id() == id)
    }
}
