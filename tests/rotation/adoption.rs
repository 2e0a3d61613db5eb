//! Somebody else changes a key: requests go on, and the new value is taken over.

use std::time::Duration;

use scoregate::{azure::service::Kind, config::model::Slot};
use serde_json::json;

use crate::{
    rig::{Rig, Traffic, config, journals, outsider, quick, regenerated, seen, state_dir},
    support::eventually,
    world::World,
};

#[tokio::test]
async fn one_key_that_somebody_changed_is_adopted_while_requests_go_on() {
    for (slot, key) in [(Slot::Primary, "Primary"), (Slot::Secondary, "Secondary")] {
        let world = World::start().await;
        world.tell("aks-key", json!({ "learn_lag": [0, 1, 1] })).await;
        let (_dir, state) = state_dir();
        let rules = scoregate::rotation::rules::Rules { look: Duration::from_secs(1), ..quick() };
        let rig = Rig::start(config(&world, "aks-key", Kind::Aks, rules), journals(&state));
        rig.settled("aks-key").await;
        let traffic = Traffic::start(&rig, "/aks-key", 3);
        traffic.goes_on(20).await;
        outsider(&world, "aks-key", key).await;
        eventually("it is adopted", || rig.gate.metric("adoptions_total{endpoint=\"aks-key\"}") >= 1.0).await;
        rig.settled("aks-key").await;
        traffic.goes_on(20).await;
        traffic.stop_all_well().await;
        assert_eq!(regenerated(&world).await, 0, "adoption never regenerates");
        assert_eq!(rig.violations(), 0.0);
        // The changed key is the newest: every process that serves the service comes to sit on it.
        eventually("the newest is in use", || rig.active("aks-key") == slot).await;
    }
}

#[tokio::test]
async fn both_keys_changed_at_once_cost_no_request_that_is_held() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, quick()), journals(&state));
    rig.settled("aks-key").await;
    let traffic = Traffic::start(&rig, "/aks-key", 3);
    traffic.goes_on(20).await;
    outsider(&world, "aks-key", "Both").await;
    eventually("both are adopted", || rig.gate.metric("adoptions_total{endpoint=\"aks-key\"}") >= 2.0).await;
    rig.settled("aks-key").await;
    traffic.goes_on(20).await;
    traffic.stop_all_well().await;
    assert_eq!((regenerated(&world).await, rig.violations()), (0, 0.0));
    assert!(rig.gate.metric("listkeys_total{endpoint=\"aks-key\",why=\"rejected\"}") >= 1.0);
    assert!(seen(&world, "aks-key").await["refused"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn an_outage_of_the_control_plane_harms_no_request() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let rules = scoregate::rotation::rules::Rules { look: Duration::from_millis(300), ..quick() };
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, rules), journals(&state));
    rig.settled("aks-key").await;
    let traffic = Traffic::start(&rig, "/aks-key", 2);
    world.misbehave(json!({ "target": "mms", "kind": "status", "status": 503 })).await;
    world.misbehave(json!({ "target": "entra", "kind": "down" })).await;
    let looks = || rig.gate.metric("listkeys_total{endpoint=\"aks-key\",why=\"look\"}");
    let before = looks();
    eventually("it was looked at in vain", || looks() > before + 1.0).await;
    traffic.goes_on(20).await;
    world.behave().await;
    traffic.stop_all_well().await;
    assert!(rig.status("aks-key").ready);
}
