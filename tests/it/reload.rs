//! A reload changes the next request of a live connection, and nothing else.

use std::time::Duration;

use scoregate::{
    clock::Clock,
    config::model::{CallerKey, CallerKind, ListenAddress, Slot, UpstreamProtocol},
    digest::sha256,
};
use tokio::sync::Semaphore;

use crate::support::{
    client::{self, Client, get, post, with},
    eventually,
    gate::{self, CALLER_KEY, PRIMARY, SECONDARY, TestGate},
    in_time,
    upstream::{Seen, Upstream},
};

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn key_of(seen: &Seen) -> String {
    seen.header("authorization").unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_next_request_of_a_live_connection_sees_the_change_and_no_connection_is_made_for_it() {
    let upstream = Upstream::echo().await;
    for protocol in [UpstreamProtocol::H1, UpstreamProtocol::H2c] {
        let mut config = gate::config(upstream.address);
        config.endpoints[0].connect.protocol = protocol;
        let gate = TestGate::start(config);
        let mut callers = Client::both(gate.address("public")).await;
        for caller in &mut callers {
            assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
            assert_eq!(key_of(&upstream.seen().pop().unwrap()), bearer(PRIMARY));
        }
        let connections = upstream.connections();
        for round in 0..10 {
            let (slot, key) = if round % 2 == 0 { (Slot::Secondary, SECONDARY) } else { (Slot::Primary, PRIMARY) };
            let report = gate
                .reload(true, |config| {
                    config.endpoints[0].credential = gate::keys(Some(PRIMARY), Some(SECONDARY), slot)
                })
                .await
                .unwrap();
            assert!(report.drained && !report.changed.is_empty(), "{report:?}");
            for caller in &mut callers {
                assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
                assert_eq!(key_of(&upstream.seen().pop().unwrap()), bearer(key), "{round} over {}", caller.name());
            }
        }
        gate.reload(false, |config| {
            config.callers[0].kind = CallerKind::Keys(vec![CallerKey::new(sha256(b"the-next-key"))]);
            config.routes.push(gate::route("/new", "iris", &["anyone"]));
            gate::forward_of(&mut config.routes[0]).body = Some(10);
        })
        .await
        .unwrap();
        for caller in &mut callers {
            assert_eq!(caller.send(post("/score", "{}")).await.status(), 401);
            assert_eq!(caller.send(post("/new", "{}")).await.status(), 200);
            let mut next = post("/score", "{}");
            next.headers_mut().insert("authorization", "Bearer the-next-key".parse().unwrap());
            assert_eq!(caller.send(next).await.status(), 200);
            let mut large = post("/score", "12345678901");
            large.headers_mut().insert("authorization", "Bearer the-next-key".parse().unwrap());
            assert_eq!(caller.send(large).await.status(), 413);
        }
        assert_eq!(upstream.connections(), connections, "{protocol:?}");
        eventually("old snapshots are gone", || gate.metric("snapshots_live") == 1.0).await;
        assert_eq!(gate.metric("config_generation"), 12.0);
    }
}

#[tokio::test]
async fn a_configuration_that_is_refused_changes_nothing() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut caller = client::H1::connect(gate.address("public")).await;
    assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
    // An address that no interface has (RFC 5737), and an attach header that is no name.
    for change in [
        (|config| config.listeners[0].address = ListenAddress::Tcp("192.0.2.1:1".parse().unwrap()))
            as fn(&mut scoregate::config::model::Config),
        |config| config.endpoints[0].attach_header = "not a name".into(),
    ] {
        let mut kept = None;
        let refused = gate
            .reload(false, |config| {
                kept = Some(config.clone());
                config.routes.clear();
                change(config);
            })
            .await;
        assert!(refused.is_err());
        gate.reload(false, |config| *config = kept.clone().unwrap()).await.unwrap();
        assert_eq!(caller.send(post("/score", "{}")).await.status(), 200);
    }
    assert_eq!(gate.metric("config_reload_total{result=\"refused\"}"), 2.0);
    assert_eq!(gate.metric("config_reload_total{result=\"ok\"}"), 2.0);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn drained_waits_for_the_response_head_of_whoever_holds_the_old_value() {
    let heads = std::sync::Arc::new(Semaphore::new(0));
    let theirs = std::sync::Arc::clone(&heads);
    let upstream = Upstream::streaming(move |request, notes| {
        let heads = std::sync::Arc::clone(&theirs);
        async move {
            notes.read(request).await;
            heads.acquire().await.unwrap().forget();
            // The body goes on; only the head is waited for.
            let (feed, body) = client::streamed();
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(feed);
            });
            http::Response::new(body)
        }
    })
    .await;
    for kind in Client::KINDS {
        let gate = TestGate::start(gate::config(upstream.address));
        let before = upstream.seen().len();
        let mut caller = Client::connect(kind, gate.address("public")).await;
        let asked = tokio::spawn(async move { caller.open(post("/score", "{}")).await.map(|answer| (answer, caller)) });
        eventually("with the upstream", || upstream.seen().len() == before + 1).await;
        gate.change(|config| {
            config.endpoints[0].credential = gate::keys(Some(PRIMARY), Some(SECONDARY), Slot::Secondary);
        });
        let inner = std::sync::Arc::clone(&gate.gate);
        let reloading = tokio::spawn(async move { inner.reload(true).await });
        eventually("published", || gate.metric("config_generation") == 2.0).await;
        // A second reload, not drained, does not wait for the first.
        gate.reload(false, |_| ()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!reloading.is_finished(), "{kind}");
        heads.add_permits(1);
        assert!(in_time("drained", reloading).await.unwrap().unwrap().drained);
        let _streaming = in_time("the head", asked).await.unwrap().unwrap();
        gate.reload(true, |_| ()).await.unwrap();
        eventually("no old snapshot", || gate.metric("snapshots_live") == 1.0).await;
    }
}

#[tokio::test]
async fn a_request_that_waits_gets_the_value_of_the_time_it_is_sent() {
    let go = std::sync::Arc::new(Semaphore::new(0));
    let theirs = std::sync::Arc::clone(&go);
    let upstream = Upstream::streaming(move |request, notes| {
        let go = std::sync::Arc::clone(&theirs);
        async move {
            notes.read(request).await;
            go.acquire().await.unwrap().forget();
            http::Response::new(client::full("ok"))
        }
    })
    .await;
    let mut config = gate::config(upstream.address);
    config.workers = Some(1);
    config.endpoints[0].concurrency = 1;
    let gate = TestGate::start(config);
    let address = gate.address("public");
    let ask = move || tokio::spawn(async move { client::once(address, post("/score", "{}")).await });
    let first = ask();
    eventually("with the upstream", || upstream.seen().len() == 1).await;
    let second = ask();
    eventually("two connections", || gate.metric("connections{listener=\"public\",state=\"active\"}") == 2.0).await;
    gate.reload(false, |config| {
        config.endpoints[0].credential = gate::keys(Some("rotated"), Some(SECONDARY), Slot::Primary);
    })
    .await
    .unwrap();
    go.add_permits(2);
    assert_eq!(
        (first.await.unwrap().status(), second.await.unwrap().status()),
        (http::StatusCode::OK, http::StatusCode::OK)
    );
    let keys: Vec<_> = upstream.seen().iter().map(key_of).collect();
    assert_eq!(keys, [bearer(PRIMARY), bearer("rotated")]);
    eventually("no old snapshot", || gate.metric("snapshots_live") == 1.0).await;
}

#[tokio::test]
async fn reloads_at_once_queue() {
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let reloads: Vec<_> = (0..10)
        .map(|number| {
            gate.change(|config| config.limits.fields += 1);
            let inner = std::sync::Arc::clone(&gate.gate);
            tokio::spawn(async move { inner.reload(number % 2 == 0).await.unwrap().generation })
        })
        .collect();
    let mut generations = Vec::new();
    for reload in reloads {
        generations.push(in_time("a reload", reload).await.unwrap());
    }
    generations.sort_unstable();
    assert_eq!(generations, (2..12).collect::<Vec<_>>());
    eventually("one snapshot", || gate.metric("snapshots_live") == 1.0).await;
}

/// The headline: rotation by hand under load, with an upstream that drops the old value at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_under_load_and_nobody_notices() {
    let accepted = std::sync::Arc::new(std::sync::Mutex::new(vec![bearer("p0"), bearer("s")]));
    let theirs = std::sync::Arc::clone(&accepted);
    let upstream = Upstream::scripted(move |seen| {
        let known = theirs.lock().unwrap().contains(&key_of(seen));
        http::Response::builder().status(if known { 200 } else { 401 }).body(seen.body.clone()).unwrap()
    })
    .await;
    for protocol in [UpstreamProtocol::H1, UpstreamProtocol::H2c] {
        *accepted.lock().unwrap() = vec![bearer("p0"), bearer("s")];
        let mut config = gate::config(upstream.address);
        config.endpoints[0].connect.protocol = protocol;
        config.endpoints[0].credential = gate::keys(Some("p0"), Some("s"), Slot::Primary);
        let gate = TestGate::start_with(config, Clock::system());
        let address = gate.address("public");
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let load: Vec<_> = (0..8)
            .map(|number| {
                let stop = std::sync::Arc::clone(&stop);
                tokio::spawn(async move {
                    let mut caller = Client::connect(Client::KINDS[number % 2], address).await;
                    let mut served = 0;
                    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                        let response = caller.send(post("/score", "{}")).await;
                        assert_eq!(response.status(), 200, "after {served}");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for round in 1..=15 {
            let (old, new) = (format!("p{}", round - 1), format!("p{round}"));
            gate.reload(true, |config| {
                config.endpoints[0].credential = gate::keys(Some(&old), Some("s"), Slot::Secondary)
            })
            .await
            .unwrap();
            *accepted.lock().unwrap() = vec![bearer(&new), bearer("s")];
            gate.reload(false, |config| {
                config.endpoints[0].credential = gate::keys(Some(&new), Some("s"), Slot::Primary)
            })
            .await
            .unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        for one in load {
            assert!(in_time("a caller", one).await.unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn a_removed_endpoint_finishes_what_it_has() {
    let go = std::sync::Arc::new(Semaphore::new(0));
    let theirs = std::sync::Arc::clone(&go);
    let upstream = Upstream::streaming(move |request, notes| {
        let go = std::sync::Arc::clone(&theirs);
        async move {
            notes.read(request).await;
            go.acquire().await.unwrap().forget();
            http::Response::new(client::full("ok"))
        }
    })
    .await;
    let other = Upstream::echo().await;
    let clock = Clock::manual(1_800_000_000);
    let gate = TestGate::start_with(gate::config(upstream.address), clock.clone());
    let address = gate.address("public");
    let asked = tokio::spawn(async move { client::once(address, post("/score", "{}")).await });
    eventually("with the upstream", || upstream.seen().len() == 1).await;
    gate.reload(false, |config| {
        config.endpoints = vec![gate::endpoint("other", other.address)];
        config.routes = vec![gate::route("/", "other", &["team-a"])];
    })
    .await
    .unwrap();
    assert_eq!(client::once(address, with(get("/score"), "x-a", CALLER_KEY)).await.status(), 200);
    assert_eq!(other.seen().len(), 1);
    go.add_permits(1);
    assert_eq!(in_time("the answer", asked).await.unwrap().body(), "ok");
    clock.advance(Duration::from_secs(31));
    eventually("its connection is closed", || upstream.open() == 0).await;
    eventually("one snapshot", || gate.metric("snapshots_live") == 1.0).await;
}
