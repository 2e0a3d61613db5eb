//! The numbers that the machine lives by.
//!
//! Made by the control plane from an endpoint's configuration; every pure function here takes them as an argument.

use std::time::Duration;

use super::pace::Pace;

/// Times and counts of one service. The defaults are those of the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `look`: between two periodic reads of the keys. Default 5 min.
    pub look: Duration,
    /// `listkeys_interval`: one read each that callers' requests alone may cause, after the first three. Default 30 s.
    pub listkeys_interval: Duration,
    /// `adopt_gap`: between the two reads that must agree on a key which somebody else changed. Default 2 s.
    pub adopt_gap: Duration,
    /// `settle`: how long a new value is on trial, and how long the one before stays at hand. Default 60 s.
    pub settle: Duration,
    /// `min_gap`: between the regeneration of one slot and that of the other. Default 1 h.
    pub min_gap: Duration,
    /// `drain_timeout`: how long requests with the old value may take to their response head. Default: the endpoint's longest
    /// route time-out and 10 s more, here that of the default time-out.
    pub drain_timeout: Duration,
    /// `read_gap`: between the two reads that must agree on a regenerated key. Default 5 s.
    pub read_gap: Duration,
    /// `read_timeout`: after which an unchanged key is reported as such. Default 10 min.
    pub read_timeout: Duration,
    /// `resubmit_after`: how long a key must stay unchanged after a call whose fate is unknown. Default 15 min.
    pub resubmit_after: Duration,
    /// `probe.successes`: acceptances in a row that show that every front end knows a value. Default 12.
    pub probe_successes: u32,
    /// `probe.spread`: least time from the first of them to the last. Default 20 s.
    pub probe_spread: Duration,
    /// `probe.fresh`: how long an acceptance of the other slot counts before a regeneration. Default 60 s.
    pub probe_fresh: Duration,
    /// `probe.timeout`: how long probing goes on before it rests. Default 10 min.
    pub probe_timeout: Duration,
    /// Between attempts of calls that fail, and between forced reads of a locked service. 1 s to 60 s.
    pub retry: Pace,
    /// Between attempts of a parked transaction. 30 s to 15 min.
    pub park: Pace,
    /// Breaks one rule, to see that the model notices. Does nothing in a build without debug assertions.
    #[doc(hidden)]
    pub mutation: Mutation,
}

impl Default for Rules {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            look: seconds(300),
            listkeys_interval: seconds(30),
            adopt_gap: seconds(2),
            settle: seconds(60),
            min_gap: seconds(3_600),
            drain_timeout: seconds(310),
            read_gap: seconds(5),
            read_timeout: seconds(600),
            resubmit_after: seconds(900),
            probe_successes: 12,
            probe_spread: seconds(20),
            probe_fresh: seconds(60),
            probe_timeout: seconds(600),
            retry: Pace { first: seconds(1), longest: seconds(60) },
            park: Pace { first: seconds(30), longest: seconds(900) },
            mutation: Mutation::None,
        }
    }
}

impl Rules {
    /// The least `min_gap` with which every follower sits on the newest key before the other one is regenerated.
    #[must_use]
    pub fn least_min_gap(&self) -> Duration {
        (self.look + self.probe_spread + self.settle).saturating_mul(2)
    }

    /// Whether this rule is broken. Always false, and gone, in a build without debug assertions.
    #[must_use]
    pub(super) fn breaks(&self, mutation: Mutation) -> bool {
        cfg!(debug_assertions) && self.mutation == mutation
    }
}

/// One way each in which the machine would be wrong. Only the model sets one.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    None,
    PublishBeforeProbe,
    ProbeOnce,
    RegenerateActive,
    NoAcknowledgement,
    DrainTimeoutContinues,
    FlipToSlotInHand,
    AdoptRetired,
    ResubmitAtOnce,
    IntentAfterCall,
    GenerationReset,
    FourSends,
    MinGapIgnoresOutsider,
    TwoTransactions,
    HideIncoming,
    NeverResubmit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_go_together() {
        let rules = Rules::default();
        assert_eq!(rules.least_min_gap(), Duration::from_secs(2 * 300 + 2 * (20 + 60)));
        assert!(rules.min_gap >= rules.least_min_gap());
    }
}
