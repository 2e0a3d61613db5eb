//! Bodies under way: frame by frame in both directions, with back-pressure, trailers, and cancelling.

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use scoregate::config::model::UpstreamProtocol;

use crate::support::{
    client::{self, Client, full, get, next_data, request, streamed, with},
    eventually,
    gate::{self, TestGate},
    in_time,
    raw::{self, Raw},
    upstream::Upstream,
};

const PROTOCOLS: [UpstreamProtocol; 2] = [UpstreamProtocol::H1, UpstreamProtocol::H2c];

fn over(upstream: &Upstream, protocol: UpstreamProtocol) -> TestGate {
    let mut config = gate::config(upstream.address);
    config.endpoints[0].connect.protocol = protocol;
    TestGate::start(config)
}

/// Sends back each frame as it comes.
async fn mirror() -> Upstream {
    Upstream::streaming(|request, _| async move {
        let (feed, body) = streamed();
        let mut incoming = request.into_body();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = incoming.frame().await {
                if let Ok(data) = frame.into_data() {
                    feed.data(data).await;
                }
            }
        });
        Response::new(body)
    })
    .await
}

#[tokio::test]
async fn both_bodies_stream_at_once_over_every_pair() {
    let upstream = mirror().await;
    for protocol in PROTOCOLS {
        let gate = over(&upstream, protocol);
        for mut caller in Client::both(gate.address("public")).await {
            for _ in 0..3 {
                let (feed, body) = streamed();
                feed.data("first").await;
                let mut back = caller.open(request(Method::POST, "/score", body)).await.unwrap().into_body();
                assert_eq!(next_data(&mut back).await.unwrap().unwrap(), "first");
                for round in 0..20 {
                    let text = format!("{} {protocol:?} {round}", caller.name());
                    feed.data(text.clone()).await;
                    assert_eq!(next_data(&mut back).await.unwrap().unwrap(), text);
                }
                drop(feed);
                assert!(next_data(&mut back).await.is_none_or(|last| last.unwrap().is_empty()));
            }
        }
    }
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions() {
    let upstream = Upstream::echo().await;
    let body: Bytes = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    for protocol in PROTOCOLS {
        let gate = over(&upstream, protocol);
        for mut caller in Client::both(gate.address("public")).await {
            let response = caller.send(request(Method::POST, "/score", full(body.clone()))).await;
            assert!(response.body() == &body, "{} {protocol:?}: {}", caller.name(), response.body().len());
        }
    }
}

#[tokio::test]
async fn many_large_bodies_share_a_connection() {
    let upstream = Upstream::echo().await;
    for protocol in PROTOCOLS {
        let gate = over(&upstream, protocol);
        let caller = client::H2::connect(gate.address("public")).await;
        let asked: Vec<_> = (0..20_u8)
            .map(|number| {
                let mut caller = caller.clone();
                tokio::spawn(async move {
                    let body = vec![number; 600_000 + usize::from(number)];
                    let response = caller.send(request(Method::POST, "/score", full(body.clone()))).await;
                    assert!(response.body() == &body, "{number}");
                })
            })
            .collect();
        for one in asked {
            in_time("an answer", one).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_the_caller_back() {
    let upstream = Upstream::streaming(|request, _| async move {
        let _unread = request;
        std::future::pending().await
    })
    .await;
    for protocol in PROTOCOLS {
        let gate = over(&upstream, protocol);
        for mut caller in Client::both(gate.address("public")).await {
            let (feed, body) = streamed();
            let sending = tokio::spawn(async move { caller.try_send(request(Method::POST, "/score", body)).await });
            let mut sent = 0;
            while feed.soon(vec![b'x'; 64 << 10]).await {
                sent += 64;
                assert!(sent < 32 << 10, "{sent} KiB went nowhere over {protocol:?}");
            }
            sending.abort();
        }
    }
}

#[tokio::test]
async fn a_caller_that_does_not_read_holds_the_upstream_back() {
    let sent = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counter = std::sync::Arc::clone(&sent);
    let upstream = Upstream::streaming(move |_, _| {
        let counter = std::sync::Arc::clone(&counter);
        async move {
            let (feed, body) = streamed();
            tokio::spawn(async move {
                while feed.soon(vec![b'x'; 64 << 10]).await {
                    counter.fetch_add(64, std::sync::atomic::Ordering::SeqCst);
                }
            });
            Response::new(body)
        }
    })
    .await;
    for protocol in PROTOCOLS {
        let gate = over(&upstream, protocol);
        for mut caller in Client::both(gate.address("public")).await {
            sent.store(0, std::sync::atomic::Ordering::SeqCst);
            let response = caller.open(get("/score")).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            let sent = sent.load(std::sync::atomic::Ordering::SeqCst);
            assert!(sent < 32 << 10, "{sent} KiB over {} and {protocol:?}", caller.name());
            drop(response);
        }
    }
}

#[tokio::test]
async fn trailers_of_answers_pass() {
    let upstream = Upstream::streaming(|request, notes| async move {
        notes.read(request).await;
        let (feed, body) = streamed();
        tokio::spawn(async move {
            feed.data("data").await;
            feed.trailers([("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect()).await;
        });
        Response::builder().header("trailer", "grpc-status").body(body).unwrap()
    })
    .await;
    for protocol in PROTOCOLS {
        let gate = over(&upstream, protocol);
        for mut caller in Client::both(gate.address("public")).await {
            let asked = with(get("/score"), "te", "trailers");
            let response = caller.open(asked).await.unwrap();
            let body = in_time("the body", response.into_body().collect()).await.unwrap();
            let name = caller.name();
            assert_eq!(body.trailers().and_then(|t| t.get("grpc-status")).unwrap(), "0", "{name} {protocol:?}");
            assert_eq!(body.to_bytes(), "data");
        }
    }
}

#[tokio::test]
async fn trailers_of_requests_are_dropped_unless_the_route_allows_them() {
    let upstream = Upstream::echo().await;
    for allowed in [false, true] {
        for protocol in PROTOCOLS {
            let mut config = gate::config(upstream.address);
            config.endpoints[0].connect.protocol = protocol;
            if allowed {
                gate::forward_of(&mut config.routes[0]).trailers = vec!["x-checksum".into()];
            }
            let gate = TestGate::start(config);
            for mut caller in Client::both(gate.address("public")).await {
                let (feed, body) = streamed();
                feed.data("data").await;
                let mut trailers = HeaderMap::new();
                trailers.insert("x-checksum", "abc".parse().unwrap());
                trailers.insert("x-other", "abc".parse().unwrap());
                trailers.insert("authorization", "Bearer stolen".parse().unwrap());
                let sending = tokio::spawn(feed.trailers(trailers));
                let asked =
                    with(request(Method::POST, "/score", body), "trailer", "x-checksum, x-other, authorization");
                assert_eq!(caller.send(asked).await.body(), "data");
                sending.await.unwrap();
                let seen = upstream.seen().pop().unwrap();
                assert!(!seen.headers.contains_key("x-checksum") && !seen.headers.contains_key("x-other"));
                let got: Vec<_> = seen.trailers.iter().flatten().map(|(name, _)| name.as_str().to_owned()).collect();
                let pair = (caller.name(), protocol, seen.version);
                assert_eq!(got, if allowed { vec!["x-checksum"] } else { vec![] }, "{pair:?}");
            }
        }
    }
}

#[tokio::test]
async fn answers_without_a_body_keep_what_they_say_of_one() {
    let upstream = Upstream::scripted(|seen| {
        let answer = Response::builder();
        match seen.uri.path() {
            "/204" => answer.status(204).body(Bytes::new()),
            "/304" => answer.status(304).header("etag", "\"a\"").body(Bytes::new()),
            _ => answer.header("content-length", "5").body("hello".into()),
        }
        .unwrap()
    })
    .await;
    for protocol in PROTOCOLS {
        let gate = over(&upstream, protocol);
        for mut caller in Client::both(gate.address("public")).await {
            for _ in 0..3 {
                let head = caller.send(request(Method::HEAD, "/score", full(""))).await;
                assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
                let length = head.headers().get("content-length");
                assert_eq!(length.unwrap(), "5", "{} {protocol:?}", caller.name());
                assert_eq!(caller.send(get("/204")).await.status(), 204);
                let unchanged = caller.send(get("/304")).await;
                assert_eq!(
                    (unchanged.status().as_u16(), &unchanged.headers()["etag"]),
                    (304, &"\"a\"".parse().unwrap())
                );
                assert_eq!(caller.send(get("/score")).await.body(), "hello");
            }
        }
    }
}

#[tokio::test]
async fn a_caller_of_http_1_0_is_served_and_closed() {
    let upstream = mirror().await;
    for protocol in PROTOCOLS {
        let gate = over(&upstream, protocol);
        let mut old = Raw::connect(gate.address("public")).await;
        let head = raw::post_head("/score", "content-length: 4\r\n").replace("HTTP/1.1", "HTTP/1.0");
        old.send(format!("{head}data")).await;
        let answer = old.response().await;
        assert!(answer.field("transfer-encoding").is_none(), "{}", answer.head);
        assert_eq!((answer.status(), answer.text()), (200, "data"));
        assert!(old.is_closed().await);
    }
}

#[tokio::test]
async fn an_http_1_0_body_with_a_coding_is_refused() {
    let upstream = Upstream::echo().await;
    let gate = over(&upstream, UpstreamProtocol::H1);
    let mut old = Raw::connect(gate.address("public")).await;
    let head = raw::post_head("/score", "transfer-encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0");
    old.send(format!("{head}4\r\ndata\r\n0\r\n\r\n")).await;
    assert_eq!(old.response().await.status(), 400);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_caller_that_cancels_ends_the_request_upstream_and_frees_its_place() {
    let open = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counter = std::sync::Arc::clone(&open);
    struct Counted(std::sync::Arc<std::sync::atomic::AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let upstream = Upstream::streaming(move |request, notes| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let counted = Counted(std::sync::Arc::clone(&counter));
        async move {
            let answers = request.uri().path() == "/answers";
            notes.read(request).await;
            if answers {
                let (feed, body) = streamed();
                feed.data("some").await;
                tokio::spawn(async move {
                    let _counted = counted;
                    while !feed.is_unwanted() {
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                });
                return Response::new(body);
            }
            let _counted = counted;
            std::future::pending().await
        }
    })
    .await;
    let now = || open.load(std::sync::atomic::Ordering::SeqCst);
    for protocol in PROTOCOLS {
        let gate = over(&upstream, protocol);
        let shared = client::H2::connect(gate.address("public")).await;
        for round in 0..10 {
            for path in ["/score", "/answers"] {
                for kind in Client::KINDS {
                    let mut caller = match kind {
                        "h2" => Client::H2(shared.clone()),
                        _ => Client::connect(kind, gate.address("public")).await,
                    };
                    let asked = tokio::spawn(async move {
                        let answer = caller.open(get(path)).await;
                        std::future::pending::<()>().await;
                        drop((answer, caller));
                    });
                    eventually("with the upstream", || now() == 1).await;
                    if path == "/answers" && round % 2 == 0 {
                        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                    asked.abort();
                    eventually("the upstream is told", || now() == 0).await;
                }
            }
        }
        eventually("no place is taken", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
        assert!(!shared.is_closed(), "one stream was cancelled, not the connection");
    }
}
