//! Callers that show tokens of an issuer, through the whole gate.

use std::{sync::Arc, time::Duration};

use scoregate::{
    azure::url::Url,
    clock::Clock,
    config::model::{Caller, CallerKind, Config, IssuerKeys, KeySource, TokenCaller},
    jwt::{algorithm::Algorithms, key_set::KeySet, terms::Terms},
};
use serde_json::{Value, json};

use crate::{
    eviction,
    support::{
        client::{self, Client, get, next_data, with},
        eventually,
        gate::{self, TestGate},
        issuer::{self, Issuer, Key},
        upstream::Upstream,
    },
};

const ORIGIN: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";
const REFRESH: Duration = Duration::from_secs(600);
const LEAST: Duration = Duration::from_secs(30);

fn terms(audience: &str) -> Terms {
    Terms {
        issuers: [ISSUER.into()].into(),
        audiences: [audience.into()].into(),
        algorithms: Algorithms::ALL,
        skew: 0,
        tenants: Box::default(),
        objects: Box::default(),
        roles: Box::default(),
        scopes: Box::default(),
        claims: Box::default(),
    }
}

fn caller(name: &str, audience: &str, keys: IssuerKeys) -> Caller {
    Caller {
        name: name.into(),
        kind: CallerKind::Token(Box::new(TokenCaller { terms: terms(audience), keys })),
        limits: None,
        evict_after: None,
    }
}

fn in_file(keys: &[&Key]) -> IssuerKeys {
    IssuerKeys::File(Arc::new(KeySet::read(&issuer::document(keys)).unwrap()))
}

fn published(issuer: &Issuer) -> IssuerKeys {
    let url = Url::parse(&issuer.url()).unwrap();
    IssuerKeys::Published(KeySource { url, ca: None, refresh: REFRESH, least_refresh: LEAST })
}

fn claims(audience: &str) -> Value {
    json!({ "iss": ISSUER, "aud": audience, "exp": ORIGIN + 1_000_000_000, "sub": "somebody" })
}

fn showing(token: &str) -> http::Request<client::AnyBody> {
    let mut request = get("/score");
    request.headers_mut().remove("authorization");
    with(request, "authorization", &format!("Bearer {token}"))
}

async fn ask(caller: &mut Client, token: &str) -> (u16, String) {
    client::verdict(&caller.send(showing(token)).await)
}

fn config(upstream: &Upstream, callers: Vec<Caller>) -> Config {
    let mut config = gate::config(upstream.address);
    let names: Vec<&str> = callers.iter().map(|caller| caller.name.as_str()).collect();
    config.routes[0] = gate::route("/", "iris", &names);
    config.callers = callers;
    config.timeouts.idle = Duration::from_secs(100_000);
    config
}

const OK: (u16, &str) = (200, "none");
const UNKNOWN: (u16, &str) = (401, "caller_unknown");

fn is(verdict: &(u16, String), expected: (u16, &str)) -> bool {
    (verdict.0, verdict.1.as_str()) == expected
}

#[tokio::test]
async fn a_token_is_refused_with_its_reason_in_the_metric_and_none_in_the_answer() {
    let (key, stranger) = (Key::new("one"), Key::new("one"));
    let upstream = Upstream::echo().await;
    let config = config(&upstream, vec![caller("tenant", "a", in_file(&[&key]))]);
    let gate = TestGate::start_with(config, Clock::manual(ORIGIN));
    let changed = |name: &str, value: Value| {
        let mut claims = claims("a");
        claims[name] = value;
        key.sign(&claims)
    };
    let none = format!("{}.", key.sign_with(&json!({ "alg": "none" }), &claims("a")).rsplit_once('.').unwrap().0);
    let cases = [
        ("a.b.c".to_owned(), "token_malformed", UNKNOWN),
        (none, "token_algorithm", UNKNOWN),
        (key.sign_with(&json!({ "alg": "HS256", "kid": "one" }), &claims("a")), "token_algorithm", UNKNOWN),
        (key.sign_with(&json!({ "alg": "ES256", "crit": ["b64"] }), &claims("a")), "token_extension", UNKNOWN),
        (key.sign_with(&json!({ "alg": "ES256", "typ": "dpop+jwt" }), &claims("a")), "token_type", UNKNOWN),
        (changed("iss", json!("https://evil.example")), "token_issuer", UNKNOWN),
        (key.sign_with(&json!({ "alg": "ES256", "kid": "two" }), &claims("a")), "token_key_unknown", UNKNOWN),
        (key.sign_with(&json!({ "alg": "RS256", "kid": "one" }), &claims("a")), "token_key_unknown", UNKNOWN),
        (stranger.sign(&claims("a")), "token_signature", UNKNOWN),
        (changed("aud", json!("b")), "token_audience", UNKNOWN),
        (changed("nbf", json!(ORIGIN + 1)), "token_not_yet", UNKNOWN),
        (changed("exp", json!(ORIGIN)), "token_expired", (401, "caller_expired")),
    ];
    for mut caller in Client::both(gate.address("public")).await {
        assert!(is(&ask(&mut caller, &key.sign(&claims("a"))).await, OK));
        for (token, reason, expected) in &cases {
            let metric = format!("caller_rejections_total{{reason=\"{reason}\",route=\"*/\"}}");
            let before = gate.metric(&metric);
            let answer = caller.send(showing(token)).await;
            assert!(is(&client::verdict(&answer), *expected), "{reason}: {answer:?}");
            assert!(answer.headers().contains_key("www-authenticate"));
            let shown = format!("{:?} {}", answer.headers(), String::from_utf8_lossy(answer.body()));
            assert!(!shown.contains(reason) && !shown.contains(token.as_str()), "{shown}");
            assert_eq!(gate.metric(&metric) - before, 1.0, "{reason}");
        }
    }
    let told = format!("{}{}", gate.access_log(), gate.metrics());
    for (token, ..) in &cases {
        assert!(!told.contains(token.as_str()));
    }
    eventually("the access log says who", || gate.access_log().contains(r#""caller":"tenant","subject":"somebody""#))
        .await;
}

#[tokio::test]
async fn the_upstream_learns_whom_a_token_is_about_and_nobody_passes_for_another_caller() {
    let key = Key::new("one");
    let upstream = Upstream::echo().await;
    let mut config = config(&upstream, vec![caller("tenant", "a", in_file(&[&key]))]);
    gate::forward_of(&mut config.routes[0]).identity_header = Some("x-auth-subject".into());
    let gate = TestGate::start_with(config, Clock::manual(ORIGIN));
    for mut caller in Client::both(gate.address("public")).await {
        for (claim, value, told) in [
            ("sub", json!("somebody"), "tenant/somebody"),
            ("sub", json!("team-a"), "tenant/team-a"),
            ("sub", json!("other/somebody"), "tenant/other/somebody"),
            ("sub", json!("a\r\nx-admin: yes"), "tenant/a%0D%0Ax-admin:%20yes"),
            ("oid", json!("0000-1111"), "tenant/0000-1111"),
            ("sub", Value::Null, "tenant"),
        ] {
            let mut claims = claims("a");
            claims[claim] = value;
            let mut asked = showing(&key.sign(&claims));
            asked = with(asked, "x-auth-subject", "root");
            assert_eq!(caller.send(asked).await.status(), 200, "{told}");
            let seen = upstream.seen().pop().unwrap();
            assert_eq!(seen.headers.get_all("x-auth-subject").iter().collect::<Vec<_>>(), [told]);
            assert!(!seen.headers.contains_key("x-admin"));
        }
    }
}

#[tokio::test]
async fn one_token_two_routes_with_different_audiences() {
    let key = Key::new("one");
    let upstream = Upstream::echo().await;
    let callers = vec![caller("a", "a", in_file(&[&key])), caller("b", "b", in_file(&[&key]))];
    let mut config = config(&upstream, callers);
    config.routes = vec![gate::route("/a", "iris", &["a"]), gate::route("/b", "iris", &["b"])];
    let gate = TestGate::start_with(config, Clock::manual(ORIGIN));
    let (for_a, for_both) = (
        key.sign(&claims("a")),
        key.sign(&{
            let mut both = claims("a");
            both["aud"] = json!(["a", "b"]);
            both
        }),
    );
    for mut caller in Client::both(gate.address("public")).await {
        for (path, token, expected) in [
            ("/a", &for_a, OK),
            ("/b", &for_a, UNKNOWN),
            ("/a", &for_a, OK),
            ("/b", &for_both, OK),
            ("/a", &for_both, OK),
            ("/b", &for_a, UNKNOWN),
        ] {
            let mut request = showing(token);
            *request.uri_mut() = path.parse().unwrap();
            assert!(is(&client::verdict(&caller.send(request).await), expected), "{path}");
        }
    }
}

#[tokio::test]
async fn a_token_whose_key_left_the_set_is_refused_at_the_next_request_on_a_live_connection() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let issuer = Issuer::start(&[&old]).await;
    let upstream = Upstream::echo().await;
    let clock = Clock::manual(ORIGIN);
    let gate = TestGate::start_with(config(&upstream, vec![caller("tenant", "a", published(&issuer))]), clock.clone());
    let (by_old, by_new) = (old.sign(&claims("a")), new.sign(&claims("a")));
    let refreshes = |gate: &TestGate| {
        let host = issuer.server.address;
        gate.metric(&format!("issuer_refresh_total{{issuer=\"{host}\",result=\"ok\"}}"))
    };
    eventually("the first keys", || refreshes(&gate) >= 1.0).await;
    let mut both = Client::both(gate.address("public")).await;
    for caller in &mut both {
        assert!(is(&ask(caller, &by_old).await, OK));
        assert!(is(&ask(caller, &by_new).await, UNKNOWN));
    }
    issuer.publish(&[&new]);
    clock.advance(LEAST);
    eventually("the second keys", || refreshes(&gate) >= 2.0).await;
    for caller in &mut both {
        assert!(is(&ask(caller, &by_old).await, UNKNOWN));
        assert!(is(&ask(caller, &by_new).await, OK));
    }
    // Known again is good again, by a reload as well.
    issuer.publish(&[&new, &old]);
    eventually("the third keys", || {
        clock.advance(REFRESH);
        refreshes(&gate) >= 3.0
    })
    .await;
    for caller in &mut both {
        assert!(is(&ask(caller, &by_old).await, OK));
    }
}

#[tokio::test]
async fn unknown_keys_ask_the_issuer_once_per_interval_however_many_tokens_come() {
    let key = Key::new("one");
    let issuer = Issuer::start(&[&key]).await;
    let upstream = Upstream::echo().await;
    let clock = Clock::manual(ORIGIN);
    let callers = ["one", "another"].map(|name| caller(name, "a", published(&issuer)));
    let gate = TestGate::start_with(config(&upstream, callers.into()), clock.clone());
    eventually("the first answer", || issuer.asked() == 1).await;
    let unknown = key.sign_with(&json!({ "alg": "ES256", "kid": "two" }), &claims("a"));
    for mut caller in Client::both(gate.address("public")).await {
        for _ in 0..50 {
            assert!(is(&ask(&mut caller, &unknown).await, UNKNOWN));
        }
    }
    assert_eq!(issuer.asked(), 1, "two callers, one source, and nobody asked again within the interval");
    clock.advance(LEAST);
    eventually("the second answer", || issuer.asked() == 2).await;
    let mut caller = Client::connect("h1", gate.address("public")).await;
    assert!(is(&ask(&mut caller, &key.sign(&claims("a"))).await, OK));
    clock.advance(LEAST - Duration::from_secs(1));
    assert!(is(&ask(&mut caller, &unknown).await, UNKNOWN));
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_down_or_talks_nonsense_shuts_nobody_out_not_even_at_a_start() {
    let key = Key::new("one");
    let state = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(&[&key]).await;
    let upstream = Upstream::echo().await;
    let clock = Clock::manual(ORIGIN);
    let config = config(&upstream, vec![caller("tenant", "a", published(&issuer))]);
    let token = key.sign(&claims("a"));
    let failed = format!("issuer_refresh_total{{issuer=\"{}\",result=\"failed\"}}", issuer.server.address);
    {
        let gate = TestGate::start_in(config.clone(), clock.clone(), state.path());
        let kept = || {
            std::fs::read_dir(state.path()).unwrap().flatten().any(|file| {
                let name = file.file_name().into_string().unwrap();
                name.starts_with("jwks-") && name.ends_with(".json")
            })
        };
        eventually("kept", kept).await;
        issuer.answer(200, b"<html>");
        eventually("a bad answer", || {
            clock.advance(REFRESH);
            gate.metric(&failed) >= 1.0
        })
        .await;
        let mut caller = Client::connect("h2", gate.address("public")).await;
        assert!(is(&ask(&mut caller, &token).await, OK));
    }
    issuer.answer(503, b"");
    let gate = TestGate::start_in(config.clone(), clock.clone(), state.path());
    let mut caller = Client::connect("h1", gate.address("public")).await;
    assert!(is(&ask(&mut caller, &token).await, OK));
    // Without what was kept nobody comes in, and it starts all the same.
    let elsewhere = tempfile::tempdir().unwrap();
    let gate = TestGate::start_in(config, clock.clone(), elsewhere.path());
    let mut caller = Client::connect("h1", gate.address("public")).await;
    assert!(is(&ask(&mut caller, &token).await, UNKNOWN));
    assert_eq!(gate.metric("caller_rejections_total{reason=\"token_keys_missing\",route=\"*/\"}"), 1.0);
}

#[tokio::test]
async fn a_reload_changes_what_tokens_must_be_at_once_and_nothing_else() {
    let key = Key::new("one");
    let upstream = Upstream::echo().await;
    let config = config(&upstream, vec![caller("tenant", "a", in_file(&[&key]))]);
    let gate = TestGate::start_with(config, Clock::manual(ORIGIN));
    let token = key.sign(&claims("a"));
    let mut both = Client::both(gate.address("public")).await;
    for caller in &mut both {
        assert!(is(&ask(caller, &token).await, OK));
    }
    gate.reload(false, |config| config.callers[0] = caller("tenant", "b", in_file(&[&key]))).await.unwrap();
    for caller in &mut both {
        assert!(is(&ask(caller, &token).await, UNKNOWN));
    }
    gate.reload(false, |config| config.callers[0] = caller("tenant", "a", in_file(&[&Key::new("one")]))).await.unwrap();
    for caller in &mut both {
        assert!(is(&ask(caller, &token).await, UNKNOWN));
    }
    gate.reload(false, |config| config.callers[0] = caller("tenant", "a", in_file(&[&key]))).await.unwrap();
    for caller in &mut both {
        assert!(is(&ask(caller, &token).await, OK));
    }
}

#[tokio::test]
async fn a_stream_that_a_token_let_in_ends_soon_after_its_time_and_after_its_key() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let upstream = eviction::endless().await;
    for kind in Client::KINDS {
        let evicting =
            Caller { evict_after: Some(Duration::from_secs(10)), ..caller("tenant", "a", in_file(&[&one, &two])) };
        let mut config = config(&upstream, vec![evicting]);
        config.timeouts.stream_idle = Duration::from_secs(100_000);
        let gate = TestGate::start_with(config, Clock::manual(ORIGIN));
        let mut open = Vec::new();
        let ending = {
            let mut claims = claims("a");
            claims["exp"] = json!(ORIGIN + 60);
            one.sign(&claims)
        };
        for token in [&ending, &one.sign(&claims("a")), &two.sign(&claims("a"))] {
            let mut caller = Client::connect(kind, gate.address("public")).await;
            let mut body = caller.open(showing(token)).await.unwrap().into_body();
            assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "some");
            open.push((caller, body));
        }
        let (_stays, mut of_two) = open.pop().unwrap();
        let (_goes, of_one) = open.pop().unwrap();
        let (_ends, of_ending) = open.pop().unwrap();
        gate.clock.advance(Duration::from_secs(60));
        eviction::ends_in_time(&gate, of_ending).await;
        gate.reload(false, |config| {
            let CallerKind::Token(tenant) = &mut config.callers[0].kind else { return };
            tenant.keys = in_file(&[&two]);
        })
        .await
        .unwrap();
        eviction::ends_in_time(&gate, of_one).await;
        eviction::goes_on(&gate, &mut of_two).await;
    }
}
