//! WebSockets: over HTTP/1.1 and HTTP/2 on either side, where a route allows them, and what is no WebSocket on none.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, Version};
use hyper::{body::Incoming, ext::Protocol, upgrade::Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};
use scoregate::{
    clock::Clock,
    config::model::{Config, UpstreamProtocol},
    proxy::headers::websocket::accept,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

use crate::support::{
    client::{self, AnyBody, Client, full, get, with},
    eventually,
    fault::{Hostile, Turn},
    gate::{self, CALLER_KEY, PRIMARY, TestGate},
    in_time, pki,
    raw::Raw,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn allowing(upstream: SocketAddr) -> Config {
    let mut config = gate::config(upstream);
    gate::forward_of(&mut config.routes[0]).websocket = true;
    config
}

fn handshake(more: &str) -> String {
    format!(
        "GET /socket?x=1 HTTP/1.1\r\nhost: gate.test\r\nauthorization: Bearer {CALLER_KEY}\r\nconnection: keep-alive, Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n{more}"
    )
}

/// Agrees, as RFC 6455 section 4.2.2 has it.
async fn agree(turn: &mut Turn) -> bool {
    let Some(mut request) = turn.request().await else { return false };
    if request.head.starts_with("GET /first ") {
        turn.ok("").await;
        let Some(next) = turn.request().await else { return false };
        request = next;
    }
    assert_eq!(request.field("connection"), Some("Upgrade"));
    assert_eq!(request.field("upgrade"), Some("websocket"));
    assert_eq!(request.field("authorization"), Some(&*format!("Bearer {PRIMARY}")));
    assert_eq!(request.field("sec-websocket-version"), Some("13"));
    let answer = accept(request.field("sec-websocket-key").unwrap().as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: WebSocket\r\nsec-websocket-accept: {answer}\r\n\
         sec-websocket-protocol: chat\r\n\r\n"
    );
    turn.raw.send(head).await;
    true
}

/// Sends back what comes, until the other side has finished, and then finishes.
async fn echo(mut turn: Turn) {
    if agree(&mut turn).await {
        loop {
            let bytes = turn.raw.some().await;
            if bytes.is_empty() {
                break;
            }
            turn.raw.send(bytes).await;
        }
        turn.raw.send("bye").await;
    }
}

/// The same over HTTP/2.
async fn echo_h2() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = |mut request: Request<Incoming>| async move {
        assert_eq!((request.method(), request.version()), (&Method::CONNECT, Version::HTTP_2));
        assert_eq!(request.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
        assert_eq!(request.uri().path_and_query().unwrap().as_str(), "/socket?x=1");
        assert!(!request.headers().contains_key("sec-websocket-key"));
        let stream = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(stream.await.unwrap());
            let mut buffer = vec![0; 1 << 14];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..read]).await.unwrap();
            }
            stream.write_all(b"bye").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        Ok::<_, std::convert::Infallible>(Response::new(full("")))
    };
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.enable_connect_protocol();
            tokio::spawn(builder.serve_connection(TokioIo::new(tcp), hyper::service::service_fn(serve)));
        }
    });
    address
}

fn connect_request() -> Request<AnyBody> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://gate.test/socket?x=1")
        .header("authorization", format!("Bearer {CALLER_KEY}"))
        .header("sec-websocket-version", "13")
        .body(full(""))
        .unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request
}

/// Asks for a WebSocket over HTTP/2: the answer, and the stream where it was granted.
async fn ask_h2(gate: &TestGate) -> (Response<Incoming>, Option<TokioIo<Upgraded>>) {
    let tcp = tokio::net::TcpStream::connect(gate.address("public")).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    in_time("settings", sender.ready()).await.unwrap();
    // Whether the other side knows extended CONNECT comes with its settings: an ordinary request brings them.
    let mut first = get("/first");
    *first.uri_mut() = "http://gate.test/first".parse().unwrap();
    let _ = in_time("an answer", sender.send_request(first)).await;
    let mut response = in_time("answer", sender.send_request(connect_request())).await.unwrap();
    if response.status() != StatusCode::OK {
        return (response, None);
    }
    let stream = in_time("stream", hyper::upgrade::on(&mut response)).await.unwrap();
    (response, Some(TokioIo::new(stream)))
}

/// Both directions, then the end of both: ours first.
async fn talk(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let large: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    for piece in [&b"hello"[..], b"x", &large] {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
        let mut back = vec![0; piece.len()];
        in_time("echo", stream.read_exact(&mut back)).await.unwrap();
        assert!(back == piece);
    }
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    in_time("end", stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"bye", "the other direction stays open until its own end");
}

#[tokio::test]
async fn bytes_go_both_ways_and_so_does_the_end_of_each_direction() {
    for protocol in [UpstreamProtocol::Auto, UpstreamProtocol::H2c] {
        let h1 = Hostile::start(echo).await;
        let upstream = if protocol == UpstreamProtocol::Auto { h1.address } else { echo_h2().await };
        let mut config = allowing(upstream);
        config.endpoints[0].connect.protocol = protocol;
        let gate = TestGate::start(config);
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(handshake("")).await;
        let head = caller.message(true).await.unwrap();
        assert_eq!(head.status(), 101, "{}", head.head);
        assert_eq!(head.field("connection"), Some("Upgrade"));
        assert_eq!(head.field("upgrade"), Some("websocket"));
        assert_eq!(head.field("sec-websocket-accept"), Some(&*accept(KEY.as_bytes())));
        talk(caller.stream).await;
        if protocol == UpstreamProtocol::Auto {
            assert_eq!(head.field("sec-websocket-protocol"), Some("chat"));
            let (response, stream) = ask_h2(&gate).await;
            assert!(!response.headers().contains_key("sec-websocket-accept"));
            assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
            talk(stream.unwrap()).await;
        } else {
            // `/first` of `ask_h2` is no CONNECT, which that upstream would not have.
            let (_, stream) = ask_h2(&gate).await;
            talk(stream.unwrap()).await;
        }
        eventually("over", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
        let counted = |class: &str| {
            gate.metric(&format!("requests_total{{code_class=\"{class}\",listener=\"public\",route=\"*/\"}}"))
        };
        eventually("counted", || counted("1xx") == 1.0 && counted("2xx") >= 1.0).await;
    }
}

#[tokio::test]
async fn over_tls_a_websocket_is_http_1_even_where_the_upstream_would_have_http_2() {
    pki::install();
    let ca = pki::Authority::new();
    let leaf = ca.sign(&["127.0.0.1"]);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(leaf.server(&["h2", "http/1.1"], None)));
    let upstream = Hostile::accept(move |_, tcp| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let mut raw = Raw::over(stream);
            let request = raw.message(false).await.unwrap();
            let answer = accept(request.field("sec-websocket-key").unwrap().as_bytes());
            raw.send(format!(
                "HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {answer}\r\n\r\nfirst"
            ))
            .await;
            let _ = raw.rest().await;
        }
    })
    .await;
    let mut config = allowing(upstream.address);
    config.endpoints[0].upstreams[0].tls = true;
    config.endpoints[0].connect.ca = Some(ca.as_ca());
    let gate = TestGate::start(config);
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(handshake("")).await;
    assert_eq!(caller.message(true).await.unwrap().status(), 101);
    assert_eq!(caller.exactly(5).await.unwrap(), b"first");
}

#[tokio::test]
async fn what_follows_the_request_waits_for_the_101() {
    let may = Arc::new(Semaphore::new(0));
    let theirs = Arc::clone(&may);
    let upstream = Hostile::start(move |mut turn| {
        let may = Arc::clone(&theirs);
        async move {
            let request = turn.request().await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(200), turn.raw.some()).await;
            assert!(early.is_err(), "bytes before the 101: {early:?}");
            may.acquire().await.unwrap().forget();
            let answer = accept(request.field("sec-websocket-key").unwrap().as_bytes());
            turn.raw.send(format!("HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {answer}\r\n\r\n")).await;
            let rest = turn.raw.exactly(5).await.unwrap();
            turn.raw.send(rest).await;
        }
    })
    .await;
    let gate = TestGate::start(allowing(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(handshake("early")).await;
    eventually("asked", || upstream.requests() == 1).await;
    may.add_permits(1);
    assert_eq!(caller.message(true).await.unwrap().status(), 101);
    assert_eq!(caller.exactly(5).await.unwrap(), b"early");
}

#[tokio::test]
async fn a_route_that_does_not_allow_it_refuses_and_connect_is_refused_everywhere() {
    let upstream = Hostile::start(echo).await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(handshake("early")).await;
    let answer = caller.response().await;
    assert_eq!((answer.status(), answer.code()), (400, "upgrade_refused".into()));
    assert!(caller.is_closed().await, "what follows may be anything");
    let allowing = TestGate::start(allowing(upstream.address));
    for gate in [&gate, &allowing] {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller
            .send(format!(
                "CONNECT gate.test:443 HTTP/1.1\r\nhost: gate.test:443\r\nauthorization: Bearer {CALLER_KEY}\r\n\r\n"
            ))
            .await;
        assert_eq!(caller.response().await.code(), "upgrade_refused");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn an_unknown_caller_gets_no_websocket() {
    let upstream = Hostile::start(echo).await;
    let gate = TestGate::start(allowing(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(handshake("").replace(CALLER_KEY, "wrong")).await;
    assert_eq!(caller.response().await.status(), 401);
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_upgrade_to_anything_else_is_passed_over() {
    let upstream = Hostile::start(|mut turn| async move {
        while let Some(request) = turn.request().await {
            assert!(request.field("upgrade").is_none() && request.field("connection").is_none());
            turn.ok("plain").await;
        }
    })
    .await;
    let gate = TestGate::start(allowing(upstream.address));
    for mut caller in Client::both(gate.address("public")).await.into_iter().take(1) {
        let asked = with(with(get("/score"), "upgrade", "h2c"), "connection", "Upgrade, HTTP2-Settings");
        assert_eq!(caller.send(with(asked, "http2-settings", "AAMAAABkAAQAAP__")).await.body(), "plain");
        assert_eq!(caller.send(get("/score")).await.body(), "plain", "on the same connection");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_refusal_of_the_upstream_is_the_answer_and_nothing_after_it_is_a_request() {
    let upstream = Hostile::answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
    let gate = TestGate::start(allowing(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(handshake("GET /hidden HTTP/1.1\r\nhost: gate.test\r\n\r\n")).await;
    let answer = caller.response().await;
    assert_eq!((answer.status(), answer.text(), answer.field("connection")), (403, "no", Some("close")));
    assert!(caller.is_closed().await);
    let (answer, _) = ask_h2(&gate).await;
    assert_eq!(answer.status(), 403);
    assert!(upstream.whole.lock().unwrap().iter().all(|request| !request.head.contains("hidden")));
}

#[tokio::test]
async fn an_answer_that_is_no_handshake_is_the_upstreams_fault() {
    for answer in [
        "HTTP/1.1 101 OK\r\n\r\n",
        "HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 OK\r\nupgrade: websocket\r\n\r\n",
    ] {
        let upstream = Hostile::answering_once(answer).await;
        let gate = TestGate::start(allowing(upstream.address));
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(handshake("")).await;
        assert_eq!(caller.response().await.code(), "upstream_protocol_error", "{answer:?}");
    }
    // Towards HTTP/2 the key was ours, and any success would be taken for a WebSocket.
    for answer in [
        "HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: wrong\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
    ] {
        let upstream = Hostile::answering(answer).await;
        let gate = TestGate::start(allowing(upstream.address));
        assert_eq!(ask_h2(&gate).await.0.status(), 502, "{answer:?}");
    }
}

#[tokio::test]
async fn a_side_that_breaks_off_takes_the_other_with_it() {
    let upstream = Hostile::start(|mut turn| async move {
        agree(&mut turn).await;
        turn.raw.exactly(4).await;
        turn.raw.reset();
    })
    .await;
    let gate = TestGate::start(allowing(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(handshake("")).await;
    caller.message(true).await.unwrap();
    caller.send("over").await;
    assert!(caller.ends_by_reset().await, "an orderly end would say that all was sent");
    let (_, stream) = ask_h2(&gate).await;
    let mut stream = stream.unwrap();
    stream.write_all(b"over").await.unwrap();
    // To this client a stream that is reset with CANCEL, as RFC 8441 section 5 has it, ends.
    let mut rest = Vec::new();
    in_time("end", stream.read_to_end(&mut rest)).await.ok();
    assert!(rest.is_empty());
    // And the other way round.
    let left = Hostile::start(echo).await;
    let gate = TestGate::start(allowing(left.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(handshake("")).await;
    caller.message(true).await.unwrap();
    caller.reset();
    eventually("the upstream's connection is over", || left.ended() == 1).await;
}

#[tokio::test]
async fn an_open_websocket_lives_through_reloads_and_ends_with_the_drain() {
    let upstream = Hostile::start(echo).await;
    let mut config = allowing(upstream.address);
    config.timeouts.drain = Duration::from_millis(300);
    let gate = TestGate::start(config);
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(handshake("")).await;
    caller.message(true).await.unwrap();
    let (_, h2) = ask_h2(&gate).await;
    let mut h2 = h2.unwrap();
    for name in ["one", "two"] {
        gate.reload(false, |config| config.routes[0].name = name.into()).await.unwrap();
        caller.send(name).await;
        assert_eq!(caller.exactly(3).await.unwrap(), name.as_bytes());
        h2.write_all(name.as_bytes()).await.unwrap();
        let mut back = [0; 3];
        in_time("echo", h2.read_exact(&mut back)).await.unwrap();
    }
    gate.drain().await;
    caller.rest().await;
    assert!(in_time("end", h2.read_to_end(&mut Vec::new())).await.is_err());
}

#[tokio::test]
async fn a_websocket_in_which_nothing_moves_is_ended_in_time() {
    let upstream = Hostile::start(echo).await;
    let clock = Clock::manual(1_800_000_000);
    let gate = TestGate::start_with(allowing(upstream.address), clock.clone());
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(handshake("")).await;
    caller.message(true).await.unwrap();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(800));
        caller.send("still").await;
        assert_eq!(caller.exactly(5).await.unwrap(), b"still");
    }
    assert_eq!(gate.metric("limit_hits_total{limit=\"stream_idle\"}"), 0.0);
    clock.advance(Duration::from_secs(901));
    assert!(caller.ends_by_reset().await);
    eventually("counted", || gate.metric("limit_hits_total{limit=\"stream_idle\"}") == 1.0).await;
    let _ = client::verdict;
}
