//! EdDSA on Ed25519 (RFC 8037): for tokens that a service makes itself. Their public halves can be kept in the open, so that what was
//! signed outlives the process that signed it.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::{encode_base64url, jws::Jws};
use crate::digest::sha256;

/// A private key. `Debug` shows its name alone.
pub struct Ed25519Signer {
    key: Ed25519KeyPair,
    public: Ed25519Public,
}

impl Ed25519Signer {
    /// From 256 random bits: the same bits, the same key.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed (RFC 8032 section 5.1.5)");
        let mut public = [0; 32];
        public.copy_from_slice(key.public_key().as_ref());
        Self { key, public: Ed25519Public::new(public) }
    }

    /// The signature over a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).as_ref().to_vec()
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &Ed25519Public {
        &self.public
    }
}

impl std::fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ed25519Signer({})", self.public.id)
    }
}

/// A public key, with the name that it is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ed25519Public {
    key: [u8; 32],
    id: Box<str>,
}

impl Ed25519Public {
    /// From its 32 octets.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        let digest = sha256(&key);
        Self { key, id: encode_base64url(digest.get(..9).unwrap_or_default()).into() }
    }

    /// Its octets.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// `kid`: a digest of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a token is signed with it.
    #[must_use]
    pub fn signed(&self, token: &Jws<'_>) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        token.is_ed25519() && key.verify(token.signed(), token.signature()).is_ok()
    }
}
