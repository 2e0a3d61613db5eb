//! What must hold before each step is left, and every way out of it.

use std::time::Duration;

use super::{Fate, Ground, Progress, SetKey, Transaction, Work, read_back};
use crate::{
    clock::Moment,
    rotation::{
        event::Action,
        journal::{Intent, Standing},
        keys::{Keys, Source, Turn, Worth},
        operation::{Parked, State},
        probe::Target,
        refusal::Refusal,
        rules::{Mutation, Rules},
        slot::{PerSlot, Slot},
    },
};

/// After so many calls that changed nothing a service is believed not to want to.
const CALLS: u8 = 3;

impl Transaction {
    /// Looks at what has become of the present work.
    pub(in crate::rotation) fn work(&mut self, ground: Ground, keys: &mut Keys, turn: &mut Turn<'_>) -> Progress {
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
        if self.set_key == SetKey::Lost {
            return Progress::End(State::Refused { refusal: Refusal::ValueLost });
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
    pub(super) fn precheck_wants(&self, keys: &Keys, now: Moment, rules: &Rules) -> Option<Target> {
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
    pub(super) fn intend(&mut self, keys: &Keys) -> Progress {
        // Also before another attempt: the call is made by what the disk says, and an earlier operation is done with.
        let digest = |slot: Slot| keys.slot(slot).value;
        if let (Some(primary), Some(secondary)) = (digest(Slot::Primary), digest(Slot::Secondary)) {
            self.open.intent = Some(Intent { before: PerSlot { primary, secondary }, address: None });
        }
        Progress::Go(Work::Writing { ticket: None })
    }

    /// The call is made, or may have been; the key has not changed yet.
    fn wait_for_the_key(&mut self, ground: Ground, keys: &mut Keys, turn: &Turn<'_>) -> Progress {
        let now = turn.now();
        // What somebody else made of the other slot was adopted: from here that is what must stay as it is.
        let other = keys.slot(self.open.slot.other());
        if let (Some(intent), Some(value), None) = (&mut self.open.intent, other.value, &other.incoming) {
            intent.before[self.open.slot.other()] = value;
        }
        let Work::ReadingBack(reading) = &mut self.work else { return Progress::Stay };
        if reading.changed.is_some() {
            return Progress::Stay;
        }
        // Once the new key was read twice, a read that shows the old one is late; but not for ever.
        let slot = self.open.slot;
        let before = self.open.intent.as_ref().map(|intent| intent.before[slot]);
        if let Some(before) = before.filter(|before| keys.slot(slot).value != Some(*before)) {
            if now.since(reading.since) < turn.rules.resubmit_after {
                return Progress::Stay;
            }
            keys.take_back(slot, before);
        }
        if reading.fate == Fate::Done && now.since(reading.since) >= turn.rules.read_timeout {
            // It said that it had taken effect; now that is not believed any more.
            reading.fate = Fate::Unknown { resubmit_at: reading.since + turn.rules.resubmit_after };
        }
        match reading.fate {
            Fate::Unknown { resubmit_at } if resubmit_at <= now && ground.frozen => Progress::End(State::Cancelled),
            Fate::Unknown { resubmit_at } if resubmit_at <= now && self.set_key == SetKey::Lost => {
                Progress::End(State::Refused { refusal: Refusal::ValueLost })
            }
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
    pub(super) fn park(&mut self, reason: Parked, at_least: Option<Duration>, turn: &Turn<'_>) -> Progress {
        self.open.intent = None;
        let pause = self.parks.next(turn.rules.park, turn.tick.dice).max(at_least.unwrap_or_default());
        Progress::Go(Work::Parked { reason, until: turn.now() + pause })
    }
}
