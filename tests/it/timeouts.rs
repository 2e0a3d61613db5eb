//! Each time-out of the configuration acts, by the gate's own clock, and each time it does it is counted.

use std::time::Duration;

use http::Method;
use scoregate::{clock::Clock, config::model::UpstreamProtocol};

use crate::support::{
    client::{self, Client, H1, H2, get, next_data, post, request, streamed},
    eventually,
    fault::Hostile,
    gate::{self, TestGate},
    in_time,
    raw::{self, Raw},
    upstream::Upstream,
};

const SECOND: Duration = Duration::from_secs(1);

fn start(config: scoregate::config::model::Config) -> (TestGate, Clock) {
    let clock = Clock::manual(1_800_000_000);
    (TestGate::start_with(config, clock.clone()), clock)
}

fn hits(gate: &TestGate, limit: &str) -> f64 {
    gate.metric(&format!("limit_hits_total{{limit=\"{limit}\"}}"))
}

async fn connections(gate: &TestGate, count: f64) {
    eventually("connections", || {
        gate.metric("connections{listener=\"public\",state=\"idle\"}")
            + gate.metric("connections{listener=\"public\",state=\"active\"}")
            == count
    })
    .await;
}

/// Reads heads and never answers.
async fn silent() -> Hostile {
    Hostile::start(|mut turn| async move { while turn.request().await.is_some() {} }).await
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let upstream = Upstream::echo().await;
    let (gate, clock) = start(gate::config(upstream.address));
    for begun in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nhost: ", "GET / HTTP/1.1\r\nhost: gate.test\r\n"] {
        let before = hits(&gate, "request_head");
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(begun).await;
        connections(&gate, 1.0).await;
        clock.advance(11 * SECOND);
        caller.rest().await;
        assert_eq!(hits(&gate, "request_head"), before + 1.0, "{begun:?}");
        connections(&gate, 0.0).await;
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_judged_as_a_whole() {
    let upstream = Upstream::echo().await;
    let (gate, clock) = start(gate::config(upstream.address));
    let mut first = Raw::connect(gate.address("public")).await;
    // The second head on a connection as well as the first.
    let mut second = Raw::connect(gate.address("public")).await;
    second.send(raw::get("/score")).await;
    assert_eq!(second.response().await.status(), 200);
    connections(&gate, 2.0).await;
    let mut sent = 0;
    for byte in raw::get("/score").bytes().take(60) {
        first.send([byte]).await;
        second.send([byte]).await;
        clock.advance(SECOND / 4);
        tokio::time::sleep(Duration::from_millis(20)).await;
        sent += 1;
        if hits(&gate, "request_head") == 2.0 {
            break;
        }
    }
    assert!((36..60).contains(&sent), "cut after {sent} quarters of a second");
    first.rest().await;
    second.rest().await;
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn idle_connections_are_closed_cleanly() {
    let upstream = Upstream::echo().await;
    let (gate, clock) = start(gate::config(upstream.address));
    let mut h1 = Raw::connect(gate.address("public")).await;
    h1.send(raw::get("/score")).await;
    assert_eq!(h1.response().await.status(), 200);
    let mut h2 = H2::connect(gate.address("public")).await;
    assert_eq!(h2.send(get("/score")).await.status(), 200);
    eventually("both idle", || gate.metric("connections{listener=\"public\",state=\"idle\"}") == 2.0).await;
    clock.advance(74 * SECOND);
    h1.send(raw::get("/score")).await;
    assert_eq!(h1.response().await.status(), 200);
    assert_eq!(h2.send(get("/score")).await.status(), 200);
    eventually("both idle", || gate.metric("connections{listener=\"public\",state=\"idle\"}") == 2.0).await;
    clock.advance(76 * SECOND);
    assert!(!h1.ends_by_reset().await);
    eventually("h2 is closed", || h2.is_closed()).await;
    assert_eq!(hits(&gate, "idle"), 2.0);
    drop(h1);
    connections(&gate, 0.0).await;
}

#[tokio::test]
async fn an_upstream_without_an_answer_is_a_504() {
    let upstream = silent().await;
    for (of_route, limit) in [(None, 301), (Some(20), 21)] {
        for protocol in [UpstreamProtocol::H1, UpstreamProtocol::H2c] {
            let mut config = gate::config(upstream.address);
            config.endpoints[0].connect.protocol = protocol;
            gate::forward_of(&mut config.routes[0]).timeout = of_route.map(Duration::from_secs);
            let (gate, clock) = start(config);
            for kind in Client::KINDS {
                let mut caller = Client::connect(kind, gate.address("public")).await;
                let before = hits(&gate, "request");
                eventually("idle", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
                let name = caller.name();
                let asked = tokio::spawn(async move { caller.send(post("/score", "{}")).await });
                eventually("in flight", || gate.metric("in_flight{endpoint=\"iris\"}") == 1.0).await;
                clock.advance((limit - 2) * SECOND);
                tokio::time::sleep(Duration::from_millis(300)).await;
                assert!(!asked.is_finished(), "{name}");
                clock.advance(2 * SECOND);
                let response = in_time("the answer", asked).await.unwrap();
                assert_eq!(client::verdict(&response), (504, "upstream_timeout".into()), "{name} {protocol:?}");
                assert_eq!(hits(&gate, "request"), before + 1.0);
            }
        }
    }
    eventually("abandoned requests end their connections", || upstream.ended() == upstream.connections()).await;
}

#[tokio::test]
async fn a_response_that_stands_still_is_cut_off() {
    let upstream = Upstream::streaming(|request, notes| async move {
        notes.read(request).await;
        let (feed, body) = streamed();
        tokio::spawn(async move {
            feed.data("some").await;
            std::future::pending::<()>().await;
        });
        http::Response::new(body)
    })
    .await;
    for protocol in [UpstreamProtocol::H1, UpstreamProtocol::H2c] {
        let mut config = gate::config(upstream.address);
        config.endpoints[0].connect.protocol = protocol;
        let (gate, clock) = start(config);
        for kind in Client::KINDS {
            let mut caller = Client::connect(kind, gate.address("public")).await;
            let before = hits(&gate, "stream_idle");
            let mut body = caller.open(post("/score", "{}")).await.unwrap().into_body();
            assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "some");
            clock.advance(800 * SECOND);
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(hits(&gate, "stream_idle"), before);
            clock.advance(110 * SECOND);
            assert!(next_data(&mut body).await.is_none_or(|data| data.is_err()), "{}", caller.name());
            assert_eq!(hits(&gate, "stream_idle"), before + 1.0);
        }
    }
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_cut_off() {
    let upstream = Upstream::streaming(|request, notes| async move {
        notes.read(request).await;
        let (feed, body) = streamed();
        tokio::spawn(async move {
            while !feed.is_unwanted() {
                feed.data(vec![b'x'; 64 << 10]).await;
            }
        });
        http::Response::new(body)
    })
    .await;
    let (gate, clock) = start(gate::config(upstream.address));
    for kind in Client::KINDS {
        let mut caller = Client::connect(kind, gate.address("public")).await;
        let before = hits(&gate, "stall");
        let response = caller.open(get("/score")).await.unwrap();
        // Until every buffer between the two is full nobody waits for the caller.
        let mut waits = 0;
        while hits(&gate, "stall") == before {
            tokio::time::sleep(Duration::from_millis(100)).await;
            clock.advance(4 * SECOND);
            waits += 1;
            assert!(waits < 100, "{}", caller.name());
        }
        assert!(waits > 5, "not before the time-out: {waits} over {}", caller.name());
        drop(response);
        eventually("the place is free", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
    }
}

#[tokio::test]
async fn a_caller_that_uploads_slower_than_the_minimum_rate_is_cut_off() {
    let upstream = Upstream::echo().await;
    let (gate, clock) = start(gate::config(upstream.address));
    let mut caller = H1::connect(gate.address("public")).await;
    let (feed, body) = streamed();
    let sending = tokio::spawn(async move { caller.try_send(request(Method::POST, "/score", body)).await });
    let mut seconds = 0;
    while !sending.is_finished() && seconds < 60 {
        feed.soon("x").await;
        clock.advance(SECOND);
        tokio::time::sleep(Duration::from_millis(60)).await;
        seconds += 1;
    }
    assert!((5..15).contains(&seconds), "{seconds}");
    assert_eq!(client::verdict(&sending.await.unwrap().unwrap()), (408, "request_timeout".into()));
    assert_eq!(hits(&gate, "stall"), 1.0);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_time_that_an_upload_takes_is_never_the_upstreams_delay() {
    let upstream = Upstream::echo().await;
    for (request_limit, expected) in [(300, (200, String::new())), (20, (408, "request_timeout".into()))] {
        for kind in Client::KINDS {
            let mut config = gate::config(upstream.address);
            config.timeouts.response_head = 10 * SECOND;
            config.timeouts.request = request_limit * SECOND;
            let (gate, clock) = start(config);
            let mut caller = Client::connect(kind, gate.address("public")).await;
            let (feed, body) = streamed();
            let sending = tokio::spawn(async move { caller.try_send(request(Method::POST, "/score", body)).await });
            for _ in 0..30 {
                feed.soon(vec![b'x'; 1000]).await;
                clock.advance(SECOND);
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            drop(feed);
            let response = in_time("the answer", sending).await.unwrap().unwrap();
            let verdict = if response.status() == 200 { (200, String::new()) } else { client::verdict(&response) };
            assert_eq!(verdict, expected, "{kind:?}");
            assert_eq!(hits(&gate, "request"), if expected.0 == 200 { 0.0 } else { 1.0 });
        }
    }
}

#[tokio::test]
async fn a_silent_upstream_is_never_a_stall() {
    let upstream = silent().await;
    let (gate, clock) = start(gate::config(upstream.address));
    let mut caller = H1::connect(gate.address("public")).await;
    let asked = tokio::spawn(async move { caller.send(post("/score", "{}")).await });
    eventually("with the upstream", || upstream.requests() == 1).await;
    for _ in 0..28 {
        clock.advance(10 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.is_finished());
    assert_eq!(hits(&gate, "stall"), 0.0);
}

#[tokio::test]
async fn an_upstream_that_does_not_take_the_connection_is_unreachable_in_time() {
    // A listener whose queue is full: further connections hang in their handshake.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    for protocol in [UpstreamProtocol::H1, UpstreamProtocol::H2c] {
        let mut config = gate::config(address);
        config.endpoints[0].connect.protocol = protocol;
        config.timeouts.connect = Duration::from_millis(500);
        config.workers = Some(1);
        let gate = TestGate::start(config);
        let began = tokio::time::Instant::now();
        let public = gate.address("public");
        let asked: Vec<_> =
            (0..6).map(|_| tokio::spawn(async move { client::once(public, post("/score", "{}")).await })).collect();
        for one in asked {
            let response = in_time("an answer", one).await.unwrap();
            assert_eq!(client::verdict(&response), (502, "upstream_unreachable".into()));
        }
        assert!(began.elapsed() < 2 * SECOND, "one after the other: {:?} over {protocol:?}", began.elapsed());
        assert!(hits(&gate, "connect") >= 1.0);
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1) on stream 1, or on 0 where it is SETTINGS.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, u8::from(kind != 4)], payload].concat()
}

#[tokio::test]
async fn a_head_of_http_2_that_does_not_end_closes_the_connection() {
    let upstream = Upstream::echo().await;
    let (gate, clock) = start(gate::config(upstream.address));
    let opened = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, &[])].concat();
    let whole = frame(1, 0, b"\x82\x86\x84");
    for (begun, why) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], "nothing behind the preface"),
        (&[&opened[..], &whole[..5]].concat(), "half a frame's header"),
        (&[&opened[..], &whole[..10]].concat(), "half a frame"),
        (&[&opened[..], &whole].concat(), "no CONTINUATION"),
        (&[&opened[..], &whole, &frame(9, 0, b"x")].concat(), "another that is not the last"),
    ] {
        let before = hits(&gate, "request_head");
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(begun).await;
        connections(&gate, 1.0).await;
        // What was sent is read by now or soon: only then does its time begin.
        eventually("cut", || {
            clock.advance(SECOND);
            hits(&gate, "request_head") == before + 1.0
        })
        .await;
        caller.rest().await;
        connections(&gate, 0.0).await;
        assert!(upstream.seen().is_empty(), "{why}");
    }
}
