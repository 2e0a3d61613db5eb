//! Workspaces are found by the SDK's file, by their place, and by subscription and name alone.

use scoregate::azure::{
    calls::{Calls, Why},
    config_json,
    permissions::{ONLINE_REGENERATE, WORKSPACE},
    workspace,
    workspace::Place,
};
use serde_json::json;

use super::world::World;

#[tokio::test]
async fn a_workspace_is_found_in_all_three_ways() {
    let world = World::start().await;
    let place = world.place();
    let file = json!({
        "subscription_id": place.subscription, "resource_group": place.resource_group, "workspace_name": place.name,
    });
    let of_file = config_json::parse(file.to_string().as_bytes()).unwrap();
    let by_name = Place { resource_group: None, ..place.clone() };
    for (place, calls_made) in [(of_file, Why::Workspace), (place.clone(), Why::Workspace), (by_name, Why::Workspaces)]
    {
        let workspace = world.workspace(place);
        let mut calls = Calls::default();
        let facts = workspace.facts(&mut calls).await.unwrap();
        assert_eq!((facts.name.as_str(), facts.region.as_str()), ("ml-example", "eastus"));
        assert_eq!(facts.resource_group, "ml-group");
        assert_eq!((calls.count(calls_made), calls.made().len()), (1, 2), "{calls}");
        let base = workspace.model_management(&mut calls).await.unwrap();
        assert!(base.path().starts_with("/modelmanagement/v1.0/subscriptions/"), "{base}");
        assert_eq!((calls.count(Why::Discovery), calls.made().len()), (1, 3), "{calls}");
        // From memory.
        workspace.model_management(&mut calls).await.unwrap();
        assert_eq!(calls.made().len(), 3);
        workspace.forget().await;
        workspace.model_management(&mut calls).await.unwrap();
        assert_eq!(calls.made().len(), 5);
    }
}

#[tokio::test]
async fn the_lists_are_read() {
    let world = World::start().await;
    let control = world.control(&world.identity(world.by_secret()));
    let mut calls = Calls::default();
    let subscriptions = workspace::subscriptions(&control, &mut calls).await.unwrap();
    let all = workspace::list(&control, &subscriptions[0].id, &mut calls).await.unwrap();
    assert_eq!(all.iter().map(|facts| facts.name.as_str()).collect::<Vec<_>>(), ["ml-example"]);
    let tenants = workspace::tenants(&control, &mut calls).await.unwrap();
    assert_eq!(tenants[0].id, world.ports().tenant);
}

#[tokio::test]
async fn where_the_cluster_is_and_what_may_be_done_can_be_asked() {
    for (role, may_read, may_regenerate) in [("contributor", true, true), ("reader", true, false)] {
        let world =
            World::of_fixture(&json!({ "compute_region": "westeurope", "application": { "role": role } })).await;
        let workspace = world.workspace(world.place());
        let mut calls = Calls::default();
        let region = workspace.compute_region("mock-cluster", &mut calls).await.unwrap();
        assert_eq!(region.as_deref(), Some("westeurope"));
        assert_eq!(workspace.compute_region("other", &mut calls).await.unwrap_err().status(), Some(404));
        let grants = workspace.permissions(&mut calls).await.unwrap();
        let permits = |action: &str| grants.iter().any(|grant| grant.permits(action));
        assert_eq!(permits(WORKSPACE.action), may_read);
        assert_eq!(permits(ONLINE_REGENERATE.action), may_regenerate, "{role}");
    }
}

#[tokio::test]
async fn a_workspace_that_is_not_there_is_told_with_where_it_may_be() {
    let world = World::start().await;
    let place = world.place();
    for (place, expected) in [
        (
            Place { name: "other".into(), ..place.clone() },
            ["status 404 ResourceNotFound", "`scoregate workspace list`"],
        ),
        (
            Place { resource_group: Some("other".into()), ..place.clone() },
            ["status 404 ResourceGroupNotFound", "another resource group or subscription"],
        ),
        (
            Place { subscription: "another".into(), ..place.clone() },
            ["status 404 SubscriptionNotFound", "another resource group or subscription"],
        ),
        (
            Place { name: "other".into(), resource_group: None, ..place.clone() },
            ["none of the 1 that application", "is it in another subscription?"],
        ),
    ] {
        let mut calls = Calls::default();
        let error = world.workspace(place).facts(&mut calls).await.unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(calls.made().len(), 2, "{calls}");
    }
}
