//! What of a service outlives the process: the journal as it should be, and how it comes to the disk.

use super::{LockFile, Service};
use crate::{
    clock::{Moment, Tick},
    ids::Generation,
    rotation::{
        digest::Digest,
        event::{Action, Notice, Ticket, WriteOutcome},
        journal::{By, Journal, Open, SlotRecord, Standing, VERSION},
        keys::Turn,
        operation::OperationId,
        pace::{Age, Backoff},
        rules::{Mutation, Rules},
        slot::{PerSlot, Slot},
        transaction::{Transaction, Work},
    },
};

/// The journal on its way to the disk, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Writes {
    /// Which, and the generations that it reserves.
    pub(super) in_flight: Option<(Ticket, Generation)>,
    /// Whether what is to be journalled has changed since.
    pub(super) dirty: bool,
    /// None before this: the last one failed.
    pub(super) not_before: Moment,
    pub(super) failures: Backoff,
}

/// What of a service is journalled, as far as it is quickly compared.
#[derive(PartialEq, Eq)]
pub(super) struct Facts {
    active: Option<Slot>,
    slots: PerSlot<(Option<Digest>, Standing, Age, By)>,
    /// How many values are remembered as retired, and as replaced.
    remembered: PerSlot<(usize, usize)>,
    open: Option<Open>,
    frozen: bool,
    owed: Option<Slot>,
    last_success: Option<u64>,
    next_operation: OperationId,
    ended: Option<OperationId>,
}

impl Service {
    /// What is to be on the disk now. None until both keys were read once.
    #[must_use]
    pub fn journal(&self, tick: Tick, rules: &Rules) -> Option<Journal> {
        let record = |slot: Slot| {
            let keys = self.keys.slot(slot);
            Some(SlotRecord {
                digest: keys.value?,
                standing: keys.standing,
                regenerated: keys.regenerated.unix(tick.now, tick.unix),
                by: keys.by,
                retired: keys.retired.clone(),
                replaced: keys.replaced.clone(),
            })
        };
        let mut open = self.transaction.as_ref().map(|transaction| transaction.open.clone());
        if rules.breaks(Mutation::IntentAfterCall)
            && let Some(transaction) = &self.transaction
            && matches!(transaction.work, Work::Writing { .. } | Work::Checking { .. } | Work::Calling { .. })
            && let Some(open) = &mut open
        {
            open.intent = None;
        }
        Some(Journal {
            version: VERSION,
            generation: self.keys.generation_to_reserve(),
            active: self.keys.active()?,
            slots: PerSlot { primary: record(Slot::Primary)?, secondary: record(Slot::Secondary)? },
            frozen: self.frozen,
            open,
            owed: self.owed,
            last_success: self.last_success,
            next_operation: self.next_operation,
            operations: self.operations.clone(),
        })
    }

    /// Whether a journal may be written.
    pub(super) fn may_write(&self) -> bool {
        self.lock_file == LockFile::Ours
    }

    /// Begins to write the journal where it says less than it should.
    pub(super) fn write(&mut self, turn: &mut Turn<'_>) {
        let awaited = self.transaction.as_ref().is_some_and(Transaction::wants_a_write);
        let due = self.writes.dirty || awaited || self.keys.needs_reserve();
        if !due || !self.may_write() || self.writes.in_flight.is_some() || turn.now() < self.writes.not_before {
            return;
        }
        let Some(journal) = self.journal(turn.tick, turn.rules) else { return };
        let ticket = self.keys.ticket();
        self.writes.in_flight = Some((ticket, journal.generation));
        self.writes.dirty = false;
        if let Some(transaction) = &mut self.transaction {
            transaction.is_being_written(ticket);
        }
        turn.actions.push(Action::Write { ticket, journal: Box::new(journal) });
    }

    pub(super) fn written(&mut self, ticket: Ticket, outcome: WriteOutcome, turn: &mut Turn<'_>) {
        let Some((_, reserved)) = self.writes.in_flight.filter(|(awaited, _)| *awaited == ticket) else { return };
        self.writes.in_flight = None;
        match outcome {
            WriteOutcome::Durable => {
                self.writes.failures.reset();
                self.keys.reserve(reserved);
            }
            WriteOutcome::Failed => {
                self.keys.go_on_without_reserve(turn.tick);
                let pause = self.writes.failures.next(turn.rules.retry, turn.tick.dice);
                self.writes.not_before = turn.now() + pause;
                self.writes.dirty = true;
                turn.tell(Notice::NotDurable);
            }
        }
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            active: self.keys.active(),
            slots: PerSlot::from_fn(|slot| {
                let keys = self.keys.slot(slot);
                (keys.value, keys.standing, keys.regenerated, keys.by)
            }),
            remembered: PerSlot::from_fn(|slot| {
                let keys = self.keys.slot(slot);
                (keys.retired.len(), keys.replaced.len())
            }),
            open: self.transaction.as_ref().map(|transaction| transaction.open.clone()),
            frozen: self.frozen,
            owed: self.owed,
            last_success: self.last_success,
            next_operation: self.next_operation,
            ended: self.operations.last().map(|operation| operation.id),
        }
    }
}
