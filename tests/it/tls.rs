//! TLS on both sides: certificates by name, protocols, client certificates, and an end that loses nothing.

use std::time::Duration;

use http::Response;
use rustls::pki_types::CertificateDer;
use scoregate::config::model::{ClientAuth, Config, UpstreamProtocol};
use tokio::io::AsyncReadExt;

use crate::support::{
    client::{self, Client, H1, H2, get, post},
    eventually,
    gate::{self, TestGate},
    in_time,
    pki::{self, Authority},
    raw::{self, Raw},
    upstream::{Notes, Upstream},
};

fn over_tls(upstream: std::net::SocketAddr, leaves: &[&pki::Leaf]) -> Config {
    pki::install();
    let mut config = gate::config(upstream);
    config.listeners[0].tls = Some(pki::listener_tls(leaves));
    config
}

async fn certificate_for(gate: &TestGate, ca: &Authority, name: &str) -> Option<CertificateDer<'static>> {
    let stream = pki::connect(gate.address("public"), name, ca.client(&["h2", "http/1.1"], None)).await.ok()?;
    stream.get_ref().1.peer_certificates().map(|chain| chain[0].clone().into_owned())
}

#[tokio::test]
async fn the_name_asked_for_picks_the_certificate() {
    pki::install();
    let upstream = Upstream::echo().await;
    let ca = Authority::new();
    let (first, exact, wild) = (ca.sign(&["first.test"]), ca.sign(&["a.gate.test"]), ca.sign(&["*.gate.test"]));
    let gate = TestGate::start(over_tls(upstream.address, &[&first, &exact, &wild]));
    for (name, leaf) in
        [("first.test", &first), ("a.gate.test", &exact), ("A.GATE.test", &exact), ("b.gate.test", &wild)]
    {
        assert_eq!(certificate_for(&gate, &ca, name).await.as_ref(), Some(&leaf.chain[0]), "{name}");
    }
    assert_eq!(certificate_for(&gate, &ca, "unknown.test").await, None, "the default, which the client refuses");
    eventually("counted", || gate.metric("connection_errors_total{kind=\"tls_handshake\",listener=\"public\"}") == 1.0)
        .await;
}

#[tokio::test]
async fn a_host_of_another_certificate_than_the_connection_was_given_is_misdirected() {
    pki::install();
    let upstream = Upstream::echo().await;
    let ca = Authority::new();
    let (both, other) = (ca.sign(&["a.gate.test", "b.gate.test"]), ca.sign(&["*.other.test"]));
    let gate = TestGate::start(over_tls(upstream.address, &[&both, &other]));
    for (name, host, status) in [
        ("a.gate.test", "a.gate.test", 200),
        ("a.gate.test", "A.gate.test:8443", 200),
        ("a.gate.test", "b.gate.test", 200),
        ("a.gate.test", "x.other.test", 421),
        ("x.other.test", "x.other.test", 200),
        ("x.other.test", "y.other.test", 200),
        ("x.other.test", "a.gate.test", 421),
        ("x.other.test", "unknown.test", 421),
        ("a.gate.test", "unknown.test", 200),
    ] {
        for alpn in ["h2", "http/1.1"] {
            let stream = pki::connect(gate.address("public"), name, ca.client(&[alpn], None)).await.unwrap();
            let mut request = post("/score", "{}");
            request.headers_mut().insert("host", host.parse().unwrap());
            let response = match alpn {
                "h2" => H2::over(stream).await.send(request).await,
                _ => H1::over(stream).await.send(request).await,
            };
            assert_eq!(response.status(), status, "{name} {host} {alpn}");
            assert_eq!(response.body().starts_with(br#"{"error":{"code":"misdirected""#), status == 421);
        }
    }
}

#[tokio::test]
async fn alpn_picks_the_protocol() {
    pki::install();
    let upstream = Upstream::echo().await;
    let ca = Authority::new();
    let leaf = ca.sign(&["gate.test"]);
    let gate = TestGate::start(over_tls(upstream.address, &[&leaf]));
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = pki::connect(gate.address("public"), "gate.test", ca.client(offered, None)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes), "{offered:?}");
        let response = match chosen {
            Some("h2") => H2::over(stream).await.send(post("/score", "{}")).await,
            _ => H1::over(stream).await.send(post("/score", "{}")).await,
        };
        assert_eq!(response.body(), "{}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    }
}

#[tokio::test]
async fn a_listener_for_http_2_alone_never_serves_http_1() {
    pki::install();
    let upstream = Upstream::echo().await;
    let ca = Authority::new();
    let leaf = ca.sign(&["gate.test"]);
    let mut config = over_tls(upstream.address, &[&leaf]);
    config.listeners[0].h1 = false;
    let gate = TestGate::start(config);
    let stream = pki::connect(gate.address("public"), "gate.test", ca.client(&[], None)).await.unwrap();
    assert_eq!(H2::over(stream).await.send(post("/score", "{}")).await.status(), 200);
    let stream = pki::connect(gate.address("public"), "gate.test", ca.client(&[], None)).await.unwrap();
    let mut raw = Raw::over(stream);
    raw.send(raw::get("/score")).await;
    assert!(!String::from_utf8_lossy(&raw.rest().await).starts_with("HTTP/1"));
    assert!(pki::connect(gate.address("public"), "gate.test", ca.client(&["http/1.1"], None)).await.is_err());
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_handshake_that_stands_still_is_cut() {
    pki::install();
    let upstream = Upstream::echo().await;
    let ca = Authority::new();
    let leaf = ca.sign(&["gate.test"]);
    let mut config = over_tls(upstream.address, &[&leaf]);
    config.timeouts.tls_handshake = Duration::from_millis(300);
    let gate = TestGate::start(config);
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let before = gate.metric("limit_hits_total{limit=\"tls_handshake\"}");
        let mut silent = Raw::connect(gate.address("public")).await;
        silent.send(begun).await;
        assert!(silent.rest().await.is_empty());
        let hits = || gate.metric("limit_hits_total{limit=\"tls_handshake\"}");
        eventually("counted", || hits() == before + 1.0).await;
    }
}

#[tokio::test]
async fn client_certificates_are_demanded_where_the_listener_says_so() {
    pki::install();
    let upstream = Upstream::echo().await;
    let (ca, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let leaf = ca.sign(&["gate.test"]);
    for (demand, without) in [(ClientAuth::Required, false), (ClientAuth::Optional, true)] {
        let mut config = over_tls(upstream.address, &[&leaf]);
        let tls = config.listeners[0].tls.as_mut().unwrap();
        tls.client_auth = demand;
        tls.client_ca = Some(clients.roots());
        let gate = TestGate::start(config);
        let (known, stranger) = (clients.sign(&["caller.test"]), strangers.sign(&["caller.test"]));
        for (identity, let_in) in [(Some(&known), true), (Some(&stranger), false), (None, without)] {
            let client = ca.client(&["http/1.1"], identity);
            // In TLS 1.3 the client learns of the refusal with its first read.
            let answered = match pki::connect(gate.address("public"), "gate.test", client).await {
                Ok(stream) => {
                    let mut raw = Raw::over(stream);
                    raw.send(raw::get("/score")).await;
                    raw.message(false).await.is_some_and(|answer| answer.status() == 200)
                }
                Err(_) => false,
            };
            assert_eq!(answered, let_in, "{demand:?}");
        }
    }
}

async fn tls_upstream(ca: &Authority, name: &str, alpn: &[&str], clients: Option<&Authority>) -> Upstream {
    Upstream::tls(ca.sign(&[name]).server(alpn, clients), |request, notes: Notes| async move {
        match notes.read(request).await {
            Some(seen) => Response::new(client::full(seen.body)),
            None => Response::new(client::full("")),
        }
    })
    .await
}

fn to_tls(upstream: &Upstream, ca: &Authority, name: Option<&str>) -> Config {
    let mut config = gate::config(upstream.address);
    config.endpoints[0].upstreams[0].tls = true;
    config.endpoints[0].connect.ca = Some(ca.as_ca());
    config.endpoints[0].connect.server_name = name.map(ToOwned::to_owned);
    config
}

#[tokio::test]
async fn upstreams_are_spoken_to_over_tls_by_what_they_negotiate() {
    pki::install();
    let ca = Authority::new();
    for (alpn, protocol, version) in [
        (&["h2", "http/1.1"][..], UpstreamProtocol::Auto, http::Version::HTTP_2),
        (&["http/1.1"], UpstreamProtocol::Auto, http::Version::HTTP_11),
        (&[], UpstreamProtocol::Auto, http::Version::HTTP_11),
        (&["h2", "http/1.1"], UpstreamProtocol::H1, http::Version::HTTP_11),
        (&["h2", "http/1.1"], UpstreamProtocol::H2, http::Version::HTTP_2),
    ] {
        let upstream = tls_upstream(&ca, "scoring.test", alpn, None).await;
        let mut config = to_tls(&upstream, &ca, Some("scoring.test"));
        config.endpoints[0].connect.protocol = protocol;
        let gate = TestGate::start(config);
        for mut caller in Client::both(gate.address("public")).await {
            for round in 0..3 {
                let body = format!("{round}").repeat(100_000);
                assert_eq!(caller.send(post("/score", body.clone())).await.body(), body.as_bytes());
            }
            assert_eq!(upstream.seen().pop().unwrap().version, version, "{alpn:?} {protocol:?}");
        }
        assert!(upstream.connections() <= 2);
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_its_name_is_unreachable() {
    pki::install();
    let (ca, other) = (Authority::new(), Authority::new());
    let upstream = tls_upstream(&ca, "scoring.test", &["h2", "http/1.1"], None).await;
    for config in [
        to_tls(&upstream, &ca, Some("other.test")),
        to_tls(&upstream, &ca, None),
        to_tls(&upstream, &other, Some("scoring.test")),
    ] {
        let gate = TestGate::start(config);
        let response = client::once(gate.address("public"), post("/score", "{}")).await;
        assert_eq!(client::verdict(&response), (502, "upstream_unreachable".into()));
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_gate_shows_an_upstream_its_certificate() {
    pki::install();
    let (ca, clients) = (Authority::new(), Authority::new());
    let upstream = tls_upstream(&ca, "scoring.test", &["http/1.1"], Some(&clients)).await;
    let mut config = to_tls(&upstream, &ca, Some("scoring.test"));
    let refused = TestGate::start(config.clone());
    assert_eq!(client::once(refused.address("public"), post("/score", "{}")).await.status(), 502);
    config.endpoints[0].connect.client_certificate = Some(clients.sign(&["gate.test"]).certificate());
    let gate = TestGate::start(config);
    assert_eq!(client::once(gate.address("public"), post("/score", "{}")).await.status(), 200);
}

/// hyper #3792: the last answer over TLS, lost where the connection closes with bytes still in the TLS layer.
#[tokio::test]
async fn the_last_answer_over_tls_is_never_lost() {
    pki::install();
    let ca = Authority::new();
    let leaf = ca.sign(&["gate.test"]);
    let body = vec![b'x'; 300_000];
    let answer = body.clone();
    let upstream = Upstream::scripted(move |_| Response::new(answer.clone().into())).await;
    for round in 0..25_u64 {
        let gate = TestGate::start(over_tls(upstream.address, &[&leaf]));
        let mut reading = Vec::new();
        for number in 0..2 {
            let stream =
                pki::connect(gate.address("public"), "gate.test", ca.client(&["http/1.1"], None)).await.unwrap();
            let mut raw = Raw::over(stream);
            raw.send(raw::get("/score")).await;
            reading.push(tokio::spawn(async move {
                // One reads at once, the other when the gate has long been told to close.
                tokio::time::sleep(Duration::from_millis(number * 30)).await;
                let answer = raw.message(false).await.expect("a whole answer");
                let mut rest = [0; 1];
                let end = in_time("the end", raw.stream.read(&mut rest)).await;
                (answer.body.len(), end)
            }));
        }
        let stream = pki::connect(gate.address("public"), "gate.test", ca.client(&["h2"], None)).await.unwrap();
        let mut h2 = H2::over(stream).await;
        let asked = tokio::spawn(async move { h2.try_send(get("/score")).await });
        let before = usize::try_from(round).unwrap() * 3;
        eventually("with the upstream", || upstream.seen().len() == before + 3).await;
        tokio::time::sleep(Duration::from_micros(300 * round)).await;
        gate.drain().await;
        for one in reading {
            let (length, end) = in_time("an answer", one).await.unwrap();
            assert_eq!(length, body.len(), "{round}");
            assert_eq!(end.expect("close_notify, not a bare end"), 0);
        }
        assert_eq!(in_time("h2", asked).await.unwrap().unwrap().body().len(), body.len());
    }
}
