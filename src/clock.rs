//! Time, as a value that tests own.
//!
//! The only place that reads the system's clocks. Everything else is given a [`Moment`] or asks the [`Clock`] it was built
//! with. Tokio's own clock is never paused: real sockets would time out while it jumps.

use std::{
    ops::Add,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::Notify;

/// A point on the monotonic clock: microseconds since the clock was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// From microseconds since the clock was made.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the clock was made.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if that lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// What `decide` is told of the world: the time and one throw of the dice.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// Monotonic time.
    pub now: Moment,
    /// Wall-clock time, Unix seconds, at most a second old.
    pub unix: u64,
    /// Uniformly distributed bits.
    pub dice: u64,
}

/// The source of time. Cloning gives the same clock.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System { origin: Instant },
    Manual { micros: Arc<AtomicU64>, moved: Arc<Notify>, unix_origin: u64 },
}

impl Clock {
    /// The system's clocks.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this module is where the clocks are read")]
    pub fn system() -> Self {
        Self(Source::System { origin: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`].
    #[must_use]
    pub fn manual(unix_origin: u64) -> Self {
        Self(Source::Manual { micros: Arc::default(), moved: Arc::default(), unix_origin })
    }

    /// Moves a manual clock; does nothing to the system's.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { micros, moved, .. } = &self.0 {
            micros.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            moved.notify_waiters();
        }
    }

    /// Waits. On a manual clock until it was advanced so far: for pauses that somebody chose (backoff, polling), never for
    /// deadlines of real IO, which take real time whatever a test does to the clock.
    pub async fn sleep(&self, pause: Duration) {
        let Source::Manual { moved, .. } = &self.0 else { return tokio::time::sleep(pause).await };
        let until = self.now() + pause;
        loop {
            // Listening begins before the look, so that no move falls between the two.
            let mut move_on = std::pin::pin!(moved.notified());
            move_on.as_mut().enable();
            if self.now() >= until {
                return;
            }
            move_on.await;
        }
    }

    /// Monotonic time.
    #[must_use]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System { origin } => Moment(u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Source::Manual { micros, .. } => Moment(micros.load(Ordering::Relaxed)),
        }
    }

    /// Wall-clock time, Unix milliseconds; zero before 1970.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this module is where the clocks are read")]
    pub fn unix_millis(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            Source::Manual { micros, unix_origin, .. } => unix_origin * 1_000 + micros.load(Ordering::Relaxed) / 1_000,
        }
    }

    /// Wall-clock time, Unix seconds.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        self.unix_millis() / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(1_000);
        let start = clock.now();
        assert_eq!(clock.now(), start);
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now().since(start), Duration::from_secs(5));
        assert_eq!(clock.unix_seconds(), 1_005);
    }

    #[tokio::test]
    async fn a_sleep_on_a_manual_clock_ends_when_the_clock_got_there() {
        let clock = Clock::manual(0);
        let other = clock.clone();
        let sleep = tokio::spawn(async move { other.sleep(Duration::from_secs(10)).await });
        while !sleep.is_finished() {
            assert!(clock.now() < Moment(11_000_000));
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        assert!(clock.now() >= Moment(10_000_000));
        clock.sleep(Duration::ZERO).await;
    }

    #[test]
    fn since_a_later_moment_is_zero() {
        assert_eq!(Moment(1).since(Moment(5)), Duration::ZERO);
    }
}
