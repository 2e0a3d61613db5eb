//! Taking a new value into use: probed until every front end must have seen it, then on trial, then settled.
//!
//! The same for a key that a transaction regenerated and for one that somebody else changed.

use std::time::Duration;

use super::{Keys, Turn};
use crate::{
    clock::Moment,
    rotation::{
        digest::Digest,
        journal::Standing,
        pace::Backoff,
        probe::{Streak, Verdict, interval},
        renumber::Renumber,
        rules::{Mutation, Rules},
        slot::Slot,
    },
};

/// Most times that the number of probes is doubled after rejections.
const DOUBLINGS: u8 = 3;
/// After so many rejections on trial proving rests.
const REJECTIONS: u8 = 3;

/// A value that is being taken into use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proving {
    /// Whose.
    pub slot: Slot,
    /// What for.
    pub goal: Goal,
    /// How far it is.
    pub stage: Stage,
    /// Rejections on trial since it last rested.
    rejections: u8,
    doublings: u8,
    rests: Backoff,
}

/// What a value is proved for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goal {
    /// To become active.
    Active,
    /// To be fallen back on.
    Spare,
}

/// How far a value is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Probes show who accepts it.
    Probing {
        /// Acceptances so far.
        streak: Streak,
        /// When it began.
        since: Moment,
        /// When the next one is sent.
        next: Moment,
    },
    /// Requests that are held use it.
    Trial {
        /// When it began.
        since: Moment,
        /// Whether it was accepted since.
        accepted: bool,
        /// When a probe is sent where no request showed that.
        next: Moment,
    },
    /// Front ends keep refusing it; it is tried again then.
    Resting {
        /// When.
        until: Moment,
    },
}

impl Proving {
    fn new(slot: Slot, goal: Goal, now: Moment) -> Self {
        Self { slot, goal, stage: Stage::probing(now), rejections: 0, doublings: 0, rests: Backoff::default() }
    }

    /// Acceptances in a row that are asked for.
    #[must_use]
    pub fn successes(&self, rules: &Rules) -> u32 {
        if rules.breaks(Mutation::ProbeOnce) { 1 } else { rules.probe_successes.saturating_mul(1 << self.doublings) }
    }

    fn spread(rules: &Rules) -> Duration {
        if rules.breaks(Mutation::ProbeOnce) { Duration::ZERO } else { rules.probe_spread }
    }

    pub(super) fn probe_due(&self, rules: &Rules) -> Option<Moment> {
        match self.stage {
            Stage::Probing { next, .. } => Some(next),
            Stage::Trial { since, accepted: false, next } => Some(next.max(since + rules.settle)),
            Stage::Trial { accepted: true, .. } | Stage::Resting { .. } => None,
        }
    }

    pub(super) fn next_wake(&self, rules: &Rules) -> Option<Moment> {
        match self.stage {
            Stage::Probing { since, .. } => Some(since + rules.probe_timeout),
            Stage::Trial { since, accepted: true, .. } => Some(since + rules.settle),
            Stage::Trial { accepted: false, .. } => None,
            Stage::Resting { until } => Some(until),
        }
    }

    fn rest(&mut self, turn: &Turn<'_>) {
        self.rejections = 0;
        // `Keys` reads the keys then: perhaps it is no longer this value that front ends should know.
        self.stage = Stage::Resting { until: turn.now() + self.rests.next(turn.rules.park, turn.tick.dice) };
    }

    /// Refused on trial: back to the settled slot, and more probes than before.
    fn reject(&mut self, turn: &Turn<'_>) {
        self.rejections += 1;
        self.doublings = (self.doublings + 1).min(DOUBLINGS);
        if self.rejections >= REJECTIONS {
            self.rest(turn);
        } else {
            self.stage = Stage::probing(turn.now());
        }
    }

    fn is_on_trial(&self) -> bool {
        matches!(self.stage, Stage::Trial { .. })
    }

    pub(super) fn renumber(&mut self, by: &mut impl Renumber, rules: &Rules) {
        match &mut self.stage {
            Stage::Probing { streak, since, next } => {
                if let Some((_, first)) = &mut streak.run {
                    by.moment(first, rules.probe_spread);
                }
                by.moment(since, rules.probe_timeout);
                by.moment(next, Duration::ZERO);
            }
            Stage::Trial { since, next, .. } => {
                by.moment(since, rules.settle);
                by.moment(next, Duration::ZERO);
            }
            Stage::Resting { until } => by.moment(until, Duration::ZERO),
        }
    }
}

impl Stage {
    fn probing(now: Moment) -> Self {
        Self::Probing { streak: Streak::default(), since: now, next: now }
    }
}

impl Keys {
    /// A transaction has regenerated the slot in hand and read its new value.
    pub(in crate::rotation) fn prove_regenerated(&mut self, slot: Slot, turn: &mut Turn<'_>) {
        self.proving = Some(Proving::new(slot, Goal::Active, turn.now()));
        if turn.rules.breaks(Mutation::PublishBeforeProbe) {
            self.settled(slot, true, turn);
        }
    }

    /// Whether the value of a slot is being proved, and front ends keep refusing it.
    pub(in crate::rotation) fn is_resting(&self, slot: Slot) -> bool {
        self.proving.as_ref().is_some_and(|p| p.slot == slot && matches!(p.stage, Stage::Resting { .. }))
    }

    /// Nothing is being proved any more.
    pub(in crate::rotation) fn stop_proving(&mut self) {
        self.proving = None;
    }

    /// Takes the new value away from requests: one of them was refused, or a person wants it so. Whether it was on trial.
    pub(in crate::rotation) fn withdraw_trial(&mut self, turn: &Turn<'_>) -> bool {
        let Some(proving) = self.proving.as_mut().filter(|proving| proving.is_on_trial()) else { return false };
        proving.reject(turn);
        if matches!(proving.stage, Stage::Resting { .. }) {
            self.reads.look_at(turn.now());
        }
        true
    }

    /// Begins to prove what somebody else changed, while no transaction has a slot in hand.
    pub(super) fn start_proving(&mut self, turn: &mut Turn<'_>) {
        if self.proving.is_some() || self.in_hand.is_some() || self.active.is_none() {
            return;
        }
        for slot in Slot::BOTH {
            let keys = &self.slots[slot];
            let goal = match keys.standing {
                Standing::Newest => Goal::Active,
                Standing::Spare => Goal::Spare,
                Standing::Fresh | Standing::Settled => continue,
            };
            if keys.incoming.is_none() && self.in_memory(slot).is_some() {
                self.proving = Some(Proving::new(slot, goal, turn.now()));
                return;
            }
        }
    }

    /// Takes the value that is being proved one stage further, if it is time.
    pub(super) fn prove(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now();
        let active = self.active;
        let Some(proving) = &mut self.proving else { return };
        match &proving.stage {
            Stage::Probing { streak, since, .. } => {
                let (successes, spread) = (proving.successes(turn.rules), Proving::spread(turn.rules));
                if streak.suffices(successes, spread, now) {
                    if proving.goal == Goal::Active && active != Some(proving.slot) {
                        proving.stage = Stage::Trial { since: now, accepted: false, next: now };
                    } else {
                        let slot = proving.slot;
                        self.settled(slot, false, turn);
                    }
                } else if now >= *since + turn.rules.probe_timeout {
                    proving.rest(turn);
                    self.reads.look_at(now);
                }
            }
            Stage::Trial { since, accepted: true, .. } if now >= *since + turn.rules.settle => {
                let slot = proving.slot;
                self.settled(slot, true, turn);
            }
            Stage::Trial { .. } => {}
            Stage::Resting { until } if now >= *until => proving.stage = Stage::probing(now),
            Stage::Resting { .. } => {}
        }
    }

    /// A probe of ours was answered. Whether it was one of the value being proved.
    pub(super) fn proving_was_probed(&mut self, value: Digest, verdict: Verdict, turn: &Turn<'_>) -> bool {
        let Some(proving) = self.proving_of(value) else { return false };
        let next_probe = turn.now() + interval(turn.rules.probe_successes, turn.rules.probe_spread);
        match (&mut proving.stage, verdict) {
            (Stage::Probing { streak, next, .. }, Verdict::Accepted) => {
                streak.accept(turn.now());
                *next = next_probe;
            }
            (Stage::Probing { streak, next, .. }, Verdict::Refused) => {
                streak.reset();
                *next = next_probe;
            }
            (Stage::Trial { .. }, Verdict::Refused) => drop(self.withdraw_trial(turn)),
            // An acceptance counts on trial whoever brought it.
            (Stage::Trial { .. }, Verdict::Accepted) | (Stage::Resting { .. }, _) | (_, Verdict::Nothing(_)) => {}
        }
        true
    }

    /// A request with this value was not refused.
    pub(super) fn proving_saw_acceptance(&mut self, value: Digest) {
        if let Some(Stage::Trial { accepted, .. }) = self.proving_of(value).map(|proving| &mut proving.stage) {
            *accepted = true;
        }
    }

    /// A request with this value was refused. Whether it was on trial.
    pub(super) fn proving_was_rejected(&mut self, value: Digest, turn: &Turn<'_>) -> bool {
        self.proving_of(value).is_some() && self.withdraw_trial(turn)
    }

    fn proving_of(&mut self, value: Digest) -> Option<&mut Proving> {
        let slot = self.proving.as_ref()?.slot;
        let proved = self.in_memory(slot)?;
        self.proving.as_mut().filter(|_| proved == value)
    }
}
