//! Callers that close their side: before the answer, between requests, and with more requests on the way.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::{
    client::full,
    eventually,
    gate::{self, TestGate},
    raw::{self, Raw},
    upstream::Upstream,
};

async fn held() -> (Upstream, Arc<Semaphore>) {
    let go = Arc::new(Semaphore::new(0));
    let theirs = Arc::clone(&go);
    let upstream = Upstream::streaming(move |request, notes| {
        let go = Arc::clone(&theirs);
        async move {
            let seen = notes.read(request).await.unwrap();
            go.acquire().await.unwrap().forget();
            http::Response::new(full(seen.uri.path().to_owned()))
        }
    })
    .await;
    (upstream, go)
}

#[tokio::test]
async fn a_fin_before_the_answer_cancels_unless_the_listener_says_otherwise() {
    for allowed in [false, true] {
        let (upstream, go) = held().await;
        let mut config = gate::config(upstream.address);
        config.listeners[0].half_close = allowed;
        let gate = TestGate::start(config);
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(raw::get("/score")).await;
        eventually("with the upstream", || upstream.seen().len() == 1).await;
        caller.finish().await;
        if allowed {
            go.add_permits(1);
            assert_eq!(caller.response().await.text(), "/score");
            assert!(caller.is_closed().await);
        } else {
            assert!(caller.is_closed().await);
            eventually("the upstream is told", || upstream.open() == 0).await;
        }
        eventually("no place is taken", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
    }
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let (upstream, go) = held().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    let ahead: String = (0..10).map(|number| raw::get(&format!("/{number}"))).collect();
    caller.send(ahead).await;
    eventually("the first is with the upstream", || upstream.seen().len() == 1).await;
    go.add_permits(10);
    for number in 0..10 {
        assert_eq!(caller.response().await.text(), format!("/{number}"));
    }
}

/// What follows a refused body must never be read as a request.
#[tokio::test]
async fn the_rest_of_a_refused_body_is_not_a_request() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let smuggled = raw::get("/smuggled");
    for fields in [format!("content-length: {}\r\n", smuggled.len()), "transfer-encoding: chunked\r\n".to_owned()] {
        let mut caller = Raw::connect(gate.address("public")).await;
        let head = raw::post_head("/score", &fields).replace(gate::CALLER_KEY, "wrong");
        caller.send(head + &smuggled).await;
        assert_eq!(caller.response().await.status(), 401);
        caller.finish().await;
        let rest = caller.rest().await;
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"), "{rest:?}");
    }
    assert!(upstream.seen().is_empty());
}
