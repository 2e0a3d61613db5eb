//! How long to wait: growing pauses with jitter, ages that survive a restart, and a bucket for what traffic may cause.

use std::time::Duration;

use crate::clock::Moment;

/// A pause that doubles from the first to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    /// After the first failure.
    pub first: Duration,
    /// No pause is longer, but for what the other side asks for and for jitter.
    pub longest: Duration,
}

/// How often something failed in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Backoff(u8);

impl Backoff {
    /// Counts a failure and says how long to wait: doubled each time, and up to a fifth more so that many do not come at once.
    pub fn next(&mut self, pace: Pace, dice: u64) -> Duration {
        let pause = pace.first.saturating_mul(1 << self.0).min(pace.longest);
        if pause < pace.longest {
            self.0 = (self.0 + 1).min(30);
        }
        pause.saturating_add(part(pause / 5, dice))
    }

    /// It worked.
    pub const fn reset(&mut self) {
        self.0 = 0;
    }
}

/// A random part of a duration.
#[must_use]
pub fn part(whole: Duration, dice: u64) -> Duration {
    let micros = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
    // The high bits of the product: no division, and dice 0 gives nothing.
    let share = (u128::from(micros) * u128::from(dice)) >> 64;
    Duration::from_micros(u64::try_from(share).unwrap_or(u64::MAX))
}

/// How long ago something was. Counted by the monotonic clock, so that a wall clock set forward cannot make it look older; what
/// passed before this process began is taken from the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Age {
    /// When this process learnt of it.
    pub noted: Moment,
    /// How old it was then.
    pub before: Duration,
}

impl Age {
    /// Of what happens now.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        Self { noted: now, before: Duration::ZERO }
    }

    /// Of what a journal says happened at `unix`. What it says of the future happened now.
    #[must_use]
    pub const fn since_unix(unix: u64, now: Moment, unix_now: u64) -> Self {
        Self { noted: now, before: Duration::from_secs(unix_now.saturating_sub(unix)) }
    }

    /// How old it is.
    #[must_use]
    pub fn at(self, now: Moment) -> Duration {
        now.since(self.noted).saturating_add(self.before)
    }

    /// When it was, for the journal.
    #[must_use]
    pub fn unix(self, now: Moment, unix_now: u64) -> u64 {
        unix_now.saturating_sub(self.at(now).as_secs())
    }
}

/// Lets three through, and one more each interval (the generic cell rate algorithm: one number, no timer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bucket {
    /// When it will be full again.
    pub full: Moment,
}

impl Bucket {
    /// How many it holds.
    pub const SIZE: u32 = 3;

    /// Takes one, if there is one.
    pub fn take(&mut self, interval: Duration, now: Moment) -> bool {
        if now < self.refill(interval) {
            return false;
        }
        self.full = self.full.max(now) + interval;
        true
    }

    /// When there is one to take.
    #[must_use]
    pub fn refill(self, interval: Duration) -> Moment {
        earlier(self.full, interval.saturating_mul(Self::SIZE - 1))
    }
}

/// A moment that lies before another; the clock's start at the earliest.
#[must_use]
pub fn earlier(at: Moment, by: Duration) -> Moment {
    Moment::from_micros(at.as_micros().saturating_sub(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACE: Pace = Pace { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> = (0..8).map(|_| backoff.next(PACE, 0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.next(PACE, 0), Duration::from_secs(1));
    }

    #[test]
    fn a_clock_set_forward_makes_nothing_older_and_one_set_back_makes_it_new() {
        let age = Age::since_unix(1_000, at(5), 1_100);
        assert_eq!(age.at(at(5)), Duration::from_secs(100));
        assert_eq!(age.at(at(15)), Duration::from_secs(110));
        assert_eq!(Age::since_unix(9_000, at(5), 1_100).at(at(6)), Duration::from_secs(1));
        assert_eq!(age.unix(at(15), 1_110), 1_000);
    }

    #[test]
    fn three_at_once_then_one_each_interval() {
        let (mut bucket, interval) = (Bucket::default(), Duration::from_secs(30));
        let begin = at(100);
        assert_eq!([(); 4].map(|()| bucket.take(interval, begin)), [true, true, true, false]);
        assert_eq!(bucket.refill(interval), at(130));
        assert!(!bucket.take(interval, at(129)));
        assert!(bucket.take(interval, at(130)));
        assert!(!bucket.take(interval, at(130)));
        assert_eq!([(); 4].map(|()| bucket.take(interval, at(1_000))), [true, true, true, false]);
    }

    proptest! {
        #[test]
        fn no_length_of_time_gives_more_than_the_bucket_and_its_refills(
            pauses in prop::collection::vec(0_u64..90, 1..200),
        ) {
            let (mut bucket, interval) = (Bucket::default(), Duration::from_secs(30));
            let (mut now, mut taken) = (0, 0);
            for pause in pauses {
                now += pause;
                taken += u64::from(bucket.take(interval, at(now)));
                prop_assert!(taken <= 3 + now / 30, "{taken} in {now} s");
            }
        }

        #[test]
        fn a_pause_is_never_shorter_than_asked_nor_a_quarter_longer(failures in 0_u8..40, dice: u64) {
            let mut backoff = Backoff::default();
            for _ in 0..failures {
                backoff.next(PACE, dice);
            }
            let mut same = backoff;
            let (least, pause) = (same.next(PACE, 0), backoff.next(PACE, dice));
            prop_assert!(least <= pause && pause <= least * 5 / 4);
        }
    }
}
