//! RS256 and PS256 (RFC 7518 sections 3.3 and 3.5): what Entra signs with, and what its clients' assertions are signed with.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{
        KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use serde_json::{Value, json};

use super::encode_base64url;
use crate::digest::sha256;

/// An algorithm by its name in `alg`. `none` and the symmetric ones are not among them, so no token can choose those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
}

impl RsaAlgorithm {
    /// By its name.
    #[must_use]
    pub fn named(alg: &str) -> Option<Self> {
        match alg {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            _ => None,
        }
    }
}

/// The library could not make a key or a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct CryptoFailed;

/// A private key of RS256, with the name under which its public half is published.
pub struct RsaSigner {
    key: KeyPair,
    id: String,
}

impl RsaSigner {
    /// Makes a 2048-bit key, which takes a tenth of a second.
    ///
    /// # Errors
    /// Where the library fails.
    pub fn generate() -> Result<Self, CryptoFailed> {
        let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_unspecified| CryptoFailed)?;
        let digest = sha256(key.public_key().modulus().big_endian_without_leading_zero());
        let id = encode_base64url(digest.get(..20).unwrap_or(&digest));
        Ok(Self { key, id })
    }

    /// `kid`: a digest of the public key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The RS256 signature over a message.
    ///
    /// # Errors
    /// Where the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoFailed> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_unspecified| CryptoFailed)?;
        Ok(signature)
    }

    /// The public half.
    ///
    /// # Errors
    /// Where the library fails.
    pub fn public(&self) -> Result<RsaPublic, CryptoFailed> {
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().map_err(|_unspecified| CryptoFailed)?;
        Ok(RsaPublic(der.as_ref().to_vec()))
    }

    /// The public half as a JSON Web Key (RFC 7517, RFC 7518 section 6.3.1).
    #[must_use]
    pub fn jwk(&self) -> Value {
        let public = self.key.public_key();
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id, "x5t": self.id,
            "n": encode_base64url(public.modulus().big_endian_without_leading_zero()),
            "e": encode_base64url(public.exponent().big_endian_without_leading_zero()),
        })
    }
}

impl std::fmt::Debug for RsaSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RsaSigner({})", self.id)
    }
}

/// A public key: a SubjectPublicKeyInfo in DER (RFC 5280), as certificates have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublic(pub Vec<u8>);

impl RsaPublic {
    /// Whether the signature is this key's. A key that is no RSA key of 2048 to 8192 bits has signed nothing.
    #[must_use]
    pub fn verify(&self, algorithm: RsaAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
            RsaAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            RsaAlgorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.0).verify(message, signature).is_ok()
    }
}
