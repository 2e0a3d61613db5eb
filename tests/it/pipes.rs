//! Large bodies of known length, which go from one plain socket to another through a pipe: whole, or cut off, never mixed.

use crate::support::{
    eventually,
    fault::Hostile,
    gate::{self, TestGate},
    raw::{self, Raw},
};

const LENGTH: usize = 4_000_000;

/// Bytes that tell a shifted, lost or foreign piece.
fn body(seed: usize) -> Vec<u8> {
    (0..LENGTH).map(|at| u8::try_from((at * 7 + at / 251 + seed) % 256).unwrap()).collect()
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut_off_and_no_other_gets_any_of_it() {
    let upstream = Hostile::start(move |mut turn| async move {
        while let Some(head) = turn.raw.head().await {
            turn.raw.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n")).await;
            if head.contains("/broken") {
                turn.raw.send(&body(1)[..LENGTH / 2]).await;
                return;
            }
            turn.raw.send(body(2)).await;
        }
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    for _ in 0..3 {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(raw::get("/broken")).await;
        assert!(caller.head().await.unwrap().contains(&format!("content-length: {LENGTH}")));
        let rest = caller.rest().await;
        assert!(rest.len() <= LENGTH / 2 && body(1).starts_with(&rest), "{} bytes", rest.len());
        let mut caller = Raw::connect(gate.address("public")).await;
        for _ in 0..2 {
            caller.send(raw::get("/whole")).await;
            caller.head().await.unwrap();
            assert!(caller.exactly(LENGTH).await.unwrap() == body(2));
        }
    }
}

#[tokio::test]
async fn callers_that_leave_with_bytes_under_way_leave_nothing_behind() {
    let upstream = Hostile::start(move |mut turn| async move {
        while turn.raw.head().await.is_some() {
            turn.raw.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n")).await;
            if turn.raw.try_send(body(3)).await.is_err() {
                return;
            }
        }
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    for _ in 0..3 {
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(raw::get("/left")).await;
        caller.head().await.unwrap();
        caller.exactly(LENGTH / 8).await.unwrap();
        caller.reset();
    }
    eventually("all is let go of", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
    let mut caller = Raw::connect(gate.address("public")).await;
    caller.send(raw::get("/read")).await;
    caller.head().await.unwrap();
    assert!(caller.exactly(LENGTH).await.unwrap() == body(3));
}

#[tokio::test]
async fn an_upload_arrives_whole_or_is_seen_cut_off() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Hostile::start(move |mut turn| {
        let tell = tell.clone();
        async move {
            while turn.raw.head().await.is_some() {
                let whole = turn.raw.exactly(LENGTH).await;
                let is_whole = whole.is_some();
                let _ = tell.send(whole);
                if !is_whole {
                    return;
                }
                turn.raw.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let gate = TestGate::start(gate::config(upstream.address));
    let head = raw::post_head("/score", &format!("content-length: {LENGTH}\r\n"));
    for _ in 0..3 {
        let mut caller = Raw::connect(gate.address("public")).await;
        for seed in [4, 5] {
            caller.send(&head).await;
            caller.send(body(seed)).await;
            assert!(told.recv().await.unwrap().unwrap() == body(seed));
            assert_eq!(caller.response().await.status(), 200);
        }
        let mut caller = Raw::connect(gate.address("public")).await;
        caller.send(&head).await;
        caller.send(&body(6)[..LENGTH / 2]).await;
        caller.reset();
        assert!(told.recv().await.unwrap().is_none(), "half a request was taken for a whole one");
    }
}
