//! What is sent again, and when: pure, so that every rule has a test without a socket.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

use crate::azure::error::is_transient;

/// Pause before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest that a call waits by itself because it was asked to. Whoever is asked to wait longer is told so instead.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a call may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts(u32);

impl Attempts {
    /// Once: whoever calls has a backoff of its own.
    pub const ONE: Self = Self(1);
    /// Three times: somebody waits at a terminal.
    pub const FEW: Self = Self(3);
}

/// Whether a call may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Doing it twice is doing it once: reads, and requests for tokens.
    Freely,
    /// Only where it is certain that nothing was done: it was not sent, or answered 429.
    WhileUndone,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With this status, and the pause it asks for.
    Answered(u16, Option<Duration>),
    /// Before anything was sent.
    NotSent,
    /// So that it will end the same way again.
    Hopeless,
    /// After something may have been sent.
    Unanswered,
}

/// One attempt at a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// The first is 1.
    pub(super) number: u32,
    pub(super) repeat: Repeat,
    /// Statuses beyond the usual ones that this address means as "not now".
    pub(super) also: &'static [u16],
    pub(super) outcome: Outcome,
}

impl Attempts {
    /// The pause before the next attempt; `None` where this one was the last. `dice` are uniformly distributed bits.
    pub(super) fn next_pause(self, attempt: Attempt, dice: u64) -> Option<Duration> {
        let Attempt { number, repeat, also, outcome } = attempt;
        if number >= self.0 {
            return None;
        }
        let asked = match (outcome, repeat) {
            (Outcome::Hopeless, _) | (Outcome::Unanswered, Repeat::WhileUndone) => return None,
            (Outcome::Answered(429, asked), _) => asked,
            (Outcome::Answered(status, asked), Repeat::Freely) if is_transient(status) || also.contains(&status) => {
                asked
            }
            (Outcome::Answered(..), _) => return None,
            (Outcome::NotSent, _) | (Outcome::Unanswered, Repeat::Freely) => None,
        };
        match asked {
            Some(pause) if pause > LONGEST_PAUSE => None,
            // Never earlier than asked, and not all of us at once.
            Some(pause) => Some(pause + pause.mul_f64(0.1 * share(dice))),
            None => Some(FIRST_PAUSE.saturating_mul(1 << (number - 1).min(16)).mul_f64(0.75 + 0.5 * share(dice))),
        }
    }
}

/// The dice as a number from 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a throw of dice")]
fn share(dice: u64) -> f64 {
    dice as f64 / u64::MAX as f64
}

/// How long an answer asks to be left alone: `retry-after-ms` and `x-ms-retry-after-ms`, else `Retry-After` in seconds or
/// as a date (RFC 9110 section 10.2.3), a date being compared with the answer's own where it has one.
pub(super) fn retry_after(fields: &HeaderMap, now_unix: u64) -> Option<Duration> {
    let text = |name: &str| fields.get(name)?.to_str().ok().map(str::trim);
    let millis = text("retry-after-ms").or_else(|| text("x-ms-retry-after-ms"));
    if let Some(millis) = millis.and_then(|text| text.parse().ok()) {
        return Some(Duration::from_millis(millis));
    }
    let text = text("retry-after")?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = unix_of(text)?;
    Some(Duration::from_secs(until.saturating_sub(date(fields).unwrap_or(now_unix))))
}

/// When the answer was made by its server's own clock, Unix seconds.
pub(super) fn date(fields: &HeaderMap) -> Option<u64> {
    unix_of(fields.get(header::DATE)?.to_str().ok()?)
}

fn unix_of(text: &str) -> Option<u64> {
    let moment = httpdate::parse_http_date(text).ok()?;
    moment.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn attempt(number: u32, repeat: Repeat, outcome: Outcome) -> Attempt {
        Attempt { number, repeat, also: &[], outcome }
    }

    fn next(number: u32, repeat: Repeat, outcome: Outcome) -> Option<Duration> {
        Attempts::FEW.next_pause(attempt(number, repeat, outcome), u64::MAX / 2)
    }

    #[test]
    fn reads_are_tried_three_times_with_growing_pauses() {
        let unavailable = Outcome::Answered(503, None);
        let near = |pause: Option<Duration>, about: f64| (pause.unwrap().as_secs_f64() - about).abs() < 0.01;
        assert!(near(next(1, Repeat::Freely, unavailable), 1.0));
        assert!(near(next(2, Repeat::Freely, unavailable), 2.0));
        assert_eq!(next(3, Repeat::Freely, unavailable), None);
        for dice in [0, u64::MAX] {
            let pause = Attempts::FEW.next_pause(attempt(1, Repeat::Freely, Outcome::NotSent), dice).unwrap();
            assert!(pause >= SECOND.mul_f64(0.75) && pause <= SECOND.mul_f64(1.25), "{pause:?}");
        }
        assert_eq!(Attempts::ONE.next_pause(attempt(1, Repeat::Freely, unavailable), 0), None);
    }

    #[test]
    fn what_may_have_been_done_is_not_done_again() {
        for done in [Outcome::Answered(500, None), Outcome::Answered(503, Some(SECOND)), Outcome::Unanswered] {
            assert_eq!(next(1, Repeat::WhileUndone, done), None, "{done:?}");
        }
        for undone in [Outcome::NotSent, Outcome::Answered(429, Some(SECOND))] {
            assert!(next(1, Repeat::WhileUndone, undone).is_some(), "{undone:?}");
        }
    }

    #[test]
    fn a_clear_no_is_final() {
        for status in [200, 202, 301, 400, 401, 403, 404, 409, 501] {
            assert_eq!(next(1, Repeat::Freely, Outcome::Answered(status, Some(SECOND))), None, "{status}");
        }
        assert_eq!(next(1, Repeat::Freely, Outcome::Hopeless), None);
        let gone = attempt(1, Repeat::Freely, Outcome::Answered(410, None));
        assert!(Attempts::FEW.next_pause(Attempt { also: &[404, 410], ..gone }, 0).is_some());
    }

    #[test]
    fn who_asks_for_a_pause_gets_it_and_never_less() {
        let asked = |seconds| Outcome::Answered(429, Some(Duration::from_secs(seconds)));
        let pause = next(1, Repeat::Freely, asked(7)).unwrap();
        assert!(pause >= 7 * SECOND && pause <= 8 * SECOND, "{pause:?}");
        assert_eq!(next(1, Repeat::Freely, asked(61)), None, "nobody waits that long unasked");
    }

    #[test]
    fn pauses_are_read_in_every_form() {
        let of = |name: &'static str, value: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(name, value.parse().unwrap());
            fields.insert(header::DATE, "Tue, 17 Dec 2019 19:15:56 GMT".parse().unwrap());
            retry_after(&fields, 0)
        };
        assert_eq!(of("retry-after", "120"), Some(120 * SECOND));
        assert_eq!(of("retry-after-ms", "1500"), Some(Duration::from_millis(1500)));
        assert_eq!(of("x-ms-retry-after-ms", "20"), Some(Duration::from_millis(20)));
        assert_eq!(of("retry-after", "Tue, 17 Dec 2019 19:16:26 GMT"), Some(30 * SECOND));
        assert_eq!(of("retry-after", "Tue, 17 Dec 2019 19:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("retry-after", "soon"), None);
    }
}
