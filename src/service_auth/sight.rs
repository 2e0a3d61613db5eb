//! What one front end knows of a service's keys: for each slot exactly one value at each moment, the old one until its lag ends.

use std::collections::VecDeque;

use super::keys::{KeyDigests, KeyValue, Keys, Slot};
use crate::{clock::Moment, digest::sha256};

/// One front end's knowledge. It never forgets: what it has learned holds until something newer is learned.
#[derive(Debug, Clone)]
pub struct Sight {
    primary: Learned,
    secondary: Learned,
}

#[derive(Debug, Clone)]
struct Learned {
    value: KeyValue,
    /// What is on its way, in the order in which it was told. Nothing overtakes what was told before it.
    coming: VecDeque<(Moment, KeyValue)>,
}

impl Sight {
    /// A front end that knows these keys.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        let learned = |slot| Learned { value: keys.value(slot).clone(), coming: VecDeque::new() };
        Self { primary: learned(Slot::Primary), secondary: learned(Slot::Secondary) }
    }

    /// Tells it a new value, which it takes from `from` on. A value told later never arrives before one told earlier.
    pub fn learn(&mut self, slot: Slot, value: KeyValue, from: Moment) {
        let learned = match slot {
            Slot::Primary => &mut self.primary,
            Slot::Secondary => &mut self.secondary,
        };
        learned.coming.push_back((from, value));
    }

    /// Lets go of values that it no longer takes. Changes no answer.
    pub fn settle(&mut self, now: Moment) {
        for learned in [&mut self.primary, &mut self.secondary] {
            while learned.coming.front().is_some_and(|(from, _)| *from <= now) {
                if let Some((_, value)) = learned.coming.pop_front() {
                    learned.value = value;
                }
            }
        }
    }

    /// The value of a slot that it takes at a moment.
    #[must_use]
    pub fn value(&self, slot: Slot, now: Moment) -> &KeyValue {
        let learned = match slot {
            Slot::Primary => &self.primary,
            Slot::Secondary => &self.secondary,
        };
        let latest = learned.coming.iter().take_while(|(from, _)| *from <= now).last();
        latest.map_or(&learned.value, |(_, value)| value)
    }

    /// What the front end knows at a moment.
    #[must_use]
    pub fn digests(&self, now: Moment) -> KeyDigests {
        let digest = |slot| Some(self.value(slot, now).digest());
        KeyDigests { primary: digest(Slot::Primary), secondary: digest(Slot::Secondary) }
    }

    /// The slot whose value this is.
    #[must_use]
    pub fn slot_of(&self, presented: &[u8], now: Moment) -> Option<Slot> {
        self.digests(now).slot_of(&sha256(presented))
    }
}
