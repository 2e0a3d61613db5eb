//! So many requests a day (UTC), counted in one number that all workers share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const DAY: u64 = 86_400;
/// Bits of the count; the day stands above them. A million million requests a day are more than any process answers.
const BITS: u32 = 40;

/// Requests of the present day. Relaxed: it publishes nothing but itself.
#[derive(Debug)]
pub struct Quota {
    most: u64,
    state: AtomicU64,
}

/// A day and what was used of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Days since 1970.
    pub day: u64,
    /// Requests.
    pub count: u64,
}

/// None is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// Seconds until the next day.
    pub wait: u64,
}

impl Quota {
    /// The largest that can be counted.
    pub const LARGEST: u64 = (1 << BITS) - 1;

    /// `most` requests a day, of which some are used.
    #[must_use]
    pub fn new(most: u64, used: Used) -> Self {
        Self { most: most.min(Self::LARGEST), state: AtomicU64::new(used.packed()) }
    }

    /// How many there are a day.
    #[must_use]
    pub const fn most(&self) -> u64 {
        self.most
    }

    /// Takes one.
    ///
    /// # Errors
    /// Where none is left.
    pub fn take(&self, unix: u64) -> Result<(), Exhausted> {
        let today = unix / DAY;
        let taken = self.state.fetch_update(Relaxed, Relaxed, |state| {
            let used = Used::of(state);
            // A clock that is set back does not begin a day anew.
            let used = if used.day < today { Used { day: today, count: 0 } } else { used };
            (used.count < self.most).then(|| Used { count: used.count + 1, ..used }.packed())
        });
        match taken {
            Ok(_) => Ok(()),
            Err(state) => {
                let over = Used::of(state).day.saturating_add(1).saturating_mul(DAY);
                Err(Exhausted { wait: over.saturating_sub(unix).max(1) })
            }
        }
    }

    /// Gives back what was taken for a request that something else refused.
    pub fn give_back(&self) {
        let _none = self.state.fetch_update(Relaxed, Relaxed, |state| {
            let used = Used::of(state);
            Some(Used { count: used.count.checked_sub(1)?, ..used }.packed())
        });
    }

    /// What was used so far.
    #[must_use]
    pub fn used(&self) -> Used {
        Used::of(self.state.load(Relaxed))
    }

    /// Counts what was used before this process.
    pub fn add(&self, before: Used) {
        let _always = self.state.fetch_update(Relaxed, Relaxed, |state| {
            let used = Used::of(state);
            let sum = match used.day.cmp(&before.day) {
                std::cmp::Ordering::Less => before,
                std::cmp::Ordering::Equal => Used { count: used.count.saturating_add(before.count), ..used },
                std::cmp::Ordering::Greater => used,
            };
            Some(sum.packed())
        });
    }
}

impl Used {
    /// Nothing yet.
    pub const NOTHING: Self = Self { day: 0, count: 0 };

    fn of(state: u64) -> Self {
        Self { day: state >> BITS, count: state & Quota::LARGEST }
    }

    fn packed(self) -> u64 {
        self.day << BITS | self.count.min(Quota::LARGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_so_many_and_the_next_as_many_again() {
        let quota = Quota::new(2, Used::NOTHING);
        let noon = 20_000 * DAY + DAY / 2;
        assert_eq!([quota.take(noon), quota.take(noon)], [Ok(()), Ok(())]);
        assert_eq!(quota.take(noon), Err(Exhausted { wait: DAY / 2 }));
        assert_eq!(quota.take(noon + DAY / 2 - 1), Err(Exhausted { wait: 1 }));
        assert_eq!(quota.take(noon + DAY / 2), Ok(()));
        assert_eq!(quota.used(), Used { day: 20_001, count: 1 });
        assert_eq!(
            [quota.take(noon), quota.take(noon).map_err(|e| Exhausted { wait: e.wait - DAY })],
            [Ok(()), Err(Exhausted { wait: DAY / 2 })]
        );
        quota.give_back();
        assert_eq!(quota.used().count, 1);
    }

    #[test]
    fn what_was_used_before_counts_for_its_day() {
        let quota = Quota::new(10, Used::NOTHING);
        quota.add(Used { day: 5, count: 4 });
        quota.add(Used { day: 5, count: 3 });
        quota.add(Used { day: 4, count: 9 });
        assert_eq!(quota.used(), Used { day: 5, count: 7 });
    }
}
