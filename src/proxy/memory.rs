//! Memory that busy connections used goes back to the system once they are idle or gone.
//!
//! The allocator gives freed pages back while it is asked for others; a worker whose connections have all fallen idle asks for nothing,
//! and would keep what ten thousand of them needed at once (benches/README.md). So its sweep asks for it.

use std::{cell::Cell, time::Duration};

use crate::clock::Moment;

/// How long what was freed may wait: long enough for the next request to use it, and for many to go back together.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether a worker has memory to give back.
#[derive(Debug, Default)]
pub struct Spare {
    since: Cell<Option<Moment>>,
}

impl Spare {
    /// A connection let go of what only a busy one needs, or is gone.
    pub fn note(&self, now: Moment) {
        if self.since.get().is_none() {
            self.since.set(Some(now));
        }
    }

    /// Whether there is none.
    pub const fn is_none(&self) -> bool {
        self.since.get().is_none()
    }

    /// Whether it is time to give it back. Then it counts as done.
    pub fn is_due(&self, now: Moment) -> bool {
        let due = self.since.get().is_some_and(|since| now.since(since) >= PATIENCE);
        if due {
            self.since.set(None);
        }
        due
    }
}

/// Gives back what the allocator holds for this thread and does not use.
#[expect(unsafe_code, reason = "the allocator's own crate does not offer this call")]
pub fn give_back() {
    // SAFETY: `mi_collect` has no preconditions; it may be called on any thread at any time, used as allocator or not.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    #[test]
    fn it_goes_back_once_and_some_time_after_the_first_was_freed() {
        let spare = Spare::default();
        assert!(!spare.is_due(at(9_000)), "nothing was freed");
        spare.note(at(10_000));
        spare.note(at(12_900));
        assert!(!spare.is_due(at(12_999)));
        assert!(spare.is_due(at(13_000)));
        assert!(spare.is_none() && !spare.is_due(at(60_000)));
    }
}
