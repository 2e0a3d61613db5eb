//! Fingerprints of keys, for people who must tell two values apart without seeing either.

use std::collections::HashMap;

use super::attach::{Attach, Attached};
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

    /// Looks at every key of a configuration, and of what is attached beside it.
    pub fn note(&mut self, config: &Config, attached: &Attached, now: Moment) {
        let mut kept = HashMap::new();
        for endpoint in &config.endpoints {
            let of_service = attached.get(&endpoint.name).map(Attach::values).unwrap_or_default();
            let of_service =
                of_service.iter().map(|value| (value.slot.map_or(Place::Token, Place::Slot), &value.secret));
            for (place, value) in by_hand(&endpoint.credential).chain(of_service) {
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

/// Keys that the configuration holds.
fn by_hand(credential: &Credential) -> impl Iterator<Item = (Place, &Secret)> {
    let (primary, secondary) = match credential {
        Credential::None | Credential::OfService => (None, None),
        Credential::Keys { primary, secondary, .. } => (primary.as_ref(), secondary.as_ref()),
    };
    let places = [(Place::Slot(Slot::Primary), primary), (Place::Slot(Slot::Secondary), secondary)];
    places.into_iter().filter_map(|(place, value)| Some((place, value?)))
}
