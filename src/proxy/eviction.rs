//! `revoke: evict`: what a key, a token or a certificate has let in does not outlive it by more than `evict_after`.
//!
//! What is taken back stops at the next request in any case. What it began before, a stream or a WebSocket, may go on for hours; where
//! its caller says so, `pipeline` notes with the exchange what it rests on, and the worker's sweep asks whether that still lets in.
//! Nothing here is on the path of a request whose caller does not say so, but for one look at the caller.

use std::{cell::Cell, time::Duration};

use super::{
    auth::{Caller, Evidence, Proof},
    connection::Connection,
    headers::survey::Survey,
    route::Forward,
};
use crate::{clock::Moment, secret::Secret, snapshot::Snapshot};

/// The sweep comes round as often as this at least: once to see that it is gone, once to see that time is up.
const SWEEP: Duration = Duration::from_millis(250);

/// What an exchange rests on.
#[derive(Debug)]
pub struct Claim {
    basis: Basis,
    after: Duration,
    /// When it ends, once that is gone.
    until: Cell<Option<Moment>>,
}

#[derive(Debug)]
enum Basis {
    /// A key, by digest: whoever has it, it stands while anybody comes in by it.
    Key([u8; 32]),
    /// What this caller presented, or its connection has shown: it stands while the next request would be let in by it.
    Shown {
        caller: Box<str>,
        /// Where it was found last: reloads seldom move it.
        at: Cell<usize>,
        presented: Option<Secret>,
    },
}

impl Claim {
    /// What a request rests on, where its caller evicts.
    pub fn of(
        snapshot: &Snapshot,
        caller: Caller,
        forward: &Forward,
        survey: &Survey<'_>,
        connection: &Connection,
    ) -> Option<Box<Self>> {
        let entry = snapshot.callers.get(caller.index())?;
        let after = entry.evict_after?;
        let presented = forward.callers.presented(survey).ok()?;
        let basis = match &entry.proof {
            Proof::Keys => Basis::Key(connection.peer.memo.digest(presented?)),
            Proof::Anonymous | Proof::Token(_) | Proof::Certificate(_) | Proof::Service { .. } => Basis::Shown {
                caller: entry.name.clone(),
                at: Cell::new(caller.index()),
                presented: presented.map(|presented| Secret::new(presented.to_vec())),
            },
        };
        Some(Box::new(Self { basis, after, until: Cell::new(None) }))
    }

    /// Whether the time of an exchange that rests on it is up. What is put back in time is as if it had never been gone.
    pub fn is_over(&self, snapshot: &Snapshot, evidence: Evidence<'_>) -> bool {
        self.is_up(self.basis.stands(snapshot, evidence), evidence.tick.now)
    }

    fn is_up(&self, stands: bool, now: Moment) -> bool {
        if stands {
            self.until.set(None);
            return false;
        }
        let until = self.until.get().unwrap_or_else(|| now + self.after.saturating_sub(2 * SWEEP));
        self.until.set(Some(until));
        now >= until
    }
}

impl Basis {
    fn stands(&self, snapshot: &Snapshot, evidence: Evidence<'_>) -> bool {
        let (caller, at, presented) = match self {
            Self::Key(digest) => return snapshot.keys.holds(digest, evidence.tick.unix),
            Self::Shown { caller, at, presented } => (caller, at, presented.as_ref().map(Secret::expose_bytes)),
        };
        let is_there = |at: &usize| snapshot.callers.get(*at).is_some_and(|entry| entry.name == *caller);
        let found = Some(at.get()).filter(is_there).or_else(|| (0..snapshot.callers.len()).find(is_there));
        let Some((found, entry)) = found.and_then(|found| Some((found, snapshot.callers.get(found)?))) else {
            return false;
        };
        at.set(found);
        entry.judge(found, snapshot, presented, evidence).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Tick,
        proxy::auth::{KeyGrant, KeyTable},
    };

    const KEY: [u8; 32] = [7; 32];

    fn keys(expires: Option<u64>) -> KeyTable {
        between(0, expires)
    }

    fn between(not_before: u64, expires: Option<u64>) -> KeyTable {
        [(KEY, KeyGrant { caller: 0, name: None, not_before, expires: expires.unwrap_or(u64::MAX) })]
            .into_iter()
            .collect()
    }

    fn tick(millis: u64) -> Tick {
        Tick { now: Moment::from_micros(millis * 1_000), unix: 1_000 + millis / 1_000, dice: 0 }
    }

    fn is_over(claim: &Claim, keys: &KeyTable, tick: Tick) -> bool {
        claim.is_up(keys.holds(&KEY, tick.unix), tick.now)
    }

    #[test]
    fn time_runs_from_when_the_key_is_gone_and_not_while_it_stands() {
        let claim = Claim { basis: Basis::Key(KEY), after: Duration::from_secs(10), until: Cell::new(None) };
        assert!(!is_over(&claim, &keys(None), tick(100_000)));
        assert!(!is_over(&claim, &KeyTable::default(), tick(200_000)));
        assert!(!is_over(&claim, &KeyTable::default(), tick(209_000)));
        assert!(is_over(&claim, &KeyTable::default(), tick(209_500)), "with room for the sweep that sees it");
        assert!(!is_over(&claim, &keys(None), tick(209_600)), "put back");
        assert!(!is_over(&claim, &KeyTable::default(), tick(209_700)), "and gone again: from the beginning");
    }

    #[test]
    fn what_was_presented_is_not_printed() {
        let presented = Some(Secret::new(b"canary-token".to_vec()));
        let basis = Basis::Shown { caller: "tenant".into(), at: Cell::new(0), presented };
        let printed = format!("{:?}", Claim { basis, after: Duration::ZERO, until: Cell::new(None) });
        assert!(printed.contains("tenant") && !printed.contains("canary"), "{printed}");
    }

    #[test]
    fn a_key_whose_time_has_passed_is_gone() {
        let claim = Claim { basis: Basis::Key(KEY), after: Duration::ZERO, until: Cell::new(None) };
        assert!(!is_over(&claim, &keys(Some(1_002)), tick(1_000)));
        assert!(is_over(&claim, &keys(Some(1_002)), tick(2_000)), "at once, where nothing is granted");
    }

    #[test]
    fn a_key_whose_time_is_put_off_is_gone_until_then() {
        let claim = Claim { basis: Basis::Key(KEY), after: Duration::ZERO, until: Cell::new(None) };
        assert!(!is_over(&claim, &between(1_002, None), tick(2_000)));
        assert!(is_over(&claim, &between(1_003, None), tick(2_000)));
    }
}
