//! What a rotation meets: front ends that learn late, reads that are stale, operations that take time, somebody else, and counters.

use http::Method;
use serde_json::{Value, json};

use crate::support::Mock;

const REGENERATE: &str = r#"{"keyType": "Primary"}"#;

#[tokio::test]
async fn front_ends_learn_one_after_the_other_and_never_forget() {
    let mock = Mock::start().await;
    mock.order("PUT", "/services/aks-key", r#"{"learn_lag": [0, 2, 5.5]}"#).await;
    let [old, secondary] = mock.keys("aks-key").await;
    mock.call(Method::POST, &mock.mms("/services/aks-key/regenerateKeys"), REGENERATE).await;
    let [new, _] = mock.list_keys("aks-key").await;
    for (wait, learned) in [(0.0, 1), (1.9, 1), (0.1, 2), (3.4, 2), (0.1, 3)] {
        mock.advance(wait);
        let expected = |takes_new: bool| {
            (0..3).map(|index| if (index < learned) == takes_new { 200 } else { 401 }).collect::<Vec<_>>()
        };
        assert_eq!(mock.statuses("aks-key", &new).await, expected(true), "the new one, {learned} have learned");
        assert_eq!(mock.statuses("aks-key", &old).await, expected(false), "the old one, {learned} have learned");
        assert_eq!(mock.statuses("aks-key", &secondary).await, [200; 3], "the other slot is never touched");
    }
    // A longer lag is for later changes: what was learned stays.
    mock.order("PUT", "/services/aks-key", r#"{"learn_lag": [100, 100, 100]}"#).await;
    assert_eq!(mock.statuses("aks-key", &new).await, [200; 3]);
}

#[tokio::test]
async fn a_shifted_clock_makes_nobody_learn_or_forget() {
    let mock = Mock::start().await;
    mock.order("PUT", "/services/aks-key", r#"{"learn_lag": [0, 60, 60]}"#).await;
    mock.order("POST", "/services/aks-key/regenerate", r#"{"key": "Primary"}"#).await;
    let [new, _] = mock.keys("aks-key").await;
    for offset in [-1_000, 0, 1_000] {
        mock.order("PUT", "/clock", &format!(r#"{{"offset": {offset}}}"#)).await;
        assert_eq!(mock.statuses("aks-key", &new).await, [200, 401, 401], "{offset}");
    }
}

#[tokio::test]
async fn reads_can_be_stale() {
    let mock = Mock::start().await;
    mock.order("PUT", "/services/aks-key", r#"{"stale_listkeys": 5}"#).await;
    let before = mock.list_keys("aks-key").await;
    mock.call(Method::POST, &mock.mms("/services/aks-key/regenerateKeys"), REGENERATE).await;
    assert_eq!(mock.list_keys("aks-key").await, before);
    let [new, _] = mock.keys("aks-key").await;
    assert_eq!(mock.score("aks-key", 1, Some(&new)).await.status, 200, "the truth is new");
    mock.advance(5.0);
    assert_eq!(mock.list_keys("aks-key").await[0], new);
}

#[tokio::test]
async fn a_slow_operation_changes_the_key_at_its_end_and_lags_count_from_there() {
    let mock = Mock::start().await;
    mock.order("PUT", "/services/aks-key", r#"{"operation": 30, "learn_lag": [1]}"#).await;
    let [old, _] = mock.keys("aks-key").await;
    let answer = mock.call(Method::POST, &mock.mms("/services/aks-key/regenerateKeys"), REGENERATE).await;
    let state = async || mock.call(Method::GET, answer.header("operation-location"), "").await.json();
    assert_eq!(state().await["state"], "Running");
    let busy = mock.call(Method::POST, &mock.mms("/services/aks-key/regenerateKeys"), REGENERATE).await;
    assert_eq!((busy.status.as_u16(), busy.json()["code"].as_str()), (409, Some("Conflict")));
    mock.advance(29.9);
    assert_eq!((state().await["state"].as_str(), mock.list_keys("aks-key").await[0] == old), (Some("Running"), true));
    // Nobody looks until well after its end: the lag is over too.
    mock.advance(1.2);
    let [new, _] = mock.list_keys("aks-key").await;
    assert_eq!(mock.statuses("aks-key", &new).await, [200; 3]);
    assert_eq!(state().await["state"], "Succeeded");
}

#[tokio::test]
async fn somebody_else_changes_keys_at_once() {
    let mock = Mock::start().await;
    let before = mock.keys("aks-key").await;
    for (key, changed) in [("Primary", [true, false]), ("Secondary", [true, true]), ("Both", [true, true])] {
        mock.order("POST", "/services/aks-key/regenerate", &format!(r#"{{"key": "{key}"}}"#)).await;
        let after = mock.keys("aks-key").await;
        assert_eq!([after[0] != before[0], after[1] != before[1]], changed, "{key}");
    }
    mock.order("POST", "/services/aks-key/regenerate", r#"{"key": "Primary", "value": "chosen"}"#).await;
    assert_eq!(mock.keys("aks-key").await[0], "chosen");
    assert_eq!(mock.seen("aks-key", None).await["outside_regenerations"], 5);
}

#[tokio::test]
async fn an_effect_can_take_place_without_an_answer_or_with_an_error() {
    let mock = Mock::start().await;
    let url = mock.mms("/services/aks-key/regenerateKeys");
    for (fault, status) in [
        (
            r#"{"target": "mms", "kind": "after_effect", "status": 504, "call": "regenerateKeys", "count": 1}"#,
            Some(504),
        ),
        (r#"{"target": "mms", "kind": "lost_reply", "call": "regenerateKeys", "count": 1}"#, None),
    ] {
        mock.order("PUT", "/faults", fault).await;
        let before = mock.list_keys("aks-key").await;
        let answer = mock.try_call(Method::POST, &url, REGENERATE).await;
        assert_eq!(answer.ok().map(|answer| answer.status.as_u16()), status, "{fault}");
        let after = mock.list_keys("aks-key").await;
        assert!(after[0] != before[0] && after[1] == before[1], "{fault}");
    }
    assert_eq!(mock.call(Method::POST, &url, REGENERATE).await.status, 202, "once is once");
}

fn of(seen: &Value, slot: &Value, age: u64) -> (u64, u64) {
    let rows = seen["by_value"].as_array().unwrap();
    let row = rows.iter().find(|row| row["slot"] == *slot && row["age"] == age);
    row.map_or((0, 0), |row| (row["accepted"].as_u64().unwrap(), row["refused"].as_u64().unwrap()))
}

#[tokio::test]
async fn requests_are_counted_by_slot_and_age_of_their_value() {
    let mock = Mock::start().await;
    mock.order("PUT", "/services/aks-key", r#"{"learn_lag": [0, 0, 60]}"#).await;
    let [first, secondary] = mock.keys("aks-key").await;
    mock.order("POST", "/services/aks-key/regenerate", r#"{"key": "Primary"}"#).await;
    let [second, _] = mock.keys("aks-key").await;
    mock.statuses("aks-key", &first).await; // taken by one
    mock.statuses("aks-key", &second).await; // taken by two
    mock.statuses("aks-key", &secondary).await;
    mock.score("aks-key", 1, Some("nobody's")).await;
    mock.score("aks-key", 1, None).await;
    let seen = mock.seen("aks-key", None).await;
    assert_eq!(of(&seen, &json!("Primary"), 0), (2, 1));
    assert_eq!(of(&seen, &json!("Primary"), 1), (1, 2));
    assert_eq!(of(&seen, &json!("Secondary"), 0), (3, 0));
    assert_eq!(of(&seen, &Value::Null, 0), (0, 1));
    assert_eq!(
        (seen["requests"].as_u64(), seen["accepted"].as_u64(), seen["refused"].as_u64()),
        (Some(11), Some(6), Some(5))
    );
    assert_eq!(seen["reasons"], json!({ "missing": 1, "unknown_key": 4 }));
    assert_eq!(seen["front_ends"][2], json!({ "connections": 1, "requests": 3, "refused": 1 }));
}

#[tokio::test]
async fn a_look_tells_what_came_since_another() {
    let mock = Mock::start().await;
    let [key, _] = mock.keys("aks-key").await;
    mock.score("aks-key", 0, Some(&key)).await;
    let first = mock.look().await;
    assert_eq!(mock.seen("aks-key", Some(first)).await["requests"], 0, "the clock stands still, and nothing came");
    mock.score("aks-key", 0, Some(&key)).await;
    mock.score("aks-key", 0, Some("x")).await;
    assert_eq!(mock.seen("aks-key", Some(first)).await["requests"], 2);
    let second = mock.look().await;
    mock.call(Method::POST, &mock.mms("/services/aks-key/listkeys"), "").await;
    let since = mock.order("GET", &format!("/seen?since={second}"), "").await;
    assert_eq!(since["services"]["aks-key"]["requests"], 0);
    assert_eq!(since["services"]["aks-key"]["calls"], json!({ "listkeys": 1 }));
    assert_eq!(since["calls"]["mms"], json!({ "listkeys": 1 }));
    assert_eq!(since["calls"]["entra"], json!({ "token:client_credentials": 1 }));
    assert_eq!(mock.seen("aks-key", None).await["requests"], 3);
}

#[tokio::test]
async fn tokens_are_told_fresh_stale_and_expired() {
    let mock = Mock::start().await;
    mock.order("PUT", "/services/aks-token", r#"{"token_lifetime": 100, "refresh_after": 40}"#).await;
    let answer = mock.call(Method::POST, &mock.mms("/services/aks-token/token"), "").await.json();
    let token = answer["accessToken"].as_str().unwrap();
    for (wait, status) in [(39.0, 200), (1.0, 200), (59.0, 200), (1.0, 401)] {
        mock.advance(wait);
        assert_eq!(mock.score("aks-token", 2, Some(token)).await.status, status);
    }
    let seen = mock.seen("aks-token", None).await;
    assert_eq!(seen["tokens"], json!({ "fresh": 1, "past_refresh_by": 2, "expired": 1 }));
    assert_eq!(seen["expired_tokens"], 1);
}

#[tokio::test]
async fn the_key_that_signs_tokens_changes_with_overlap() {
    let mock = Mock::start().await;
    let token = async || {
        let answer = mock.call(Method::POST, &mock.mms("/services/aks-token/token"), "").await.json();
        answer["accessToken"].as_str().unwrap().to_owned()
    };
    let old = token().await;
    mock.order("POST", "/services/aks-token/rotate_token_key", r#"{"overlap": 10}"#).await;
    let new = token().await;
    assert_eq!(
        (mock.score("aks-token", 1, Some(&old)).await.status, mock.score("aks-token", 1, Some(&new)).await.status),
        (http::StatusCode::OK, http::StatusCode::OK)
    );
    mock.advance(10.0);
    assert_eq!(mock.score("aks-token", 1, Some(&old)).await.status, 401);
    assert_eq!(mock.score("aks-token", 1, Some(&new)).await.status, 200);
}

#[tokio::test]
async fn a_reset_brings_everything_back() {
    let mock = Mock::start().await;
    let before = mock.keys("aks-key").await;
    mock.order("POST", "/services/aks-key/regenerate", r#"{"key": "Both"}"#).await;
    mock.order("PUT", "/services/aks-key", r#"{"learn_lag": [9, 9, 9], "deny": ["score"]}"#).await;
    mock.order("PUT", "/faults", r#"{"target": "arm", "kind": "down"}"#).await;
    mock.order("PUT", "/clock", r#"{"offset": 5}"#).await;
    mock.order("POST", "/reset", "").await;
    assert_eq!(mock.keys("aks-key").await, before);
    assert_eq!(mock.statuses("aks-key", &before[0]).await, [200; 3]);
    assert_eq!(mock.call(Method::GET, &mock.arm(""), "").await.status, 200);
    assert_eq!(mock.order("GET", "/clock", "").await["offset"], 0.0);
    assert_eq!(mock.seen("aks-key", None).await["requests"], 3);
}

#[tokio::test]
async fn orders_that_cannot_be_are_refused() {
    let mock = Mock::start().await;
    for (method, path, body) in [
        ("PUT", "/services/aks-key", r#"{"learn_lag": [1, 1, 1, 1]}"#),
        ("PUT", "/services/aks-key", r#"{"learn_lag": [-1]}"#),
        ("PUT", "/services/aks-key", r#"{"unknown": 1}"#),
        ("PUT", "/services/aks-key", r#"{"token_lifetime": 10, "refresh_after": 20}"#),
        ("PUT", "/services/aks-key", "["),
        ("PUT", "/services/nobody", "{}"),
        ("POST", "/services/aks-key/regenerate", r#"{"key": "primary"}"#),
        ("POST", "/services/aks-key/regenerate", r#"{"key": "Both", "value": "x"}"#),
        ("PUT", "/faults", r#"{"target": "arm", "kind": "status", "status": 99}"#),
        ("PUT", "/faults", r#"{"target": "arm", "kind": "refuse_early"}"#),
        ("PUT", "/faults", r#"{"target": "arm", "kind": "down", "count": 0}"#),
        ("PUT", "/faults", r#"{"target": "arm", "kind": "down", "service": "nobody"}"#),
        ("PUT", "/clock", r#"{"offset": 1e300}"#),
        ("PUT", "/entra", r#"{"token_lifetime": 999999999999}"#),
        ("GET", "/seen?since=-1", ""),
        ("POST", "/devicecode/NOBODY/approve", ""),
        ("GET", "/nothing", ""),
    ] {
        let url = format!("{}{path}", mock.at.admin);
        let answer = mock.send(crate::support::request(method.parse().unwrap(), &url, None, body)).await.unwrap();
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{method} {path} {body}: {answer:?}");
        assert!(!answer.json()["error"]["message"].as_str().unwrap().is_empty());
    }
    let mut from_a_page = crate::support::request(Method::POST, &format!("{}/reset", mock.at.admin), None, "");
    from_a_page.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(mock.send(from_a_page).await.unwrap().status, 403);
}
