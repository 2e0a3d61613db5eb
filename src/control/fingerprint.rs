//! Fingerprints of keys, for people who must tell two values apart without seeing either.

use std::collections::HashMap;

use anyhow::Context;
use aws_lc_rs::hmac;

use crate::{
    clock::Moment,
    config::model::{Config, Credential, Slot},
    random,
};

/// What was seen of each slot.
#[derive(Debug)]
pub struct Fingerprints {
    /// Random per process: a fingerprint cannot be looked up in a table of guesses.
    salt: hmac::Key,
    seen: HashMap<(String, Slot), Seen>,
}

/// What was seen of one slot.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Eight hexadecimal digits.
    pub text: String,
    /// When this value was first seen.
    pub since: Moment,
    /// Counts the values the slot has had.
    pub generation: u64,
}

impl Fingerprints {
    /// With a fresh salt.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn new() -> anyhow::Result<Self> {
        let salt: [u8; 32] = random::bytes().context("the system gives no randomness")?;
        Ok(Self { salt: hmac::Key::new(hmac::HMAC_SHA256, &salt), seen: HashMap::new() })
    }

    /// Looks at every key of a configuration.
    pub fn note(&mut self, config: &Config, now: Moment) {
        let mut kept = HashMap::new();
        for endpoint in &config.endpoints {
            let Credential::Keys { primary, secondary, .. } = &endpoint.credential else { continue };
            for (slot, key) in [(Slot::Primary, primary), (Slot::Secondary, secondary)] {
                let Some(key) = key else { continue };
                let digest = hmac::sign(&self.salt, key.expose_bytes());
                let text: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
                let place = (endpoint.name.clone(), slot);
                let seen = match self.seen.remove(&place) {
                    Some(same) if same.text == text => same,
                    other => Seen { text, since: now, generation: other.map_or(1, |before| before.generation + 1) },
                };
                kept.insert(place, seen);
            }
        }
        self.seen = kept;
    }

    /// What was seen of a slot.
    #[must_use]
    pub fn of(&self, endpoint: &str, slot: Slot) -> Option<&Seen> {
        self.seen.get(&(endpoint.to_owned(), slot))
    }
}
