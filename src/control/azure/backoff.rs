//! How long a service that could not be found is left alone: pure.

use std::time::Duration;

use crate::azure::error::{Error, Heals};

/// The first pause after what passes by itself. Doubled each time: four tries in the first minute.
const FIRST: Duration = Duration::from_secs(5);
/// What somebody has to change is looked at again this often. Azure needs minutes to let a new role count.
const LATER: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(300);

/// Pauses that grow with each failure in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure; never shorter than what Azure asked for. `dice` are uniformly distributed bits.
    pub(super) fn next(&mut self, error: Option<&Error>, dice: u64) -> Duration {
        let first = match error.map(Error::heals) {
            Some(Heals::Soon) => FIRST,
            Some(Heals::Later) | None => LATER,
        };
        let pause = first.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        #[expect(clippy::cast_precision_loss, reason = "a throw of dice")]
        let jitter = pause.mul_f64(0.2 * (dice as f64 / u64::MAX as f64));
        (pause + jitter).max(error.and_then(Error::retry_after).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::{error::Fault, refusal::Refusal};

    fn refused(status: u16) -> Error {
        Error::new("x", Fault::Refused { host: "h".into(), refusal: Refusal::read(status, b"", &[]) })
    }

    #[test]
    fn there_are_four_tries_in_the_first_minute_of_an_outage_and_one_of_what_must_be_changed() {
        for (status, expected) in [(503, 4), (403, 1), (404, 1)] {
            for dice in [0, u64::MAX] {
                let mut backoff = Backoff::default();
                let (mut at, mut tries) = (Duration::ZERO, 0);
                while at < Duration::from_secs(60) {
                    tries += 1;
                    at += backoff.next(Some(&refused(status)), dice);
                }
                assert_eq!(tries, expected, "{status} {dice}");
            }
        }
    }

    #[test]
    fn pauses_are_capped_and_never_shorter_than_asked_for() {
        let mut backoff = Backoff::default();
        let pause = (0..40).map(|_| backoff.next(Some(&refused(503)), u64::MAX)).max().unwrap();
        assert_eq!(pause, LONGEST.mul_f64(1.2));
        let asked = refused(429).with_retry_after(Some(Duration::from_secs(900)));
        assert_eq!(Backoff::default().next(Some(&asked), 0), Duration::from_secs(900));
    }
}
