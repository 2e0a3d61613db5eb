//! Where callers come in: Unix sockets, a load balancer's word on who they are, and listeners that come and go under traffic.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt};

use http::Response;
use scoregate::config::model::{Config, ListenAddress, Network};
use tokio::net::UnixStream;

use crate::support::{
    client::{self, H1, H2, full, get, post},
    eventually,
    gate::{self, TestGate},
    in_time, pki,
    raw::{self, Raw},
    upstream::Upstream,
};

fn loopback() -> Network {
    Network { address: "127.0.0.0".parse().unwrap(), prefix: 8 }
}

fn unix(config: &mut Config, path: &std::path::Path) {
    config.listeners[0].address = ListenAddress::Unix { path: path.to_owned(), mode: 0o660 };
}

#[tokio::test]
async fn a_unix_socket_serves_both_protocols_and_goes_with_its_process() {
    let upstream = Upstream::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let mut config = gate::config(upstream.address);
    unix(&mut config, &path);
    let gate = TestGate::start(config);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let connect = async || UnixStream::connect(&path).await.unwrap();
    assert_eq!(H1::over(connect().await).await.send(post("/score", "one")).await.body(), "one");
    assert_eq!(H2::over(connect().await).await.send(post("/score", "two")).await.body(), "two");
    for seen in upstream.seen() {
        assert_eq!(seen.header("x-forwarded-for"), Some("unknown"));
    }
    gate.drain().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn peers_over_a_unix_socket_are_believed_where_that_is_written() {
    let upstream = Upstream::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let mut config = gate::config(upstream.address);
    unix(&mut config, &path);
    config.listeners[0].trusts_local = true;
    let _gate = TestGate::start(config);
    let stream = UnixStream::connect(&path).await.unwrap();
    H1::over(stream).await.send(client::with(get("/score"), "x-forwarded-for", "192.0.2.7")).await;
    assert_eq!(upstream.only().header("x-forwarded-for"), Some("192.0.2.7, unknown"));
}

fn behind_a_load_balancer(upstream: SocketAddr) -> Config {
    let mut config = gate::config(upstream);
    config.listeners[0].proxy_protocol = true;
    config.listeners[0].trusted_proxies = vec![loopback()];
    config
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x10\0\0\x50";

#[tokio::test]
async fn a_trusted_load_balancer_says_where_a_connection_comes_from() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(behind_a_load_balancer(upstream.address));
    for (header, address) in [
        (&b"PROXY TCP4 192.0.2.7 192.0.2.1 4096 80\r\n"[..], "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4096 80\r\n", "2001:db8::7"),
        (V2, "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1"),
    ] {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(header).await;
        // Twice: what it said holds for the whole connection. What the caller itself says is not believed any more.
        for _ in 0..2 {
            let spoofed = raw::get("/score").replace("\r\n\r\n", "\r\nx-forwarded-for: 6.6.6.6\r\n\r\n");
            caller.send(spoofed).await;
            assert_eq!(caller.response().await.status(), 200);
            let seen = upstream.seen().pop().unwrap();
            let expected = if address == "127.0.0.1" { "6.6.6.6, 127.0.0.1" } else { address };
            assert_eq!(seen.header("x-forwarded-for"), Some(expected));
        }
    }
}

#[tokio::test]
async fn the_word_of_the_load_balancer_comes_before_tls() {
    pki::install();
    let upstream = Upstream::echo().await;
    let ca = pki::Authority::new();
    let leaf = ca.sign(&["gate.test"]);
    let mut config = behind_a_load_balancer(upstream.address);
    config.listeners[0].tls = Some(pki::listener_tls(&[&leaf]));
    let gate = TestGate::start(config);
    let mut tcp = tokio::net::TcpStream::connect(gate.address("public")).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut tcp, V2).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(ca.client(&["h2"], None)));
    let stream = in_time("handshake", connector.connect("gate.test".try_into().unwrap(), tcp)).await.unwrap();
    assert_eq!(H2::over(stream).await.send(post("/score", "{}")).await.status(), 200);
    assert_eq!(upstream.only().header("x-forwarded-for"), Some("192.0.2.7"));
}

#[tokio::test]
async fn who_does_not_begin_as_a_load_balancer_would_is_closed_and_counted() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(behind_a_load_balancer(upstream.address));
    let count = |kind: &str| gate.metric(&format!("connection_errors_total{{kind=\"{kind}\",listener=\"public\"}}"));
    for (at, begun) in
        [&raw::get("/score").into_bytes()[..], b"PROXY TCP4 nobody\r\n\r\n", b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0"]
            .into_iter()
            .enumerate()
    {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(begun).await;
        assert!(caller.is_closed().await);
        eventually("counted", || count("proxy_header") == f64::from(u32::try_from(at).unwrap() + 1)).await;
    }
    let untrusted = {
        let mut config = behind_a_load_balancer(upstream.address);
        config.listeners[0].trusted_proxies = vec![Network { address: "192.0.2.0".parse().unwrap(), prefix: 24 }];
        TestGate::start(config)
    };
    let mut caller = Raw::connect(untrusted.address("public")).await;
    caller.send(V2).await;
    caller.send(raw::get("/score")).await;
    caller.rest().await;
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_cap_per_address_holds_for_the_address_that_the_load_balancer_names() {
    let upstream = Upstream::echo().await;
    let mut config = behind_a_load_balancer(upstream.address);
    config.limits.per_address = 1;
    let gate = TestGate::start(config);
    let line = |address: &str| format!("PROXY TCP4 {address} 192.0.2.1 4096 80\r\n{}", raw::get("/score"));
    let mut first = Raw::connect(gate.address("public")).await;
    first.send(line("192.0.2.7")).await;
    assert_eq!(first.response().await.status(), 200);
    let mut second = Raw::connect(gate.address("public")).await;
    second.send(line("192.0.2.7")).await;
    assert!(second.is_closed().await);
    let mut other = Raw::connect(gate.address("public")).await;
    other.send(line("192.0.2.8")).await;
    assert_eq!(other.response().await.status(), 200);
    eventually("counted", || gate.metric("limit_hits_total{limit=\"per_address\"}") == 1.0).await;
}

#[tokio::test]
async fn a_listener_that_is_added_serves_and_one_that_is_taken_away_finishes() {
    let (going, go) = (std::sync::Arc::new(tokio::sync::Semaphore::new(0)), 1);
    let theirs = std::sync::Arc::clone(&going);
    let upstream = Upstream::streaming(move |request, notes| {
        let going = std::sync::Arc::clone(&theirs);
        async move {
            if notes.read(request).await.is_some_and(|seen| seen.uri.path() == "/held") {
                going.acquire().await.unwrap().forget();
            }
            Response::new(full("answered"))
        }
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    gate.reload(false, |config| config.listeners.push(gate::listener("second"))).await.unwrap();
    let (first, second) = (gate.address("public"), gate.address("second"));
    assert_ne!(first, second);
    let mut idle = Raw::connect(second).await;
    idle.send(raw::get("/score")).await;
    assert_eq!(idle.response().await.status(), 200);
    let mut h2 = H2::connect(second).await;
    assert_eq!(h2.send(get("/score")).await.status(), 200);
    let mut busy = Raw::connect(second).await;
    busy.send(raw::get("/held")).await;
    eventually("asked", || upstream.seen().iter().any(|seen| seen.uri.path() == "/held")).await;

    gate.reload(false, |config| drop(config.listeners.pop())).await.unwrap();
    assert!(tokio::net::TcpStream::connect(second).await.is_err(), "nobody listens there any more");
    assert!(idle.is_closed().await, "an idle connection is closed in order");
    going.add_permits(go);
    let answer = busy.response().await;
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    assert!(busy.is_closed().await);
    eventually("its streams are over", || h2.is_closed()).await;
    assert_eq!(client::once(first, get("/score")).await.status(), 200);
}

#[tokio::test]
async fn a_listener_that_only_changes_its_name_or_its_rules_keeps_its_socket() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config.listeners[0].address = ListenAddress::Tcp(address);
    let gate = TestGate::start(config);
    let mut caller = H1::connect(address).await;
    assert_eq!(caller.send(get("/score")).await.status(), 200);
    gate.reload(false, |config| config.listeners[0].hosts = vec!["other.test".into()]).await.unwrap();
    assert_eq!(caller.send(get("/score")).await.status(), 421, "the live connection sees it");
    gate.reload(false, |config| {
        config.listeners[0].hosts.clear();
        config.listeners[0].name = "renamed".into();
    })
    .await
    .unwrap();
    assert_eq!(client::once(address, get("/score")).await.status(), 200);
    eventually("counted under its new name", || {
        gate.metric("requests_total{code_class=\"2xx\",listener=\"renamed\",route=\"*/\"}") == 1.0
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_taken_leaves_everything_as_it_was() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut caller = H1::connect(gate.address("public")).await;
    let refused = gate
        .reload(false, |config| {
            let mut second = gate::listener("second");
            second.address = ListenAddress::Tcp(taken.local_addr().unwrap());
            config.listeners = vec![second];
        })
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("listener `second`"), "{refused}");
    assert!(refused.to_string().contains("ss -ltnp"), "{refused}");
    gate.change(|config| config.listeners = vec![gate::listener("public")]);
    assert_eq!(caller.send(get("/score")).await.status(), 200);
}
