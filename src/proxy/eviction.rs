//! `revoke: evict`: what a key has let in does not outlive the key by more than `evict_after`.
//!
//! A key that is taken back stops at the next request in any case. What it began before, a stream or a WebSocket, may go on for hours;
//! where its caller says so, `pipeline` notes with the exchange which key it rests on, and the worker's sweep asks whether that key
//! still stands. Nothing here is on the path of a request whose caller does not say so, but for one look at the caller.

use std::{cell::Cell, time::Duration};

use super::{
    auth::{Caller, KeyTable},
    connection::Connection,
    headers::survey::Survey,
    route::Forward,
};
use crate::{
    clock::{Moment, Tick},
    snapshot::Snapshot,
};

/// The sweep comes round as often as this at least: once to see that a key is gone, once to see that time is up.
const SWEEP: Duration = Duration::from_millis(250);

/// The key that an exchange rests on.
#[derive(Debug)]
pub struct Claim {
    digest: [u8; 32],
    after: Duration,
    /// When it ends, once the key is gone.
    until: Cell<Option<Moment>>,
}

impl Claim {
    /// What a request rests on, where its caller's keys evict.
    pub fn of(
        snapshot: &Snapshot,
        caller: Caller,
        forward: &Forward,
        survey: &Survey<'_>,
        connection: &Connection,
    ) -> Option<Box<Self>> {
        let after = (*snapshot.evictions.get(caller.index())?)?;
        let presented = forward.callers.presented(survey).ok()??;
        let digest = connection.peer.memo.digest(presented);
        Some(Box::new(Self { digest, after, until: Cell::new(None) }))
    }

    /// Whether the time of an exchange that rests on it is up. A key that is put back in time is as if it had never been gone.
    pub fn is_over(&self, keys: &KeyTable, tick: Tick) -> bool {
        if keys.holds(&self.digest, tick.unix) {
            self.until.set(None);
            return false;
        }
        let until = self.until.get().unwrap_or_else(|| tick.now + self.after.saturating_sub(2 * SWEEP));
        self.until.set(Some(until));
        tick.now >= until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::auth::KeyGrant;

    const KEY: [u8; 32] = [7; 32];

    fn keys(expires: Option<u64>) -> KeyTable {
        let expires = expires.unwrap_or(u64::MAX);
        [(KEY, KeyGrant { caller: 0, name: None, not_before: 0, expires })].into_iter().collect()
    }

    fn tick(millis: u64) -> Tick {
        Tick { now: Moment::from_micros(millis * 1_000), unix: 1_000 + millis / 1_000, dice: 0 }
    }

    #[test]
    fn time_runs_from_when_the_key_is_gone_and_not_while_it_stands() {
        let claim = Claim { digest: KEY, after: Duration::from_secs(10), until: Cell::new(None) };
        assert!(!claim.is_over(&keys(None), tick(100_000)));
        assert!(!claim.is_over(&KeyTable::default(), tick(200_000)));
        assert!(!claim.is_over(&KeyTable::default(), tick(209_000)));
        assert!(claim.is_over(&KeyTable::default(), tick(209_500)), "with room for the sweep that sees it");
        assert!(!claim.is_over(&keys(None), tick(209_600)), "put back");
        assert!(!claim.is_over(&KeyTable::default(), tick(209_700)), "and gone again: from the beginning");
    }

    #[test]
    fn a_key_whose_time_has_passed_is_gone() {
        let claim = Claim { digest: KEY, after: Duration::ZERO, until: Cell::new(None) };
        assert!(!claim.is_over(&keys(Some(1_002)), tick(1_000)));
        assert!(claim.is_over(&keys(Some(1_002)), tick(2_000)), "at once, where nothing is granted");
    }
}
