//! Misbehaviour, side by side.

use std::time::{Duration, UNIX_EPOCH};

use http::Method;

use crate::support::{Mock, START, request};

/// One call of each side.
async fn ask(mock: &Mock, side: &str, token: &str) -> Result<(u16, serde_json::Value), String> {
    let url = match side {
        "entra" => format!("{}/{}/v2.0/.well-known/openid-configuration", mock.at.entra, mock.at.tenant),
        "arm" => mock.arm(""),
        "mms" => mock.mms("/services/aks-key"),
        _ => mock.at.scoring["aci-open"][0].clone(),
    };
    let method = if side == "scoring" { Method::OPTIONS } else { Method::GET };
    let answer = mock.send_fresh(request(method, &url, Some(token), "")).await?;
    Ok((answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap_or_default()))
}

const SIDES: [&str; 4] = ["entra", "arm", "mms", "scoring"];

#[tokio::test]
async fn one_side_is_down_and_the_others_are_not() {
    let mock = Mock::start().await;
    let token = mock.arm_token().await;
    for down in SIDES {
        mock.order("PUT", "/faults", &format!(r#"{{"target": "{down}", "kind": "down"}}"#)).await;
        for side in SIDES {
            let answer = ask(&mock, side, &token).await;
            assert_eq!(answer.is_err(), side == down, "{down} is down, {side}: {answer:?}");
        }
        mock.order("DELETE", "/faults", "").await;
        assert!(ask(&mock, down, &token).await.is_ok(), "{down} is back");
    }
}

#[tokio::test]
async fn an_error_has_the_side_s_own_shape_and_goes_away_with_its_count() {
    let mock = Mock::start().await;
    let token = mock.arm_token().await;
    for (side, place) in [("entra", "/error"), ("arm", "/error/code"), ("mms", "/statusCode"), ("scoring", "/message")]
    {
        let fault = format!(r#"{{"target": "{side}", "kind": "status", "status": 429, "retry_after": 7, "count": 2}}"#);
        mock.order("PUT", "/faults", &fault).await;
        for _ in 0..2 {
            let (status, body) = ask(&mock, side, &token).await.unwrap();
            assert_eq!(status, 429, "{side}");
            assert!(body.pointer(place).is_some(), "{side}: {body}");
        }
        assert_eq!(ask(&mock, side, &token).await.unwrap().0, 200, "{side}");
    }
}

#[tokio::test]
async fn retry_after_is_sent_only_where_it_is_told() {
    let mock = Mock::start().await;
    for (more, expected) in [("", ""), (r#", "retry_after": 7"#, "7")] {
        mock.order("PUT", "/faults", &format!(r#"{{"target": "mms", "kind": "status", "count": 1{more}}}"#)).await;
        let answer = mock.call(Method::GET, &mock.mms("/services"), "").await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, expected));
    }
}

#[tokio::test]
async fn garbage_is_no_answer_to_the_question() {
    let mock = Mock::start().await;
    let token = mock.arm_token().await;
    for side in SIDES {
        mock.order("PUT", "/faults", &format!(r#"{{"target": "{side}", "kind": "garbage", "count": 1}}"#)).await;
        let (status, body) = ask(&mock, side, &token).await.unwrap();
        assert_eq!(status, 200);
        assert!(body.get("token_endpoint").is_none() && body.get("name").is_none(), "{side}: {body}");
    }
}

#[tokio::test]
async fn slowness_is_real_and_adds_to_the_rest() {
    let mock = Mock::start().await;
    let token = mock.arm_token().await;
    let clock = scoregate::clock::Clock::system();
    mock.order("PUT", "/faults", r#"{"target": "arm", "kind": "slow", "delay": 0.2, "count": 1}"#).await;
    mock.order("PUT", "/faults", r#"{"target": "arm", "kind": "status", "status": 500, "count": 1}"#).await;
    assert_eq!(ask(&mock, "arm", &token).await.unwrap().0, 500);
    assert!(clock.now().as_micros() >= 200_000);
    assert_eq!(ask(&mock, "arm", &token).await.unwrap().0, 200);
}

#[tokio::test]
async fn an_error_of_entra_can_be_chosen_by_its_number() {
    let mock = Mock::start().await;
    for (code, error, status) in
        [(50_173, "invalid_grant", 400), (7_000_222, "invalid_client", 401), (90_033, "temporarily_unavailable", 503)]
    {
        mock.order(
            "PUT",
            "/faults",
            &format!(r#"{{"target": "entra", "kind": "status", "code": {code}, "call": "token", "count": 1}}"#),
        )
        .await;
        let answer = mock.form(&mock.token_url("/token"), &[("grant_type", "client_credentials")]).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error"].as_str()), (status, Some(error)));
    }
}

#[tokio::test]
async fn a_fault_can_be_for_one_service_one_call_and_one_front_end() {
    let mock = Mock::start().await;
    let [key, _] = mock.keys("aks-key").await;
    mock.order(
        "PUT",
        "/faults",
        r#"{"target": "scoring", "kind": "status", "status": 424, "service": "aks-key", "front_end": 1}"#,
    )
    .await;
    assert_eq!(mock.statuses("aks-key", &key).await, [200, 424, 200]);
    let answer = mock.score("aks-key", 2, Some(&key)).await;
    assert_eq!(answer.header("ms-azureml-model-error-statuscode"), "401");
    assert_eq!(mock.score("aci-open", 2, None).await.status, 200);
    mock.order("DELETE", "/faults", "").await;
    mock.order("PUT", "/faults", r#"{"target": "mms", "kind": "status", "call": "listkeys"}"#).await;
    assert_eq!(mock.call(Method::POST, &mock.mms("/services/aks-key/listkeys"), "").await.status, 503);
    assert_eq!(mock.call(Method::GET, &mock.mms("/services/aks-key"), "").await.status, 200);
}

#[tokio::test]
async fn answers_are_dated_by_the_mock_s_own_clock() {
    let mock = Mock::start().await;
    let addresses = [
        format!("{}/{}/v2.0/.well-known/openid-configuration", mock.at.entra, mock.at.tenant),
        format!("{}/{}/no/such/path", mock.at.entra, mock.at.tenant),
        mock.arm(""),
        mock.mms("/services/aks-key"),
        format!("{}/metadata/identity/oauth2/token", mock.at.imds),
        mock.at.scoring["aci-open"][0].clone(),
        mock.at.scoring["aks-key"][0].clone(),
    ];
    for offset in [0_i64, 300, -300, 86_400] {
        mock.order("PUT", "/clock", &format!(r#"{{"offset": {offset}}}"#)).await;
        for url in &addresses {
            let answer = mock.get(url).await;
            let expected = UNIX_EPOCH + Duration::from_secs(START.checked_add_signed(offset).unwrap());
            assert_eq!(httpdate::parse_http_date(answer.header("date")).unwrap(), expected, "{url} {offset}");
            assert_eq!(answer.headers.get_all("date").iter().count(), 1, "{url}");
        }
    }
    // Whoever gives the orders is on this machine's time.
    let answer = mock.get(&mock.at.admin).await;
    let told = httpdate::parse_http_date(answer.header("date")).unwrap();
    assert!(told.elapsed().is_ok_and(|ago| ago < Duration::from_secs(3_600)), "{answer:?}");
}
