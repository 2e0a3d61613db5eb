//! Probes: which value is to be shown accepted next, and what an answer means for it. One at a time.

use std::time::Duration;

use super::{Demand, Keys, Turn, adoption::Reading};
use crate::{
    clock::Moment,
    rotation::{
        digest::Digest,
        event::{Action, Notice, Ticket},
        journal::Standing,
        pace::Backoff,
        probe::{Target, Verdict},
        renumber::Renumber,
        rules::Rules,
        slot::Slot,
    },
};

/// The probes of one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Probes {
    in_flight: Option<(Ticket, Target)>,
    worth: Worth,
    /// None before this: the last one said nothing.
    not_before: Moment,
    /// None for a value that was refused before this, but for those of a value being proved, which have a pace of their own.
    retry_at: Moment,
    pace: Backoff,
    /// The slot that was refused last while none is active.
    refused: Option<Slot>,
}

/// Whether a probe shows anything for this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Worth {
    /// Not known.
    Unknown,
    /// A wrong key is refused.
    Refuses,
    /// A wrong key is accepted, so acceptance means nothing.
    Useless,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            in_flight: None,
            worth: Worth::Unknown,
            not_before: Moment::default(),
            retry_at: Moment::default(),
            pace: Backoff::default(),
            refused: None,
        }
    }
}

impl Probes {
    pub(super) fn renumber(&mut self, by: &mut impl Renumber, _: &Rules) {
        if let Some((ticket, _)) = &mut self.in_flight {
            by.ticket(ticket);
        }
        by.moment(&mut self.not_before, Duration::ZERO);
        by.moment(&mut self.retry_at, Duration::ZERO);
    }
}

impl Keys {
    /// Whether probes show anything for this service.
    #[must_use]
    pub const fn worth(&self) -> Worth {
        self.probes.worth
    }

    /// A transaction begins: what probes are worth is seen anew.
    pub(in crate::rotation) const fn forget_worth(&mut self) {
        self.probes.worth = Worth::Unknown;
    }

    /// What the probe carries that this ticket belongs to, if it is awaited.
    pub(in crate::rotation) fn awaited_probe(&self, ticket: Ticket) -> Option<Target> {
        self.probes.in_flight.filter(|(awaited, _)| *awaited == ticket).map(|(_, target)| target)
    }

    /// When the next probe is sent, and what it carries. None while one is under way.
    pub(super) fn probe_due(&self, demand: Demand, rules: &Rules) -> Option<(Moment, Target)> {
        let probes = &self.probes;
        if probes.in_flight.is_some() {
            return None;
        }
        let proving = self.proving.as_ref().and_then(|proving| {
            let value = self.in_memory(proving.slot)?;
            Some((proving.probe_due(rules)?, Target::Value(value)))
        });
        let patient = |target: Option<Target>| target.map(|target| (probes.retry_at, target));
        let due = [proving, patient(demand.probe), patient(self.adoption_wants()), patient(self.start_wants())];
        let due = due.into_iter().flatten().map(|(at, target)| (at.max(probes.not_before), target));
        // The order decides where several are due.
        due.min_by_key(|(at, _)| *at)
    }

    /// Sends the probe that is due.
    pub(super) fn probe(&mut self, demand: Demand, turn: &mut Turn<'_>) {
        let now = turn.now();
        let Some((_, target)) = self.probe_due(demand, turn.rules).filter(|(at, _)| *at <= now) else { return };
        let ticket = self.ticket();
        self.probes.in_flight = Some((ticket, target));
        turn.actions.push(Action::Probe { ticket, target });
    }

    pub(super) fn note_probed(&mut self, ticket: Ticket, verdict: Verdict, turn: &mut Turn<'_>) {
        let Some((_, target)) = self.probes.in_flight.filter(|(awaited, _)| *awaited == ticket) else { return };
        self.probes.in_flight = None;
        let now = turn.now();
        if let Verdict::Nothing(retry_after) = verdict {
            let pause = self.probes.pace.next(turn.rules.retry, turn.tick.dice);
            self.probes.not_before = now + pause.max(retry_after.unwrap_or_default());
            return;
        }
        match target {
            Target::WrongKey => {
                self.probes.pace.reset();
                self.probes.worth = if verdict == Verdict::Refused { Worth::Refuses } else { Worth::Useless };
                if self.probes.worth == Worth::Useless {
                    turn.tell(Notice::ProbeUseless);
                }
            }
            Target::Value(value) => {
                let was_proving = self.proving_was_probed(value, verdict, turn);
                if verdict == Verdict::Accepted {
                    self.probes.pace.reset();
                    self.note_accepted(value, turn);
                } else if !was_proving {
                    self.probes.retry_at = now + self.probes.pace.next(turn.rules.retry, turn.tick.dice);
                    self.note_probe_refused(value, turn);
                }
            }
        }
    }

    fn note_probe_refused(&mut self, value: Digest, turn: &mut Turn<'_>) {
        for slot in Slot::BOTH {
            let keys = &mut self.slots[slot];
            if keys.value == Some(value) && self.in_hand != Some(slot) {
                if self.active.is_none() {
                    self.probes.refused = Some(slot);
                }
                if !keys.suspect {
                    keys.suspect = true;
                    turn.tell(Notice::Suspect(slot));
                }
            }
        }
    }

    /// A value that reads agree on and that no front end was seen to accept yet.
    fn adoption_wants(&self) -> Option<Target> {
        let unseen = Slot::BOTH.into_iter().find_map(|slot| {
            let incoming = self.slots[slot].incoming.as_ref()?;
            (incoming.reading == Reading::Twice && !incoming.accepted).then_some(incoming.value)
        })?;
        match self.probes.worth {
            Worth::Unknown => Some(Target::WrongKey),
            Worth::Refuses => Some(Target::Value(unseen)),
            // Then only a request that a resend saves can show it.
            Worth::Useless => None,
        }
    }

    /// A value that was there when this service was first seen: which of them is accepted decides which is active.
    fn start_wants(&self) -> Option<Target> {
        let untried = |slot: &Slot| {
            let keys = &self.slots[*slot];
            keys.standing == Standing::Fresh && keys.incoming.is_none() && self.in_memory(*slot).is_some()
        };
        // While none is active the two take turns.
        let turns = match self.probes.refused {
            Some(slot) => [slot.other(), slot],
            None => Slot::BOTH,
        };
        turns.into_iter().find(untried).and_then(|slot| self.in_memory(slot)).map(Target::Value)
    }
}
