//! Somebody else changes a key: requests go on, and the new value is taken over.

use std::time::Duration;

use scoregate::{
    azure::{http::Attempts, service::Kind},
    clock::Clock,
    config::model::Slot,
    rotation::rules::Rules,
};
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
        let rules = Rules { look: Duration::from_secs(1), ..quick() };
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

/// What the keys were read for.
fn reads(rig: &Rig) -> String {
    let text = rig.gate.metrics();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("scoregate_listkeys_total{")).collect();
    lines.join("; ")
}

#[tokio::test]
async fn both_keys_changed_at_once_cost_no_request_that_is_held() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    // As many reads as by default: three, and one each half minute.
    let rules = Rules { listkeys_interval: Duration::from_secs(30), ..quick() };
    let rig = Rig::start(config(&world, "aks-key", Kind::Aks, rules), journals(&state));
    rig.settled("aks-key").await;
    let traffic = Traffic::start(&rig, "/aks-key", 3);
    traffic.goes_on(20).await;
    let listed = world.seen("mms", "listkeys").await;
    outsider(&world, "aks-key", "Both").await;
    eventually("both are adopted", || rig.gate.metric("adoptions_total{endpoint=\"aks-key\"}") >= 2.0).await;
    rig.settled("aks-key").await;
    traffic.goes_on(20).await;
    traffic.stop_all_well().await;
    assert_eq!((regenerated(&world).await, rig.violations()), (0, 0.0));
    // Two keys were changed, each of which may cost two reads beside the periodic looks.
    let listed = world.seen("mms", "listkeys").await - listed;
    assert!((2..=4).contains(&listed), "{listed} reads: {}", reads(&rig));
    assert!(rig.gate.metric("listkeys_total{endpoint=\"aks-key\",why=\"rejected\"}") >= 1.0);
    assert!(seen(&world, "aks-key").await["refused"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn an_outage_of_the_control_plane_harms_no_request() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let rules = Rules { look: Duration::from_millis(300), ..quick() };
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

#[tokio::test]
async fn callers_whose_requests_are_all_refused_cannot_make_the_gate_call_azure_more_than_the_limits_say() {
    let clock = Clock::manual(1_800_000_000);
    let world = World::start_with(clock.clone(), Attempts::ONE).await;
    let (_dir, state) = state_dir();
    // The numbers of the documentation, but for the times at the start.
    let rules = Rules { probe_successes: 1, probe_spread: Duration::ZERO, ..Rules::default() };
    let rig = Rig::start_with(config(&world, "aks-key", Kind::Aks, rules), journals(&state), clock.clone());
    crate::support::in_time("it is settled", async {
        while !rig.status("aks-key").ready {
            clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Front ends that forget both keys, and a control plane that says nothing has changed.
    world.tell("aks-key", json!({ "learn_lag": [100_000, 100_000, 100_000], "stale_listkeys": 100_000 })).await;
    for front_end in ["Primary", "Secondary"] {
        outsider(&world, "aks-key", front_end).await;
    }
    world.misbehave(json!({ "target": "scoring", "kind": "status", "status": 401 })).await;
    let listed = world.seen("mms", "listkeys").await;
    let sent = seen(&world, "aks-key").await["requests"].as_u64().unwrap();
    let minutes = 5;
    for _ in 0..minutes * 60 {
        for _ in 0..4 {
            assert_eq!(rig.score("/aks-key").await, 503);
        }
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let listed = world.seen("mms", "listkeys").await - listed;
    // Three at once, one each half minute, and the look of five minutes; those of a locked service back off to a minute.
    assert!((1..=3 + 2 * minutes + 8).contains(&listed), "{listed} reads in {minutes} minutes");
    let sent = seen(&world, "aks-key").await["requests"].as_u64().unwrap() - sent;
    assert!((1..=minutes * 60 + 12).contains(&sent), "{sent} sendings in {minutes} minutes");
    println!("{listed} reads and {sent} sendings in {minutes} minutes");
}
