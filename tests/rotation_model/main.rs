//! The exhaustive model of key rotation: every state that the machine can come to in a small world, and ten invariants in each.
//!
//! The world (`world`) is a service with two keys, two front ends that learn a new key whenever they like, one worker, one
//! request that is held and one that is not, a disk, and somebody else who changes keys. It calls the production machine for
//! every move: `Service::start`, `step` and `ask`, `resume` within them, and the data plane's `ladder`. Time, generations and
//! tickets are made small after each move, so that the space is finite; the explorer (`explore`) visits all of it.
//!
//! What is assumed, beside the documentation's words on front ends: a read, a probe, a write and a poll take no time but in
//! the worlds that say otherwise; a call to regenerate that is not heard of takes effect within `resubmit_after` or never; and
//! nobody else regenerates the very key of which a call of ours is on its way.
//!
//! No model checker of others is used: the one that fits best (stateright) cannot ask whether every state has a way back to
//! another (invariant 10), and brings a web server and second versions of what we have.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod azure;
mod explore;
mod moves;
mod properties;
mod renumbering;
mod world;

use std::io::Write;

use scoregate::rotation::rules::Mutation;

use crate::{
    explore::{Explored, explore},
    world::{Answers, Budget, Gate, Journalled, rules},
};

/// Nothing but what must happen.
const NOTHING: Budget = Budget {
    asks: 0,
    leaks: 0,
    freezes: 0,
    outside: 0,
    crashes: 0,
    lost: 0,
    stale: 0,
    failures: 0,
    held: 0,
    plain: 0,
    troubles: 0,
};
/// A rotation of either slot, at any time.
const ROTATION: Budget = Budget { asks: 1, ..NOTHING };
/// A rotation, and any one thing that can go wrong with it.
const ANYTHING: Budget =
    Budget { freezes: 2, outside: 1, crashes: 1, lost: 1, stale: 2, failures: 1, troubles: 1, ..ROTATION };

fn gate(budget: Budget) -> Gate {
    let mutation = Mutation::None;
    Gate { rules: rules(mutation), budget, mutation, journal: Journalled::Before, answers: Answers::Quick }
}

/// Says what was found whether it is captured or not: how large the space was is part of the result.
fn say(line: &str) {
    let mut out = std::io::stdout();
    out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).unwrap();
}

fn run(name: &str, gate: &Gate) -> Explored {
    const MOST: usize = 3_000_000;
    let explored = explore(gate, MOST);
    say(&format!(
        "rotation model, {name}: {} unique states, depth {}, {} moves",
        explored.states, explored.depth, explored.moves
    ));
    explored
}

/// Explores a world in which every invariant must hold.
fn holds(name: &str, gate: &Gate) -> usize {
    let explored = run(name, gate);
    if let Some(broken) = explored.broken {
        panic!("{name}: {}\n{}", broken.sentence, broken.way.join("\n"));
    }
    explored.states
}

#[test]
fn a_rotation_under_requests() {
    let states = holds("both requests", &gate(Budget { held: 1, plain: 1, ..ROTATION }));
    let crash = Budget { crashes: 1, lost: 1, freezes: 2, troubles: 1, held: 1, plain: 1, ..ROTATION };
    let more = holds("both requests, and a crash, a lost reply or a freeze", &gate(crash));
    assert!(states + more >= 100_000);
}

#[test]
fn a_request_that_is_held_whatever_happens() {
    assert!(holds("a held request, and any trouble", &gate(Budget { held: 1, ..ANYTHING })) >= 100_000);
}

#[test]
fn a_request_that_is_not_held_whatever_happens() {
    assert!(holds("a request that is not held, and any trouble", &gate(Budget { plain: 1, ..ANYTHING })) >= 100_000);
}

#[test]
fn keys_that_others_change() {
    let twice = Budget { outside: 2, troubles: 2, held: 1, ..NOTHING };
    assert!(holds("a held request, and two changes by others", &gate(twice)) >= 100_000);
}

#[test]
fn two_troubles_in_one_rotation() {
    assert!(holds("any two troubles", &gate(Budget { troubles: 2, ..ANYTHING })) >= 100_000);
}

#[test]
fn other_worlds() {
    let slow = |budget| Gate { answers: Answers::Slow, ..gate(budget) };
    holds("a first start", &Gate { journal: Journalled::NotYet, ..gate(ANYTHING) });
    holds("both keys leaked", &gate(Budget { asks: 0, leaks: 1, ..ANYTHING }));
    holds("two rotations", &gate(Budget { asks: 2, ..ANYTHING }));
    holds("every answer twice", &Gate { answers: Answers::Twice, ..gate(ANYTHING) });
    holds("slow answers and a crash", &slow(Budget { crashes: 1, troubles: 1, ..ROTATION }));
    holds("slow answers and a failure", &slow(Budget { failures: 1, troubles: 1, ..ROTATION }));
}

/// A machine that is wrong in one place breaks the invariant that the place is there for.
#[test]
fn every_mutant_is_noticed() {
    let mut survivors = Vec::new();
    for (mutation, invariants, budget) in [
        (Mutation::PublishBeforeProbe, &[6][..], ROTATION),
        (Mutation::ProbeOnce, &[1], Budget { held: 1, plain: 1, ..ROTATION }),
        (Mutation::RegenerateActive, &[2], ROTATION),
        (Mutation::NoAcknowledgement, &[2], Budget { plain: 1, ..ROTATION }),
        (Mutation::DrainTimeoutContinues, &[2], Budget { plain: 1, ..ROTATION }),
        (Mutation::FlipToSlotInHand, &[2], Budget { plain: 1, outside: 1, troubles: 1, ..ROTATION }),
        (Mutation::AdoptRetired, &[9], Budget { stale: 1, troubles: 1, ..ROTATION }),
        (Mutation::ResubmitAtOnce, &[3], Budget { lost: 1, troubles: 1, ..ROTATION }),
        (Mutation::IntentAfterCall, &[4], ROTATION),
        (Mutation::GenerationReset, &[5], Budget { crashes: 1, troubles: 1, ..NOTHING }),
        (Mutation::FourSends, &[8], Budget { held: 1, outside: 3, troubles: 3, ..NOTHING }),
        (Mutation::MinGapIgnoresOutsider, &[7], Budget { outside: 1, troubles: 1, ..ROTATION }),
        // Two at once: what one has in hand carries the requests of the other.
        (Mutation::TwoTransactions, &[2, 3], Budget { asks: 2, ..ROTATION }),
        // Beyond the thirteen: that invariants 1 and 10 can be broken at all.
        (Mutation::HideIncoming, &[1, 10], Budget { held: 1, outside: 1, troubles: 1, ..ROTATION }),
        (Mutation::NeverResubmit, &[10], Budget { lost: 1, troubles: 1, ..ROTATION }),
    ] {
        let explored = run(&format!("{mutation:?}"), &Gate { rules: rules(mutation), mutation, ..gate(budget) });
        let sentence = explored.broken.map_or("nothing is broken".to_owned(), |broken| broken.sentence);
        say(&format!("  {sentence}"));
        if !invariants.iter().any(|number| sentence.starts_with(&format!("invariant {number}:"))) {
            survivors.push(format!("{mutation:?}: {sentence}"));
        }
    }
    assert!(survivors.is_empty(), "{survivors:#?} (a build without debug assertions has no mutants)");
}
