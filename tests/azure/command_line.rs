//! The commands that ask Azure, as a user types them: the binary itself against the embedded Azure.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use http::Method;
use scoregate::control::state;
use serde_json::{Value, json};

use super::{
    clouds::{port_of, proxy},
    user::{Ran, User},
    world::World,
};
use crate::support::in_time;

#[tokio::test]
async fn workspaces_are_shown_and_listed() {
    let world = World::start().await;
    let user = User::new(&world, "");
    let shown = user.run(&["workspace", "show", "--output", "json"]).await.json();
    assert_eq!((&shown[0]["name"], &shown[0]["region"]), (&json!("ml-example"), &json!("eastus")));
    assert!(shown[0]["model_management"].as_str().unwrap().starts_with("https://"));
    user.run(&["workspace", "show"]).await.ends(0, "resource group:   ml-group");
    let subscription = &world.ports().subscription;
    let by_name =
        ["workspace", "show", "--subscription", subscription, "--name", "ml-example", "--identity", "default"];
    user.run(&by_name).await.ends(0, "region:           eastus");
    let wrong = ["workspace", "show", "--subscription", "another", "--name", "ml-example", "--identity", "default"];
    user.run(&wrong).await.ends(1, "SubscriptionNotFound");
    let listed = user.run(&["workspace", "list", "--identity", "default", "-o", "json"]).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    user.run(&["workspace", "list", "--identity", "default"]).await.ends(0, "ml-example  ml-group        eastus");
    user.run(&["workspace", "list", "--identity", "nobody"])
        .await
        .ends(2, "name one of default, person with --identity");
    user.run(&["workspace", "show", "--name", "x"]).await.ends(2, "--subscription");
}

#[tokio::test]
async fn a_token_for_curl_goes_into_a_pipe_alone() {
    let world = World::start().await;
    let user = User::new(&world, "");
    let token = user.run(&["azure-token", "--identity", "default"]).await;
    assert_eq!((token.code, token.out.trim().split('.').count(), token.out.lines().count()), (0, 3, 1), "{token:?}");
    let ml = user
        .run(&["azure-token", "--identity", "default", "--scope", "https://ml.azure.com/.default", "-o", "json"])
        .await;
    assert_eq!(ml.json()["audience"], "https://ml.azure.com");
    user.run(&["azure-token", "--identity", "person"]).await.ends(1, "`scoregate login` does it");
}

#[tokio::test]
async fn a_services_token_is_told_and_shown_where_that_is_asked_for() {
    let world = World::start().await;
    let user = User::new(&world, "");
    for endpoint in ["aks-token", "online-entra"] {
        let told = user.run(&["token", endpoint]).await;
        assert!(told.code == 0 && told.out.contains("refresh_by: ") && !told.out.contains("eyJ"), "{told:?}");
        let claims = user.run(&["token", endpoint, "--claims", "--reveal", "-o", "json"]).await.json();
        assert!(
            claims["access_token"].as_str().unwrap().starts_with("eyJ") && claims["claims"].is_object(),
            "{claims}"
        );
        assert!(claims["refresh_by_unix"].as_i64().unwrap() < claims["expires_unix"].as_i64().unwrap());
    }
    user.run(&["token", "aks-key"]).await.ends(5, "AKS service aks-key has no tokens; it has keys");
    user.run(&["token", "aci-open"]).await.ends(5, "it is open");
    user.run(&["token", "nothing"]).await.ends(2, "there is no endpoint `nothing`: there are");
}

#[tokio::test]
async fn keys_are_shown_by_fingerprint_and_made_anew_one_at_a_time() {
    let world = World::start().await;
    let user = User::new(&world, "");
    for service in ["aks-key", "aci-key", "online-key"] {
        world.tell(service, json!({ "operation": 0.2 })).await;
        let keys = world.keys(service).await;
        let shown = user.run(&["keys", "show", service]).await;
        assert!(shown.code == 0 && !keys.iter().any(|key| shown.out.contains(key)), "{shown:?}");
        let revealed = user.run(&["keys", "show", service, "--reveal", "-o", "json"]).await.json();
        assert_eq!(revealed["slots"][1]["key"], json!(keys[1]));
        let fingerprint = revealed["slots"][0]["fingerprint"].as_str().unwrap();
        assert!(shown.out.contains(fingerprint), "the same in each run: {shown:?}");

        // Said, not done.
        let dry = user.run(&["keys", "regen", service, "Primary", "--dry-run"]).await;
        dry.ends(0, "nothing was done");
        user.run(&["keys", "regen", service, "primary"]).await.ends(5, "not confirmed");
        assert_eq!(world.keys(service).await, keys);

        let done = user.run(&["keys", "regen", service, "PRIMARY", "--yes", "-o", "json"]).await.json();
        assert_eq!((&done["before"], &done["slot"]), (&json!(fingerprint), &json!("primary")));
        let after = world.keys(service).await;
        assert!(after[0] != keys[0] && after[1] == keys[1], "{service}");

        fs::write(user.path().join("new"), "a-key-of-my-own-0123456789\n").unwrap();
        let chosen = ["keys", "regen", service, "secondary", "--yes", "--wait", "--set-key-from", "new"];
        user.run(&chosen).await.ends(0, "regenerated the secondary key of");
        assert_eq!(world.keys(service).await[1], "a-key-of-my-own-0123456789");
        user.run(&chosen).await.ends(5, "the secondary key has that value already");
    }
    fs::write(user.path().join("bad"), "two\nlines").unwrap();
    user.run(&["keys", "regen", "aks-key", "primary", "--yes", "--set-key-from", "bad"])
        .await
        .ends(2, "bad holds no key");
    user.run(&["keys", "regen", "aks-key", "third"]).await.ends(2, "possible values: primary, secondary");
    user.run(&["keys", "show", "aks-token"]).await.ends(5, "has no keys; it has tokens of Azure ML's");
}

#[tokio::test]
async fn what_goes_wrong_while_a_key_is_made_anew_is_told_with_what_became_of_it() {
    let world = World::start().await;
    let user = User::new(&world, "");
    let regen = ["keys", "regen", "aks-key", "primary", "--yes"];
    world.tell("aks-key", json!({ "deny": ["regeneratekeys"] })).await;
    let before = world.keys("aks-key").await;
    user.run(&regen).await.ends(5, "config/azure/role-rotate.json");
    assert_eq!(world.keys("aks-key").await, before);
    world.tell("aks-key", json!({ "deny": [] })).await;

    world.misbehave(json!({ "target": "mms", "kind": "lost_reply", "call": "regenerateKeys", "count": 1 })).await;
    let lost = user.run(&regen).await;
    lost.ends(0, "reading back whether it was done all the same");
    assert!(lost.out.contains("regenerated the primary key"), "{lost:?}");

    world
        .misbehave(json!({ "target": "mms", "kind": "status", "status": 500, "call": "regenerateKeys", "count": 1 }))
        .await;
    let before = world.keys("aks-key").await;
    user.run(&regen).await.ends(6, "key is as it was; it may still change");
    assert_eq!(world.keys("aks-key").await, before);
    world.behave().await;

    // It goes on, and cannot be looked at.
    world.misbehave(json!({ "target": "mms", "kind": "status", "status": 500, "call": "operation" })).await;
    let unseen = user.run(&regen).await;
    unseen.ends(0, "cannot look how an operation on AKS service aks-key stands");
    assert!(unseen.out.contains("regenerated the primary key"), "{unseen:?}");
    world.behave().await;

    world.tell("aks-key", json!({ "operation": 0.1, "operation_state": "Failed" })).await;
    user.run(&regen).await.ends(1, "the service says that it failed");
}

#[tokio::test]
async fn no_key_is_made_anew_while_a_gate_runs_with_that_state_directory() {
    let world = World::start().await;
    let user = User::new(&world, "");
    let before = world.keys("aks-key").await;
    let mut gate =
        user.command(&["run", "--log-format", "text"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (lines, mut said) = tokio::sync::mpsc::unbounded_channel();
    let log = gate.stderr.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            drop(lines.send(line));
        }
    });
    let mut all = String::new();
    in_time("the gate finds its services", async {
        while all.matches(": found ").count() < 7 {
            let line = said.recv().await.unwrap_or_else(|| panic!("it ended:\n{all}"));
            all.push_str(&line);
            all.push('\n');
        }
    })
    .await;
    // `status` of the gate and `keys show` without it speak of the same fingerprints.
    let of_gate = in_time("the gate has the keys of what it found", async {
        loop {
            let status = user.run(&["status", "--admin", "admin.sock", "-o", "json"]).await.json();
            let endpoints = status["endpoints"].as_array().unwrap();
            let endpoint = endpoints.iter().find(|one| one["name"] == "aks-key").unwrap();
            if let Some(fingerprint) = endpoint["slots"][0]["fingerprint"].as_str() {
                return fingerprint.to_owned();
            }
        }
    })
    .await;
    let shown = user.run(&["keys", "show", "aks-key", "-o", "json"]).await.json();
    assert_eq!(of_gate, shown["slots"][0]["fingerprint"]);

    let refused = user.run(&["keys", "regen", "aks-key", "primary", "--yes"]).await;
    refused.ends(5, "nothing was touched: a scoregate runs with the state directory");
    assert_eq!(world.keys("aks-key").await, before);
    let secrets = [before[0].as_str(), &world.ports().client_secret, "eyJ"];
    assert!(!secrets.iter().any(|secret| all.contains(secret)), "{all}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&gate), rustix::process::Signal::KILL).unwrap();
    gate.wait().unwrap();
    // A killed process holds no lock.
    user.run(&["keys", "regen", "aks-key", "primary", "--yes"]).await.ends(0, "regenerated");

    // And one at a time without a gate.
    let held = state::Leave::ask(&[user.path().join("state")], "/anything").unwrap();
    user.run(&["keys", "regen", "aks-key", "primary", "--yes"]).await.ends(5, "nothing was touched");
    drop(held);
}

#[tokio::test]
async fn check_online_goes_through_everything() {
    let world = World::start().await;
    let user = User::new(&world, "");
    let text = fs::read_to_string(&user.config).unwrap();
    // Nobody has signed in as a person here.
    let without_person: String =
        text.lines().filter(|line| !line.contains("person:")).map(|line| format!("{line}\n")).collect();
    fs::write(&user.config, &without_person).unwrap();
    let checked = user.run(&["check", "--online"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    for line in [
        "ok      identity default: signed in as application",
        "ok      workspace ml: /subscriptions/",
        "ok      endpoint aks-key: AKS service aks-key scores at http://",
        "ok      endpoint aks-key: its keys can be read",
        "ok      endpoint aks-key: the service accepts the credential, and refuses a wrong one",
        "ok      endpoint aks-token: its token can be fetched",
        "ok      endpoint online-entra: the service accepts the credential, and refuses a wrong one",
        "ok      endpoint aci-open: it is open: nothing is attached",
        "ok      endpoint aci-open: the service answers",
    ] {
        assert!(checked.out.contains(line), "{line}\n{}", checked.out);
    }
    assert!(!checked.out.contains(&world.keys("aks-key").await[0]) && !checked.out.contains("eyJ"));

    // Each of these is found, and what depends on it is not blamed.
    world.tell("aks-key", json!({ "deny": ["listkeys"] })).await;
    let checked = user.run(&["check", "--online"]).await;
    checked.ends(4, "PROBLEM endpoint aks-key: cannot read the keys of AKS service aks-key");
    assert!(
        checked.err.contains("1 problem found") && checked.out.contains("ok      endpoint aks-token"),
        "{checked:?}"
    );
    world.tell("aks-key", json!({ "deny": [] })).await;
    // A 403 is never about a key, and about a token of Azure ML's neither.
    world.tell("aks-token", json!({ "deny": ["score"] })).await;
    user.run(&["check", "--online"]).await.ends(4, "PROBLEM endpoint aks-token: the service forbids it (403)");
    world.tell("aks-token", json!({ "deny": [] })).await;

    world.misbehave(json!({ "target": "scoring", "kind": "status", "status": 401, "service": "aci-key" })).await;
    user.run(&["check", "--online"]).await.ends(4, "PROBLEM endpoint aci-key: the service refuses the credential");
    world.behave().await;

    world.misbehave(json!({ "target": "entra", "kind": "down" })).await;
    let checked = user.run(&["check", "--online"]).await;
    checked.ends(6, "PROBLEM identity default: cannot sign in");
    assert!(checked.out.contains("-       workspace ml: not looked for"), "{checked:?}");
    world.behave().await;

    let wrong = User::with_secret(&world, "", "canary-wrong-secret");
    fs::write(&wrong.config, fs::read_to_string(&wrong.config).unwrap().replace("person:", "other:")).unwrap();
    let checked = wrong.run(&["check", "--online"]).await;
    checked.ends(4, "AADSTS7000215");
    assert!(!format!("{checked:?}").contains("canary"));
    fs::write(&user.config, without_person.replace("aks-key, kind: aks", "gone, kind: aks")).unwrap();
    user.run(&["check", "--online"]).await.ends(4, "WebserviceNotFound");
}

#[tokio::test]
async fn check_online_warns_of_what_works_today_and_may_not_tomorrow() {
    let reader = json!({ "compute_region": "westeurope", "application": { "role": "reader" } });
    let contributor = json!({ "compute_region": "westeurope" });
    for (fixture, code, expected) in [
        (contributor, 0, "ok      endpoint aks-key: its keys may be regenerated"),
        (reader, 4, "PROBLEM endpoint aks-key: cannot read the keys of AKS service aks-key"),
    ] {
        let world = World::of_fixture(&fixture).await;
        let user = User::new(&world, "");
        let text = fs::read_to_string(&user.config).unwrap();
        let without_person: String =
            text.lines().filter(|line| !line.contains("person:")).map(|line| format!("{line}\n")).collect();
        fs::write(&user.config, without_person).unwrap();
        let checked = user.run(&["check", "--online"]).await;
        checked.ends(code, expected);
        let region =
            "warning endpoint aks-token: it runs in westeurope, its workspace is in eastus; its tokens come from there";
        assert!(checked.out.contains(region), "{checked:?}");
        assert!(!checked.out.contains("endpoint online-key: it runs in"), "{checked:?}");
    }
}

#[tokio::test]
async fn a_person_signs_in_on_the_command_line_and_goes_on_from_there() {
    let world = World::start().await;
    let user = User::new(&world, "");
    let mut login =
        user.command(&["login", "--device-code"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let err = login.stderr.take().unwrap();
    let line =
        in_time("the code", tokio::task::spawn_blocking(move || BufReader::new(err).lines().next().unwrap().unwrap()))
            .await
            .unwrap();
    let code = line.split("enter the code ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    world.order(Method::POST, &format!("/devicecode/{code}/approve"), json!({})).await;
    let output =
        in_time("sign-in", tokio::task::spawn_blocking(move || login.wait_with_output().unwrap())).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("signed in as ada@mock-azure.example") && said.contains(".local/state/scoregate/logins.json"),
        "{said}"
    );

    let token = user.run(&["azure-token", "--identity", "person"]).await;
    assert_eq!((token.code, token.out.trim().split('.').count()), (0, 3), "{token:?}");
    let listed = user.run(&["workspace", "list", "--identity", "person", "-o", "json"]).await.json();
    assert_eq!(listed[0]["name"], "ml-example");
    let file = user.path().join(".local/state/scoregate/logins.json");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    user.run(&["azure-token", "--identity", "person"]).await.ends(1, "can be read or written by others");
}

#[tokio::test]
async fn the_variables_of_a_proxy_are_heeded() {
    let world = World::start().await;
    let names = vec![("login.microsoftonline.com:443", port_of(&world.ports().entra_tls))];
    let open = proxy(None, names).await;
    let closed = proxy(None, Vec::new()).await;
    let user = User::new(&world, "");
    let text = fs::read_to_string(&user.config).unwrap();
    // Of Microsoft's own names the proxy alone knows where they are.
    fs::write(
        &user.config,
        text.replace(world.ports().entra_tls.as_ref().unwrap(), "https://login.microsoftonline.com"),
    )
    .unwrap();
    let token = async |variables: &[(&str, String)]| {
        let mut command = user.command(&["azure-token", "--identity", "default"]);
        command.envs(variables.iter().map(|(name, value)| (name, value.as_str())));
        Ran::of(in_time("command", tokio::task::spawn_blocking(move || command.output().unwrap())).await.unwrap())
    };
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let ran = token(&[(name, format!("http://{open}"))]).await;
        assert_eq!((ran.code, ran.out.trim().split('.').count()), (0, 3), "{name} {ran:?}");
    }
    let refused = token(&[("HTTPS_PROXY", format!("http://{closed}"))]).await;
    refused.ends(6, &format!("by the proxy {closed}: it refuses with status 403"));
}

#[tokio::test]
async fn what_is_called_is_logged_with_its_correlation_id_and_no_secret() {
    let world = World::start().await;
    let user = User::new(&world, "");
    let ran = user.run(&["keys", "show", "aks-key", "--log-level", "debug", "--log-format", "json"]).await;
    let lines: Vec<Value> = ran.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let calls: Vec<&Value> = lines.iter().filter(|line| line["message"] == "called Azure").collect();
    let why: Vec<&str> = calls.iter().map(|call| call["why"].as_str().unwrap()).collect();
    assert_eq!(why, ["sign_in", "workspace", "discovery", "service", "list_keys"]);
    assert!(
        calls.iter().all(|call| call["correlation"].as_str().unwrap().len() == 36 && call["status"] == 200),
        "{ran:?}"
    );
    let keys = world.keys("aks-key").await;
    for secret in [&keys[0], &world.ports().client_secret, "eyJ"] {
        assert!(!format!("{ran:?}").contains(secret));
    }
}
