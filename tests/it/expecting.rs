//! `Expect: 100-continue`: nobody is asked for a body that is not wanted, and nobody waits for ever.

use std::time::Duration;

use scoregate::config::model::UpstreamProtocol;

use crate::support::{
    eventually,
    fault::Hostile,
    gate::{self, CALLER_KEY, TestGate},
    raw::{self, Raw},
    upstream::Upstream,
};

const EXPECTING: &str = "expect: 100-continue\r\ncontent-length: 4\r\n";

#[tokio::test]
async fn a_refused_caller_is_never_asked_for_its_body() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    for (wrong, status) in [(CALLER_KEY, 401), ("/score", 413)] {
        let mut caller = Raw::connect(gate.address("public")).await;
        let head = match status {
            401 => raw::post_head("/score", EXPECTING).replace(wrong, "wrong"),
            _ => raw::post_head(wrong, "expect: 100-continue\r\ncontent-length: 99999999999\r\n"),
        };
        caller.send(head).await;
        assert_eq!(caller.response().await.status(), status);
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_upstreams_100_lets_the_body_go() {
    let upstream = Hostile::start(|mut turn| async move {
        while let Some(head) = turn.raw.head().await {
            assert!(head.contains("expect: 100-continue\r\n"), "{head}");
            turn.raw.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            let body = String::from_utf8(turn.raw.exactly(4).await.unwrap()).unwrap();
            turn.ok(&body).await;
        }
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    for _ in 0..5 {
        caller.send(raw::post_head("/score", EXPECTING)).await;
        assert!(caller.head().await.unwrap().starts_with("HTTP/1.1 100 "));
        caller.send("data").await;
        assert_eq!(caller.response().await.text(), "data");
    }
}

#[tokio::test]
async fn an_early_refusal_of_the_upstream_means_that_the_body_is_never_sent() {
    let upstream = Hostile::start(|mut turn| async move {
        turn.raw.head().await.unwrap();
        turn.raw.send("HTTP/1.1 417 No\r\ncontent-length: 2\r\n\r\nno").await;
        let rest = turn.raw.rest().await;
        assert!(rest.is_empty(), "{rest:?}");
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(raw::post_head("/score", EXPECTING)).await;
    let answer = caller.response().await;
    assert_eq!((answer.status(), answer.text()), (417, "no"));
    // The body that does not come must not be taken for the next request.
    assert!(caller.is_closed().await);
    eventually("the upstream's connection is closed", || upstream.ended() == 1).await;
}

#[tokio::test]
async fn a_silent_upstream_gets_the_body_after_a_second() {
    let upstream = Hostile::start(|mut turn| async move {
        let request = turn.request().await.unwrap();
        turn.ok(request.text()).await;
    })
    .await;
    let clock = scoregate::clock::Clock::manual(1_800_000_000);
    let gate = TestGate::start_with(gate::config(upstream.address), clock.clone());
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(raw::post_head("/score", EXPECTING)).await;
    eventually("in flight", || gate.metric("in_flight{endpoint=\"iris\"}") == 1.0).await;
    eventually("connected", || upstream.connections() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    clock.advance(Duration::from_millis(1100));
    assert!(caller.head().await.unwrap().starts_with("HTTP/1.1 100 "));
    caller.send("data").await;
    assert_eq!(caller.response().await.text(), "data");
}

#[tokio::test]
async fn an_upstream_over_http_2_needs_no_expectation() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.endpoints[0].connect.protocol = UpstreamProtocol::H2c;
    let gate = TestGate::start(config);
    let mut caller = Raw::connect(gate.address("public")).await;
    for _ in 0..3 {
        caller.send(raw::post_head("/score", EXPECTING)).await;
        assert!(caller.head().await.unwrap().starts_with("HTTP/1.1 100 "));
        caller.send("data").await;
        assert_eq!(caller.response().await.text(), "data");
    }
    assert!(upstream.seen().iter().all(|seen| seen.header("expect").is_none()));
}
