//! Everything that can happen next.

use std::time::Duration;

use scoregate::rotation::{
    digest::Digest,
    event::{CallOutcome, Event, PollOutcome, WriteOutcome},
    ladder::{AnswerBegun, Blame, MAX_SENDS, Next, Replay, Situation, Tried, after_401_within},
    offer::{Access, Hold, Offer},
    operation::{Ask, Step},
    probe::{Target, Verdict},
    rules::Mutation,
    slot::{PerSlot, Slot},
};

use crate::{
    azure::{Maker, Pending, Value, digest, value},
    explore::{Model, Nature},
    properties,
    renumbering::{NOW, tick},
    world::{Answers, Gate, Request, World},
};

/// Something that happens. What a front end knows and what `listKeys` shows is decided when somebody asks them.
#[derive(Clone, Debug)]
pub enum Move {
    /// Time passes, until the machine wants to know.
    Wait,
    /// `listKeys` answers, with what each slot is or, late, what it was.
    Read(PerSlot<Value>),
    ReadFails,
    /// A front end that accepts this value by now answers a probe.
    Probe(Option<Value>),
    ProbeFails,
    Write(Answer),
    /// A call to regenerate ends.
    Regenerate(End),
    /// A call that was received takes effect, or will not any more.
    Effect,
    Vanish,
    Poll(Answer),
    Drained,
    /// A request begins.
    Begin(Hold, usize, View),
    /// A front end that accepts this value by now answers a request.
    Answer(Hold, Value, View),
    /// A request that waited looks again.
    LookAgain(Hold),
    Ask(Ask),
    Freeze,
    Unfreeze,
    /// Somebody else changes a key.
    Outside(Slot),
    /// The process is killed; a write under way may be on the disk, or not.
    Crash(Answer),
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Good,
    Bad,
}

/// What the worker has by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Present,
    Late,
}

/// How a call to regenerate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    Begun,
    /// It took effect, and the reply was lost.
    LostAfter,
    /// It never takes effect, and the reply was lost.
    LostBefore,
    /// The reply was lost, and it may yet take effect.
    LostBetween,
    Denied,
    Throttled,
}

impl Model for Gate {
    type State = World;
    type Move = Move;

    fn start(&self) -> Vec<World> {
        vec![self.begin()]
    }

    fn moves(&self, world: &World) -> Vec<(Move, Nature)> {
        let mut moves = Vec::new();
        self.moves_of_the_other_side(world, &mut moves);
        if let Some(service) = &world.service {
            self.moves_of_calls(world, &mut moves);
            self.moves_of_requests(world, &mut moves);
            self.moves_of_people(world, service.is_frozen(), &mut moves);
            if world.wake(&self.rules).is_some_and(|at| self.may_wait(world, at)) {
                moves.push((Move::Wait, Nature::Natural));
            }
        } else {
            moves.push((Move::Restart, Nature::Natural));
        }
        moves
    }

    fn next(&self, world: &World, by: &Move) -> Result<World, String> {
        let mut next = world.clone();
        let mut passed = Duration::ZERO;
        match by {
            Move::Wait => {
                passed = world.wake(&self.rules).unwrap().since(NOW);
                self.tell(&mut next, &Event::Tick, passed)?;
            }
            Move::Restart => self.start(&mut next)?,
            by => self.make(&mut next, by)?,
        }
        next.renumber(passed, &self.rules);
        Ok(next)
    }

    fn is_home(&self, world: &World) -> bool {
        world.service.as_ref().is_some_and(|service| service.progress(NOW, &self.rules).0 == Step::Idle)
            && world.published.is_some()
            && world.held.is_none()
            && world.plain.is_none()
    }

    fn show(&self, world: &World) -> String {
        // Nested debug output has a line per field: joined, it can be read.
        let lines = format!("{world:#?}");
        lines
            .lines()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" ")
            .replace(" World", "\n")
            .replace(", calls:", ",\n  calls:")
    }
}

impl Gate {
    /// Calls are answered before time passes; a call that was received takes effect before its deadline or never.
    fn may_wait(&self, world: &World, until: scoregate::clock::Moment) -> bool {
        let calls = &world.calls;
        let quick = calls.read.is_some() || calls.probe.is_some() || calls.write.is_some() || calls.poll.is_some();
        let overdue = world.azure.pending.as_ref().is_some_and(|pending| pending.deadline <= until);
        let held_up = quick && self.answers != Answers::Slow;
        !held_up && !overdue && calls.regenerate.is_none()
    }

    fn moves_of_the_other_side(&self, world: &World, moves: &mut Vec<(Move, Nature)>) {
        let azure = &world.azure;
        if world.budget.troubles > 0 && world.budget.outside > 0 {
            // The service does one operation at a time: while one of ours is at work another is answered 409. An assumption:
            // nobody else changes the very key of which a call of ours is on its way.
            let called = world.calls.regenerate.as_ref().map(|(_, slot)| *slot);
            let free = |slot: &Slot| azure.pending.is_none() && called != Some(*slot);
            moves.extend(Slot::BOTH.into_iter().filter(free).map(|slot| (Move::Outside(slot), Nature::Trouble)));
        }
        if let Some(pending) = &azure.pending {
            moves.push((Move::Effect, Nature::Natural));
            if !pending.operation || (world.budget.lost > 0 && world.budget.troubles > 0) {
                moves.push((Move::Vanish, nature(!pending.operation)));
            }
        }
    }

    fn moves_of_calls(&self, world: &World, moves: &mut Vec<(Move, Nature)>) {
        let (calls, azure) = (&world.calls, &world.azure);
        let trouble = world.budget.troubles > 0;
        let fails = trouble && world.budget.failures > 0;
        let fail = |by: Move, moves: &mut Vec<(Move, Nature)>| {
            if fails {
                moves.push((by, Nature::Trouble));
            }
        };
        if calls.read.is_some() {
            moves.push((Move::Read(azure.keys), Nature::Natural));
            for slot in Slot::BOTH {
                if let Some(before) = azure.before(slot).filter(|_| trouble && world.budget.stale > 0) {
                    let mut late = azure.keys;
                    late[slot] = before;
                    moves.push((Move::Read(late), Nature::Trouble));
                }
            }
            fail(Move::ReadFails, moves);
        }
        if let Some((_, target)) = calls.probe {
            match target {
                Target::WrongKey => moves.push((Move::Probe(None), Nature::Natural)),
                Target::Value(probed) => {
                    let slot = azure.slot_of(value(probed));
                    for accepted in azure.may_accept(0, slot) {
                        moves.push((Move::Probe(Some(accepted)), nature(accepted == azure.keys[slot])));
                    }
                }
            }
            fail(Move::ProbeFails, moves);
        }
        if calls.write.is_some() {
            moves.push((Move::Write(Answer::Good), Nature::Natural));
            fail(Move::Write(Answer::Bad), moves);
        }
        if calls.poll.is_some() {
            moves.push((Move::Poll(Answer::Good), Nature::Natural));
            fail(Move::Poll(Answer::Bad), moves);
        }
        if calls.regenerate.is_some() {
            moves.extend([End::Done, End::Begun].map(|end| (Move::Regenerate(end), Nature::Natural)));
            if trouble && world.budget.lost > 0 {
                let ends = [End::LostAfter, End::LostBefore, End::LostBetween, End::Denied, End::Throttled];
                moves.extend(ends.map(|end| (Move::Regenerate(end), Nature::Trouble)));
            }
        }
        let holds = |offer: &Offer<Digest>| {
            calls.drain.is_some_and(|awaited| offer.generation >= awaited)
                && world.requests().all(|request| offer.names(request.value))
        };
        if world.published.as_ref().is_some_and(holds) {
            moves.push((Move::Drained, Nature::Natural));
        }
        if trouble && world.budget.crashes > 0 {
            moves.push((Move::Crash(Answer::Bad), Nature::Trouble));
            if calls.write.is_some() {
                moves.push((Move::Crash(Answer::Good), Nature::Trouble));
            }
        }
    }

    fn moves_of_requests(&self, world: &World, moves: &mut Vec<(Move, Nature)>) {
        let late = (world.worker.is_some() && world.worker != world.published).then_some(View::Late);
        let views = [View::Present].into_iter().chain(late);
        for (hold, request, left) in
            [(Hold::Held, &world.held, world.budget.held), (Hold::NotHeld, &world.plain, world.budget.plain)]
        {
            match request {
                None if left > 0 && world.published.is_some() => {
                    for view in views.clone() {
                        moves.extend([0, 1].map(|front| (Move::Begin(hold, front, view), Nature::Trouble)));
                    }
                }
                None => {}
                Some(request) if request.waits.is_some() => {
                    let later = world.published.is_some_and(|offer| Some(offer.generation) > request.waits);
                    moves.extend(later.then_some((Move::LookAgain(hold), Nature::Natural)));
                }
                Some(request) => {
                    let slot = world.azure.slot_of(value(request.value));
                    for accepted in world.azure.may_accept(request.front, slot) {
                        // Where the request is accepted, nobody looks at the worker's view.
                        let refused = digest(accepted) != request.value;
                        for view in views.clone().filter(|view| refused || *view == View::Present) {
                            moves.push((Move::Answer(hold, accepted, view), nature(view == View::Present)));
                        }
                    }
                }
            }
        }
    }

    fn moves_of_people(&self, world: &World, frozen: bool, moves: &mut Vec<(Move, Nature)>) {
        let service = world.service.as_ref().unwrap();
        let mut asks = Vec::new();
        if world.budget.asks > 0 {
            asks.extend(
                [Slot::Primary, Slot::Secondary].map(|slot| Ask::Regenerate { slot: Some(slot), set_key: None }),
            );
        }
        if world.budget.leaks > 0 {
            asks.push(Ask::Leaked);
        }
        for ask in asks {
            if service.permits(&ask, tick(Duration::ZERO), &self.rules).is_ok() {
                moves.push((Move::Ask(ask), Nature::Trouble));
            }
        }
        if world.budget.freezes > 0 && world.budget.troubles > 0 {
            moves.push((if frozen { Move::Unfreeze } else { Move::Freeze }, Nature::Trouble));
        }
    }

    fn make(&self, world: &mut World, by: &Move) -> Result<(), String> {
        let now = Duration::ZERO;
        match *by {
            Move::Wait | Move::Restart => {}
            Move::Read(shown) => {
                let ticket = world.calls.read.take().unwrap();
                for slot in Slot::BOTH {
                    if shown[slot] != world.azure.keys[slot] {
                        spend(world, |budget| &mut budget.stale);
                        world.ghost.read_failed = true;
                    }
                    let new = world.ghost.shown.insert(shown[slot]);
                    if new && world.azure.maker_of(shown[slot]) == Maker::Outside {
                        world.ghost.changed[slot] = Some(NOW);
                    }
                }
                let keys = PerSlot::from_fn(|slot| digest(shown[slot]));
                self.tell(world, &Event::Read { ticket, keys: Ok(keys) }, now)?;
            }
            Move::ReadFails => {
                spend(world, |budget| &mut budget.failures);
                world.ghost.read_failed = true;
                let ticket = world.calls.read.take().unwrap();
                self.tell(world, &Event::Read { ticket, keys: Err(None) }, now)?;
            }
            Move::Probe(accepted) => self.probe(world, accepted)?,
            Move::ProbeFails => {
                spend(world, |budget| &mut budget.failures);
                let (ticket, _) = world.calls.probe.take().unwrap();
                self.tell(world, &Event::Probed { ticket, verdict: Verdict::Nothing(None) }, now)?;
            }
            Move::Write(answer) => {
                let (ticket, journal) = world.calls.write.take().unwrap();
                if answer == Answer::Good {
                    world.disk = Some(journal);
                } else {
                    spend(world, |budget| &mut budget.failures);
                }
                let outcome = if answer == Answer::Good { WriteOutcome::Durable } else { WriteOutcome::Failed };
                self.tell(world, &Event::Written { ticket, outcome }, now)?;
            }
            Move::Regenerate(end) => self.regenerate(world, end)?,
            Move::Effect => {
                let pending = world.azure.pending.take().unwrap();
                take_effect(world, pending.slot);
            }
            Move::Vanish => {
                let pending = world.azure.pending.take().unwrap();
                if pending.operation {
                    spend(world, |budget| &mut budget.lost);
                    world.azure.failed = true;
                }
            }
            Move::Poll(answer) => {
                let ticket = world.calls.poll.take().unwrap();
                let outcome = match (&world.azure.pending, answer) {
                    (_, Answer::Bad) => PollOutcome::Unknown { retry_after: None },
                    (Some(Pending { operation: true, .. }), Answer::Good) => PollOutcome::Running { retry_after: None },
                    (_, Answer::Good) if world.azure.failed => PollOutcome::Failed,
                    (_, Answer::Good) => PollOutcome::Succeeded,
                };
                if answer == Answer::Bad {
                    spend(world, |budget| &mut budget.failures);
                }
                self.tell(world, &Event::Polled { ticket, outcome }, now)?;
            }
            Move::Drained => {
                world.worker = world.published;
                let generation = world.calls.drain.take().unwrap();
                self.tell(world, &Event::Drained { generation }, now)?;
            }
            Move::Begin(hold, front, view) => {
                take_up(world, view);
                let offer = world.worker.unwrap();
                let first = offer.first(hold);
                let request = Request {
                    front,
                    hold,
                    tried: Tried::first(first),
                    value: first,
                    generation: offer.generation,
                    waits: None,
                    trial: offer.access == Access::Locked,
                    made: world.azure.made.len(),
                    met: PerSlot::default(),
                    steady: true,
                };
                match hold {
                    Hold::Held => {
                        world.budget.held -= 1;
                        world.held = Some(request);
                    }
                    Hold::NotHeld => {
                        world.budget.plain -= 1;
                        world.plain = Some(request);
                    }
                }
                world.ghost.read_failed = false;
            }
            Move::Answer(hold, accepted, view) => self.answer(world, hold, accepted, view)?,
            Move::LookAgain(hold) => {
                take_up(world, View::Present);
                let mut request = of(world, hold).take().unwrap();
                request.waits = None;
                self.decide(world, request)?;
            }
            Move::Ask(ask) => {
                match ask {
                    Ask::Leaked => world.budget.leaks -= 1,
                    _ => world.budget.asks -= 1,
                }
                let service = world.service.as_ref().unwrap();
                let (service, actions, _) = service.ask(&ask, tick(now), &self.rules).unwrap();
                world.service = Some(service);
                self.perform(world, actions)?;
            }
            Move::Freeze => {
                spend(world, |budget| &mut budget.freezes);
                self.tell(world, &Event::Freeze, now)?;
            }
            Move::Unfreeze => {
                spend(world, |budget| &mut budget.freezes);
                self.tell(world, &Event::Unfreeze, now)?;
            }
            Move::Outside(slot) => {
                spend(world, |budget| &mut budget.outside);
                world.azure.regenerate(slot, Maker::Outside);
            }
            Move::Crash(written) => self.crash(world, written),
        }
        Ok(())
    }

    fn probe(&self, world: &mut World, accepted: Option<Value>) -> Result<(), String> {
        let (ticket, target) = world.calls.probe.take().unwrap();
        let verdict = match (target, accepted) {
            (Target::Value(probed), Some(accepted)) => {
                let slot = world.azure.slot_of(accepted);
                world.azure.fronts[0][slot] = accepted;
                if digest(accepted) == probed {
                    world.ghost.accepted.insert(accepted);
                    Verdict::Accepted
                } else {
                    Verdict::Refused
                }
            }
            _ => Verdict::Refused,
        };
        // Each fresh connection goes to one of the front ends in turn.
        world.azure.fronts.swap(0, 1);
        for request in [&mut world.held, &mut world.plain].into_iter().flatten() {
            request.front = 1 - request.front;
        }
        self.tell(world, &Event::Probed { ticket, verdict }, Duration::ZERO)
    }

    fn regenerate(&self, world: &mut World, end: End) -> Result<(), String> {
        let (ticket, slot) = world.calls.regenerate.take().unwrap();
        let late = |operation| Some(Pending { slot, deadline: NOW + self.rules.resubmit_after, operation });
        let outcome = match end {
            End::Done => {
                take_effect(world, slot);
                CallOutcome::Done
            }
            End::Begun => {
                world.azure.failed = false;
                world.azure.pending = late(true);
                CallOutcome::Begun { address: "here".into(), poll_after: None }
            }
            End::LostAfter => {
                take_effect(world, slot);
                CallOutcome::Unknown
            }
            End::LostBefore => CallOutcome::Unknown,
            End::LostBetween => {
                world.azure.pending = late(false);
                CallOutcome::Unknown
            }
            End::Denied => CallOutcome::Denied,
            End::Throttled => CallOutcome::Throttled { retry_after: None },
        };
        if !matches!(end, End::Done | End::Begun) {
            spend(world, |budget| &mut budget.lost);
        }
        self.tell(world, &Event::Regenerated { ticket, outcome }, Duration::ZERO)
    }

    fn crash(&self, world: &mut World, written: Answer) {
        spend(world, |budget| &mut budget.crashes);
        let calls = std::mem::take(&mut world.calls);
        if let (Some((_, journal)), Answer::Good) = (calls.write, written) {
            world.disk = Some(journal);
        }
        if let Some((_, slot)) = calls.regenerate {
            // It is on its way, and nobody waits for it.
            world.azure.pending = Some(Pending { slot, deadline: NOW + self.rules.resubmit_after, operation: false });
        }
        world.service = None;
        world.published = None;
        world.worker = None;
        world.held = None;
        world.plain = None;
    }

    /// A front end answers a request, and what follows from it.
    fn answer(&self, world: &mut World, hold: Hold, accepted: Value, view: View) -> Result<(), String> {
        let mut request = of(world, hold).take().unwrap();
        let slot = world.azure.slot_of(accepted);
        world.azure.fronts[request.front][slot] = accepted;
        request.steady &=
            request.met[slot].is_none_or(|before| before == accepted) && usize::from(accepted) < request.made;
        request.met[slot] = Some(accepted);
        for other in [&mut world.held, &mut world.plain].into_iter().flatten() {
            let seen = other.met[slot].filter(|_| other.front == request.front);
            other.steady &= seen.is_none_or(|before| before == accepted);
        }
        if digest(accepted) == request.value {
            world.ghost.accepted.insert(accepted);
            return self.tell(world, &Event::Accepted { value: request.value }, Duration::ZERO);
        }
        let late = world.worker;
        let rejected = Event::Rejected { generation: request.generation, value: request.value };
        self.tell(world, &rejected, Duration::ZERO)?;
        world.worker = late;
        take_up(world, view);
        self.decide(world, request)
    }

    /// A request was refused, or has waited: what becomes of it by the worker's offer.
    fn decide(&self, world: &mut World, mut request: Request) -> Result<(), String> {
        let (offer, hold) = (world.worker.unwrap(), request.hold);
        let situation = Situation { hold, replay: Replay::On, answer: AnswerBegun::No };
        let limit = if self.mutation == Mutation::FourSends { MAX_SENDS + 1 } else { MAX_SENDS };
        match after_401_within(limit, Blame::Credential, &request.tried, &offer, situation) {
            Next::PassOn => return Err("invariant 1: a caller gets an upstream's 401 about ours".to_owned()),
            Next::Resend(value) => {
                request.tried.send(value);
                request.value = value;
                request.generation = offer.generation;
                properties::at_a_resend(&request)?;
                *of(world, hold) = Some(request);
            }
            Next::AwaitRead => {
                request.waits = Some(offer.generation);
                *of(world, hold) = Some(request);
                self.tell(world, &Event::Exhausted { generation: offer.generation }, Duration::ZERO)?;
            }
            Next::Unavailable => return properties::at_a_failure(world, &request),
        }
        properties::always(world)
    }
}

fn of(world: &mut World, hold: Hold) -> &mut Option<Request> {
    match hold {
        Hold::Held => &mut world.held,
        Hold::NotHeld => &mut world.plain,
    }
}

fn take_up(world: &mut World, view: View) {
    if view == View::Present || world.worker.is_none() {
        world.worker = world.published;
    }
}

fn take_effect(world: &mut World, slot: Slot) {
    world.ghost.retired.insert(world.azure.keys[slot]);
    world.ghost.changed[slot] = Some(NOW);
    world.azure.regenerate(slot, Maker::Ours);
}

fn nature(natural: bool) -> Nature {
    if natural { Nature::Natural } else { Nature::Trouble }
}

fn spend(world: &mut World, of: impl Fn(&mut crate::world::Budget) -> &mut u8) {
    *of(&mut world.budget) -= 1;
    world.budget.troubles -= 1;
}
