//! What outlives the process of a service that scoregate plays: digests of its keys, their values where a `seal_key` seals them, and
//! what its tokens are signed with.

use serde::{Deserialize, Serialize};

use super::seal::{CannotOpen, SealKey, Sealed};
use crate::{
    digest::{hex, sha256, unhex},
    jwt::{decode_base64url, ed25519::Ed25519Public, encode_base64url},
    secret::Secret,
    service_auth::{KeyDigest, KeyDigests, KeyValue, Retired, Slot, TokenKeys},
};

const VERSION: u32 = 1;

/// The credentials of a service at a moment.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Slot Primary.
    pub primary: Key,
    /// Slot Secondary.
    pub secondary: Key,
    /// What its tokens are signed with.
    pub tokens: TokenKeys,
    seed: Secret,
    /// Unix seconds since which it signs.
    pub signs_since: u64,
}

/// A key of a service.
#[derive(Debug, Clone)]
pub struct Key {
    /// What callers are judged by.
    pub digest: KeyDigest,
    /// Unix seconds at which it was made.
    pub made: u64,
    /// The key itself, or why nobody can say it.
    pub value: Result<KeyValue, NotKept>,
}

/// Why a key's value is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// Only its digest is kept.
    #[error(
        "only digests of keys are kept, since `seal_key` is not configured; regenerate the key with a value of your own"
    )]
    NoSealKey,
    /// It was sealed, and cannot be opened.
    #[error("its value cannot be opened: {0}")]
    Sealed(#[from] CannotOpen),
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    service: String,
    primary: KeptKey,
    secondary: KeptKey,
    signing: KeptSigning,
}

#[derive(Serialize, Deserialize)]
struct KeptKey {
    sha256: String,
    made: u64,
    sealed: Option<Sealed>,
}

#[derive(Serialize, Deserialize)]
struct KeptSigning {
    public: String,
    since: u64,
    sealed: Option<Sealed>,
    retired: Vec<KeptRetired>,
}

#[derive(Serialize, Deserialize)]
struct KeptRetired {
    public: String,
    until: u64,
}

/// Why what is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Not what is written here.
    #[error("it is no state of this service, or of another version")]
    Foreign,
    /// Not JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] super::seal::CannotSeal),
}

impl Credentials {
    /// New keys. The arrays are random.
    #[must_use]
    pub fn fresh(unix: u64, random: [&[u8; 32]; 3]) -> Self {
        let [primary, secondary, seed] = random;
        let key = |random| Key::of(KeyValue::made_of(random), unix);
        Self {
            primary: key(primary),
            secondary: key(secondary),
            tokens: TokenKeys::new(seed),
            seed: Secret::new(seed.to_vec()),
            signs_since: unix,
        }
    }

    /// The key of a slot.
    #[must_use]
    pub const fn of(&self, slot: Slot) -> &Key {
        match slot {
            Slot::Primary => &self.primary,
            Slot::Secondary => &self.secondary,
        }
    }

    /// With another key in a slot.
    #[must_use]
    pub fn with(&self, slot: Slot, value: KeyValue, unix: u64) -> Self {
        let mut next = self.clone();
        *match slot {
            Slot::Primary => &mut next.primary,
            Slot::Secondary => &mut next.secondary,
        } = Key::of(value, unix);
        next
    }

    /// Signs with another key from now on; what the present one signed is believed for `lifetime` more.
    #[must_use]
    pub fn signing_anew(&self, seed: &[u8; 32], unix: u64, lifetime: u64) -> Self {
        let mut next = self.clone();
        next.tokens.rotate(seed, unix, believed_until(unix, lifetime));
        (next.seed, next.signs_since) = (Secret::new(seed.to_vec()), unix);
        next
    }

    /// What callers are judged by.
    #[must_use]
    pub const fn digests(&self) -> KeyDigests {
        KeyDigests { primary: Some(self.primary.digest), secondary: Some(self.secondary.digest) }
    }

    /// As it is kept.
    ///
    /// # Errors
    /// Where it cannot be sealed.
    pub fn write(&self, service: &str, seal: Option<&SealKey>) -> Result<Vec<u8>, Unusable> {
        let sealed = |what: &str, value: &[u8]| seal.map(|seal| seal.seal(&place(service, what), value)).transpose();
        let key = |what: &str, key: &Key| -> Result<KeptKey, Unusable> {
            let sealed = match &key.value {
                Ok(value) => sealed(what, value.expose_text().as_bytes())?,
                Err(_) => None,
            };
            Ok(KeptKey { sha256: hex(&key.digest.0), made: key.made, sealed })
        };
        let verifiers = self.tokens.verifiers();
        let public = |key: &Ed25519Public| encode_base64url(key.bytes());
        let retired = verifiers.retired.iter();
        let document = Document {
            version: VERSION,
            service: service.to_owned(),
            primary: key("primary", &self.primary)?,
            secondary: key("secondary", &self.secondary)?,
            signing: KeptSigning {
                public: public(&verifiers.current),
                since: self.signs_since,
                sealed: sealed("signing", self.seed.expose_bytes())?,
                retired: retired.map(|one| KeptRetired { public: public(&one.key), until: one.until }).collect(),
            },
        };
        Ok(serde_json::to_vec_pretty(&document)?)
    }

    /// From what is kept. Where the signing key cannot be opened, `seed` is the next one, and what the last one signed is believed for
    /// as long as its tokens live.
    ///
    /// # Errors
    /// Where it is nothing that can be gone on from.
    pub fn read(
        text: &[u8],
        service: &str,
        seal: Option<&SealKey>,
        seed: &[u8; 32],
        unix: u64,
        lifetime: u64,
    ) -> Result<Self, Unusable> {
        let document: Document = serde_json::from_slice(text)?;
        if document.version != VERSION || document.service != service {
            return Err(Unusable::Foreign);
        }
        let public = |text: &str| -> Result<Ed25519Public, Unusable> {
            let bytes = decode_base64url(text).and_then(|bytes| bytes.try_into().ok());
            bytes.map(Ed25519Public::new).ok_or(Unusable::Foreign)
        };
        let mut retired = Vec::new();
        for one in &document.signing.retired {
            retired.push(Retired { key: public(&one.public)?, until: one.until });
        }
        retired.retain(|one| one.until > unix);
        let kept = document.signing.sealed.as_ref().zip(seal);
        let kept = kept.and_then(|(sealed, seal)| seal.open(&place(service, "signing"), sealed).ok());
        let kept: Option<[u8; 32]> = kept.and_then(|seed| seed.expose_bytes().try_into().ok());
        let (seed, signs_since) = match &kept {
            Some(kept) => (kept, document.signing.since),
            None => {
                retired.push(Retired { key: public(&document.signing.public)?, until: believed_until(unix, lifetime) });
                (seed, unix)
            }
        };
        Ok(Self {
            primary: Key::read(&document.primary, &place(service, "primary"), seal)?,
            secondary: Key::read(&document.secondary, &place(service, "secondary"), seal)?,
            tokens: TokenKeys::with(seed, retired),
            seed: Secret::new(seed.to_vec()),
            signs_since,
        })
    }
}

impl Key {
    fn of(value: KeyValue, unix: u64) -> Self {
        Self { digest: value.digest(), made: unix, value: Ok(value) }
    }

    fn read(kept: &KeptKey, place: &str, seal: Option<&SealKey>) -> Result<Self, Unusable> {
        let digest = KeyDigest(unhex(&kept.sha256).ok_or(Unusable::Foreign)?);
        let value = match (&kept.sealed, seal) {
            (None, _) | (_, None) => Err(NotKept::NoSealKey),
            (Some(sealed), Some(seal)) => seal.open(place, sealed).map_err(NotKept::from).and_then(|value| {
                let text = std::str::from_utf8(value.expose_bytes()).ok().and_then(|text| KeyValue::new(text).ok());
                text.filter(|text| text.digest() == digest).ok_or(NotKept::Sealed(CannotOpen::Damaged))
            }),
        };
        Ok(Self { digest, made: kept.made, value })
    }
}

/// Tokens have ended by then, and were still known for what they are when they had.
const fn believed_until(unix: u64, lifetime: u64) -> u64 {
    unix.saturating_add(lifetime.saturating_mul(2))
}

/// What a value is sealed for.
fn place(service: &str, what: &str) -> String {
    format!("{service} {what}")
}

/// What the file of a service is called, whatever its name.
#[must_use]
pub fn file(service: &str) -> String {
    format!("service-{}.json", hex(sha256(service.as_bytes()).first_chunk::<16>().unwrap_or(&[0; 16])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service_auth::Lifetimes;

    const DAY: u64 = 86_400;

    fn seal(text: &str) -> SealKey {
        SealKey::new(&Secret::new(text.as_bytes().to_vec())).unwrap()
    }

    fn fresh() -> Credentials {
        Credentials::fresh(100, [&[1; 32], &[2; 32], &[3; 32]])
    }

    fn read(text: &[u8], seal: Option<&SealKey>) -> Credentials {
        Credentials::read(text, "s", seal, &[9; 32], 200, DAY).unwrap()
    }

    #[test]
    fn with_a_seal_key_everything_comes_back_and_nothing_is_in_the_open() {
        let (one, key) = (fresh(), seal("k"));
        let text = one.write("s", Some(&key)).unwrap();
        let shown = String::from_utf8(text.clone()).unwrap();
        for slot in Slot::BOTH {
            assert!(!shown.contains(one.of(slot).value.as_ref().unwrap().expose_text()));
        }
        let back = read(&text, Some(&key));
        assert_eq!(back.digests(), one.digests());
        let text_of = |key: &Key| key.value.as_ref().unwrap().expose_text().to_owned();
        assert_eq!(text_of(&back.secondary), text_of(&one.secondary));
        assert_eq!(back.tokens.verifiers(), one.tokens.verifiers());
        let other = read(&text, Some(&seal("other")));
        assert!(matches!(&other.primary.value, Err(NotKept::Sealed(CannotOpen::OtherKey(_)))));
        assert_eq!(other.digests(), one.digests(), "callers notice nothing");
    }

    #[test]
    fn without_one_digests_stay_and_tokens_outlive_their_signing_key() {
        let one = fresh();
        let text = one.write("s", None).unwrap();
        assert!(!String::from_utf8(text.clone()).unwrap().contains("nonce"));
        let back = read(&text, None);
        assert_eq!((back.digests(), back.signs_since), (one.digests(), 200));
        assert_eq!(back.primary.value.as_ref().map(drop), Err(&NotKept::NoSealKey));
        let lifetimes = Lifetimes { lifetime: DAY, refresh_after: DAY / 2 };
        let auth = |credentials: &Credentials| crate::service_auth::ServiceAuth {
            name: "s".into(),
            auth: crate::service_auth::AuthMode::Token,
            keys: crate::service_auth::Keys {
                primary: KeyValue::made_of(&[1; 32]),
                secondary: KeyValue::made_of(&[2; 32]),
            },
            tokens: credentials.tokens.clone(),
            lifetimes,
        };
        let issued = auth(&one).issue(150, &[0; 32]);
        let verifiers = back.tokens.verifiers();
        assert!(verifiers.open("s", issued.token.expose_bytes(), 200).is_ok());
        assert!(verifiers.open("other", issued.token.expose_bytes(), 200).is_err());
        let rotated = back.signing_anew(&[10; 32], 300, DAY);
        assert!(rotated.tokens.verifiers().open("s", issued.token.expose_bytes(), 300).is_ok());
        assert!(rotated.tokens.verifiers().open("s", issued.token.expose_bytes(), 150 + DAY).is_err());
    }

    #[test]
    fn what_is_of_another_service_or_broken_is_not_gone_on_from() {
        let text = fresh().write("s", None).unwrap();
        let read = |text: &[u8], service| Credentials::read(text, service, None, &[9; 32], 200, DAY).is_ok();
        assert!(read(&text, "s") && !read(&text, "t") && !read(b"{}", "s") && !read(&text[..50], "s"));
        let broken = String::from_utf8(text).unwrap().replace("\"sha256\": \"", "\"sha256\": \"00");
        assert!(!read(broken.as_bytes(), "s"));
        assert_ne!(file("a"), file("b"));
    }
}
