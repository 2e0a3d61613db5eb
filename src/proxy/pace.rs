//! How long a caller takes where it is its turn.

use std::{cell::Cell, time::Duration};

use crate::clock::Moment;

/// The slowest caller that is served: bytes per second, judged once it was waited for that long in all.
const MINIMUM_RATE: u64 = 240;
const RATE_GRACE: Duration = Duration::from_secs(5);

/// Waiting for a caller, to send or to read: how long in all, and for how much.
#[derive(Debug, Default)]
pub struct Pace {
    bytes: Cell<u64>,
    waited: Cell<Duration>,
    since: Cell<Option<Moment>>,
}

impl Pace {
    /// The caller's turn begins.
    pub fn wait(&self, now: Moment) {
        if self.since.get().is_none() {
            self.since.set(Some(now));
        }
    }

    /// The caller's turn ended, with this many bytes.
    pub fn progress(&self, now: Moment, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.waited.set(self.waited.get() + now.since(since));
        }
        self.bytes.set(self.bytes.get() + bytes as u64);
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether it is the caller's turn.
    pub fn is_awaited(&self) -> bool {
        self.since.get().is_some()
    }

    /// How long in all it was the caller's turn.
    pub fn waited(&self, now: Moment) -> Duration {
        self.waited.get() + self.since.get().map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Whether its turn has taken too long: more than `stall` at once, or more in all than the slowest caller would need.
    pub fn too_slow(&self, now: Moment, stall: Duration) -> bool {
        let Some(since) = self.since.get() else { return false };
        let wait = now.since(since);
        let waited = self.waited(now);
        let due = MINIMUM_RATE * waited.saturating_sub(RATE_GRACE).as_secs();
        wait > stall || self.bytes.get() < due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_caller_may_pause_but_not_for_long_and_not_trickle() {
        let stall = Duration::from_secs(30);
        let pace = Pace::default();
        assert!(!pace.too_slow(at(1_000), stall), "nobody waits for the caller");
        pace.wait(at(0));
        assert!(!pace.too_slow(at(5), stall));
        assert!(pace.too_slow(at(7), stall), "no byte in seven seconds is under the minimum rate");
        pace.progress(at(6), 100_000);
        pace.wait(at(6));
        assert!(!pace.too_slow(at(36), stall));
        assert!(pace.too_slow(at(37), stall), "a pause longer than the stall time-out");
    }

    #[test]
    fn time_that_is_not_the_callers_does_not_count() {
        let pace = Pace::default();
        pace.wait(at(0));
        pace.progress(at(1), 10);
        assert!(!pace.too_slow(at(500), Duration::from_secs(30)));
        pace.wait(at(500));
        assert!(!pace.too_slow(at(504), Duration::from_secs(30)));
    }
}
