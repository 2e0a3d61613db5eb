//! The journal of a rotation: what is read is written the same, and a service can be started from whatever is taken for one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scoregate::{
    clock::{Moment, Tick},
    rotation::{
        digest::Digest,
        event::{Action, CallOutcome, Event, WriteOutcome},
        journal::{Journal, OPERATIONS},
        probe::Verdict,
        resume::resume,
        rules::Rules,
        service::{LockFile, Service},
        slot::PerSlot,
    },
};

fuzz_target!(|bytes: &[u8]| {
    let journal = match Journal::from_bytes(bytes) {
        Ok(journal) => journal,
        Err(why) => {
            assert!(!why.to_string().is_empty());
            return;
        }
    };
    let written = journal.to_bytes().expect("what was read can be written");
    assert_eq!(Journal::from_bytes(&written).as_ref(), Ok(&journal), "it reads otherwise than it was");
    assert!(journal.operations.len() <= OPERATIONS && written.ends_with(b"}\n"));

    let other = Digest::from_bytes([9; 32]);
    let known = PerSlot { primary: journal.slots.primary.digest, secondary: journal.slots.secondary.digest };
    let rules = Rules::default();
    for read in [known, PerSlot { secondary: other, ..known }, PerSlot { primary: other, ..known }] {
        let _next = resume(&journal, &read);
        for lock_file in [LockFile::Ours, LockFile::Theirs, LockFile::Absent] {
            started(&journal, lock_file, &read, &rules);
        }
    }
});

/// A process that finds this journal, reads the keys, and goes on for a while.
fn started(journal: &Journal, lock_file: LockFile, read: &PerSlot<Digest>, rules: &Rules) {
    let mut now = Moment::default();
    let tick = |now: Moment| Tick { now, unix: 1_800_000_000 + now.as_micros() / 1_000_000, dice: 7 };
    let (mut service, mut actions) = Service::start(Some(journal), lock_file, tick(now), rules);
    for _ in 0..24 {
        let mut events = Vec::new();
        for action in std::mem::take(&mut actions) {
            match action {
                Action::Publish(offer) => {
                    assert!(offer.generation > journal.generation, "a generation that was published before");
                }
                Action::ReadKeys { ticket, .. } => events.push(Event::Read { ticket, keys: Ok(*read) }),
                Action::Probe { ticket, .. } => events.push(Event::Probed { ticket, verdict: Verdict::Accepted }),
                Action::Regenerate { ticket, .. } => {
                    assert!(lock_file == LockFile::Ours, "regenerated without the lock");
                    events.push(Event::Regenerated { ticket, outcome: CallOutcome::Unknown });
                }
                Action::AwaitDrained { generation } => events.push(Event::Drained { generation }),
                Action::Write { ticket, journal } => {
                    assert!(lock_file == LockFile::Ours, "written without the lock");
                    let bytes = journal.to_bytes().expect("written");
                    assert_eq!(Journal::from_bytes(&bytes).as_ref(), Ok(&*journal), "written so that it is refused");
                    events.push(Event::Written { ticket, outcome: WriteOutcome::Durable });
                }
                _ => {}
            }
        }
        if events.is_empty() {
            let Some(wake) = service.next_wake(now, rules) else { return };
            now = now.max(wake);
            events.push(Event::Tick);
        }
        for event in &events {
            service.advance(event, tick(now), rules, &mut actions);
        }
    }
}
