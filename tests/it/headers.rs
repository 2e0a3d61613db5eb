//! Fields on their way through the whole gate: what is removed, what is said of the caller, what comes back.

use http::Response;
use scoregate::config::model::{Network, UpstreamProtocol};

use crate::support::{
    client::{self, Client, get, post, with},
    fault::Hostile,
    gate::{self, CALLER_KEY, PRIMARY, TestGate},
    raw::{self, Raw},
    upstream::Upstream,
};

const PROTOCOLS: [UpstreamProtocol; 2] = [UpstreamProtocol::H1, UpstreamProtocol::H2c];

#[tokio::test]
async fn hop_by_hop_fields_end_here() {
    let upstream = Upstream::echo().await;
    for protocol in PROTOCOLS {
        let mut config = gate::config(upstream.address);
        config.endpoints[0].connect.protocol = protocol;
        let gate = TestGate::start(config);
        let mut caller = Raw::connect(gate.address("public")).await;
        let fields = "Connection: keep-alive, X-Mine\r\nCONNECTION: x-other , Authorization, host, x-request-id\r\nx-mine: 1\r\n\
                      X-OTHER: 2\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\
                      TE: trailers, deflate\r\nTrailer: x-a\r\nproxy-authorization: Basic eA==\r\nx-kept: yes\r\n\
                      content-length: 2\r\n";
        caller.send(raw::post_head("/score", fields)).await;
        caller.send("{}").await;
        assert_eq!(caller.response().await.status(), 200);
        let seen = upstream.seen().pop().unwrap();
        for gone in [
            "x-mine",
            "x-other",
            "keep-alive",
            "proxy-connection",
            "upgrade",
            "http2-settings",
            "trailer",
            "proxy-authorization",
            "connection",
        ] {
            assert!(!seen.headers.contains_key(gone), "{gone} over {protocol:?}");
        }
        assert_eq!(seen.header("te"), Some("trailers"));
        assert_eq!(seen.header("x-kept"), Some("yes"));
        assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {PRIMARY}")));
        assert!(seen.headers.contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn exactly_one_credential_leaves_whatever_came_in() {
    let upstream = Upstream::echo().await;
    for (header, prefix) in [("authorization", "Bearer "), ("api-key", ""), ("x-functions-key", "")] {
        let mut config = gate::config(upstream.address);
        config.endpoints[0].attach_header = header.into();
        config.endpoints[0].attach_prefix = prefix.into();
        let gate = TestGate::start(config);
        for mut caller in Client::both(gate.address("public")).await {
            let asked = with(get("/score"), if header == "authorization" { "x-plain" } else { header }, "mine");
            // Two places for one credential would be refused.
            let asked = if header == "api-key" { get("/score") } else { asked };
            assert_eq!(caller.send(asked).await.status(), 200);
            let seen = upstream.seen().pop().unwrap();
            let all: Vec<_> = ["authorization", "x-api-key", "api-key", "x-functions-key", "proxy-authorization"]
                .iter()
                .flat_map(|name| seen.headers.get_all(*name).iter().map(move |value| (*name, value.clone())))
                .collect();
            assert_eq!(all, [(header, format!("{prefix}{PRIMARY}").parse().unwrap())]);
            let dump = format!("{:?}", seen.headers);
            assert!(!dump.contains(CALLER_KEY), "{dump}");
        }
    }
}

#[tokio::test]
async fn names_that_other_servers_read_as_others_are_refused() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    gate::forward_of(&mut config.routes[0]).identity_header = Some("x-auth-subject".into());
    let gate = TestGate::start(config);
    for name in ["x_auth_subject", "x.auth.subject", "X-Auth_Subject", "transfer_encoding", "content_length"] {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(raw::post_head("/score", &format!("{name}: 1\r\ncontent-length: 0\r\n"))).await;
        let answer = caller.response().await;
        assert_eq!((answer.status(), answer.code().as_str()), (400, "bad_request"), "{name}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_identity_header_is_ours_alone() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.routes.push(gate::route("/other", "iris", &["team-a"]));
    gate::forward_of(&mut config.routes[0]).identity_header = Some("x-auth-subject".into());
    let gate = TestGate::start(config);
    for mut caller in Client::both(gate.address("public")).await {
        for (path, expected) in [("/score", Some("team-a")), ("/other", None)] {
            let mut asked = with(with(get(path), "x-auth-subject", "admin"), "x-auth-subject", "root");
            if caller.name() == "h1" {
                asked = with(asked, "connection", "x-auth-subject");
            }
            assert_eq!(caller.send(asked).await.status(), 200);
            let seen = upstream.seen().pop().unwrap();
            assert_eq!(seen.headers.get_all("x-auth-subject").iter().count(), usize::from(expected.is_some()));
            assert_eq!(seen.header("x-auth-subject"), expected, "{path} {}", caller.name());
        }
    }
}

#[tokio::test]
async fn only_a_trusted_proxy_is_believed_about_where_a_request_came_from() {
    let upstream = Upstream::echo().await;
    for trusted in [false, true] {
        let mut config = gate::config(upstream.address);
        if trusted {
            config.listeners[0].trusted_proxies = vec![Network { address: "127.0.0.0".parse().unwrap(), prefix: 8 }];
        }
        let gate = TestGate::start(config);
        for mut caller in Client::both(gate.address("public")).await {
            let version = if caller.name() == "h1" { "1.1" } else { "2.0" };
            let mut asked = get("/score");
            for (name, value) in [
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-for", "7.7.7.7"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil.test"),
                ("forwarded", "for=6.6.6.6"),
                ("via", "1.0 edge"),
            ] {
                asked = with(asked, name, value);
            }
            assert_eq!(caller.send(asked).await.status(), 200);
            let seen = upstream.seen().pop().unwrap();
            let vias: Vec<_> = seen.headers.get_all("via").iter().map(|via| via.to_str().unwrap().to_owned()).collect();
            assert_eq!(vias, ["1.0 edge".to_owned(), format!("{version} scoregate")]);
            let got = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"].map(|n| seen.header(n));
            if trusted {
                let forwarded = "for=6.6.6.6, for=127.0.0.1;proto=http;host=\"gate.test\"";
                assert_eq!(
                    got,
                    [Some("6.6.6.6, 7.7.7.7, 127.0.0.1"), Some("https"), Some("evil.test"), Some(forwarded)]
                );
            } else {
                assert_eq!(got, [Some("127.0.0.1"), Some("http"), Some("gate.test"), None]);
            }
        }
    }
}

#[tokio::test]
async fn ids_are_kept_if_sound_and_come_back() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let long = "x".repeat(101);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for mut caller in Client::both(gate.address("public")).await {
        for (id, kept) in [("abc-123", true), (long.as_str(), false), ("a b", false)] {
            let asked = with(with(get("/score"), "x-request-id", id), "x-ms-client-request-id", id);
            let response = caller.send(with(asked, "traceparent", trace)).await;
            let seen = upstream.seen().pop().unwrap();
            let there = seen.header("x-request-id").unwrap();
            assert_eq!(there == id, kept);
            assert_eq!(response.headers()["x-request-id"], there);
            assert_eq!(seen.header("x-ms-client-request-id") == Some(id), kept);
            assert_eq!(seen.header("traceparent"), Some(trace));
        }
        let mut wrong = with(get("/score"), "x-request-id", "mine");
        wrong.headers_mut().insert("authorization", "Bearer wrong".parse().unwrap());
        let refused = caller.send(wrong).await;
        assert_eq!(refused.headers()["x-request-id"], "mine");
        assert!(String::from_utf8_lossy(refused.body()).contains("\"request_id\":\"mine\""));
        let twice = with(with(get("/score"), "x-ms-client-request-id", "sound"), "x-ms-client-request-id", &long);
        caller.send(with(with(twice, "traceparent", trace), "traceparent", trace)).await;
        let seen = upstream.seen().pop().unwrap();
        assert!(!format!("{:?}", seen.headers).contains(&long));
        assert_eq!(seen.header("traceparent"), None);
    }
}

#[tokio::test]
async fn cookie_crumbs_are_one_field_upstream() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = client::H2::connect(gate.address("public")).await;
    caller.send(with(with(get("/score"), "cookie", "a=1"), "cookie", "b=2")).await;
    let seen = upstream.only();
    assert_eq!(seen.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
}

#[tokio::test]
async fn answers_pass_untouched_but_for_this_hop() {
    let upstream = Upstream::scripted(|_| {
        Response::builder()
            .status(500)
            .header("connection", "x-private")
            .header("x-private", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-authenticate", "Basic")
            .header("x-ms-run-function-failed", "True")
            .header("ms-azureml-model-error-reason", "model_error")
            .header("x-request-id", "theirs")
            .header("server", "gunicorn")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .body("boom".into())
            .unwrap()
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    for mut caller in Client::both(gate.address("public")).await {
        let response = caller.send(post("/score", "{}")).await;
        let headers = response.headers();
        assert_eq!((response.status().as_u16(), &response.body()[..]), (500, &b"boom"[..]));
        for gone in ["x-private", "keep-alive", "proxy-authenticate", "connection"] {
            assert!(!headers.contains_key(gone), "{gone} over {}", caller.name());
        }
        for (kept, value) in [
            ("x-ms-run-function-failed", "True"),
            ("ms-azureml-model-error-reason", "model_error"),
            ("x-request-id", "theirs"),
            ("server", "gunicorn"),
        ] {
            assert_eq!(headers[kept], value);
        }
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
    }
}

#[tokio::test]
async fn framing_is_made_anew_in_both_directions() {
    let upstream = Hostile::start(|mut turn| async move {
        while turn.request().await.is_some() {
            turn.raw
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2;x=y\r\nok\r\n0\r\nx-late: 1\r\n\r\n")
                .await;
        }
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(raw::post_head("/score", "Transfer-Encoding: Chunked\r\n")).await;
    caller.send("3;ext=1\r\nabc\r\n0\r\n\r\n").await;
    let answer = caller.response().await;
    assert_eq!((answer.field("transfer-encoding"), answer.text()), (Some("chunked"), "ok"));
    let seen = upstream.whole.lock().unwrap().pop().unwrap();
    assert_eq!((seen.field("transfer-encoding"), seen.text()), (Some("chunked"), "abc"));
    for refused in
        ["chunked, chunked", "gzip, chunked", ", chunked", "identity", "chunked\r\ntransfer-encoding: chunked"]
    {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(raw::post_head("/score", &format!("transfer-encoding: {refused}\r\n"))).await;
        caller.send("3\r\nabc\r\n0\r\n\r\n").await;
        assert_eq!(caller.response().await.status(), 400, "{refused:?}");
    }
    assert_eq!(upstream.requests(), 0);
}
