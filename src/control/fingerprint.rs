//! Fingerprints of keys, for people who must tell two values apart without seeing either.

use std::collections::HashMap;

use crate::{
    clock::Moment,
    config::model::{Config, Credential, Slot},
    rotation::digest::{Digest, Salt},
    secret::Secret,
};

/// What was seen of each place.
#[derive(Debug)]
pub struct Fingerprints {
    salt: Salt,
    seen: HashMap<(String, Place), Seen>,
}

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a slot.
    Slot(Slot),
    /// As the token.
    Token,
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
    /// Nothing seen yet.
    #[must_use]
    pub fn new(salt: Salt) -> Self {
        Self { salt, seen: HashMap::new() }
    }

    /// Looks at every key of a configuration.
    pub fn note(&mut self, config: &Config, now: Moment) {
        let mut kept = HashMap::new();
        for endpoint in &config.endpoints {
            for (place, value) in values(&endpoint.credential) {
                let digest = self.salt.digest(value.expose_bytes());
                let place = (endpoint.name.clone(), place);
                let seen = match self.seen.remove(&place) {
                    Some(same) if same.digest == digest => same,
                    other => Seen { digest, since: now, generation: other.map_or(1, |before| before.generation + 1) },
                };
                kept.insert(place, seen);
            }
        }
        self.seen = kept;
    }

    /// What was seen of a place.
    #[must_use]
    pub fn of(&self, endpoint: &str, place: Place) -> Option<&Seen> {
        self.seen.get(&(endpoint.to_owned(), place))
    }
}

/// Every value of a credential.
fn values(credential: &Credential) -> impl Iterator<Item = (Place, &Secret)> {
    let (primary, secondary, token) = match credential {
        Credential::None | Credential::Awaited => (None, None, None),
        Credential::Keys { primary, secondary, .. } => (primary.as_ref(), secondary.as_ref(), None),
        Credential::Token(token) => (None, None, Some(&token.value)),
    };
    let places =
        [(Place::Slot(Slot::Primary), primary), (Place::Slot(Slot::Secondary), secondary), (Place::Token, token)];
    places.into_iter().filter_map(|(place, value)| Some((place, value?)))
}
