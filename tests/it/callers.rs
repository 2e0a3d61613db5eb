//! Who is let in, through the whole gate.

use std::time::Duration;

use scoregate::{
    clock::Clock,
    config::model::{Caller, CallerKey, CallerKind},
    digest::sha256,
};

use crate::support::{
    client::{self, Client, get, with},
    eventually,
    gate::{self, CALLER_KEY, TestGate},
    upstream::Upstream,
};

const ORIGIN: u64 = 1_800_000_000;

fn without_key(path: &str) -> http::Request<client::AnyBody> {
    let mut request = get(path);
    request.headers_mut().remove("authorization");
    request
}

fn keys(name: &str, keys: &[(&str, Option<u64>)]) -> Caller {
    let keys =
        keys.iter().map(|(key, expires)| CallerKey { expires: *expires, ..CallerKey::new(sha256(key.as_bytes())) });
    Caller { name: name.into(), kind: CallerKind::Keys(keys.collect()), limits: None, evict_after: None }
}

#[tokio::test]
async fn every_way_of_showing_a_key_has_its_verdict() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.callers.push(keys("team-b", &[("key-of-team-b", None)]));
    config.callers.push(keys("team-c", &[("key-1-of-c", None), ("key-2-of-c", None)]));
    config.routes[0] = gate::route("/", "iris", &["team-a", "team-c"]);
    let gate = TestGate::start(config);
    let upper = CALLER_KEY.to_uppercase();
    for mut caller in Client::both(gate.address("public")).await {
        for (fields, expected) in [
            (vec![("authorization", format!("Bearer {CALLER_KEY}"))], (200, "none")),
            (vec![("authorization", format!("bEARER {CALLER_KEY}"))], (200, "none")),
            (vec![("x-api-key", CALLER_KEY.to_owned())], (200, "none")),
            (vec![("authorization", "Bearer key-1-of-c".to_owned())], (200, "none")),
            (vec![("authorization", "Bearer key-2-of-c".to_owned())], (200, "none")),
            (vec![], (401, "caller_unknown")),
            (vec![("authorization", String::new())], (401, "caller_unknown")),
            (vec![("authorization", "Bearer ".to_owned())], (401, "caller_unknown")),
            (vec![("authorization", CALLER_KEY.to_owned())], (401, "caller_unknown")),
            (vec![("authorization", format!("Bearer  {CALLER_KEY}"))], (401, "caller_unknown")),
            (vec![("authorization", format!("Basic {CALLER_KEY}"))], (401, "caller_unknown")),
            (vec![("authorization", format!("Bearer {upper}"))], (401, "caller_unknown")),
            (vec![("authorization", format!("Bearer {CALLER_KEY} x"))], (401, "caller_unknown")),
            (vec![("api-key", CALLER_KEY.to_owned())], (401, "caller_unknown")),
            (vec![("authorization", "Bearer key-of-team-b".to_owned())], (403, "caller_forbidden")),
            (
                vec![("authorization", format!("Bearer {CALLER_KEY}")), ("x-api-key", CALLER_KEY.to_owned())],
                (400, "ambiguous_credentials"),
            ),
            (
                vec![("authorization", format!("Bearer {CALLER_KEY}")), ("authorization", "Bearer x".to_owned())],
                (400, "ambiguous_credentials"),
            ),
            (
                vec![("authorization", format!("Bearer {CALLER_KEY}")), ("api-key", "x".to_owned())],
                (400, "ambiguous_credentials"),
            ),
        ] {
            let before = upstream.seen().len();
            let mut asked = without_key("/score");
            for (name, value) in &fields {
                asked = with(asked, name, value);
            }
            if caller.name() == "h2" && fields.iter().any(|(_, value)| value.ends_with(' ')) {
                assert!(caller.open(asked).await.is_err(), "no value ends in a blank (RFC 9113 section 8.2.1)");
                continue;
            }
            let response = caller.send(asked).await;
            let verdict = client::verdict(&response);
            assert_eq!((verdict.0, verdict.1.as_str()), expected, "{fields:?} over {}", caller.name());
            assert_eq!(response.headers().contains_key("www-authenticate"), expected.0 == 401);
            assert_eq!(upstream.seen().len() - before, usize::from(expected.0 == 200));
        }
    }
}

#[tokio::test]
async fn a_key_ends_with_its_time_on_a_live_connection() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.timeouts.idle = Duration::from_secs(10_000);
    config.callers[0] = keys("team-a", &[(CALLER_KEY, Some(ORIGIN + 100)), ("later", Some(ORIGIN + 1000))]);
    let clock = Clock::manual(ORIGIN);
    let gate = TestGate::start_with(config, clock.clone());
    for mut caller in Client::both(gate.address("public")).await {
        assert_eq!(caller.send(with(without_key("/score"), "authorization", "Bearer later")).await.status(), 200);
    }
    let mut both = Client::both(gate.address("public")).await;
    for caller in &mut both {
        assert_eq!(caller.send(get("/score")).await.status(), 200);
    }
    clock.advance(Duration::from_secs(99));
    for caller in &mut both {
        assert_eq!(caller.send(get("/score")).await.status(), 200);
    }
    clock.advance(Duration::from_secs(1));
    for caller in &mut both {
        assert_eq!(client::verdict(&caller.send(get("/score")).await), (401, "caller_expired".into()));
        let later = with(without_key("/score"), "authorization", "Bearer later");
        assert_eq!(caller.send(later).await.status(), 200);
    }
}

#[tokio::test]
async fn anonymous_callers_come_in_where_the_route_says_so_and_their_credentials_do_not_pass() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    let mut open = gate::route("/open", "iris", &["anyone"]);
    gate::forward_of(&mut open).attach = false;
    let mixed = gate::route("/mixed", "iris", &["team-a", "anyone"]);
    config.routes.extend([open, mixed]);
    for route in &mut config.routes {
        gate::forward_of(route).identity_header = Some("x-auth-subject".into());
    }
    let gate = TestGate::start(config);
    for mut caller in Client::both(gate.address("public")).await {
        for (asked, subject) in [
            (without_key("/open"), "anyone"),
            (get("/open"), "anyone"),
            (with(without_key("/open"), "authorization", "Bearer nonsense"), "anyone"),
            (without_key("/mixed"), "anyone"),
            (get("/mixed"), "team-a"),
        ] {
            let path = asked.uri().path().to_owned();
            assert_eq!(caller.send(asked).await.status(), 200);
            let seen = upstream.seen().pop().unwrap();
            assert_eq!(seen.header("x-auth-subject"), Some(subject), "{path}");
            assert_eq!(seen.headers.contains_key("authorization"), path == "/mixed");
        }
        assert_eq!(caller.send(without_key("/score")).await.status(), 401);
    }
}

#[tokio::test]
async fn a_keys_name_is_told_to_the_upstream_and_the_access_log() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    let key = |text: &str, name: Option<&str>| CallerKey {
        name: name.map(Into::into),
        ..CallerKey::new(sha256(text.as_bytes()))
    };
    config.callers[0].kind = CallerKind::Keys(vec![key("of-laptop", Some("laptop")), key("of-nobody", None)]);
    gate::forward_of(&mut config.routes[0]).identity_header = Some("x-auth-subject".into());
    let gate = TestGate::start(config);
    for mut caller in Client::both(gate.address("public")).await {
        for (shown, told) in [("of-laptop", "team-a/laptop"), ("of-nobody", "team-a")] {
            let asked = with(without_key("/score"), "authorization", &format!("Bearer {shown}"));
            assert_eq!(caller.send(asked).await.status(), 200);
            assert_eq!(upstream.seen().pop().unwrap().header("x-auth-subject"), Some(told));
        }
    }
    eventually("the access log says which key", || {
        gate.access_log().contains(r#""caller":"team-a","subject":"laptop""#)
    })
    .await;
}

#[tokio::test]
async fn routes_of_one_path_differ_in_who_may_use_which_method() {
    let upstream = Upstream::echo().await;
    let mut config = gate::config(upstream.address);
    config.callers.push(keys("auditor", &[("key-of-the-auditor", None)]));
    let of = |methods: &[http::Method], callers: &[&str], name: &str| {
        let mut route = gate::route("/score", "iris", callers);
        (route.methods, route.name) = (methods.to_vec(), name.into());
        route
    };
    config.routes =
        vec![of(&[http::Method::POST], &["team-a"], "write"), of(&[http::Method::GET], &["auditor", "team-a"], "read")];
    let gate = TestGate::start(config);
    for mut caller in Client::both(gate.address("public")).await {
        for (method, key, expected) in [
            (http::Method::POST, CALLER_KEY, (200, "none")),
            (http::Method::POST, "key-of-the-auditor", (403, "caller_forbidden")),
            (http::Method::GET, "key-of-the-auditor", (200, "none")),
            (http::Method::GET, CALLER_KEY, (200, "none")),
            (http::Method::DELETE, CALLER_KEY, (405, "method_not_allowed")),
        ] {
            let mut asked = with(without_key("/score"), "authorization", &format!("Bearer {key}"));
            *asked.method_mut() = method.clone();
            let verdict = client::verdict(&caller.send(asked).await);
            assert_eq!((verdict.0, verdict.1.as_str()), expected, "{method} {key}");
        }
    }
}
