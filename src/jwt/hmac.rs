//! HS256: HMAC with SHA-256 (RFC 7518 section 3.2), for tokens that their maker alone checks.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};

/// A key of HS256. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct HmacKey(Key);

impl HmacKey {
    /// From 256 random bits.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Key::new(HMAC_SHA256, secret))
    }

    /// The signature over a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        sign(&self.0, message).as_ref().to_vec()
    }

    /// Whether the signature is this key's, in constant time.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        verify(&self.0, message, signature).is_ok()
    }
}

impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacKey([redacted])")
    }
}
