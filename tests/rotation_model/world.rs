//! A state of the world, and how one step of the machine changes it.

use std::time::Duration;

use scoregate::{
    clock::Moment,
    ids::Generation,
    rotation::{
        digest::Digest,
        event::{Action, Event, Ticket},
        journal::{By, Journal, SlotRecord, Standing, VERSION},
        ladder::Tried,
        offer::{Hold, Offer},
        operation::OperationId,
        pace::Pace,
        probe::Target,
        renumber::Renumber,
        rules::{Mutation, Rules},
        service::{LockFile, Service},
        slot::{PerSlot, Slot},
        transaction::Work,
    },
};

use crate::{
    azure::{Azure, Maker, Value, digest},
    properties::{self, Ghost},
    renumbering::{Ages, NOW, Renumbering, UNIX, tick},
};

/// How often what may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A person asks to regenerate a slot.
    pub asks: u8,
    /// A person says that both keys leaked.
    pub leaks: u8,
    /// A person freezes, and unfreezes.
    pub freezes: u8,
    /// Somebody else changes a key.
    pub outside: u8,
    /// The process is killed.
    pub crashes: u8,
    /// A call to regenerate has another end than success.
    pub lost: u8,
    /// `listKeys` lags behind a change.
    pub stale: u8,
    /// A read, probe or write fails.
    pub failures: u8,
    /// Requests that are held, one at a time.
    pub held: u8,
    /// Requests that are not, one at a time.
    pub plain: u8,
    /// All of the above together, but for requests and what people ask.
    pub troubles: u8,
}

/// A state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// None: killed, and not started again.
    pub service: Option<Service>,
    pub calls: Calls,
    pub disk: Option<Journal>,
    pub azure: Azure,
    pub published: Option<Offer<Digest>>,
    /// What the worker has of it.
    pub worker: Option<Offer<Digest>>,
    pub held: Option<Request>,
    pub plain: Option<Request>,
    pub budget: Budget,
    pub ghost: Ghost,
}

/// Calls of the machine's that are not answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Calls {
    pub read: Option<Ticket>,
    pub probe: Option<(Ticket, Target)>,
    pub write: Option<(Ticket, Journal)>,
    pub regenerate: Option<(Ticket, Slot)>,
    pub poll: Option<Ticket>,
    pub drain: Option<Generation>,
}

/// A request between its first sending and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub front: usize,
    pub hold: Hold,
    pub tried: Tried<Digest>,
    /// What it is sent with now, and by which offer.
    pub value: Digest,
    pub generation: Generation,
    /// It waits for an offer later than this one.
    pub waits: Option<Generation>,
    /// Whether the service was locked when it began: then it is a trial.
    pub trial: bool,
    /// How many values there were when it began.
    pub made: usize,
    /// What its front end was seen to accept, by this request.
    pub met: PerSlot<Option<Value>>,
    /// Whether that changed meanwhile.
    pub steady: bool,
}

/// The world and its rules.
#[derive(Clone)]
pub struct Gate {
    pub rules: Rules,
    pub budget: Budget,
    pub mutation: Mutation,
    /// Whether a journal is there at first.
    pub journal: Journalled,
    /// Whether time passes while reads, probes, writes and polls are under way.
    pub answers: Answers,
}

/// Whether the process is the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journalled {
    Before,
    NotYet,
}

/// How long reads, probes, writes and polls take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// No time at all.
    Quick,
    /// No time, and each comes twice; every step is audited.
    Twice,
    /// Any time.
    Slow,
}

/// Times are a few seconds, so that few differ.
pub fn rules(mutation: Mutation) -> Rules {
    let seconds = Duration::from_secs;
    Rules {
        // So far away that nothing else waits as long: see `renumbering`.
        look: seconds(1_000),
        listkeys_interval: seconds(2),
        adopt_gap: seconds(1),
        settle: seconds(2),
        min_gap: seconds(6),
        drain_timeout: seconds(2),
        read_gap: seconds(1),
        read_timeout: seconds(2),
        resubmit_after: seconds(3),
        probe_successes: 2,
        probe_spread: seconds(1),
        probe_fresh: seconds(1),
        probe_timeout: seconds(3),
        retry: Pace { first: seconds(1), longest: seconds(1) },
        park: Pace { first: seconds(2), longest: seconds(2) },
        mutation,
    }
}

fn old_journal() -> Journal {
    let record = |value| SlotRecord {
        digest: digest(value),
        standing: Standing::Settled,
        regenerated: 0,
        by: By::Us,
        retired: Vec::new(),
        replaced: Vec::new(),
    };
    Journal {
        version: VERSION,
        generation: 100,
        active: Slot::Primary,
        slots: PerSlot { primary: record(0), secondary: record(1) },
        frozen: false,
        open: None,
        owed: None,
        last_success: None,
        next_operation: OperationId(1),
        operations: Vec::new(),
    }
}

impl Gate {
    /// The world as it begins: a process is started.
    pub fn begin(&self) -> World {
        let mut world = World {
            service: None,
            calls: Calls::default(),
            disk: (self.journal == Journalled::Before).then(old_journal),
            azure: Azure::new(),
            published: None,
            worker: None,
            held: None,
            plain: None,
            budget: self.budget,
            ghost: Ghost::default(),
        };
        self.start(&mut world).unwrap();
        world.renumber(Duration::ZERO, &self.rules);
        world
    }

    /// Starts the process by what the disk says.
    pub fn start(&self, world: &mut World) -> Result<(), String> {
        let (service, actions) = Service::start(world.disk.as_ref(), LockFile::Ours, tick(Duration::ZERO), &self.rules);
        world.service = Some(service);
        self.perform(world, actions)
    }

    /// Tells the machine something, and does what it says.
    pub fn tell(&self, world: &mut World, event: &Event, after: Duration) -> Result<(), String> {
        let Some(service) = &mut world.service else { return Ok(()) };
        let in_hand = service.keys().in_hand();
        let before = (self.answers == Answers::Twice).then(|| service.clone());
        let mut actions = Vec::new();
        service.advance(event, tick(after), &self.rules, &mut actions);
        if let Some(before) = before {
            properties::audited(&before, service, &actions, after, &self.rules)?;
        }
        properties::after_a_step(in_hand, service, &actions, &world.ghost)?;
        self.perform(world, actions)?;
        properties::can_rest(world, after, &self.rules)?;
        if self.answers == Answers::Twice {
            properties::answered_twice(world, event, after, &self.rules)
        } else {
            Ok(())
        }
    }

    /// Does what the machine says.
    pub fn perform(&self, world: &mut World, actions: Vec<Action>) -> Result<(), String> {
        for action in actions {
            match action {
                Action::Publish(offer) => {
                    properties::at_a_publication(world, &offer)?;
                    world.published = Some(offer);
                }
                Action::ReadKeys { ticket, why } => {
                    world.ghost.note_read_begun(why);
                    world.calls.read = Some(ticket);
                }
                Action::Probe { ticket, target } => world.calls.probe = Some((ticket, target)),
                Action::AwaitDrained { generation } => world.calls.drain = Some(generation),
                Action::Write { ticket, journal } => world.calls.write = Some((ticket, *journal)),
                Action::Regenerate { ticket, slot, .. } => {
                    properties::at_a_regeneration(world, slot, &self.rules)?;
                    world.calls.regenerate = Some((ticket, slot));
                }
                Action::Poll { ticket, .. } => world.calls.poll = Some(ticket),
                Action::Tell(_) => {}
            }
        }
        properties::always(world)
    }
}

impl World {
    /// Makes numbers small again, `passed` after they were.
    pub fn renumber(&mut self, passed: Duration, rules: &Rules) {
        self.forget();
        let current = self.service.as_ref().map_or(self.ghost.highest, |service| service.keys().generation());
        let over = self.budget.asks == 0
            && self.budget.leaks == 0
            && self.service.as_ref().is_some_and(|service| service.transaction().is_none());
        let mut by = Renumbering::new(passed, current, if over { Ages::AreAlike } else { Ages::Matter });
        self.visit(&mut by, rules);
        by.replace();
        self.visit(&mut by, rules);
    }

    /// What decides nothing any more is as if it had not been.
    fn forget(&mut self) {
        let no_more = |budget: u8, request: &Option<Request>| budget == 0 && request.is_none();
        if no_more(self.budget.held, &self.held) {
            self.ghost.bucket_reads = 0;
            if no_more(self.budget.plain, &self.plain) {
                self.worker = self.published;
            }
        }
        if self.held.is_none() {
            self.ghost.read_failed = false;
        }
        let draining = |service: &Service| {
            service.transaction().is_some_and(|transaction| matches!(transaction.work, Work::Draining { .. }))
        };
        if !self.service.as_ref().is_some_and(draining) {
            self.calls.drain = None;
        }
        let (shown, accepted) = (&mut self.ghost.shown, &mut self.ghost.accepted);
        shown.retain(|value| self.azure.maker_of(*value) == Maker::Outside);
        accepted.retain(|value| self.azure.maker_of(*value) != Maker::Before);
    }

    fn visit(&mut self, by: &mut Renumbering, rules: &Rules) {
        if let Some(service) = &mut self.service {
            service.renumber(by, rules);
        }
        for ticket in [&mut self.calls.read, &mut self.calls.poll].into_iter().flatten() {
            by.ticket(ticket);
        }
        if let Some((ticket, _)) = &mut self.calls.probe {
            by.ticket(ticket);
        }
        if let Some((ticket, _)) = &mut self.calls.regenerate {
            by.ticket(ticket);
        }
        if let Some((ticket, journal)) = &mut self.calls.write {
            by.ticket(ticket);
            by.journal(journal, rules);
        }
        if let Some(generation) = &mut self.calls.drain {
            by.generation(generation);
        }
        if let Some(journal) = &mut self.disk {
            by.journal(journal, rules);
        }
        if let Some(pending) = &mut self.azure.pending {
            by.moment(&mut pending.deadline, Duration::ZERO);
        }
        for offer in [&mut self.published, &mut self.worker].into_iter().flatten() {
            by.handed(&mut offer.generation);
        }
        for request in [&mut self.held, &mut self.plain].into_iter().flatten() {
            by.handed(&mut request.generation);
            if let Some(generation) = &mut request.waits {
                by.generation(generation);
            }
        }
        self.ghost.renumber(by, rules);
    }

    /// When the machine wants to be told that time passed.
    pub fn wake(&self, rules: &Rules) -> Option<Moment> {
        self.service.as_ref()?.next_wake(NOW, rules)
    }

    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        self.held.iter().chain(&self.plain)
    }
}

const _: () = assert!(UNIX > 10_000, "journals of long ago are before everything that matters");
