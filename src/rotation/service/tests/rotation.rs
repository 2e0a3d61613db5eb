//! Rotations, step by step.

use super::*;
use crate::rotation::operation::{Parked, Policy};

#[test]
fn the_spare_slot_is_regenerated_and_becomes_active() {
    let mut bench = Bench::started();
    assert_eq!(bench.active(), Slot::Primary);
    let operation = bench.regenerate(Slot::Secondary);
    let began = bench.now.as_micros() / 1_000_000;
    bench.run(seconds(600));

    let steps: Vec<(u64, &str)> = bench.steps.iter().map(|(at, step)| (at - began, step.as_str())).collect();
    assert_eq!(
        steps,
        [
            (0, "prechecked"),
            (0, "drained"),
            (0, "intent"),
            (0, "submitted"),
            (0, "submitted"),
            (0, "read_back"),
            (5, "probed"),
            // Twelve probes over twenty seconds, then a minute on trial.
            (85, "idle"),
        ]
    );
    assert_eq!(bench.state(operation), State::Done);
    assert_eq!(bench.active(), Slot::Secondary);
    assert_eq!(bench.ladder(), [digest(101), digest(10)]);
    assert_eq!(bench.regenerated.len(), 1);

    let journal = bench.disk.unwrap();
    assert_eq!((journal.active, journal.open), (Slot::Secondary, None));
    assert_eq!(journal.slots.secondary.digest, digest(101));
    assert_eq!(journal.slots.secondary.retired, [digest(20)]);
    assert_eq!(journal.last_success, Some(UNIX + began + 85));
}

#[test]
fn the_probes_of_a_new_value_are_twelve_over_twenty_seconds() {
    let mut bench = Bench::started();
    bench.regenerate(Slot::Secondary);
    bench.run_to(Step::Trial);
    let of_new: Vec<Moment> =
        bench.probes.iter().filter(|(_, target)| *target == Target::Value(digest(101))).map(|(at, _)| *at).collect();
    assert_eq!(of_new.len(), 12);
    assert!(of_new[11].since(of_new[0]) >= seconds(20));
    assert!(bench.probes.iter().any(|(_, target)| *target == Target::WrongKey), "a wrong key was tried too");
}

#[test]
fn a_refusal_starts_the_count_again() {
    let mut bench = Bench::started();
    bench.regenerate(Slot::Secondary);
    bench.run_to(Step::Probed);
    bench.run(seconds(15));
    bench.refused.push(101);
    bench.run(seconds(3));
    bench.refused.clear();
    bench.run(seconds(15));
    assert_eq!(bench.step(), Step::Probed, "33 s after it began");
    bench.run(seconds(8));
    assert_eq!(bench.step(), Step::Trial);
}

#[test]
fn the_active_slot_is_left_and_drained_before_it_is_regenerated() {
    let mut bench = Bench::started();
    bench.drains = false;
    bench.regenerate(Slot::Primary);
    bench.run(seconds(1));
    assert_eq!(bench.step(), Step::Drained);
    assert_eq!(bench.active(), Slot::Secondary);
    assert_eq!(bench.ladder(), [digest(20)], "no resend tries what is about to be regenerated");
    // A drain that never ends ends nothing.
    bench.run(seconds(309));
    assert_eq!(bench.service.progress(bench.now, &bench.rules), (Step::Prechecked, Some(Parked::Drain)));
    assert_eq!(bench.ladder(), [digest(20), digest(10)]);
    bench.run(seconds(3_600));
    assert!(bench.regenerated.is_empty());
    bench.drains = true;
    bench.run(seconds(3_600));
    assert_eq!(bench.regenerated.len(), 1);
    assert_eq!(bench.active(), Slot::Primary);
}

#[test]
fn on_trial_only_held_requests_use_the_new_value() {
    let mut bench = Bench::started();
    bench.regenerate(Slot::Secondary);
    bench.run_to(Step::Trial);
    bench.run(Duration::ZERO);
    let offer = bench.offer.unwrap();
    assert_eq!((offer.held, offer.others), (digest(101), digest(10)));
    // One is refused: back, and twice as many probes.
    bench.probes.clear();
    bench.tell(&Event::Rejected { generation: offer.generation, value: offer.held });
    bench.run(Duration::ZERO);
    assert_eq!(bench.step(), Step::Probed);
    let back = bench.offer.unwrap();
    assert_eq!((back.held, back.others), (digest(10), digest(10)));
    assert!(back.generation > offer.generation);
    bench.run_to(Step::Trial);
    assert_eq!(bench.probes.len(), 24);
}

#[test]
fn three_rejections_on_trial_are_enough_for_a_while() {
    let mut bench = Bench::started();
    let operation = bench.regenerate(Slot::Secondary);
    for _ in 0..3 {
        bench.run_to(Step::Trial);
        bench.run(Duration::ZERO);
        let offer = bench.offer.unwrap();
        bench.tell(&Event::Rejected { generation: offer.generation, value: offer.held });
    }
    let parked = State::Running { step: Step::Probed, parked: Some(Parked::Unconverged) };
    assert_eq!(bench.state(operation), parked);
    bench.run(seconds(3_600));
    assert_eq!(bench.state(operation), State::Done, "it goes on by itself");
}

#[test]
fn what_was_done_with_its_reply_lost_is_seen_and_not_done_again() {
    let mut bench = Bench::started();
    bench.ends.push_back(CallOutcome::Unknown);
    let operation = bench.regenerate(Slot::Secondary);
    bench.run_to(Step::ReadBack);
    bench.run(seconds(60));
    bench.change(Slot::Secondary);
    bench.run(seconds(600));
    assert_eq!(bench.state(operation), State::Done);
    assert_eq!(bench.regenerated.len(), 1);
}

#[test]
fn what_was_not_done_is_submitted_again_after_fifteen_minutes_three_times_at_most() {
    let mut bench = Bench::started();
    bench.ends = [CallOutcome::Unknown, CallOutcome::Conflict, CallOutcome::Done].into();
    let operation = bench.regenerate(Slot::Secondary);
    bench.run(seconds(7_200));
    let gaps: Vec<u64> = bench.regenerated.windows(2).map(|pair| pair[1].0.since(pair[0].0).as_secs()).collect();
    assert_eq!(gaps, [900, 900]);
    assert_eq!(bench.state(operation), State::Unchanged);
    // The slot was not touched, so it carries requests again.
    assert_eq!(bench.ladder(), [digest(10), digest(20)]);
}

#[test]
fn a_long_running_operation_is_polled_as_its_service_wants() {
    let mut bench = Bench::started();
    let begun = CallOutcome::Begun { address: "https://x/operations/7".into(), poll_after: Some(seconds(42)) };
    bench.ends.push_back(begun);
    let operation = bench.regenerate(Slot::Secondary);
    bench.run(seconds(1));
    let address =
        |bench: &Bench| bench.disk.as_ref().unwrap().open.as_ref().unwrap().intent.as_ref().unwrap().address.clone();
    assert_eq!(address(&bench).as_deref(), Some("https://x/operations/7"));
    bench.change(Slot::Secondary);
    bench.run(seconds(40));
    assert_eq!(bench.step(), Step::Submitted);
    bench.run(seconds(2));
    assert_eq!(bench.step(), Step::ReadBack);
    bench.run(seconds(600));
    assert_eq!(bench.state(operation), State::Done);
}

#[test]
fn a_service_that_asks_for_patience_gets_it() {
    let mut bench = Bench::started();
    bench.ends.push_back(CallOutcome::Throttled { retry_after: Some(seconds(300)) });
    let operation = bench.regenerate(Slot::Secondary);
    bench.run(seconds(1));
    assert_eq!(bench.state(operation), State::Running { step: Step::Prechecked, parked: Some(Parked::Throttled) });
    bench.run(seconds(3_600));
    assert_eq!(bench.state(operation), State::Done);
    assert!(bench.regenerated[1].0.since(bench.regenerated[0].0) >= seconds(300));
}

#[test]
fn a_freeze_stops_what_has_not_been_submitted_and_lets_end_what_has() {
    for (step, done) in [(Step::Drained, false), (Step::ReadBack, true), (Step::Probed, true), (Step::Trial, true)] {
        let mut bench = Bench::started();
        bench.drains = step != Step::Drained;
        let operation = bench.regenerate(Slot::Primary);
        bench.run_to(step);
        bench.tell(&Event::Freeze);
        bench.run(seconds(600));
        assert_eq!(bench.state(operation), if done { State::Done } else { State::Cancelled }, "{step:?}");
        assert_eq!(bench.regenerated.len(), usize::from(done));
        // It survives a restart.
        bench.restart();
        bench.run(seconds(86_400));
        assert!(bench.service.is_frozen());
        assert_eq!(bench.ask(Ask::Leaked), Err(Refusal::Frozen));
        bench.tell(&Event::Unfreeze);
        bench.drains = true;
        bench.regenerate(Slot::Primary);
    }
}

#[test]
fn the_way_back_is_the_other_slot() {
    let mut bench = Bench::started();
    bench.regenerate(Slot::Secondary);
    bench.run(seconds(600));
    assert_eq!(bench.active(), Slot::Secondary);
    let back = bench.ask(Ask::Rollback).unwrap();
    bench.run(seconds(600));
    assert_eq!((bench.active(), bench.state(back)), (Slot::Primary, State::Done));
    assert_eq!(bench.ladder(), [digest(10), digest(101)]);

    // On trial it takes the new value away; at any other step no request has it.
    bench.run(seconds(7_200));
    bench.regenerate(Slot::Secondary);
    bench.run_to(Step::Probed);
    assert!(matches!(bench.ask(Ask::Rollback), Err(Refusal::Busy { .. })));
    bench.run_to(Step::Trial);
    bench.run(Duration::ZERO);
    bench.ask(Ask::Rollback).unwrap();
    bench.run(Duration::ZERO);
    assert_eq!(bench.step(), Step::Probed);
    assert_eq!(bench.offer.unwrap().held, digest(10));
}

#[test]
fn leaked_keys_are_both_replaced_whatever_min_gap_says() {
    let mut bench = Bench::started();
    bench.regenerate(Slot::Secondary);
    bench.run(seconds(600));
    let first = bench.ask(Ask::Leaked).unwrap();
    let second = OperationId(first.0 + 1);
    assert_eq!(bench.state(second), State::Queued);
    bench.run(seconds(600));
    assert_eq!((bench.state(first), bench.state(second)), (State::Done, State::Done));
    assert_eq!(
        bench.regenerated.iter().map(|(_, slot)| *slot).collect::<Vec<_>>(),
        [Slot::Secondary, Slot::Primary, Slot::Secondary]
    );
    // The second only when the first had settled.
    assert!(bench.regenerated[2].0.since(bench.regenerated[1].0) >= seconds(85));
}

#[test]
fn a_full_rotation_owes_the_second_slot_until_min_gap_is_over() {
    let mut bench = Bench::started();
    let full = Ask::Scheduled { policy: Policy::Full, until: None };
    bench.ask(full).unwrap();
    bench.run(seconds(600));
    assert_eq!(bench.service.owed(), Some(Slot::Primary));
    assert!(matches!(bench.ask(full), Err(Refusal::MinGap { slot: Slot::Secondary, .. })));
    bench.restart();
    bench.run(seconds(3_600));
    bench.ask(full).unwrap();
    bench.run(seconds(600));
    assert_eq!(bench.regenerated.iter().map(|(_, slot)| *slot).collect::<Vec<_>>(), [Slot::Secondary, Slot::Primary]);
    assert_eq!(bench.service.owed(), None);
}

#[test]
fn nothing_is_submitted_when_the_window_is_over() {
    let mut bench = Bench::started();
    bench.drains = false;
    let until = Some(tick(bench.now).unix + 60);
    let operation = bench.ask(Ask::Scheduled { policy: Policy::Alternate, until }).unwrap();
    bench.run(seconds(100));
    bench.drains = true;
    bench.run(seconds(3_600));
    assert_eq!(bench.state(operation), State::Refused { refusal: Refusal::WindowOver });
    assert!(bench.regenerated.is_empty());
}

#[test]
fn killed_at_every_step_it_comes_back_to_idle_with_one_new_key() {
    for step in [Step::Prechecked, Step::Drained, Step::Submitted, Step::ReadBack, Step::Probed, Step::Trial] {
        let mut bench = Bench::started();
        let operation = bench.regenerate(Slot::Primary);
        if step == Step::Prechecked {
            // Whoever asked was told so when it was on the disk.
            let todo = std::mem::take(&mut bench.todo);
            todo.into_iter()
                .filter(|action| matches!(action, Action::Write { .. }))
                .for_each(|write| bench.perform(write));
        }
        bench.run_to(step);
        let generation = bench.service.keys().generation();
        bench.restart();
        assert!(bench.service.keys().generation() >= generation, "generations only grow");
        bench.run(seconds(7_200));
        assert_eq!(bench.step(), Step::Idle, "{step:?}");
        assert_eq!(bench.state(operation), State::Done, "{step:?}");
        assert_eq!(bench.active(), Slot::Primary);
        assert!(bench.regenerated.len() <= 2, "{step:?}: once, and once more if the first may never have left");
    }
}

#[test]
fn a_given_value_is_lost_with_its_process_and_not_replaced_by_another() {
    let mut bench = Bench::started();
    bench.ends.push_back(CallOutcome::Unknown);
    let set_key = Some(digest(77));
    let operation = bench.ask(Ask::Regenerate { slot: Some(Slot::Secondary), set_key }).unwrap();
    bench.run(seconds(10));
    bench.restart();
    bench.run(seconds(3_600));
    assert_eq!(bench.state(operation), State::Refused { refusal: Refusal::ValueLost });
    assert_eq!(bench.regenerated.len(), 1);
    assert_eq!(bench.ladder(), [digest(10), digest(20)]);
}

#[test]
fn the_journal_keeps_fifty_operations() {
    let mut bench = Bench::started();
    for _ in 0..60 {
        bench.run(seconds(7_200));
        let slot = bench.active().other();
        bench.regenerate(slot);
        bench.run(seconds(600));
    }
    assert_eq!(bench.disk.as_ref().unwrap().operations.len(), 50);
    assert_eq!(bench.disk.as_ref().unwrap().slots.primary.retired.len(), 8);
    assert_eq!(bench.service.operations().last().unwrap().state, State::Done);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_touches_nothing() {
    let bench = Bench::started();
    let ask = Ask::Regenerate { slot: Some(Slot::Primary), set_key: None };
    let plan = bench.service.plan(&ask, tick(bench.now), &bench.rules).unwrap();
    assert_eq!(
        plan.to_string(),
        " 1. prechecked the secondary key is probed, since it was not seen accepted within 1 min; a probe with a wrong key must be refused
 2. drained    requests get the secondary key instead of the primary key; those that have it are awaited, up to 5 min 10 s
 3. intent     what is about to be done is written to the journal
 4. submitted  both keys are read once more; then the primary key is regenerated to a value that the service makes
 5. read_back  the new key is read twice, 5 s apart, up to 10 min; the secondary key must stay as it is
 6. probed     the new key is accepted 12 times in a row on fresh connections, over 20 s or more
 7. trial      requests that can be sent again use it for 1 min, all others the secondary key
 8. settled    all requests get the primary key; the secondary key stays valid beside it
At least 1 min 25 s in all. Nothing was touched."
    );
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!((&json["at_least_seconds"], &json["steps"][5]["step"]), (&85.into(), &"probed".into()));
    let both = bench.service.plan(&Ask::Leaked, tick(bench.now), &bench.rules).unwrap();
    assert!(both.to_string().contains(" 9. prechecked the primary key has its turn right after the first"));
}
