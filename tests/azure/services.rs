//! Every call to a service: what it is, its keys, a new key, its token.

use std::{sync::Arc, time::Duration};

use scoregate::{
    azure::{
        calls::{Calls, Why},
        error::Error,
        service::{Auth, ControlPlane, Kind, Regenerated, operation::Progress},
    },
    config::model::Slot,
    secret::Secret,
};
use serde_json::json;

use super::world::World;
use crate::support::in_time;

const WITH_KEYS: [(&str, Kind); 3] = [("aci-key", Kind::Aci), ("aks-key", Kind::Aks), ("online-key", Kind::Online)];

fn text(secret: &Secret) -> String {
    String::from_utf8(secret.expose_bytes().to_vec()).unwrap()
}

async fn finish(plane: &dyn ControlPlane, regenerated: Regenerated, calls: &mut Calls) -> Progress {
    let Regenerated::Started(mut operation, _) = regenerated else { return Progress::Succeeded };
    in_time("operation", async {
        loop {
            match plane.poll(&operation, calls).await.unwrap() {
                // Kept over a restart on the way.
                Progress::Running(next, _) => operation = next.to_string().parse().unwrap(),
                ended => return ended,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test]
async fn every_kind_says_where_it_scores_and_what_it_wants() {
    let world = World::start().await;
    for (name, kind, auth) in [
        ("aci-key", Kind::Aci, Auth::Key),
        ("aci-open", Kind::Aci, Auth::Open),
        ("aks-key", Kind::Aks, Auth::Key),
        ("aks-token", Kind::Aks, Auth::Token),
        ("online-key", Kind::Online, Auth::Key),
        ("online-token", Kind::Online, Auth::Token),
        ("online-entra", Kind::Online, Auth::Entra),
    ] {
        let plane = world.service(name, kind);
        let mut calls = Calls::default();
        let description = plane.describe(&mut calls).await.unwrap();
        assert_eq!(description.auth, Some(auth), "{name}");
        let scoring = description.scoring.unwrap();
        let expected = &world.ports().scoring[name][0];
        assert_eq!(format!("{}{}", scoring.origin(), scoring.target()), *expected);
        let most = if kind == Kind::Online { 2 } else { 4 };
        assert_eq!(calls.made().len(), most, "{name}: {calls}");
        let id = plane.resource_id(&mut calls).await.unwrap();
        assert!(id.starts_with("/subscriptions/") && id.ends_with(name), "{id}");
    }
}

#[tokio::test]
async fn keys_are_read_and_made_anew_one_at_a_time() {
    let world = World::start().await;
    for (name, kind) in WITH_KEYS {
        for (operation, slot, value) in [
            (0.0, Slot::Primary, None),
            (0.3, Slot::Secondary, None),
            (0.3, Slot::Primary, Some("a-key-of-my-own-0123456789abcdef")),
        ] {
            world.tell(name, json!({ "operation": operation })).await;
            let plane = world.service(name, kind);
            let mut calls = Calls::default();
            let before = plane.list_keys(&mut calls).await.unwrap();
            assert_eq!([text(&before.primary), text(&before.secondary)], world.keys(name).await);
            let value = value.map(|value: &str| Secret::new(value.as_bytes().to_vec()));
            let started = plane.regenerate(slot, value.as_ref(), &mut calls).await.unwrap();
            assert_eq!(finish(&*plane, started, &mut calls).await, Progress::Succeeded, "{name}");
            let after = plane.list_keys(&mut calls).await.unwrap();
            let other = if slot == Slot::Primary { Slot::Secondary } else { Slot::Primary };
            assert_ne!(before.of(slot), after.of(slot), "{name}");
            assert_eq!(before.of(other), after.of(other), "{name}: the other key never changes");
            if let Some(value) = value {
                assert_eq!(*after.of(slot), value);
            }
            assert_eq!(calls.count(Why::Regenerate), 1);
        }
    }
}

#[tokio::test]
async fn an_operation_that_ends_badly_says_how() {
    let world = World::start().await;
    for (name, kind) in WITH_KEYS {
        for state in ["Failed", "Cancelled", "TimedOut"] {
            world.tell(name, json!({ "operation": 0.05, "operation_state": state })).await;
            let plane = world.service(name, kind);
            let mut calls = Calls::default();
            let started = plane.regenerate(Slot::Primary, None, &mut calls).await.unwrap();
            let Progress::Failed(why) = finish(&*plane, started, &mut calls).await else { panic!("{name} {state}") };
            assert!(!why.is_empty() && !why.contains('\n'), "{why}");
        }
    }
}

#[tokio::test]
async fn a_regenerate_is_sent_once_whatever_happens_to_its_answer() {
    let world = World::start().await;
    for (name, kind, target) in [("aks-key", Kind::Aks, "mms"), ("online-key", Kind::Online, "arm")] {
        let plane = world.service(name, kind);
        plane.describe(&mut Calls::default()).await.unwrap();
        for (fault, changed) in [
            (json!({ "target": target, "kind": "lost_reply", "call": "regenerateKeys", "count": 1 }), true),
            (json!({ "target": target, "kind": "after_effect", "call": "regenerateKeys", "count": 1 }), true),
            (json!({ "target": target, "kind": "status", "status": 500, "call": "regenerateKeys", "count": 1 }), false),
            (json!({ "target": target, "kind": "status", "status": 409, "call": "regenerateKeys", "count": 1 }), false),
        ] {
            let before = world.keys(name).await;
            world.misbehave(fault.clone()).await;
            let mut calls = Calls::default();
            let error = plane.regenerate(Slot::Primary, None, &mut calls).await.unwrap_err();
            assert_eq!(calls.count(Why::Regenerate), 1, "{fault}: {calls}");
            assert_eq!(error.may_have_happened(), error.status() != Some(409), "{error}");
            world.behave().await;
            assert_eq!(world.keys(name).await != before, changed, "{fault}");
        }
        // What was refused before anything was done is sent again, when the service wants it.
        world
            .misbehave(json!({ "target": target, "kind": "status", "status": 429, "retry_after": 0, "call": "regenerateKeys", "count": 1 }))
            .await;
        let mut calls = Calls::default();
        plane.regenerate(Slot::Primary, None, &mut calls).await.unwrap();
        assert_eq!(calls.count(Why::Regenerate), 2, "{calls}");
    }
}

#[tokio::test]
async fn tokens_have_their_two_times_in_every_api() {
    let world = World::start().await;
    for (name, kind, auth) in [
        ("aks-token", Kind::Aks, Auth::Token),
        ("online-token", Kind::Online, Auth::Token),
        ("online-entra", Kind::Online, Auth::Entra),
    ] {
        let plane = world.service(name, kind);
        let mut calls = Calls::default();
        let token = plane.token(auth, None, &mut calls).await.unwrap();
        let now = world.clock.unix_seconds();
        assert!(!token.refresh_in(now).is_zero() && token.refresh_in(now) < token.good_for(now), "{name}");
        assert!(!format!("{token:?}").contains(&text(&token.value)));
    }
}

async fn sentence<T: std::fmt::Debug>(call: impl Future<Output = Result<T, Error>>) -> String {
    call.await.unwrap_err().to_string()
}

#[tokio::test]
async fn what_a_service_does_not_have_is_told() {
    let world = World::start().await;
    let mut calls = Calls::default();
    let mut also = Calls::default();
    for (error, expected) in [
        (
            sentence(world.service("aci-key", Kind::Aci).token(Auth::Token, None, &mut calls)).await,
            "services on Container Instances have keys or nothing, never tokens",
        ),
        (
            sentence(world.service("aks-key", Kind::Aks).token(Auth::Token, None, &mut calls)).await,
            "is token authentication on",
        ),
        (sentence(world.service("aks-token", Kind::Aks).list_keys(&mut calls)).await, "status 400"),
        (sentence(world.service("online-entra", Kind::Online).token(Auth::Token, None, &mut calls)).await, "auth_mode"),
        (
            sentence(world.service("nothing", Kind::Aks).describe(&mut also)).await,
            "status 404 WebserviceNotFound: Service with name 'nothing' was not found; workspace ml-example has no web service",
        ),
        (
            sentence(world.service("nothing", Kind::Online).list_keys(&mut calls)).await,
            "has no online endpoint of that name",
        ),
        (
            sentence(world.service("aks-key", Kind::Aci).describe(&mut calls)).await,
            "cannot read ACI service aks-key: it is of the kind AKS",
        ),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert_eq!(also.made().len(), 4, "{also}: token, workspace, discovery, service, each once");
}

#[tokio::test]
async fn a_missing_role_is_named_with_the_file_that_has_it() {
    let world = World::start().await;
    for (name, kind, read, regenerate) in [
        ("aks-key", Kind::Aks, "services/aks/listkeys/action", "services/aks/write"),
        ("aci-key", Kind::Aci, "services/aci/listkeys/action", "services/aci/write"),
        ("online-key", Kind::Online, "onlineEndpoints/listKeys/action", "onlineEndpoints/regenerateKeys/action"),
    ] {
        world.tell(name, json!({ "deny": ["listkeys", "regeneratekeys"] })).await;
        let plane = world.service(name, kind);
        plane.describe(&mut Calls::default()).await.unwrap();
        let mut calls = Calls::default();
        let error = plane.list_keys(&mut calls).await.unwrap_err();
        assert_eq!(error.status(), Some(403));
        let error = error.to_string();
        assert!(error.contains("status 403 AuthorizationFailed"), "{error}");
        let advice = format!(
            "needs a role with Microsoft.MachineLearningServices/workspaces/{read}, such as the one in config/azure/role-read.json"
        );
        assert!(error.contains(&advice), "{error}");
        let error = sentence(plane.regenerate(Slot::Primary, None, &mut calls)).await;
        assert!(error.contains(&format!("{regenerate}, such as the one in config/azure/role-rotate.json")), "{error}");
        assert_eq!(calls.made().len(), 2, "{calls}: neither is tried again");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_half_way_harms_nobody_and_is_counted() {
    let world = World::start().await;
    let plane = world.service("aks-key", Kind::Aks);
    world.misbehave(json!({ "target": "entra", "kind": "slow", "delay": 30.0 })).await;
    let mut calls = Calls::default();
    let given_up = tokio::time::timeout(Duration::from_millis(200), plane.list_keys(&mut calls)).await;
    assert!(given_up.is_err());
    assert_eq!(calls.count(Why::SignIn), 1, "what was begun is in the ledger");
    world.behave().await;
    let plane: Arc<dyn ControlPlane> = plane;
    in_time("the next one", plane.list_keys(&mut calls)).await.unwrap();
}
