//! Each limit of the configuration acts, and each time it does it is counted.

use std::time::Duration;

use scoregate::config::model::UpstreamProtocol;
use tokio::sync::Semaphore;

use crate::support::{
    client::{self, Client, H1, H2, full, get, post, with},
    eventually,
    gate::{self, TestGate},
    in_time,
    raw::{self, Raw},
    upstream::Upstream,
};

/// Answers when the test says so.
async fn held() -> (Upstream, std::sync::Arc<Semaphore>) {
    let go = std::sync::Arc::new(Semaphore::new(0));
    let theirs = std::sync::Arc::clone(&go);
    let upstream = Upstream::streaming(move |request, notes| {
        let go = std::sync::Arc::clone(&theirs);
        async move {
            notes.read(request).await;
            go.acquire().await.unwrap().forget();
            http::Response::new(full("ok"))
        }
    })
    .await;
    (upstream, go)
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.limits.head = 8 << 10;
    let gate = TestGate::start(config);
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(raw::get("/score").replace("\r\n\r\n", &format!("\r\nx-big: {}\r\n\r\n", "x".repeat(9000)))).await;
    assert_eq!(caller.response().await.status(), 431);
    eventually("counted", || gate.metric("limit_hits_total{limit=\"head\"}") == 1.0).await;
    let big = with(get("/score"), "x-big", &"x".repeat(9000));
    let response = H2::connect(gate.address("public")).await.send(big).await;
    assert_eq!(client::verdict(&response), (431, "request_head_too_large".into()));
    eventually("counted", || gate.metric("limit_hits_total{limit=\"head\"}") == 2.0).await;
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn too_many_fields_are_refused() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.limits.fields = 20;
    let gate = TestGate::start(config);
    for mut caller in Client::both(gate.address("public")).await {
        let mut request = get("/score");
        for number in 0..21 {
            request = with(request, "x-many", &number.to_string());
        }
        assert_eq!(caller.send(request).await.status(), 431, "{}", caller.name());
    }
    assert_eq!(upstream.seen().len(), 0);
    eventually("counted", || {
        gate.metric("limit_hits_total{limit=\"head\"}") + gate.metric("limit_hits_total{limit=\"fields\"}") == 2.0
    })
    .await;
}

#[tokio::test]
async fn connections_over_the_cap_are_closed_at_once_and_places_come_back() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.limits.max_connections = 3;
    let gate = TestGate::start(config);
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut caller = H1::connect(gate.address("public")).await;
        assert_eq!(caller.send(get("/score")).await.status(), 200);
        kept.push(caller);
    }
    let mut fourth = Raw::connect(gate.address("public")).await;
    assert!(fourth.is_closed().await);
    assert_eq!(gate.metric("limit_hits_total{limit=\"max_connections\"}"), 1.0);
    kept.pop();
    eventually("a place is free", || gate.metric("connections{listener=\"public\",state=\"idle\"}") == 2.0).await;
    assert_eq!(client::once(gate.address("public"), get("/score")).await.status(), 200);
}

#[tokio::test]
async fn concurrency_then_queue_then_overloaded() {
    let (upstream, go) = held().await;
    let mut config = gate::config(upstream.address);
    config.workers = Some(1);
    config.endpoints[0].concurrency = 2;
    config.endpoints[0].queue = 3;
    let gate = TestGate::start(config);
    let address = gate.address("public");
    let ask = move || tokio::spawn(async move { client::once(address, post("/score", "{}")).await });
    let mut waiting = vec![ask(), ask()];
    eventually("two are with the upstream", || upstream.seen().len() == 2).await;
    waiting.extend([ask(), ask(), ask()]);
    eventually("three wait", || gate.metric("connections{listener=\"public\",state=\"active\"}") == 5.0).await;
    let mut refused = None;
    for _ in 0..20 {
        let sixth = in_time("the sixth", ask()).await.unwrap();
        if sixth.status() == 503 {
            refused = Some(sixth);
            break;
        }
    }
    let refused = refused.expect("a full queue refuses");
    assert_eq!(client::verdict(&refused), (503, "overloaded".into()));
    assert!(refused.headers().contains_key("retry-after"));
    assert!(gate.metric("limit_hits_total{limit=\"queue\"}") >= 1.0);
    assert_eq!(upstream.seen().len(), 2, "never more than two at once");
    go.add_permits(5);
    for one in waiting {
        assert_eq!(one.await.unwrap().status(), 200);
    }
    eventually("all places are free", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
}

#[tokio::test]
async fn a_caller_that_leaves_the_queue_frees_its_place_there() {
    let (upstream, go) = held().await;
    let mut config = gate::config(upstream.address);
    config.workers = Some(1);
    config.endpoints[0].concurrency = 1;
    config.endpoints[0].queue = 1;
    let gate = TestGate::start(config);
    let address = gate.address("public");
    let first = tokio::spawn(async move { client::once(address, post("/score", "1")).await });
    eventually("the first is with the upstream", || upstream.seen().len() == 1).await;
    for _ in 0..10 {
        let mut caller = Raw::connect(address).await;
        caller.send(raw::get("/score")).await;
        eventually("it waits", || gate.metric("connections{listener=\"public\",state=\"active\"}") == 2.0).await;
        drop(caller);
        eventually("it left", || gate.metric("connections{listener=\"public\",state=\"active\"}") == 1.0).await;
    }
    go.add_permits(2);
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(client::once(address, post("/score", "2")).await.status(), 200);
    assert_eq!(upstream.seen().len(), 2, "nobody who left was forwarded");
    assert_eq!(gate.metric("limit_hits_total{limit=\"queue\"}"), 0.0);
}

#[tokio::test]
async fn streams_of_a_connection_are_capped() {
    let (upstream, go) = held().await;
    let mut config = gate::config(upstream.address);
    config.limits.h2_streams = 5;
    let gate = TestGate::start(config);
    let mut caller = H2::connect(gate.address("public")).await;
    // With the first answer the client knows the cap.
    go.add_permits(1);
    assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
    let mut asked = Vec::new();
    for _ in 0..12 {
        let mut caller = caller.clone();
        asked.push(tokio::spawn(async move { caller.send(post("/score", "{}")).await }));
    }
    eventually("five streams", || upstream.seen().len() == 6).await;
    go.add_permits(12);
    for one in asked {
        assert_eq!(in_time("an answer", one).await.unwrap().status(), 200);
    }
    assert_eq!(upstream.seen().len(), 13);
}

/// The connections are all workers' together: one that is idle at another worker must not be waited for until it is pruned.
#[tokio::test]
async fn connections_to_an_upstream_are_capped_and_shared_by_the_workers() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.endpoints[0].connect.max_connections = 1;
    config.endpoints[0].connect.protocol = UpstreamProtocol::H1;
    let gate = TestGate::start(config);
    let address = gate.address("public");
    let began = tokio::time::Instant::now();
    let mut callers = Vec::new();
    for _ in 0..4 {
        callers.push(H1::connect(address).await);
    }
    for round in 0..5 {
        for caller in &mut callers {
            assert_eq!(caller.send(post("/score", round.to_string())).await.status(), 200);
        }
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let mut asked = Vec::new();
    for _ in 0..20 {
        asked.push(tokio::spawn(async move { client::once(address, post("/score", "{}")).await }));
    }
    for one in asked {
        assert_eq!(in_time("an answer", one).await.unwrap().status(), 200);
    }
    assert!(upstream.open() <= 1);
    assert!(gate.metric("limit_hits_total{limit=\"upstream_max_connections\"}") > 0.0);
}
