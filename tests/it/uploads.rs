//! Request bodies that go wrong: the caller's fault is a 4xx and its upstream sees the request cut off, never completed.

use std::time::Duration;

use http::Method;
use scoregate::config::model::UpstreamProtocol;

use crate::support::{
    client::{self, Client, H1, full, post, request, streamed},
    eventually,
    fault::Hostile,
    gate::{self, TestGate},
    raw::{self, Raw},
    upstream::Upstream,
};

const CHUNKED: &str = "transfer-encoding: chunked\r\n";

/// Reads heads and bodies without judging them, and says how each connection ended.
async fn listening() -> (Hostile, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Hostile::start(move |mut turn| {
        let tell = tell.clone();
        async move {
            let bytes = turn.raw.rest().await;
            let _ = tell.send(String::from_utf8_lossy(&bytes).into_owned());
        }
    })
    .await;
    (upstream, told)
}

#[tokio::test]
async fn a_broken_chunk_is_the_callers_fault_and_is_cut_off_upstream() {
    for broken in ["zz\r\nabc\r\n", "3\r\nabcdef\r\n0\r\n\r\n", "-1\r\nabc\r\n", "ffffffffffffffffff\r\n"] {
        let (upstream, mut told) = listening().await;
        let gate = TestGate::start(gate::config(upstream.address));
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(raw::post_head("/score", CHUNKED)).await;
        caller.send(format!("5\r\nfirst\r\n{broken}")).await;
        let answer = caller.response().await;
        assert_eq!((answer.status(), answer.code().as_str()), (400, "bad_request"), "{broken:?}");
        caller.finish().await;
        assert!(caller.is_closed().await);
        let seen = told.recv().await.unwrap();
        assert!(!seen.contains("\r\n0\r\n"), "{seen:?}");
        assert_eq!(gate.metric("resends_total"), 0.0);
    }
}

#[tokio::test]
async fn a_caller_that_vanishes_while_it_uploads_is_cut_off_upstream() {
    for (fields, body) in [(CHUNKED, "5\r\nfirst\r\n"), ("content-length: 100\r\n", "first")] {
        for reset in [false, true] {
            let (upstream, mut told) = listening().await;
            let gate = TestGate::start(gate::config(upstream.address));
            let mut caller = Raw::connect(gate.address("public")).await;
            caller.send(raw::post_head("/score", fields)).await;
            caller.send(body).await;
            eventually("sent on", || upstream.connections() == 1).await;
            if reset {
                caller.reset();
            } else {
                drop(caller);
            }
            let seen = told.recv().await.unwrap();
            assert!(!seen.contains("\r\n0\r\n"), "{seen:?}");
            eventually("the place is free", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
            eventually("the connection is forgotten", || {
                gate.metric("connections{listener=\"public\",state=\"active\"}") == 0.0
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_however_it_comes() {
    let upstream = Upstream::echo().await;
    for protocol in [UpstreamProtocol::H1, UpstreamProtocol::H2c] {
        let mut config = gate::config(upstream.address);
        config.endpoints[0].connect.protocol = protocol;
        gate::forward_of(&mut config.routes[0]).body = Some(1000);
        let gate = TestGate::start(config);
        for (count, mut caller) in Client::both(gate.address("public")).await.into_iter().enumerate() {
            assert_eq!(caller.send(post("/score", vec![b'x'; 1000])).await.status(), 200);
            let announced = caller.send(post("/score", vec![b'x'; 1001])).await;
            assert_eq!(client::verdict(&announced), (413, "request_too_large".into()), "{}", caller.name());
            let hits = 2.0 * f64::from(u32::try_from(count).unwrap());
            assert_eq!(gate.metric("limit_hits_total{limit=\"body\"}"), hits + 1.0);

            let mut again = Client::both(gate.address("public")).await;
            let (feed, body) = streamed();
            let feeding = tokio::spawn(async move {
                for _ in 0..20 {
                    feed.data(vec![b'x'; 100]).await;
                }
            });
            let grown = again[count].send(request(Method::POST, "/score", body)).await;
            assert_eq!(client::verdict(&grown), (413, "request_too_large".into()), "{}", caller.name());
            assert_eq!(gate.metric("limit_hits_total{limit=\"body\"}"), hits + 2.0);
            feeding.await.unwrap();
        }
    }
    assert!(upstream.seen().iter().all(|seen| seen.body.len() == 1000), "nothing cut off looks complete");
}

#[tokio::test]
async fn an_early_413_reaches_the_caller_though_the_upstream_resets_at_once() {
    let upstream = Hostile::start(|mut turn| async move {
        turn.raw.head().await;
        turn.raw.send("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig").await;
        turn.raw.reset();
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    let body = vec![b'x'; 4 << 20];
    for round in 0..50 {
        let mut caller = Client::both(gate.address("public")).await.into_iter().nth(round % 2).unwrap();
        match caller.try_send(post("/score", body.clone())).await {
            Ok(response) => {
                assert_eq!((response.status().as_u16(), &response.body()[..]), (413, &b"big"[..]), "{round}");
            }
            Err(error) => panic!("{round} over {}: {error:?}", caller.name()),
        }
    }
}

/// The upstream's connection must not be kept, half-written, until the upstream tires of it.
#[tokio::test]
async fn an_answer_that_is_over_before_the_upload_ends_the_upstream_connection() {
    let upstream = Hostile::start(|mut turn| async move {
        turn.raw.head().await;
        turn.ok("early").await;
        turn.raw.rest().await;
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    for mut caller in Client::both(gate.address("public")).await {
        let before = upstream.ended();
        let (feed, body) = streamed();
        feed.data("some").await;
        let response = caller.send(request(Method::POST, "/score", body)).await;
        assert_eq!(response.body(), "early");
        eventually("the upstream's connection is closed", || upstream.ended() > before).await;
        drop(feed);
    }
}

#[tokio::test]
async fn a_caller_that_sends_nothing_is_timed_out_with_408() {
    let upstream = Upstream::echo().await;
    let clock = scoregate::clock::Clock::manual(1_800_000_000);
    let gate = TestGate::start_with(gate::config(upstream.address), clock.clone());
    for mut caller in Client::both(gate.address("public")).await {
        eventually("idle", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
        let (feed, body) = streamed();
        feed.data("some").await;
        let name = caller.name();
        let sending = tokio::spawn(async move { caller.send(request(Method::POST, "/score", body)).await });
        let hits = gate.metric("limit_hits_total{limit=\"stall\"}");
        eventually("in flight", || gate.metric("in_flight{endpoint=\"iris\"}") > 0.0).await;
        clock.advance(Duration::from_secs(31));
        let response = sending.await.unwrap();
        assert_eq!(client::verdict(&response), (408, "request_timeout".into()), "{name}");
        assert_eq!(gate.metric("limit_hits_total{limit=\"stall\"}"), hits + 1.0);
        drop(feed);
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_body_refused_before_it_is_read_does_not_hide_the_answer() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    for _ in 0..10 {
        let mut caller = H1::connect(gate.address("public")).await;
        let mut wrong = request(Method::POST, "/score", full(vec![b'x'; 3 << 20]));
        wrong.headers_mut().insert("authorization", "Bearer wrong".parse().unwrap());
        assert_eq!(client::verdict(&caller.send(wrong).await), (401, "caller_unknown".into()));
    }
    assert!(upstream.seen().is_empty());
}
