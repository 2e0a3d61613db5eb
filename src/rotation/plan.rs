//! A dry run: what would be done to a service's keys, why, and how long it would take. As data, and as text for a person.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    operation::{Ask, Step},
    refusal::{Refusal, seconds, spoken},
    rules::Rules,
    service::Service,
    slot::Slot,
};
use crate::clock::Tick;

/// What would be done, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Step by step.
    pub steps: Vec<Planned>,
    /// Shortest time from begin to end, where every other side answers at once.
    #[serde(rename = "at_least_seconds", with = "seconds")]
    pub at_least: Duration,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Of the regeneration of this slot.
    pub slot: Slot,
    /// Which.
    pub step: Step,
    /// What is done.
    pub what: String,
    /// Shortest time that it takes.
    #[serde(rename = "at_least_seconds", with = "seconds")]
    pub at_least: Duration,
}

impl Service {
    /// What [`Service::ask`] would begin. Touches nothing.
    ///
    /// # Errors
    /// Where a rule of ours stands against it.
    pub fn plan(&self, ask: &Ask, tick: Tick, rules: &Rules) -> Result<Plan, Refusal> {
        let (slot, next) = self.permits(ask, tick, rules)?;
        let mut steps = Vec::new();
        if *ask == Ask::Rollback {
            let what = format!("requests get the {} key, which every front end accepts", slot.label());
            steps.push(Planned { slot, step: Step::Settled, what, at_least: Duration::ZERO });
        } else {
            self.regeneration(slot, ask, tick, rules, &mut steps);
        }
        if let Some(next) = next {
            let (when, at_least) = match ask {
                Ask::Leaked => ("right after the first", Duration::ZERO),
                _ => ("when `min_gap` is over, in the same window or else in the next", rules.min_gap),
            };
            let what = format!("the {} key has its turn {when}, by the same steps", next.label());
            steps.push(Planned { slot: next, step: Step::Prechecked, what, at_least });
        }
        let at_least = steps.iter().map(|step| step.at_least).sum();
        Ok(Plan { steps, at_least })
    }

    fn regeneration(&self, slot: Slot, ask: &Ask, tick: Tick, rules: &Rules, steps: &mut Vec<Planned>) {
        let other = slot.other();
        let mut step = |step, at_least, what| steps.push(Planned { slot, step, what, at_least });
        let none = Duration::ZERO;
        let (this, that) = (slot.label(), other.label());

        let keys = self.keys().slot(other);
        let known = if keys.accepted_within(rules.probe_fresh, tick.now) && !keys.suspect {
            format!("the {that} key was seen accepted within {}", spoken(rules.probe_fresh))
        } else {
            format!("the {that} key is probed, since it was not seen accepted within {}", spoken(rules.probe_fresh))
        };
        step(Step::Prechecked, none, format!("{known}; a probe with a wrong key must be refused"));
        let drained = if self.keys().active() == Some(slot) {
            format!("requests get the {that} key instead of the {this} key")
        } else {
            format!("requests keep the {that} key, and no resend tries the {this} key")
        };
        let patience = spoken(rules.drain_timeout);
        step(Step::Drained, none, format!("{drained}; those that have it are awaited, up to {patience}"));
        step(Step::Intent, none, "what is about to be done is written to the journal".to_owned());
        let value = match ask {
            Ask::Regenerate { set_key: Some(value), .. } => {
                format!("with the value given (fingerprint {})", value.fingerprint())
            }
            _ => "to a value that the service makes".to_owned(),
        };
        let call = format!("both keys are read once more; then the {this} key is regenerated {value}");
        step(Step::Submitted, none, call);
        let (gap, patience) = (spoken(rules.read_gap), spoken(rules.read_timeout));
        let back =
            format!("the new key is read twice, {gap} apart, up to {patience}; the {that} key must stay as it is");
        step(Step::ReadBack, rules.read_gap, back);
        let (count, spread) = (rules.probe_successes, spoken(rules.probe_spread));
        let probed =
            format!("the new key is accepted {count} times in a row on fresh connections, over {spread} or more");
        step(Step::Probed, rules.probe_spread, probed);
        let trial =
            format!("requests that can be sent again use it for {}, all others the {that} key", spoken(rules.settle));
        step(Step::Trial, rules.settle, trial);
        step(Step::Settled, none, format!("all requests get the {this} key; the {that} key stays valid beside it"));
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "{number:>2}. {:<10} {}", step.step.label(), step.what)?;
        }
        write!(f, "At least {} in all. Nothing was touched.", spoken(self.at_least))
    }
}
