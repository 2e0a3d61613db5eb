//! What is refused, with nothing touched.

use super::*;
use crate::rotation::journal::Standing;

/// What is asked for is refused now, and nothing follows.
fn refused(bench: &mut Bench, ask: Ask) -> Refusal {
    let before = bench.service.clone();
    let refusal = bench.ask(ask).expect_err("it is refused");
    assert_eq!(bench.service, before);
    assert_eq!(bench.service.plan(&ask, tick(bench.now), &bench.rules), Err(refusal));
    refusal
}

const SECONDARY: Ask = Ask::Regenerate { slot: Some(Slot::Secondary), set_key: None };

#[test]
fn before_the_keys_are_known() {
    let mut bench = Bench::starting(None, LockFile::Ours);
    assert_eq!(refused(&mut bench, SECONDARY), Refusal::NotReady);
}

#[test]
fn within_min_gap_of_a_first_look_a_regeneration_or_a_change_by_others() {
    let mut bench = Bench::starting(None, LockFile::Ours);
    bench.run(seconds(600));
    // No journal: the last regeneration is taken to be now.
    let min_gap = |bench: &mut Bench, expected: Slot| match refused(bench, SECONDARY) {
        Refusal::MinGap { slot, ago, wait } => {
            assert_eq!((slot, ago + wait), (expected, seconds(3_600)));
        }
        other => panic!("{other}"),
    };
    min_gap(&mut bench, Slot::Secondary);
    bench.run(seconds(3_600));
    bench.regenerate(Slot::Secondary);
    bench.run(seconds(600));
    min_gap(&mut bench, Slot::Secondary);
    bench.restart();
    bench.run(seconds(60));
    min_gap(&mut bench, Slot::Secondary);
    // It is over; then somebody else regenerates the primary.
    bench.run(seconds(3_600));
    bench.change(Slot::Primary);
    bench.run(seconds(600));
    min_gap(&mut bench, Slot::Primary);
    bench.run(seconds(3_600));
    assert!(bench.ask(SECONDARY).is_ok());
}

#[test]
fn while_frozen() {
    let mut bench = Bench::started();
    bench.tell(&Event::Freeze);
    assert_eq!(refused(&mut bench, SECONDARY), Refusal::Frozen);
    assert_eq!(refused(&mut bench, Ask::Leaked), Refusal::Frozen);
}

#[test]
fn without_the_lock_or_a_place_for_it() {
    for (lock_file, refusal) in [(LockFile::Theirs, Refusal::LockHeld), (LockFile::Absent, Refusal::NoStateDir)] {
        let mut bench = Bench::starting(None, lock_file);
        bench.run(seconds(86_400));
        assert_eq!(refused(&mut bench, SECONDARY), refusal);
        assert!(bench.offer.is_some(), "requests are served all the same");
        assert!(bench.disk.is_none(), "and nothing is written");
    }
}

#[test]
fn while_another_operation_is_at_work() {
    let mut bench = Bench::started();
    let operation = bench.regenerate(Slot::Secondary);
    bench.run(seconds(3));
    assert_eq!(refused(&mut bench, SECONDARY), Refusal::Busy { operation: operation.0 });
}

#[test]
fn a_value_that_a_key_has_already() {
    let mut bench = Bench::started();
    for (value, slot) in [(10, Slot::Primary), (20, Slot::Secondary)] {
        let ask = Ask::Regenerate { slot: Some(Slot::Secondary), set_key: Some(digest(value)) };
        assert_eq!(refused(&mut bench, ask), Refusal::SameValue { slot });
    }
}

#[test]
fn where_the_other_slot_is_new_or_changing() {
    let mut bench = Bench::started();
    bench.change(Slot::Primary);
    while bench.service.keys().slot(Slot::Primary).standing == Standing::Settled {
        bench.run(seconds(1));
    }
    // Adopted, and not seen by every front end yet.
    bench.rules.min_gap = Duration::ZERO;
    assert_eq!(refused(&mut bench, SECONDARY), Refusal::OtherNotAccepted { slot: Slot::Primary });
}

#[test]
fn where_the_other_slot_turns_out_not_to_be_accepted() {
    let mut bench = Bench::started();
    bench.refused.push(20);
    let operation = bench.regenerate(Slot::Primary);
    bench.run(seconds(60));
    let refusal = Refusal::OtherNotAccepted { slot: Slot::Secondary };
    assert_eq!(bench.state(operation), State::Refused { refusal });
    assert_eq!((bench.active(), bench.regenerated.len()), (Slot::Primary, 0));
}

#[test]
fn where_a_wrong_key_is_not_refused() {
    let mut bench = Bench::started();
    bench.wrong_key_is_refused = false;
    let operation = bench.regenerate(Slot::Secondary);
    bench.run(seconds(60));
    assert_eq!(bench.state(operation), State::Refused { refusal: Refusal::ProbeUseless });
    assert!(bench.regenerated.is_empty());
}

#[test]
fn where_a_role_is_missing_or_the_service_does_not_want_to() {
    for (end, state) in [
        (CallOutcome::Denied, State::Refused { refusal: Refusal::RoleMissing }),
        (CallOutcome::Refused { status: 400 }, State::Failed { status: 400 }),
    ] {
        let mut bench = Bench::started();
        bench.ends.push_back(end);
        let operation = bench.regenerate(Slot::Primary);
        bench.run(seconds(60));
        assert_eq!(bench.state(operation), state);
        assert_eq!(bench.ladder(), [digest(20), digest(10)], "both keys are as they were");
        assert_eq!(bench.disk.as_ref().unwrap().open, None);
    }
}

#[test]
fn where_the_disk_does_not_take_the_intent() {
    let mut bench = Bench::started();
    bench.disk_works = false;
    bench.regenerate(Slot::Secondary);
    bench.run(seconds(3_600));
    assert!(bench.regenerated.is_empty());
    assert!(bench.steps.iter().any(|(_, step)| step == "parked: journal"));
    bench.disk_works = true;
    bench.run(seconds(3_600));
    assert_eq!(bench.regenerated.len(), 1);
}
