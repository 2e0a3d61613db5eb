//! Reading the keys: when, how often, and what follows. Every call of `listKeys` that anything causes is decided here.
//!
//! One read at a time serves all who want one. What callers' requests alone cause goes through a bucket.

use std::time::Duration;

use super::{
    Demand, Keys, Source, Turn,
    adoption::{Reading, Seen},
};
use crate::{
    clock::Moment,
    ids::Generation,
    rotation::{
        digest::Digest,
        event::{Action, Ticket, Why},
        offer::Access,
        pace::{Backoff, Bucket, part},
        renumber::Renumber,
        rules::Rules,
        slot::{PerSlot, Slot},
    },
};

/// The reads of one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reads {
    in_flight: Option<Call>,
    bucket: Bucket,
    /// A request's refusal asks for one, when the bucket has one.
    wanted: bool,
    /// A held request has tried every value; it waits for a read that begins after this ticket.
    exhausted: Option<Ticket>,
    /// The next periodic look.
    look: Moment,
    /// The next read of a locked service.
    forced: Moment,
    /// None before this: the last one failed.
    not_before: Moment,
    failures: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Call {
    ticket: Ticket,
    began: Moment,
}

impl Reads {
    pub(super) fn start(now: Moment) -> Self {
        Self {
            in_flight: None,
            bucket: Bucket::default(),
            wanted: false,
            exhausted: None,
            look: now,
            forced: now,
            not_before: now,
            failures: Backoff::default(),
        }
    }

    /// A refusal asks for a read.
    pub(super) const fn want(&mut self) {
        self.wanted = true;
    }

    /// Nobody waits for a read any more.
    pub(super) const fn settle_exhaustion(&mut self) {
        self.exhausted = None;
        self.wanted = false;
    }

    /// The periodic look comes then.
    pub(super) const fn look_at(&mut self, at: Moment) {
        self.look = at;
    }

    /// A locked service is read again then.
    pub(super) const fn force_at(&mut self, at: Moment) {
        self.forced = at;
    }

    pub(super) fn renumber(&mut self, by: &mut impl Renumber, rules: &Rules) {
        if let Some(call) = &mut self.in_flight {
            by.ticket(&mut call.ticket);
            by.moment(&mut call.began, rules.retry.longest);
        }
        by.moment(&mut self.bucket.full, Duration::ZERO);
        if let Some(ticket) = &mut self.exhausted {
            by.ticket(ticket);
        }
        by.moment(&mut self.look, Duration::ZERO);
        by.moment(&mut self.forced, Duration::ZERO);
        by.moment(&mut self.not_before, Duration::ZERO);
    }
}

/// What a read said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rotation) struct ReadKeys {
    pub(in crate::rotation) keys: PerSlot<Digest>,
    pub(in crate::rotation) ticket: Ticket,
    pub(in crate::rotation) began: Moment,
}

impl Keys {
    /// When the next read begins, and why. None while one is under way.
    pub(super) fn read_due(&self, demand: Demand, rules: &Rules) -> Option<(Moment, Why)> {
        let reads = &self.reads;
        if reads.in_flight.is_some() {
            return None;
        }
        let open = self.access == Access::Open;
        let confirm = Slot::BOTH.into_iter().filter_map(|slot| {
            let incoming = self.slots[slot].incoming.as_ref()?;
            (incoming.reading != Reading::Twice).then_some(incoming.read_at)
        });
        // The order decides where several are due.
        let due = [
            (self.is_unread().then_some(reads.not_before), Why::Start),
            (demand.read, Why::Rotation),
            (confirm.min(), Why::Confirm),
            ((open && reads.wanted).then(|| reads.bucket.refill(rules.listkeys_interval)), Why::Rejected),
            ((!open).then_some(reads.forced), Why::Locked),
            (Some(reads.look), Why::Look),
        ];
        let due = due.into_iter().filter_map(|(at, why)| Some((at?.max(reads.not_before), why)));
        due.min_by_key(|(at, _)| *at)
    }

    /// Begins the read that is due.
    pub(super) fn read(&mut self, demand: Demand, turn: &mut Turn<'_>) {
        let now = turn.now();
        let Some((_, why)) = self.read_due(demand, turn.rules).filter(|(at, _)| *at <= now) else {
            // Who waits for a read that cannot begin now has no use of it later.
            if self.reads.in_flight.is_none() && self.reads.exhausted.is_some() {
                self.lock(turn);
                self.publish(turn);
            }
            return;
        };
        if why == Why::Rejected {
            self.reads.bucket.take(turn.rules.listkeys_interval, now);
        }
        let ticket = self.ticket();
        self.reads.in_flight = Some(Call { ticket, began: now });
        self.reads.wanted = false;
        turn.actions.push(Action::ReadKeys { ticket, why });
    }

    /// The read that this ticket belongs to, if it is awaited. For who wants to know what it said.
    pub(in crate::rotation) fn awaited_read(&self, ticket: Ticket, keys: PerSlot<Digest>) -> Option<ReadKeys> {
        let call = self.reads.in_flight.filter(|call| call.ticket == ticket)?;
        Some(ReadKeys { keys, ticket, began: call.began })
    }

    pub(super) fn note_read(
        &mut self,
        ticket: Ticket,
        keys: Result<PerSlot<Digest>, Option<Duration>>,
        turn: &mut Turn<'_>,
    ) {
        let Some(call) = self.reads.in_flight.filter(|call| call.ticket == ticket) else { return };
        self.reads.in_flight = None;
        let now = turn.now();
        let mut brought_new = false;
        if let Ok(keys) = keys {
            for slot in Slot::BOTH {
                brought_new |= self.see(slot, keys[slot], call.began, turn) == Seen::New;
            }
            self.reads.look = now + (turn.rules.look - part(turn.rules.look / 10, turn.tick.dice));
        }
        if keys.is_ok() && !self.is_unread() {
            self.reads.failures.reset();
            self.reads.not_before = now;
        } else {
            let pause = self.reads.failures.next(turn.rules.retry, turn.tick.dice);
            self.reads.not_before = now + pause.max(keys.err().flatten().unwrap_or_default());
        }
        match self.reads.exhausted {
            _ if brought_new => {
                self.reads.exhausted = None;
                self.unlock(turn);
            }
            // It began before the ladder was at its end, so it settles nothing.
            Some(after) if ticket <= after && keys.is_ok() => self.reads.want(),
            Some(_) => self.lock(turn),
            None => {}
        }
        if self.access == Access::Locked && now >= self.reads.forced {
            let pause = self.locked_pace.next(turn.rules.retry, turn.tick.dice);
            self.reads.force_at(now + pause);
        }
    }

    /// Whether nothing usable is known of a slot.
    fn is_unread(&self) -> bool {
        Slot::BOTH.into_iter().any(|slot| {
            let keys = &self.slots[slot];
            keys.source == Source::Journal && keys.incoming.is_none() && self.in_hand != Some(slot)
        })
    }

    /// A held request has tried every value of an offer.
    pub(super) fn note_exhausted(&mut self, generation: Generation) {
        // Where there is another offer, the request asks again by that one.
        let current = self.offer.is_some_and(|offer| generation == offer.generation);
        if current && self.access == Access::Open && self.reads.exhausted.is_none() {
            self.reads.exhausted = Some(self.last_ticket);
            self.reads.want();
        }
    }
}
