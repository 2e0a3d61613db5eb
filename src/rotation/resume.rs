//! Where a transaction goes on after a crash, judged by what the journal says was intended and what the keys are now.

use super::{journal::Journal, slot::PerSlot};
use crate::rotation::digest::Digest;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing was open.
    Idle,
    /// Nothing was submitted: from the beginning.
    Precheck,
    /// The key has changed: the call took effect.
    ReadBack,
    /// The call was made, and its operation can be asked.
    Poll(Box<str>),
    /// The call may have been made, and may yet take effect: nothing is submitted until the key has stayed unchanged for
    /// `resubmit_after`.
    Await,
}

/// Decides by a journal and by a read of the keys.
#[must_use]
pub fn resume(journal: &Journal, read: &PerSlot<Digest>) -> Next {
    let Some(open) = &journal.open else { return Next::Idle };
    let Some(intent) = &open.intent else { return Next::Precheck };
    let now = read[open.slot];
    // What was retired is a read from before the intent.
    let stale = now != intent.before[open.slot] && journal.slots[open.slot].retired.contains(&now);
    // The journal may know of the new value already; it differs from the one before all the same.
    if now != intent.before[open.slot] && !stale {
        return Next::ReadBack;
    }
    match &intent.address {
        Some(address) => Next::Poll(address.clone()),
        None => Next::Await,
    }
}
