//! Tokens: renewed before they are needed, attached to their end and not beyond, and healed by themselves.

use std::time::Duration;

use scoregate::{
    azure::{http::Attempts, service::Kind},
    clock::Clock,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    rig::{BODY, Rig, Traffic, config, journals, quick, seen, state_dir},
    support::{
        client::{H2, once, post, verdict},
        eventually,
    },
    world::World,
};

/// Lets simulated time pass in steps that leave the driver time to act.
async fn pass(clock: &Clock, seconds: u64) {
    for _ in 0..seconds {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_provider_that_is_down_half_an_hour_around_refresh_by_costs_no_request() {
    let clock = Clock::manual(1_800_000_000);
    let world = World::start_with(clock.clone(), Attempts::ONE).await;
    world.tell("aks-token", json!({ "token_lifetime": 3_600, "refresh_after": 1_800 })).await;
    let (_dir, state) = state_dir();
    let rig = Rig::start_with(config(&world, "aks-token", Kind::Aks, quick()), journals(&state), clock.clone());
    rig.ready("aks-token").await;
    let first = rig.status("aks-token").slots[0].fingerprint.clone();
    pass(&clock, 900).await;
    world.misbehave(json!({ "target": "mms", "kind": "down", "call": "token" })).await;
    world.misbehave(json!({ "target": "entra", "kind": "down" })).await;
    for _ in 0..18 {
        pass(&clock, 100).await;
        assert_eq!(rig.score("/aks-token").await, 200, "the old one serves");
    }
    assert_eq!(rig.status("aks-token").slots[0].fingerprint, first);
    let failed = rig.gate.metric("token_refresh_total{endpoint=\"aks-token\",result=\"failed\"}");
    assert!((2.0..=40.0).contains(&failed), "{failed} attempts in half an hour");
    world.behave().await;
    for _ in 0..3 {
        pass(&clock, 60).await;
    }
    eventually("it is renewed", || rig.status("aks-token").slots[0].fingerprint != first).await;
    assert_eq!(rig.score("/aks-token").await, 200);
    assert_eq!(seen(&world, "aks-token").await["expired_tokens"], 0);
}

#[tokio::test]
async fn a_clock_that_is_minutes_off_neither_loops_nor_attaches_what_has_expired() {
    for offset in [-240, 240] {
        let world = World::start().await;
        world.order(http::Method::PUT, "/clock", json!({ "offset": offset })).await;
        world.tell("online-token", json!({ "token_lifetime": 3_600, "refresh_after": 1_800 })).await;
        let (_dir, state) = state_dir();
        let rig = Rig::start(config(&world, "online-token", Kind::Online, quick()), journals(&state));
        rig.ready("online-token").await;
        let traffic = Traffic::start(&rig, "/online-token", 2);
        traffic.goes_on(100).await;
        traffic.stop_all_well().await;
        assert_eq!(world.seen("arm", "token").await, 1, "offset {offset}: one fetch");
        assert_eq!(seen(&world, "online-token").await["expired_tokens"], 0);
    }
}

#[tokio::test]
async fn a_refresh_by_that_lies_in_the_past_is_no_reason_to_fetch_all_the_time() {
    let world = World::start().await;
    world.tell("aks-token", json!({ "token_lifetime": 3_600, "refresh_after": 0 })).await;
    let (_dir, state) = state_dir();
    let rig = Rig::start(config(&world, "aks-token", Kind::Aks, quick()), journals(&state));
    rig.ready("aks-token").await;
    let traffic = Traffic::start(&rig, "/aks-token", 2);
    traffic.goes_on(100).await;
    traffic.stop_all_well().await;
    assert_eq!(world.seen("mms", "token").await, 1);
}

#[tokio::test]
async fn tokens_that_live_five_seconds_are_followed_by_the_next_in_time() {
    let world = World::start().await;
    world.tell("aks-token", json!({ "token_lifetime": 5, "refresh_after": 3 })).await;
    let (_dir, state) = state_dir();
    let rig = Rig::start(config(&world, "aks-token", Kind::Aks, quick()), journals(&state));
    rig.ready("aks-token").await;
    let traffic = Traffic::start(&rig, "/aks-token", 2);
    let renewed = || rig.gate.metric("token_refresh_total{endpoint=\"aks-token\",result=\"ok\"}");
    eventually("four came one after the other", || renewed() >= 4.0).await;
    let answered = traffic.stop_all_well().await;
    let fetched = world.seen("mms", "token").await;
    assert!(fetched <= 12, "{fetched} fetches for {answered} requests");
    assert_eq!(seen(&world, "aks-token").await["expired_tokens"], 0);
}

#[tokio::test]
async fn a_process_that_starts_while_the_provider_is_down_heals_by_itself() {
    let clock = Clock::manual(1_800_000_000);
    let world = World::start_with(clock.clone(), Attempts::ONE).await;
    world.misbehave(json!({ "target": "entra", "kind": "down" })).await;
    let (_dir, state) = state_dir();
    let rig = Rig::start_with(config(&world, "aks-token", Kind::Aks, quick()), journals(&state), clock.clone());
    eventually("the reason is known", || rig.status("aks-token").reason.is_some_and(|why| why.starts_with("cannot")))
        .await;
    assert_eq!(rig.score("/aks-token").await, 503);
    world.behave().await;
    crate::support::in_time("it heals", async {
        while !rig.status("aks-token").ready {
            pass(&clock, 5).await;
        }
    })
    .await;
    assert_eq!(rig.score("/aks-token").await, 200);
}

#[tokio::test]
async fn a_token_that_is_revoked_is_replaced_and_costs_no_request() {
    let world = World::start().await;
    let (_dir, state) = state_dir();
    let mut config = config(&world, "aks-token", Kind::Aks, quick());
    config.endpoints[0].service.as_mut().unwrap().upkeep.token_rules.refresh_interval = Duration::from_millis(200);
    let rig = Rig::start(config, journals(&state));
    rig.ready("aks-token").await;
    let traffic = Traffic::start(&rig, "/aks-token", 2);
    traffic.goes_on(20).await;
    for _ in 0..3 {
        let path = "/services/aks-token/rotate_token_key";
        world.order(http::Method::POST, path, json!({ "overlap": 0 })).await;
        traffic.goes_on(20).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    traffic.stop_all_well().await;
    assert!(world.seen("mms", "token").await >= 4);
}

#[tokio::test]
async fn ten_thousand_requests_at_the_instant_of_expiry_cost_one_fetch_and_none_fails() {
    const CONNECTIONS: usize = 100;
    const STREAMS: usize = 100;
    let clock = Clock::manual(1_800_000_000);
    let world = World::start_with(clock.clone(), Attempts::ONE).await;
    world.tell("aks-token", json!({ "token_lifetime": 100, "refresh_after": 50 })).await;
    let (_dir, state) = state_dir();
    let mut config = config(&world, "aks-token", Kind::Aks, quick());
    let endpoint = &mut config.endpoints[0];
    (endpoint.concurrency, endpoint.queue, endpoint.connect.max_connections) = (512, 16_384, 512);
    let rig = Rig::start_with(config, journals(&state), clock.clone());
    rig.ready("aks-token").await;
    assert_eq!(rig.score("/aks-token").await, 200);
    let before = (world.seen("mms", "token").await, seen(&world, "aks-token").await["connections"].as_u64().unwrap());
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(H2::connect(rig.gate.address("public")).await);
    }

    // Its end and its renewal at once, from a provider that takes its time.
    world.misbehave(json!({ "target": "mms", "kind": "slow", "delay": 2, "call": "token" })).await;
    clock.advance(Duration::from_secs(100));
    let mut requests = JoinSet::new();
    for client in &clients {
        for _ in 0..STREAMS {
            let mut client = client.clone();
            requests.spawn(async move { client.status(post("/aks-token", BODY)).await });
        }
    }
    let answers = tokio::time::timeout(Duration::from_secs(120), requests.join_all()).await.unwrap();
    assert_eq!((answers.len(), answers.iter().filter(|status| **status != 200).count()), (CONNECTIONS * STREAMS, 0));
    let after = seen(&world, "aks-token").await;
    assert_eq!(world.seen("mms", "token").await - before.0, 1, "one fetch");
    assert_eq!(after["expired_tokens"], 0);
    let connections = after["connections"].as_u64().unwrap() - before.1;
    assert!(connections <= 512, "{connections} connections");
}

#[tokio::test]
async fn a_region_that_is_down_past_the_end_of_a_token_costs_503_and_nothing_expired_is_sent() {
    let clock = Clock::manual(1_800_000_000);
    let world = World::start_with(clock.clone(), Attempts::ONE).await;
    world.tell("aks-token", json!({ "token_lifetime": 600, "refresh_after": 300 })).await;
    let (_dir, state) = state_dir();
    let rig = Rig::start_with(config(&world, "aks-token", Kind::Aks, quick()), journals(&state), clock.clone());
    rig.ready("aks-token").await;
    // The identity provider answers; the workspace's region does not.
    world.misbehave(json!({ "target": "mms", "kind": "down" })).await;
    pass(&clock, 590).await;
    assert_eq!(rig.score("/aks-token").await, 200, "the token lives");
    pass(&clock, 20).await;
    eventually("it is missing", || !rig.status("aks-token").ready).await;
    for _ in 0..20 {
        let refused = once(rig.gate.address("public"), post("/aks-token", BODY)).await;
        assert_eq!(verdict(&refused), (503, "credential_unavailable".to_owned()));
        assert_eq!(refused.headers()["retry-after"], "1");
    }
    world.behave().await;
    // One step of the backoff at most, with its jitter.
    pass(&clock, 90).await;
    eventually("it heals", || rig.status("aks-token").ready).await;
    assert_eq!(rig.score("/aks-token").await, 200);
    assert_eq!(seen(&world, "aks-token").await["expired_tokens"], 0);
}
