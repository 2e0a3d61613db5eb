//! Algorithms that a caller's token may be signed with (RFC 7518 section 3, RFC 8037): a closed list.
//!
//! `none` and the symmetric ones have no name here, so no token can choose them (RFC 8725 section 3.1).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};

/// An algorithm of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// What a key must be to sign so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// An RSA key, with the older padding.
    RsaPkcs1,
    /// An RSA key, with the newer padding.
    RsaPss,
    /// A key on P-256.
    P256,
    /// A key on P-384.
    P384,
    /// A key on Curve25519.
    Ed25519,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// By its name in `alg`, which is compared letter by letter.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its name in `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// What a key must be to sign so.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 => Family::RsaPkcs1,
            Self::Ps256 | Self::Ps384 | Self::Ps512 => Family::RsaPss,
            Self::Es256 => Family::P256,
            Self::Es384 => Family::P384,
            Self::EdDsa => Family::Ed25519,
        }
    }

    /// Whether a key that is published for `published` may sign so: the same family, and no weaker a hash. RFC 8725 section 3.1
    /// would have the very same algorithm, but keys are published under one name and used with a stronger hash of the same
    /// family (RFC 7520's, of which the Wycheproof vectors have two). The family is what confusion needs.
    #[must_use]
    pub fn fits(self, published: Self) -> bool {
        self.family() == published.family() && self >= published
    }

    /// The library's word for an RSA algorithm.
    const fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithms(u16);

impl Algorithms {
    /// Every one there is.
    pub const ALL: Self = Self((1 << Algorithm::ALL.len()) - 1);

    /// Whether one is among them.
    #[must_use]
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & algorithm.bit() != 0
    }
}

impl FromIterator<Algorithm> for Algorithms {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        Self(algorithms.into_iter().fold(0, |bits, one| bits | one.bit()))
    }
}

/// A public key of a caller's issuer, ready for one algorithm.
pub(super) struct Verifier {
    pub(super) algorithm: Algorithm,
    key: ParsedPublicKey,
}

/// Bits of the shortest and longest RSA key that is believed (NIST SP 800-131A).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

impl Verifier {
    /// From a modulus and an exponent, big-endian. None where they are no key that is believed.
    pub(super) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Option<Self> {
        let [n, e] = [n, e].map(|number| number.trim_start_zeros());
        let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
        if !RSA_BITS.contains(&bits) {
            return None;
        }
        let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(algorithm.rsa()?).ok()?;
        Some(Self { algorithm, key })
    }

    /// From the coordinates of a point. None where it is not on the curve.
    pub(super) fn ecdsa(algorithm: Algorithm, x: &[u8], y: &[u8]) -> Option<Self> {
        let (scheme, size) = match algorithm.family() {
            Family::P256 => (&ECDSA_P256_SHA256_FIXED, 32),
            Family::P384 => (&ECDSA_P384_SHA384_FIXED, 48),
            Family::RsaPkcs1 | Family::RsaPss | Family::Ed25519 => return None,
        };
        // Octets in full length (RFC 7518 section 6.2.1.2).
        if x.len() != size || y.len() != size {
            return None;
        }
        let point = [&[4][..], x, y].concat();
        Some(Self { algorithm, key: ParsedPublicKey::new(scheme, point).ok()? })
    }

    /// From 32 octets (RFC 8032 section 5.1.5).
    pub(super) fn ed25519(x: &[u8]) -> Option<Self> {
        let key = ParsedPublicKey::new(&ED25519, x).ok().filter(|_| x.len() == 32)?;
        Some(Self { algorithm: Algorithm::EdDsa, key })
    }

    /// Whether the signature is this key's.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.algorithm.name())
    }
}

trait TrimZeros {
    fn trim_start_zeros(&self) -> &Self;
}

impl TrimZeros for [u8] {
    /// Some issuers write a sign byte before the number.
    fn trim_start_zeros(&self) -> &Self {
        let zeros = self.iter().take_while(|byte| **byte == 0).count();
        self.get(zeros..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_letter_by_letter() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
        }
        for other in ["none", "None", "NONE", "HS256", "HS512", "ES512", "ES256K", "rs256", "Ed25519", "", " RS256"] {
            assert_eq!(Algorithm::named(other), None, "{other}");
        }
    }

    #[test]
    fn a_key_signs_with_its_own_family_and_nothing_weaker() {
        assert!(Algorithm::Ps384.fits(Algorithm::Ps256) && Algorithm::Rs256.fits(Algorithm::Rs256));
        for (used, published) in [
            (Algorithm::Ps256, Algorithm::Ps512),
            (Algorithm::Rs512, Algorithm::Ps512),
            (Algorithm::Ps512, Algorithm::Rs256),
            (Algorithm::Es384, Algorithm::Es256),
        ] {
            assert!(!used.fits(published), "{used:?} {published:?}");
        }
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let some: Algorithms = [Algorithm::Es256, Algorithm::EdDsa].into_iter().collect();
        assert!(some.contains(Algorithm::EdDsa) && !some.contains(Algorithm::Rs256));
        assert!(Algorithm::ALL.into_iter().all(|algorithm| Algorithms::ALL.contains(algorithm)));
    }
}
