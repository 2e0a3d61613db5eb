//! What requests to a service get, what comes after a 401 of its front end, and waiting for a token: seen by caller and service.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use scoregate::{
    azure::service::{Kind, Name},
    clock::{Clock, Moment},
    config::model::{Credential, Replay, Service, Slot, Upkeep, UpstreamProtocol},
    control::{
        admin::Operations,
        attach::{Attach, Value, Values},
    },
    ids::ValueId,
    proxy::credential::Report,
    rotation::offer::{Access, Offer},
    secret::Secret,
};
use tokio::sync::mpsc;

use crate::support::{
    client::{Client, full, get, next_data, once, post, request, streamed, verdict, with},
    eventually,
    fault::Hostile,
    gate::{PRIMARY, SECONDARY, TestGate, config, forward_of, keys},
    in_time,
    upstream::Upstream,
};

/// A service with its front end, and the gate before it, which is told what to attach.
struct Guarded {
    upstream: Upstream,
    /// Keys that the front end accepts.
    accepted: Arc<Mutex<Vec<&'static str>>>,
    gate: TestGate,
    service: Service,
    ids: Mutex<HashMap<&'static str, ValueId>>,
}

const KINDS: [&str; 2] = ["h1", "h2"];

impl Guarded {
    async fn start() -> Self {
        Self::start_with("h1", Clock::system(), |_| {}).await
    }

    async fn start_with(
        upstream_kind: &str,
        clock: Clock,
        change: impl FnOnce(&mut scoregate::config::model::Config),
    ) -> Self {
        let accepted = Arc::new(Mutex::new(vec![PRIMARY, SECONDARY]));
        let known = Arc::clone(&accepted);
        let upstream = Upstream::scripted(move |seen| {
            let presented =
                seen.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("none");
            if known.lock().unwrap().contains(&presented) {
                return Response::builder().header("x-with", presented).body(seen.body.clone()).unwrap();
            }
            let status = Response::builder().status(StatusCode::UNAUTHORIZED);
            match seen.header("x-model-says") {
                Some(sign) => status.header(sign, "1").body(Bytes::from_static(b"the model's own")).unwrap(),
                None => status.header("www-authenticate", "Bearer").body(Bytes::from_static(b"who are you")).unwrap(),
            }
        })
        .await;
        let mut config = config(upstream.address);
        let service = service(Kind::Aks);
        let endpoint = &mut config.endpoints[0];
        endpoint.service = Some(service.clone());
        endpoint.credential = Credential::OfService;
        if upstream_kind == "h2" {
            endpoint.connect.protocol = UpstreamProtocol::H2c;
        }
        change(&mut config);
        let service = config.endpoints[0].service.clone().unwrap_or(service);
        let gate = TestGate::start_with(config, clock);
        Self { upstream, accepted, gate, service, ids: Mutex::default() }
    }

    fn accept(&self, keys: &[&'static str]) {
        *self.accepted.lock().unwrap() = keys.to_vec();
    }

    fn id(&self, value: &'static str) -> ValueId {
        *self.ids.lock().unwrap().entry(value).or_insert_with(ValueId::fresh)
    }

    fn offer(&self, generation: u64, held: &'static str, others: &'static str, further: &[&'static str]) -> Values {
        let mut places = [None; 4];
        for (place, value) in places.iter_mut().zip(further) {
            *place = Some(self.id(value));
        }
        let offer =
            Offer { generation, held: self.id(held), others: self.id(others), further: places, access: Access::Open };
        let values = [held, others].into_iter().chain(further.iter().copied());
        let value = |value| Value {
            id: self.id(value),
            slot: Some(if value == SECONDARY { Slot::Secondary } else { Slot::Primary }),
            secret: Secret::new(value.as_bytes().to_vec()),
        };
        Values { offer, values: values.map(value).collect(), until: None }
    }

    async fn attach(&self, attach: Attach) {
        self.gate.gate.attach("iris", &self.service, attach).await.unwrap();
    }

    /// Both keys, the primary first.
    async fn attach_both(&self) {
        self.attach(Attach::Values(self.offer(1, PRIMARY, PRIMARY, &[SECONDARY]))).await;
    }

    async fn client(&self, kind: &str) -> Client {
        Client::connect(kind, self.gate.address("public")).await
    }

    async fn score(&self, body: &str) -> Response<Bytes> {
        once(self.gate.address("public"), post("/score", body.to_owned())).await
    }

    fn presented(&self) -> Vec<String> {
        self.upstream.seen().iter().map(|seen| seen.header("authorization").unwrap_or("none").to_owned()).collect()
    }
}

fn service(kind: Kind) -> Service {
    Service {
        workspace: "w".into(),
        name: Name { name: "iris".into(), kind },
        auth: None,
        active: None,
        plaintext: true,
        upkeep: Upkeep::default(),
    }
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

async fn next(reports: &mut mpsc::Receiver<Report>) -> Report {
    in_time("a report", reports.recv()).await.unwrap()
}

#[tokio::test]
async fn a_refused_key_is_replaced_on_the_same_connection_and_the_caller_sees_nothing() {
    for upstream in KINDS {
        for caller in KINDS {
            let guarded = Guarded::start_with(upstream, Clock::system(), |config| config.workers = Some(1)).await;
            guarded.attach_both().await;
            let mut client = guarded.client(caller).await;
            assert_eq!(client.send(post("/score", "one")).await.status(), 200);
            guarded.accept(&[SECONDARY]);
            for body in ["", "two", &"x".repeat(300_000)] {
                let answer = client.send(post("/score", body.to_owned())).await;
                assert_eq!(
                    (answer.status().as_u16(), answer.body().len()),
                    (200, body.len()),
                    "{caller} to {upstream}"
                );
                assert_eq!(answer.headers()["x-with"], SECONDARY);
            }
            assert_eq!(guarded.upstream.connections(), 1, "{caller} to {upstream}");
            assert_eq!(guarded.presented().len(), 7, "each of the three was sent twice");
            assert!(guarded.gate.metrics().contains(r#"scoregate_replays_total{endpoint="iris",result="accepted"} 3"#));
            assert!(
                guarded
                    .gate
                    .metrics()
                    .contains(r#"scoregate_upstream_rejections_total{endpoint="iris",slot="primary"} 3"#)
            );
        }
    }
}

#[tokio::test]
async fn an_upload_over_the_cap_is_answered_503_and_the_next_request_is_not() {
    let guarded = Guarded::start_with("h1", Clock::system(), |config| {
        forward_of(&mut config.routes[0]).replay_body = Some(1_000);
    })
    .await;
    guarded.attach_both().await;
    guarded.accept(&[SECONDARY]);
    let refused = guarded.score(&"x".repeat(1_001)).await;
    assert_eq!(verdict(&refused), (503, "upstream_credential_rejected".to_owned()));
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(!refused.headers().contains_key("www-authenticate"));
    assert_eq!(guarded.score(&"x".repeat(1_000)).await.status(), 200);
    assert!(guarded.gate.metrics().contains(r#"scoregate_replay_skipped_total{reason="not_held"} 1"#));
}

#[tokio::test]
async fn a_body_of_unknown_length_is_held_as_far_as_it_goes() {
    let guarded = Guarded::start().await;
    guarded.attach_both().await;
    guarded.accept(&[SECONDARY]);
    for caller in KINDS {
        let mut client = guarded.client(caller).await;
        let (feed, body) = streamed();
        let sending = async {
            for part in 0..10 {
                feed.data(format!("part {part}.")).await;
            }
            drop(feed);
        };
        let (answer, ()) = tokio::join!(client.send(request(http::Method::POST, "/score", body)), sending);
        assert_eq!((answer.status().as_u16(), answer.body().len()), (200, 70), "{caller}");
    }
}

#[tokio::test]
async fn the_models_own_401_is_the_callers() {
    let guarded = Guarded::start().await;
    guarded.attach_both().await;
    guarded.accept(&[]);
    for sign in ["x-ms-run-fn-exec-ms", "x-ms-run-function-failed", "ms-azureml-model-error-statuscode"] {
        let request = with(post("/score", "1"), "x-model-says", sign);
        let answer = once(guarded.gate.address("public"), request).await;
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (401, &b"the model's own"[..]), "{sign}");
    }
    assert_eq!(guarded.upstream.seen().len(), 3, "one run each");
}

#[tokio::test]
async fn without_replay_a_refusal_is_503_and_one_sending() {
    let aci = |config: &mut scoregate::config::model::Config| config.endpoints[0].service = Some(service(Kind::Aci));
    let off = |config: &mut scoregate::config::model::Config| config.endpoints[0].replay = Replay::Off;
    for guarded in
        [Guarded::start_with("h1", Clock::system(), aci).await, Guarded::start_with("h2", Clock::system(), off).await]
    {
        guarded.attach_both().await;
        guarded.accept(&[SECONDARY]);
        assert_eq!(verdict(&guarded.score("1").await), (503, "upstream_credential_rejected".to_owned()));
        assert_eq!(guarded.upstream.seen().len(), 1);
    }
}

#[tokio::test]
async fn keys_by_hand_are_tried_in_turn_where_that_is_written() {
    for (replay, expected, sendings) in [(Replay::Auto, 503, 1), (Replay::On, 200, 2)] {
        let guarded = Guarded::start_with("h1", Clock::system(), |config| {
            let endpoint = &mut config.endpoints[0];
            endpoint.service = None;
            endpoint.credential = keys(Some(PRIMARY), Some(SECONDARY), Slot::Primary);
            endpoint.replay = replay;
        })
        .await;
        guarded.accept(&[SECONDARY]);
        assert_eq!(guarded.score("1").await.status(), expected, "{replay:?}");
        assert_eq!(guarded.upstream.seen().len(), sendings);
        // Nobody reads them anew, so nobody waits for that.
        guarded.accept(&[]);
        let answer = tokio::time::timeout(Duration::from_secs(3), guarded.score("1")).await.unwrap();
        assert_eq!(verdict(&answer), (503, "upstream_credential_rejected".to_owned()));
    }
}

#[tokio::test]
async fn where_nothing_is_attached_a_401_passes() {
    let guarded = Guarded::start().await;
    guarded.attach(Attach::Nothing).await;
    let answer = guarded.score("1").await;
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (401, &b"who are you"[..]));
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    assert_eq!(guarded.presented(), ["none"]);
}

#[tokio::test]
async fn a_request_whose_values_are_all_refused_waits_for_others() {
    let guarded = Guarded::start().await;
    let mut reports = guarded.gate.gate.take_reports().unwrap();
    guarded.attach_both().await;
    guarded.accept(&["fresh"]);
    let control = async {
        let rejected = |value| Report::Rejected { endpoint: endpoint(), generation: 1, value: guarded.id(value) };
        fn endpoint() -> scoregate::ids::EndpointId {
            scoregate::ids::EndpointId::fresh()
        }
        let same = |report: Report, other: Report| match (report, other) {
            (Report::Rejected { generation, value, .. }, Report::Rejected { generation: g, value: v, .. }) => {
                (generation, value) == (g, v)
            }
            _ => false,
        };
        assert!(same(next(&mut reports).await, rejected(PRIMARY)));
        assert!(same(next(&mut reports).await, rejected(SECONDARY)));
        assert!(matches!(next(&mut reports).await, Report::Exhausted { generation: 1, .. }));
        // A change that brings nothing new does not end the wait.
        guarded.attach(Attach::Values(guarded.offer(2, SECONDARY, SECONDARY, &[PRIMARY]))).await;
        assert!(matches!(next(&mut reports).await, Report::Exhausted { generation: 2, .. }));
        guarded.attach(Attach::Values(guarded.offer(3, SECONDARY, SECONDARY, &[PRIMARY, "fresh"]))).await;
    };
    let (answer, ()) = tokio::join!(guarded.score("1"), control);
    assert_eq!(answer.headers()["x-with"], "fresh");
    assert!(matches!(next(&mut reports).await, Report::Accepted { value, .. } if value == guarded.id("fresh")));
    assert_eq!(guarded.upstream.seen().len(), 3);
}

#[tokio::test]
async fn three_sendings_are_the_most() {
    let guarded = Guarded::start().await;
    guarded.attach(Attach::Values(guarded.offer(1, PRIMARY, PRIMARY, &[SECONDARY, "third", "fourth"]))).await;
    guarded.accept(&["fourth"]);
    assert_eq!(verdict(&guarded.score("1").await), (503, "upstream_credential_rejected".to_owned()));
    assert_eq!(guarded.presented(), [bearer(PRIMARY), bearer(SECONDARY), bearer("third")]);
    assert!(guarded.gate.metrics().contains(r#"scoregate_replay_skipped_total{reason="sends"} 1"#));
}

#[tokio::test]
async fn a_locked_service_costs_one_sending_a_second() {
    let clock = Clock::manual(1_800_000_000);
    let guarded = Guarded::start_with("h1", clock.clone(), |_| {}).await;
    let mut values = guarded.offer(1, PRIMARY, PRIMARY, &[SECONDARY]);
    values.offer.access = Access::Locked;
    guarded.attach(Attach::Values(values)).await;
    guarded.accept(&[]);
    clock.advance(Duration::from_secs(10));
    for second in 1..=3 {
        for _ in 0..20 {
            assert_eq!(verdict(&guarded.score("1").await), (503, "upstream_credential_rejected".to_owned()));
        }
        assert_eq!(guarded.upstream.seen().len(), second);
        clock.advance(Duration::from_secs(1));
    }
    guarded.accept(&[PRIMARY, SECONDARY]);
    assert_eq!(guarded.score("1").await.status(), 200, "the trial's own answer is the caller's");
}

#[tokio::test]
async fn requests_wait_for_a_token_that_is_being_fetched() {
    for kind in KINDS {
        let guarded = Guarded::start().await;
        guarded.attach(Attach::Awaited).await;
        let address = guarded.gate.address("public");
        let waiting: Vec<_> = (0..40)
            .map(|_| tokio::spawn(async move { Client::connect(kind, address).await.send(post("/score", "1")).await }))
            .collect();
        let waiting_now = || guarded.gate.gate.status().workers.iter().map(|worker| worker.in_flight).sum::<u64>();
        eventually("all of them wait", || waiting_now() == 40).await;
        // Nothing reaches the service.
        let mut late = guarded.client(kind).await;
        assert_eq!(guarded.upstream.connections(), 0);
        guarded.attach(Attach::Values(guarded.offer(1, PRIMARY, PRIMARY, &[]))).await;
        for one in waiting {
            assert_eq!(in_time("an answer", one).await.unwrap().status(), 200, "{kind}");
        }
        guarded.attach(Attach::Missing).await;
        let refused = late.send(post("/score", "1")).await;
        assert_eq!(verdict(&refused), (503, "credential_unavailable".to_owned()));
        assert_eq!(refused.headers()["retry-after"], "1");
    }
}

#[tokio::test]
async fn requests_of_a_process_that_was_just_started_wait_until_it_is_known_where_the_service_is() {
    for kind in KINDS {
        let mut found = None;
        let guarded = Guarded::start_with("h1", Clock::system(), |config| {
            found = config.endpoints[0].upstreams.pop();
        })
        .await;
        let address = guarded.gate.address("public");
        let ask = || tokio::spawn(async move { Client::connect(kind, address).await.send(post("/", "1")).await });
        let early = ask();
        let in_flight = || guarded.gate.gate.status().workers.iter().map(|worker| worker.in_flight).sum::<u64>();
        eventually("it waits", || in_flight() == 1).await;
        let gate = &guarded.gate.gate;
        gate.publish_found("iris", &guarded.service, found.clone().unwrap()).await.unwrap();
        guarded.attach_both().await;
        // To a service of Azure's a route's path is the scoring path, which nobody knew when the request came.
        assert_eq!(in_time("an answer", early).await.unwrap().status(), 200, "{kind}");
        assert_eq!(guarded.upstream.only().uri.path(), "/score");
    }
    let guarded = Guarded::start_with("h1", Clock::system(), |config| config.endpoints[0].upstreams.clear()).await;
    guarded.attach(Attach::Missing).await;
    assert_eq!(verdict(&guarded.score("1").await), (503, "credential_unavailable".to_owned()));
}

#[tokio::test]
async fn no_more_wait_for_a_token_than_may() {
    let guarded = Guarded::start_with("h1", Clock::system(), |config| config.limits.token_waiters = 3).await;
    guarded.attach(Attach::Awaited).await;
    let address = guarded.gate.address("public");
    let (done, mut answers) = mpsc::channel(8);
    for _ in 0..8 {
        let done = done.clone();
        tokio::spawn(async move { done.send(once(address, post("/score", "1")).await).await });
    }
    for _ in 0..5 {
        let refused = in_time("a refusal", answers.recv()).await.unwrap();
        assert_eq!(verdict(&refused), (503, "credential_unavailable".to_owned()));
    }
    assert!(guarded.gate.metrics().contains(r#"scoregate_limit_hits_total{limit="token_waiters"} 5"#));
    guarded.attach_both().await;
    for _ in 0..3 {
        assert_eq!(in_time("an answer", answers.recv()).await.unwrap().status(), 200);
    }
    // The places are free again.
    guarded.attach(Attach::Awaited).await;
    let late = tokio::spawn(once(address, post("/score", "1")));
    guarded.attach_both().await;
    assert_eq!(in_time("an answer", late).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_token_past_its_time_is_never_sent() {
    let clock = Clock::manual(1_800_000_000);
    let guarded = Guarded::start_with("h1", clock.clone(), |_| {}).await;
    let until = Moment::from_micros(10_000_000);
    let token = |generation, value, until| {
        Attach::Values(Values { until: Some(until), ..guarded.offer(generation, value, value, &[]) })
    };
    guarded.attach(token(1, PRIMARY, until)).await;
    assert_eq!(guarded.score("1").await.status(), 200);
    clock.advance(Duration::from_secs(10));
    let late = tokio::spawn(once(guarded.gate.address("public"), post("/score", "1")));
    // It waits for the next one, which is on its way; the old one is not sent.
    eventually("the endpoint is not ready", || !guarded.gate.gate.status().endpoints[0].ready).await;
    guarded.attach(token(2, SECONDARY, until + Duration::from_secs(100))).await;
    let answer = in_time("an answer", late).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-with"]), (200, &SECONDARY.parse().unwrap()));
    assert_eq!(guarded.presented(), [bearer(PRIMARY), bearer(SECONDARY)]);
}

#[tokio::test]
async fn a_token_of_eight_kibibytes_is_attached_whole() {
    let long: &'static str = "t".repeat(8 << 10).leak();
    for upstream in KINDS {
        let guarded = Guarded::start_with(upstream, Clock::system(), |_| {}).await;
        guarded.accept(&[long]);
        guarded.attach(Attach::Values(guarded.offer(1, long, long, &[]))).await;
        for caller in KINDS {
            assert_eq!(
                guarded.client(caller).await.send(post("/score", "1")).await.status(),
                200,
                "{caller} {upstream}"
            );
        }
        assert_eq!(guarded.presented(), [bearer(long), bearer(long)]);
    }
}

#[tokio::test]
async fn a_new_value_is_tried_by_those_who_can_be_sent_again() {
    let guarded = Guarded::start_with("h1", Clock::system(), |config| {
        forward_of(&mut config.routes[0]).replay_body = Some(1_000);
    })
    .await;
    guarded.attach(Attach::Values(guarded.offer(1, SECONDARY, PRIMARY, &[]))).await;
    for (body, with) in [(0, SECONDARY), (1_000, SECONDARY), (1_001, PRIMARY)] {
        assert_eq!(guarded.score(&"x".repeat(body)).await.headers()["x-with"], with, "{body} bytes");
    }
    assert_eq!(once(guarded.gate.address("public"), get("/score")).await.headers()["x-with"], SECONDARY);
    // Of a body of unknown length nobody can say so in advance.
    let (feed, body) = streamed();
    drop(feed);
    let mut client = guarded.client("h1").await;
    assert_eq!(client.send(request(http::Method::POST, "/score", body)).await.headers()["x-with"], PRIMARY);
}

#[tokio::test]
async fn an_early_refusal_of_a_large_body_goes_to_the_same_address_again() {
    let script = |mut turn: crate::support::fault::Turn| async move {
        if turn.number == 0 {
            // Refused on sight: most of the body is never read.
            turn.raw.head().await;
            turn.raw.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            return;
        }
        let request = turn.request().await.unwrap();
        turn.ok(&request.body.len().to_string()).await;
    };
    let hostile = Hostile::start(script).await;
    let address = hostile.address;
    let guarded = Guarded::start_with("h1", Clock::system(), |config| {
        config.endpoints[0].upstreams[0].port = address.port();
        forward_of(&mut config.routes[0]).replay_body = Some(8 << 20);
    })
    .await;
    guarded.attach_both().await;
    for kind in KINDS {
        let answer = guarded.client(kind).await.send(post("/score", "x".repeat(4 << 20))).await;
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, (4 << 20).to_string().as_bytes()), "{kind}");
    }
    assert!(hostile.connections() >= 2);
}

#[tokio::test]
async fn a_caller_that_expects_a_100_is_healed_too() {
    let guarded = Guarded::start().await;
    guarded.attach_both().await;
    guarded.accept(&[SECONDARY]);
    let request = with(post("/score", "hello"), "expect", "100-continue");
    let answer = once(guarded.gate.address("public"), request).await;
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hello"[..]));
}

#[tokio::test]
async fn a_drain_waits_for_requests_with_a_value_that_is_offered_no_more() {
    let (release, held) = tokio::sync::watch::channel(false);
    let slow = Upstream::streaming(move |request, notes| {
        let mut held = held.clone();
        async move {
            notes.read(request).await;
            held.wait_for(|free| *free).await.unwrap();
            Response::new(full("late"))
        }
    })
    .await;
    let port = slow.address.port();
    let guarded =
        Guarded::start_with("h1", Clock::system(), |config| config.endpoints[0].upstreams[0].port = port).await;
    guarded.attach_both().await;
    let late = tokio::spawn(once(guarded.gate.address("public"), post("/score", "1")));
    eventually("it is on its way", || slow.seen().len() == 1).await;
    // Still on the ladder: nothing to wait for.
    guarded.attach(Attach::Values(guarded.offer(2, SECONDARY, SECONDARY, &[PRIMARY]))).await;
    in_time("a drain of nothing", guarded.gate.gate.await_drained("iris")).await;
    guarded.attach(Attach::Values(guarded.offer(3, SECONDARY, SECONDARY, &[]))).await;
    let mut drained = std::pin::pin!(guarded.gate.gate.await_drained("iris"));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut drained).await.is_err(), "it does not wait");
    release.send(true).unwrap();
    in_time("the drain", drained).await;
    assert_eq!(in_time("its answer", late).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_disturbed_by_a_change() {
    let (release, held) = tokio::sync::watch::channel(false);
    let slow = Upstream::streaming(move |request, notes| {
        let mut held = held.clone();
        async move {
            notes.read(request).await;
            let (feed, body) = streamed();
            tokio::spawn(async move {
                feed.data("first.").await;
                held.wait_for(|free| *free).await.unwrap();
                feed.data("last.").await;
            });
            Response::new(body)
        }
    })
    .await;
    let port = slow.address.port();
    let guarded =
        Guarded::start_with("h1", Clock::system(), |config| config.endpoints[0].upstreams[0].port = port).await;
    guarded.attach_both().await;
    let mut client = guarded.client("h1").await;
    let mut body = client.open(post("/score", "1")).await.unwrap().into_body();
    assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "first.");
    guarded.attach(Attach::Values(guarded.offer(2, SECONDARY, SECONDARY, &[]))).await;
    in_time("a drain: its head came", guarded.gate.gate.await_drained("iris")).await;
    release.send(true).unwrap();
    assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "last.");
}
