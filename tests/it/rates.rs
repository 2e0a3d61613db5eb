//! Limits of callers and routes: rates, requests in flight, requests of a day.

use std::{sync::Arc, time::Duration};

use scoregate::{
    clock::Clock,
    config::model::{CallLimits, Caller, CallerKey, CallerKind, Config},
    digest::sha256,
    proxy::limit::Rate,
};
use tokio::sync::Semaphore;

use crate::support::{
    client::{self, Client, full, get, with},
    eventually,
    gate::{self, TestGate},
    in_time,
    upstream::Upstream,
};

/// Noon of a day.
const ORIGIN: u64 = 20_000 * 86_400 + 43_200;

fn team(name: &str, limits: Option<CallLimits>) -> Caller {
    let key = CallerKey::new(sha256(name.as_bytes()));
    Caller { name: name.into(), kind: CallerKind::Keys(vec![key]), limits, evict_after: None }
}

fn rate(count: u64, seconds: u64, burst: u64) -> CallLimits {
    CallLimits { rate: Some(Rate { count, seconds, burst }), ..CallLimits::default() }
}

fn config(upstream: &Upstream, callers: Vec<Caller>) -> Config {
    let mut config = gate::config(upstream.address);
    let names: Vec<&str> = callers.iter().map(|caller| caller.name.as_str()).collect();
    config.routes[0] = gate::route("/", "iris", &names);
    config.callers = callers;
    config.timeouts.idle = Duration::from_secs(1_000_000);
    config.workers = Some(4);
    config
}

fn as_(name: &str) -> http::Request<client::AnyBody> {
    let mut request = get("/score");
    request.headers_mut().remove("authorization");
    with(request, "authorization", &format!("Bearer {name}"))
}

async fn passed(caller: &mut Client, name: &str, asked: usize) -> usize {
    let mut passed = 0;
    for _ in 0..asked {
        passed += usize::from(caller.send(as_(name)).await.status() == 200);
    }
    passed
}

#[tokio::test]
async fn a_caller_has_its_burst_and_its_rate_over_all_workers_and_others_are_not_touched() {
    let upstream = Upstream::echo().await;
    let callers = vec![team("a", Some(rate(10, 1, 20))), team("b", None)];
    let clock = Clock::manual(ORIGIN);
    let gate = TestGate::start_with(config(&upstream, callers), clock.clone());
    let mut callers = Vec::new();
    for _ in 0..4 {
        callers.extend(Client::both(gate.address("public")).await);
    }
    let mut all = 0;
    for caller in &mut callers {
        all += passed(caller, "a", 5).await;
        assert_eq!(passed(caller, "b", 5).await, 5);
    }
    assert_eq!(all, 20, "the burst, whichever worker is asked");
    for second in 1..5 {
        clock.advance(Duration::from_secs(1));
        let mut all = 0;
        for caller in &mut callers {
            all += passed(caller, "a", 5).await;
        }
        assert_eq!(all, 10, "second {second}");
    }
    let refused = callers[0].send(as_("a")).await;
    assert_eq!(client::verdict(&refused), (429, "rate_limited".into()));
    let field = |name| refused.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(field("retry-after").as_deref(), Some("1"));
    assert_eq!(field("ratelimit-policy").as_deref(), Some(r#""rate";q=10;w=1"#));
    assert_eq!(field("ratelimit").as_deref(), Some(r#""rate";r=0;t=1"#));
    assert!(gate.metric("limit_hits_total{limit=\"rate\"}") >= 20.0);
    assert!(gate.metric("caller_rejections_total{reason=\"rate_limited\",route=\"*/\"}") >= 20.0);
}

#[tokio::test]
async fn a_route_has_a_rate_of_which_each_caller_is_sure_of_its_share() {
    let upstream = Upstream::echo().await;
    let mut config = config(&upstream, vec![team("hostile", None), team("b", None)]);
    gate::forward_of(&mut config.routes[0]).limits = Some(rate(20, 1, 20));
    config.routes.push(gate::route("/other", "iris", &["hostile"]));
    let clock = Clock::manual(ORIGIN);
    let gate = TestGate::start_with(config, clock.clone());
    let [mut hostile, mut other] = Client::both(gate.address("public")).await;
    assert_eq!(passed(&mut hostile, "hostile", 40).await, 20);
    for _ in 0..5 {
        clock.advance(Duration::from_secs(1));
        let greedy = passed(&mut hostile, "hostile", 40).await;
        assert_eq!(passed(&mut other, "b", 10).await, 10, "its share, though the hostile one was first");
        assert!((10..=20).contains(&greedy), "{greedy}");
    }
    let mut elsewhere = as_("hostile");
    *elsewhere.uri_mut() = "/other".parse().unwrap();
    assert_eq!(hostile.send(elsewhere).await.status(), 200, "another route");
}

#[tokio::test]
async fn requests_in_flight_are_counted_until_their_end() {
    let go = Arc::new(Semaphore::new(0));
    let theirs = Arc::clone(&go);
    let upstream = Upstream::streaming(move |request, notes| {
        let go = Arc::clone(&theirs);
        async move {
            notes.read(request).await;
            go.acquire().await.unwrap().forget();
            http::Response::new(full("ok"))
        }
    })
    .await;
    let limits = CallLimits { concurrent: Some(2), ..CallLimits::default() };
    let gate = TestGate::start(config(&upstream, vec![team("a", Some(limits))]));
    let address = gate.address("public");
    let waiting = || tokio::spawn(async move { client::once(address, as_("a")).await.status() });
    let (first, second) = (waiting(), waiting());
    eventually("both are in flight", || upstream.seen().len() == 2).await;
    let refused = client::once(address, as_("a")).await;
    assert_eq!(client::verdict(&refused), (429, "rate_limited".into()));
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["ratelimit-policy"], r#""concurrent";q=2;qu="concurrent-requests""#);
    // One that is given up frees its place too.
    first.abort();
    eventually("its place is free", || gate.metric("in_flight{endpoint=\"iris\"}") == 1.0).await;
    let third = waiting();
    eventually("the third is in flight", || upstream.seen().len() == 3).await;
    go.add_permits(10);
    assert_eq!(in_time("second", second).await.unwrap(), 200);
    assert_eq!(in_time("third", third).await.unwrap(), 200);
    eventually("all are over", || gate.metric("in_flight{endpoint=\"iris\"}") == 0.0).await;
    assert_eq!(client::once(address, as_("a")).await.status(), 200);
}

#[tokio::test]
async fn a_quota_is_of_a_day_and_outlives_a_restart_and_a_reload() {
    let upstream = Upstream::echo().await;
    let state = tempfile::tempdir().unwrap();
    let limits = CallLimits { quota: Some(5), ..CallLimits::default() };
    let config = config(&upstream, vec![team("a", Some(limits.clone())), team("b", Some(limits))]);
    let clock = Clock::manual(ORIGIN);
    {
        let gate = TestGate::start_in(config.clone(), clock.clone(), state.path());
        let mut caller = Client::connect("h1", gate.address("public")).await;
        assert_eq!(passed(&mut caller, "a", 3).await, 3);
        let more = CallLimits { quota: Some(4), ..CallLimits::default() };
        gate.reload(false, |config| config.callers[0].limits = Some(more)).await.unwrap();
        assert_eq!(passed(&mut caller, "a", 3).await, 1, "what was used counts under the new limit");
        gate.drain().await;
    }
    let gate = TestGate::start_in(config, clock.clone(), state.path());
    let mut caller = Client::connect("h2", gate.address("public")).await;
    assert_eq!(passed(&mut caller, "a", 3).await, 1);
    assert_eq!(passed(&mut caller, "b", 7).await, 5);
    let refused = caller.send(as_("a")).await;
    assert_eq!(client::verdict(&refused), (429, "quota_exceeded".into()));
    assert_eq!(refused.headers()["retry-after"], "43200");
    assert_eq!(refused.headers()["ratelimit-policy"], r#""quota";q=5;w=86400"#);
    assert_eq!(refused.headers()["ratelimit"], r#""quota";r=0;t=43200"#);
    clock.advance(Duration::from_secs(43_200));
    assert_eq!(passed(&mut caller, "a", 7).await, 5, "the next day");
}

#[tokio::test]
async fn what_a_later_limit_refuses_takes_nothing_of_an_earlier_one() {
    let upstream = Upstream::echo().await;
    let limits = CallLimits { concurrent: Some(10), quota: Some(1), ..rate(5, 1, 5) };
    let mut config = config(&upstream, vec![team("a", Some(limits)), team("b", None)]);
    gate::forward_of(&mut config.routes[0]).limits = Some(CallLimits { quota: Some(6), ..rate(5, 1, 5) });
    let clock = Clock::manual(ORIGIN);
    let gate = TestGate::start_with(config, clock);
    let mut caller = Client::connect("h1", gate.address("public")).await;
    assert_eq!(passed(&mut caller, "a", 50).await, 1, "its quota of the day");
    assert_eq!(
        client::verdict(&caller.send(as_("a")).await).1,
        "quota_exceeded",
        "not rate_limited: nothing was taken"
    );
    assert_eq!(passed(&mut caller, "b", 50).await, 4, "all that the route has left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_real_time_the_rate_holds_whatever_the_number_of_workers() {
    const WINDOW: Duration = Duration::from_secs(3);
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(config(&upstream, vec![team("a", Some(rate(100, 1, 10)))]));
    let clock = Clock::system();
    let began = clock.now();
    let address = gate.address("public");
    let callers = (0..6).map(|number| {
        let clock = clock.clone();
        tokio::spawn(async move {
            let mut caller = Client::connect(Client::KINDS[number % 2], address).await;
            let mut passed = 0_u32;
            while clock.now().since(began) < WINDOW {
                passed += u32::from(caller.send(as_("a")).await.status() == 200);
            }
            passed
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut passed = 0;
    for caller in callers {
        passed += in_time("a caller", caller).await.unwrap();
    }
    let most = 100.0 * clock.now().since(began).as_secs_f64() + 10.0;
    assert!(f64::from(passed) <= most && passed >= 285, "{passed} of {most}");
}
