//! Services that scoregate plays: callers through the whole gate, managers at the paths of Microsoft's SDK.

use std::{path::Path, sync::Arc, time::Duration};

use http::Method;
use scoregate::{
    clock::Clock,
    config::model::{Caller, CallerKind, Config, IssuerKeys, ServiceCaller, TokenCaller},
    control::played::manage::{Answer, Asked},
    jwt::{algorithm::Algorithms, key_set::KeySet, terms::Terms},
    secret::Secret,
    service_auth::{AuthMode, ServiceKind},
};
use serde_json::{Value, json};

use crate::{
    eviction,
    support::{
        client::{self, Client, get, next_data, with},
        eventually,
        gate::{self, TestGate},
        issuer::{self, Key},
        upstream::Upstream,
    },
};

const ORIGIN: u64 = 1_800_000_000;
const ARM: &str = "https://management.core.windows.net/";
const MANAGER: &str = "11111111-1111-1111-1111-111111111111";
const SERVICES: &str = "/modelmanagement/v1.0/subscriptions/s/resourceGroups/g/providers/\
                        Microsoft.MachineLearningServices/workspaces/w/services";

fn service(name: &str, kind: ServiceKind, auth: AuthMode, sealed: bool, key: &Key) -> Caller {
    let keys = IssuerKeys::File(Arc::new(KeySet::read(&issuer::document(&[key])).unwrap()));
    let terms = Terms {
        issuers: ["https://sts.windows.net/t/".into()].into(),
        audiences: [ARM.into()].into(),
        algorithms: Algorithms::ALL,
        skew: 60,
        tenants: Box::default(),
        objects: [MANAGER.into()].into(),
        roles: Box::default(),
        scopes: Box::default(),
        claims: Box::default(),
    };
    let config = ServiceCaller {
        kind,
        auth,
        seal_key: sealed.then(|| Secret::new(b"canary-seal-key-of-the-tests".to_vec())),
        managers: Some(Box::new(TokenCaller { terms, keys })),
        token_lifetime: Duration::from_secs(3_600),
        scoring_uri: Some("http://127.0.0.1:1/score".into()),
    };
    Caller { name: name.into(), kind: CallerKind::Service(Box::new(config)), limits: None, evict_after: None }
}

fn config(upstream: &Upstream, callers: Vec<Caller>) -> Config {
    let mut config = gate::config(upstream.address);
    config.routes = callers.iter().map(|one| gate::route(&format!("/{}", one.name), "iris", &[&one.name])).collect();
    config.callers = callers;
    config.timeouts.idle = Duration::from_secs(1_000_000);
    config
}

fn bearer(key: &Key, oid: &str, audience: &str) -> String {
    let claims = json!({ "iss": "https://sts.windows.net/t/", "aud": audience, "oid": oid, "exp": ORIGIN + 1_000_000 });
    key.sign(&claims)
}

async fn manage(gate: &TestGate, token: Option<&str>, method: Method, path: &str, body: &str) -> Answer {
    let asked = Asked {
        method,
        path: path.to_owned(),
        query: Some("expand=true".to_owned()),
        token: token.map(|token| token.as_bytes().to_vec()),
        body: body.as_bytes().to_vec(),
    };
    Arc::clone(&gate.gate).manage(asked).await
}

async fn post(gate: &TestGate, token: &str, what: &str) -> (u16, Value) {
    let answer = manage(gate, Some(token), Method::POST, &format!("{SERVICES}/{what}"), "").await;
    (answer.status, answer.body.unwrap_or_default())
}

async fn ask(caller: &mut Client, path: &str, value: &str) -> (u16, String) {
    let mut request = get(path);
    request.headers_mut().remove("authorization");
    client::verdict(&caller.send(with(request, "authorization", &format!("Bearer {value}"))).await)
}

fn start(config: Config, clock: &Clock, state: &Path) -> TestGate {
    TestGate::start_in(config, clock.clone(), state)
}

#[tokio::test]
async fn one_key_is_regenerated_and_whoever_has_the_other_is_not_interrupted() {
    let (upstream, key, state) = (Upstream::echo().await, Key::new("one"), tempfile::tempdir().unwrap());
    let clock = Clock::manual(ORIGIN);
    let mut config = config(&upstream, vec![service("diabetes", ServiceKind::Aks, AuthMode::Key, true, &key)]);
    gate::forward_of(&mut config.routes[0]).identity_header = Some("x-auth-subject".into());
    let gate = start(config.clone(), &clock, state.path());
    let manager = bearer(&key, MANAGER, ARM);
    let (status, keys) = post(&gate, &manager, "diabetes/listkeys").await;
    assert_eq!(status, 200);
    let [primary, secondary] = ["primaryKey", "secondaryKey"].map(|name| keys[name].as_str().unwrap().to_owned());
    let mut both = Client::both(gate.address("public")).await;
    for caller in &mut both {
        for key in [&primary, &secondary] {
            assert_eq!(ask(caller, "/diabetes", key).await.0, 200);
            let seen = upstream.seen().pop().unwrap();
            assert_eq!(seen.header("x-auth-subject"), Some("diabetes"), "whichever key");
        }
        assert_eq!(ask(caller, "/diabetes", "neither").await, (401, "caller_unknown".into()));
    }
    let regenerate = format!("{SERVICES}/diabetes/regenerateKeys");
    let body = r#"{"keyType":"Primary","keyValue":null}"#;
    let answer = manage(&gate, Some(&manager), Method::POST, &regenerate, body).await;
    let operation = answer.operation.unwrap();
    assert_eq!((answer.status, answer.body), (202, None));
    let id = operation.rsplit('/').next().unwrap();
    let polled = SERVICES.replace("services", &format!("operations/{id}"));
    let polled = manage(&gate, Some(&manager), Method::GET, &polled, "").await;
    assert_eq!(polled.body.unwrap()["state"], "Succeeded");
    let (_, keys) = post(&gate, &manager, "diabetes/listkeys").await;
    let renewed = keys["primaryKey"].as_str().unwrap().to_owned();
    assert_ne!(renewed, primary);
    assert_eq!(keys["secondaryKey"], secondary.as_str());
    for caller in &mut both {
        assert_eq!(ask(caller, "/diabetes", &primary).await, (401, "caller_unknown".into()));
        assert_eq!(ask(caller, "/diabetes", &secondary).await.0, 200);
        assert_eq!(ask(caller, "/diabetes", &renewed).await.0, 200);
    }
    // A value of one's own; never that of the other key.
    let wanted = |slot: &str, value: &str| json!({ "keyType": slot, "keyValue": value }).to_string();
    for (body, status) in [
        (wanted("Secondary", "a-value-of-our-own-0123456789"), 202),
        (wanted("Primary", "a-value-of-our-own-0123456789"), 400),
        (wanted("Tertiary", "x"), 400),
        ("[]".to_owned(), 400),
    ] {
        assert_eq!(manage(&gate, Some(&manager), Method::POST, &regenerate, &body).await.status, status, "{body}");
    }
    assert_eq!(ask(&mut both[0], "/diabetes", &secondary).await.0, 401);
    eventually("the access log says which key", || gate.access_log().contains(r#""subject":"secondary""#)).await;
    let before = format!("{}{}", gate.access_log(), gate.metrics());
    drop(gate);
    // What was handed out outlives the process, and is nowhere to be read.
    let gate = start(config, &clock, state.path());
    let (_, after) = post(&gate, &manager, "diabetes/listkeys").await;
    assert_eq!(after["primaryKey"], renewed.as_str());
    let mut caller = Client::connect("h1", gate.address("public")).await;
    assert_eq!(ask(&mut caller, "/diabetes", "a-value-of-our-own-0123456789").await.0, 200);
    let mut written = format!("{before}{}{}", gate.access_log(), gate.metrics());
    for file in std::fs::read_dir(state.path()).unwrap().flatten() {
        written += &String::from_utf8_lossy(&std::fs::read(file.path()).unwrap());
    }
    for secret in [primary.as_str(), &secondary, &renewed, "a-value-of-our-own", "canary", &manager] {
        assert!(!written.contains(secret));
    }
}

#[tokio::test]
async fn nobody_but_a_manager_is_answered() {
    let (upstream, key, stranger) = (Upstream::echo().await, Key::new("one"), Key::new("one"));
    let callers = vec![service("diabetes", ServiceKind::Aks, AuthMode::Key, true, &key)];
    let state = tempfile::tempdir().unwrap();
    let gate = start(config(&upstream, callers), &Clock::manual(ORIGIN), state.path());
    let manager = bearer(&key, MANAGER, ARM);
    for path in ["", "/diabetes", "/diabetes/listkeys", "/diabetes/regenerateKeys", "/nothing"] {
        for method in [Method::GET, Method::POST] {
            for (token, status) in [
                (None, 401),
                (Some("a.b.c".to_owned()), 401),
                (Some(bearer(&stranger, MANAGER, ARM)), 401),
                (Some(bearer(&key, MANAGER, "https://ml.azure.com")), 401),
                (Some(bearer(&key, "22222222-2222-2222-2222-222222222222", ARM)), 403),
            ] {
                let path = format!("{SERVICES}{path}");
                let answer = manage(&gate, token.as_deref(), method.clone(), &path, "{}").await;
                assert_eq!(answer.status, status, "{method} {path} {token:?}");
                let body = answer.body.unwrap();
                assert_eq!(body["statusCode"], status);
                assert!(!body.to_string().contains("diabetes"));
            }
        }
    }
    for (method, path, status) in [
        (Method::GET, "/nothing", 404),
        (Method::GET, "/diabetes/listkeys", 405),
        (Method::DELETE, "/diabetes", 405),
        (Method::POST, "/diabetes/token", 400),
        (Method::GET, "/diabetes/else", 404),
        (Method::GET, "/../../../../../etc", 404),
    ] {
        let answer = manage(&gate, Some(&manager), method, &format!("{SERVICES}{path}"), "").await;
        assert_eq!(answer.status, status, "{path}");
    }
    for path in ["/", "/modelmanagement/v1.0", "/modelmanagement/v1.0/subscriptions/s/services", "/status"] {
        assert_eq!(manage(&gate, Some(&manager), Method::GET, path, "").await.status, 404, "{path}");
    }
    let listed = manage(&gate, Some(&manager), Method::GET, &SERVICES.to_uppercase().replace("V1.0", "v1.0"), "").await;
    assert_eq!(listed.body.unwrap()["value"][0]["computeType"], "AKS");
}

#[tokio::test]
async fn without_a_seal_key_digests_alone_are_kept_and_listkeys_says_so() {
    let (upstream, key, state) = (Upstream::echo().await, Key::new("one"), tempfile::tempdir().unwrap());
    let clock = Clock::manual(ORIGIN);
    let config = config(&upstream, vec![service("diabetes", ServiceKind::Aks, AuthMode::Key, false, &key)]);
    let gate = start(config.clone(), &clock, state.path());
    let manager = bearer(&key, MANAGER, ARM);
    let (status, body) = post(&gate, &manager, "diabetes/listkeys").await;
    assert_eq!(status, 409);
    assert!(body["message"].as_str().unwrap().contains("seal_key"), "{body}");
    let body = json!({ "keyType": "Primary", "keyValue": "a-value-of-our-own-0123456789" }).to_string();
    let regenerate = format!("{SERVICES}/diabetes/regenerateKeys");
    assert_eq!(manage(&gate, Some(&manager), Method::POST, &regenerate, &body).await.status, 202);
    drop(gate);
    let gate = start(config, &clock, state.path());
    let mut caller = Client::connect("h2", gate.address("public")).await;
    assert_eq!(ask(&mut caller, "/diabetes", "a-value-of-our-own-0123456789").await.0, 200);
    assert_eq!(post(&gate, &manager, "diabetes/listkeys").await.0, 409);
}

#[tokio::test]
async fn tokens_have_an_end_and_outlive_a_restart_with_and_without_a_seal_key() {
    let (upstream, key) = (Upstream::echo().await, Key::new("one"));
    for sealed in [true, false] {
        let state = tempfile::tempdir().unwrap();
        let clock = Clock::manual(ORIGIN);
        let callers = vec![
            service("diabetes", ServiceKind::Aks, AuthMode::Token, sealed, &key),
            service("other", ServiceKind::Aks, AuthMode::Token, sealed, &key),
        ];
        let config = config(&upstream, callers);
        let manager = bearer(&key, MANAGER, ARM);
        let gate = start(config.clone(), &clock, state.path());
        let (status, issued) = post(&gate, &manager, "diabetes/token").await;
        assert_eq!(status, 201);
        assert_eq!(issued["expiryOn"], ORIGIN + 3_600);
        assert_eq!(issued["refreshAfter"], ORIGIN + 1_800);
        assert_eq!(post(&gate, &manager, "diabetes/listkeys").await.0, 400);
        let token = issued["accessToken"].as_str().unwrap().to_owned();
        for mut caller in Client::both(gate.address("public")).await {
            for _ in 0..2 {
                assert_eq!(ask(&mut caller, "/diabetes", &token).await.0, 200);
                assert_eq!(ask(&mut caller, "/other", &token).await, (401, "caller_unknown".into()));
            }
        }
        drop(gate);
        let gate = start(config, &clock, state.path());
        let mut both = Client::both(gate.address("public")).await;
        clock.advance(Duration::from_secs(3_599));
        for caller in &mut both {
            assert_eq!(ask(caller, "/diabetes", &token).await.0, 200, "sealed: {sealed}");
        }
        clock.advance(Duration::from_secs(1));
        for caller in &mut both {
            assert_eq!(ask(caller, "/diabetes", &token).await, (401, "caller_expired".into()));
        }
    }
}

#[tokio::test]
async fn an_open_service_takes_everyone_and_what_is_kept_is_never_written_over() {
    let (upstream, key, state) = (Upstream::echo().await, Key::new("one"), tempfile::tempdir().unwrap());
    let clock = Clock::manual(ORIGIN);
    let callers = vec![
        service("open", ServiceKind::Aci, AuthMode::None, false, &key),
        service("diabetes", ServiceKind::Aks, AuthMode::Key, true, &key),
    ];
    let config = config(&upstream, callers);
    let gate = start(config.clone(), &clock, state.path());
    let mut caller = Client::connect("h1", gate.address("public")).await;
    let mut request = get("/open");
    request.headers_mut().remove("authorization");
    assert_eq!(caller.send(request).await.status(), 200);
    assert_eq!(ask(&mut caller, "/open", "whatever").await.0, 200);
    let manager = bearer(&key, MANAGER, ARM);
    let described = manage(&gate, Some(&manager), Method::GET, &format!("{SERVICES}/open"), "").await.body.unwrap();
    assert_eq!((&described["computeType"], &described["authEnabled"]), (&json!("ACI"), &json!(false)));
    assert_eq!(described["scoringUri"], "http://127.0.0.1:1/score");
    // A reload that cannot go on from what is kept is refused, and nothing changes.
    let file = scoregate::control::played::kept::file("third");
    std::fs::write(state.path().join(&file), "half").unwrap();
    let third = service("third", ServiceKind::Aks, AuthMode::Key, true, &key);
    assert!(gate.reload(false, |config| config.callers.push(third)).await.is_err());
    assert_eq!(std::fs::read_to_string(state.path().join(&file)).unwrap(), "half");
    assert_eq!(post(&gate, &manager, "diabetes/listkeys").await.0, 200);
    assert_eq!(ask(&mut caller, "/open", "whatever").await.0, 200);
}

#[tokio::test]
async fn a_stream_that_a_services_key_let_in_ends_soon_after_it_is_regenerated() {
    let (upstream, key) = (eviction::endless().await, Key::new("one"));
    for kind in Client::KINDS {
        let state = tempfile::tempdir().unwrap();
        let diabetes = service("diabetes", ServiceKind::Aks, AuthMode::Key, true, &key);
        let mut config = config(&upstream, vec![Caller { evict_after: Some(Duration::from_secs(10)), ..diabetes }]);
        config.timeouts.stream_idle = Duration::from_secs(100_000);
        let gate = start(config, &Clock::manual(ORIGIN), state.path());
        let manager = bearer(&key, MANAGER, ARM);
        let (_, keys) = post(&gate, &manager, "diabetes/listkeys").await;
        let mut open = Vec::new();
        for name in ["primaryKey", "secondaryKey"] {
            let mut caller = Client::connect(kind, gate.address("public")).await;
            let mut asked = get("/diabetes");
            asked.headers_mut().remove("authorization");
            let asked = with(asked, "authorization", &format!("Bearer {}", keys[name].as_str().unwrap()));
            let mut body = caller.open(asked).await.unwrap().into_body();
            assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "some");
            open.push((caller, body));
        }
        let regenerate = format!("{SERVICES}/diabetes/regenerateKeys");
        let body = r#"{"keyType":"Primary","keyValue":null}"#;
        assert_eq!(manage(&gate, Some(&manager), Method::POST, &regenerate, body).await.status, 202);
        let (_stays, mut by_secondary) = open.pop().unwrap();
        let (_goes, by_primary) = open.pop().unwrap();
        eviction::ends_in_time(&gate, by_primary).await;
        eviction::goes_on(&gate, &mut by_secondary).await;
    }
}
