//! Which value requests get: choosing the active slot, and composing and publishing the offer.

use super::{Incoming, Keys, Source, Stage, Turn};
use crate::{
    clock::Moment,
    ids::Generation,
    rotation::{
        digest::Digest,
        event::{Action, Notice},
        journal::{By, Standing},
        offer::{FURTHER, Offer},
        pace::Age,
        rules::{Mutation, Rules},
        slot::Slot,
    },
};

/// The value that was active before the last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Previous {
    pub(super) value: Digest,
    /// The slot it was the value of.
    pub(super) slot: Slot,
    /// Until when it may be tried again.
    pub(super) until: Moment,
}

impl Keys {
    /// Takes the active slot away from a value that is refused, where there is a better one.
    pub(super) fn choose(&mut self, turn: &mut Turn<'_>) {
        if self.previous.is_some_and(|previous| previous.until <= turn.now()) {
            self.previous = None;
        }
        let Some(active) = self.active else {
            let accepted = |slot: &Slot| self.in_memory(*slot).is_some() && self.slots[*slot].accepted.is_some();
            if let Some(slot) = Slot::BOTH.into_iter().find(accepted) {
                self.activate(slot, turn);
            }
            return;
        };
        let keys = &self.slots[active];
        let dead = keys.incoming.is_some() || self.in_memory(active).is_none();
        let better = self.can_carry(active.other(), turn)
            // One acceptance is better than a value that is known to be gone.
            || (dead && self.stands_in(active.other(), turn));
        if (dead || keys.suspect) && better {
            turn.tell(Notice::Suspect(active));
            self.activate(active.other(), turn);
        }
    }

    /// Whether a slot can be given all requests at any moment.
    pub(in crate::rotation) fn can_carry(&self, slot: Slot, turn: &Turn<'_>) -> bool {
        self.slots[slot].is_settled() && self.is_free(slot, turn)
    }

    fn stands_in(&self, slot: Slot, turn: &Turn<'_>) -> bool {
        let keys = &self.slots[slot];
        keys.accepted.is_some()
            && self.in_memory(slot).is_some()
            && !keys.suspect
            && keys.incoming.is_none()
            && self.is_free(slot, turn)
    }

    fn is_free(&self, slot: Slot, turn: &Turn<'_>) -> bool {
        self.in_hand != Some(slot) || turn.rules.breaks(Mutation::FlipToSlotInHand)
    }

    /// Gives new requests this slot's value.
    pub(in crate::rotation) fn activate(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        if let Some(before) = self.active.filter(|before| *before != slot)
            && let Some(value) = self.in_memory(before)
        {
            self.remember(value, before, turn);
        }
        if self.active != Some(slot) {
            self.active = Some(slot);
            turn.tell(Notice::Active(slot));
        }
    }

    /// Keeps a value at hand that was active until now.
    pub(super) fn remember(&mut self, value: Digest, slot: Slot, turn: &Turn<'_>) {
        self.previous = Some(Previous { value, slot, until: turn.now() + turn.rules.settle });
    }

    /// A transaction begins to regenerate a slot: the other one carries all requests, and no resend tries this one's values.
    pub(in crate::rotation) fn take_in_hand(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        self.in_hand = Some(slot);
        if self.proving.as_ref().is_some_and(|proving| proving.slot == slot) {
            self.proving = None;
        }
        if self.active == Some(slot) && !turn.rules.breaks(Mutation::RegenerateActive) {
            self.activate(slot.other(), turn);
        }
        self.publish(turn);
    }

    /// A transaction goes on that had a slot in hand before a crash.
    pub(in crate::rotation) const fn hold_in_hand(&mut self, slot: Slot) {
        self.in_hand = Some(slot);
    }

    /// The slot in hand has its new value.
    pub(in crate::rotation) fn renew(&mut self, slot: Slot, value: Digest, turn: &mut Turn<'_>) {
        if self.previous.is_some_and(|previous| previous.slot == slot) {
            self.previous = None;
        }
        let keys = &mut self.slots[slot];
        if let Some(before) = keys.value.filter(|before| *before != value) {
            keys.retire(before);
            keys.regenerated = Age::new(turn.now());
            keys.by = By::Us;
        }
        keys.value = Some(value);
        keys.source = Source::Read;
        keys.standing = Standing::Newest;
        keys.suspect = false;
        keys.accepted = None;
    }

    /// A read that brings this value of the slot in hand is not late.
    pub(in crate::rotation) fn believe(&mut self, slot: Slot, value: Digest) {
        let keys = &mut self.slots[slot];
        keys.retired.retain(|retired| *retired != value);
        keys.replaced.retain(|replaced| *replaced != value);
    }

    /// The slot in hand has not changed after all: it has the value that it had before.
    pub(in crate::rotation) fn take_back(&mut self, slot: Slot, before: Digest) {
        self.believe(slot, before);
        let keys = &mut self.slots[slot];
        keys.value = Some(before);
        keys.standing = Standing::Settled;
    }

    /// A transaction gives a slot back that it has not changed.
    pub(in crate::rotation) fn release(&mut self) {
        self.in_hand = None;
    }

    /// Publishes the offer, if it is another one.
    pub(in crate::rotation) fn publish(&mut self, turn: &mut Turn<'_>) {
        let Some(next) = self.compose(turn.rules) else { return };
        if self.is_published(&next) || self.ceiling.is_some_and(|ceiling| self.generation >= ceiling) {
            return;
        }
        self.generation += 1;
        let offer = Offer { generation: self.generation, ..next };
        if self.offer.is_none_or(|before| before.others != offer.others) {
            self.attached.others = self.generation;
        }
        if self.offer.is_none_or(|before| before.held != offer.held) {
            self.attached.held = self.generation;
        }
        self.offer = Some(offer);
        turn.actions.push(Action::Publish(offer));
    }

    /// The generation of the offer, if it is what the present state asks for.
    pub(in crate::rotation) fn published(&self, rules: &Rules) -> Option<Generation> {
        let offer = self.offer?;
        self.compose(rules).is_some_and(|next| self.is_published(&next)).then_some(offer.generation)
    }

    fn is_published(&self, next: &Offer<Digest>) -> bool {
        self.offer.is_some_and(|offer| offer == Offer { generation: offer.generation, ..*next })
    }

    /// The offer that the present state asks for, without its generation.
    fn compose(&self, rules: &Rules) -> Option<Offer<Digest>> {
        let active = self.active?;
        let others = self.in_memory(active)?;
        let on_trial = self.proving.as_ref().filter(|proving| matches!(proving.stage, Stage::Trial { .. }));
        let held = on_trial.and_then(|proving| self.in_memory(proving.slot)).unwrap_or(others);
        let shown = |_: &&Incoming| !rules.breaks(Mutation::HideIncoming);
        let incoming = |slot: Slot| self.slots[slot].incoming.as_ref().filter(shown).map(|incoming| incoming.value);
        let free = |slot: &Slot| self.in_hand != Some(*slot);
        let candidates = [
            Some(active.other()).filter(free).and_then(|other| self.in_memory(other)),
            incoming(active),
            Some(active.other()).filter(free).and_then(incoming),
            self.previous.filter(|previous| free(&previous.slot)).map(|previous| previous.value),
        ];
        let mut further = [None; FURTHER];
        let mut places = further.iter_mut();
        let mut named = vec![held, others];
        for value in candidates.into_iter().flatten() {
            if !named.contains(&value)
                && let Some(place) = places.next()
            {
                *place = Some(value);
                named.push(value);
            }
        }
        Some(Offer { generation: 0, held, others, further, access: self.access })
    }

    /// A value is accepted by every front end.
    pub(in crate::rotation) fn settled(&mut self, slot: Slot, promote: bool, turn: &mut Turn<'_>) {
        self.slots[slot].standing = Standing::Settled;
        self.proving = None;
        if self.in_hand == Some(slot) {
            self.in_hand = None;
        }
        if promote {
            self.activate(slot, turn);
            let other = self.slot_mut(slot.other());
            if other.standing == Standing::Newest {
                other.standing = Standing::Spare;
            }
        }
        turn.tell(Notice::Settled(slot));
    }
}
