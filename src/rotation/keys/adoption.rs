//! Adoption: somebody else changed a key.
//!
//! A value that a read brings in place of the one that is known can be tried by a resend at once. It takes that one's place
//! when two reads agree on it and a front end accepted it. What we replaced ourselves is a stale read and never adopted.

use super::{Keys, ReadKeys, Source, Turn, remember};
use crate::{
    clock::Moment,
    rotation::{
        digest::Digest,
        event::Notice,
        journal::{By, Standing},
        pace::{Age, Backoff},
        rules::Mutation,
        slot::Slot,
    },
};

/// A value that a read brought and that is not adopted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incoming {
    /// Stands for it.
    pub value: Digest,
    /// When the first of the reads that agree came.
    pub seen: Moment,
    /// Whether a second one agreed.
    pub reading: Reading,
    /// Whether a front end accepted it.
    pub accepted: bool,
    /// Between attempts to confirm it: reads that keep disagreeing are not repeated without end at the same pace.
    pub pace: Backoff,
    /// When it is read again.
    pub read_at: Moment,
}

/// What reads say of a value that is coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reading {
    /// One brought it.
    Once,
    /// Two in a row did, `adopt_gap` apart.
    Twice,
    /// The last one brought the old value.
    Contradicted,
}

/// What a read says of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// A value that no request could be sent with before.
    New,
    /// Nothing of the kind.
    Known,
}

impl Keys {
    /// A read that began at `began` says that a slot has this value.
    pub(super) fn see(&mut self, slot: Slot, value: Digest, began: Moment, turn: &mut Turn<'_>) -> Seen {
        let now = turn.now();
        let in_hand = self.in_hand == Some(slot);
        let keys = &mut self.slots[slot];
        if keys.value == Some(value) {
            let known = keys.source == Source::Read;
            keys.source = Source::Read;
            self.contradict(slot, began, turn);
            return if known { Seen::Known } else { Seen::New };
        }
        if in_hand {
            // It changes through its own transaction alone.
            return Seen::Known;
        }
        if keys.retired.contains(&value) && !turn.rules.breaks(Mutation::AdoptRetired) {
            turn.tell(Notice::StaleRead(slot));
            return Seen::Known;
        }
        if keys.value.is_none() {
            keys.value = Some(value);
            keys.source = Source::Read;
            return Seen::New;
        }
        if let Some(incoming) = keys.incoming.as_mut().filter(|incoming| incoming.value == value) {
            match incoming.reading {
                Reading::Once if now_and_then(incoming.seen, began, turn) => incoming.reading = Reading::Twice,
                Reading::Contradicted => {
                    incoming.reading = Reading::Once;
                    incoming.seen = now;
                    incoming.read_at = now + turn.rules.adopt_gap;
                }
                Reading::Once | Reading::Twice => {}
            }
            return Seen::Known;
        }
        keys.incoming = Some(Incoming {
            value,
            seen: now,
            reading: Reading::Once,
            accepted: false,
            pace: Backoff::default(),
            read_at: now + turn.rules.adopt_gap,
        });
        if !turn.rules.breaks(Mutation::MinGapIgnoresOutsider) {
            keys.regenerated = Age::new(now);
            keys.by = By::Outside;
        }
        keys.suspect = true;
        if self.proving.as_ref().is_some_and(|proving| proving.slot == slot) {
            self.proving = None;
        }
        turn.tell(Notice::Suspect(slot));
        Seen::New
    }

    /// What a read said of a slot that was in hand when it came, and is not any more.
    pub(in crate::rotation) fn see_released(&mut self, slot: Slot, read: &ReadKeys, turn: &mut Turn<'_>) {
        self.see(slot, read.keys[slot], read.began, turn);
    }

    /// A read brought the known value although another one was coming: one of the two was stale. Twice in a row it was not this.
    fn contradict(&mut self, slot: Slot, began: Moment, turn: &Turn<'_>) {
        let now = turn.now();
        let keys = &mut self.slots[slot];
        let Some(incoming) = &mut keys.incoming else { return };
        match incoming.reading {
            Reading::Contradicted if now_and_then(incoming.seen, began, turn) => keys.incoming = None,
            Reading::Contradicted => {}
            Reading::Once | Reading::Twice => {
                incoming.reading = Reading::Contradicted;
                incoming.seen = now;
                incoming.read_at = now + turn.rules.adopt_gap.max(incoming.pace.next(turn.rules.retry, turn.tick.dice));
            }
        }
    }

    /// Adopts what was read twice and accepted.
    pub(super) fn adopt_what_is_ready(&mut self, turn: &mut Turn<'_>) {
        for slot in Slot::BOTH {
            let ready = |incoming: &Incoming| incoming.reading == Reading::Twice && incoming.accepted;
            let Some(incoming) = self.slots[slot].incoming.filter(ready) else { continue };
            if self.active == Some(slot)
                && let Some(value) = self.in_memory(slot)
            {
                self.remember(value, slot, turn);
            }
            let keys = &mut self.slots[slot];
            if let Some(before) = keys.value {
                remember(&mut keys.replaced, before);
            }
            keys.replaced.retain(|value| *value != incoming.value);
            keys.value = Some(incoming.value);
            keys.source = Source::Read;
            // While another slot is being regenerated, that one will be the newest.
            keys.standing = if self.in_hand.is_some() { Standing::Spare } else { Standing::Newest };
            keys.suspect = false;
            keys.accepted = Some(turn.now());
            keys.incoming = None;
            turn.tell(Notice::Adopted(slot));
        }
    }
}

/// Whether a read that began at `began` is far enough from one whose answer came at `seen`.
fn now_and_then(seen: Moment, began: Moment, turn: &Turn<'_>) -> bool {
    began >= seen + turn.rules.adopt_gap
}
