//! A JSON Web Key Set (RFC 7517): the public keys of an issuer, parsed once.
//!
//! Made by the control plane from what an issuer publishes or a file holds; the data plane finds keys in it. A key that cannot be
//! used is passed over, as RFC 7517 section 5 asks: the others still can.

use serde::Deserialize;
use serde_json::Value;

use super::{
    algorithm::{Algorithm, Family, Verifier},
    strict_base64url,
};
use crate::digest::sha256;

/// More than any issuer publishes: whoever sends a token without `kid` has each of them tried.
const MOST_KEYS: usize = 64;

/// The public keys of an issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// SHA-256 of the document: equal means unchanged.
    digest: [u8; 32],
}

#[derive(Debug)]
struct Key {
    id: Option<Box<str>>,
    /// The one issuer whose tokens it signs, where the set is that of several (Entra's `common` keys say so).
    issuer: Option<Box<str>>,
    verifiers: Box<[Verifier]>,
}

/// Why a document is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeySet {
    /// No `{"keys": […]}`.
    #[error("it is no JSON Web Key Set: an object with `keys` is expected")]
    NoSet,
    /// A private or symmetric key.
    #[error("it holds a private or symmetric key, which whoever reads it could sign with")]
    Private,
    /// Nothing in it can be used.
    #[error("it holds no key that can be used: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519, for signatures")]
    Empty,
    /// Too many.
    #[error("it holds more than {MOST_KEYS} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    issuer: Option<String>,
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for KeySet {}

impl KeySet {
    /// Reads a document. Keys that are for encryption, of other kinds or malformed are passed over.
    ///
    /// # Errors
    /// Where no key of it can be used, or it holds secrets.
    pub fn read(document: &[u8]) -> Result<Self, BadKeySet> {
        let set: Document = serde_json::from_slice(document).map_err(|_not_one| BadKeySet::NoSet)?;
        if set.keys.len() > MOST_KEYS {
            return Err(BadKeySet::TooMany);
        }
        if set.keys.iter().any(|key| ["d", "p", "q", "k"].iter().any(|secret| key.get(secret).is_some())) {
            return Err(BadKeySet::Private);
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err(BadKeySet::Empty) } else { Ok(Self { keys, digest: sha256(document) }) }
    }

    /// SHA-256 of the document.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// How many keys can be used.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a set without keys is refused.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys that may have signed a token: those of its `kid`, and those without one of their own; for `alg` and its issuer alone.
    pub(super) fn candidates<'k>(
        &'k self,
        kid: Option<&'k str>,
        algorithm: Algorithm,
        issuer: Option<&'k str>,
    ) -> impl Iterator<Item = &'k Verifier> {
        let of_id = move |key: &&Key| match (&key.id, kid) {
            (Some(id), Some(kid)) => **id == *kid,
            (None, _) | (_, None) => true,
        };
        let of_issuer = move |key: &&Key| match (&key.issuer, issuer) {
            (Some(own), Some(issuer)) => names_issuer(own, issuer),
            (None, _) | (_, None) => true,
        };
        let keys = self.keys.iter().filter(of_id).filter(of_issuer);
        keys.flat_map(|key| &key.verifiers).filter(move |verifier| verifier.algorithm == algorithm)
    }
}

/// Entra's shared keys name `https://login.microsoftonline.com/{tenantid}/v2.0`: any tenant's.
fn names_issuer(own: &str, issuer: &str) -> bool {
    match own.split_once("{tenantid}") {
        // Which tenants are let in is for the rules of the caller to say; they have said so when `issuer` is what they expect.
        Some(_) => true,
        None => own == issuer,
    }
}

impl Key {
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let verifies = jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !verifies || jwk.usage.as_ref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let bytes = |field: &Option<String>| strict_base64url(field.as_ref()?);
        let published = match &jwk.alg {
            Some(name) => Some(Algorithm::named(name)?),
            None => None,
        };
        let fits = |algorithm: &Algorithm| published.is_none_or(|published| algorithm.fits(published));
        let algorithms = Algorithm::ALL.into_iter().filter(fits);
        let verifiers: Box<[Verifier]> = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
                algorithms.filter_map(|algorithm| Verifier::rsa(algorithm, &n, &e)).collect()
            }
            ("EC", Some(curve)) => {
                let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
                let of_curve = |algorithm: &Algorithm| {
                    matches!((curve, algorithm.family()), ("P-256", Family::P256) | ("P-384", Family::P384))
                };
                algorithms.filter(of_curve).filter_map(|algorithm| Verifier::ecdsa(algorithm, &x, &y)).collect()
            }
            ("OKP", Some("Ed25519")) => {
                let x = bytes(&jwk.x)?;
                let mut algorithms = algorithms;
                algorithms
                    .find(|one| *one == Algorithm::EdDsa)
                    .and_then(|_| Verifier::ed25519(&x))
                    .into_iter()
                    .collect()
            }
            _ => return None,
        };
        let [id, issuer] = [jwk.kid, jwk.issuer].map(|text| text.map(String::into_boxed_str));
        (!verifiers.is_empty()).then_some(Self { id, issuer, verifiers })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ec() -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "kid": "one",
            "x": "04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY", "y": "UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw",
        })
    }

    fn read(keys: &[Value]) -> Result<usize, BadKeySet> {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).map(|set| set.len())
    }

    fn with(name: &str, value: Value) -> Value {
        let mut key = ec();
        key[name] = value;
        key
    }

    #[test]
    fn what_cannot_be_used_is_passed_over_and_what_can_stays() {
        for useless in [
            with("use", json!("enc")),
            with("key_ops", json!(["encrypt"])),
            with("crv", json!("P-521")),
            with("alg", json!("ES384")),
            with("alg", json!("HS256")),
            with("x", json!("AAAA")),
            with("x", ec()["y"].clone()),
            with("y", json!(7)),
            json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }),
            json!({ "kty": "OKP", "crv": "X25519", "x": ec()["x"] }),
            json!({ "kty": "oct" }),
            json!("text"),
        ] {
            assert_eq!(read(std::slice::from_ref(&useless)), Err(BadKeySet::Empty), "{useless}");
            assert_eq!(read(&[useless, ec()]), Ok(1));
        }
        assert_eq!(read(&[with("key_ops", json!(["verify"])), with("use", json!("sig"))]), Ok(2));
    }

    #[test]
    fn a_set_that_could_be_signed_with_is_refused_whole() {
        assert_eq!(read(&[ec(), with("d", json!("AAAA"))]), Err(BadKeySet::Private));
        assert_eq!(read(&[ec(), json!({ "kty": "oct", "k": "AAAA" })]), Err(BadKeySet::Private));
        assert_eq!(read(&vec![ec(); 65]), Err(BadKeySet::TooMany));
        for wrong in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert_eq!(KeySet::read(wrong.as_bytes()).map(|set| set.len()), Err(BadKeySet::NoSet), "{wrong}");
        }
    }

    #[test]
    fn a_key_of_another_issuer_is_no_candidate() {
        let set = |issuer: &str| {
            KeySet::read(json!({ "keys": [with("issuer", json!(issuer))] }).to_string().as_bytes()).unwrap()
        };
        let found = |set: &KeySet, kid, issuer| set.candidates(kid, Algorithm::Es256, Some(issuer)).count();
        assert_eq!(found(&set("https://a"), Some("one"), "https://a"), 1);
        assert_eq!(found(&set("https://a"), Some("one"), "https://b"), 0);
        assert_eq!(found(&set("https://a/{tenantid}/v2.0"), Some("one"), "https://a/t/v2.0"), 1);
        assert_eq!(found(&set("https://a"), Some("other"), "https://a"), 0);
        assert_eq!(found(&set("https://a"), None, "https://a"), 1);
    }
}
