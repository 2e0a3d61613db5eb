//! Front ends and the built-in model, request by request.

use std::collections::HashSet;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use scoregate::mock_azure::Options;

use crate::support::{Mock, request};

#[tokio::test]
async fn a_credential_is_demanded_for_options_too() {
    let mock = Mock::start().await;
    let [key, _] = mock.keys("aks-key").await;
    let url = &mock.at.scoring["aks-key"][0];
    for method in [Method::OPTIONS, Method::POST, Method::GET] {
        let answer = mock.send(request(method.clone(), url, None, "")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"), "{method}");
        assert_eq!(answer.header("x-ms-run-fn-exec-ms"), "");
    }
    let options = mock.send(request(Method::OPTIONS, url, Some(&key), "")).await.unwrap();
    assert_eq!((options.status.as_u16(), options.header("x-ms-run-fn-exec-ms")), (200, ""), "the model did not run");
    assert_eq!(options.header("x-ms-run-function-failed"), "False");
}

#[tokio::test]
async fn only_one_bearer_that_is_right_is_let_in() {
    let mock = Mock::start().await;
    let [key, _] = mock.keys("aci-key").await;
    let url = &mock.at.scoring["aci-key"][0];
    for (fields, status) in [
        (vec![format!("Bearer {key}")], 200),
        (vec![format!("bearer {key}")], 200),
        (vec![format!("Bearer {key} ")], 200), // spaces at the end are no part of a field
        (vec![key.clone()], 401),
        (vec![format!("Basic {key}")], 401),
        (vec![format!("Bearer {key}x")], 401),
        (vec![format!("Bearer {key}, Bearer {key}")], 401),
        (vec![format!("Bearer {key}"), format!("Bearer {key}")], 401),
        (vec!["Bearer".to_owned()], 401),
    ] {
        let mut asked = request(Method::OPTIONS, url, None, "");
        for field in &fields {
            asked.headers_mut().append("authorization", field.parse().unwrap());
        }
        assert_eq!(mock.send(asked).await.unwrap().status, status, "{fields:?}");
    }
}

#[tokio::test]
async fn tokens_are_for_their_service_and_entra_s_for_scoring() {
    let mock = Mock::start().await;
    let aml = mock.call(Method::POST, &mock.arm("/onlineEndpoints/online-token/token"), "").await.json();
    let aml = aml["accessToken"].as_str().unwrap().to_owned();
    let (ml, arm) = (mock.token("https://ml.azure.com").await, mock.arm_token().await);
    for (service, credential, status) in [
        ("online-token", &aml, 200),
        ("online-token", &ml, 401),
        ("aks-token", &aml, 401),
        ("online-entra", &ml, 200),
        ("online-entra", &arm, 401),
        ("online-entra", &aml, 401),
        ("online-key", &ml, 401),
    ] {
        assert_eq!(mock.score(service, 0, Some(credential)).await.status, status, "{service}");
    }
    mock.order("PUT", "/services/online-entra", r#"{"deny": ["score"]}"#).await;
    assert_eq!(mock.score("online-entra", 0, Some(&ml)).await.status, 403);
}

#[tokio::test]
async fn a_token_of_a_principal_without_a_role_is_forbidden() {
    let mock =
        Mock::with_fixture(r#"{"more_applications": [{"client_id": "guest", "client_secret": "g", "role": "none"}]}"#)
            .await;
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", "guest"),
        ("client_secret", "g"),
        ("scope", "https://ml.azure.com/.default"),
    ];
    let token = mock.form(&mock.token_url("/v2.0/token"), &fields).await.json();
    let answer = mock.score("online-entra", 0, token["access_token"].as_str()).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn the_model_answers_as_the_container_server_does() {
    let mock = Mock::start().await;
    let url = mock.at.scoring["aci-open"][0].clone();
    let scored = mock.score("aci-open", 0, None).await;
    assert_eq!(scored.json()["result"][0], "setosa");
    assert!(scored.header("x-ms-run-fn-exec-ms").parse::<f64>().is_ok());
    for name in ["x-request-id", "x-ms-request-id", "x-ms-server-version"] {
        assert!(!scored.header(name).is_empty(), "{name}");
    }
    assert_eq!(scored.header("x-ms-client-request-id"), "");
    let bad = mock.send(request(Method::POST, &url, None, "{}")).await.unwrap();
    assert_eq!(bad.status, 400);
    assert!(bad.json()["message"].as_str().unwrap().starts_with("expected"));
    let base = url.strip_suffix("score").unwrap();
    for (method, path, status) in [
        (Method::DELETE, "score", 405),
        (Method::GET, "", 200),
        (Method::GET, "swagger.json", 200),
        (Method::GET, "swagger.json?version=3.1", 200),
        (Method::GET, "swagger.json?version=9", 404),
        (Method::GET, "nothing", 404),
        (Method::POST, "status?code=502", 502),
        (Method::POST, "status?code=1", 400),
        (Method::GET, "ws", 426),
    ] {
        assert_eq!(
            mock.send(request(method, &format!("{base}{path}"), None, "")).await.unwrap().status,
            status,
            "{path}"
        );
    }
    assert_eq!(mock.get(&format!("{base}swagger.json")).await.json()["swagger"], "2.0");
}

#[tokio::test]
async fn ids_come_back_and_long_ones_are_refused() {
    let mock = Mock::start().await;
    let url = mock.at.scoring["aci-open"][0].clone();
    let ask = async |fields: &[(&'static str, &str)]| {
        let mut asked = request(Method::OPTIONS, &url, None, "");
        for (name, value) in fields {
            asked.headers_mut().insert(*name, value.parse().unwrap());
        }
        mock.send(asked).await.unwrap()
    };
    let one = ask(&[("x-request-id", "r"), ("x-ms-client-request-id", "c")]).await;
    assert_eq!(
        ["x-request-id", "x-ms-request-id", "x-ms-client-request-id"].map(|name| one.header(name)),
        ["r", "c", "c"]
    );
    let legacy = ask(&[("x-ms-request-id", "l")]).await;
    assert_eq!(["x-ms-request-id", "x-ms-client-request-id"].map(|name| legacy.header(name)), ["l", "l"]);
    let long = "i".repeat(101);
    for name in ["x-request-id", "x-ms-request-id", "x-ms-client-request-id"] {
        assert_eq!(ask(&[(name, &long)]).await.status, 431, "{name}");
        assert_eq!(ask(&[(name, &long[1..])]).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn paths_begin_where_azure_has_them() {
    let mock = Mock::start().await;
    assert!(mock.at.scoring["aks-key"][0].ends_with("/api/v1/service/aks-key/score"));
    assert!(mock.at.scoring["aci-key"][0].ends_with("/score") && !mock.at.scoring["aci-key"][0].contains("api"));
    let [key, _] = mock.keys("aks-key").await;
    let outside = mock.at.scoring["aks-key"][0].replace("/api/v1/service/aks-key", "");
    assert_eq!(mock.send(request(Method::POST, &outside, Some(&key), "{}")).await.unwrap().status, 404);
}

#[tokio::test]
async fn connections_go_to_the_front_ends_in_turn_and_stay() {
    let mock = Mock::start().await;
    let [key, _] = mock.keys("aks-key").await;
    let url = &mock.at.scoring["aks-key"][0];
    for _ in 0..9 {
        mock.send_fresh(request(Method::OPTIONS, url, Some(&key), "")).await.unwrap();
    }
    let seen = mock.seen("aks-key", None).await;
    for front_end in 0..3 {
        assert_eq!(
            (seen["front_ends"][front_end]["connections"].as_u64(), seen["front_ends"][front_end]["requests"].as_u64()),
            (Some(3), Some(3))
        );
    }
    for _ in 0..9 {
        mock.send(request(Method::OPTIONS, url, Some(&key), "")).await.unwrap();
    }
    let after = mock.seen("aks-key", None).await;
    let requests: HashSet<u64> = (0..3).map(|one| after["front_ends"][one]["requests"].as_u64().unwrap()).collect();
    assert_eq!(requests, HashSet::from([3, 12]), "one warm connection, one front end");
    assert_eq!(after["connections"], 10);
}

#[tokio::test]
async fn a_refused_body_is_read_and_the_connection_kept_unless_told_otherwise() {
    let mock = Mock::start().await;
    let [key, _] = mock.keys("aci-key").await;
    let url = mock.at.scoring["aci-key"][0].clone();
    let upload = |key: &str| {
        let builder = Request::post(&url).header("authorization", format!("Bearer {key}"));
        builder.body(Full::new(Bytes::from(vec![b' '; 4 << 20]))).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(mock.send(upload("wrong")).await.unwrap().status, 401);
    }
    assert_eq!(mock.send(request(Method::OPTIONS, &url, Some(&key), "")).await.unwrap().status, 200);
    assert_eq!(mock.seen("aci-key", None).await["connections"], 1);
    mock.order("PUT", "/faults", r#"{"target": "scoring", "kind": "refuse_early", "service": "aci-key"}"#).await;
    // The client may see the answer, or that nobody reads.
    assert!(
        mock.send(upload("wrong"))
            .await
            .is_ok_and(|answer| answer.status == 401 && answer.header("connection") == "close")
            || mock.seen("aci-key", None).await["refused"] == 4
    );
    assert_eq!(
        mock.send(request(Method::OPTIONS, &url, Some(&key), "")).await.unwrap().status,
        200,
        "who is let in is let in"
    );
    assert_eq!(mock.seen("aci-key", None).await["connections"], 2);
}

#[tokio::test]
async fn an_echo_tells_what_came_but_not_the_credential() {
    let mock = Mock::start().await;
    let [key, _] = mock.keys("aci-key").await;
    let url = mock.at.scoring["aci-key"][0].replace("/score", "/echo?x=1");
    let mut asked = request(Method::PUT, &url, Some(&key), "hello");
    asked.headers_mut().insert("x-mine", "m".parse().unwrap());
    let echoed = mock.send(asked.clone()).await.unwrap();
    assert_eq!(
        (&*echoed.body, echoed.header("x-echo-x-mine"), echoed.header("x-echo-method")),
        (&b"hello"[..], "m", "PUT")
    );
    assert_eq!(echoed.header("x-echo-target"), "/echo?x=1");
    let digest = scoregate::digest::sha256(format!("Bearer {key}").as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(echoed.header("x-echo-authorization"), format!("sha256:{digest}"));
    *asked.uri_mut() = url.replace("x=1", "as=json").parse().unwrap();
    let described = mock.send(asked).await.unwrap();
    assert!(!format!("{echoed:?}{described:?}").contains(&key));
    assert_eq!((described.json()["length"].as_u64(), described.json()["method"].as_str()), (Some(5), Some("PUT")));
}

#[tokio::test]
async fn a_container_behind_a_front_end_gets_everything_but_the_credential() {
    let container = Mock::start().await;
    let container_url = container.at.scoring["aci-open"][0].clone();
    let mock =
        Mock::with(Options { backends: vec![("aks-key".to_owned(), container_url)], ..Options::default() }).await;
    let [key, _] = mock.keys("aks-key").await;
    assert_eq!(mock.score("aks-key", 0, Some(&key)).await.json()["result"][0], "setosa");
    assert_eq!(mock.score("aks-key", 0, Some("wrong")).await.status, 401);
    assert_eq!(container.seen("aci-open", None).await["requests"], 1, "what is refused does not reach it");
    let url = mock.at.scoring["aks-key"][0].replace("/score", "/echo?as=json");
    let mut asked = request(Method::POST, &url, Some(&key), "abc");
    asked.headers_mut().insert("x-mine", "m".parse().unwrap());
    asked.headers_mut().insert("host", "svc.example".parse().unwrap());
    let seen = mock.send(asked).await.unwrap().json();
    let fields: Vec<(String, String)> = serde_json::from_value(seen["headers"].clone()).unwrap();
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    assert_eq!((field("x-mine"), field("host"), field("authorization")), (Some("m"), Some("svc.example"), None));
    assert_eq!((seen["target"].as_str(), seen["length"].as_u64()), (Some("/echo?as=json"), Some(3)));
    drop(container);
    assert_eq!(mock.score("aks-key", 0, Some(&key)).await.status, StatusCode::BAD_GATEWAY);
}
