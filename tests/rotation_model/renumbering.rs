//! Making the numbers small that only grow, so that two states which will behave alike are one.

use std::{collections::BTreeSet, time::Duration};

use scoregate::{
    clock::{Moment, Tick},
    ids::Generation,
    rotation::{
        event::Ticket,
        journal::Journal,
        operation::{Operation, OperationId},
        pace::Age,
        renumber::Renumber,
        rules::Rules,
        slot::Slot,
    },
};

/// The time at which every state is looked at.
pub const NOW: Moment = Moment::from_micros(1_000_000_000);
/// The same by the wall clock.
pub const UNIX: u64 = 1_000_000;
/// The generation that every state is at; what is reserved lies above.
pub const GENERATION: Generation = 1_010;
const RESERVED: Generation = 1_100;
/// What lies further ahead comes when nothing else is left to wait for.
const NEAR: Duration = Duration::from_secs(50);
const FAR: Duration = Duration::from_secs(100);

/// Time, `after` later.
pub fn tick(after: Duration) -> Tick {
    Tick { now: NOW + after, unix: UNIX + after.as_secs(), dice: 0 }
}

/// First looks at all numbers, then replaces them.
pub struct Renumbering {
    /// Time that passed since the last renumbering.
    passed: Duration,
    current: Generation,
    /// Whether ages decide anything any more.
    ages: Ages,
    /// Those of requests, and of what requests may yet get.
    handed: BTreeSet<Generation>,
    generations: BTreeSet<Generation>,
    tickets: BTreeSet<Ticket>,
    phase: Phase,
}

/// Whether a key may yet be regenerated, so that it matters when that was done last.
#[derive(PartialEq)]
pub enum Ages {
    Matter,
    AreAlike,
}

#[derive(PartialEq)]
enum Phase {
    Looking,
    Replacing,
}

impl Renumbering {
    pub fn new(passed: Duration, current: Generation, ages: Ages) -> Self {
        Self {
            passed,
            current,
            ages,
            handed: BTreeSet::new(),
            generations: BTreeSet::new(),
            tickets: BTreeSet::new(),
            phase: Phase::Looking,
        }
    }

    /// A generation by which a request was, or may be, handed a value.
    pub fn handed(&mut self, generation: &mut Generation) {
        if self.phase == Phase::Looking {
            self.handed.insert(*generation);
        }
        self.generation(generation);
    }

    pub fn ages_are_alike(&self) -> bool {
        self.ages == Ages::AreAlike
    }

    pub fn replace(&mut self) {
        self.phase = Phase::Replacing;
    }

    /// A journal's numbers.
    pub fn journal(&mut self, journal: &mut Journal, rules: &Rules) {
        self.generation(&mut journal.generation);
        for slot in Slot::BOTH {
            self.unix(&mut journal.slots[slot].regenerated, rules.min_gap);
            if self.phase == Phase::Replacing && self.ages == Ages::AreAlike {
                journal.slots[slot].regenerated = UNIX - rules.min_gap.as_secs();
            }
        }
        if let Some(open) = &mut journal.open {
            self.operation(&mut open.operation);
            self.unix(&mut open.began, Duration::ZERO);
            if let Some(until) = &mut open.until {
                self.unix(until, Duration::ZERO);
            }
        }
        if let Some(at) = &mut journal.last_success {
            self.unix(at, Duration::ZERO);
        }
        self.operation(&mut journal.next_operation);
        self.history(&mut journal.operations);
    }
}

impl Renumber for Renumbering {
    fn moment(&mut self, at: &mut Moment, matters: Duration) {
        if self.phase == Phase::Replacing {
            let shifted = at.as_micros().saturating_sub(micros(self.passed));
            let shifted = if shifted > (NOW + NEAR).as_micros() { (NOW + FAR).as_micros() } else { shifted };
            *at = Moment::from_micros(shifted.max(NOW.as_micros() - micros(matters)));
        }
    }

    fn age(&mut self, age: &mut Age, matters: Duration) {
        if self.phase == Phase::Replacing {
            let before = age.at(NOW + self.passed).min(matters);
            *age = Age { noted: NOW, before: if self.ages == Ages::Matter { before } else { matters } };
        }
    }

    fn unix(&mut self, at: &mut u64, matters: Duration) {
        if self.phase == Phase::Replacing {
            *at = at.saturating_sub(self.passed.as_secs()).max(UNIX - matters.as_secs());
        }
    }

    fn generation(&mut self, generation: &mut Generation) {
        match self.phase {
            Phase::Looking => {
                if *generation < self.current {
                    self.generations.insert(*generation);
                }
            }
            Phase::Replacing if *generation > self.current => *generation = RESERVED,
            Phase::Replacing if *generation == self.current => *generation = GENERATION,
            Phase::Replacing => {
                let newer = self.generations.range(*generation..).count();
                *generation = GENERATION - Generation::try_from(newer).unwrap();
            }
        }
    }

    fn since(&mut self, generation: &mut Generation) {
        match self.phase {
            // It is no other than the oldest of those that are not older.
            Phase::Looking => {}
            Phase::Replacing => {
                *generation =
                    self.handed.range(*generation..).next().copied().unwrap_or(self.current).min(self.current);
                self.generation(generation);
            }
        }
    }

    fn ticket(&mut self, ticket: &mut Ticket) {
        match self.phase {
            Phase::Looking => drop(self.tickets.insert(*ticket)),
            Phase::Replacing => *ticket = Ticket(u64::try_from(self.tickets.range(..=*ticket).count()).unwrap()),
        }
    }

    fn operation(&mut self, id: &mut OperationId) {
        // Only that an operation differs from the next ones matters, and that is not decided by the number.
        if self.phase == Phase::Replacing {
            *id = OperationId(1);
        }
    }

    fn history(&mut self, operations: &mut Vec<Operation>) {
        operations.clear();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}
