//! What is known of a service's two keys, and what requests get: the credential state machine of a key service.
//!
//! [`Keys::step`] is pure: events and the time in, the next state and actions out. It finds out which keys there are, notices
//! what others change, takes new values into use one step after the other, and locks a service that refuses everything. It never
//! regenerates anything: [`Service`](super::service::Service) does, and takes one slot in hand for it.

mod adoption;
mod choice;
mod probing;
mod proving;
mod reading;

use std::time::Duration;

pub(super) use self::reading::ReadKeys;
pub use self::{
    adoption::Incoming,
    probing::Worth,
    proving::{Goal, Proving, Stage},
    reading::Reads,
};
use self::{choice::Previous, probing::Probes};
use super::{
    digest::Digest,
    event::{Action, Event, Notice, Ticket},
    journal::{By, Journal, RETIRED, Standing},
    offer::{Access, Offer},
    pace::{Age, Backoff},
    probe::Target,
    renumber::Renumber,
    rules::{Mutation, Rules},
    slot::{PerSlot, Slot},
};
use crate::{
    clock::{Moment, Tick},
    ids::Generation,
};

/// Generations that are reserved in the journal at a time, so that not every change of the offer has to wait for the disk.
const RESERVED: Generation = 100;

/// The keys of one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Keys {
    slots: PerSlot<KeySlot>,
    /// What new requests get. None until a value was accepted, where there is no journal.
    active: Option<Slot>,
    /// The slot that a transaction is regenerating: it changes through that alone, and no request can get its value.
    in_hand: Option<Slot>,
    proving: Option<Proving>,
    /// The value that was active before.
    previous: Option<Previous>,
    access: Access,
    /// Forced reads of a locked service; forgotten only when something is accepted.
    locked_pace: Backoff,
    generation: Generation,
    /// Generations up to this one may be published; none: without regard to the journal.
    ceiling: Option<Generation>,
    offer: Option<Offer<Digest>>,
    /// The generations since which the values of the offer are attached.
    attached: Attached,
    reads: Reads,
    probes: Probes,
    last_ticket: Ticket,
}

/// What is known of one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeySlot {
    /// Stands for the value.
    pub value: Option<Digest>,
    /// Whether this process has it.
    pub source: Source,
    /// How far it is trusted.
    pub standing: Standing,
    /// Whether it was refused, or is no longer what the service says, since it was last accepted.
    pub suspect: bool,
    /// When it was last accepted.
    pub accepted: Option<Moment>,
    /// What a read brought in its place, not adopted yet.
    pub incoming: Option<Incoming>,
    /// When it was last regenerated.
    pub regenerated: Age,
    /// By whom.
    pub by: By,
    /// Values that we replaced, oldest first.
    pub retired: Vec<Digest>,
    /// Values that others replaced, oldest first.
    pub replaced: Vec<Digest>,
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Only its digest is known, from the journal.
    Journal,
    /// A read of this process brought it.
    Read,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Attached {
    held: Generation,
    others: Generation,
}

/// What a transaction wants of the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// The keys read, at this moment or later.
    pub read: Option<Moment>,
    /// Something probed.
    pub probe: Option<Target>,
}

/// Where conclusions are drawn: the time, the rules, and what is to be done.
pub(super) struct Turn<'a> {
    pub(super) tick: Tick,
    pub(super) rules: &'a Rules,
    pub(super) actions: &'a mut Vec<Action>,
}

impl Turn<'_> {
    pub(super) const fn now(&self) -> Moment {
        self.tick.now
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        self.actions.push(Action::Tell(notice));
    }
}

impl Keys {
    /// The keys of a service that this process has not read yet.
    #[must_use]
    pub fn start(journal: Option<&Journal>, tick: Tick, rules: &Rules) -> Self {
        let slots = PerSlot::from_fn(|slot| KeySlot::start(journal.map(|journal| &journal.slots[slot]), tick));
        let generation = journal.map_or(0, |journal| journal.generation);
        Self {
            slots,
            active: journal.map(|journal| journal.active),
            in_hand: None,
            proving: None,
            previous: None,
            access: Access::Open,
            locked_pace: Backoff::default(),
            generation: if rules.breaks(Mutation::GenerationReset) { 0 } else { generation },
            ceiling: None,
            offer: None,
            attached: Attached::default(),
            reads: Reads::start(tick.now),
            probes: Probes::default(),
            last_ticket: Ticket::default(),
        }
    }

    /// One event: the next state, and what is to be done.
    #[must_use]
    pub fn step(&self, event: &Event, tick: Tick, rules: &Rules) -> (Self, Vec<Action>) {
        let mut next = self.clone();
        let mut actions = Vec::new();
        let turn = &mut Turn { tick, rules, actions: &mut actions };
        next.take(event, turn);
        next.conclude(turn);
        next.call(Demand::default(), turn);
        (next, actions)
    }

    /// When [`Keys::step`] is due at the latest. None: not before something happens.
    #[must_use]
    pub fn next_wake(&self, demand: Demand, rules: &Rules) -> Option<Moment> {
        let read = self.read_due(demand, rules).map(|(at, _)| at);
        let probe = self.probe_due(demand, rules).map(|(at, _)| at);
        let proving = self.proving.as_ref().and_then(|proving| proving.next_wake(rules));
        let previous = self.previous.as_ref().map(|previous| previous.until);
        [read, probe, proving, previous].into_iter().flatten().min()
    }

    /// The present offer. None until a value was accepted.
    #[must_use]
    pub const fn offer(&self) -> Option<&Offer<Digest>> {
        self.offer.as_ref()
    }

    /// What is known of a slot.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> &KeySlot {
        &self.slots[slot]
    }

    /// What new requests get.
    #[must_use]
    pub const fn active(&self) -> Option<Slot> {
        self.active
    }

    /// The slot that a transaction is regenerating.
    #[must_use]
    pub const fn in_hand(&self) -> Option<Slot> {
        self.in_hand
    }

    /// The value that is being taken into use.
    #[must_use]
    pub const fn proving(&self) -> Option<&Proving> {
        self.proving.as_ref()
    }

    /// Every value that may still be attached or compared: the driver keeps these, and forgets all others.
    pub fn values(&self) -> impl Iterator<Item = Digest> {
        let of_slots = Slot::BOTH.into_iter().flat_map(|slot| {
            let keys = &self.slots[slot];
            [keys.value, keys.incoming.as_ref().map(|incoming| incoming.value)]
        });
        of_slots.chain([self.previous.as_ref().map(|previous| previous.value)]).flatten()
    }

    /// Takes note of what happened.
    pub(super) fn take(&mut self, event: &Event, turn: &mut Turn<'_>) {
        match event {
            Event::Rejected { generation, value } => self.note_rejected(*generation, *value, turn),
            Event::Accepted { value } => self.note_accepted(*value, turn),
            Event::Exhausted { generation } => self.note_exhausted(*generation),
            Event::Read { ticket, keys } => self.note_read(*ticket, *keys, turn),
            Event::Probed { ticket, verdict } => self.note_probed(*ticket, *verdict, turn),
            Event::Look => self.reads.look_at(turn.now()),
            Event::Tick
            | Event::Drained { .. }
            | Event::Written { .. }
            | Event::Regenerated { .. }
            | Event::Polled { .. }
            | Event::Freeze
            | Event::Unfreeze => {}
        }
    }

    /// Draws conclusions until there are none left.
    pub(super) fn conclude(&mut self, turn: &mut Turn<'_>) {
        self.adopt_what_is_ready(turn);
        self.prove(turn);
        self.choose(turn);
        self.start_proving(turn);
        self.publish(turn);
    }

    /// Begins the calls that are due.
    pub(super) fn call(&mut self, demand: Demand, turn: &mut Turn<'_>) {
        self.read(demand, turn);
        self.probe(demand, turn);
    }

    /// A ticket that no call had.
    pub(super) const fn ticket(&mut self) -> Ticket {
        self.last_ticket = Ticket(self.last_ticket.0 + 1);
        self.last_ticket
    }

    /// The last ticket that was given out.
    pub(super) const fn last_ticket(&self) -> Ticket {
        self.last_ticket
    }

    /// What is known of a slot, to change it.
    pub(super) fn slot_mut(&mut self, slot: Slot) -> &mut KeySlot {
        &mut self.slots[slot]
    }

    /// Generations up to `ceiling` are reserved in the journal.
    pub(super) const fn reserve(&mut self, ceiling: Generation) {
        self.ceiling = Some(ceiling);
    }

    /// None can be reserved, and requests come first: from here generations are above the Unix time, which grows across a
    /// crash as long as the clock does.
    pub(super) fn go_on_without_reserve(&mut self, tick: Tick) {
        self.ceiling = None;
        self.generation = self.generation.max(tick.unix);
    }

    /// Whether generations should be reserved.
    pub(super) const fn needs_reserve(&self) -> bool {
        match self.ceiling {
            Some(ceiling) => ceiling < self.generation + RESERVED / 2,
            None => false,
        }
    }

    /// How far generations are to be reserved: a round number, well above the present one.
    pub(super) const fn generation_to_reserve(&self) -> Generation {
        ((self.generation + RESERVED / 2) / RESERVED + 1) * RESERVED
    }

    /// The last generation.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    fn note_accepted(&mut self, value: Digest, turn: &mut Turn<'_>) {
        let now = turn.now();
        for slot in Slot::BOTH {
            let keys = &mut self.slots[slot];
            if keys.value == Some(value) {
                keys.accepted = Some(now);
                // What is no longer what the service says stays suspect, whoever still takes it.
                keys.suspect = keys.incoming.is_some();
                if keys.standing == Standing::Fresh {
                    keys.standing = Standing::Settled;
                }
            }
            if let Some(incoming) = keys.incoming.as_mut().filter(|incoming| incoming.value == value) {
                incoming.accepted = true;
            }
        }
        self.proving_saw_acceptance(value);
        self.locked_pace.reset();
        self.unlock(turn);
    }

    fn note_rejected(&mut self, generation: Generation, value: Digest, turn: &mut Turn<'_>) {
        let Some(offer) = self.offer else { return };
        // What was attached before the value was last attached says nothing of now.
        let attached = (offer.others == value && generation >= self.attached.others)
            || (offer.held == value && generation >= self.attached.held);
        if !attached && generation != offer.generation {
            return;
        }
        if self.proving_was_rejected(value, turn) {
            return;
        }
        for slot in Slot::BOTH {
            let keys = &mut self.slots[slot];
            if keys.value == Some(value) && self.in_hand != Some(slot) && !keys.suspect {
                keys.suspect = true;
                turn.tell(Notice::Suspect(slot));
            }
        }
        if self.access == Access::Open {
            self.reads.want();
        }
    }

    /// Lets requests through again.
    fn unlock(&mut self, turn: &mut Turn<'_>) {
        if self.access == Access::Locked {
            self.access = Access::Open;
            turn.tell(Notice::Unlocked);
        }
    }

    /// Every value is refused and a read brought no other.
    fn lock(&mut self, turn: &mut Turn<'_>) {
        self.reads.settle_exhaustion();
        if self.access == Access::Open {
            self.access = Access::Locked;
            let pause = self.locked_pace.next(turn.rules.retry, turn.tick.dice);
            self.reads.force_at(turn.now() + pause);
            turn.tell(Notice::Locked);
        }
    }

    fn in_memory(&self, slot: Slot) -> Option<Digest> {
        let keys = &self.slots[slot];
        keys.value.filter(|_| keys.source == Source::Read)
    }

    /// See [`Renumber`].
    #[doc(hidden)]
    pub fn renumber(&mut self, by: &mut impl Renumber, rules: &Rules) {
        for slot in Slot::BOTH {
            let keys = &mut self.slots[slot];
            if let Some(at) = &mut keys.accepted {
                by.moment(at, rules.probe_fresh);
            }
            if let Some(incoming) = &mut keys.incoming {
                by.moment(&mut incoming.seen, rules.adopt_gap);
                by.moment(&mut incoming.read_at, Duration::ZERO);
            }
            by.age(&mut keys.regenerated, rules.min_gap);
        }
        if let Some(proving) = &mut self.proving {
            proving.renumber(by, rules);
        }
        if let Some(previous) = &mut self.previous {
            by.moment(&mut previous.until, Duration::ZERO);
        }
        by.generation(&mut self.generation);
        by.since(&mut self.attached.held);
        by.since(&mut self.attached.others);
        if let Some(ceiling) = &mut self.ceiling {
            by.generation(ceiling);
        }
        if let Some(offer) = &mut self.offer {
            by.generation(&mut offer.generation);
        }
        self.reads.renumber(by, rules);
        self.probes.renumber(by, rules);
        by.ticket(&mut self.last_ticket);
    }
}

impl KeySlot {
    fn start(record: Option<&super::journal::SlotRecord>, tick: Tick) -> Self {
        let base = Self {
            value: None,
            source: Source::Journal,
            standing: Standing::Fresh,
            suspect: false,
            accepted: None,
            incoming: None,
            regenerated: Age::new(tick.now),
            by: By::Unknown,
            retired: Vec::new(),
            replaced: Vec::new(),
        };
        record.map_or(base.clone(), |record| Self {
            value: Some(record.digest),
            standing: record.standing,
            regenerated: Age::since_unix(record.regenerated, tick.now, tick.unix),
            by: record.by,
            retired: record.retired.clone(),
            replaced: record.replaced.clone(),
            ..base
        })
    }

    /// Its value is replaced by our own doing: from here a read that brings it is stale.
    pub(super) fn retire(&mut self, value: Digest) {
        remember(&mut self.retired, value);
    }

    /// Whether it was the value of this slot before. A read that brings it is late, or somebody set it again.
    #[must_use]
    pub fn was(&self, value: Digest) -> bool {
        self.retired.contains(&value) || self.replaced.contains(&value)
    }

    /// Every front end accepts it, nothing was said against it since, and it is what the service says.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.standing == Standing::Settled && self.source == Source::Read && !self.suspect && self.incoming.is_none()
    }

    /// Whether it was accepted within `fresh`.
    #[must_use]
    pub fn accepted_within(&self, fresh: Duration, now: Moment) -> bool {
        self.accepted.is_some_and(|at| now.since(at) < fresh)
    }
}

/// Adds to a list that is never longer than is journalled.
fn remember(list: &mut Vec<Digest>, value: Digest) {
    if !list.contains(&value) {
        list.push(value);
        if list.len() > RETIRED {
            list.remove(0);
        }
    }
}
