//! What somebody else changes, and a service that refuses everything.

use super::*;
use crate::rotation::{
    journal::Standing,
    offer::Access,
    operation::{Kind, Origin},
};

#[test]
fn the_active_key_is_changed_by_somebody_else() {
    let mut bench = Bench::started();
    let new = bench.change(Slot::Primary);
    // The first refusal: new requests take the other slot at once, and the keys are read.
    bench.reject();
    bench.run(Duration::ZERO);
    assert_eq!(bench.active(), Slot::Secondary);
    assert_eq!(bench.reads.last().unwrap().1, Why::Rejected);
    assert_eq!(bench.ladder(), [digest(20), digest(10), digest(new)], "a resend may try what the read brought");
    // Read again two seconds later, probed, adopted.
    bench.run(seconds(2));
    assert_eq!(bench.reads.last().unwrap().1, Why::Confirm);
    assert_eq!(bench.service.keys().slot(Slot::Primary).value, Some(digest(new)));
    assert_eq!(bench.service.keys().slot(Slot::Primary).standing, Standing::Newest);
    assert_eq!(bench.active(), Slot::Secondary);
    // And then it passes probes and trial as a key of ours does, and becomes active: every follower sits on the newest.
    bench.run(seconds(21));
    assert_eq!(bench.offer.unwrap().held, digest(new));
    assert_eq!(bench.offer.unwrap().others, digest(20));
    bench.run(seconds(61));
    assert_eq!(bench.active(), Slot::Primary);
    assert!(bench.regenerated.is_empty());
    let last = bench.service.operations().last().unwrap();
    assert_eq!((last.kind, last.origin, last.slot), (Kind::Adoption, Origin::Outside, Slot::Primary));
}

#[test]
fn the_spare_key_is_changed_and_the_periodic_look_sees_it() {
    let mut bench = Bench::started();
    let new = bench.change(Slot::Secondary);
    bench.run(seconds(301));
    assert!(bench.reads.iter().any(|(_, why)| *why == Why::Look));
    bench.run(seconds(120));
    assert_eq!(bench.active(), Slot::Secondary);
    assert_eq!(bench.ladder(), [digest(new), digest(10)]);
}

#[test]
fn a_stale_read_is_never_adopted() {
    let mut bench = Bench::started();
    bench.regenerate(Slot::Secondary);
    bench.run(seconds(600));
    // For an hour `listKeys` shows the old key again, and a front end even takes it.
    bench.listed = Some(PerSlot { primary: 10, secondary: 20 });
    bench.also_accepted.push(20);
    bench.run(seconds(3_600));
    assert_eq!(bench.service.keys().slot(Slot::Secondary).value, Some(digest(101)));
    assert_eq!(bench.service.keys().slot(Slot::Secondary).incoming, None);
    bench.restart();
    bench.run(seconds(3_600));
    assert_eq!(bench.service.keys().slot(Slot::Secondary).incoming, None, "nor after a restart: the journal knows");
    assert_eq!(bench.ladder(), [digest(10)], "what the journal knows of the other key is at hand in no read");
    bench.listed = None;
    bench.run(seconds(61));
    assert_eq!(bench.ladder(), [digest(10), digest(101)]);
}

#[test]
fn reads_that_disagree_adopt_nothing() {
    let mut bench = Bench::started();
    bench.listed = Some(PerSlot { primary: 10, secondary: 55 });
    bench.run(seconds(301));
    assert!(bench.service.keys().slot(Slot::Secondary).incoming.is_some());
    bench.listed = None;
    bench.run(seconds(60));
    assert_eq!(bench.service.keys().slot(Slot::Secondary).incoming, None);
    assert_eq!(bench.service.keys().slot(Slot::Secondary).value, Some(digest(20)));
}

#[test]
fn a_change_is_not_adopted_before_a_front_end_knows_it() {
    let mut bench = Bench::started();
    let new = bench.change(Slot::Secondary);
    bench.refused.push(new);
    bench.also_accepted.push(20);
    bench.run(seconds(900));
    assert_eq!(bench.service.keys().slot(Slot::Secondary).value, Some(digest(20)));
    bench.refused.clear();
    bench.run(seconds(300));
    assert_eq!(bench.service.keys().slot(Slot::Secondary).value, Some(digest(new)));
}

#[test]
fn where_probes_show_nothing_a_request_that_is_saved_shows_it() {
    let mut bench = Bench::started();
    bench.wrong_key_is_refused = false;
    let new = bench.change(Slot::Secondary);
    bench.run(seconds(600));
    assert_eq!(bench.service.keys().slot(Slot::Secondary).value, Some(digest(20)));
    bench.tell(&Event::Accepted { value: digest(new) });
    assert_eq!(bench.service.keys().slot(Slot::Secondary).value, Some(digest(new)));
}

#[test]
fn refusals_alone_cause_three_reads_and_one_more_each_half_minute() {
    let mut bench = Bench::started();
    bench.reads.clear();
    let began = bench.now;
    for _ in 0..600 {
        bench.reject();
        let spare = bench.offer.unwrap().further[0].unwrap();
        let generation = bench.offer.unwrap().generation;
        bench.tell(&Event::Rejected { generation, value: spare });
        bench.run(seconds(1));
    }
    let caused = bench.reads.iter().filter(|(_, why)| *why == Why::Rejected);
    let in_first_second = caused.clone().filter(|(at, _)| at.since(began) < seconds(3)).count();
    assert_eq!((in_first_second, caused.count()), (3, 3 + 600 / 30));
}

#[test]
fn a_service_that_refuses_everything_is_locked_and_read_ever_more_rarely() {
    let mut bench = Bench::started();
    bench.reads.clear();
    bench.reject();
    bench.exhaust();
    bench.run(Duration::ZERO);
    // The read that was under way began before the ladder was at its end: another one settles it.
    bench.exhaust();
    bench.run(Duration::ZERO);
    assert_eq!(bench.offer.unwrap().access, Access::Locked);
    let began = bench.now;
    bench.run(seconds(300));
    let forced: Vec<u64> =
        bench.reads.iter().filter(|(_, why)| *why == Why::Locked).map(|(at, _)| at.since(began).as_secs()).collect();
    assert_eq!(forced, [1, 3, 7, 15, 31, 63, 123, 183, 243]);
    // What a trial shows opens it.
    bench.tell(&Event::Accepted { value: digest(20) });
    bench.run(Duration::ZERO);
    assert_eq!(bench.offer.unwrap().access, Access::Open);
    assert_eq!(bench.active(), Slot::Secondary);
}

#[test]
fn who_waits_for_a_read_gets_what_it_brings() {
    let mut bench = Bench::started();
    let both = [bench.change(Slot::Primary), bench.change(Slot::Secondary)];
    bench.reject();
    bench.run(Duration::ZERO);
    assert!(bench.offer.unwrap().names(digest(both[0])) && bench.offer.unwrap().names(digest(both[1])));
    assert_eq!(bench.offer.unwrap().access, Access::Open);
}

#[test]
fn where_no_read_can_be_had_nobody_is_kept_waiting() {
    let mut bench = Bench::started();
    bench.control_plane = false;
    bench.reject();
    bench.run(Duration::ZERO);
    bench.exhaust();
    bench.run(Duration::ZERO);
    assert_eq!(bench.offer.unwrap().access, Access::Locked);
    // It is there again, and the keys are new: requests are let through.
    bench.control_plane = true;
    bench.change(Slot::Primary);
    bench.run(seconds(5));
    assert_eq!(bench.offer.unwrap().access, Access::Open);
}

#[test]
fn a_refusal_of_long_ago_says_nothing_of_now() {
    let mut bench = Bench::started();
    let old = bench.offer.unwrap();
    bench.ask(Ask::Rollback).unwrap();
    bench.run(seconds(1));
    bench.ask(Ask::Rollback).unwrap();
    bench.run(seconds(1));
    assert_eq!(bench.offer.unwrap().others, old.others);
    bench.tell(&Event::Rejected { generation: old.generation, value: old.others });
    bench.run(Duration::ZERO);
    assert_eq!(bench.active(), Slot::Primary);
    assert!(!bench.service.keys().slot(Slot::Primary).suspect);
}

#[test]
fn it_starts_while_the_control_plane_is_down_and_heals_by_itself() {
    let mut bench = Bench::starting(None, LockFile::Ours);
    bench.control_plane = false;
    bench.run(seconds(600));
    assert_eq!(bench.offer, None);
    assert!(bench.reads.len() < 20, "and asks ever more rarely: {} times", bench.reads.len());
    bench.control_plane = true;
    bench.run(seconds(61));
    assert_eq!(bench.ladder(), [digest(10), digest(20)]);
}

#[test]
fn a_first_start_takes_the_first_slot_that_a_probe_accepts() {
    let mut bench = Bench::starting(None, LockFile::Ours);
    bench.refused.push(10);
    bench.run(seconds(10));
    assert_eq!(bench.active(), Slot::Secondary);
}

#[test]
fn with_a_journal_it_needs_no_probe_to_begin() {
    let mut bench = Bench::started();
    bench.regenerate(Slot::Secondary);
    bench.run(seconds(600));
    bench.probes.clear();
    bench.restart();
    bench.run(Duration::ZERO);
    assert_eq!(bench.ladder(), [digest(101), digest(10)]);
    assert!(bench.probes.is_empty());
}

#[test]
fn keys_that_change_while_it_is_down() {
    let mut bench = Bench::started();
    let new = bench.change(Slot::Primary);
    bench.restart();
    bench.run(Duration::ZERO);
    assert_eq!(bench.ladder(), [digest(20), digest(new)], "the one that is as it was carries on");
    bench.run(seconds(120));
    assert_eq!(bench.active(), Slot::Primary);
    // Both: nothing is known to be accepted, until it is.
    let both = [bench.change(Slot::Primary), bench.change(Slot::Secondary)];
    bench.restart();
    bench.run(seconds(10));
    assert!(both.map(digest).contains(&bench.offer.unwrap().others));
}

#[test]
fn the_other_slot_changes_during_a_rotation() {
    // Before the call: it is put off, and refused when it begins again, since a key was just changed.
    let mut bench = Bench::started();
    bench.drains = false;
    let operation = bench.regenerate(Slot::Secondary);
    bench.run(seconds(1));
    let new = bench.change(Slot::Primary);
    bench.also_accepted.push(10);
    bench.drains = true;
    bench.reject();
    bench.run(seconds(600));
    assert!(matches!(bench.state(operation), State::Refused { refusal: Refusal::MinGap { slot: Slot::Primary, .. } }));
    assert!(bench.regenerated.is_empty());
    assert_eq!(bench.service.keys().slot(Slot::Primary).value, Some(digest(new)));

    // After it: its adoption goes first, then the rotation goes on.
    let mut bench = Bench::started();
    let operation = bench.regenerate(Slot::Secondary);
    bench.run_to(Step::Probed);
    let new = bench.change(Slot::Primary);
    bench.reject();
    bench.run(seconds(5));
    assert_eq!(bench.step(), Step::ReadBack);
    bench.run(seconds(600));
    assert_eq!(bench.state(operation), State::Done);
    assert_eq!(bench.ladder(), [digest(101), digest(new)]);
}
