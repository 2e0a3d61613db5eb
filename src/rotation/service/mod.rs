//! A service whose keys are kept valid: what is known of its keys, the transaction that is open, and what is journalled.
//!
//! The driver holds one per service and does what it is told: [`Service::start`] once, then [`Service::step`] with every event and
//! at every [`Service::next_wake`]. Both are pure. People and the schedule come in by [`Service::ask`].

mod journalling;

use std::time::Duration;

use self::journalling::Writes;
use super::{
    event::{Action, Event, Notice},
    journal::{Journal, OPERATIONS, Open, Standing},
    keys::{Demand, Keys, ReadKeys, Turn},
    operation::{Ask, Kind, Operation, OperationId, Origin, Policy, State, Step},
    pace::Backoff,
    probe::{Target, Verdict},
    refusal::Refusal,
    renumber::Renumber,
    resume::{Next, resume},
    rules::{Mutation, Rules},
    slot::Slot,
    transaction::{Ground, Progress, Transaction, Work},
};
use crate::clock::{Moment, Tick};

/// Everything that the control plane knows and decides about one service with keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service {
    keys: Keys,
    lock_file: LockFile,
    transaction: Option<Transaction>,
    frozen: bool,
    owed: Option<Slot>,
    last_success: Option<u64>,
    next_operation: OperationId,
    operations: Vec<Operation>,
    writes: Writes,
}

/// Whose the lock file of a service is. Without it nothing is regenerated and no journal written. Where that changes, the driver
/// starts the service anew from what the journal then says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockFile {
    /// This process's.
    Ours,
    /// Another process's.
    Theirs,
    /// There is no directory to put one into.
    Absent,
}

impl Service {
    /// A service that this process has not read yet, and what is to be done first.
    #[must_use]
    pub fn start(journal: Option<&Journal>, lock_file: LockFile, tick: Tick, rules: &Rules) -> (Self, Vec<Action>) {
        let mut keys = Keys::start(journal, tick, rules);
        if lock_file == LockFile::Ours {
            // What an earlier process may have published is not published again.
            keys.reserve(keys.generation());
        } else {
            keys.go_on_without_reserve(tick);
        }
        let open = journal.and_then(|journal| journal.open.clone()).filter(|_| lock_file == LockFile::Ours);
        let transaction = open.map(|open| Transaction::resume(open, &mut keys, tick.now));
        let mut service = Self {
            keys,
            lock_file,
            transaction,
            frozen: journal.is_some_and(|journal| journal.frozen),
            owed: journal.and_then(|journal| journal.owed),
            last_success: journal.and_then(|journal| journal.last_success),
            next_operation: journal.map_or(OperationId(1), |journal| journal.next_operation),
            operations: journal.map_or_else(Vec::new, |journal| journal.operations.clone()),
            writes: Writes { in_flight: None, dirty: true, not_before: tick.now, failures: Backoff::default() },
        };
        let mut actions = Vec::new();
        let turn = &mut Turn { tick, rules, actions: &mut actions };
        service.conclude(turn);
        service.write(turn);
        (service, actions)
    }

    /// One event: the next state, and what is to be done, in this order.
    #[must_use]
    pub fn step(&self, event: &Event, tick: Tick, rules: &Rules) -> (Self, Vec<Action>) {
        let mut next = self.clone();
        let mut actions = Vec::new();
        next.advance(event, tick, rules, &mut actions);
        (next, actions)
    }

    /// [`Service::step`] in place.
    pub fn advance(&mut self, event: &Event, tick: Tick, rules: &Rules, actions: &mut Vec<Action>) {
        let before = self.facts();
        let turn = &mut Turn { tick, rules, actions };
        self.take(event, turn);
        self.conclude(turn);
        self.writes.dirty |= self.facts() != before;
        self.write(turn);
    }

    /// Begins what a person or the schedule asks for.
    ///
    /// # Errors
    /// Where a rule of ours stands against it. Nothing was touched.
    pub fn ask(&self, ask: &Ask, tick: Tick, rules: &Rules) -> Result<(Self, Vec<Action>, OperationId), Refusal> {
        let slots = self.permits(ask, tick, rules)?;
        let mut next = self.clone();
        let mut actions = Vec::new();
        let turn = &mut Turn { tick, rules, actions: &mut actions };
        let operation = next.begin(ask, slots, turn);
        next.conclude(turn);
        next.writes.dirty = true;
        next.write(turn);
        Ok((next, actions, operation))
    }

    /// Which slots would be regenerated, or made active, in order.
    ///
    /// # Errors
    /// Where a rule of ours stands against it.
    pub fn permits(&self, ask: &Ask, tick: Tick, rules: &Rules) -> Result<(Slot, Option<Slot>), Refusal> {
        let active = self.keys.active().filter(|_| self.keys.offer().is_some()).ok_or(Refusal::NotReady)?;
        let spare = active.other();
        if *ask == Ask::Rollback {
            return self.permits_rollback(spare);
        }
        let (slots, leaked) = match *ask {
            Ask::Regenerate { slot, .. } => ((slot.unwrap_or(spare), None), false),
            Ask::Leaked => ((spare, Some(active)), true),
            Ask::Scheduled { policy, .. } => match self.owed.filter(|_| policy == Policy::Full) {
                Some(owed) => ((owed, None), false),
                None => ((spare, (policy == Policy::Full).then_some(active)), false),
            },
            Ask::Rollback => ((spare, None), false),
        };
        if let Some(refusal) = self.stands_against(leaked, tick.now, rules) {
            return Err(refusal);
        }
        if let Some(transaction) = &self.transaction
            && !rules.breaks(Mutation::TwoTransactions)
        {
            return Err(Refusal::Busy { operation: transaction.open.operation.0 });
        }
        if let Ask::Regenerate { set_key: Some(wanted), .. } = ask
            && let Some(slot) = Slot::BOTH.into_iter().find(|slot| self.keys.slot(*slot).value == Some(*wanted))
        {
            return Err(Refusal::SameValue { slot });
        }
        let other = self.keys.slot(slots.0.other());
        if other.standing != Standing::Settled || other.incoming.is_some() || other.value.is_none() {
            return Err(Refusal::OtherNotAccepted { slot: slots.0.other() });
        }
        Ok(slots)
    }

    /// When [`Service::step`] is due at the latest. None: not before something happens.
    #[must_use]
    pub fn next_wake(&self, now: Moment, rules: &Rules) -> Option<Moment> {
        let demand = self.demand(now, rules);
        let keys = self.keys.next_wake(demand, rules);
        let transaction = self.transaction.as_ref().and_then(|transaction| transaction.next_wake(now, rules));
        let failed = self.writes.not_before > now && self.writes.in_flight.is_none() && self.may_write();
        let write = failed.then_some(self.writes.not_before);
        [keys, transaction, write].into_iter().flatten().min()
    }

    /// What is known of its keys.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The transaction that is open.
    #[must_use]
    pub const fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// Whether regenerations are frozen.
    #[must_use]
    pub const fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// The slot that `policy: full` still owes.
    #[must_use]
    pub const fn owed(&self) -> Option<Slot> {
        self.owed
    }

    /// When a slot was last regenerated by us and settled, Unix seconds.
    #[must_use]
    pub const fn last_success(&self) -> Option<u64> {
        self.last_success
    }

    /// The step at work, and why it waits, if it does.
    #[must_use]
    pub fn progress(&self, now: Moment, rules: &Rules) -> (Step, Option<super::operation::Parked>) {
        self.transaction.as_ref().map_or((Step::Idle, None), |transaction| transaction.progress(&self.keys, now, rules))
    }

    /// An operation, open or ended. None where it is not known, or too long ago.
    #[must_use]
    pub fn operation(&self, id: OperationId, now: Moment, rules: &Rules) -> Option<Operation> {
        let ended = self.operations.iter().find(|operation| operation.id == id).cloned();
        ended.or_else(|| {
            let transaction = self.transaction.as_ref()?;
            if transaction.open.operation == id {
                let (step, parked) = transaction.progress(&self.keys, now, rules);
                return Some(transaction.operation(State::Running { step, parked }));
            }
            let slot = transaction.open.next.filter(|_| follower(transaction.open.operation) == id)?;
            Some(Operation { id, slot, ..transaction.operation(State::Queued) })
        })
    }

    /// The operations that ended, oldest first.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    fn permits_rollback(&self, spare: Slot) -> Result<(Slot, Option<Slot>), Refusal> {
        if let Some(transaction) = &self.transaction {
            // On trial the way back is to take the new value away from requests; at any other step none has it.
            let on_trial = self.keys.offer().is_some_and(|offer| offer.held != offer.others);
            return if on_trial {
                Ok((transaction.open.slot.other(), None))
            } else {
                Err(Refusal::Busy { operation: transaction.open.operation.0 })
            };
        }
        if self.keys.slot(spare).is_settled() {
            Ok((spare, None))
        } else {
            Err(Refusal::OtherNotAccepted { slot: spare })
        }
    }

    /// A rule that stands against regenerating anything now.
    fn stands_against(&self, leaked: bool, now: Moment, rules: &Rules) -> Option<Refusal> {
        match self.lock_file {
            LockFile::Ours => {}
            LockFile::Theirs => return Some(Refusal::LockHeld),
            LockFile::Absent => return Some(Refusal::NoStateDir),
        }
        if self.frozen {
            return Some(Refusal::Frozen);
        }
        let too_soon = Slot::BOTH.into_iter().filter_map(|slot| {
            // In whole seconds, as it is journalled and spoken.
            let ago = Duration::from_secs(self.keys.slot(slot).regenerated.at(now).as_secs());
            let wait = rules.min_gap.checked_sub(ago).filter(|wait| !wait.is_zero())?;
            Some(Refusal::MinGap { slot, ago, wait })
        });
        if leaked {
            return None;
        }
        too_soon.max_by_key(|refusal| match refusal {
            Refusal::MinGap { wait, .. } => *wait,
            _ => Duration::ZERO,
        })
    }

    /// What stands around the open transaction.
    fn ground(&self, open: &Open, tick: Tick, rules: &Rules) -> Ground {
        let late = open.until.is_some_and(|until| tick.unix >= until);
        let rule = self.stands_against(open.origin == Origin::Leaked, tick.now, rules);
        Ground {
            frozen: self.frozen,
            refusal: rule.filter(|refusal| *refusal != Refusal::Frozen).or(late.then_some(Refusal::WindowOver)),
        }
    }

    fn begin(&mut self, ask: &Ask, (slot, next): (Slot, Option<Slot>), turn: &mut Turn<'_>) -> OperationId {
        let (origin, set_key, until) = match *ask {
            Ask::Regenerate { set_key, .. } => (Origin::Asked, set_key, None),
            Ask::Leaked => (Origin::Leaked, None, None),
            Ask::Scheduled { until, .. } => (Origin::Scheduled, None, until),
            Ask::Rollback => {
                let id = self.number(1);
                if self.transaction.is_none() {
                    self.keys.activate(slot, turn);
                } else if self.keys.withdraw_trial(turn) {
                    self.tell_progress(turn);
                }
                let now = turn.tick.unix;
                let (kind, origin) = (Kind::Rollback, Origin::Asked);
                let state = State::Done;
                self.record(Operation { id, kind, slot, origin, began: now, ended: Some(now), state });
                return id;
            }
        };
        let operation = self.number(if next.is_some() { 2 } else { 1 });
        let began = turn.tick.unix;
        let open = Open { operation, slot, origin, began, until, next, set_key, intent: None };
        self.transaction = Some(Transaction::new(open, &mut self.keys, turn.now()));
        self.tell_progress(turn);
        operation
    }

    fn number(&mut self, count: u64) -> OperationId {
        let id = self.next_operation;
        self.next_operation = OperationId(id.0 + count);
        id
    }

    fn record(&mut self, operation: Operation) {
        self.operations.push(operation);
        if self.operations.len() > OPERATIONS {
            self.operations.remove(0);
        }
    }

    /// Takes note of what happened.
    fn take(&mut self, event: &Event, turn: &mut Turn<'_>) {
        let read = match event {
            Event::Read { ticket, keys: Ok(keys) } => self.keys.awaited_read(*ticket, *keys),
            _ => None,
        };
        let resumed = read.and_then(|read| self.resumed(&read, turn));
        let refused = self.precheck_was_refused(event);
        self.keys.take(event, turn);
        match event {
            Event::Freeze => self.frozen = true,
            Event::Unfreeze => self.frozen = false,
            Event::Written { ticket, outcome } => self.written(*ticket, *outcome, turn),
            _ => {}
        }
        let Some(mut transaction) = self.transaction.take() else { return };
        let progress = match (read, refused) {
            (Some(read), _) => transaction.take_read(&read, resumed.as_ref(), &mut self.keys, turn),
            (None, Some(refusal)) => Progress::End(State::Refused { refusal }),
            (None, None) => transaction.take(event, &mut self.keys, turn),
        };
        self.go(transaction, progress, turn);
    }

    /// Where a transaction that a crash interrupted goes on.
    fn resumed(&self, read: &ReadKeys, turn: &Turn<'_>) -> Option<Next> {
        let transaction = self.transaction.as_ref()?;
        if transaction.work != Work::Resuming {
            return None;
        }
        self.journal(turn.tick, turn.rules).map(|journal| resume(&journal, &read.keys))
    }

    /// The other slot is not accepted, so the transaction cannot begin.
    fn precheck_was_refused(&self, event: &Event) -> Option<Refusal> {
        let Event::Probed { ticket, verdict: Verdict::Refused } = event else { return None };
        let transaction = self.transaction.as_ref()?;
        let other = transaction.open.slot.other();
        let probed = self.keys.awaited_probe(*ticket)?;
        let asked = matches!(transaction.work, Work::Prechecking { .. })
            && self.keys.slot(other).value.is_some_and(|value| probed == Target::Value(value));
        asked.then_some(Refusal::OtherNotAccepted { slot: other })
    }

    /// Draws conclusions until there are none left, and begins the calls that are due.
    fn conclude(&mut self, turn: &mut Turn<'_>) {
        loop {
            self.keys.conclude(turn);
            let Some(mut transaction) = self.transaction.take() else { break };
            let ground = self.ground(&transaction.open, turn.tick, turn.rules);
            let progress = transaction.work(ground, &mut self.keys, turn);
            if !self.go(transaction, progress, turn) {
                break;
            }
        }
        self.note_adoptions(turn);
        let demand = self.demand(turn.now(), turn.rules);
        self.keys.call(demand, turn);
    }

    fn demand(&self, now: Moment, rules: &Rules) -> Demand {
        self.transaction.as_ref().map_or_else(Demand::default, |transaction| transaction.demand(&self.keys, now, rules))
    }

    /// Puts a transaction back with its next work, or ends it. Whether anything changed.
    fn go(&mut self, mut transaction: Transaction, progress: Progress, turn: &mut Turn<'_>) -> bool {
        match progress {
            Progress::Stay => {
                self.transaction = Some(transaction);
                return false;
            }
            Progress::Go(work) => {
                transaction.work = work;
                if transaction.gives_back() {
                    self.keys.release();
                }
                self.transaction = Some(transaction);
                self.tell_progress(turn);
            }
            Progress::End(state) => self.end(&transaction, state, turn),
        }
        true
    }

    fn end(&mut self, transaction: &Transaction, state: State, turn: &mut Turn<'_>) {
        let now = turn.tick.unix;
        let open = &transaction.open;
        if self.keys.in_hand() == Some(open.slot) {
            self.keys.release();
        }
        let ended = Operation { ended: Some(now), ..transaction.operation(state) };
        turn.tell(Notice::Ended(ended.clone()));
        self.record(ended);
        turn.tell(Notice::Step(open.slot, Step::Idle));
        if state != State::Done {
            return;
        }
        self.last_success = Some(now);
        if self.owed == Some(open.slot) {
            self.owed = None;
        }
        let Some(next) = open.next else { return };
        let operation = follower(open.operation);
        let open = Open { operation, slot: next, began: now, next: None, intent: None, ..open.clone() };
        if open.origin == Origin::Scheduled && self.ground(&open, turn.tick, turn.rules).refusal.is_some() {
            // In the same window if `min_gap` allows, else in the next.
            self.owed = Some(next);
            return;
        }
        self.transaction = Some(Transaction::new(open, &mut self.keys, turn.now()));
        self.tell_progress(turn);
    }

    fn tell_progress(&self, turn: &mut Turn<'_>) {
        let Some(transaction) = &self.transaction else { return };
        let (step, parked) = transaction.progress(&self.keys, turn.now(), turn.rules);
        turn.tell(match parked {
            Some(reason) => Notice::Parked(transaction.open.slot, reason),
            None => Notice::Step(transaction.open.slot, step),
        });
    }

    /// An adoption is an operation of somebody else's.
    fn note_adoptions(&mut self, turn: &Turn<'_>) {
        let now = turn.tick.unix;
        let adopted = turn.actions.iter().filter_map(|action| match action {
            Action::Tell(Notice::Adopted(slot)) => Some(*slot),
            _ => None,
        });
        for slot in adopted.collect::<Vec<_>>() {
            let id = self.number(1);
            let (kind, origin, state) = (Kind::Adoption, Origin::Outside, State::Done);
            self.record(Operation { id, kind, slot, origin, began: now, ended: Some(now), state });
        }
    }

    /// See [`Renumber`].
    #[doc(hidden)]
    pub fn renumber(&mut self, by: &mut impl Renumber, rules: &Rules) {
        self.keys.renumber(by, rules);
        if let Some(transaction) = &mut self.transaction {
            transaction.renumber(by, rules);
        }
        if let Some(at) = &mut self.last_success {
            by.unix(at, Duration::ZERO);
        }
        by.operation(&mut self.next_operation);
        by.history(&mut self.operations);
        if let Some((ticket, generation)) = &mut self.writes.in_flight {
            by.ticket(ticket);
            by.generation(generation);
        }
        by.moment(&mut self.writes.not_before, Duration::ZERO);
    }
}

/// The operation that follows another one by itself.
fn follower(operation: OperationId) -> OperationId {
    OperationId(operation.0 + 1)
}

#[cfg(test)]
mod tests;
