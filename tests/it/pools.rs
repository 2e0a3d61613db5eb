//! Connections to upstreams: how long they are kept, which one is taken, and what becomes of a closed one.

use std::time::Duration;

use scoregate::{clock::Clock, config::model::UpstreamProtocol};
use tokio::sync::Semaphore;

use crate::support::{
    client::{self, Client, H1, get, post},
    eventually,
    fault::Hostile,
    gate::{self, TestGate},
    in_time,
    upstream::Upstream,
};

const SECOND: Duration = Duration::from_secs(1);

fn start(upstream: std::net::SocketAddr, protocol: UpstreamProtocol) -> (TestGate, Clock) {
    let clock = Clock::manual(1_800_000_000);
    let mut config = gate::config(upstream);
    config.workers = Some(1);
    config.timeouts.idle = 10_000 * SECOND;
    config.endpoints[0].connect.protocol = protocol;
    (TestGate::start_with(config, clock.clone()), clock)
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_its_time_and_no_longer() {
    let upstream = Upstream::echo().await;
    for (round, protocol) in [UpstreamProtocol::H1, UpstreamProtocol::H2c].into_iter().enumerate() {
        let (gate, clock) = start(upstream.address, protocol);
        let mut caller = H1::connect(gate.address("public")).await;
        for _ in 0..4 {
            assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
            eventually("idle", || gate.metric("upstream_connections{endpoint=\"iris\",state=\"idle\"}") == 1.0).await;
            clock.advance(29 * SECOND);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert_eq!(upstream.connections(), 2 * round + 1, "{protocol:?}");
        clock.advance(2 * SECOND);
        eventually("closed", || upstream.open() == 0).await;
        assert_eq!(gate.metric("upstream_connections{endpoint=\"iris\",state=\"idle\"}"), 0.0);
        assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
        assert_eq!(upstream.connections(), 2 * round + 2);
        drop(gate);
        eventually("the gate is gone", || upstream.open() == 0).await;
    }
}

#[tokio::test]
async fn a_connection_takes_no_request_after_its_age() {
    let upstream = Upstream::echo().await;
    for (round, protocol) in [UpstreamProtocol::H1, UpstreamProtocol::H2c].into_iter().enumerate() {
        let (gate, clock) = start(upstream.address, protocol);
        let mut caller = H1::connect(gate.address("public")).await;
        let mut asked = 0;
        while upstream.connections() < 2 * round + 2 {
            assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
            clock.advance(25 * SECOND);
            asked += 1;
            assert!(asked < 40);
        }
        assert!((24..=26).contains(&asked), "600 s are 24 times 25 s: {asked}");
        drop(gate);
    }
}

#[tokio::test]
async fn a_connection_that_the_upstream_closes_leaves_the_pool_at_once() {
    let close = std::sync::Arc::new(Semaphore::new(0));
    let theirs = std::sync::Arc::clone(&close);
    let upstream = Hostile::start(move |mut turn| {
        let close = std::sync::Arc::clone(&theirs);
        async move {
            turn.request().await;
            turn.ok("ok").await;
            if turn.number < 2 {
                close.acquire().await.unwrap().forget();
            } else {
                std::future::pending::<()>().await;
            }
        }
    })
    .await;
    let (gate, _) = start(upstream.address, UpstreamProtocol::H1);
    for _ in 0..2 {
        assert_eq!(client::once(gate.address("public"), post("/score", "{}")).await.status(), 200);
        eventually("idle", || gate.metric("upstream_connections{endpoint=\"iris\",state=\"idle\"}") == 1.0).await;
        close.add_permits(1);
        eventually("gone", || gate.metric("upstream_connections{endpoint=\"iris\",state=\"idle\"}") == 0.0).await;
    }
    assert_eq!(client::once(gate.address("public"), post("/score", "{}")).await.status(), 200);
    assert_eq!((upstream.connections(), gate.metric("resends_total")), (3, 0.0));
}

/// So that connections which a peak opened fall idle and are closed.
#[tokio::test]
async fn the_most_recently_used_connection_is_taken() {
    let go = std::sync::Arc::new(Semaphore::new(0));
    let theirs = std::sync::Arc::clone(&go);
    let upstream = Hostile::start(move |mut turn| {
        let go = std::sync::Arc::clone(&theirs);
        async move {
            while let Some(request) = turn.request().await {
                if request.head.contains("/wait") {
                    go.acquire().await.unwrap().forget();
                }
                turn.ok(&turn.number.to_string()).await;
            }
        }
    })
    .await;
    let (gate, _) = start(upstream.address, UpstreamProtocol::H1);
    let address = gate.address("public");
    let peak: Vec<_> = (0..4).map(|_| tokio::spawn(async move { client::once(address, get("/wait")).await })).collect();
    eventually("four at once", || upstream.requests() == 4).await;
    go.add_permits(4);
    for one in peak {
        assert_eq!(in_time("an answer", one).await.unwrap().status(), 200);
    }
    eventually("idle", || gate.metric("upstream_connections{endpoint=\"iris\",state=\"idle\"}") == 4.0).await;
    let mut caller = H1::connect(address).await;
    let first = caller.send(get("/score")).await.into_body();
    for _ in 0..20 {
        assert_eq!(caller.send(get("/score")).await.into_body(), first);
    }
    assert_eq!(upstream.connections(), 4);
}

#[tokio::test]
async fn http_2_callers_share_one_connection_to_an_http_2_upstream() {
    let upstream = Upstream::echo().await;
    let (gate, _) = start(upstream.address, UpstreamProtocol::H2c);
    let address = gate.address("public");
    let asked: Vec<_> = (0..60)
        .map(|number| {
            tokio::spawn(async move {
                let mut caller = Client::connect(Client::KINDS[number % 2], address).await;
                assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
            })
        })
        .collect();
    for one in asked {
        in_time("an answer", one).await.unwrap();
    }
    assert_eq!(upstream.connections(), 1);
}
