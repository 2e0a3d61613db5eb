//! What gives way when file descriptors run out under way: nobody is let in for a moment, idle connections go first, then requests one by
//! one.
//!
//! `control::descriptors` sets a cap on client connections that leaves room for upstreams, from what the process may have. This is for the
//! day on which that does not hold: the limit was lowered, or the whole machine has no more (ENFILE). Without it those who come in take
//! what is needed to serve those who are in, and nobody is served.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use rustix::io::Errno;

use super::{upstream::connect::ConnectError, worker::Worker};
use crate::clock::Moment;

/// How long after the last sign of a shortage nobody is let in.
const SHUT: Duration = Duration::from_secs(1);
/// Times that a connection to an upstream is tried again; then its request gives way.
const PATIENCE: u32 = 6;
/// Between two of them, milliseconds: at least, and up to so much more. Not all at once, so that who gives way makes room for another.
const PAUSE: (u64, u64) = (5, 40);

/// Whether an error of socket(2) or accept(2) means that there are no descriptors.
#[must_use]
pub fn are_out(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
}

/// That there were too few to reach an upstream with, and when. Relaxed: it only has to be seen soon.
#[derive(Debug, Default)]
pub struct Shortage(AtomicU64);

impl Shortage {
    /// There are too few now.
    pub fn note(&self, now: Moment) {
        self.0.store(now.as_micros().max(1), Relaxed);
    }

    /// Whether there were just now.
    #[must_use]
    pub fn is_on(&self, now: Moment) -> bool {
        match self.0.load(Relaxed) {
            0 => false,
            noted => now.since(Moment::from_micros(noted)) < SHUT,
        }
    }
}

/// Tries to open a connection to an upstream until there is a descriptor for it, a few times. Each time an idle connection of this worker
/// makes room, where there is one.
///
/// # Errors
/// Those of `open`.
pub async fn with_room<T>(
    worker: &Worker,
    mut open: impl AsyncFnMut() -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    let mut patience = PATIENCE;
    loop {
        let opened = open().await;
        if patience == 0 || !matches!(opened, Err(ConnectError::Descriptors)) {
            return opened;
        }
        patience -= 1;
        worker.make_room();
        let (least, more) = PAUSE;
        tokio::time::sleep(Duration::from_millis(least + worker.dice() % more)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_over_a_second_after_its_last_sign() {
        let at = |millis: u64| Moment::from_micros(millis * 1000);
        let shortage = Shortage::default();
        assert!(!shortage.is_on(at(0)) && !shortage.is_on(at(5_000)), "there was none");
        shortage.note(at(0));
        assert!(shortage.is_on(at(0)), "from the first microsecond on");
        shortage.note(at(10_000));
        shortage.note(at(10_500));
        assert!(shortage.is_on(at(11_499)) && !shortage.is_on(at(11_500)));
    }

    #[test]
    fn only_descriptors_count() {
        assert!(are_out(&io::Error::from_raw_os_error(24)) && are_out(&io::Error::from_raw_os_error(23)));
        assert!(!are_out(&io::Error::from_raw_os_error(111)) && !are_out(&io::Error::other("another")));
    }
}
