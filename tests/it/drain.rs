//! Taking leave: nothing that began is lost, nothing new begins.

use std::{sync::Arc, time::Duration};

use http::Response;
use tokio::sync::Semaphore;

use crate::support::{
    client::{self, Client, H1, H2, get, next_data, post, streamed},
    eventually,
    gate::{self, TestGate},
    in_time,
    raw::{self, Raw},
    upstream::Upstream,
};

async fn held() -> (Upstream, Arc<Semaphore>) {
    let go = Arc::new(Semaphore::new(0));
    let theirs = Arc::clone(&go);
    let upstream = Upstream::streaming(move |request, notes| {
        let go = Arc::clone(&theirs);
        async move {
            notes.read(request).await;
            go.acquire().await.unwrap().forget();
            Response::new(client::full("late"))
        }
    })
    .await;
    (upstream, go)
}

fn leave(gate: &TestGate) -> tokio::task::JoinHandle<()> {
    let inner = Arc::clone(&gate.gate);
    tokio::spawn(async move { inner.drain().await })
}

/// Whether nobody listens there any more.
async fn is_closed(address: std::net::SocketAddr) {
    in_time("the listener is closed", async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn idle_connections_live_through_the_lame_duck_and_are_closed_cleanly_after_it() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.timeouts.lame_duck = Duration::from_millis(700);
    let gate = TestGate::start(config);
    let address = gate.address("public");
    let mut h1 = Raw::connect(address).await;
    let mut h2 = H2::connect(address).await;
    h1.send(raw::get("/score")).await;
    assert!(h1.response().await.field("connection").is_none());
    assert_eq!(h2.send(get("/score")).await.status(), 200);
    let leaving = leave(&gate);
    tokio::time::sleep(Duration::from_millis(200)).await;
    h1.send(raw::get("/score")).await;
    assert_eq!(h1.response().await.status(), 200);
    assert_eq!(h2.send(get("/score")).await.status(), 200);
    assert_eq!(client::once(address, get("/score")).await.status(), 200, "new ones are served too");
    assert!(!h1.ends_by_reset().await);
    drop(h1);
    eventually("h2 is told", || h2.is_closed()).await;
    in_time("drained", leaving).await.unwrap();
    is_closed(address).await;
}

#[tokio::test]
async fn requests_in_flight_are_answered_and_connections_close_with_them() {
    let (upstream, go) = held().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut h1 = Raw::connect(gate.address("public")).await;
    h1.send(raw::get("/score")).await;
    let mut h2 = H2::connect(gate.address("public")).await;
    let mut more = h2.clone();
    let asked = tokio::spawn(async move { h2.send(post("/score", "{}")).await });
    eventually("both with the upstream", || upstream.seen().len() == 2).await;
    let leaving = leave(&gate);
    is_closed(gate.address("public")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!leaving.is_finished());
    go.add_permits(3);
    let answer = h1.response().await;
    assert_eq!((answer.text(), answer.field("connection")), ("late", Some("close")));
    assert!(h1.is_closed().await);
    drop(h1);
    assert_eq!(in_time("the answer", asked).await.unwrap().body(), "late");
    eventually("h2 is closed", || more.is_closed()).await;
    assert!(more.try_send(get("/score")).await.is_err());
    in_time("drained", leaving).await.unwrap();
}

#[tokio::test]
async fn a_streaming_answer_is_finished() {
    let upstream = Upstream::streaming(|request, notes| async move {
        notes.read(request).await;
        let (feed, body) = streamed();
        tokio::spawn(async move {
            for number in 0..20 {
                feed.data(format!("{number} ")).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Response::new(body)
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut callers = Vec::new();
    for mut caller in Client::both(gate.address("public")).await {
        let mut body = caller.open(get("/score")).await.unwrap().into_body();
        next_data(&mut body).await.unwrap().unwrap();
        callers.push((body, caller));
    }
    let leaving = leave(&gate);
    for (body, caller) in &mut callers {
        let mut frames = 1;
        while let Some(data) = next_data(body).await {
            frames += usize::from(!data.unwrap().is_empty());
        }
        assert_eq!(frames, 20, "{}", caller.name());
    }
    in_time("drained", leaving).await.unwrap();
}

#[tokio::test]
async fn what_is_left_after_the_drain_time_is_cut() {
    let (upstream, _go) = held().await;
    let mut config = gate::config(upstream.address);
    config.timeouts.drain = Duration::from_millis(300);
    let gate = TestGate::start(config);
    let asked: Vec<_> = Client::both(gate.address("public"))
        .await
        .into_iter()
        .map(|mut caller| tokio::spawn(async move { caller.try_send(post("/score", "{}")).await.is_err() }))
        .collect();
    eventually("both with the upstream", || upstream.seen().len() == 2).await;
    in_time("drained", leave(&gate)).await.unwrap();
    for one in asked {
        assert!(in_time("the end", one).await.unwrap(), "cut off");
    }
    eventually("the upstream is told", || upstream.open() == 0).await;
}

/// A request whose first byte arrived before the close is answered, and none is reset, however the two race.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_races_the_close_is_answered_or_was_never_read() {
    let upstream = Upstream::echo().await;
    for round in 0..20 {
        let gate = TestGate::start(gate::config(upstream.address));
        let address = gate.address("public");
        let stop = Arc::<std::sync::atomic::AtomicBool>::default();
        let load: Vec<_> = (0..8)
            .map(|number| {
                let stop = Arc::clone(&stop);
                tokio::spawn(async move {
                    let mut served = 0;
                    if number % 2 == 0 {
                        let mut caller = H2::connect(address).await;
                        while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                            match caller.try_send(post("/score", "{}")).await {
                                Ok(response) => assert_eq!(response.status(), 200),
                                Err(error) => {
                                    // GOAWAY says that it was not processed: the client library would send it again.
                                    assert!(
                                        error.is_canceled() || error.is_closed() || unprocessed(&error),
                                        "{error:?}"
                                    );
                                    break;
                                }
                            }
                            served += 1;
                        }
                    } else {
                        let mut caller = Raw::connect(address).await;
                        loop {
                            caller.send(raw::post_head("/score", "content-length: 2\r\n") + "{}").await;
                            // The gate may close as we write; a reset must not follow bytes that it has read.
                            let Some(answer) = caller.message(false).await else { break };
                            assert_eq!(answer.status(), 200);
                            served += 1;
                            if answer.field("connection") == Some("close") {
                                assert!(caller.is_closed().await);
                                break;
                            }
                        }
                    }
                    served
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(5 + round)).await;
        in_time("drained", leave(&gate)).await.unwrap();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        for one in load {
            in_time("a caller", one).await.unwrap();
        }
    }
}

fn unprocessed(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR))
}

#[tokio::test]
async fn a_connection_whose_head_has_begun_is_served_and_a_silent_one_is_closed() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut quiet = Raw::connect(gate.address("public")).await;
    let mut begun = Raw::connect(gate.address("public")).await;
    begun.send("POST /score HTTP/1.1\r\nhost: ga").await;
    eventually("both are known", || gate.metric("connections{listener=\"public\",state=\"active\"}") == 2.0).await;
    let leaving = leave(&gate);
    is_closed(gate.address("public")).await;
    begun
        .send(raw::post_head("/score", "content-length: 2\r\n").split_once("host: ga").unwrap().1.to_owned() + "{}")
        .await;
    let answer = begun.response().await;
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    drop(begun);
    assert_eq!(quiet.rest().await, b"", "closed, and not reset");
    drop(quiet);
    in_time("drained", leaving).await.unwrap();
}

#[tokio::test]
async fn draining_with_nothing_open_ends_at_once_and_twice_is_once() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = H1::connect(gate.address("public")).await;
    assert_eq!(caller.send(get("/score")).await.status(), 200);
    drop(caller);
    let (first, second) = (leave(&gate), leave(&gate));
    in_time("first", first).await.unwrap();
    in_time("second", second).await.unwrap();
}
