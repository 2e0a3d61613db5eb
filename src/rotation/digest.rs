//! Digests of keys: what the machine compares, the journal keeps and logs show, so that none of them ever holds a key.
//!
//! A digest is an HMAC under a random salt of the installation. Without the salt, which lies beside the journals with the same
//! permissions, a digest does not tell whether a guess is right.

use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{hex, unhex};

/// The secret that makes this installation's digests its own.
#[derive(Clone)]
pub struct Salt(hmac::Key);

impl Salt {
    /// From random bytes. They are kept as long as the journals are: other bytes make every key look changed.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The digest of a key.
    #[must_use]
    pub fn digest(&self, key: &[u8]) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.0, key).as_ref());
        Digest(digest)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[salt]")
    }
}

/// What stands for a key: equal if and only if the keys are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Eight hexadecimal digits: enough for a person to tell two values apart, and nothing else.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&self.0[..4])
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = unhex(&text).ok_or_else(|| serde::de::Error::custom("a digest has 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_key_and_salt_and_shows_neither() {
        let (one, other) = (Salt::new(&[1; 32]), Salt::new(&[2; 32]));
        let digest = one.digest(b"canary");
        assert_eq!(digest, one.digest(b"canary"));
        assert_ne!(digest, one.digest(b"canarz"));
        assert_ne!(digest, other.digest(b"canary"));
        let shown = format!("{one:?} {digest:?}");
        assert_eq!(shown, format!("[salt] {}", digest.fingerprint()));
        assert_eq!(digest.fingerprint().len(), 8);
    }

    #[test]
    fn a_digest_is_hmac_sha256() {
        // RFC 4231 section 4.3 has a short key; HMAC pads it with zeros to the block, so do we with the salt.
        let mut salt = [0; 32];
        salt[..4].copy_from_slice(b"Jefe");
        let digest = Salt::new(&salt).digest(b"what do ya want for nothing?");
        let expected = "\"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843\"";
        assert_eq!(serde_json::to_string(&digest).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Digest>(expected).unwrap(), digest);
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for wrong in ["\"\"", "\"5bdc\"", "7", &format!("\"{}\"", "g0".repeat(32)), &format!("\"{}\"", "é".repeat(32))]
        {
            assert!(serde_json::from_str::<Digest>(wrong).is_err(), "{wrong}");
        }
    }
}
