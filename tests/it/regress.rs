//! One test for each bug that was fixed, named for it.

use std::time::Duration;

use scoregate::clock::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    client::{H1, post},
    eventually,
    gate::{self, TestGate},
    in_time,
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
