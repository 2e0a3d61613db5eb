//! A token bucket that all workers share, in one number: when the bucket would be full again (the generic cell rate algorithm, ITU-T
//! I.371). One compare-and-swap for each request that passes, none for one that is refused; exact whatever the number of workers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock::Moment;

const SECOND: u64 = 1_000_000_000;

/// So many requests in a time, and so many at once.
#[derive(Debug)]
pub struct Bucket {
    /// Nanoseconds of the monotonic clock at which it is full again. Relaxed: it publishes nothing but itself.
    full_at: AtomicU64,
    /// Nanoseconds that one request takes to come back.
    each: u64,
    /// Nanoseconds from empty to full.
    span: u64,
}

/// Not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSoon {
    /// Nanoseconds until one request would pass.
    pub wait: u64,
}

impl Bucket {
    /// `count` requests in `seconds`, `burst` at once; full.
    #[must_use]
    pub fn new(count: u64, seconds: u64, burst: u64) -> Self {
        let each = (seconds.saturating_mul(SECOND) / count.max(1)).max(1);
        Self { full_at: AtomicU64::new(0), each, span: each.saturating_mul(burst.max(1)) }
    }

    /// Takes one.
    ///
    /// # Errors
    /// Where there is none.
    pub fn take(&self, now: Moment) -> Result<(), TooSoon> {
        let now = nanos(now);
        let mut full_at = self.full_at.load(Relaxed);
        loop {
            let next = full_at.max(now).saturating_add(self.each);
            let missing = (next - now).saturating_sub(self.span);
            if missing > 0 {
                return Err(TooSoon { wait: missing });
            }
            match self.full_at.compare_exchange_weak(full_at, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }

    /// Takes one whether there is one or not.
    pub fn owe(&self, now: Moment) {
        let now = nanos(now);
        let next = |full_at: u64| full_at.max(now).saturating_add(self.each);
        let _always = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| Some(next(full_at)));
    }

    /// Gives back what was taken for a request that something else refused.
    pub fn give_back(&self) {
        let _always = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| Some(full_at.saturating_sub(self.each)));
    }
}

const fn nanos(moment: Moment) -> u64 {
    moment.as_micros().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const fn at(micros: u64) -> Moment {
        Moment::from_micros(micros)
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate_exactly() {
        let bucket = Bucket::new(10, 1, 3);
        let passed = |from: u64, until: u64| (from..until).filter(|ms| bucket.take(at(ms * 1_000)).is_ok()).count();
        assert_eq!(passed(0, 1), 1);
        assert_eq!([bucket.take(at(0)), bucket.take(at(0))], [Ok(()), Ok(())]);
        assert_eq!(bucket.take(at(0)), Err(TooSoon { wait: 100_000_000 }));
        assert_eq!(passed(1, 10_001), 100, "ten seconds");
        assert_eq!(bucket.take(at(10_000_000)), Err(TooSoon { wait: 100_000_000 }));
        assert_eq!(passed(60_000, 60_001), 1);
        bucket.give_back();
        assert_eq!((0..5).filter(|_| bucket.take(at(60_000_000)).is_ok()).count(), 3);
    }

    #[test]
    fn rates_of_any_size_hold_over_ten_seconds() {
        for (count, seconds) in [(1, 3_600), (7, 60), (1, 1), (3, 1), (100, 1), (12_345, 1), (100_000, 1)] {
            let bucket = Bucket::new(count, seconds, 1);
            let window = 10_000_000.max(seconds * 2_000_000);
            let step = usize::try_from(window / 2_000_000).unwrap();
            let passed = (0..window).step_by(step).filter(|micros| bucket.take(at(*micros)).is_ok()).count() as u64;
            let wanted = count * window / (seconds * 1_000_000);
            // A step of five microseconds is what a bucket without a burst can lose each time.
            assert!(passed <= wanted + 1 && passed * 100 >= wanted * 66, "{count} in {seconds}: {passed} of {wanted}");
            if count <= 12_345 {
                assert!(passed * 100 >= wanted * 95, "{count} in {seconds}: {passed} of {wanted}");
            }
        }
    }

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let bucket = Arc::new(Bucket::new(1_000, 1, 100));
        let threads = (0..8).map(|_| {
            let bucket = Arc::clone(&bucket);
            std::thread::spawn(move || (0..10_000_u64).filter(|step| bucket.take(at(step * 100)).is_ok()).count())
        });
        let threads: Vec<_> = threads.collect();
        let passed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        // Each walks through one second by its own clock; the slowest finds what time has not given yet.
        assert!((1_000..=1_100).contains(&passed), "{passed}");
    }
}
