//! Whether a request that was answered 401 is sent again, and with what.
//!
//! The data plane asks on a 401 alone, and again after it has waited for a read. Pure, and without allocation. A replay never
//! changes what other requests get: the data plane reports the refusal, and the control plane draws the conclusions.

use std::time::Duration;

use super::offer::{Access, Hold, Offer};
use crate::clock::Moment;

/// Most times a request is sent for its credential, the first included.
pub const MAX_SENDS: u8 = 3;
/// How long a request waits for a read that may bring another value.
pub const READ_PATIENCE: Duration = Duration::from_secs(5);
/// Between two requests that a locked service lets through as a trial.
pub const TRIAL_INTERVAL: Duration = Duration::from_secs(1);

/// What a request was sent with so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tried<V> {
    values: [Option<V>; MAX_SENDS as usize],
    sends: u8,
    patience: Patience,
}

/// Whether a request may wait for a read of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Patience {
    Left,
    Over,
}

impl<V: Copy + PartialEq> Tried<V> {
    /// Of a request that is sent for the first time.
    pub fn first(value: V) -> Self {
        let mut tried = Self { values: [None; MAX_SENDS as usize], sends: 0, patience: Patience::Left };
        tried.send(value);
        tried
    }

    /// It is sent once more.
    pub fn send(&mut self, value: V) {
        if let Some(place) = self.values.get_mut(usize::from(self.sends)) {
            *place = Some(value);
        }
        self.sends = self.sends.saturating_add(1);
    }

    /// It has waited for a read as long as it may.
    pub const fn stop_waiting(&mut self) {
        self.patience = Patience::Over;
    }

    /// How often it was sent.
    #[must_use]
    pub const fn sends(&self) -> u8 {
        self.sends
    }

    /// Whether it was sent with this value.
    #[must_use]
    pub fn contains(&self, value: V) -> bool {
        self.values.iter().flatten().any(|tried| *tried == value)
    }
}

/// Whose word a 401 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The front end's, about what we attached.
    Credential,
    /// The caller's: nothing was attached, or the model ran and says so.
    Caller,
}

impl Blame {
    /// Of a 401 with these header names, in lower case. The model ran if any begins `x-ms-run-` or `ms-azureml-model-error-`
    /// (`x-ms-run-fn-exec-ms` is on the answer of every executed `run()`).
    pub fn of<'n>(attached: bool, mut names: impl Iterator<Item = &'n str>) -> Self {
        if attached && !names.any(shows_that_the_model_ran) { Self::Credential } else { Self::Caller }
    }
}

/// Whether a response header of this name, in lower case, is there only when the model ran.
#[must_use]
pub fn shows_that_the_model_ran(name: &str) -> bool {
    name.starts_with("x-ms-run-") || name.starts_with("ms-azureml-model-error-")
}

/// What stands for or against sending a request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Whether it can be.
    pub hold: Hold,
    /// Whether its endpoint allows it: a 401 of its front ends means that no model ran.
    pub replay: Replay,
    /// Whether the caller has received a byte of an answer.
    pub answer: AnswerBegun,
}

/// Whether an endpoint's requests are sent again after a 401: `replay` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// AKS and online endpoints, by default.
    On,
    /// ACI and upstreams by hand, by default: there a 401 may come from the model.
    Off,
}

/// Whether a caller has received anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBegun {
    /// Nothing.
    No,
    /// At least a byte.
    Yes,
}

/// What happens to a request that was answered 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<V> {
    /// The caller gets the 401.
    PassOn,
    /// It is sent again with this value, to the front end that refused.
    Resend(V),
    /// It tells the control plane that the ladder of this generation is exhausted, waits for an offer of a later one, and asks
    /// again. When it has waited [`READ_PATIENCE`] in all, it says so ([`Tried::stop_waiting`]) and asks a last time.
    AwaitRead,
    /// It is answered `upstream_credential_rejected`.
    Unavailable,
}

/// Decides on a request that was answered 401, by the offer that is in force now.
#[must_use]
pub fn after_401<V: Copy + PartialEq>(
    blame: Blame,
    tried: &Tried<V>,
    offer: &Offer<V>,
    situation: Situation,
) -> Next<V> {
    after_401_within(MAX_SENDS, blame, tried, offer, situation)
}

/// [`after_401`] with another limit, to see that the model notices.
#[doc(hidden)]
#[must_use]
pub fn after_401_within<V: Copy + PartialEq>(
    limit: u8,
    blame: Blame,
    tried: &Tried<V>,
    offer: &Offer<V>,
    situation: Situation,
) -> Next<V> {
    if blame == Blame::Caller {
        return Next::PassOn;
    }
    let may_resend = situation.hold == Hold::Held
        && situation.replay == Replay::On
        && situation.answer == AnswerBegun::No
        && tried.sends() < limit;
    if !may_resend {
        return Next::Unavailable;
    }
    if offer.access == Access::Locked {
        // A trial costs the service one request.
        return Next::Unavailable;
    }
    match offer.values().find(|value| !tried.contains(*value)) {
        Some(value) => Next::Resend(value),
        None if tried.patience == Patience::Left => Next::AwaitRead,
        None => Next::Unavailable,
    }
}

/// Whether a locked service lets a request through as a trial, `last` being when it let the last one.
#[must_use]
pub fn trial_is_due(last: Option<Moment>, now: Moment) -> bool {
    last.is_none_or(|last| now.since(last) >= TRIAL_INTERVAL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELD: Situation = Situation { hold: Hold::Held, replay: Replay::On, answer: AnswerBegun::No };

    fn offer(access: Access) -> Offer<u8> {
        Offer { generation: 7, held: 1, others: 1, further: [Some(2), None, Some(3), Some(1)], access }
    }

    fn ask(tried: &Tried<u8>, offer: &Offer<u8>) -> Next<u8> {
        after_401(Blame::Credential, tried, offer, HELD)
    }

    #[test]
    fn every_value_once_in_order_and_three_at_most() {
        let offer = offer(Access::Open);
        let mut tried = Tried::first(offer.first(Hold::Held));
        for value in [2, 3] {
            assert_eq!(ask(&tried, &offer), Next::Resend(value));
            tried.send(value);
        }
        assert_eq!(ask(&tried, &Offer { held: 9, ..offer }), Next::Unavailable);
    }

    #[test]
    fn a_wait_where_the_ladder_is_at_its_end() {
        let short = Offer::fixed(7, 1, Some(2));
        let mut tried = Tried::first(1);
        tried.send(2);
        assert_eq!(ask(&tried, &short), Next::AwaitRead);
        assert_eq!(ask(&tried, &Offer { generation: 8, ..short }), Next::AwaitRead);
        tried.stop_waiting();
        assert_eq!(
            ask(&tried, &Offer { generation: 9, further: [Some(2), Some(5), None, None], ..short }),
            Next::Resend(5)
        );
        assert_eq!(ask(&tried, &short), Next::Unavailable);
    }

    #[test]
    fn a_locked_service_is_tried_once_and_not_waited_for() {
        assert_eq!(ask(&Tried::first(1), &offer(Access::Locked)), Next::Unavailable);
        let second = |seconds: u64| Moment::from_micros(seconds * 1_000_000);
        assert!(trial_is_due(None, second(9)));
        assert!(!trial_is_due(Some(second(9)), second(9)));
        assert!(trial_is_due(Some(second(9)), second(10)));
    }

    #[test]
    fn the_new_value_is_first_for_held_requests_and_next_for_the_others() {
        let trial = Offer { held: 4, ..offer(Access::Open) };
        assert_eq!((trial.first(Hold::Held), trial.first(Hold::NotHeld)), (4, 1));
        assert_eq!(ask(&Tried::first(4), &trial), Next::Resend(1));
        assert_eq!(ask(&Tried::first(1), &trial), Next::Resend(4));
    }

    #[test]
    fn what_the_model_or_an_unattached_request_is_told_is_the_callers() {
        for (attached, names, blame) in [
            (true, &["date", "www-authenticate"][..], Blame::Credential),
            (true, &["x-ms-server-version"], Blame::Credential),
            (true, &["date", "x-ms-run-fn-exec-ms"], Blame::Caller),
            (true, &["x-ms-run-function-failed"], Blame::Caller),
            (true, &["ms-azureml-model-error-statuscode"], Blame::Caller),
            (false, &["date"], Blame::Caller),
        ] {
            assert_eq!(Blame::of(attached, names.iter().copied()), blame, "{names:?}");
        }
        assert_eq!(after_401(Blame::Caller, &Tried::first(1), &offer(Access::Open), HELD), Next::PassOn);
    }

    #[test]
    fn what_cannot_be_sent_again_is_unavailable() {
        for situation in [
            Situation { hold: Hold::NotHeld, ..HELD },
            Situation { replay: Replay::Off, ..HELD },
            Situation { answer: AnswerBegun::Yes, ..HELD },
        ] {
            let next = after_401(Blame::Credential, &Tried::first(1), &offer(Access::Open), situation);
            assert_eq!(next, Next::Unavailable, "{situation:?}");
        }
    }

    proptest! {
        /// Whatever offers come and go while a request is refused again and again.
        #[test]
        fn no_request_is_sent_more_than_three_times_or_twice_with_one_value(
            offers in prop::collection::vec((0_u8..4, 0_u8..4, prop::array::uniform4(prop::option::of(0_u8..6))), 1..12),
        ) {
            let mut sent = Vec::new();
            let mut tried: Option<Tried<u8>> = None;
            for (held, others, further) in offers {
                let offer = Offer { generation: 1, held, others, further, access: Access::Open };
                let Some(tried) = &mut tried else {
                    tried = Some(Tried::first(offer.first(Hold::Held)));
                    sent.push(held);
                    continue;
                };
                match ask(tried, &offer) {
                    Next::Resend(value) => {
                        prop_assert!(offer.names(value));
                        tried.send(value);
                        sent.push(value);
                    }
                    Next::AwaitRead => tried.stop_waiting(),
                    Next::Unavailable => {
                        prop_assert!(sent.len() == 3 || offer.values().all(|value| sent.contains(&value)));
                    }
                    Next::PassOn => prop_assert!(false, "our credential's refusal was passed on"),
                }
            }
            prop_assert!(sent.len() <= 3);
            for (at, value) in sent.iter().enumerate() {
                prop_assert!(!sent[..at].contains(value), "{value} twice in {sent:?}");
            }
        }

        #[test]
        fn the_data_planes_offer_says_the_same(value in 0_u8..9, further in prop::array::uniform4(prop::option::of(0_u8..9))) {
            let digests = Offer { generation: 3, held: value, others: 0, further, access: Access::Locked };
            let ids = digests.try_map(|value| Some(u32::from(value) + 100)).unwrap();
            prop_assert_eq!(ids.values().collect::<Vec<_>>(), digests.values().map(|v| u32::from(v) + 100).collect::<Vec<_>>());
            prop_assert_eq!((ids.generation, ids.access), (3, Access::Locked));
            prop_assert!(digests.try_map(|other| (other != value).then_some(other)).is_none());
        }
    }
}
