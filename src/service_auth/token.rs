//! A service's own tokens: made, signed, and opened again, with a key that can change while older tokens still hold.
//!
//! They are HS256: the service that checks them is the one that makes them, and callers take them as they are (Azure documents
//! nothing about what is in them).

use serde_json::json;

use super::credential::Refusal;
use crate::{
    jwt::{self, Compact, encode_base64url, hmac::HmacKey},
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

/// The key that signs, and those that did and are still believed.
#[derive(Debug, Clone)]
pub struct TokenKeys {
    current: TokenKey,
    /// With the Unix second until which each is believed.
    retired: Vec<(TokenKey, u64)>,
}

#[derive(Debug, Clone)]
struct TokenKey {
    id: String,
    key: HmacKey,
}

impl TokenKey {
    fn new(secret: &[u8; 32]) -> Self {
        let key = HmacKey::new(secret);
        // Of the secret's own MAC, so that the same secret has the same name everywhere.
        let mac = key.sign(b"key id");
        Self { id: encode_base64url(mac.get(..9).unwrap_or_default()), key }
    }
}

impl TokenKeys {
    /// Starts with one key of 256 random bits.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { current: TokenKey::new(secret), retired: Vec::new() }
    }

    /// Signs with another key from now on. What the present one signed is believed until `until` (Unix seconds).
    pub fn rotate(&mut self, secret: &[u8; 32], unix: u64, until: u64) {
        self.retired.retain(|(_, until)| *until > unix);
        let retired = std::mem::replace(&mut self.current, TokenKey::new(secret));
        self.retired.push((retired, until));
    }

    pub(super) fn issue(&self, service: &str, unix: u64, lifetimes: Lifetimes, unique: &[u8; 32]) -> Issued {
        let Lifetimes { lifetime, refresh_after } = lifetimes;
        let (expiry, refresh_by) = (unix.saturating_add(lifetime), unix.saturating_add(refresh_after));
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": self.current.id });
        let claims = json!({
            "iss": ISSUER, "aud": service, "iat": unix, "nbf": unix, "exp": expiry, "refresh_by": refresh_by,
            "jti": encode_base64url(unique),
        });
        let signed =
            jwt::assemble(&header, &claims, |bytes| Ok::<_, std::convert::Infallible>(self.current.key.sign(bytes)));
        let token = signed.unwrap_or_else(|never| match never {});
        Issued { token: Secret::new(token.into_bytes()), expiry, refresh_by }
    }

    /// Opens a token of this service.
    ///
    /// # Errors
    /// Why it is none, or none any more.
    pub fn open(&self, service: &str, token: &[u8], unix: u64) -> Result<TokenClaims, Refusal> {
        let token = std::str::from_utf8(token).map_err(|_no_text| Refusal::MalformedToken)?;
        let token = Compact::parse(token).map_err(|_malformed| Refusal::MalformedToken)?;
        let key = self.key(token.header_text("kid").unwrap_or_default(), unix).ok_or(Refusal::ForeignToken)?;
        if token.header_text("alg") != Some("HS256") || !key.key.verify(token.signed, &token.signature) {
            return Err(Refusal::ForeignToken);
        }
        if token.text("iss") != Some(ISSUER) || !token.audiences().any(|audience| audience == service) {
            return Err(Refusal::ForeignToken);
        }
        let moment = |name| token.seconds(name).ok_or(Refusal::MalformedToken);
        let claims = TokenClaims { issued: moment("iat")?, refresh_by: moment("refresh_by")?, expiry: moment("exp")? };
        if unix >= claims.expiry { Err(Refusal::ExpiredToken) } else { Ok(claims) }
    }

    fn key(&self, id: &str, unix: u64) -> Option<&TokenKey> {
        let believed = self.retired.iter().filter(|(_, until)| *until > unix).map(|(key, _)| key);
        std::iter::once(&self.current).chain(believed).find(|key| key.id == id)
    }
}
