//! The values that a driver holds, by the digests that the machine knows them by. No other part of the control plane keeps them.

use std::collections::HashMap;

use crate::{
    control::attach::{Attach, Value, Values as Attached},
    ids::ValueId,
    rotation::{
        digest::{Digest, Salt},
        offer::Offer,
        slot::Slot,
    },
    secret::Secret,
};

/// Values by digest.
#[derive(Debug)]
pub(super) struct Values {
    salt: Salt,
    held: HashMap<Digest, Held>,
}

#[derive(Debug)]
struct Held {
    id: ValueId,
    slot: Slot,
    secret: Secret,
}

impl Values {
    pub(super) fn new(salt: Salt) -> Self {
        Self { salt, held: HashMap::new() }
    }

    /// Holds a value that stands in a slot.
    pub(super) fn hold(&mut self, slot: Slot, secret: &Secret) -> Digest {
        let digest = self.salt.digest(secret.expose_bytes());
        let held =
            self.held.entry(digest).or_insert_with(|| Held { id: ValueId::fresh(), slot, secret: secret.clone() });
        held.slot = slot;
        digest
    }

    /// Lets go of every value but these.
    pub(super) fn keep(&mut self, wanted: impl Fn(Digest) -> bool) {
        self.held.retain(|digest, _| wanted(*digest));
    }

    pub(super) fn secret(&self, digest: Digest) -> Option<&Secret> {
        self.held.get(&digest).map(|held| &held.secret)
    }

    /// The value that the data plane means.
    pub(super) fn digest(&self, id: ValueId) -> Option<Digest> {
        self.held.iter().find(|(_, held)| held.id == id).map(|(digest, _)| *digest)
    }

    /// What requests get, as the gate takes it. None where a value of the offer is not held, which the machine rules out.
    pub(super) fn attach(&self, offer: &Offer<Digest>) -> Option<Attach> {
        let attached = offer.try_map(|digest| self.held.get(&digest).map(|held| held.id))?;
        let mut values: Vec<Value> = Vec::new();
        for held in offer.values().filter_map(|digest| self.held.get(&digest)) {
            if !values.iter().any(|value| value.id == held.id) {
                values.push(Value { id: held.id, slot: Some(held.slot), secret: held.secret.clone() });
            }
        }
        Some(Attach::Values(Attached { offer: attached, values, until: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_of_digests_becomes_one_of_values_each_named_once() {
        let mut values = Values::new(Salt::new(&[1; 32]));
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let one = values.hold(Slot::Primary, &secret("canary-one"));
        let other = values.hold(Slot::Secondary, &secret("canary-other"));
        let Some(Attach::Values(attached)) = values.attach(&Offer::fixed(3, one, Some(other))) else { panic!("none") };
        assert_eq!(
            attached.values.iter().map(|value| value.slot).collect::<Vec<_>>(),
            [Some(Slot::Primary), Some(Slot::Secondary)]
        );
        assert_eq!(values.digest(attached.offer.held), Some(one));
        assert_eq!((attached.offer.generation, attached.offer.names(attached.values[1].id)), (3, true));
        // The same value in the other slot is the same value.
        assert_eq!(values.hold(Slot::Secondary, &secret("canary-one")), one);
        values.keep(|digest| digest == other);
        assert!(values.attach(&Offer::fixed(4, one, None)).is_none() && values.secret(one).is_none());
        assert!(!format!("{values:?}").contains("canary"));
    }
}
