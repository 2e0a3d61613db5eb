//! Answers of upstreams that do not keep to HTTP: 502 where nothing was sent to the caller, else cut off, never complete.

use crate::support::{
    client::{self, Client, H2, get, post},
    eventually,
    fault::Hostile,
    gate::{self, TestGate},
    raw::{self, Raw},
};

const PROTOCOL_ERROR: (u16, &str) = (502, "upstream_protocol_error");

#[tokio::test]
async fn a_head_that_is_not_http_is_a_502() {
    for answer in [
        "garbage\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: foo, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nbytes",
        "HTTP/1.1 200 OK\r\nx-a: b\0c\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx a: b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
        "",
    ] {
        let upstream = Hostile::answering_once(answer).await;
        let gate = TestGate::start(gate::config(upstream.address));
        for mut caller in Client::both(gate.address("public")).await {
            let response = caller.send(post("/score", "{}")).await;
            let verdict = client::verdict(&response);
            assert_eq!((verdict.0, verdict.1.as_str()), PROTOCOL_ERROR, "{answer:?} over {}", caller.name());
        }
        assert_eq!(upstream.requests(), 2, "a request whose answer was lost is not sent again: {answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_never_looks_complete() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
    ] {
        let upstream = Hostile::answering_once(answer).await;
        let gate = TestGate::start(gate::config(upstream.address));
        for mut caller in Client::both(gate.address("public")).await {
            // Where the break came with the head, the head may be lost with the rest.
            let Ok(response) = caller.open(post("/score", "{}")).await else { continue };
            if response.status() == 200 {
                assert!(client::collect(response).await.is_err(), "{answer:?} over {}", caller.name());
            } else {
                assert_eq!(response.status(), 502, "{answer:?}");
            }
        }
        // HTTP/1.0 has nothing but the close to tell the end of a body without a length.
        let mut old = Raw::connect(gate.address("public")).await;
        old.send(raw::get("/score").replace("HTTP/1.1", "HTTP/1.0")).await;
        if let Some(head) = old.head().await
            && head.contains("200 OK")
            && !head.contains("content-length")
        {
            assert!(old.ends_by_reset().await, "{answer:?}");
        }
        eventually("counted", || gate.metric("responses_cut_off_total{endpoint=\"iris\"}") > 0.0).await;
    }
}

#[tokio::test]
async fn more_bytes_than_announced_do_not_reach_the_next_caller() {
    let upstream = Hostile::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
    )
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    for _ in 0..50 {
        let response = client::once(gate.address("public"), get("/score")).await;
        assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"abc"[..]));
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_whole() {
    let upstream = Hostile::answering_once("HTTP/1.1 200 OK\r\n\r\nto the end").await;
    let gate = TestGate::start(gate::config(upstream.address));
    for mut caller in Client::both(gate.address("public")).await {
        assert_eq!(caller.send(post("/score", "{}")).await.body(), "to the end");
    }
}

#[tokio::test]
async fn one_byte_at_a_time_is_an_answer_too() {
    let upstream = Hostile::start(|mut turn| async move {
        while turn.request().await.is_some() {
            for byte in b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" {
                turn.raw.send([*byte]).await;
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    for mut caller in Client::both(gate.address("public")).await {
        for _ in 0..5 {
            assert_eq!(caller.send(post("/score", "{}")).await.body(), "abcde");
        }
    }
}

#[tokio::test]
async fn informational_answers_that_nobody_asked_for_do_not_pass() {
    let upstream = Hostile::answering(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    for mut caller in Client::both(gate.address("public")).await {
        for _ in 0..3 {
            assert_eq!(caller.send(post("/score", "{}")).await.body(), "ok");
        }
    }
}

#[tokio::test]
async fn a_reset_before_the_answer_is_a_502_and_after_the_head_cuts_off() {
    let upstream = Hostile::start(|mut turn| async move {
        let request = turn.request().await.unwrap();
        if request.head.starts_with("POST /later") {
            turn.raw.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
        }
        turn.raw.reset();
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    for mut caller in Client::both(gate.address("public")).await {
        let verdict = client::verdict(&caller.send(post("/now", "{}")).await);
        assert_eq!((verdict.0, verdict.1.as_str()), PROTOCOL_ERROR);
        match caller.open(post("/later", "{}")).await {
            Ok(response) if response.status() == 200 => assert!(client::collect(response).await.is_err()),
            Ok(response) => assert_eq!(response.status(), 502, "the reset came before the head was read"),
            // A stream that is reset at once takes its head with it.
            Err(_reset) => assert_eq!(caller.name(), "h2"),
        }
    }
}

#[tokio::test]
async fn what_an_upstream_says_before_its_answer_reaches_who_can_hear_it() {
    let upstream = Hostile::answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n\
         HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = Raw::connect(gate.address("public")).await;
    for _ in 0..2 {
        caller.send(raw::get("/score")).await;
        assert_eq!(caller.head().await.unwrap(), "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        assert_eq!(caller.head().await.unwrap(), "HTTP/1.1 102 Processing\r\n\r\n");
        assert_eq!(caller.response().await.text(), "ok");
    }
    let mut old = Raw::connect(gate.address("public")).await;
    old.send(raw::get("/score").replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!(old.response().await.text(), "ok");
    assert_eq!(H2::connect(gate.address("public")).await.send(get("/score")).await.body(), "ok");
}
