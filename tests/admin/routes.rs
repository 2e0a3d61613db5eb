//! Each route says what the operations say.

use scoregate::control::admin::report::{ReloadError, ReloadErrorKind, ReloadReport, Status};
use serde_json::json;

use crate::support::{Ask, CANARY, Fake, refused, setting};

#[tokio::test]
async fn probes_and_metrics_answer() {
    let running = setting().start().await;
    assert_eq!(running.ask_socket("GET", "/livez").await.json(), json!({ "live": true }));
    let ready = running.ask_socket("GET", "/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.json()), (200, json!({ "ready": true, "draining": false })));
    let metrics = running.ask_socket("GET", "/metrics").await;
    assert!(metrics.body.starts_with("scoregate_build_info"));
    assert_eq!(metrics.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(running.ask_socket("HEAD", "/livez").await.status, 200);
}

#[tokio::test]
async fn what_is_not_ready_or_not_live_is_503_and_says_why_when_asked() {
    let running = setting().start_with(Fake { dead: true, ..Fake::default() }).await;
    let live = running.ask_socket("GET", "/livez").await;
    assert_eq!((live.status.as_u16(), live.json()), (503, json!({ "live": false })));
    let ready = running.ask_socket("GET", "/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.json()), (503, json!({ "ready": false, "draining": false })));
    let verbose = running.ask_socket("GET", "/readyz?verbose").await;
    assert_eq!(verbose.status, 503);
    assert_eq!(verbose.json()["endpoints"], json!([{ "name": "iris", "ready": false, "reason": "no key" }]));
}

#[tokio::test]
async fn status_and_config_are_read() {
    let running = setting().start().await;
    let status: Status = serde_json::from_str(&running.ask_socket("GET", "/status").await.body).unwrap();
    assert_eq!((status.version.as_str(), status.generation), ("1.2.3", 9));
    assert_eq!(running.ask_socket("GET", "/config").await.json()["admin"]["token"], "[redacted]");
}

#[tokio::test]
async fn an_endpoints_keys_are_told_by_their_fingerprints() {
    let running = setting().start().await;
    let answer = running.ask_socket("GET", "/endpoints/iris/keys").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["slots"][0]["fingerprint"], "0011aabb");
    let unknown = running.ask_socket("GET", "/endpoints/rose/keys").await;
    assert_eq!((unknown.status.as_u16(), unknown.json()["error"]["code"].as_str()), (404, Some("no_endpoint")));
}

#[tokio::test]
async fn a_reload_says_what_changed() {
    let running = setting().start().await;
    let report: ReloadReport = serde_json::from_str(&running.ask_socket("POST", "/reload").await.body).unwrap();
    assert_eq!((report.generation, report.drained), (10, false));
    let drained: ReloadReport =
        serde_json::from_str(&running.ask_socket("POST", "/reload?drained").await.body).unwrap();
    assert!(drained.drained);
    assert_eq!(running.fake.calls(), ["reload false", "reload true"]);
}

#[tokio::test]
async fn a_reload_that_fails_says_why() {
    let running = setting().start().await;
    let faults = vec!["gate.yaml:3:1: found x, expected y".to_owned(), "gate.yaml:9:2: found z".to_owned()];
    for (kind, status, code) in [
        (ReloadErrorKind::Config, 422, "config_invalid"),
        (ReloadErrorKind::NotDrained, 409, "reload_not_drained"),
        (ReloadErrorKind::Internal, 500, "internal"),
    ] {
        *running.fake.reload.lock().unwrap() = Some(ReloadError { kind, faults: faults.clone() });
        let answer = running.ask_socket("POST", "/reload").await;
        assert_eq!(answer.refusal(), refused(status, code));
        assert_eq!(answer.json()["error"]["faults"], json!(faults));
        let message = answer.json()["error"]["message"].to_string();
        assert!(faults.iter().all(|fault| message.contains(fault)), "{message}");
    }
}

#[tokio::test]
async fn a_drain_begins_at_once() {
    let running = setting().start().await;
    let answer = running.ask_socket("POST", "/drain").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (202, json!({ "draining": true })));
    assert_eq!(running.fake.calls(), ["drain"]);
}

#[tokio::test]
async fn the_log_level_is_set_or_the_body_explained() {
    let running = setting().start().await;
    let put = |body: &str| running.ask_tcp(Ask::new("PUT", "/log-level").token(CANARY).json(body));
    let answer = put(r#"{"level": "debug"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({ "level": "debug" })));
    for wrong in ["", "{}", r#"{"level": "loud"}"#, r#"{"level": "info", "for": "1m"}"#, r#"{"level": 3}"#, "debug"] {
        assert_eq!(put(wrong).await.refusal(), refused(400, "bad_request"), "{wrong}");
    }
    assert_eq!(running.fake.calls(), ["level DEBUG"]);
    let bare = running.ask_tcp(Ask::new("PUT", "/log-level").token(CANARY)).await;
    assert_eq!(bare.refusal(), refused(400, "bad_request"));
}

#[tokio::test]
async fn a_body_larger_than_any_that_is_read_is_413() {
    let running = setting().start().await;
    let large = format!(r#"{{"level": "{}"}}"#, "x".repeat(65 << 10));
    let answer = running.ask_tcp(Ask::new("PUT", "/log-level").token(CANARY).json(&large)).await;
    assert_eq!(answer.refusal(), refused(413, "request_too_large"));
}

#[tokio::test]
async fn unknown_paths_are_404_and_wrong_methods_405() {
    let running = setting().start().await;
    for path in ["/", "/nothing", "/livez/", "/reload/now", "//livez"] {
        assert_eq!(running.ask_socket("GET", path).await.refusal(), refused(404, "not_found"), "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/livez", "GET,HEAD"),
        ("DELETE", "/status", "GET,HEAD"),
        ("GET", "/reload", "POST"),
        ("GET", "/drain", "POST"),
        ("POST", "/log-level", "PUT"),
    ] {
        let answer = running.ask_socket(method, path).await;
        assert_eq!(answer.refusal(), refused(405, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.headers["allow"], allow);
    }
    assert!(running.fake.calls().is_empty());
}

#[tokio::test]
async fn a_change_of_keys_is_asked_for_in_json_and_a_rule_against_it_is_409() {
    let running = setting().start().await;
    let regen = |body: &str| running.ask_tcp(Ask::new("POST", "/endpoints/iris/regen_key").token(CANARY).json(body));
    for body in [r#"{"key": "Secondary"}"#, r#"{"key": "primary", "dry_run": true}"#, "{}", r#"{"leaked": true}"#] {
        assert_eq!(regen(body).await.refusal(), refused(409, "frozen"), "{body}");
    }
    for path in ["rollback", "freeze", "unfreeze"] {
        let answer = running.ask_socket("POST", &format!("/endpoints/iris/{path}")).await;
        assert_eq!(answer.refusal(), refused(409, "frozen"), "{path}");
    }
    assert_eq!(
        running.fake.calls(),
        [
            "change iris Regenerate { slot: Some(Secondary), set_key: None } Wet",
            "change iris Regenerate { slot: Some(Primary), set_key: None } Dry",
            "change iris Regenerate { slot: None, set_key: None } Wet",
            "change iris Leaked Wet",
            "change iris Rollback Wet",
            "change iris Freeze Wet",
            "change iris Unfreeze Wet",
        ]
    );
}

#[tokio::test]
async fn a_change_of_keys_that_makes_no_sense_asks_nobody() {
    let running = setting().start().await;
    let regen = |body: &str| running.ask_tcp(Ask::new("POST", "/endpoints/iris/regen_key").token(CANARY).json(body));
    for wrong in [
        "",
        r#"{"key": "both"}"#,
        r#"{"key": 1}"#,
        r#"{"keys": "Primary"}"#,
        r#"{"key": "Primary", "leaked": true}"#,
        r#"{"set_key": "canary\nkey"}"#,
        r#"{"set_key": ""}"#,
        r#"{"set_key": ["canary-key"]}"#,
    ] {
        let answer = regen(wrong).await;
        assert_eq!(answer.refusal(), refused(400, "bad_request"), "{wrong}");
        assert!(!answer.body.contains("canary"), "{}", answer.body);
    }
    // A key goes over the socket or TLS; this address has none.
    let answer = regen(r#"{"key": "Primary", "set_key": "canary-key"}"#).await;
    assert_eq!(answer.refusal(), refused(403, "set_key_refused"));
    let unknown = running.ask_socket("POST", "/endpoints/rose/rollback").await;
    assert_eq!(unknown.refusal(), refused(404, "no_endpoint"));
    for id in ["iris-1", "iris", "rose-1", "-", "iris-x"] {
        let answer = running.ask_socket("GET", &format!("/operations/{id}")).await;
        assert_eq!(answer.refusal(), refused(404, "no_operation"), "{id}");
    }
    let stranger = running.ask_tcp(Ask::new("POST", "/endpoints/iris/freeze")).await;
    assert_eq!(stranger.refusal(), refused(401, "unauthorized"));
    assert!(running.fake.calls().is_empty());
}

#[tokio::test]
async fn a_key_that_is_set_over_the_socket_arrives_and_is_seen_nowhere() {
    let running = setting().start().await;
    let ask = Ask::new("POST", "/endpoints/iris/regen_key").json(r#"{"key": "Primary", "set_key": "canary-key"}"#);
    let answer = ask.over(tokio::net::UnixStream::connect(running.socket()).await.unwrap()).await;
    assert_eq!(answer.refusal(), refused(409, "frozen"));
    assert_eq!(running.fake.calls(), ["change iris Regenerate { slot: Some(Primary), set_key: Some([redacted]) } Wet"]);
}
