//! What must be readable again later but not on the disk: sealed with AES-256-GCM under the configured `seal_key`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    digest::sha256,
    jwt::{decode_base64url, encode_base64url},
    secret::Secret,
};

/// Seals and opens. `Debug` shows its name alone.
pub struct SealKey {
    key: RandomizedNonceKey,
    id: String,
}

/// A sealed value, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which key it is sealed with.
    pub key_id: String,
    nonce: String,
    value: String,
}

/// Why something sealed cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// With another key.
    #[error("it is sealed with another `seal_key`, whose id is {0}")]
    OtherKey(String),
    /// Not as it was sealed.
    #[error("what is kept is damaged, or of another service")]
    Damaged,
}

/// The cryptographic library gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct CannotSeal;

impl SealKey {
    /// From the configured secret, whatever its length.
    ///
    /// # Errors
    /// Where the library fails.
    pub fn new(secret: &Secret) -> Result<Self, CannotSeal> {
        let of = |purpose: &[u8]| Zeroizing::new(sha256(&Zeroizing::new([purpose, secret.expose_bytes()].concat())));
        let key =
            RandomizedNonceKey::new(&AES_256_GCM, &*of(b"scoregate seal 1\0")).map_err(|_unspecified| CannotSeal)?;
        let id = of(b"scoregate seal id 1\0");
        let id = id.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { key, id })
    }

    /// Seals a value for one place: it opens nowhere else.
    ///
    /// # Errors
    /// Where the library fails.
    pub fn seal(&self, place: &str, value: &[u8]) -> Result<Sealed, CannotSeal> {
        let mut text = value.to_vec();
        let sealed = self.key.seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut text);
        let nonce = sealed.map_err(|_unspecified| CannotSeal)?;
        Ok(Sealed { key_id: self.id.clone(), nonce: encode_base64url(nonce.as_ref()), value: encode_base64url(&text) })
    }

    /// Opens what was sealed for a place.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn open(&self, place: &str, sealed: &Sealed) -> Result<Secret, CannotOpen> {
        if sealed.key_id != self.id {
            return Err(CannotOpen::OtherKey(sealed.key_id.clone()));
        }
        let decode = |text: &str| decode_base64url(text).ok_or(CannotOpen::Damaged);
        let nonce = Nonce::try_assume_unique_for_key(&decode(&sealed.nonce)?).map_err(|_length| CannotOpen::Damaged)?;
        let mut text = Zeroizing::new(decode(&sealed.value)?);
        let opened = self.key.open_in_place(nonce, Aad::from(place.as_bytes()), &mut text);
        opened.map(|value| Secret::new(value.to_vec())).map_err(|_unspecified| CannotOpen::Damaged)
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SealKey {
        SealKey::new(&Secret::new(text.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_at_its_place_alone() {
        let (ours, other) = (key("one"), key("other"));
        let sealed = ours.seal("a primary", b"canary").unwrap();
        assert_ne!(sealed, ours.seal("a primary", b"canary").unwrap(), "a nonce of its own each time");
        assert_eq!(key("one").open("a primary", &sealed).unwrap().expose_bytes(), b"canary");
        assert_eq!(ours.open("a secondary", &sealed), Err(CannotOpen::Damaged));
        assert_eq!(other.open("a primary", &sealed), Err(CannotOpen::OtherKey(sealed.key_id.clone())));
        for damaged in
            [Sealed { value: "AAAA".into(), ..sealed.clone() }, Sealed { nonce: "!".into(), ..sealed.clone() }]
        {
            assert_eq!(ours.open("a primary", &damaged), Err(CannotOpen::Damaged));
        }
        assert!(!format!("{ours:?} {sealed:?}").contains("canary"));
    }
}
