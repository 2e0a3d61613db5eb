//! One test for each bug that was fixed, named for it.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use scoregate::{clock::Clock, config::model::Action};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    client::{self, H1, post},
    eventually,
    gate::{self, TestGate},
    in_time,
    raw::{self, Raw},
    upstream::Upstream,
};

/// A plain connection is first looked at for HTTP/2's preface; while nothing had come, that look did not hear of the drain, and
/// the process waited for `request_head` to run out.
#[tokio::test]
async fn a_drain_closes_a_connection_that_never_said_anything() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut silent = TcpStream::connect(gate.address("public")).await.unwrap();
    let mut begun = TcpStream::connect(gate.address("public")).await.unwrap();
    begun.write_all(b"P").await.unwrap();
    let client = async {
        assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0, "closed, and not reset");
        drop(silent);
        let rest =
            format!("OST /score HTTP/1.1\r\nhost: gate.test\r\nauthorization: Bearer {}\r\n\r\n", gate::CALLER_KEY);
        begun.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        begun.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    };
    in_time("the drain", async { tokio::join!(gate.drain(), client) }).await;
}

/// While a worker has nothing to watch its coarse clock stands still; a connection that came after a long rest was cut off as if
/// its head had been awaited all that time.
#[tokio::test]
async fn a_connection_after_a_long_rest_has_its_whole_time_for_a_head() {
    let upstream = Upstream::echo().await;
    let clock = Clock::manual(1_700_000_000);
    let gate = TestGate::start_with(gate::config(upstream.address), clock.clone());
    clock.advance(Duration::from_secs(3_600));
    let mut client = H1::connect(gate.address("public")).await;
    eventually("the connection is counted by a sweep", || {
        gate.metric("connections{listener=\"public\",state=\"active\"}") > 0.0
    })
    .await;
    assert_eq!(client.send(post("/score", "x")).await.status(), 200);
}

#[tokio::test]
async fn an_answer_of_our_own_to_head_has_no_body() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    // Twice on one connection: bytes behind the first answer would be the beginning of the second.
    for _ in 0..2 {
        caller.send("HEAD /score HTTP/1.1\r\nhost: gate.test\r\n\r\n").await;
        let answer = caller.message(true).await.unwrap();
        assert_eq!((answer.status(), answer.field("connection")), (401, None));
    }
    let mut h2 = client::H2::connect(gate.address("public")).await;
    let mut head = client::get("/score");
    *head.method_mut() = http::Method::HEAD;
    head.headers_mut().remove("authorization");
    let answer = h2.send(head).await;
    assert_eq!((answer.status().as_u16(), answer.body().len()), (401, 0));
}

#[tokio::test]
async fn nothing_behind_a_request_with_a_refused_coding_is_a_request() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    for (version, coding) in [
        ("1.1", "chunkedx"),
        ("1.1", "gzip, chunked"),
        ("1.1", "\"chunked\""),
        ("1.1", "chunked, gzip"),
        ("1.0", "chunked"),
    ] {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller
            .send(format!(
                "POST /score HTTP/{version}\r\nhost: gate.test\r\nconnection: keep-alive\r\ntransfer-encoding: {coding}\r\n\r\n\
                 0\r\n\r\n{}",
                raw::get("/hidden")
            ))
            .await;
        let answer = caller.response().await;
        assert_eq!((answer.status(), answer.field("connection")), (400, Some("close")), "{coding}");
        assert!(caller.is_closed().await, "{coding}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_host_with_a_dot_at_its_end_meets_the_rules_for_it() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    let mut closed = gate::route("/", "iris", &["team-a"]);
    (closed.host, closed.name, closed.action) = ("secret.test".into(), "closed".into(), Action::Deny);
    config.routes.push(closed);
    let gate = TestGate::start(config);
    for host in ["secret.test", "secret.test.", "Secret.Test.:80"] {
        let mut request = client::get("/score");
        request.headers_mut().insert("host", host.parse().unwrap());
        assert_eq!(client::once(gate.address("public"), request).await.status(), 403, "{host}");
    }
}

#[tokio::test]
async fn options_that_goes_no_further_is_answered_here() {
    let upstream = Upstream::scripted(|seen| {
        Response::builder().header("x-left", seen.header("max-forwards").unwrap_or("none")).body(Bytes::new()).unwrap()
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    for mut caller in client::Client::both(gate.address("public")).await {
        let mut ask = async |left: &str| {
            let mut request = client::with(client::get("/score"), "max-forwards", left);
            *request.method_mut() = http::Method::OPTIONS;
            caller.send(request).await
        };
        assert_eq!(ask("0").await.status(), 204);
        assert_eq!(ask("5").await.headers()["x-left"], "4");
    }
    assert_eq!(upstream.seen().len(), 2);
}
