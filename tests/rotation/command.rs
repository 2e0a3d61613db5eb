//! Rotation by command: either key, under traffic, with front ends that learn late.

use std::time::Duration;

use scoregate::{
    azure::service::Kind,
    config::model::Slot,
    control::desk::{Granted, Run, Wish},
    rotation::{operation::State, refusal::Refusal, schedule::Schedule},
    secret::Secret,
};
use serde_json::json;

use crate::{
    rig::{Rig, Traffic, config, endpoint, journals, quick, regenerated, seen, state_dir},
    support::{eventually, gate},
    world::World,
};

#[tokio::test]
async fn either_key_is_regenerated_under_traffic_and_nobody_notices() {
    let world = World::start().await;
    world.tell("aks-key", json!({ "learn_lag": [0, 1, 2], "operation": 1 })).await;
    let (_dir, state) = state_dir();
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, quick()), journals(&state));
    rig.settled("aks-key").await;
    assert_eq!(rig.active("aks-key"), Slot::Primary, "the first that is accepted");
    let traffic = Traffic::start(&rig, "/aks-key", 3);
    traffic.goes_on(20).await;
    // The one that requests do not get, then the one that they do.
    for (round, slot) in [(1, Slot::Secondary), (2, Slot::Secondary), (3, Slot::Primary)] {
        let before = world.keys("aks-key").await;
        assert_eq!(rig.regenerate("aks-key", Some(slot)).await, State::Done, "round {round}");
        let after = world.keys("aks-key").await;
        let changed = [before[0] != after[0], before[1] != after[1]];
        assert_eq!(changed, [slot == Slot::Primary, slot == Slot::Secondary], "round {round}: that key and no other");
        assert_eq!(rig.active("aks-key"), slot, "the newest is in use");
        assert_eq!(regenerated(&world).await, round);
    }
    traffic.goes_on(20).await;
    let answered = traffic.stop_all_well().await;
    assert!(answered > 100, "{answered}");
    assert_eq!(rig.violations(), 0.0);
    assert_eq!(rig.gate.metric("rotation_step{endpoint=\"aks-key\",step=\"idle\"}"), 1.0);
    assert!(rig.gate.metric("rotation_last_success_timestamp_seconds{endpoint=\"aks-key\"}") > 1.0);
    assert!(rig.gate.metric("credential_generation{endpoint=\"aks-key\"}") > 3.0);
    // No key is on the disk.
    for file in std::fs::read_dir(&state).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        let content = String::from_utf8_lossy(&content);
        for key in world.keys("aks-key").await {
            assert!(!content.contains(&key));
        }
    }
}

#[tokio::test]
async fn every_kind_of_service_with_keys_is_rotated() {
    for (name, kind) in [("aci-key", Kind::Aci), ("online-key", Kind::Online)] {
        let world = World::start().await;
        let (_dir, state) = state_dir();
        let rig = Rig::start(config(&world, name, kind, quick()), journals(&state));
        rig.settled(name).await;
        let before = world.keys(name).await;
        assert_eq!(rig.regenerate(name, None).await, State::Done, "{name}");
        assert_ne!(world.keys(name).await, before);
        assert_eq!(rig.score(&format!("/{name}")).await, 200);
    }
}

#[tokio::test]
async fn a_value_that_somebody_chose_is_set_and_used() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, quick()), journals(&state));
    rig.settled("aks-key").await;
    let set_key = Some(Secret::new(b"a-key-of-our-own-0123456789".to_vec()));
    let wish = Wish::Regenerate { slot: Some(Slot::Secondary), set_key: set_key.clone() };
    let Ok(Granted::Begun(id)) = rig.ask("aks-key", wish.clone(), Run::Wet).await else { panic!("refused") };
    assert_eq!(rig.ended("aks-key", &format!("aks-key-{}", id.0)).await.state, State::Done);
    assert_eq!(world.keys("aks-key").await[1], "a-key-of-our-own-0123456789");
    assert_eq!(rig.score("/aks-key").await, 200);
    // Again it would change nothing, and in the other slot leave two keys that are one.
    for slot in Slot::BOTH {
        let wish = Wish::Regenerate { slot: Some(slot), set_key: set_key.clone() };
        let refused = rig.ask("aks-key", wish, Run::Wet).await;
        assert_eq!(refused, Err(Refusal::SameValue { slot: Slot::Secondary }));
    }
}

#[tokio::test]
async fn leaked_keys_are_both_regenerated_one_after_the_other() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let rules = scoregate::rotation::rules::Rules { min_gap: Duration::from_secs(3_600), ..quick() };
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, rules), journals(&state));
    rig.settled("aks-key").await;
    let traffic = Traffic::start(&rig, "/aks-key", 2);
    let before = world.keys("aks-key").await;
    let Ok(Granted::Begun(id)) = rig.ask("aks-key", Wish::Leaked, Run::Wet).await else { panic!("refused") };
    for id in [id.0, id.0 + 1] {
        assert_eq!(rig.ended("aks-key", &format!("aks-key-{id}")).await.state, State::Done);
    }
    let after = world.keys("aks-key").await;
    assert!(before[0] != after[0] && before[1] != after[1]);
    traffic.stop_all_well().await;
    assert_eq!((regenerated(&world).await, rig.violations()), (2, 0.0));
}

#[tokio::test]
async fn a_rollback_gives_requests_the_other_key() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, quick()), journals(&state));
    rig.settled("aks-key").await;
    let Ok(Granted::Begun(_)) = rig.ask("aks-key", Wish::Rollback, Run::Wet).await else { panic!("refused") };
    assert_eq!(rig.active("aks-key"), Slot::Secondary);
    assert_eq!(rig.score("/aks-key").await, 200);
    let secondary = seen(&world, "aks-key").await["by_value"].clone();
    assert!(secondary.to_string().contains("Secondary"), "{secondary}");
    assert_eq!(regenerated(&world).await, 0);
}

#[tokio::test]
async fn two_endpoints_that_are_one_service_rotate_once() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let mut config = config(&world, "aks-key", Kind::Aks, quick());
    let mut twin = endpoint(&world, "aks-key", Kind::Aks, quick());
    twin.name = "twin".into();
    config.endpoints.push(twin);
    config.routes.push(gate::route("/twin", "twin", &["team-a"]));
    let rig = Rig::start(config, journals(&state));
    rig.settled("aks-key").await;
    rig.ready("twin").await;
    let (one, other) = (Traffic::start(&rig, "/aks-key", 2), Traffic::start(&rig, "/twin", 2));
    one.goes_on(5).await;
    assert_eq!(rig.regenerate("twin", Some(Slot::Primary)).await, State::Done);
    assert_eq!(rig.rotation("twin").slots, rig.rotation("aks-key").slots);
    assert_eq!(rig.rotation("twin").operations[0].id, "twin-1");
    one.goes_on(5).await;
    other.goes_on(5).await;
    one.stop_all_well().await;
    other.stop_all_well().await;
    assert_eq!(regenerated(&world).await, 1);
}

#[tokio::test]
async fn a_reload_in_the_midst_of_it_changes_nothing_and_a_removed_endpoint_is_brought_to_its_end() {
    let world = World::start().await;
    world.tell("aks-key", json!({ "operation": 2, "learn_lag": [0, 1, 1] })).await;
    let (_dir, state) = state_dir();
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, quick()), journals(&state));
    rig.settled("aks-key").await;
    let wish = Wish::Regenerate { slot: Some(Slot::Secondary), set_key: None };
    let Ok(Granted::Begun(_)) = rig.ask("aks-key", wish, Run::Wet).await else { panic!("refused") };
    eventually("the call is made", || rig.rotation("aks-key").step == scoregate::rotation::operation::Step::Submitted)
        .await;
    rig.gate.reload(false, |config| config.limits.fields = 77).await.unwrap();
    assert_eq!(rig.score("/aks-key").await, 200);
    let mut gone = None;
    rig.gate.reload(false, |config| gone = Some((config.endpoints.remove(0), config.routes.remove(0)))).await.unwrap();
    // Nobody sees it any more but its journal.
    let journal = || {
        let files = std::fs::read_dir(&state).unwrap().map(|file| file.unwrap().path());
        let file = files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "json"));
        serde_json::from_slice::<serde_json::Value>(&std::fs::read(file.unwrap()).unwrap()).unwrap()
    };
    eventually("it is brought to its end", || journal()["open"].is_null() && !journal()["last_success"].is_null())
        .await;
    assert_eq!(regenerated(&world).await, 1);
    let (endpoint, route) = gone.unwrap();
    rig.gate
        .reload(false, |config| {
            config.endpoints.push(endpoint);
            config.routes.push(route);
        })
        .await
        .unwrap();
    rig.ready("aks-key").await;
    assert_eq!((rig.active("aks-key"), rig.score("/aks-key").await), (Slot::Secondary, 200));
}

#[tokio::test]
async fn a_schedule_rotates_by_itself_and_in_turn() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let mut config = config(&world, "aks-key", Kind::Aks, quick());
    let upkeep = &mut config.endpoints[0].service.as_mut().unwrap().upkeep;
    upkeep.schedule = Some(Schedule { every: Duration::from_secs(3), window: None });
    let rig = Rig::start(config, journals(&state));
    rig.settled("aks-key").await;
    let traffic = Traffic::start(&rig, "/aks-key", 2);
    let mut actives = vec![rig.active("aks-key")];
    eventually("both were rotated", || {
        let active = rig.active("aks-key");
        if actives.last() != Some(&active) {
            actives.push(active);
        }
        actives.len() >= 3
    })
    .await;
    assert_eq!(actives[..3], [Slot::Primary, Slot::Secondary, Slot::Primary]);
    traffic.stop_all_well().await;
    assert!(regenerated(&world).await >= 2);
    assert_eq!(rig.violations(), 0.0);
}
