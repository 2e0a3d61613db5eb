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
    // What the key was long ago is a read that is late.
    let record = &journal.slots[open.slot];
    let stale = record.retired.contains(&now) || record.replaced.contains(&now);
    // The journal may know of the new value already; it differs from the one before all the same.
    if now != intent.before[open.slot] && !stale {
        return Next::ReadBack;
    }
    match &intent.address {
        Some(address) => Next::Poll(address.clone()),
        None => Next::Await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::{
        journal::{By, Intent, Open, SlotRecord, Standing, VERSION},
        operation::{OperationId, Origin},
        slot::Slot,
    };

    fn digest(value: u8) -> Digest {
        Digest::from_bytes([value; 32])
    }

    fn journal(known: u8, retired: &[u8], open: Option<Open>) -> Journal {
        let record = |value, retired: &[u8]| SlotRecord {
            digest: digest(value),
            standing: Standing::Settled,
            regenerated: 0,
            by: By::Us,
            retired: retired.iter().take(1).copied().map(digest).collect(),
            replaced: retired.iter().skip(1).copied().map(digest).collect(),
        };
        Journal {
            version: VERSION,
            generation: 1,
            active: Slot::Primary,
            slots: PerSlot { primary: record(9, &[]), secondary: record(known, retired) },
            frozen: false,
            open,
            owed: None,
            last_success: None,
            next_operation: OperationId(1),
            operations: Vec::new(),
        }
    }

    fn open(intent: Option<Intent>) -> Open {
        Open {
            operation: OperationId(1),
            slot: Slot::Secondary,
            origin: Origin::Asked,
            began: 0,
            until: None,
            next: None,
            set_key: None,
            intent,
        }
    }

    /// Every combination of what the key was before, what the journal knows of it, what it retired or others replaced, what a read says, and
    /// whether an operation is known; three values, and the other key as it was or not.
    #[test]
    fn every_crash_point() {
        let mut seen = std::collections::BTreeMap::new();
        for before in 0..3 {
            for known in 0..3 {
                for retired in [&[][..], &[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]] {
                    for value in 0..3 {
                        for other in [9, 8] {
                            for address in [None, Some("there")] {
                                let intent = Intent {
                                    before: PerSlot { primary: digest(9), secondary: digest(before) },
                                    address: address.map(Into::into),
                                };
                                let journal = journal(known, retired, Some(open(Some(intent))));
                                let read = PerSlot { primary: digest(other), secondary: digest(value) };
                                let changed = value != before && !retired.contains(&value);
                                let expected = match address {
                                    _ if changed => Next::ReadBack,
                                    Some(address) => Next::Poll(address.into()),
                                    None => Next::Await,
                                };
                                let next = resume(&journal, &read);
                                assert_eq!(next, expected, "{before} {known} {retired:?} {value}");
                                *seen.entry(format!("{next:?}")).or_insert(0) += 1;
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(seen.len(), 3, "each way was gone: {seen:?}");
    }

    #[test]
    fn where_nothing_was_intended() {
        let read = PerSlot { primary: digest(9), secondary: digest(5) };
        assert_eq!(resume(&journal(1, &[], None), &read), Next::Idle);
        assert_eq!(resume(&journal(1, &[], Some(open(None))), &read), Next::Precheck);
    }
}
