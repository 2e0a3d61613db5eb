//! What is refused, and that nothing was touched then.

use std::time::Duration;

use scoregate::{
    azure::service::Kind,
    config::model::Slot,
    control::{
        desk::{Granted, Run, Wish},
        journals::Journals,
        state::fresh_salt,
    },
    rotation::{
        operation::{State, Step},
        refusal::Refusal,
        rules::Rules,
    },
};
use serde_json::json;

use crate::{
    rig::{Rig, config, journals, quick, regenerated, state_dir},
    support::eventually,
    world::World,
};

fn regenerate(slot: Slot) -> Wish {
    Wish::Regenerate { slot: Some(slot), set_key: None }
}

#[tokio::test]
async fn a_dry_run_says_each_step_and_touches_nothing() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, quick()), journals(&state));
    rig.settled("aks-key").await;
    let Ok(Granted::Planned(plan)) = rig.ask("aks-key", regenerate(Slot::Secondary), Run::Dry).await else {
        panic!("no plan")
    };
    let steps: Vec<Step> = plan.steps.iter().map(|step| step.step).collect();
    assert_eq!(steps.first(), Some(&Step::Prechecked));
    assert_eq!(steps.last(), Some(&Step::Settled));
    assert!(plan.to_string().contains("Nothing was touched"));
    assert_eq!((regenerated(&world).await, rig.rotation("aks-key").step), (0, Step::Idle));
}

#[tokio::test]
async fn a_rule_that_stands_against_it_is_named() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let rules = Rules { min_gap: Duration::from_secs(3_600), ..quick() };
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, rules), journals(&state));
    rig.settled("aks-key").await;
    // A service that was seen for the first time may have been rotated by somebody a moment ago.
    let refused = rig.ask("aks-key", regenerate(Slot::Secondary), Run::Wet).await;
    assert!(matches!(refused, Err(Refusal::MinGap { .. })), "{refused:?}");
    rig.gate
        .reload(false, |config| {
            config.endpoints[0].service.as_mut().unwrap().upkeep.rules.min_gap = Duration::ZERO;
        })
        .await
        .unwrap();
    assert_eq!(rig.ask("aks-key", Wish::Freeze, Run::Wet).await, Ok(Granted::Done));
    assert_eq!(rig.ask("aks-key", regenerate(Slot::Secondary), Run::Wet).await, Err(Refusal::Frozen));
    assert!(rig.rotation("aks-key").frozen);
    assert_eq!(regenerated(&world).await, 0);

    // It survives the process.
    let config = config(&world, "aks-key", Kind::Aks, quick());
    eventually("it is journalled", || frozen_on_disk(&state)).await;
    rig.kill(&state).await;
    let rig = Rig::start(config, journals(&state));
    rig.settled("aks-key").await;
    assert_eq!(rig.ask("aks-key", regenerate(Slot::Secondary), Run::Wet).await, Err(Refusal::Frozen));
    assert_eq!(rig.ask("aks-key", Wish::Unfreeze, Run::Wet).await, Ok(Granted::Done));
    assert_eq!(rig.regenerate("aks-key", Some(Slot::Secondary)).await, State::Done);
}

fn frozen_on_disk(state: &std::path::Path) -> bool {
    std::fs::read_dir(state).unwrap().any(|file| {
        let content = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        content.contains("\"frozen\": true")
    })
}

#[tokio::test]
async fn one_process_rotates_and_the_other_follows_until_the_lock_is_free() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let rules = || Rules { look: Duration::from_millis(500), ..quick() };
    let first = Rig::start(config(&world, "aks-key", Kind::Aks, rules()), journals(&state));
    first.settled("aks-key").await;
    let second = Rig::start(config(&world, "aks-key", Kind::Aks, rules()), journals(&state));
    second.settled("aks-key").await;
    assert_eq!(second.ask("aks-key", regenerate(Slot::Secondary), Run::Wet).await, Err(Refusal::LockHeld));
    assert_eq!(second.ask("aks-key", Wish::Freeze, Run::Wet).await, Err(Refusal::LockHeld));
    assert!(second.rotation("aks-key").follows.unwrap().contains("another process"));
    // What the first one does the second one sees, and comes to sit on the newest key.
    assert_eq!(first.regenerate("aks-key", Some(Slot::Secondary)).await, State::Done);
    eventually("the follower follows", || second.active("aks-key") == Slot::Secondary).await;
    assert_eq!(second.score("/aks-key").await, 200);
}

#[tokio::test]
async fn without_a_state_directory_all_works_but_rotation() {
    let world = World::start().await;
    let nowhere = Journals::new(Err("/var/lib/scoregate: Permission denied".to_owned()), fresh_salt().unwrap());
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, quick()), nowhere);
    rig.settled("aks-key").await;
    assert_eq!(rig.score("/aks-key").await, 200);
    assert_eq!(rig.ask("aks-key", regenerate(Slot::Secondary), Run::Wet).await, Err(Refusal::NoStateDir));
    assert!(rig.rotation("aks-key").follows.unwrap().contains("Permission denied"));
    assert_eq!(regenerated(&world).await, 0);
}

#[tokio::test]
async fn a_service_without_keys_has_none_to_regenerate() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    for (name, kind) in [("aks-token", Kind::Aks), ("aci-open", Kind::Aci)] {
        let rig = Rig::start(config(&world, name, kind, quick()), journals(&state));
        rig.ready(name).await;
        assert_eq!(rig.ask(name, regenerate(Slot::Primary), Run::Wet).await, Err(Refusal::NoKeys), "{name}");
        assert_eq!(rig.ask("nothing", Wish::Rollback, Run::Wet).await, Err(Refusal::NoKeys));
    }
}

#[tokio::test]
async fn a_role_that_is_missing_ends_it_with_nothing_touched() {
    let world = World::start().await;
    world.tell("aks-key", json!({ "deny": ["regeneratekeys"] })).await;
    let (_dir, state) = state_dir();
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, quick()), journals(&state));
    rig.settled("aks-key").await;
    let before = world.keys("aks-key").await;
    assert_eq!(
        rig.regenerate("aks-key", Some(Slot::Secondary)).await,
        State::Refused { refusal: Refusal::RoleMissing }
    );
    assert_eq!(world.keys("aks-key").await, before);
    assert_eq!(rig.score("/aks-key").await, 200);
    // The way is free again when the role is there.
    world.tell("aks-key", json!({ "deny": [] })).await;
    assert_eq!(rig.regenerate("aks-key", Some(Slot::Secondary)).await, State::Done);
}
