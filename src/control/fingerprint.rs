//! Fingerprints of keys, for people who must tell two values apart without seeing either.

use std::collections::HashMap;

use anyhow::Context;

use crate::{
    clock::Moment,
    config::model::{Config, Credential, Slot},
    random,
    rotation::digest::{Digest, Salt},
};

/// What was seen of each slot.
#[derive(Debug)]
pub struct Fingerprints {
    /// Random per process: a fingerprint cannot be looked up in a table of guesses.
    salt: Salt,
    seen: HashMap<(String, Slot), Seen>,
}

/// What was seen of one slot.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Stands for the value.
    pub digest: Digest,
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
        let salt = random::bytes().context("the system gives no randomness")?;
        Ok(Self { salt: Salt::new(&salt), seen: HashMap::new() })
    }

    /// Looks at every key of a configuration.
    pub fn note(&mut self, config: &Config, now: Moment) {
        let mut kept = HashMap::new();
        for endpoint in &config.endpoints {
            let Credential::Keys { primary, secondary, .. } = &endpoint.credential else { continue };
            for (slot, key) in [(Slot::Primary, primary), (Slot::Secondary, secondary)] {
                let Some(key) = key else { continue };
                let digest = self.salt.digest(key.expose_bytes());
                let place = (endpoint.name.clone(), slot);
                let seen = match self.seen.remove(&place) {
                    Some(same) if same.digest == digest => same,
                    other => Seen { digest, since: now, generation: other.map_or(1, |before| before.generation + 1) },
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
