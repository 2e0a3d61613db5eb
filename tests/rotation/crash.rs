//! A process that ends in the midst of a rotation, and the one that comes after it.

use std::time::Duration;

use scoregate::{
    azure::service::Kind,
    config::model::Slot,
    control::desk::{Granted, Run, Wish},
    rotation::operation::{State, Step},
};
use serde_json::json;

use crate::{
    rig::{Rig, Traffic, config, journals, quick, regenerated, state_dir},
    world::World,
};

#[tokio::test]
async fn whichever_step_a_process_ends_at_the_next_one_brings_it_to_its_end() {
    for step in [
        Step::Prechecked,
        Step::Drained,
        Step::Intent,
        Step::Submitted,
        Step::ReadBack,
        Step::Probed,
        Step::Trial,
        Step::Settled,
    ] {
        let world = World::start().await;
        world.tell("aks-key", json!({ "operation": 1, "learn_lag": [0, 1, 1] })).await;
        let (_dir, state) = state_dir();
        let rules = scoregate::rotation::rules::Rules { resubmit_after: Duration::from_secs(3), ..quick() };
        let rig = Rig::start(config(&world, "aks-key", Kind::Aks, rules.clone()), journals(&state));
        rig.settled("aks-key").await;
        let before = world.keys("aks-key").await;
        let wish = Wish::Regenerate { slot: Some(Slot::Secondary), set_key: None };
        let Ok(Granted::Begun(id)) = rig.ask("aks-key", wish, Run::Wet).await else { panic!("refused") };
        let id = format!("aks-key-{}", id.0);
        reached(&rig, step).await;
        rig.kill(&state).await;

        let rig = Rig::start(config(&world, "aks-key", Kind::Aks, rules), journals(&state));
        rig.ready("aks-key").await;
        let traffic = Traffic::start(&rig, "/aks-key", 2);
        traffic.goes_on(10).await;
        // Before anything of it was on the disk, it is as if nobody had asked.
        let known = rig.operation("aks-key", &id).is_some();
        assert!(known || matches!(step, Step::Prechecked | Step::Drained | Step::Intent), "{step:?}: it is forgotten");
        if known {
            assert_eq!(rig.ended("aks-key", &id).await.state, State::Done, "{step:?}");
            assert_ne!(world.keys("aks-key").await[1], before[1], "{step:?}");
            assert_eq!(regenerated(&world).await, 1, "{step:?}: once is enough");
            assert_eq!(rig.active("aks-key"), Slot::Secondary, "{step:?}");
        }
        assert_eq!(world.keys("aks-key").await[0], before[0], "{step:?}: never the other key");
        traffic.goes_on(10).await;
        traffic.stop_all_well().await;
        assert_eq!(rig.violations(), 0.0, "{step:?}");
        println!("killed at {}: {}", step.label(), if known { "brought to its end" } else { "as if nobody had asked" });
    }
}

/// Waits until it works at this step, or has left it behind.
async fn reached(rig: &Rig, step: Step) {
    crate::support::in_time("the step", async {
        while rig.rotation("aks-key").step < step && rig.rotation("aks-key").last_success_unix.is_none() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reply_that_is_lost_is_not_taken_for_a_call_that_did_nothing() {
    for kind in ["lost_reply", "after_effect"] {
        let world = World::start().await;
        let (_dir, state) = state_dir();
        let rig = Rig::start(config(&world, "aks-key", Kind::Aks, quick()), journals(&state));
        rig.settled("aks-key").await;
        let traffic = Traffic::start(&rig, "/aks-key", 2);
        world.misbehave(json!({ "target": "mms", "kind": kind, "call": "regenerateKeys", "count": 1 })).await;
        assert_eq!(rig.regenerate("aks-key", Some(Slot::Secondary)).await, State::Done, "{kind}");
        assert_eq!(regenerated(&world).await, 1, "{kind}");
        traffic.stop_all_well().await;
    }
}
