//! The two roles of `config/azure`, as an embedded Azure judges by them: each is enough for what it is for, and no action is in it
//! without something that fails where it is missing, and says so.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{user::User, world::World};

const READ: &str = "config/azure/role-read.json";
const ROTATE: &str = "config/azure/role-rotate.json";
/// What nobody judges by here: whoever has a role at all sees its subscription, and of keys a front end asks no role.
const NOT_JUDGED: [&str; 2] = [
    "Microsoft.Resources/subscriptions/read",
    "Microsoft.MachineLearningServices/workspaces/services/aks/score/action",
];

fn definition(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn actions(file: &str) -> BTreeSet<String> {
    definition(file)["Actions"].as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// An Azure with an application for each of these roles, by name.
async fn world(roles: &[(&str, Value)]) -> World {
    let folder = tempfile::tempdir().unwrap();
    let applications = roles.iter().map(|(name, role)| {
        let file = folder.path().join(format!("{name}.json"));
        fs::write(&file, role.to_string()).unwrap();
        json!({ "client_id": name, "client_secret": "a secret", "role": file })
    });
    World::of_fixture(&json!({ "more_applications": applications.collect::<Vec<_>>() })).await
}

#[tokio::test]
async fn each_role_is_enough_for_what_it_is_for() {
    let world = world(&[("reader", definition(READ)), ("rotator", definition(ROTATE))]).await;
    let reader = User::application(&world, "reader", "a secret");
    let checked = reader.run(&["check", "--online"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    assert_eq!(checked.out.matches("the service accepts the credential, and refuses a wrong one").count(), 6);
    let services = [
        ("aks-key", "Microsoft.MachineLearningServices/workspaces/services/aks/write"),
        ("aci-key", "Microsoft.MachineLearningServices/workspaces/services/aci/write"),
        ("online-key", "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/regenerateKeys/action"),
    ];
    for (service, action) in services {
        let warning = format!("warning endpoint {service}: its keys may not be regenerated: that needs {action}");
        assert!(checked.out.contains(&warning), "{}", checked.out);
        let before = world.keys(service).await;
        let refused = reader.run(&["keys", "regen", service, "primary", "--yes"]).await;
        refused.ends(5, &format!("needs a role with {action}, such as the one in {ROTATE}"));
        assert_eq!(world.keys(service).await, before);
    }

    let rotator = User::application(&world, "rotator", "a secret");
    let checked = rotator.run(&["check", "--online"]).await;
    assert!(checked.code == 0 && !checked.out.contains("warning"), "{checked:?}");
    for (service, _) in services {
        rotator.run(&["keys", "regen", service, "primary", "--yes"]).await.ends(0, "regenerated the primary key");
    }
    rotator.run(&["workspace", "list"]).await.ends(0, "ml-example");
}

#[tokio::test]
async fn whichever_action_is_missing_is_named_with_a_file_that_has_it() {
    let all = actions(ROTATE);
    let missing: Vec<&String> = all.iter().filter(|action| !NOT_JUDGED.contains(&action.as_str())).collect();
    assert_eq!(missing.len() + NOT_JUDGED.len(), all.len());
    let without = |action: &String| json!({ "Actions": all.iter().filter(|one| *one != action).collect::<Vec<_>>() });
    let names: Vec<String> = (0..missing.len()).map(|index| format!("without-{index}")).collect();
    let roles: Vec<(&str, Value)> =
        names.iter().zip(&missing).map(|(name, action)| (name.as_str(), without(action))).collect();
    let world = world(&roles).await;
    for (name, action) in names.iter().zip(missing) {
        let user = User::application(&world, name, "a secret");
        let file = if actions(READ).contains(action) { READ } else { ROTATE };
        let checked = user.run(&["check", "--online"]).await;
        let line = checked.out.lines().find(|line| line.contains(action.as_str()));
        let line = line.unwrap_or_else(|| panic!("{action} is missed by nobody: {checked:?}"));
        assert!(!line.starts_with("ok") && line.contains(file), "{action}: {line}");
        // Where a thing cannot be used it is a problem; where it can, and less is known of it, a warning.
        assert_eq!(checked.code, if line.starts_with("PROBLEM") { 4 } else { 0 }, "{action}: {line}");
    }
}
