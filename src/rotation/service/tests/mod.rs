//! A service, a driver that does as it is told, and an Azure that can be told to misbehave.

mod adoption;
mod properties;
mod refusals;
mod rotation;

use std::collections::VecDeque;

use crate::{
    clock::{Moment, Tick},
    rotation::{
        digest::Digest,
        event::{Action, CallOutcome, Event, Notice, PollOutcome, Why, WriteOutcome},
        invariants::audit,
        journal::Journal,
        offer::Offer,
        operation::{Ask, OperationId, State, Step},
        probe::{Target, Verdict},
        refusal::Refusal,
        rules::Rules,
        service::{LockFile, Service},
        slot::{PerSlot, Slot},
    },
};
use std::time::Duration;

const UNIX: u64 = 1_800_000_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn digest(value: u8) -> Digest {
    Digest::from_bytes([value; 32])
}

/// What the driver has to do with.
struct Bench {
    service: Service,
    rules: Rules,
    now: Moment,
    /// What the service's keys are; front ends and `listKeys` agree, unless told otherwise.
    keys: PerSlot<u8>,
    made: u8,
    /// What `listKeys` says in their place.
    listed: Option<PerSlot<u8>>,
    /// What front ends accept beside them, and what they do not.
    also_accepted: Vec<u8>,
    refused: Vec<u8>,
    control_plane: bool,
    wrong_key_is_refused: bool,
    drains: bool,
    disk_works: bool,
    /// How calls to regenerate end; where there is none, well.
    ends: VecDeque<CallOutcome>,
    disk: Option<Journal>,
    offer: Option<Offer<Digest>>,
    reads: Vec<(Moment, Why)>,
    probes: Vec<(Moment, Target)>,
    regenerated: Vec<(Moment, Slot)>,
    steps: Vec<(u64, String)>,
    todo: VecDeque<Action>,
}

impl Bench {
    /// A first start, keys 10 and 20, up to where nothing is left to do; a day later `min_gap` stands against nothing.
    fn started() -> Self {
        let mut bench = Self::starting(None, LockFile::Ours);
        bench.run(seconds(86_400));
        bench.steps.clear();
        bench.reads.clear();
        bench.probes.clear();
        bench
    }

    fn starting(disk: Option<Journal>, lock_file: LockFile) -> Self {
        let rules = Rules::default();
        let (service, actions) = Service::start(disk.as_ref(), lock_file, tick(Moment::default()), &rules);
        Self {
            service,
            rules,
            now: Moment::default(),
            keys: PerSlot { primary: 10, secondary: 20 },
            made: 100,
            listed: None,
            also_accepted: Vec::new(),
            refused: Vec::new(),
            control_plane: true,
            wrong_key_is_refused: true,
            drains: true,
            disk_works: true,
            ends: VecDeque::new(),
            disk,
            offer: None,
            reads: Vec::new(),
            probes: Vec::new(),
            regenerated: Vec::new(),
            steps: Vec::new(),
            todo: actions.into(),
        }
    }

    /// The process is killed and started again.
    fn restart(&mut self) {
        let (service, actions) = Service::start(self.disk.as_ref(), LockFile::Ours, tick(self.now), &self.rules);
        self.service = service;
        self.offer = None;
        self.todo = actions.into();
    }

    fn tell(&mut self, event: &Event) {
        let (next, actions) = self.service.step(event, tick(self.now), &self.rules);
        let broken = audit(&self.service, &next, &actions, tick(self.now), &self.rules);
        assert!(broken.is_empty(), "{broken:?} by {event:?}");
        self.service = next;
        self.todo.extend(actions);
    }

    fn ask(&mut self, ask: Ask) -> Result<OperationId, Refusal> {
        let (next, actions, operation) = self.service.ask(&ask, tick(self.now), &self.rules)?;
        self.service = next;
        self.todo.extend(actions);
        Ok(operation)
    }

    fn regenerate(&mut self, slot: Slot) -> OperationId {
        self.ask(Ask::Regenerate { slot: Some(slot), set_key: None }).unwrap()
    }

    /// Does what there is to do, and lets time pass to each wake, for so long.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for performed in 0.. {
                let Some(action) = self.todo.pop_front() else { break };
                assert!(performed < 1_000, "no end of {action:?}");
                self.perform(action);
            }
            match self.service.next_wake(self.now, &self.rules) {
                Some(wake) if wake <= end => {
                    assert!(wake > self.now, "a wake in the past");
                    self.now = wake;
                    self.tell(&Event::Tick);
                }
                _ => break,
            }
        }
        self.now = end;
        self.tell(&Event::Tick);
    }

    /// Runs until a step begins.
    fn run_to(&mut self, step: Step) {
        for _ in 0..10_000 {
            if self.step() == step {
                return;
            }
            while let Some(action) = self.todo.pop_front() {
                self.perform(action);
                if self.step() == step {
                    return;
                }
            }
            let wake = self.service.next_wake(self.now, &self.rules).expect("something is due");
            self.now = wake;
            self.tell(&Event::Tick);
        }
        panic!("{step:?} never comes");
    }

    fn perform(&mut self, action: Action) {
        let event = match action {
            Action::Publish(offer) => {
                self.offer = Some(offer);
                return;
            }
            Action::ReadKeys { ticket, why } => {
                self.reads.push((self.now, why));
                let keys = self.listed.unwrap_or(self.keys);
                let keys = PerSlot { primary: digest(keys.primary), secondary: digest(keys.secondary) };
                Event::Read { ticket, keys: if self.control_plane { Ok(keys) } else { Err(None) } }
            }
            Action::Probe { ticket, target } => {
                self.probes.push((self.now, target));
                let accepted = match target {
                    Target::WrongKey => !self.wrong_key_is_refused,
                    Target::Value(value) => self.accepts(value),
                };
                Event::Probed { ticket, verdict: if accepted { Verdict::Accepted } else { Verdict::Refused } }
            }
            Action::AwaitDrained { generation } if self.drains => Event::Drained { generation },
            Action::AwaitDrained { .. } => return,
            Action::Write { ticket, journal } => {
                let outcome = if self.disk_works { WriteOutcome::Durable } else { WriteOutcome::Failed };
                if self.disk_works {
                    // As it would come back.
                    self.disk = Some(Journal::from_bytes(&journal.to_bytes().unwrap()).unwrap());
                }
                Event::Written { ticket, outcome }
            }
            Action::Regenerate { ticket, slot, .. } => {
                self.regenerated.push((self.now, slot));
                let outcome = self.ends.pop_front().unwrap_or_else(|| {
                    self.change(slot);
                    CallOutcome::Done
                });
                Event::Regenerated { ticket, outcome }
            }
            Action::Poll { ticket, .. } => Event::Polled { ticket, outcome: PollOutcome::Succeeded },
            Action::Tell(notice) => {
                let at = self.now.as_micros() / 1_000_000;
                match notice {
                    Notice::Step(_, step) => self.steps.push((at, step.label().to_owned())),
                    Notice::Parked(_, why) => self.steps.push((at, format!("parked: {}", why.label()))),
                    _ => {}
                }
                return;
            }
        };
        self.tell(&event);
    }

    fn accepts(&self, value: Digest) -> bool {
        let known = [self.keys.primary, self.keys.secondary];
        let mut accepted = known.iter().chain(&self.also_accepted).filter(|value| !self.refused.contains(value));
        accepted.any(|known| digest(*known) == value)
    }

    /// A key gets a new value.
    fn change(&mut self, slot: Slot) -> u8 {
        self.made += 1;
        self.keys[slot] = self.made;
        self.made
    }

    fn step(&self) -> Step {
        self.service.progress(self.now, &self.rules).0
    }

    fn state(&self, operation: OperationId) -> State {
        self.service.operation(operation, self.now, &self.rules).unwrap().state
    }

    fn active(&self) -> Slot {
        self.service.keys().active().unwrap()
    }

    /// What the present offer has, in the order in which a held request tries it.
    fn ladder(&self) -> Vec<Digest> {
        let mut values: Vec<Digest> = self.offer.unwrap().values().collect();
        values.dedup();
        values
    }

    /// A request with the value that others get is refused.
    fn reject(&mut self) {
        let offer = self.offer.unwrap();
        self.tell(&Event::Rejected { generation: offer.generation, value: offer.others });
    }

    fn exhaust(&mut self) {
        let generation = self.offer.unwrap().generation;
        self.tell(&Event::Exhausted { generation });
    }
}

fn tick(now: Moment) -> Tick {
    Tick { now, unix: UNIX + now.as_micros() / 1_000_000, dice: 0 }
}
