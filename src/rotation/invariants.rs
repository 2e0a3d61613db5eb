//! The ten invariants, by name, and those of them that one step of the machine can be held against.
//!
//! The driver counts what [`audit`] finds as `invariant_violations_total`; it finds nothing, or the machine is wrong. The model
//! holds all ten against every state it can come to.

use super::{
    event::Action, journal::Standing, operation::Origin, rules::Rules, service::Service, slot::Slot, transaction::Work,
};
use crate::clock::Tick;

/// What always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// 1. No request fails because of its credential while its front end accepts a value that is at hand.
    NoRequestFails,
    /// 2. A slot is never regenerated while any request could still be sent with its value.
    NoneHasTheValue,
    /// 3. At most one regeneration is outstanding per service.
    OneOutstanding,
    /// 4. The intent is durable before the call.
    IntentFirst,
    /// 5. Generations only grow; a value and its metadata change together.
    GenerationsGrow,
    /// 6. No value becomes active that no front end accepted after it was first read.
    AcceptedFirst,
    /// 7. Two slots are never regenerated closer than `min_gap`, but for leaked keys.
    MinGap,
    /// 8. A request is sent at most three times for its credential, only while it is held and nothing went to the caller.
    ThreeSends,
    /// 9. Adoption never regenerates; a retired value is never adopted.
    NothingRetired,
    /// 10. From any crash point the machine comes back to Idle once all is well.
    BackToIdle,
}

impl Invariant {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::NoRequestFails,
        Self::NoneHasTheValue,
        Self::OneOutstanding,
        Self::IntentFirst,
        Self::GenerationsGrow,
        Self::AcceptedFirst,
        Self::MinGap,
        Self::ThreeSends,
        Self::NothingRetired,
        Self::BackToIdle,
    ];

    /// As the label of `invariant_violations_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoRequestFails => "1_no_request_fails",
            Self::NoneHasTheValue => "2_none_has_the_value",
            Self::OneOutstanding => "3_one_outstanding",
            Self::IntentFirst => "4_intent_first",
            Self::GenerationsGrow => "5_generations_grow",
            Self::AcceptedFirst => "6_accepted_first",
            Self::MinGap => "7_min_gap",
            Self::ThreeSends => "8_three_sends",
            Self::NothingRetired => "9_nothing_retired",
            Self::BackToIdle => "10_back_to_idle",
        }
    }
}

/// Which invariants a step broke. Those that speak of requests, or of what may yet come, are not among them.
#[must_use]
pub fn audit(before: &Service, after: &Service, actions: &[Action], tick: Tick, rules: &Rules) -> Vec<Invariant> {
    let mut broken = Vec::new();
    let mut hold = |invariant, holds: bool| {
        if !holds {
            broken.push(invariant);
        }
    };
    let mut generation = before.keys().generation();
    for action in actions {
        match action {
            Action::Publish(offer) => {
                hold(Invariant::GenerationsGrow, offer.generation > generation);
                generation = offer.generation;
                for attached in [offer.held, offer.others] {
                    // What a journal knows was accepted then; what is in hand is new.
                    let known = |slot: Slot| match after.keys().slot(slot).standing {
                        Standing::Settled => true,
                        Standing::Newest | Standing::Spare => after.keys().in_hand() != Some(slot),
                        Standing::Fresh => false,
                    };
                    let accepted = Slot::BOTH.into_iter().any(|slot| {
                        let keys = after.keys().slot(slot);
                        keys.value == Some(attached) && (keys.accepted.is_some() || known(slot))
                    });
                    hold(Invariant::AcceptedFirst, accepted);
                }
            }
            Action::Regenerate { slot, .. } => {
                let outstanding = before.transaction().is_some_and(|open| matches!(open.work, Work::Calling { .. }));
                hold(Invariant::OneOutstanding, !outstanding);
                let value = after.keys().slot(*slot).value;
                let offered = after.keys().offer().zip(value).is_some_and(|(offer, value)| offer.names(value));
                // Two keys may be alike; then the other one stays valid.
                let alike = value == after.keys().slot(slot.other()).value;
                hold(Invariant::NoneHasTheValue, after.keys().in_hand() == Some(*slot) && (alike || !offered));
                let open = after.transaction().map(|transaction| &transaction.open);
                hold(Invariant::IntentFirst, open.is_some_and(|open| open.slot == *slot && open.intent.is_some()));
                let leaked = open.is_some_and(|open| open.origin == Origin::Leaked);
                let ago = after.keys().slot(slot.other()).regenerated.at(tick.now);
                hold(Invariant::MinGap, leaked || ago >= rules.min_gap);
            }
            Action::ReadKeys { .. }
            | Action::Probe { .. }
            | Action::AwaitDrained { .. }
            | Action::Write { .. }
            | Action::Poll { .. }
            | Action::Tell(_) => {}
        }
    }
    for slot in Slot::BOTH {
        let keys = after.keys().slot(slot);
        let retired = |value| keys.retired.contains(&value);
        hold(Invariant::NothingRetired, !keys.incoming.is_some_and(|incoming| retired(incoming.value)));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_in_order() {
        let numbers: Vec<u32> =
            Invariant::ALL.iter().map(|i| i.label().split('_').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    }
}
