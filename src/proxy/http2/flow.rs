//! Flow control (RFC 9113 sections 5.2 and 6.9), and what a peer may do that costs it nothing.

use std::time::Duration;

use super::frame::Reason;
use crate::clock::Moment;

/// The largest window (RFC 9113 section 6.9.1).
pub const LARGEST_WINDOW: i64 = (1 << 31) - 1;

/// What a peer may send us: given back as it is used, half a window at a time.
#[derive(Debug, Clone, Copy)]
pub struct Inflow {
    left: u32,
    used: u32,
    size: u32,
    /// So much of what is used is not given back any more.
    owed: u32,
}

impl Inflow {
    /// A window of `size` bytes that the peer knows of.
    #[must_use]
    pub const fn new(size: u32) -> Self {
        Self { left: size, used: 0, size, owed: 0 }
    }

    /// So many bytes came.
    ///
    /// # Errors
    /// Where that is more than was allowed.
    pub fn take(&mut self, bytes: usize) -> Result<(), Reason> {
        let bytes = u32::try_from(bytes).map_err(|_too_many| Reason::FlowControl)?;
        self.left = self.left.checked_sub(bytes).ok_or(Reason::FlowControl)?;
        Ok(())
    }

    /// So many of them were used. Some: the peer is to be told that it may send so many more.
    pub fn give(&mut self, bytes: usize) -> Option<u32> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let kept = self.owed.min(bytes);
        self.owed -= kept;
        self.used = self.used.saturating_add(bytes - kept);
        // Where others hold on to most of the window, half of it may never come together.
        if self.used == 0 || (self.used < self.size / 2 && self.used < self.left) {
            return None;
        }
        let more = std::mem::take(&mut self.used);
        self.left = self.left.saturating_add(more);
        Some(more)
    }

    /// Whether the window may be so much larger.
    #[must_use]
    pub fn can_widen(&self, by: u32) -> bool {
        self.owed < by && i64::from(self.size) + i64::from(self.owed) + i64::from(by) <= LARGEST_WINDOW
    }

    /// The window is so much larger from here; whoever says so tells the peer.
    pub const fn widen(&mut self, by: u32) {
        self.size += by;
        self.left += by;
    }

    /// The window is as much smaller again, as the peer's bytes are used.
    pub const fn narrow(&mut self, by: u32) {
        self.size -= by;
        self.owed += by;
    }
}

/// Widens a window of what we may send.
///
/// # Errors
/// Where it would be larger than a window can be.
pub fn widen(window: i64, by: i64) -> Result<i64, Reason> {
    let wider = window + by;
    if wider > LARGEST_WINDOW { Err(Reason::FlowControl) } else { Ok(wider) }
}

/// How often something may be done: so many times at once, and so many a second.
#[derive(Debug)]
pub struct Allowance {
    left: u64,
    most: u64,
    each: Duration,
    since: Moment,
}

impl Allowance {
    /// `most` at once, and one more each time `each` has passed.
    #[must_use]
    pub const fn new(most: u64, each: Duration, now: Moment) -> Self {
        Self { left: most, most, each, since: now }
    }

    /// Once more.
    ///
    /// # Errors
    /// Where that was too often.
    pub fn spend(&mut self, now: Moment) -> Result<(), Reason> {
        let due = u64::try_from(now.since(self.since).as_micros() / self.each.as_micros().max(1)).unwrap_or(u64::MAX);
        if due > 0 {
            self.left = self.left.saturating_add(due).min(self.most);
            self.since = now;
        }
        self.left = self.left.checked_sub(1).ok_or(Reason::EnhanceYourCalm)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_given_back_by_halves() {
        let mut window = Inflow::new(100);
        assert_eq!(window.take(101), Err(Reason::FlowControl));
        assert_eq!(window.take(100), Ok(()));
        assert_eq!(window.take(1), Err(Reason::FlowControl));
        assert_eq!(window.give(0), None);
        assert_eq!(window.give(50), Some(50));
        assert_eq!(window.take(10), Ok(()));
        assert_eq!(window.give(10), None, "there is enough left");
        assert_eq!(window.take(30), Ok(()));
        assert_eq!(window.give(1), Some(11), "more than is left");
        assert_eq!(window.take(22), Err(Reason::FlowControl));
        assert_eq!(window.take(21), Ok(()));
    }

    #[test]
    fn a_window_becomes_wider_and_narrower() {
        let mut window = Inflow::new(100);
        window.widen(50);
        assert_eq!(window.take(150), Ok(()));
        window.narrow(50);
        assert_eq!(window.give(40), None, "that is what it has become narrower by");
        assert_eq!(window.give(20), Some(10));
        assert_eq!(window.give(90), Some(90));
        assert_eq!((window.take(101), window.take(100)), (Err(Reason::FlowControl), Ok(())));
    }

    #[test]
    fn no_window_is_too_large() {
        assert_eq!(widen(LARGEST_WINDOW - 1, 1), Ok(LARGEST_WINDOW));
        assert_eq!(widen(LARGEST_WINDOW, 1), Err(Reason::FlowControl));
        assert_eq!(widen(-5, 4), Ok(-1));
    }

    #[test]
    fn an_allowance_comes_back_with_time() {
        let at = |millis: u64| Moment::from_micros(millis * 1000);
        let mut allowance = Allowance::new(2, Duration::from_millis(100), at(0));
        assert_eq!([0, 10, 20].map(|millis| allowance.spend(at(millis)).is_ok()), [true, true, false]);
        assert_eq!(
            [120, 130, 10_000, 10_000, 10_000].map(|millis| allowance.spend(at(millis)).is_ok()),
            [true, false, true, true, false]
        );
    }
}
