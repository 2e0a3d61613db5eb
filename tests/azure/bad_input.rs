//! What people get wrong and what breaks: each is one clear sentence, at most four calls in a minute, and no panic.

use std::{sync::Arc, time::Duration};

use http::Method;
use scoregate::{
    azure::{
        calls::Calls,
        error::Error,
        http::Attempts,
        identity::{Identity, Kind, service_principal::Proof},
        service::{self, ControlPlane, Name},
        token::Wanted,
        workspace::Workspace,
    },
    clock::Clock,
    secret::Secret,
};
use serde_json::json;

use super::world::{World, by_certificate, pass_while};

/// Begins at a time that certificates of this machine know nothing of: only the mock and the client go by it.
const NOW: u64 = 1_800_000_000;
const MINUTE: Duration = Duration::from_secs(60);

/// A world whose time passes when the test says so.
async fn world() -> World {
    World::start_with(Clock::manual(NOW), Attempts::FEW).await
}

/// One sentence of a failure: nothing secret, one line, and not longer than a person reads.
#[track_caller]
fn sentence(world: &World, error: &Error) -> String {
    let text = error.to_string();
    for secret in ["canary", &world.ports().client_secret] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.starts_with("cannot ") && !text.contains('\n') && text.len() < 700, "{text}");
    text
}

/// Asks for something, and again as soon as it failed, for a minute: how many calls the worst of it cost at one address.
async fn worst(world: &World, plane: &dyn ControlPlane) -> (String, usize) {
    let mut calls = Calls::default();
    let (error, took) = pass_while(&world.clock, plane.list_keys(&mut calls)).await;
    let error = sentence(world, &error.unwrap_err());
    assert!(took < MINUTE, "{took:?}: {error}");
    let most = calls.made().iter().map(|call| calls.count(call.why)).max().unwrap_or(0);
    (error, most)
}

fn identity_with(world: &World, secret: &str) -> Identity {
    world.identity(world.application(Proof::Secret(Secret::new(secret.as_bytes().to_vec()))))
}

fn service_as(world: &World, identity: &Identity, name: &str, kind: service::Kind) -> Arc<dyn ControlPlane> {
    let workspace = Arc::new(Workspace::new(world.control(identity), world.place()));
    service::connect(workspace, Name { name: name.into(), kind })
}

#[tokio::test]
async fn a_wrong_secret_costs_one_call() {
    let world = world().await;
    let identity = identity_with(&world, "canary-wrong-secret");
    let mut calls = Calls::default();
    let plane = service_as(&world, &identity, "aks-key", service::Kind::Aks);
    let error = plane.list_keys(&mut calls).await.unwrap_err();
    assert_eq!(calls.to_string(), "1 calls: sign_in 401");
    assert!(sentence(&world, &error).contains("AADSTS7000215"), "{error}");
    assert_eq!(world.seen("mms", "listkeys").await, 0);
}

#[tokio::test]
async fn each_mistake_is_one_sentence_and_few_calls() {
    let world = world().await;
    let good = world.identity(world.by_secret());
    let Kind::Application(application) = good.kind.clone() else { panic!("another kind") };
    let elsewhere = Kind::Application(scoregate::azure::identity::service_principal::Application {
        tenant: "00000000-0000-4000-8000-00000000dead".into(),
        ..application
    });
    let no_tenant = world.identity(elsewhere);
    let plane = service_as(&world, &no_tenant, "aks-key", service::Kind::Aks);
    let (error, most) = worst(&world, &*plane).await;
    assert!(error.contains("90002") && error.contains("is `tenant_id` right") && most == 1, "{most}: {error}");

    world.tell("aks-key", json!({ "deny": ["listkeys"] })).await;
    let plane = service_as(&world, &good, "aks-key", service::Kind::Aks);
    let (error, most) = worst(&world, &*plane).await;
    assert!(
        error.contains("services/aks/listkeys/action") && error.contains("role-read.json") && most == 1,
        "{most}: {error}"
    );
    world.tell("aks-key", json!({ "deny": [] })).await;

    let mut place = world.place();
    place.subscription = "5b5c0000-0000-4000-8000-00000000dead".into();
    let workspace = Arc::new(Workspace::new(world.control(&good), place));
    let plane = service::connect(workspace, Name { name: "aks-key".into(), kind: service::Kind::Aks });
    let (error, most) = worst(&world, &*plane).await;
    assert!(error.contains("SubscriptionNotFound") && error.contains("workspace list") && most == 1, "{most}: {error}");

    for (kind, code) in [(service::Kind::Aks, "WebserviceNotFound"), (service::Kind::Online, "status 404")] {
        let plane = service_as(&world, &good, "no-such-service", kind);
        let (error, most) = worst(&world, &*plane).await;
        assert!(error.contains(code) && error.contains("workspace ml-example has no") && most == 1, "{most}: {error}");
    }

    let mut untrusted = good.clone();
    untrusted.cloud.ca = None;
    let plane = service_as(&world, &untrusted, "aks-key", service::Kind::Aks);
    let (error, most) = worst(&world, &*plane).await;
    assert!(
        error.contains("certificate of localhost") && error.contains("is not trusted") && most == 1,
        "{most}: {error}"
    );
}

#[tokio::test]
async fn nonsense_in_the_place_of_an_answer_is_told_and_not_asked_for_again() {
    let world = world().await;
    for target in ["entra", "arm", "mms"] {
        world.misbehave(json!({ "target": target, "kind": "garbage" })).await;
        let plane = service_as(&world, &world.identity(world.by_secret()), "aks-key", service::Kind::Aks);
        let (error, most) = worst(&world, &*plane).await;
        assert!(error.contains("answered 20") && error.contains("where") && most == 1, "{target} {most}: {error}");
        world.behave().await;
    }
}

#[tokio::test]
async fn an_outage_costs_few_calls_and_heals_by_itself() {
    let world = world().await;
    for (fault, expected) in [
        (json!({ "target": "entra", "kind": "down" }), "cannot be reached"),
        (json!({ "target": "entra", "kind": "status", "status": 503 }), "status 503"),
        (json!({ "target": "entra", "kind": "status", "status": 429, "retry_after": 5 }), "status 429"),
        (json!({ "target": "arm", "kind": "status", "status": 500 }), "status 500"),
        (json!({ "target": "mms", "kind": "down" }), "cannot"),
        (json!({ "target": "mms", "kind": "status", "status": 429, "retry_after": 10 }), "status 429"),
    ] {
        world.misbehave(fault.clone()).await;
        let plane = service_as(&world, &world.identity(world.by_secret()), "aks-key", service::Kind::Aks);
        let (error, most) = worst(&world, &*plane).await;
        assert!(error.contains(expected) && most <= 4, "{fault} {most}: {error}");
        world.behave().await;
        let mut calls = Calls::default();
        let (keys, _) = pass_while(&world.clock, plane.list_keys(&mut calls)).await;
        keys.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_five_minutes_off_is_no_reason_to_ask_for_ever() {
    for (off, ours) in [(300_i64, true), (-300, true), (300, false), (-300, false)] {
        // Whichever of the two clocks is the wrong one.
        let (world, theirs) = if ours {
            let clock = Clock::manual(Clock::system().unix_seconds().checked_add_signed(off).unwrap());
            (World::with_a_clock_of_our_own(clock).await, 0)
        } else {
            let world = World::start().await;
            world.order(Method::PUT, "/clock", json!({ "offset": -off })).await;
            (world, -off)
        };
        for (name, kind) in [("aks-token", service::Kind::Aks), ("online-token", service::Kind::Online)] {
            let plane = service_as(&world, &world.identity(world.by_secret()), name, kind);
            let mut calls = Calls::default();
            let token = plane.token(service::Auth::Token, None, &mut calls).await.unwrap();
            let good_for = token.good_for(world.clock.unix_seconds()).as_secs();
            let truly = token.expires_unix - theirs - i64::try_from(Clock::system().unix_seconds()).unwrap();
            // The answer says what time it is there.
            assert!(good_for.abs_diff(u64::try_from(truly).unwrap()) <= 10, "{name} {off}: {good_for} {truly}");
            assert!(calls.made().len() <= 4, "{calls}");
        }
        for proof in
            [by_certificate(&world), Proof::Secret(Secret::new(world.ports().client_secret.clone().into_bytes()))]
        {
            let identity = world.identity(world.application(proof));
            let tokens = identity.tokens(&world.http);
            let mut calls = Calls::default();
            for _ in 0..10 {
                tokens.token(&identity.cloud.audience, Wanted::Valid, &mut calls).await.unwrap();
            }
            assert_eq!(calls.made().len(), 1, "told by a duration, a token's life needs no clock");
        }
    }
    // An hour is too much for a statement that is good for ten minutes: that is told with the difference.
    let world = World::with_a_clock_of_our_own(Clock::manual(Clock::system().unix_seconds() - 3_600)).await;
    let identity = world.identity(world.application(by_certificate(&world)));
    let mut calls = Calls::default();
    let error =
        identity.tokens(&world.http).token(&identity.cloud.audience, Wanted::Valid, &mut calls).await.unwrap_err();
    let error = sentence(&world, &error);
    assert!(
        error.contains("this machine's clock is 36") && error.contains("s behind the identity provider's"),
        "{error}"
    );
    assert_eq!(calls.made().len(), 1);
}
