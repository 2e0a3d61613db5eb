//! Requests reach the right upstream, at the right path, over every pair of protocols.

use scoregate::config::model::UpstreamProtocol;

use crate::support::{
    client::{self, H1, H2, post},
    gate::{self, TestGate},
    upstream::Upstream,
};

#[tokio::test]
async fn a_request_is_forwarded_with_the_service_key_and_answered() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let response = client::once(gate.address("public"), post("/score?x=1", "{\"data\":[1]}")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.body(), "{\"data\":[1]}");
    assert!(response.headers().contains_key("x-request-id"));
    let seen = upstream.only();
    assert_eq!(seen.uri.to_string(), "/score?x=1");
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {}", gate::PRIMARY)));
    assert_eq!(seen.header("host"), Some(&*upstream.address.to_string()));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("via"), Some("1.1 scoregate"));
}

#[tokio::test]
async fn every_pair_of_protocols_carries_requests() {
    let upstream = Upstream::echo().await;
    for protocol in [UpstreamProtocol::H1, UpstreamProtocol::H2c] {
        let mut config = gate::config(upstream.address);
        config.endpoints[0].connect.protocol = protocol;
        let gate = TestGate::start(config);
        let address = gate.address("public");
        let (mut h1, mut h2) = (H1::connect(address).await, H2::connect(address).await);
        for round in 0..20 {
            let body = format!("body {round}");
            assert_eq!(h1.send(post("/score", body.clone())).await.body(), body.as_bytes(), "{protocol:?}");
            assert_eq!(h2.send(post("/score", body.clone())).await.body(), body.as_bytes(), "{protocol:?}");
        }
    }
    assert!(upstream.connections() <= 8, "connections are reused: {}", upstream.connections());
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_never_forwarded() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut request = post("/score", "{}");
    request.headers_mut().insert("authorization", "Bearer wrong".parse().unwrap());
    let response = client::once(gate.address("public"), request).await;
    assert_eq!((response.status().as_u16(), client::code(&response).as_str()), (401, "caller_unknown"));
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"scoregate\"");
    assert_eq!(response.headers()["server"], "scoregate");
    assert!(upstream.seen().is_empty());
}
