//! A gate whose endpoints are services of Azure's: found by itself, served when they are known, refused until then.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use scoregate::{
    azure::{
        calls::Calls,
        http::{Attempts, Http, Proxies},
        identity::TokenEndpoint,
        service::{
            Auth, ControlPlane, Description, KeyPair, Kind, Name, Regenerated, ServiceToken,
            operation::{Operation, Progress},
        },
        url::Url,
    },
    clock::Clock,
    config::model::{self, Action, Config, Credential, Service, Slot, Upkeep},
    control::{
        admin::{Operations, report::EndpointStatus},
        azure::{self, Clients, Connect},
        journals::Journals,
        state::fresh_salt,
    },
    rotation::rules::Rules,
    secret::Secret,
};
use serde_json::json;
use tokio::task::JoinHandle;

use super::world::World;
use crate::support::{
    client::{code, get, once, post},
    eventually,
    gate::{self, TestGate},
    in_time,
};

/// A gate with the services of a world, and the task that looks after them.
struct Azured {
    gate: TestGate,
    attending: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Azured {
    fn drop(&mut self) {
        self.attending.abort();
    }
}

/// None on the disk: nothing is rotated here.
fn journals() -> Journals {
    Journals::new(Err("a test has none".to_owned()), fresh_salt().unwrap())
}

fn service(name: &str, kind: Kind) -> Service {
    Service {
        workspace: "ml".into(),
        name: Name { name: name.into(), kind },
        auth: None,
        active: None,
        plaintext: false,
        upkeep: Upkeep::default(),
    }
}

/// One endpoint and one route for each service, by its name.
fn config(world: &World, services: &[(&str, Kind)]) -> Config {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let mut config = gate::config(nowhere);
    config.identities = vec![world.identity(world.by_secret())];
    config.workspaces = vec![model::Workspace { name: "ml".into(), identity: "default".into(), place: world.place() }];
    config.endpoints = services.iter().map(|(name, kind)| endpoint(world, name, *kind)).collect();
    config.routes = services.iter().map(|(name, _)| gate::route(&format!("/{name}"), name, &["team-a"])).collect();
    config
}

fn endpoint(world: &World, name: &str, kind: Kind) -> model::Endpoint {
    let ca = world.ca();
    let mut endpoint = gate::endpoint(name, "127.0.0.1:1".parse().unwrap());
    endpoint.service = Some(service(name, kind));
    endpoint.upstreams.clear();
    endpoint.credential = Credential::OfService;
    endpoint.connect.ca = Some((ca.roots, ca.digest));
    endpoint
}

impl Azured {
    fn start(world: &World, config: Config) -> Self {
        Self::start_with(world, config, Clock::system())
    }

    fn start_with(_: &World, config: Config, clock: Clock) -> Self {
        let gate = TestGate::start_with(config, clock.clone());
        let http = Http::new(Proxies::none(), clock, Attempts::ONE);
        let attending = tokio::spawn(azure::attend(Arc::clone(&gate.gate), Clients::new(http), journals()));
        Self { gate, attending }
    }

    fn status(&self, endpoint: &str) -> EndpointStatus {
        self.gate.gate.status().endpoints.into_iter().find(|one| one.name == endpoint).unwrap()
    }

    fn is_ready(&self, endpoint: &str) -> bool {
        self.status(endpoint).ready
    }

    async fn score(&self, path: &str) -> Response<Bytes> {
        let request = post(path, r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#);
        in_time("score", once(self.gate.address("public"), request)).await
    }
}

const ALL: [(&str, Kind); 7] = [
    ("aci-key", Kind::Aci),
    ("aci-open", Kind::Aci),
    ("aks-key", Kind::Aks),
    ("aks-token", Kind::Aks),
    ("online-key", Kind::Online),
    ("online-token", Kind::Online),
    ("online-entra", Kind::Online),
];

#[tokio::test]
async fn services_of_every_kind_are_found_and_score_with_nothing_but_their_names() {
    let world = World::start().await;
    let azured = Azured::start(&world, config(&world, &ALL));
    eventually("every service is found", || azured.gate.gate.ready().ready).await;
    for (name, kind) in ALL {
        let scored = azured.score(&format!("/{name}")).await;
        assert_eq!(scored.status(), 200, "{name}: {}", String::from_utf8_lossy(scored.body()));
        assert!(String::from_utf8_lossy(scored.body()).contains("setosa"));
        let swagger = once(azured.gate.address("public"), get(&format!("/{name}/swagger.json"))).await;
        assert_eq!(swagger.status(), 200, "{name} ({kind}): the description is beside the scoring path");
    }
    let slots = |name: &str| azured.status(name).slots.iter().map(|slot| slot.slot.clone()).collect::<Vec<_>>();
    assert_eq!(slots("aks-key"), ["primary", "secondary"]);
    assert_eq!((slots("aks-token"), slots("aci-open")), (vec!["token".to_owned()], vec![]));
    // Nothing that was fetched can be read anywhere.
    let said = format!(
        "{:?} {} {} {:?}",
        azured.gate.gate.status(),
        azured.gate.gate.config(),
        azured.gate.metrics(),
        azured.gate.gate.in_force()
    );
    for name in ["aci-key", "aks-key", "online-key"] {
        for key in world.keys(name).await {
            assert!(!said.contains(&key), "{name}");
        }
    }
    assert!(!said.contains(&world.ports().client_secret) && !said.contains("eyJ"));
}

#[tokio::test]
async fn an_open_service_is_attached_nothing() {
    let world = World::start().await;
    let azured = Azured::start(&world, config(&world, &[("aci-open", Kind::Aci)]));
    eventually("it is found", || azured.is_ready("aci-open")).await;
    assert_eq!(azured.score("/aci-open").await.status(), 200);
    let seen = world.order(http::Method::GET, "/seen", json!({})).await;
    assert!(seen["services"]["aci-open"]["by_value"].as_array().unwrap().is_empty(), "{seen}");
    assert_eq!(world.seen("mms", "listkeys").await, 0);
}

#[tokio::test]
async fn until_it_is_known_requests_are_refused_and_it_heals_by_itself() {
    let clock = Clock::manual(1_800_000_000);
    let world = World::start_with(clock.clone(), Attempts::ONE).await;
    world.misbehave(json!({ "target": "entra", "kind": "status", "status": 503 })).await;
    let azured = Azured::start_with(&world, config(&world, &[("aks-key", Kind::Aks)]), clock.clone());
    eventually("the reason is known", || azured.status("aks-key").reason.unwrap().contains("503")).await;
    let refused = azured.score("/aks-key").await;
    assert_eq!((refused.status().as_u16(), code(&refused).as_str()), (503, "credential_unavailable"));
    assert!(refused.headers().contains_key("retry-after"));
    let ready = azured.gate.gate.ready();
    assert!(!ready.ready);
    assert_eq!(ready.endpoints[0].reason.as_deref(), Some("its service or its credential is not known yet"));
    let reason = azured.status("aks-key").reason.unwrap();
    assert!(reason.starts_with("cannot sign in as application") && !reason.contains('\n'), "{reason}");

    for _ in 0..60 {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let tries = world.seen("entra", "token:client_credentials").await;
    assert!((2..=4).contains(&tries), "{tries} calls in a minute");
    world.behave().await;
    in_time("it is found", async {
        while !azured.is_ready("aks-key") {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(azured.score("/aks-key").await.status(), 200);
    assert_eq!(azured.status("aks-key").reason, None);
}

#[tokio::test]
async fn a_mistake_at_azure_is_looked_at_again_once_a_minute_and_delays_nobody_else() {
    let clock = Clock::manual(1_800_000_000);
    let world = World::start_with(clock.clone(), Attempts::ONE).await;
    world.tell("aks-key", json!({ "deny": ["listkeys"] })).await;
    let azured =
        Azured::start_with(&world, config(&world, &[("aks-key", Kind::Aks), ("aci-key", Kind::Aci)]), clock.clone());
    eventually("the other is found", || azured.is_ready("aci-key")).await;
    eventually("the reason is known", || azured.status("aks-key").reason.unwrap().contains("role-read.json")).await;
    let before = world.seen("mms", "listkeys").await;
    for _ in 0..59 {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(world.seen("mms", "listkeys").await, before, "nothing more within a minute");
    world.tell("aks-key", json!({ "deny": [] })).await;
    in_time("it is found", async {
        while !azured.is_ready("aks-key") {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn readiness_is_asked_as_it_is_configured() {
    let world = World::start().await;
    let services = [("aks-key", Kind::Aks), ("nothing", Kind::Aks)];
    for (readiness, expected) in [
        (model::Readiness::All, false),
        (model::Readiness::Any, true),
        (model::Readiness::Named(vec!["aks-key".into()]), true),
        (model::Readiness::Named(vec!["nothing".into()]), false),
    ] {
        let mut config = config(&world, &services);
        config.readiness = readiness.clone();
        let azured = Azured::start(&world, config);
        eventually("one is found and one is not", || {
            azured.is_ready("aks-key") && azured.status("nothing").reason.unwrap().contains("WebserviceNotFound")
        })
        .await;
        assert_eq!(azured.gate.gate.ready().ready, expected, "{readiness:?}");
    }
}

#[tokio::test]
async fn a_reload_leaves_what_it_does_not_change_and_finds_what_is_new() {
    let world = World::start().await;
    let mut config = config(&world, &[("aks-key", Kind::Aks)]);
    // A key that somebody changed is proved before requests get it; here in no time.
    let quick = Rules {
        adopt_gap: Duration::ZERO,
        probe_spread: Duration::ZERO,
        settle: Duration::from_millis(50),
        ..Rules::default()
    };
    config.endpoints[0].service.as_mut().unwrap().upkeep.rules = quick;
    let azured = Azured::start(&world, config);
    eventually("it is found", || azured.is_ready("aks-key")).await;

    // Something else changes, and which of the keys is attached.
    let report = azured
        .gate
        .reload(false, |config| {
            config.limits.fields = 50;
            config.endpoints[0].service.as_mut().unwrap().active = Some(Slot::Secondary);
        })
        .await
        .unwrap();
    assert!(report.changed.contains(&"endpoint `aks-key` attaches the other key".to_owned()), "{:?}", report.changed);
    assert!(azured.is_ready("aks-key"), "at no moment was it not");
    assert_eq!(azured.score("/aks-key").await.status(), 200);
    let active =
        |azured: &Azured| azured.status("aks-key").slots.into_iter().find(|slot| slot.active).map(|slot| slot.slot);
    eventually("it is attached", || active(&azured).as_deref() == Some("secondary")).await;

    // Somebody regenerates the key that is not attached: the next reload reads it, and nothing was unready meanwhile.
    let primary = || azured.status("aks-key").slots[0].fingerprint.clone();
    let before = primary();
    world.order(http::Method::POST, "/services/aks-key/regenerate", json!({ "key": "Primary" })).await;
    azured.gate.reload(false, |_| {}).await.unwrap();
    assert!(azured.is_ready("aks-key"));
    eventually("the new key is read", || primary() != before).await;
    azured
        .gate
        .reload(false, |config| config.endpoints[0].service.as_mut().unwrap().active = Some(Slot::Primary))
        .await
        .unwrap();
    eventually("it is attached", || active(&azured).as_deref() == Some("primary")).await;
    assert_eq!(azured.score("/aks-key").await.status(), 200);

    // Another service takes the name's place, and one is added.
    azured
        .gate
        .reload(false, |config| {
            config.endpoints[0].service = Some(service("aci-key", Kind::Aci));
            config.endpoints.push(endpoint(&world, "online-key", Kind::Online));
            config.routes.push(gate::route("/online-key", "online-key", &["team-a"]));
        })
        .await
        .unwrap();
    eventually("the new ones are found", || azured.gate.gate.ready().ready).await;
    assert!(azured.status("aks-key").upstreams[0].contains(&world.ports().scoring["aci-key"][0]["http://".len()..]));
    assert_eq!(azured.score("/aks-key").await.status(), 200);
    assert_eq!(azured.score("/online-key").await.status(), 200);

    // And goes.
    azured
        .gate
        .reload(false, |config| {
            config.endpoints.pop();
            config.routes.pop();
        })
        .await
        .unwrap();
    assert_eq!(azured.score("/online-key").await.status(), 404);
}

#[tokio::test]
async fn a_token_is_renewed_and_one_that_has_expired_is_never_attached() {
    // In real time: what an answer's `Date` says is believed, and the mock's is the system's.
    let world = World::start().await;
    world.tell("online-token", json!({ "token_lifetime": 4, "refresh_after": 2 })).await;
    let azured = Azured::start(&world, config(&world, &[("online-token", Kind::Online)]));
    eventually("it is found", || azured.is_ready("online-token")).await;
    let fingerprint = || azured.status("online-token").slots.first().and_then(|slot| slot.fingerprint.clone());
    let first = fingerprint();
    eventually("it is renewed", || fingerprint() != first).await;
    assert_eq!(azured.score("/online-token").await.status(), 200);

    world.misbehave(json!({ "target": "arm", "kind": "status", "status": 503, "call": "token" })).await;
    assert_eq!(azured.score("/online-token").await.status(), 200, "the old one serves until its end");
    eventually("it is withheld", || !azured.is_ready("online-token")).await;
    let refused = azured.score("/online-token").await;
    assert_eq!((refused.status().as_u16(), code(&refused).as_str()), (503, "credential_unavailable"));
    let seen = world.order(http::Method::GET, "/seen", json!({})).await;
    assert_eq!(seen["services"]["online-token"]["expired_tokens"], 0, "{seen}");

    world.behave().await;
    eventually("it heals", || azured.is_ready("online-token")).await;
    assert_eq!(azured.score("/online-token").await.status(), 200);
}

#[tokio::test]
async fn a_route_without_a_credential_needs_none() {
    let clock = Clock::manual(1_800_000_000);
    let world = World::start_with(clock.clone(), Attempts::ONE).await;
    let mut config = config(&world, &[("aci-open", Kind::Aci)]);
    // Said to want a token that there is none of.
    config.endpoints[0].service.as_mut().unwrap().auth = Some(Auth::Key);
    let azured = Azured::start_with(&world, config, clock);
    eventually("the reason is known", || azured.status("aci-open").reason.unwrap().contains("status 400")).await;
    assert_eq!(azured.score("/aci-open").await.status(), 503);
    azured
        .gate
        .reload(false, |config| {
            config.endpoints[0].service.as_mut().unwrap().auth = Some(Auth::Open);
            let Action::Forward(forward) = &mut config.routes[0].action else { panic!("denies") };
            forward.attach = false;
        })
        .await
        .unwrap();
    eventually("it is found", || azured.is_ready("aci-open")).await;
    assert_eq!(azured.score("/aci-open").await.status(), 200);
}

/// Tells what it is told to, and answers a token that lives a minute; then never again.
#[derive(Debug)]
struct Hanging {
    asked: std::sync::atomic::AtomicUsize,
    expires_unix: i64,
}

type Answer<'a, T> = scoregate::azure::BoxFuture<'a, Result<T, scoregate::azure::error::Error>>;

impl ControlPlane for Hanging {
    fn resource_id<'a>(&'a self, _: &'a mut Calls) -> Answer<'a, String> {
        Box::pin(std::future::pending())
    }

    fn describe<'a>(&'a self, _: &'a mut Calls) -> Answer<'a, Description> {
        Box::pin(async {
            if self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
                std::future::pending::<()>().await;
            }
            Ok(Description {
                scoring: Some(Url::parse("http://127.0.0.1:1/score").unwrap()),
                auth: Some(Auth::Token),
                state: "Succeeded".into(),
                region: None,
                compute: None,
            })
        })
    }

    fn list_keys<'a>(&'a self, _: &'a mut Calls) -> Answer<'a, KeyPair> {
        Box::pin(std::future::pending())
    }

    fn regenerate<'a>(&'a self, _: Slot, _: Option<&'a Secret>, _: &'a mut Calls) -> Answer<'a, Regenerated> {
        Box::pin(std::future::pending())
    }

    fn poll<'a>(&'a self, _: &'a Operation, _: &'a mut Calls) -> Answer<'a, Progress> {
        Box::pin(std::future::pending())
    }

    fn token<'a>(&'a self, _: Auth, _: Option<&'a Secret>, _: &'a mut Calls) -> Answer<'a, ServiceToken> {
        let value = Secret::new(b"canary-token".to_vec());
        let (expires_unix, refresh_unix) = (self.expires_unix, self.expires_unix - 30);
        Box::pin(async move { Ok(ServiceToken { value, expires_unix, refresh_unix, ahead: None }) })
    }
}

struct Fake(Arc<Hanging>);

impl Connect for Fake {
    fn connect(&mut self, _: &Config, _: &Service) -> Option<Arc<dyn ControlPlane>> {
        Some(Arc::clone(&self.0) as _)
    }

    fn forget_all_but(&mut self, _: &Config) {}
}

#[tokio::test]
async fn a_token_leaves_at_its_end_however_long_a_call_takes_and_whatever_is_reloaded() {
    for reload in [false, true] {
        let world = World::start().await;
        let clock = Clock::manual(1_800_000_000);
        let gate = TestGate::start_with(config(&world, &[("aks-token", Kind::Aks)]), clock.clone());
        let plane = Arc::new(Hanging { asked: 0.into(), expires_unix: 1_800_000_060 });
        let attending = tokio::spawn(azure::attend(Arc::clone(&gate.gate), Fake(plane), journals()));
        let ready = || gate.gate.ready().ready;
        eventually("it is found", ready).await;
        if reload {
            // The identity changes: another task looks after the same service, with a token that it did not fetch.
            gate.reload(false, |config| config.identities[0].endpoint = TokenEndpoint::V1).await.unwrap();
            assert!(ready(), "what is still good stays");
        }
        for _ in 0..59 {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(ready());
        }
        clock.advance(Duration::from_secs(2));
        eventually("it is withheld", || !ready()).await;
        attending.abort();
    }
}
