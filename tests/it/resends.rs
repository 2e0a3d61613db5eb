//! What a lost connection costs a request: nothing where it was not processed, a 502 where that is unknown.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use http::Response;
use scoregate::config::model::UpstreamProtocol;

use crate::support::{
    client::{self, Client, H1, get, post},
    fault::Hostile,
    gate::{self, TestGate},
    in_time,
};

/// Answers one request per connection, then closes without having said so.
async fn closing_after_each() -> Hostile {
    Hostile::start(|mut turn| async move {
        turn.request().await;
        turn.ok("ok").await;
    })
    .await
}

/// Serves one request, then closes as soon as the next has come, without a byte.
async fn losing_the_second() -> Hostile {
    Hostile::start(|mut turn| async move {
        turn.request().await;
        turn.ok("ok").await;
        turn.request().await;
    })
    .await
}

/// Whether the close is noticed before the request, with it or after it is a matter of microseconds: the pauses are drawn from
/// a range around the time that a turn takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_over_connections_that_close_unannounced_are_sent_again_whole_and_to_the_same_path() {
    let upstream = Hostile::start(|mut turn| async move {
        turn.request().await;
        turn.ok("ok").await;
        pause(turn.number).await;
    })
    .await;
    let mut config = gate::config(upstream.address);
    config.endpoints[0].upstreams = vec![gate::url(upstream.address, "/api/v1/service/iris/score")];
    let gate = TestGate::start(config);
    let mut caller = H1::connect(gate.address("public")).await;
    let (mut round, mut lost) = (0, 0);
    while round < 300 || (gate.metric("resends_total{endpoint=\"iris\",reason=\"unsent\"}") < 3.0 && round < 20_000) {
        round += 1;
        let response = caller.send(get("/score?q=1")).await;
        assert_eq!(response.status(), 200, "{round}: a GET is always sent again");
        pause(round * 7).await;
        let response = caller.send(post("/score?q=1", format!("body {round}"))).await;
        match client::verdict(&response) {
            (200, _) => {}
            (502, code) if code == "upstream_protocol_error" => lost += 1,
            other => panic!("{round}: {other:?}"),
        }
        pause(round * 11).await;
    }
    println!("{round} rounds, {lost} posts lost");
    for request in upstream.whole.lock().unwrap().iter() {
        assert!(request.head.contains(" /api/v1/service/iris/score?q=1 HTTP/1.1\r\n"), "{}", request.head);
        assert_eq!(request.fields("authorization").count(), 1);
    }
}

/// Up to a few hundred microseconds, by turns.
async fn pause(number: usize) {
    for _ in 0..(number * 13) % 97 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_post_lost_on_a_reused_connection_is_a_502_unless_the_endpoint_says_otherwise() {
    for retry in [false, true] {
        let upstream = losing_the_second().await;
        let mut config = gate::config(upstream.address);
        config.endpoints[0].retry_unanswered = retry;
        let gate = TestGate::start(config);
        let mut caller = H1::connect(gate.address("public")).await;
        assert_eq!(caller.send(post("/score", "first")).await.status(), 200);
        let second = caller.send(post("/score", "second")).await;
        let bodies: Vec<String> = upstream.whole.lock().unwrap().iter().map(|m| m.text().to_owned()).collect();
        if retry {
            assert_eq!(second.status(), 200);
            assert_eq!(bodies, ["first", "second", "second"]);
            assert!(gate.metric("resends_total{endpoint=\"iris\",reason=\"silent\"}") == 1.0);
        } else {
            assert_eq!(client::verdict(&second), (502, "upstream_protocol_error".into()));
            assert_eq!(bodies, ["first", "second"]);
        }
    }
}

#[tokio::test]
async fn a_get_lost_on_a_reused_connection_is_sent_again_on_a_new_one() {
    let upstream = losing_the_second().await;
    let gate = TestGate::start(gate::config(upstream.address));
    for mut caller in Client::both(gate.address("public")).await {
        for _ in 0..3 {
            assert_eq!(caller.send(get("/score")).await.body(), "ok");
        }
    }
}

#[tokio::test]
async fn a_loss_on_a_new_connection_is_not_repeated_even_for_a_get() {
    let upstream = Hostile::answering_once("").await;
    let gate = TestGate::start(gate::config(upstream.address));
    let response = client::once(gate.address("public"), get("/score")).await;
    assert_eq!(client::verdict(&response), (502, "upstream_protocol_error".into()));
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_body_too_large_to_hold_is_not_sent_twice() {
    let upstream = losing_the_second().await;
    let mut config = gate::config(upstream.address);
    config.endpoints[0].retry_unanswered = true;
    gate::forward_of(&mut config.routes[0]).replay_body = Some(1000);
    let gate = TestGate::start(config);
    let mut caller = H1::connect(gate.address("public")).await;
    assert_eq!(caller.send(post("/score", vec![b'x'; 2000])).await.status(), 200);
    assert_eq!(caller.send(post("/score", vec![b'x'; 2000])).await.status(), 502);
    assert_eq!(upstream.requests(), 2);
    assert_eq!(gate.metric("limit_hits_total{limit=\"replay_body\"}"), 2.0);
}

#[tokio::test]
async fn an_unreachable_upstream_is_passed_over_for_the_other() {
    let upstream = closing_after_each().await;
    let dead = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let mut config = gate::config(upstream.address);
    config.endpoints[0].upstreams = vec![gate::url(dead, "/score"), gate::url(upstream.address, "/score")];
    let gate = TestGate::start(config);
    for _ in 0..20 {
        assert_eq!(client::once(gate.address("public"), get("/score")).await.status(), 200);
    }
}

#[tokio::test]
async fn an_upstream_that_nobody_listens_at_is_unreachable() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for protocol in [UpstreamProtocol::H1, UpstreamProtocol::H2c] {
        let mut config = gate::config(dead);
        config.endpoints[0].connect.protocol = protocol;
        let gate = TestGate::start(config);
        let response = client::once(gate.address("public"), post("/score", "{}")).await;
        assert_eq!(client::verdict(&response), (502, "upstream_unreachable".into()));
    }
}

/// An HTTP/2 upstream that refuses: `rule` is given the number of the request, over all connections.
async fn refusing(rule: impl Fn(usize) -> Refusal + Send + Sync + 'static) -> (Hostile, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let (rule, counter) = (Arc::new(rule), Arc::clone(&requests));
    let hostile = Hostile::accept(move |_, tcp| {
        let (rule, counter) = (Arc::clone(&rule), Arc::clone(&counter));
        async move {
            let Ok(mut connection) = h2::server::handshake(tcp).await else { return };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                match rule(counter.fetch_add(1, SeqCst)) {
                    Refusal::None => drop(tokio::spawn(echo(request, respond))),
                    Refusal::Stream => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    Refusal::Cancel => respond.send_reset(h2::Reason::CANCEL),
                    Refusal::AfterHalf => {
                        tokio::spawn(async move {
                            let mut body = request.into_body();
                            if let Some(Ok(data)) = body.data().await {
                                let _ = body.flow_control().release_capacity(data.len());
                            }
                            respond.send_reset(h2::Reason::REFUSED_STREAM);
                        });
                    }
                    Refusal::GoAway => {
                        tokio::spawn(echo(request, respond));
                        connection.graceful_shutdown();
                    }
                }
            }
        }
    })
    .await;
    (hostile, requests)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    None,
    Stream,
    Cancel,
    AfterHalf,
    GoAway,
}

async fn echo(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let mut body = request.into_body();
    let Ok(mut out) = respond.send_response(Response::new(()), false) else { return };
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        let _ = out.send_data(data, false);
    }
    let _ = out.send_data(Bytes::new(), true);
}

fn over_h2(upstream: &Hostile) -> scoregate::config::model::Config {
    let mut config = gate::config(upstream.address);
    config.endpoints[0].connect.protocol = UpstreamProtocol::H2c;
    config
}

#[tokio::test]
async fn refused_streams_are_sent_again_with_their_bodies() {
    for refusal in [Refusal::Stream, Refusal::AfterHalf] {
        let (upstream, _) = refusing(move |n| if n % 2 == 0 { refusal } else { Refusal::None }).await;
        let gate = TestGate::start(over_h2(&upstream));
        for mut caller in Client::both(gate.address("public")).await {
            for size in [0, 10, 100_000, 900_000] {
                let body: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
                let response = caller.send(post("/score", body.clone())).await;
                assert_eq!(response.status(), 200, "{size} over {}", caller.name());
                assert!(response.body() == &body, "{size} bytes came back as {}", response.body().len());
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_was_not_refused_but_cancelled_is_not_sent_again() {
    let (upstream, requests) = refusing(|_| Refusal::Cancel).await;
    let gate = TestGate::start(over_h2(&upstream));
    let response = client::once(gate.address("public"), post("/score", "{}")).await;
    assert_eq!(client::verdict(&response), (502, "upstream_protocol_error".into()));
    assert_eq!(requests.load(SeqCst), 1);
}

#[tokio::test]
async fn an_upstream_that_refuses_every_stream_is_not_asked_for_ever() {
    let (upstream, requests) = refusing(|_| Refusal::Stream).await;
    let gate = TestGate::start(over_h2(&upstream));
    let response = client::once(gate.address("public"), post("/score", "{}")).await;
    assert_eq!(client::verdict(&response), (502, "upstream_protocol_error".into()));
    assert_eq!(requests.load(SeqCst), 4);
}

#[tokio::test]
async fn goaway_after_every_few_requests_loses_none() {
    let (upstream, _) = refusing(|n| if n % 5 == 4 { Refusal::GoAway } else { Refusal::None }).await;
    let gate = TestGate::start(over_h2(&upstream));
    let address = gate.address("public");
    let mut callers = Vec::new();
    for number in 0..8 {
        callers.push(tokio::spawn(async move {
            let [mut h1, mut h2] = Client::both(address).await;
            for round in 0..25 {
                let body = format!("{number} {round}").repeat(200);
                for caller in [&mut h1, &mut h2] {
                    let response = caller.send(post("/score", body.clone())).await;
                    assert_eq!(client::verdict(&response), (200, "none".into()));
                    assert_eq!(response.body(), body.as_bytes());
                }
            }
        }));
    }
    for caller in callers {
        in_time("the callers", caller).await.unwrap();
    }
    assert!(upstream.connections() > 10);
}

/// Refuses the first sending when part of the body has come; to the second it answers at once, then echoes.
#[tokio::test]
async fn an_answer_that_comes_while_a_held_body_is_sent_again_leaves_the_body_whole() {
    let bodies = Arc::<std::sync::Mutex<Vec<usize>>>::default();
    let noted = Arc::clone(&bodies);
    let upstream = Hostile::accept(move |_, tcp| {
        let noted = Arc::clone(&noted);
        async move {
            let mut connection = h2::server::handshake(tcp).await.unwrap();
            let mut first = true;
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let refuse = std::mem::take(&mut first);
                let noted = Arc::clone(&noted);
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    if refuse {
                        let mut got = 0;
                        while got < 400_000 {
                            let Some(Ok(data)) = body.data().await else { return };
                            got += data.len();
                            let _ = body.flow_control().release_capacity(data.len());
                        }
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                        return;
                    }
                    let mut out = respond.send_response(Response::new(()), false).unwrap();
                    let mut whole = 0;
                    while let Some(Ok(data)) = body.data().await {
                        whole += data.len();
                        // Slowly, so that the answer's head is there long before the body is through.
                        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                        let _ = body.flow_control().release_capacity(data.len());
                    }
                    noted.lock().unwrap().push(whole);
                    let _ = out.send_data(Bytes::from_static(b"done"), true);
                });
            }
        }
    })
    .await;
    let gate = TestGate::start(over_h2(&upstream));
    for mut caller in Client::both(gate.address("public")).await {
        let (feed, body) = client::streamed();
        let feeding = tokio::spawn(async move {
            for _ in 0..80 {
                feed.data(vec![b'x'; 10_000]).await;
            }
        });
        let response = caller.send(client::request(http::Method::POST, "/score", body)).await;
        assert_eq!(response.body(), "done");
        feeding.await.unwrap();
    }
    assert_eq!(*bodies.lock().unwrap(), [800_000, 800_000]);
}
