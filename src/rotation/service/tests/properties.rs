//! Random lives: whatever the other sides do, and at the end all is well.

use std::time::Duration;

use proptest::prelude::*;

use super::{UNIX, digest, seconds};
use crate::{
    clock::{Moment, Tick},
    rotation::{
        digest::Digest,
        event::{Action, CallOutcome, Event, PollOutcome, Ticket, WriteOutcome},
        invariants::audit,
        journal::Journal,
        offer::Offer,
        operation::{Ask, Policy, Step},
        probe::{Target, Verdict},
        rules::Rules,
        service::{LockFile, Service},
        slot::{PerSlot, Slot},
    },
};

/// A call that is not answered.
#[derive(Debug)]
enum Call {
    Read(Ticket),
    Probe(Ticket, Target),
    Write(Ticket, Box<Journal>),
    Regenerate(Ticket, Slot),
    Poll(Ticket),
    Drain(u64),
}

struct Life {
    service: Service,
    rules: Rules,
    now: Moment,
    dice: u64,
    calls: Vec<Call>,
    disk: Option<Journal>,
    offer: Option<Offer<Digest>>,
    keys: PerSlot<u8>,
    accepted: PerSlot<u8>,
    before: PerSlot<u8>,
    made: u8,
    /// A call that may still take effect, until then.
    pending: Option<(Slot, Moment)>,
    /// The highest generation that was published while it was reserved.
    highest: u64,
}

impl Life {
    fn new(dice: u64) -> Self {
        // Short, so that more happens in a life.
        let rules = Rules { min_gap: seconds(600), ..Rules::default() };
        let now = Moment::from_micros(1_000_000);
        let (service, actions) = Service::start(None, LockFile::Ours, at(now, dice), &rules);
        let keys = PerSlot { primary: 1, secondary: 2 };
        let mut life = Self {
            service,
            rules,
            now,
            dice,
            calls: Vec::new(),
            disk: None,
            offer: None,
            keys,
            accepted: keys,
            before: keys,
            made: 2,
            pending: None,
            highest: 0,
        };
        life.perform(actions);
        life
    }

    fn tick(&self) -> Tick {
        at(self.now, self.dice)
    }

    fn tell(&mut self, event: &Event) {
        let (next, actions) = self.service.step(event, self.tick(), &self.rules);
        let broken = audit(&self.service, &next, &actions, self.tick(), &self.rules);
        assert!(broken.is_empty(), "{broken:?} by {event:?}");
        self.service = next;
        self.perform(actions);
        let wake = self.service.next_wake(self.now, &self.rules);
        assert!(wake.is_none_or(|wake| wake > self.now), "a wake in the past");
        assert!(wake.is_some() || !self.calls.is_empty(), "nothing will ever happen");
        self.the_disk_says_what_it_should();
    }

    fn the_disk_says_what_it_should(&self) {
        let writing = self.calls.iter().any(|call| matches!(call, Call::Write(..)));
        let (Some(disk), Some(should)) = (&self.disk, self.service.journal(self.tick(), &self.rules)) else { return };
        if writing || self.service.writes.not_before > self.now {
            return;
        }
        // When a key was regenerated is counted by a clock that is not the wall's: a second more or less.
        let mut rounded = should.clone();
        rounded.generation = disk.generation;
        for slot in Slot::BOTH {
            assert!(rounded.slots[slot].regenerated.abs_diff(disk.slots[slot].regenerated) <= 1);
            rounded.slots[slot].regenerated = disk.slots[slot].regenerated;
        }
        assert_eq!(*disk, rounded);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            let call = match action {
                Action::Publish(offer) => {
                    let before = self.offer.map_or(0, |offer| offer.generation).max(self.highest);
                    assert!(offer.generation > before, "{} after {before}", offer.generation);
                    if self.disk.as_ref().is_some_and(|disk| offer.generation <= disk.generation) {
                        self.highest = offer.generation;
                    }
                    self.offer = Some(offer);
                    continue;
                }
                Action::Tell(_) => continue,
                Action::AwaitDrained { generation } => {
                    self.calls.retain(|call| !matches!(call, Call::Drain(_)));
                    Call::Drain(generation)
                }
                Action::ReadKeys { ticket, .. } => Call::Read(ticket),
                Action::Probe { ticket, target } => Call::Probe(ticket, target),
                Action::Write { ticket, journal } => Call::Write(ticket, journal),
                Action::Regenerate { ticket, slot, .. } => {
                    assert!(self.pending.is_none(), "a second call while one may take effect");
                    Call::Regenerate(ticket, slot)
                }
                Action::Poll { ticket, .. } => Call::Poll(ticket),
            };
            let same = |other: &Call| std::mem::discriminant(other) == std::mem::discriminant(&call);
            assert!(!self.calls.iter().any(same), "two at once: {call:?} beside {:?}", self.calls);
            self.calls.push(call);
        }
    }

    fn change(&mut self, slot: Slot) {
        self.made = self.made.checked_add(1).unwrap_or(100);
        self.before[slot] = self.keys[slot];
        self.keys[slot] = self.made;
    }

    /// Answers a call, well or not.
    fn answer(&mut self, at: usize, how: u8) {
        if self.calls.is_empty() {
            return;
        }
        let call = self.calls.remove(at % self.calls.len());
        let good = how < 220;
        let event = match call {
            Call::Read(ticket) => {
                let shown = |slot| if how % 16 == 15 { self.before[slot] } else { self.keys[slot] };
                let keys = PerSlot::from_fn(|slot| digest(shown(slot)));
                Event::Read {
                    ticket,
                    keys: if good { Ok(keys) } else { Err((how > 240).then(|| seconds(u64::from(how)))) },
                }
            }
            Call::Probe(ticket, target) => {
                let verdict = match target {
                    _ if !good => Verdict::Nothing((how > 240).then(|| seconds(u64::from(how)))),
                    Target::Value(value) if self.accepts(value) => Verdict::Accepted,
                    Target::Value(_) | Target::WrongKey => Verdict::Refused,
                };
                Event::Probed { ticket, verdict }
            }
            Call::Write(ticket, journal) => {
                // Failed may be written all the same.
                if good || how.is_multiple_of(2) {
                    let bytes = journal.to_bytes().unwrap();
                    self.disk = Some(Journal::from_bytes(&bytes).unwrap());
                }
                let outcome = if good { WriteOutcome::Durable } else { WriteOutcome::Failed };
                Event::Written { ticket, outcome }
            }
            Call::Regenerate(ticket, slot) => {
                let deadline = self.now + self.rules.resubmit_after;
                // Somebody else had changed it, and a late read hid that: then this one is over when it is answered.
                let known = self.service.keys().slot(slot).value == Some(digest(self.keys[slot]));
                let outcome = match how {
                    60..140 | 170..190 if !known => {
                        self.change(slot);
                        CallOutcome::Unknown
                    }
                    0..60 => {
                        self.change(slot);
                        CallOutcome::Done
                    }
                    60..140 => {
                        self.pending = Some((slot, deadline));
                        CallOutcome::Begun { address: "there".into(), poll_after: None }
                    }
                    140..170 => {
                        self.change(slot);
                        CallOutcome::Unknown
                    }
                    170..190 => {
                        self.pending = Some((slot, deadline));
                        CallOutcome::Unknown
                    }
                    190..210 => CallOutcome::Unknown,
                    210..220 => CallOutcome::Conflict,
                    220..230 => CallOutcome::Throttled { retry_after: Some(seconds(77)) },
                    230..240 => CallOutcome::Denied,
                    _ => CallOutcome::Refused { status: 400 },
                };
                Event::Regenerated { ticket, outcome }
            }
            Call::Poll(ticket) => {
                let outcome = match (self.pending, how) {
                    (_, 220..) => PollOutcome::Unknown { retry_after: None },
                    (Some(_), _) => PollOutcome::Running { retry_after: Some(seconds(9)) },
                    (None, 0..180) => PollOutcome::Succeeded,
                    (None, _) => PollOutcome::Failed,
                };
                Event::Polled { ticket, outcome }
            }
            Call::Drain(generation) => Event::Drained { generation },
        };
        self.tell(&event);
        // The same answer again is nothing.
        let (again, actions) = self.service.step(&event, self.tick(), &self.rules);
        let drained = matches!(event, Event::Drained { .. });
        let same = drained || (again == self.service && actions.is_empty());
        assert!(same, "{event:?} a second time: {actions:?} {:#?}", self.service);
    }

    fn accepts(&self, value: Digest) -> bool {
        Slot::BOTH.into_iter().any(|slot| digest(self.accepted[slot]) == value)
    }

    /// A request, and how it fares.
    fn request(&mut self, how: u8) {
        let Some(offer) = self.offer else { return };
        let values: Vec<Digest> = offer.values().collect();
        let value = values[usize::from(how) % values.len()];
        if self.accepts(value) {
            self.tell(&Event::Accepted { value });
        } else {
            self.tell(&Event::Rejected { generation: offer.generation, value });
            if how > 128 {
                let generation = self.offer.unwrap().generation;
                self.tell(&Event::Exhausted { generation });
            }
        }
    }

    fn wait(&mut self, most: Duration) {
        // The driver gives each call a minute.
        while let Some(at) = self.calls.iter().position(|call| !matches!(call, Call::Drain(_)))
            && most > seconds(60)
        {
            self.answer(at, 190);
        }
        let end = self.now + most;
        let wake = self.service.next_wake(self.now, &self.rules).map_or(end, |wake| wake.min(end));
        self.now = wake;
        if self.pending.is_some_and(|(_, deadline)| deadline <= wake) {
            self.pending = None;
        }
        self.tell(&Event::Tick);
    }

    fn restart(&mut self, how: u8) {
        for call in std::mem::take(&mut self.calls) {
            match call {
                Call::Write(_, journal) if how.is_multiple_of(2) => self.disk = Some(*journal),
                Call::Regenerate(_, slot) => {
                    let known = self.service.keys().slot(slot).value == Some(digest(self.keys[slot]));
                    self.pending = known.then_some((slot, self.now + self.rules.resubmit_after));
                }
                _ => {}
            }
        }
        let (service, actions) = Service::start(self.disk.as_ref(), LockFile::Ours, self.tick(), &self.rules);
        self.service = service;
        self.offer = None;
        self.perform(actions);
    }

    fn live(&mut self, what: u8, how: u8) {
        match what {
            0..140 => self.answer(usize::from(what), how),
            140..185 => self.wait(seconds(u64::from(how).pow(2))),
            185..200 => self.request(how),
            200..212 => {
                for slot in Slot::BOTH {
                    self.accepted[slot] = self.keys[slot];
                }
            }
            212..216 => {
                let slot = if how.is_multiple_of(2) { Slot::Primary } else { Slot::Secondary };
                self.accepted[slot] = self.keys[slot];
            }
            216..226 => {
                let (slot, policy) = (self.service.keys().active(), Policy::Full);
                let until = Some(self.tick().unix + u64::from(how) * 10);
                let ask = match how % 6 {
                    0 | 1 => Ask::Regenerate { slot, set_key: None },
                    2 => Ask::Regenerate { slot: None, set_key: None },
                    3 => Ask::Leaked,
                    4 => Ask::Rollback,
                    _ => Ask::Scheduled { policy, until },
                };
                if let Ok((service, actions, _)) = self.service.ask(&ask, self.tick(), &self.rules) {
                    self.service = service;
                    self.perform(actions);
                }
            }
            226..228 => self.tell(&Event::Freeze),
            228..232 => self.tell(&Event::Unfreeze),
            232..234 => {
                // Not the one of which a call is on its way.
                let called = self.calls.iter().any(|call| matches!(call, Call::Regenerate(..)));
                if self.pending.is_none() && !called {
                    self.change(if how.is_multiple_of(2) { Slot::Primary } else { Slot::Secondary });
                }
            }
            234..240 => {
                if let Some((slot, _)) = self.pending.take() {
                    self.change(slot);
                }
            }
            240..244 => self.restart(how),
            _ => self.wait(seconds(3_600)),
        }
    }

    /// From here all is well.
    fn heal(&mut self) {
        self.tell(&Event::Unfreeze);
        self.pending = None;
        for _ in 0..3_000 {
            self.accepted = self.keys;
            self.before = self.keys;
            if self.calls.is_empty() {
                let idle = self.service.progress(self.now, &self.rules).0 == Step::Idle;
                let settled = Slot::BOTH.into_iter().all(|slot| {
                    let keys = self.service.keys().slot(slot);
                    keys.value == Some(digest(self.keys[slot])) && keys.incoming.is_none()
                });
                if idle && settled && self.offer.is_some() && self.service.keys().proving().is_none() {
                    return;
                }
                self.wait(seconds(3_600));
            } else {
                self.answer(0, 0);
            }
        }
        panic!("it never comes to rest: {:#?}", self.service);
    }
}

fn at(now: Moment, dice: u64) -> Tick {
    Tick { now, unix: UNIX + now.as_micros() / 1_000_000, dice }
}

/// One such life: others changed the new key before it was proven, a late read brought ours for theirs, and they changed the other one. What
/// was read for hours was taken for late, and the rotation went round for ever.
#[test]
fn what_others_made_of_the_new_key_is_not_late_for_ever() {
    let mut world = Life::new(6_763_806_160_360_168_926);
    let lived = [
        (140, 17),
        (140, 17),
        (140, 7),
        (216, 30),
        (140, 8),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
        (232, 50),
        (140, 3),
        (140, 8),
        (140, 8),
        (240, 0),
        (73, 220),
        (0, 241),
        (140, 2),
        (140, 16),
        (0, 0),
        (0, 15),
        (140, 3),
        (0, 15),
        (0, 0),
        (0, 0),
        (232, 7),
    ];
    for (what, how) in lived {
        world.live(what, how);
    }
    assert!(world.service.transaction.is_some(), "this life no longer leads there");
    world.heal();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_comes_to_rest(life in prop::collection::vec(any::<(u8, u8)>(), 1..500), dice: u64) {
        let mut world = Life::new(dice);
        for (what, how) in life {
            world.live(what, how);
        }
        world.heal();
    }
}
