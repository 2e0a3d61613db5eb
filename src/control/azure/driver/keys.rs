//! A service with two keys: does what [`Service`] says, and tells it what came of that.

use std::{sync::Arc, time::Duration};

use tokio::task::{AbortHandle, JoinSet, spawn_blocking};

use super::{
    super::{
        probe::{self, Front, Probed},
        seat::{End, Located, Order, Seat, all_attach, until},
    },
    DESCRIBE_AGAIN, REATTACH, calls, follow, look_again, tell,
    timetable::Timetable,
    values::Values,
};
use crate::{
    azure::{
        error::Error,
        service::{Auth, KeyPair},
    },
    clock::{Moment, Tick},
    config::model::{Slot, Upkeep},
    control::{
        desk::{Granted, Request, Run, Wish},
        journals::{Keeper, Opened},
    },
    ids::Generation,
    proxy::credential::Report,
    rotation::{
        digest::Digest,
        event::{Action, CallOutcome, Event, Notice, Ticket, WriteOutcome},
        invariants::audit,
        journal::Journal,
        offer::Offer,
        operation::Ask,
        probe::{Target, Verdict},
        refusal::Refusal,
        service::{LockFile, Service},
        slot::PerSlot,
    },
    secret::Secret,
};

/// Between two looks whether the lock of a service that another process has is free.
const RELOCK: Duration = Duration::from_secs(30);
/// Between two looks whether every endpoint attaches what is to be drained for.
const SETTLE_LOOK: Duration = Duration::from_millis(50);

/// Drives a service with keys.
pub(super) async fn drive(seat: &mut Seat, located: Located) -> End {
    let id = located.id.clone().unwrap_or_default();
    let mut driver = Driver::new(seat, id).await;
    driver.go_on().await
}

struct Driver<'s> {
    seat: &'s mut Seat,
    upkeep: Upkeep,
    /// Its resource id.
    id: String,
    service: Service,
    values: Values,
    place: Place,
    calls: JoinSet<Answer>,
    /// What requests should get.
    offer: Option<Offer<Digest>>,
    /// Added to the machine's generations for the gate, where they only grow whatever drove the service before.
    lift: Generation,
    reattach_at: Option<Moment>,
    /// Waits for requests with an earlier value; one at a time.
    drain: Option<AbortHandle>,
    front: Option<Front>,
    timetable: Timetable,
    /// The key that somebody chose by hand and that does not carry requests yet.
    chosen: Option<Slot>,
    relock_at: Option<Moment>,
    describe_at: Option<Moment>,
    removed: bool,
    changed: bool,
    /// A journal is on its way to the disk, or did not get there.
    unwritten: bool,
}

/// Whose the journal is.
enum Place {
    Ours(Arc<Keeper>),
    Theirs,
    Absent(String),
}

/// What came of a call.
enum Answer {
    Read(Ticket, Result<KeyPair, Error>),
    Probed(Ticket, Target, Probed),
    Regenerated(Ticket, Slot, CallOutcome, Option<Error>),
    Happened(Event),
    Described(Result<Located, Error>),
}

impl<'s> Driver<'s> {
    async fn new(seat: &'s mut Seat, id: String) -> Self {
        let upkeep = seat.service().map(|service| service.upkeep.clone()).unwrap_or_default();
        let tick = seat.tick();
        let (place, journal) = open(seat, &id).await;
        let (service, actions) = Service::start(journal.as_deref(), place.lock_file(), tick, &upkeep.rules);
        let seed = crate::digest::sha256(id.to_lowercase().as_bytes());
        let seed = seed.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let mut driver = Self {
            values: Values::new(seat.journals.salt().clone()),
            chosen: seat.service().and_then(|service| service.active),
            relock_at: matches!(place, Place::Theirs).then(|| tick.now + RELOCK),
            seat,
            upkeep,
            id,
            service,
            place,
            calls: JoinSet::new(),
            offer: None,
            lift: 0,
            reattach_at: None,
            drain: None,
            front: None,
            timetable: Timetable::new(seed),
            describe_at: None,
            removed: false,
            changed: false,
            unwritten: false,
        };
        driver.lift_above_what_is_attached();
        for action in actions {
            driver.act(action).await;
        }
        driver.settle().await;
        driver
    }

    fn lift_above_what_is_attached(&mut self) {
        let endpoints = self.seat.subject.endpoints.iter();
        let attached = endpoints.filter_map(|(name, service)| self.seat.gate.attached_generation(name, service)).max();
        self.lift = attached.unwrap_or(0).saturating_sub(self.service.keys().generation());
    }

    async fn go_on(&mut self) -> End {
        let clock = self.seat.clock().clone();
        loop {
            if self.changed {
                return End::Changed;
            }
            // What was done last is to be on the disk, or the next process would do it again.
            if self.removed && self.service.transaction().is_none() && !self.unwritten {
                return End::Removed;
            }
            let wake = self.next_wake();
            tokio::select! {
                order = self.seat.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return End::Removed,
                },
                Some(request) = self.seat.requests.recv() => self.answer(request).await,
                Some(answer) = self.calls.join_next() => match answer {
                    Ok(answer) => self.take(answer).await,
                    Err(error) if error.is_cancelled() => {}
                    // Its ticket would be awaited for ever.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = until(&clock, wake) => self.wake().await,
            }
            self.settle().await;
        }
    }

    fn next_wake(&self) -> Option<Moment> {
        let tick = self.seat.tick();
        let attempt =
            self.next_attempt(tick).map(|attempt| tick.now + Duration::from_secs(attempt.at.saturating_sub(tick.unix)));
        let machine = self.service.next_wake(tick.now, &self.upkeep.rules);
        [machine, attempt, self.reattach_at, self.relock_at, self.describe_at].into_iter().flatten().min()
    }

    fn next_attempt(&self, tick: Tick) -> Option<crate::rotation::schedule::Attempt> {
        if self.removed { None } else { self.timetable.next(&self.service, &self.upkeep, tick) }
    }

    /// Something is due.
    async fn wake(&mut self) {
        let now = self.seat.clock().now();
        if self.reattach_at.is_some_and(|at| at <= now) {
            self.attach().await;
        }
        if self.relock_at.is_some_and(|at| at <= now) {
            self.relock().await;
        }
        if self.describe_at.is_some_and(|at| at <= now) {
            self.describe();
        }
        self.feed(Event::Tick).await;
        let tick = self.seat.tick();
        if let Some(attempt) = self.next_attempt(tick).filter(|attempt| attempt.at <= tick.unix) {
            let ask = Timetable::ask(&self.upkeep, attempt);
            if let Err(refusal) = self.ask(&ask).await {
                tracing::info!(endpoint = self.seat.label(), %refusal, "no rotation now");
                self.timetable.refused(refusal, tick);
            }
        }
    }

    /// What follows from whatever happened.
    async fn settle(&mut self) {
        if let Some(slot) = self.chosen {
            if self.service.keys().active() == Some(slot) {
                self.chosen = None;
            } else if self.service.transaction().is_none() && self.ask(&Ask::Rollback).await.is_ok() {
                tracing::info!(endpoint = self.seat.label(), slot = slot.label(), "attached as configured");
                self.chosen = None;
            }
        }
        let keys = self.service.keys();
        let to_set = self.service.transaction().and_then(|transaction| transaction.open.set_key);
        let offered = self.offer;
        let wanted = |digest| {
            keys.values().any(|value| value == digest)
                || to_set == Some(digest)
                || offered.is_some_and(|offer| offer.names(digest))
        };
        self.values.keep(wanted);
        let tick = self.seat.tick();
        let follows = match &self.place {
            Place::Ours(_) => None,
            Place::Theirs => Some("another process has the lock of this service and changes its keys".to_owned()),
            Place::Absent(why) => Some(why.clone()),
        };
        let next = self.next_attempt(tick).map(|attempt| attempt.at);
        tell::keys(self.seat, &self.service, tick, &self.upkeep.rules, follows, next);
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Renewed(subject) => {
                let gone: Vec<String> = self.seat.subject.endpoints.iter().map(|(name, _)| name.clone()).collect();
                self.seat.subject = subject;
                for name in
                    gone.iter().filter(|name| !self.seat.subject.endpoints.iter().any(|(kept, _)| kept == *name))
                {
                    tell::forget(&self.seat.gate, name);
                }
                self.removed = false;
                if let Some(service) = self.seat.service() {
                    self.upkeep = service.upkeep.clone();
                    self.chosen = service.active;
                }
                self.timetable.retry();
                // A reload may have begun before the last offer was attached, or have let go of it.
                self.attach().await;
                self.describe();
                self.feed(Event::Look).await;
            }
            Order::Removed => {
                self.removed = true;
                if self.service.transaction().is_some() {
                    let endpoint = self.seat.label();
                    tracing::warn!(
                        endpoint,
                        "its endpoint is gone from the configuration: the open rotation is brought to its end"
                    );
                }
            }
            Order::Report(report) => self.hear(report).await,
        }
    }

    /// What the data plane saw.
    async fn hear(&mut self, report: Report) {
        let event = match report {
            Report::Rejected { generation, value, .. } => {
                let generation = generation.saturating_sub(self.lift);
                self.values.digest(value).map(|value| Event::Rejected { generation, value })
            }
            Report::Accepted { value, .. } => self.values.digest(value).map(|value| Event::Accepted { value }),
            Report::Exhausted { generation, .. } => {
                Some(Event::Exhausted { generation: generation.saturating_sub(self.lift) })
            }
        };
        // A value that is no longer held is of no interest.
        if let Some(event) = event {
            self.feed(event).await;
        }
    }

    /// What somebody asks.
    async fn answer(&mut self, request: Request) {
        let Request { wish, run, answer } = request;
        let granted = self.grant(wish, run).await;
        let _nobody_waits = answer.send(granted);
    }

    async fn grant(&mut self, wish: Wish, run: Run) -> Result<Granted, Refusal> {
        if self.removed {
            return Err(Refusal::NotReady);
        }
        let ask = match wish {
            Wish::Regenerate { slot, set_key } => {
                let tick = self.seat.tick();
                let permitted =
                    |set_key| self.service.permits(&Ask::Regenerate { slot, set_key }, tick, &self.upkeep.rules);
                let target = slot.or_else(|| permitted(None).ok().map(|(slot, _)| slot));
                let set_key = set_key.map(|value| self.values.hold(target.unwrap_or(Slot::Primary), &value));
                Ask::Regenerate { slot, set_key }
            }
            Wish::Leaked => Ask::Leaked,
            Wish::Rollback => Ask::Rollback,
            Wish::Freeze | Wish::Unfreeze => return self.freeze(matches!(wish, Wish::Freeze), run).await,
        };
        if run == Run::Dry {
            let plan = self.service.plan(&ask, self.seat.tick(), &self.upkeep.rules)?;
            return Ok(Granted::Planned(plan));
        }
        self.ask(&ask).await.map(Granted::Begun)
    }

    async fn freeze(&mut self, frozen: bool, run: Run) -> Result<Granted, Refusal> {
        // It must survive a restart.
        match &self.place {
            Place::Ours(_) => {}
            Place::Theirs => return Err(Refusal::LockHeld),
            Place::Absent(_) => return Err(Refusal::NoStateDir),
        }
        if run == Run::Wet {
            self.feed(if frozen { Event::Freeze } else { Event::Unfreeze }).await;
            self.timetable.retry();
            tracing::info!(endpoint = self.seat.label(), frozen, "regeneration of keys");
        }
        Ok(Granted::Done)
    }

    async fn ask(&mut self, ask: &Ask) -> Result<crate::rotation::operation::OperationId, Refusal> {
        let tick = self.seat.tick();
        let (next, actions, operation) = self.service.ask(ask, tick, &self.upkeep.rules)?;
        self.conclude(next, actions, tick).await;
        Ok(operation)
    }

    /// Tells the machine what happened, and does what it says.
    async fn feed(&mut self, event: Event) {
        let tick = self.seat.tick();
        let (next, actions) = self.service.step(&event, tick, &self.upkeep.rules);
        self.conclude(next, actions, tick).await;
    }

    async fn conclude(&mut self, next: Service, actions: Vec<Action>, tick: Tick) {
        for broken in audit(&self.service, &next, &actions, tick, &self.upkeep.rules) {
            tell::violation(self.seat, broken);
        }
        self.service = next;
        for action in actions {
            self.act(action).await;
        }
    }

    async fn act(&mut self, action: Action) {
        let plane = Arc::clone(&self.seat.subject.plane);
        match action {
            Action::Publish(offer) => {
                self.offer = Some(offer);
                self.attach().await;
            }
            Action::ReadKeys { ticket, why } => {
                tell::read(self.seat, why);
                self.calls.spawn(async move { Answer::Read(ticket, Box::pin(calls::list_keys(plane)).await) });
            }
            Action::Probe { ticket, target } => self.probe(ticket, target),
            Action::AwaitDrained { generation } => self.await_drained(generation),
            Action::Write { ticket, journal } => self.write(ticket, journal),
            Action::Regenerate { ticket, slot, set_key } => {
                let endpoint = self.seat.label();
                tracing::info!(endpoint, slot = slot.label(), "regenerating a key");
                let value = set_key.and_then(|digest| self.values.secret(digest).cloned());
                self.calls.spawn(async move {
                    let (outcome, error) = Box::pin(calls::regenerate(plane, slot, value)).await;
                    Answer::Regenerated(ticket, slot, outcome, error)
                });
            }
            Action::Poll { ticket, address } => {
                let endpoint = self.seat.label().to_owned();
                self.calls.spawn(async move {
                    let (outcome, why) = Box::pin(calls::poll(plane, &address)).await;
                    if let Some(why) = why {
                        tracing::warn!(endpoint, why, "the operation that regenerates a key");
                    }
                    Answer::Happened(Event::Polled { ticket, outcome })
                });
            }
            Action::Tell(notice) => {
                if let Notice::Ended(operation) = &notice {
                    self.timetable.ended(operation.state, self.seat.tick());
                }
                tell::notice(self.seat, &notice);
            }
        }
    }

    /// Makes requests get what they should.
    async fn attach(&mut self) {
        self.reattach_at = None;
        let Some(offer) = self.offer else { return };
        let lifted = Offer { generation: offer.generation + self.lift, ..offer };
        let attached = match self.values.attach(&lifted) {
            Some(attach) => self.seat.attach(&attach).await,
            None => Err("a value of it is not at hand".to_owned()),
        };
        if let Err(why) = attached {
            tracing::error!(endpoint = self.seat.label(), why, again_in = ?REATTACH, "keys cannot be attached");
            self.reattach_at = Some(self.seat.clock().now() + REATTACH);
        }
    }

    fn probe(&mut self, ticket: Ticket, target: Target) {
        if let Some(front) = self.seat.front() {
            self.front = Some(front);
        }
        let value: Option<Secret> = match target {
            Target::Value(digest) => self.values.secret(digest).cloned(),
            Target::WrongKey => Some(probe::wrong_key()),
        };
        let with = self.upkeep.probe.clone();
        let front = self.front.clone();
        self.calls.spawn(async move {
            let nothing = |said: &str| Probed { verdict: Verdict::Nothing(None), said: said.to_owned() };
            let probed = match (front, value) {
                (Some(front), Some(value)) => probe::probe(&front, &with, &value).await,
                (None, _) => nothing("it is not known where the service is"),
                (_, None) => nothing("its value is not at hand"),
            };
            Answer::Probed(ticket, target, probed)
        });
    }

    /// Waits, for as long as it takes, until no request can be sent with a value that the offer does not name.
    fn await_drained(&mut self, generation: Generation) {
        if let Some(earlier) = self.drain.take() {
            earlier.abort();
        }
        let gate = Arc::clone(&self.seat.gate);
        let endpoints = self.seat.subject.endpoints.clone();
        let lifted = generation + self.lift;
        self.drain = Some(self.calls.spawn(async move {
            // What the workers hold must be this offer before they are asked and still when they have answered: an attach may have
            // failed, and a reload that was under way may have brought the one before it back.
            loop {
                while !all_attach(&gate, &endpoints, lifted) {
                    tokio::time::sleep(SETTLE_LOOK).await;
                }
                for (name, _) in &endpoints {
                    gate.await_drained(name).await;
                }
                if all_attach(&gate, &endpoints, lifted) {
                    break Answer::Happened(Event::Drained { generation });
                }
            }
        }));
    }

    fn write(&mut self, ticket: Ticket, journal: Box<Journal>) {
        self.unwritten = true;
        let Place::Ours(keeper) = &self.place else {
            self.calls.spawn(async move { Answer::Happened(Event::Written { ticket, outcome: WriteOutcome::Failed }) });
            return;
        };
        let keeper = Arc::clone(keeper);
        let endpoint = self.seat.label().to_owned();
        self.calls.spawn_blocking(move || {
            let outcome = match keeper.write(&journal) {
                Ok(()) => WriteOutcome::Durable,
                Err(error) => {
                    tracing::error!(endpoint, %error, "its journal cannot be written");
                    WriteOutcome::Failed
                }
            };
            Answer::Happened(Event::Written { ticket, outcome })
        });
    }

    async fn take(&mut self, answer: Answer) {
        let ready = self.service.keys().offer().is_some();
        match answer {
            Answer::Read(ticket, Ok(keys)) => {
                let keys = PerSlot::from_fn(|slot| self.values.hold(slot, keys.of(slot)));
                self.feed(Event::Read { ticket, keys: Ok(keys) }).await;
            }
            Answer::Read(ticket, Err(error)) => {
                tracing::warn!(endpoint = self.seat.label(), %error, "its keys cannot be read");
                if !ready {
                    self.seat.note_reason(&error.to_string());
                    self.seat.miss().await;
                }
                self.feed(Event::Read { ticket, keys: Err(calls::pause(&error)) }).await;
            }
            Answer::Probed(ticket, target, probed) => {
                let what = match target {
                    Target::Value(digest) => digest.fingerprint(),
                    Target::WrongKey => "a wrong key".to_owned(),
                };
                tracing::debug!(endpoint = self.seat.label(), what, %probed, "probed");
                let is_value = matches!(target, Target::Value(_));
                if !ready && is_value && probed.verdict != Verdict::Accepted {
                    let why = format!("no key was seen to be accepted yet: a probe with {what} was {probed}");
                    tracing::warn!(endpoint = self.seat.label(), why, "not ready");
                    self.seat.note_reason(&why);
                    self.seat.miss().await;
                }
                self.feed(Event::Probed { ticket, verdict: probed.verdict }).await;
            }
            Answer::Regenerated(ticket, slot, outcome, error) => {
                let endpoint = self.seat.label();
                match error {
                    Some(error) => {
                        tracing::error!(endpoint, slot = slot.label(), %error, "a key was not regenerated, or may not have been")
                    }
                    None => tracing::info!(endpoint, slot = slot.label(), "the service was told to regenerate a key"),
                }
                self.feed(Event::Regenerated { ticket, outcome }).await;
            }
            Answer::Happened(event) => {
                if let Event::Written { outcome: WriteOutcome::Durable, .. } = event {
                    self.unwritten = false;
                }
                self.feed(event).await;
            }
            Answer::Described(described) => self.described(described).await,
        }
    }

    /// Asks anew what the service is: whoever reloads has changed or mended something, here or at Azure.
    fn describe(&mut self) {
        self.describe_at = None;
        let describing = self.seat.describe();
        self.calls.spawn(async move { Answer::Described(describing.await) });
    }

    async fn described(&mut self, described: Result<Located, Error>) {
        let located = match described {
            Ok(located) => located,
            Err(error) => {
                self.describe_at = Some(look_again(self.seat, &error));
                return;
            }
        };
        let is_same = located.auth == Auth::Key
            && located.id.as_ref().is_some_and(|id| id.to_lowercase() == self.id.to_lowercase());
        if !is_same {
            // What is open is brought to its end first.
            self.changed = self.service.transaction().is_none();
            self.describe_at = Some(self.seat.clock().now() + DESCRIBE_AGAIN);
            return;
        }
        follow(self.seat, &located).await;
    }

    /// Looks whether the lock is free that another process had. If so, everything begins anew from what its journal says.
    async fn relock(&mut self) {
        self.relock_at = Some(self.seat.clock().now() + RELOCK);
        let (place, journal) = open(self.seat, &self.id).await;
        if matches!(place, Place::Theirs) {
            return;
        }
        self.relock_at = None;
        tracing::info!(endpoint = self.seat.label(), "the lock of its service is free again");
        // The answers that the old one waits for are nothing to the new one.
        self.calls.abort_all();
        self.calls = JoinSet::new();
        self.drain = None;
        self.place = place;
        let tick = self.seat.tick();
        let (service, actions) = Service::start(journal.as_deref(), self.place.lock_file(), tick, &self.upkeep.rules);
        self.service = service;
        self.offer = None;
        self.lift_above_what_is_attached();
        for action in actions {
            self.act(action).await;
        }
    }
}

impl Place {
    const fn lock_file(&self) -> LockFile {
        match self {
            Self::Ours(_) => LockFile::Ours,
            Self::Theirs => LockFile::Theirs,
            Self::Absent(_) => LockFile::Absent,
        }
    }
}

/// Takes the lock and reads the journal, off this thread.
async fn open(seat: &Seat, id: &str) -> (Place, Option<Box<Journal>>) {
    let (journals, id, unix) = (seat.journals.clone(), id.to_owned(), seat.clock().unix_seconds());
    let opened = spawn_blocking(move || journals.open(&id, unix)).await;
    match opened.unwrap_or_else(|panic| Opened::Absent(panic.to_string())) {
        Opened::Ours(keeper, journal) => (Place::Ours(Arc::new(keeper)), journal),
        Opened::Theirs(journal) => (Place::Theirs, journal),
        Opened::Absent(why) => {
            tracing::warn!(endpoint = seat.label(), why, "its keys are kept valid, but not regenerated from here");
            (Place::Absent(why), None)
        }
    }
}
