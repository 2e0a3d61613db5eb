//! Requests reach the right upstream, at the right path, over every pair of protocols.

use scoregate::config::model::{Action, UpstreamProtocol};

use crate::support::{
    client::{self, Client, H1, H2, post},
    gate::{self, TestGate},
    raw::Raw,
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

fn raw_request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nauthorization: Bearer {}\r\n{fields}\r\n", gate::CALLER_KEY)
}

#[tokio::test]
async fn what_is_matched_is_what_is_forwarded() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.endpoints[0].upstreams = vec![gate::url(upstream.address, "/api/v1/service/x/score")];
    let mut denied = gate::route("/admin", "iris", &["team-a"]);
    denied.action = Action::Deny;
    let mut iris = gate::route("/iris", "iris", &["team-a"]);
    gate::forward_of(&mut iris).rewrite_prefix = Some("/".into());
    config.routes.extend([denied, iris]);
    let gate = TestGate::start(config);
    for (target, forwarded) in [
        ("/score", "/score"),
        ("/score?a=%2f%00&b=/../c;d\\e", "/score?a=%2f%00&b=/../c;d\\e"),
        ("/iris/score?q", "/score?q"),
        ("/iris", "/"),
        ("/iris/", "/"),
        ("//iris///score", "/score"),
        ("/./iris/a/../score", "/score"),
        ("/%69ris/%73core", "/score"),
        ("/irises", "/irises"),
        ("/a%20b%C3%A9", "/a%20b%C3%A9"),
        ("/", "/"),
        ("http://gate.test/score?x", "/score?x"),
        ("http://gate.test", "/"),
    ] {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(raw_request("GET", target, "host: gate.test\r\n")).await;
        let answer = caller.response().await;
        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.uri.to_string(), format!("/api/v1/service/x{forwarded}"), "{target}");
    }
    let before = upstream.seen().len();
    for (target, status) in [
        ("/admin", 403),
        ("/%61dmin", 403),
        ("//admin/x", 403),
        ("/./admin", 403),
        ("/x/../admin", 403),
        ("/x/%2e%2e/admin", 403),
        ("/../score", 400),
        ("/iris/../../score", 400),
        ("/%2e%2e/score", 400),
        ("/a%2fb", 400),
        ("/a%5cb", 400),
        ("/a;b", 400),
        ("/a%00b", 400),
        ("/a%zzb", 400),
        ("*", 400),
    ] {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(raw_request("GET", target, "host: gate.test\r\n")).await;
        assert_eq!(caller.response().await.status(), status, "{target}");
    }
    assert_eq!(upstream.seen().len(), before);
}

#[tokio::test]
async fn methods_that_a_route_does_not_have_are_405_with_allow() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    let mut score = gate::route("/score", "iris", &["team-a"]);
    score.methods = vec![http::Method::POST, http::Method::OPTIONS];
    config.routes.push(score);
    let gate = TestGate::start(config);
    for mut caller in Client::both(gate.address("public")).await {
        let refused = caller.send(client::get("/score")).await;
        assert_eq!(client::verdict(&refused), (405, "method_not_allowed".into()));
        let mut allow: Vec<_> = refused.headers()["allow"].to_str().unwrap().split(", ").collect();
        allow.sort_unstable();
        assert_eq!(allow, ["OPTIONS", "POST"]);
        assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
        assert_eq!(caller.send(client::get("/else")).await.status(), 200);
        let traced = caller.send(client::request(http::Method::TRACE, "/else", client::full(""))).await;
        assert_eq!(traced.status(), 405);
    }
    let mut config = gate::config(upstream.address);
    config.routes[0] = gate::route("/iris", "iris", &["team-a"]);
    let gate = TestGate::start(config);
    for mut caller in Client::both(gate.address("public")).await {
        assert_eq!(client::verdict(&caller.send(client::get("/score")).await), (404, "no_route".into()));
    }
}

#[tokio::test]
async fn tunnels_are_refused_and_options_of_everything_goes_to_the_base() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.endpoints[0].upstreams = vec![gate::url(upstream.address, "/api/v1/service/x/score")];
    let gate = TestGate::start(config);
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(raw_request("CONNECT", "gate.test:443", "host: gate.test:443\r\n")).await;
    let answer = caller.response().await;
    assert_eq!((answer.status(), answer.code().as_str()), (400, "upgrade_refused"));
    assert!(upstream.seen().is_empty());
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(raw_request("OPTIONS", "*", "host: gate.test\r\n")).await;
    assert_eq!(caller.response().await.status(), 200);
    assert_eq!(upstream.only().uri.path(), "/api/v1/service/x/");
}

#[tokio::test]
async fn there_is_one_valid_host_and_it_is_served_here() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.listeners[0].hosts = vec!["gate.test".into(), "::1".into()];
    let gate = TestGate::start(config);
    for (target, fields, status) in [
        ("/score", "host: gate.test\r\n", 200),
        ("/score", "host: GATE.test:8443\r\n", 200),
        ("/score", "host: [::1]:80\r\n", 200),
        ("/score", "host: other.test\r\n", 421),
        ("/score", "", 400),
        ("/score", "host:\r\n", 400),
        ("/score", "host: gate.test\r\nhost: gate.test\r\n", 400),
        ("/score", "host: a@gate.test\r\n", 400),
        ("/score", "host: gate.test/x\r\n", 400),
        ("/score", "host: gate.test, other.test\r\n", 400),
        ("/score", "host: gate.test:99999\r\n", 400),
        ("http://gate.test/score", "host: other.test\r\n", 400),
        ("http://a@gate.test/score", "host: gate.test\r\n", 400),
        ("http://other.test/score", "host: other.test\r\n", 421),
    ] {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(raw_request("GET", target, fields)).await;
        assert_eq!(caller.response().await.status(), status, "{target} {fields:?}");
    }
    let mut caller = H2::connect(gate.address("public")).await;
    let mut other = client::get("/score");
    other.headers_mut().insert("host", "other.test".parse().unwrap());
    assert_eq!(client::verdict(&caller.send(other).await), (421, "misdirected".into()));
    assert_eq!(upstream.seen().len(), 3);
}

#[tokio::test]
async fn two_upstreams_share_the_work() {
    let (one, two) = (Upstream::echo().await, Upstream::echo().await);
    let mut config = gate::config(one.address);
    config.endpoints[0].upstreams.push(gate::url(two.address, "/deep/score"));
    let gate = TestGate::start(config);
    for mut caller in Client::both(gate.address("public")).await {
        for _ in 0..100 {
            assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
        }
    }
    assert!(one.seen().len() > 40 && two.seen().len() > 40, "{} {}", one.seen().len(), two.seen().len());
    assert!(one.seen().iter().all(|seen| seen.uri.path() == "/score"));
    assert!(two.seen().iter().all(|seen| seen.uri.path() == "/deep/score"));
}
