//! What follows from what was asked of the outside: reads, the write of the intent, the call and its operation.

use super::{Fate, Progress, ReadBack, Transaction, Work, read_back};
use crate::rotation::{
    digest::Digest,
    event::{Action, CallOutcome, Event, PollOutcome, WriteOutcome},
    keys::{Keys, ReadKeys, Turn},
    operation::{Parked, State},
    pace::{Backoff, Pace},
    refusal::Refusal,
    resume::Next,
    rules::{Mutation, Rules},
};

impl Transaction {
    /// Takes note of an answer that it waits for.
    pub(in crate::rotation) fn take(&mut self, event: &Event, keys: &mut Keys, turn: &mut Turn<'_>) -> Progress {
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
    pub(in crate::rotation) fn take_read(
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
                if resumed != Some(&Next::ReadBack) {
                    keys.take_back(slot, before[slot]);
                }
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
                    // An earlier call had its time, and took it; what is read after all that time is not late, if it is read again.
                    let reading = ReadBack { not_late: Some(value), ..ReadBack::begin(Fate::Done, now) };
                    return Progress::Go(Work::ReadingBack(reading));
                }
                // Somebody else changed it: it is adopted as any other, and nothing of ours was done to it.
                keys.release();
                keys.see_released(slot, read, turn);
                self.park(Parked::Drift, None, turn)
            }
            Work::ReadingBack(reading) => {
                let late = keys.slot(slot).was(value) && reading.not_late != Some(value);
                if value == before[slot] || late {
                    if reading.changed.take().is_some() {
                        // From here it is unchanged, and not before.
                        reading.since = now;
                    }
                    reading.read_at = now + reading.pace.next(read_pace(turn.rules), turn.tick.dice);
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
            Work::Proving if value == before[slot] && keys.is_resting(slot) => {
                // No front end takes it, and the key is what it was: what was taken for the new one was late.
                keys.stop_proving();
                keys.take_back(slot, value);
                Progress::Go(read_back(Fate::Unknown { resubmit_at: now + turn.rules.resubmit_after }, now))
            }
            Work::Proving => {
                let present = keys.slot(slot);
                let late = present.was(value) && !keys.is_resting(slot);
                if present.value == Some(value) || late || keys.in_hand() != Some(slot) {
                    return Progress::Stay;
                }
                // Changed once more; or no front end takes it, and what was taken for the new key was late itself.
                keys.stop_proving();
                keys.believe(slot, value);
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
        keys.believe(slot, value);
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

/// Between reads that show an unchanged key.
fn read_pace(rules: &Rules) -> Pace {
    Pace { first: rules.read_gap, longest: rules.read_gap.max(rules.retry.longest) }
}
