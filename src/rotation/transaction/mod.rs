//! The regeneration of one slot: what it works at, and what it wants for that.
//!
//! [`Service`](super::service::Service) drives it; nothing else does. `steps` has what must hold before each step is left, and
//! every way out of it; `answers` what follows from what was asked of the outside.

mod answers;
mod steps;

use std::time::Duration;

use super::{
    digest::Digest,
    event::Ticket,
    journal::Open,
    keys::{Demand, Keys, Stage},
    operation::{Kind, Operation, Parked, State, Step},
    pace::Backoff,
    refusal::Refusal,
    renumber::Renumber,
    rules::Rules,
};
use crate::{clock::Moment, ids::Generation};

/// A regeneration that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// What of it is journalled.
    pub open: Open,
    /// What it works at.
    pub work: Work,
    parks: Backoff,
    /// Calls that were made, or may have been before a crash.
    calls: u8,
    set_key: SetKey,
}

/// Whether a key that is to have a given value can be given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum SetKey {
    /// The value is at hand, or none was given.
    AtHand,
    /// It was known to the process before this one, and to nobody else.
    Lost,
}

/// What a transaction works at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Work {
    /// The keys are to be read for the first time since a crash.
    Resuming,
    /// See [`Step::Prechecked`].
    Prechecking {
        /// When it began.
        since: Moment,
    },
    /// See [`Step::Drained`].
    Draining {
        /// When it began.
        since: Moment,
        /// Of the offer without the slot, once it is published.
        generation: Option<Generation>,
    },
    /// See [`Step::Intent`].
    Writing {
        /// Of the write that has the intent, once it is under way.
        ticket: Option<Ticket>,
    },
    /// The read immediately before the call.
    Checking {
        /// It begins later than this one.
        after: Ticket,
    },
    /// The call is made.
    Calling {
        /// Of the call.
        ticket: Ticket,
    },
    /// Its operation goes on.
    Polling {
        /// When it began.
        since: Moment,
        /// When it is asked next.
        next: Moment,
        /// Of the question under way.
        ticket: Option<Ticket>,
        /// Between questions that are not answered.
        pace: Backoff,
    },
    /// See [`Step::ReadBack`].
    ReadingBack(ReadBack),
    /// See [`Step::Probed`], [`Step::Trial`] and [`Step::Settled`]: what has been regenerated is taken into use.
    Proving,
    /// Nothing, for a while.
    Parked {
        /// Why.
        reason: Parked,
        /// Until when.
        until: Moment,
    },
}

/// Waiting for the new key to show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReadBack {
    /// When it began.
    since: Moment,
    /// The next read.
    read_at: Moment,
    /// A new key, and when a read first brought it.
    changed: Option<(Digest, Moment)>,
    /// What the slot had before, and has been read to have for so long that it may be what it has now.
    not_late: Option<Digest>,
    /// What is known of the call.
    fate: Fate,
    pace: Backoff,
}

impl ReadBack {
    fn begin(fate: Fate, now: Moment) -> Self {
        Self { since: now, read_at: now, changed: None, not_late: None, fate, pace: Backoff::default() }
    }
}

/// What is known of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    /// It took effect, or will.
    Done,
    /// If the key is still unchanged then, it did not, and another one can be made.
    Unknown { resubmit_at: Moment },
}

/// What became of a turn.
#[derive(Debug)]
pub(super) enum Progress {
    /// The same work goes on.
    Stay,
    /// Other work begins.
    Go(Work),
    /// The transaction is over.
    End(State),
}

/// What stands around a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    /// A freeze was asked for.
    pub(super) frozen: bool,
    /// A rule that stands against making the call.
    pub(super) refusal: Option<Refusal>,
}

impl Transaction {
    /// One that begins.
    pub(super) fn new(open: Open, keys: &mut Keys, now: Moment) -> Self {
        keys.forget_worth();
        Self {
            open,
            work: Work::Prechecking { since: now },
            parks: Backoff::default(),
            calls: 0,
            set_key: SetKey::AtHand,
        }
    }

    /// One that a journal says is open.
    pub(super) fn resume(open: Open, keys: &mut Keys, now: Moment) -> Self {
        let set_key = if open.set_key.is_some() { SetKey::Lost } else { SetKey::AtHand };
        if open.intent.is_none() {
            return Self { set_key, ..Self::new(open, keys, now) };
        }
        keys.hold_in_hand(open.slot);
        Self { open, work: Work::Resuming, parks: Backoff::default(), calls: 1, set_key }
    }

    /// The step, and why it waits, if it does.
    #[must_use]
    pub fn progress(&self, keys: &Keys, now: Moment, rules: &Rules) -> (Step, Option<Parked>) {
        match &self.work {
            Work::Prechecking { .. } => (Step::Prechecked, None),
            Work::Draining { .. } => (Step::Drained, None),
            Work::Writing { .. } => (Step::Intent, None),
            Work::Resuming | Work::Checking { .. } | Work::Calling { .. } | Work::Polling { .. } => {
                (Step::Submitted, None)
            }
            Work::ReadingBack(reading) => {
                let late = reading.changed.is_none() && now.since(reading.since) >= rules.read_timeout;
                (Step::ReadBack, late.then_some(Parked::Unchanged))
            }
            Work::Proving => match keys.proving().map(|proving| &proving.stage) {
                Some(Stage::Trial { .. }) => (Step::Trial, None),
                Some(Stage::Resting { .. }) => (Step::Probed, Some(Parked::Unconverged)),
                Some(Stage::Probing { .. }) => (Step::Probed, None),
                None => (Step::Settled, None),
            },
            Work::Parked { reason, .. } => (Step::Prechecked, Some(*reason)),
        }
    }

    /// As an operation that is polled.
    #[must_use]
    pub fn operation(&self, state: State) -> Operation {
        Operation {
            id: self.open.operation,
            kind: Kind::Regenerate,
            slot: self.open.slot,
            origin: self.open.origin,
            began: self.open.began,
            ended: None,
            state,
        }
    }

    /// What it wants of the outside now.
    pub(super) fn demand(&self, keys: &Keys, now: Moment, rules: &Rules) -> Demand {
        match &self.work {
            Work::Prechecking { .. } => Demand { probe: self.precheck_wants(keys, now, rules), read: None },
            Work::Checking { .. } => Demand { read: Some(Moment::default()), probe: None },
            Work::ReadingBack(reading) => Demand { read: Some(reading.read_at), probe: None },
            Work::Resuming
            | Work::Draining { .. }
            | Work::Writing { .. }
            | Work::Calling { .. }
            | Work::Polling { .. }
            | Work::Proving
            | Work::Parked { .. } => Demand::default(),
        }
    }

    /// When it is to be looked at again. None: not before something happens.
    pub(super) fn next_wake(&self, now: Moment, rules: &Rules) -> Option<Moment> {
        match &self.work {
            Work::Prechecking { since } => Some(*since + rules.probe_timeout),
            Work::Draining { since, .. } => Some(*since + rules.drain_timeout),
            Work::Polling { since, next, ticket, .. } => {
                let end = *since + rules.read_timeout;
                Some(if ticket.is_none() { end.min(*next) } else { end })
            }
            Work::ReadingBack(reading) if reading.changed.is_some() => None,
            Work::ReadingBack(reading) => {
                let end = match reading.fate {
                    Fate::Done => reading.since + rules.read_timeout,
                    Fate::Unknown { resubmit_at } => resubmit_at,
                };
                // Past: the key has been read twice before, and each read looks again.
                (end > now).then_some(end)
            }
            Work::Parked { until, .. } => Some(*until),
            Work::Resuming | Work::Writing { .. } | Work::Checking { .. } | Work::Calling { .. } | Work::Proving => {
                None
            }
        }
    }

    /// Whether the slot in hand is given back: nothing is submitted, and it waits.
    pub(super) fn gives_back(&self) -> bool {
        matches!(self.work, Work::Parked { .. })
    }

    /// Whether it waits for a journal that is not on its way yet.
    pub(super) const fn wants_a_write(&self) -> bool {
        matches!(self.work, Work::Writing { ticket: None })
    }

    /// The journal as it is now is on its way to the disk.
    pub(super) const fn is_being_written(&mut self, by: Ticket) {
        if let Work::Writing { ticket: ticket @ None } = &mut self.work {
            *ticket = Some(by);
        }
    }

    /// See [`Renumber`].
    pub(super) fn renumber(&mut self, by: &mut impl Renumber, rules: &Rules) {
        by.operation(&mut self.open.operation);
        by.unix(&mut self.open.began, Duration::ZERO);
        if let Some(until) = &mut self.open.until {
            by.unix(until, Duration::ZERO);
        }
        match &mut self.work {
            Work::Prechecking { since } => by.moment(since, rules.probe_timeout),
            Work::Draining { since, generation } => {
                by.moment(since, rules.drain_timeout);
                if let Some(generation) = generation {
                    by.generation(generation);
                }
            }
            Work::Writing { ticket } => {
                if let Some(ticket) = ticket {
                    by.ticket(ticket);
                }
            }
            Work::Checking { after: ticket } | Work::Calling { ticket } => by.ticket(ticket),
            Work::Polling { since, next, ticket, .. } => {
                by.moment(since, rules.read_timeout);
                by.moment(next, Duration::ZERO);
                if let Some(ticket) = ticket {
                    by.ticket(ticket);
                }
            }
            Work::ReadingBack(reading) => {
                // Whether it is late enough to say so decides nothing once a change was seen.
                by.moment(&mut reading.since, rules.read_timeout);
                by.moment(&mut reading.read_at, Duration::ZERO);
                if let Some((_, seen)) = &mut reading.changed {
                    by.moment(seen, rules.read_gap);
                }
                if let Fate::Unknown { resubmit_at } = &mut reading.fate {
                    by.moment(resubmit_at, Duration::ZERO);
                }
            }
            Work::Parked { until, .. } => by.moment(until, Duration::ZERO),
            Work::Resuming | Work::Proving => {}
        }
    }
}

fn read_back(fate: Fate, now: Moment) -> Work {
    Work::ReadingBack(ReadBack::begin(fate, now))
}
