//! The two keys of a service, as the control plane knows them.

use subtle::ConstantTimeEq;

use crate::{digest::sha256, secret::Secret};

/// Length of a key that the service makes up: what Azure's own have. Nobody may rely on it.
const MADE_LENGTH: usize = 32;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// A key travels in a header field, and fields have limits.
const MAX_LENGTH: usize = 4096;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Slot {
    /// The first.
    Primary,
    /// The second.
    Secondary,
}

impl Slot {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Primary, Self::Secondary];

    /// As it is on the wire: exactly `Primary` or `Secondary`.
    #[must_use]
    pub fn from_wire(word: &str) -> Option<Self> {
        match word {
            "Primary" => Some(Self::Primary),
            "Secondary" => Some(Self::Secondary),
            _ => None,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }
}

/// A key that can be sent in a header field.
#[derive(Debug, Clone)]
pub struct KeyValue {
    text: Secret,
    digest: KeyDigest,
}

/// SHA-256 of a key: what a front end needs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(pub [u8; 32]);

/// What a front end knows of a service's two keys. A slot that has no key lets nobody in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyDigests {
    /// Slot Primary.
    pub primary: Option<KeyDigest>,
    /// Slot Secondary.
    pub secondary: Option<KeyDigest>,
}

impl KeyDigests {
    /// What is known of a slot.
    #[must_use]
    pub const fn of(&self, slot: Slot) -> Option<KeyDigest> {
        match slot {
            Slot::Primary => self.primary,
            Slot::Secondary => self.secondary,
        }
    }

    /// The slot whose key has this digest. Both are compared, whichever fits, and each in constant time.
    #[must_use]
    pub fn slot_of(&self, presented: &[u8; 32]) -> Option<Slot> {
        let is = |known: Option<KeyDigest>| known.is_some_and(|known| bool::from(known.0.ct_eq(presented)));
        match (is(self.primary), is(self.secondary)) {
            (true, _) => Some(Slot::Primary),
            (false, true) => Some(Slot::Secondary),
            (false, false) => None,
        }
    }
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// There is nothing.
    #[error("a key cannot be empty")]
    Empty,
    /// It would not travel.
    #[error("a key has at most {MAX_LENGTH} bytes")]
    TooLong,
    /// It would break the header apart, or lose its ends there.
    #[error("a key has no control characters, and no space at its ends")]
    NotForAHeader,
}

impl KeyValue {
    /// Takes a key that somebody chose. Nothing else is asked of it: its alphabet and length are the service's affair.
    ///
    /// # Errors
    /// Where it could not be sent in a header field as it is.
    pub fn new(text: &str) -> Result<Self, BadKey> {
        if text.is_empty() {
            return Err(BadKey::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(BadKey::TooLong);
        }
        if text.chars().any(char::is_control) || text.trim() != text {
            return Err(BadKey::NotForAHeader);
        }
        Ok(Self::of(text.as_bytes().to_vec()))
    }

    fn of(text: Vec<u8>) -> Self {
        let digest = KeyDigest(sha256(&text));
        Self { text: Secret::new(text), digest }
    }

    /// Makes one up: 32 letters and digits, of 190 random bits.
    #[must_use]
    pub fn made_of(random: &[u8; MADE_LENGTH]) -> Self {
        let letter = |byte: &u8| ALPHABET.get(usize::from(*byte) % ALPHABET.len()).copied().unwrap_or(b'A');
        Self::of(random.iter().map(letter).collect())
    }

    /// The key itself. The name is long so that every use stands out in review.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        // It was made of text, so this is never the empty one.
        std::str::from_utf8(self.text.expose_bytes()).unwrap_or_default()
    }

    /// What a front end needs of it.
    #[must_use]
    pub const fn digest(&self) -> KeyDigest {
        self.digest
    }

    /// Compares in constant time.
    #[must_use]
    pub fn is(&self, presented: &[u8]) -> bool {
        self.text.expose_bytes().ct_eq(presented).into()
    }
}

/// Both keys of a service.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Slot Primary.
    pub primary: KeyValue,
    /// Slot Secondary.
    pub secondary: KeyValue,
}

impl Keys {
    /// The value of a slot.
    #[must_use]
    pub const fn value(&self, slot: Slot) -> &KeyValue {
        match slot {
            Slot::Primary => &self.primary,
            Slot::Secondary => &self.secondary,
        }
    }

    /// Replaces one and leaves the other alone. Gives what was there before.
    pub fn replace(&mut self, slot: Slot, value: KeyValue) -> KeyValue {
        let place = match slot {
            Slot::Primary => &mut self.primary,
            Slot::Secondary => &mut self.secondary,
        };
        std::mem::replace(place, value)
    }
}
