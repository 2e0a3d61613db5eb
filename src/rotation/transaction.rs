//! The regeneration of one slot: what it works at, and what must hold before it goes on.
//!
//! [`Service`](super::service::Service) drives it with events; nothing else does. The order of the steps, and every way out of
//! them, is in this file.

use std::time::Duration;

use super::{
    digest::Digest,
    event::{Action, CallOutcome, Event, PollOutcome, Ticket, WriteOutcome},
    journal::{Intent, Open, Standing},
    keys::{Demand, Keys, ReadKeys, Source, Stage, Turn, Worth},
    operation::{Kind, Operation, Parked, State, Step},
    pace::{Backoff, Pace},
    probe::Target,
    refusal::Refusal,
    renumber::Renumber,
    resume::Next,
    rules::{Mutation, Rules},
    slot::{PerSlot, Slot},
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
}

/// After so many calls that changed nothing a service is believed not to want to.
const CALLS: u8 = 3;

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
    /// What is known of the call.
    fate: Fate,
    pace: Backoff,
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
        Self { open, work: Work::Prechecking { since: now }, parks: Backoff::default(), calls: 0 }
    }

    /// One that a journal says is open.
    pub(super) fn resume(open: Open, keys: &mut Keys, now: Moment) -> Self {
        if open.intent.is_none() {
            return Self::new(open, keys, now);
        }
        keys.hold_in_hand(open.slot);
        Self { open, work: Work::Resuming, parks: Backoff::default(), calls: 1 }
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
    pub(super) fn demand(&self, keys: &Keys, turn_now: Moment, rules: &Rules) -> Demand {
        match &self.work {
            Work::Prechecking { .. } => Demand { probe: self.precheck_wants(keys, turn_now, rules), read: None },
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
                // Past: the key has been read twice before, and this never ends but by reads.
                (end > now).then_some(end)
            }
            Work::Parked { until, .. } => Some(*until),
            Work::Resuming | Work::Writing { .. } | Work::Checking { .. } | Work::Calling { .. } | Work::Proving => {
                None
            }
        }
    }

    /// Looks at what has become of the present work.
    pub(super) fn work(&mut self, ground: Ground, keys: &mut Keys, turn: &mut Turn<'_>) -> Progress {
        let now = turn.now();
        match &mut self.work {
            Work::Resuming | Work::Calling { .. } => Progress::Stay,
            Work::Prechecking { since } => {
                let unread = |slot: Slot| {
                    let keys = keys.slot(slot);
                    keys.source == Source::Journal && keys.incoming.is_none()
                };
                if Slot::BOTH.into_iter().any(unread) {
                    // Nothing is known yet: its time has not begun.
                    *since = now;
                }
                let since = *since;
                self.precheck(since, ground, keys, turn)
            }
            Work::Draining { since, generation } => {
                if generation.is_none()
                    && let Some(published) = keys.published(turn.rules)
                {
                    *generation = Some(published);
                    turn.actions.push(Action::AwaitDrained { generation: published });
                }
                let (since, published) = (*since, generation.is_some());
                if let Some(progress) = self.before_the_call(ground, keys, turn) {
                    return progress;
                }
                let late = now.since(since) >= turn.rules.drain_timeout;
                if published && turn.rules.breaks(Mutation::NoAcknowledgement)
                    || late && turn.rules.breaks(Mutation::DrainTimeoutContinues)
                {
                    return self.intend(keys);
                }
                if late { self.park(Parked::Drain, None, turn) } else { Progress::Stay }
            }
            Work::Writing { .. } => {
                if let Some(progress) = self.before_the_call(ground, keys, turn) {
                    return progress;
                }
                if turn.rules.breaks(Mutation::IntentAfterCall) {
                    return Progress::Go(Work::Checking { after: keys.last_ticket() });
                }
                Progress::Stay
            }
            Work::Checking { .. } => match self.before_the_call(ground, keys, turn) {
                Some(progress) => progress,
                None => ground.refusal.map_or(Progress::Stay, |refusal| Progress::End(State::Refused { refusal })),
            },
            Work::Polling { since, next, ticket, .. } => {
                if now.since(*since) >= turn.rules.read_timeout {
                    return Progress::Go(read_back(
                        Fate::Unknown { resubmit_at: now + turn.rules.resubmit_after },
                        now,
                    ));
                }
                if ticket.is_none()
                    && *next <= now
                    && let Some(address) = self.open.intent.as_ref().and_then(|intent| intent.address.clone())
                {
                    let asked = keys.ticket();
                    *ticket = Some(asked);
                    turn.actions.push(Action::Poll { ticket: asked, address });
                }
                Progress::Stay
            }
            Work::ReadingBack(_) => self.wait_for_the_key(ground, keys, turn),
            Work::Proving => {
                if keys.slot(self.open.slot.other()).incoming.is_some() {
                    keys.stop_proving();
                    return Progress::Go(read_back(Fate::Done, now));
                }
                if keys.in_hand() == Some(self.open.slot) { Progress::Stay } else { Progress::End(State::Done) }
            }
            Work::Parked { until, .. } if *until <= now => {
                keys.forget_worth();
                Progress::Go(Work::Prechecking { since: now })
            }
            Work::Parked { .. } if ground.frozen => Progress::End(State::Cancelled),
            Work::Parked { .. } => Progress::Stay,
        }
    }

    /// Whether a slot can be changed at all while the other one carries all requests.
    fn precheck(&mut self, since: Moment, ground: Ground, keys: &mut Keys, turn: &mut Turn<'_>) -> Progress {
        let now = turn.now();
        let other = self.open.slot.other();
        if ground.frozen {
            return Progress::End(State::Cancelled);
        }
        if let Some(refusal) = ground.refusal {
            return Progress::End(State::Refused { refusal });
        }
        if keys.worth() == Worth::Useless {
            return Progress::End(State::Refused { refusal: Refusal::ProbeUseless });
        }
        let ready = keys.can_carry(other, turn)
            && keys.slot(self.open.slot).incoming.is_none()
            && keys.slot(self.open.slot).source == Source::Read
            && self.precheck_wants(keys, now, turn.rules).is_none();
        if ready {
            keys.take_in_hand(self.open.slot, turn);
            return Progress::Go(Work::Draining { since: now, generation: None });
        }
        if now.since(since) >= turn.rules.probe_timeout {
            return Progress::End(State::Refused { refusal: Refusal::OtherNotAccepted { slot: other } });
        }
        Progress::Stay
    }

    /// What is to be probed before a slot is taken in hand.
    fn precheck_wants(&self, keys: &Keys, now: Moment, rules: &Rules) -> Option<Target> {
        let (target, other) = (keys.slot(self.open.slot), keys.slot(self.open.slot.other()));
        let adopting = target.incoming.is_some() || other.incoming.is_some();
        if adopting || other.standing != Standing::Settled || other.source != Source::Read {
            // What is being taken into use is probed for that.
            return None;
        }
        if keys.worth() == Worth::Unknown {
            return Some(Target::WrongKey);
        }
        let fresh = !other.suspect && other.accepted_within(rules.probe_fresh, now);
        other.value.filter(|_| !fresh).map(Target::Value)
    }

    /// What ends or interrupts a transaction of which nothing has been submitted, or the next attempt of one.
    fn before_the_call(&mut self, ground: Ground, keys: &mut Keys, turn: &mut Turn<'_>) -> Option<Progress> {
        if ground.frozen {
            return Some(Progress::End(State::Cancelled));
        }
        if keys.can_carry(self.open.slot.other(), turn) {
            return None;
        }
        Some(self.park(Parked::Drift, None, turn))
    }

    /// Everything is drained: the intent is to be written.
    fn intend(&mut self, keys: &Keys) -> Progress {
        // Also before another attempt: the call is made by what the disk says, and an earlier operation is done with.
        let digest = |slot: Slot| keys.slot(slot).value;
        if let (Some(primary), Some(secondary)) = (digest(Slot::Primary), digest(Slot::Secondary)) {
            self.open.intent = Some(Intent { before: PerSlot { primary, secondary }, address: None });
        }
        Progress::Go(Work::Writing { ticket: None })
    }

    /// The call is made, or may have been; the key has not changed yet.
    fn wait_for_the_key(&mut self, ground: Ground, keys: &Keys, turn: &Turn<'_>) -> Progress {
        let now = turn.now();
        // What somebody else made of the other slot was adopted: from here that is what must stay as it is.
        let other = keys.slot(self.open.slot.other());
        if let (Some(intent), Some(value), None) = (&mut self.open.intent, other.value, &other.incoming) {
            intent.before[self.open.slot.other()] = value;
        }
        // Once the new key was read twice there is no going back: a read that shows the old one is late.
        let renewed = self
            .open
            .intent
            .as_ref()
            .is_some_and(|intent| keys.slot(self.open.slot).value != Some(intent.before[self.open.slot]));
        let Work::ReadingBack(reading) = &mut self.work else { return Progress::Stay };
        if renewed || reading.changed.is_some() {
            return Progress::Stay;
        }
        match reading.fate {
            Fate::Done if now.since(reading.since) >= turn.rules.read_timeout => {
                // It said that it had taken effect; now that is not believed any more.
                reading.fate = Fate::Unknown { resubmit_at: reading.since + turn.rules.resubmit_after };
                Progress::Stay
            }
            Fate::Unknown { resubmit_at } if resubmit_at <= now && ground.frozen => Progress::End(State::Cancelled),
            Fate::Unknown { resubmit_at } if resubmit_at <= now && self.calls >= CALLS => {
                Progress::End(State::Unchanged)
            }
            Fate::Unknown { resubmit_at } if resubmit_at <= now && !turn.rules.breaks(Mutation::NeverResubmit) => {
                self.intend(keys)
            }
            Fate::Done | Fate::Unknown { .. } => Progress::Stay,
        }
    }

    /// It begins anew later. Nothing was submitted that can still take effect.
    fn park(&mut self, reason: Parked, at_least: Option<Duration>, turn: &Turn<'_>) -> Progress {
        self.open.intent = None;
        let pause = self.parks.next(turn.rules.park, turn.tick.dice).max(at_least.unwrap_or_default());
        Progress::Go(Work::Parked { reason, until: turn.now() + pause })
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

    /// Takes note of an answer that it waits for.
    pub(super) fn take(&mut self, event: &Event, keys: &mut Keys, turn: &mut Turn<'_>) -> Progress {
        match (&mut self.work, event) {
            (Work::Draining { generation: Some(awaited), .. }, Event::Drained { generation })
                if generation >= awaited =>
            {
                self.intend(keys)
            }
            (Work::Writing { ticket: Some(awaited) }, Event::Written { ticket, outcome }) if ticket == awaited => {
                match outcome {
                    WriteOutcome::Durable => Progress::Go(Work::Checking { after: keys.last_ticket() }),
                    WriteOutcome::Failed => self.park(Parked::Journal, None, turn),
                }
            }
            (Work::Calling { ticket: awaited }, Event::Regenerated { ticket, outcome }) if ticket == awaited => {
                self.called(outcome, turn)
            }
            (Work::Polling { next, ticket: asked, pace, .. }, Event::Polled { ticket, outcome })
                if *asked == Some(*ticket) =>
            {
                *asked = None;
                let now = turn.now();
                match outcome {
                    PollOutcome::Running { retry_after } => {
                        pace.reset();
                        *next = now + retry_after.unwrap_or(turn.rules.read_gap);
                        Progress::Stay
                    }
                    PollOutcome::Unknown { retry_after } => {
                        let pause = pace.next(turn.rules.retry, turn.tick.dice);
                        *next = now + pause.max(retry_after.unwrap_or_default());
                        Progress::Stay
                    }
                    PollOutcome::Succeeded => Progress::Go(read_back(Fate::Done, now)),
                    PollOutcome::Failed => {
                        let resubmit_at = now + turn.rules.resubmit_after;
                        Progress::Go(read_back(Fate::Unknown { resubmit_at }, now))
                    }
                }
            }
            _ => Progress::Stay,
        }
    }

    /// Takes note of a read of the keys. `resumed` says what a transaction does that a crash interrupted.
    pub(super) fn take_read(
        &mut self,
        read: &ReadKeys,
        resumed: Option<&Next>,
        keys: &mut Keys,
        turn: &mut Turn<'_>,
    ) -> Progress {
        let now = turn.now();
        let Some(before) = self.open.intent.as_ref().map(|intent| intent.before) else { return Progress::Stay };
        let slot = self.open.slot;
        let value = read.keys[slot];
        match &mut self.work {
            Work::Resuming => {
                let unknown = Fate::Unknown { resubmit_at: now + turn.rules.resubmit_after };
                Progress::Go(match resumed {
                    Some(Next::ReadBack) => read_back(Fate::Done, now),
                    Some(Next::Poll(_)) => {
                        Work::Polling { since: now, next: now, ticket: None, pace: Backoff::default() }
                    }
                    Some(Next::Await | Next::Precheck | Next::Idle) | None => read_back(unknown, now),
                })
            }
            Work::Checking { after } if read.ticket > *after => {
                if read.keys == before {
                    return self.regenerate(keys, turn);
                }
                if self.calls > 0 && value != before[slot] {
                    // An earlier call had its time, and took it.
                    return Progress::Go(read_back(Fate::Done, now));
                }
                // Somebody else changed it: it is adopted as any other, and nothing of ours was done to it.
                keys.release();
                keys.see_released(slot, read, turn);
                self.park(Parked::Drift, None, turn)
            }
            Work::ReadingBack(reading) => {
                if value == before[slot] || keys.slot(slot).retired.contains(&value) {
                    reading.changed = None;
                    reading.read_at = now + reading.pace.next(Self::read_pace(turn.rules), turn.tick.dice);
                    return Progress::Stay;
                }
                // It took effect, whatever was known of the call.
                reading.fate = Fate::Done;
                let Some((first, seen)) = reading.changed.filter(|(first, _)| *first == value) else {
                    reading.changed = Some((value, now));
                    reading.read_at = now + turn.rules.read_gap;
                    return Progress::Stay;
                };
                let other = keys.slot(slot.other());
                let steady = other.incoming.is_none() && other.value == Some(read.keys[slot.other()]);
                if read.began < seen + turn.rules.read_gap || !steady {
                    reading.read_at = now + turn.rules.read_gap;
                    return Progress::Stay;
                }
                self.changed(first, keys, turn)
            }
            Work::Proving => {
                let keys_slot = keys.slot(slot);
                let known = keys_slot.value == Some(value) || keys_slot.retired.contains(&value);
                if known || keys.in_hand() != Some(slot) {
                    return Progress::Stay;
                }
                keys.stop_proving();
                Progress::Go(read_back(Fate::Done, now))
            }
            Work::Prechecking { .. }
            | Work::Draining { .. }
            | Work::Writing { .. }
            | Work::Checking { .. }
            | Work::Calling { .. }
            | Work::Polling { .. }
            | Work::Parked { .. } => Progress::Stay,
        }
    }

    /// Between reads that show an unchanged key.
    fn read_pace(rules: &Rules) -> Pace {
        Pace { first: rules.read_gap, longest: rules.read_gap.max(rules.retry.longest) }
    }

    /// Everything holds: the one place where a key is regenerated.
    fn regenerate(&mut self, keys: &mut Keys, turn: &mut Turn<'_>) -> Progress {
        self.calls = self.calls.saturating_add(1);
        let ticket = keys.ticket();
        turn.actions.push(Action::Regenerate { ticket, slot: self.open.slot, set_key: self.open.set_key });
        Progress::Go(Work::Calling { ticket })
    }

    /// The new key was read twice.
    fn changed(&mut self, value: Digest, keys: &mut Keys, turn: &mut Turn<'_>) -> Progress {
        let slot = self.open.slot;
        keys.renew(slot, value, turn);
        keys.prove_regenerated(slot, turn);
        Progress::Go(Work::Proving)
    }

    /// What is known of the call decides what comes next.
    fn called(&mut self, outcome: &CallOutcome, turn: &mut Turn<'_>) -> Progress {
        let now = turn.now();
        let unknown = Fate::Unknown { resubmit_at: now + turn.rules.resubmit_after };
        match outcome {
            CallOutcome::Done => Progress::Go(read_back(Fate::Done, now)),
            CallOutcome::Begun { address, poll_after } => {
                if let Some(intent) = &mut self.open.intent {
                    intent.address = Some(address.clone());
                }
                let next = now + poll_after.unwrap_or(turn.rules.read_gap);
                Progress::Go(Work::Polling { since: now, next, ticket: None, pace: Backoff::default() })
            }
            CallOutcome::Denied => Progress::End(State::Refused { refusal: Refusal::RoleMissing }),
            CallOutcome::Refused { status } => Progress::End(State::Failed { status: *status }),
            CallOutcome::Throttled { retry_after } => self.park(Parked::Throttled, *retry_after, turn),
            CallOutcome::Unknown if turn.rules.breaks(Mutation::ResubmitAtOnce) => {
                Progress::Go(read_back(Fate::Unknown { resubmit_at: now }, now))
            }
            CallOutcome::Conflict | CallOutcome::Unknown => Progress::Go(read_back(unknown, now)),
        }
    }
}

impl Transaction {
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
    Work::ReadingBack(ReadBack { since: now, read_at: now, changed: None, fate, pace: Backoff::default() })
}
