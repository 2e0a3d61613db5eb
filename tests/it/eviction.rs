//! `revoke: evict`: what a key has let in ends soon after the key is taken back. Of tokens, certificates and a service's keys: in their
//! own files, by [`ends_in_time`].

use std::time::Duration;

use scoregate::{
    clock::Clock,
    config::model::{Caller, CallerKey, CallerKind, Config},
    digest::sha256,
    proxy::headers::websocket::accept,
};

use crate::support::{
    client::{self, AnyBody, Client, get, next_data, post, streamed},
    eventually,
    fault::Hostile,
    gate::{self, CALLER_KEY, TestGate},
    in_time,
    raw::Raw,
    upstream::Upstream,
};

const SECOND: Duration = Duration::from_secs(1);
const KEPT: &str = "a-key-that-stays";
const ORIGIN: u64 = 1_800_000_000;

fn key(text: &str) -> CallerKey {
    CallerKey::new(sha256(text.as_bytes()))
}

/// `team-a` has two keys, and ten seconds once one of them is gone.
fn evicting(upstream: std::net::SocketAddr) -> Config {
    let mut config = gate::config(upstream);
    config.callers[0] = Caller {
        name: "team-a".into(),
        kind: CallerKind::Keys(vec![key(CALLER_KEY), key(KEPT)]),
        limits: None,
        evict_after: Some(10 * SECOND),
    };
    gate::forward_of(&mut config.routes[0]).websocket = true;
    config
}

fn take_back(config: &mut Config) {
    config.callers[0].kind = CallerKind::Keys(vec![key(KEPT)]);
}

/// A piece of a body now, and the rest never; `/held` has no answer at all.
pub async fn endless() -> Upstream {
    Upstream::streaming(|request, notes| async move {
        let held = request.uri().path() == "/held";
        notes.read(request).await;
        if held {
            std::future::pending::<()>().await;
        }
        let (feed, body) = streamed();
        feed.data("some").await;
        tokio::spawn(async move {
            while !feed.is_unwanted() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        http::Response::new(body)
    })
    .await
}

fn kept(mut request: http::Request<AnyBody>) -> http::Request<AnyBody> {
    let value = format!("Bearer {KEPT}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

fn evicted(gate: &TestGate) -> f64 {
    gate.metric("limit_hits_total{limit=\"evict_after\"}")
}

/// A stream of a caller whose `evict_after` is ten seconds and whose proof is gone: it goes on for these, and is then cut off.
pub async fn ends_in_time(gate: &TestGate, mut body: hyper::body::Incoming) {
    let before = evicted(gate);
    // The sweep has seen that it is gone.
    tokio::time::sleep(Duration::from_millis(600)).await;
    gate.clock.advance(9 * SECOND);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(evicted(gate), before, "not before its time");
    gate.clock.advance(SECOND);
    let end = in_time("the end", next_data(&mut body)).await;
    assert!(end.is_none_or(|data| data.is_err()), "cut off, not ended as complete");
    eventually("it is counted", || evicted(gate) == before + 1.0).await;
}

/// A stream that is open and stays so, whatever time passes.
pub async fn goes_on(gate: &TestGate, body: &mut hyper::body::Incoming) {
    let before = evicted(gate);
    tokio::time::sleep(Duration::from_millis(600)).await;
    gate.clock.advance(20 * SECOND);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), next_data(body)).await.is_err());
    assert_eq!(evicted(gate), before);
}

#[tokio::test]
async fn streams_of_a_key_that_is_taken_back_end_and_others_go_on() {
    let upstream = endless().await;
    for kind in Client::KINDS {
        let gate = TestGate::start_with(evicting(upstream.address), Clock::manual(ORIGIN));
        let mut caller = Client::connect(kind, gate.address("public")).await;
        let mut body = caller.open(post("/score", "{}")).await.unwrap().into_body();
        assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "some");
        let mut other = Client::connect(kind, gate.address("public")).await;
        let mut stays = other.open(kept(post("/score", "{}"))).await.unwrap().into_body();
        assert_eq!(next_data(&mut stays).await.unwrap().unwrap(), "some");

        gate.reload(false, take_back).await.unwrap();
        let mut late = Client::connect(kind, gate.address("public")).await;
        assert_eq!(client::verdict(&late.send(get("/score")).await).0, 401, "the next request");
        ends_in_time(&gate, body).await;
        goes_on(&gate, &mut stays).await;
    }
}

#[tokio::test]
async fn a_request_without_an_answer_is_told() {
    let upstream = endless().await;
    for kind in Client::KINDS {
        let gate = TestGate::start_with(evicting(upstream.address), Clock::manual(ORIGIN));
        let mut caller = Client::connect(kind, gate.address("public")).await;
        let before = upstream.seen().len();
        let asked = tokio::spawn(async move { caller.send(post("/held", "{}")).await });
        eventually("with the upstream", || upstream.seen().len() > before).await;
        gate.reload(false, take_back).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        gate.clock.advance(10 * SECOND);
        let answer = in_time("an answer", asked).await.unwrap();
        assert_eq!(client::verdict(&answer), (401, "caller_unknown".to_owned()));
    }
}

#[tokio::test]
async fn a_key_that_is_put_back_in_time_was_never_gone() {
    let upstream = endless().await;
    let gate = TestGate::start_with(evicting(upstream.address), Clock::manual(ORIGIN));
    let mut caller = Client::connect("h1", gate.address("public")).await;
    let mut body = caller.open(post("/score", "{}")).await.unwrap().into_body();
    assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "some");
    gate.reload(false, take_back).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    gate.clock.advance(9 * SECOND);
    gate.reload(false, |config| config.callers[0] = evicting(upstream.address).callers[0].clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    gate.clock.advance(20 * SECOND);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(evicted(&gate), 0.0);
    assert!(tokio::time::timeout(Duration::from_millis(50), next_data(&mut body)).await.is_err());
}

#[tokio::test]
async fn without_evict_what_was_let_in_goes_on() {
    let upstream = endless().await;
    let mut config = evicting(upstream.address);
    config.callers[0].evict_after = None;
    let gate = TestGate::start_with(config, Clock::manual(ORIGIN));
    let mut caller = Client::connect("h2", gate.address("public")).await;
    let mut body = caller.open(post("/score", "{}")).await.unwrap().into_body();
    assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "some");
    gate.reload(false, take_back).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    gate.clock.advance(100 * SECOND);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), next_data(&mut body)).await.is_err());
}

#[tokio::test]
async fn a_websocket_of_a_key_whose_time_passes_ends() {
    let upstream = Hostile::start(|mut turn| async move {
        let Some(request) = turn.request().await else { return };
        let answer = accept(request.field("sec-websocket-key").unwrap().as_bytes());
        turn.raw
            .send(format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {answer}\r\n\r\n"))
            .await;
        turn.raw.rest().await;
    })
    .await;
    let mut config = evicting(upstream.address);
    config.callers[0].kind =
        CallerKind::Keys(vec![CallerKey { expires: Some(ORIGIN + 60), ..key(CALLER_KEY) }, key(KEPT)]);
    let gate = TestGate::start_with(config, Clock::manual(ORIGIN));
    let mut caller = Raw::connect(gate.address("public")).await;
    let handshake = format!(
        "GET /socket HTTP/1.1\r\nhost: gate.test\r\nauthorization: Bearer {CALLER_KEY}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    caller.send(handshake).await;
    assert_eq!(caller.message(true).await.unwrap().status(), 101);
    gate.clock.advance(61 * SECOND);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(evicted(&gate), 0.0);
    gate.clock.advance(10 * SECOND);
    in_time("the end", caller.rest()).await;
    assert_eq!(evicted(&gate), 1.0);
    eventually("over", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
    assert_eq!(upstream.ended(), 1, "on both sides");
}
