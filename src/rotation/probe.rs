//! Probes: requests of our own that show whether a front end takes a value.
//!
//! The driver sends them, each on a fresh connection with `x-ms-client-request-id: scoregate-probe-…`; what an answer means is
//! decided here.

use std::time::Duration;

use super::{digest::Digest, ladder::shows_that_the_model_ran};
use crate::clock::Moment;

/// What a probe carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A value of the service.
    Value(Digest),
    /// A value that no service has, made up anew each time: a probe that is not refused with it shows nothing.
    WrongKey,
}

/// What the answer to a probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The front end takes the value.
    Accepted,
    /// It does not.
    Refused,
    /// Neither: no connection, no answer, an error of another kind. To be tried again, not before this has passed if it is there.
    Nothing(Option<Duration>),
}

/// Judges an answer by its status and the names of its headers, in lower case.
///
/// Accepted: 2xx, or any sign that the model or its container answered. Refused: 401 without a sign that the model ran.
pub fn judge<'n>(status: u16, names: impl Iterator<Item = &'n str>, retry_after: Option<Duration>) -> Verdict {
    let mut model = false;
    let mut container = false;
    for name in names {
        model |= shows_that_the_model_ran(name);
        container |= name == "x-ms-server-version";
    }
    match status {
        200..=299 => Verdict::Accepted,
        _ if model => Verdict::Accepted,
        // A container without a front end judges the key itself, and says its version when it refuses.
        401 => Verdict::Refused,
        _ if container => Verdict::Accepted,
        _ => Verdict::Nothing(retry_after),
    }
}

/// Acceptances in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Streak {
    /// How many, and when the first of them was.
    pub run: Option<(u32, Moment)>,
}

impl Streak {
    /// One more.
    pub const fn accept(&mut self, now: Moment) {
        self.run = match self.run {
            Some((count, first)) => Some((count.saturating_add(1), first)),
            None => Some((1, now)),
        };
    }

    /// A refusal: the count starts again.
    pub const fn reset(&mut self) {
        self.run = None;
    }

    /// Whether there are enough, over a long enough time.
    #[must_use]
    pub fn suffices(&self, successes: u32, spread: Duration, now: Moment) -> bool {
        self.run.is_some_and(|(count, first)| count >= successes && now.since(first) >= spread)
    }
}

/// Between two probes, so that `successes` of them take at least `spread`.
#[must_use]
pub fn interval(successes: u32, spread: Duration) -> Duration {
    // Rounded up: else the last of them comes a moment too early and one more is needed.
    let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros.div_ceil(u64::from(successes.saturating_sub(1).max(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_who_gave_it() {
        let later = Some(Duration::from_secs(7));
        for (status, names, verdict) in [
            (200, &["allow"][..], Verdict::Accepted),
            (204, &[], Verdict::Accepted),
            (401, &[], Verdict::Refused),
            (401, &["www-authenticate", "x-ms-server-version"], Verdict::Refused),
            (401, &["x-ms-run-fn-exec-ms"], Verdict::Accepted),
            (424, &["ms-azureml-model-error-statuscode"], Verdict::Accepted),
            (405, &["x-ms-server-version"], Verdict::Accepted),
            (502, &["x-ms-run-function-failed"], Verdict::Accepted),
            (403, &[], Verdict::Nothing(later)),
            (404, &["date"], Verdict::Nothing(later)),
            (405, &["allow"], Verdict::Nothing(later)),
            (429, &[], Verdict::Nothing(later)),
            (301, &["location"], Verdict::Nothing(later)),
            (503, &["retry-after"], Verdict::Nothing(later)),
        ] {
            assert_eq!(judge(status, names.iter().copied(), later), verdict, "{status} {names:?}");
        }
    }

    #[test]
    fn twelve_in_a_row_over_twenty_seconds() {
        let spread = Duration::from_secs(20);
        let gap = interval(12, spread);
        let mut streak = Streak::default();
        let mut now = Moment::from_micros(5_000_000);
        for count in 1..=12 {
            streak.accept(now);
            assert_eq!(streak.suffices(12, spread, now), count == 12, "after {count}");
            now = now + gap;
        }
        streak.reset();
        assert!(!streak.suffices(1, Duration::ZERO, now));
    }

    #[test]
    fn many_at_once_are_not_enough() {
        let mut streak = Streak::default();
        let now = Moment::from_micros(1);
        (0..100).for_each(|_| streak.accept(now));
        assert!(!streak.suffices(12, Duration::from_secs(20), now));
        assert_eq!(interval(1, Duration::from_secs(20)), Duration::from_secs(20));
    }
}
