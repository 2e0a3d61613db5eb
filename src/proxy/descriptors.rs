//! What gives way when file descriptors run out under way: connections to upstreams that nobody uses, then clients' that are idle, while
//! nobody is let in for a moment; then requests, one by one.
//!
//! `control::descriptors` sets a cap on client connections that leaves room for upstreams, from what the process may have. This is for the
//! day on which that does not hold: the limit was lowered, or the whole machine has no more (ENFILE). Without it those who come in take
//! what is needed to serve those who are in, and nobody is served.

use std::{
    cell::Cell,
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use rustix::io::Errno;

use super::{upstream::connect::ConnectError, worker::Worker};
use crate::clock::Moment;

/// How long nobody is let in, and how often at most: whoever keeps descriptors in use must not keep everybody out.
const SHUT: Duration = Duration::from_millis(250);
const SHUT_EVERY: Duration = Duration::from_secs(1);
/// Times that a connection to an upstream is tried again before its request gives way, at least, and up to so many more: not all at once,
/// so that who gives way makes room for another.
const PATIENCE: (u64, u64) = (4, 24);
/// Between two of them, milliseconds.
const PAUSE: (u64, u64) = (5, 40);

/// Whether an error of socket(2) or accept(2) means that there are no descriptors.
#[must_use]
pub fn are_out(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
}

/// That there were too few to reach an upstream with, and since when nobody is let in. Relaxed: it only has to be seen soon.
#[derive(Debug, Default)]
pub struct Shortage(AtomicU64);

impl Shortage {
    /// There are too few now.
    pub fn note(&self, now: Moment) {
        if self.since(now).is_none_or(|since| since >= SHUT_EVERY) {
            self.0.store(now.as_micros().max(1), Relaxed);
        }
    }

    /// Whether nobody is let in.
    #[must_use]
    pub fn is_on(&self, now: Moment) -> bool {
        self.since(now).is_some_and(|since| since < SHUT)
    }

    fn since(&self, now: Moment) -> Option<Duration> {
        let began = self.0.load(Relaxed);
        (began > 0).then(|| now.since(Moment::from_micros(began)))
    }
}

/// Tries to open a connection to an upstream until there is a descriptor for it, a few times. Each time an idle connection of this worker
/// makes room, where there is one. `waits` says whether room is what it waits for.
///
/// # Errors
/// Those of `open`.
pub async fn with_room<T>(
    worker: &Worker,
    waits: &Cell<bool>,
    mut open: impl AsyncFnMut() -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    let throw = |(least, more): (u64, u64)| least + worker.dice() % more;
    let mut patience = throw(PATIENCE);
    loop {
        let opened = open().await;
        waits.set(matches!(opened, Err(ConnectError::Descriptors)));
        if patience == 0 || !waits.get() {
            return opened;
        }
        patience -= 1;
        worker.make_room();
        tokio::time::sleep(Duration::from_millis(throw(PAUSE))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_let_in_for_a_quarter_of_each_second_at_most() {
        let at = |millis: u64| Moment::from_micros(millis * 1000);
        let shortage = Shortage::default();
        assert!(!shortage.is_on(at(0)) && !shortage.is_on(at(5_000)), "there was none");
        shortage.note(at(0));
        assert!(shortage.is_on(at(0)), "from the first microsecond on");
        shortage.note(at(10_000));
        shortage.note(at(10_200));
        assert!(shortage.is_on(at(10_249)) && !shortage.is_on(at(10_250)));
        shortage.note(at(10_999));
        assert!(!shortage.is_on(at(10_999)), "it was shut within this second");
        shortage.note(at(11_000));
        assert!(shortage.is_on(at(11_000)));
    }

    #[test]
    fn only_descriptors_count() {
        assert!(are_out(&io::Error::from_raw_os_error(24)) && are_out(&io::Error::from_raw_os_error(23)));
        assert!(!are_out(&io::Error::from_raw_os_error(111)) && !are_out(&io::Error::other("another")));
    }
}
