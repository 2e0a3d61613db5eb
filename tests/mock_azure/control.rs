//! The resource manager's and the model management service's wire.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Mock, request};

#[tokio::test]
async fn a_bearer_is_demanded_and_the_reason_told() {
    let mock = Mock::start().await;
    let scoring = mock.token("https://ml.azure.com").await;
    let good = mock.arm_token().await;
    let mut forged = good.clone();
    forged.replace_range(forged.len() - 4.., "AAAA");
    let header = format!("{}.{}", good.split('.').next().unwrap(), "e30.AAAA");
    for (bearer, code) in [
        (None, "AuthenticationFailed"),
        (Some("x"), "InvalidAuthenticationToken"),
        (Some(&*scoring), "InvalidAuthenticationToken"),
        (Some(&*forged), "InvalidAuthenticationTokenTenant"),
        (Some(&*header), "InvalidAuthenticationTokenTenant"),
    ] {
        let answer = mock.send(request(Method::GET, &mock.arm(""), bearer, "")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.json()["error"]["code"].as_str()), (401, Some(code)), "{bearer:?}");
        assert!(
            answer
                .header("www-authenticate")
                .starts_with("Bearer authorization_uri=\"https://login.microsoftonline.com/")
        );
        let flat = mock.send(request(Method::GET, &mock.mms("/services"), bearer, "")).await.unwrap();
        assert_eq!(
            (flat.status.as_u16(), &flat.json()["code"], &flat.json()["statusCode"]),
            (401, &json!(code), &json!(401))
        );
    }
}

#[tokio::test]
async fn every_spelling_of_the_audience_is_taken() {
    let mock = Mock::start().await;
    for audience in [
        "https://management.azure.com",
        "https://management.azure.com/",
        "https://management.core.windows.net",
        "https://management.core.windows.net/",
        &*mock.at.arm,
    ] {
        let token = mock.token(audience).await;
        let answer = mock.send(request(Method::GET, &mock.arm(""), Some(&token), "")).await.unwrap();
        assert_eq!(answer.status, 200, "{audience}");
    }
}

#[tokio::test]
async fn paths_have_no_case_and_versions_are_dates() {
    let mock = Mock::start().await;
    let base = mock.at.arm.clone();
    let path = format!("{}/onlineEndpoints/online-key", mock.workspace());
    for (path, query, status) in [
        (path.to_lowercase(), "api-version=2022-02-01-preview", 200),
        (path.to_uppercase(), "api-version=2999-01-01", 200),
        (path.clone(), "", 400),
        (path.clone(), "api-version=latest", 400),
        (format!("{path}x"), "api-version=2023-04-01", 404),
        (path.replace("ml-example", "other"), "api-version=2023-04-01", 404),
        (path.replace("ml-group", "other"), "api-version=2023-04-01", 404),
        (path.replace("5b5c", "5b5d"), "api-version=2023-04-01", 404),
    ] {
        let answer = mock.call(Method::GET, &format!("{base}{path}?{query}"), "").await;
        assert_eq!(answer.status, status, "{path}?{query}");
        if status != 200 {
            assert!(answer.json()["error"]["code"].is_string(), "{answer:?}");
        }
    }
    let missing = mock.call(Method::GET, &format!("{base}{path}"), "").await;
    assert_eq!(missing.json()["error"]["code"], "MissingApiVersionParameter");
    assert_eq!(mock.call(Method::POST, &format!("{base}{path}/LISTKEYS?api-version=2023-04-01"), "").await.status, 200);
    assert_eq!(mock.call(Method::GET, &mock.arm("/onlineEndpoints/online-key/listKeys"), "").await.status, 405);
}

#[tokio::test]
async fn discovery_needs_no_token_and_names_every_service() {
    let mock = Mock::start().await;
    let workspace = mock.call(Method::GET, &mock.arm(""), "").await.json();
    let discovery = workspace["properties"]["discoveryUrl"].as_str().unwrap();
    let document = mock.get(discovery).await.json();
    for name in ["api", "experimentation", "history", "hyperdrive", "modelmanagement", "studio"] {
        assert_eq!(document[name], mock.at.mms, "{name}");
    }
    let clouds = mock.get(&format!("{}/metadata/endpoints?api-version=2019-05-01", mock.at.arm)).await.json();
    assert_eq!(clouds[0]["authentication"]["loginEndpoint"], mock.at.entra);
    let subscriptions =
        mock.call(Method::GET, &format!("{}/subscriptions?api-version=2022-12-01", mock.at.arm), "").await;
    assert_eq!(subscriptions.json()["value"][0]["subscriptionId"], mock.at.subscription);
    let list = format!(
        "{}/subscriptions/{}/providers/Microsoft.MachineLearningServices/workspaces?api-version=2023-04-01",
        mock.at.arm, mock.at.subscription
    );
    assert_eq!(mock.call(Method::GET, &list, "").await.json()["value"][0]["name"], mock.at.workspace);
}

#[tokio::test]
async fn lists_have_pages_and_the_last_has_no_next_link() {
    let mock = Mock::with_fixture("page_size: 3").await;
    for (start, expected) in [(mock.mms("/services?expand=true"), 4), (mock.arm("/onlineEndpoints"), 3)] {
        let (mut url, mut names, mut pages) = (Some(start), Vec::new(), 0);
        while let Some(next) = url {
            let page = mock.call(Method::GET, &next, "").await.json();
            names.extend(page["value"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()));
            assert!(page.get("nextLink").is_none_or(Value::is_string), "absent, not null");
            url = page.get("nextLink").map(|next| next.as_str().unwrap().to_owned());
            pages += 1;
        }
        names.dedup();
        assert_eq!((names.len(), pages), (expected, if expected == 4 { 2 } else { 1 }));
    }
}

#[tokio::test]
async fn a_web_service_regenerates_a_key_of_its_own_or_a_chosen_one() {
    let mock = Mock::start().await;
    let url = mock.mms("/services/aci-key/regenerateKeys");
    let before = mock.keys("aci-key").await;
    let answer = mock.call(Method::POST, &url, r#"{"keyType": "Primary", "keyValue": null}"#).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0));
    let operation = answer.header("operation-location").to_owned();
    assert!(!operation.contains('?') && operation.starts_with(&mock.mms("/operations/")));
    let done = mock.call(Method::GET, &operation, "").await.json();
    assert_eq!((done["state"].as_str(), done["error"].is_null()), (Some("Succeeded"), true));
    let after = mock.list_keys("aci-key").await;
    assert!(after[0] != before[0] && after[1] == before[1]);
    mock.call(Method::POST, &url, r#"{"keyType": "Secondary", "keyValue": "mine"}"#).await;
    assert_eq!(mock.list_keys("aci-key").await, [after[0].clone(), "mine".to_owned()]);
    mock.call(Method::POST, &url, r#"{"keyType": "Secondary", "keyValue": "mine"}"#).await;
    assert_eq!(mock.list_keys("aci-key").await[1], "mine", "a web service takes it at its word");
    for bad in [
        "",
        "{}",
        r#"{"keyType": "primary"}"#,
        r#"{"keyType": "Primary", "keyValue": ""}"#,
        r#"{"keyType":"Primary","keyValue":"a\u0000"}"#,
    ] {
        let answer = mock.call(Method::POST, &url, bad).await;
        assert_eq!((answer.status.as_u16(), answer.json()["statusCode"].as_u64()), (400, Some(400)), "{bad}");
    }
    let unknown = mock.call(Method::GET, &mock.mms("/operations/nothing"), "").await;
    assert_eq!((unknown.status.as_u16(), unknown.json()["code"].as_str()), (404, Some("OperationNotFound")));
}

#[tokio::test]
async fn an_online_endpoint_is_polled_at_two_addresses() {
    let mock = Mock::start().await;
    mock.order("PUT", "/services/online-key", r#"{"operation": 10}"#).await;
    let before = mock.keys("online-key").await;
    let url = mock.arm("/onlineEndpoints/online-key/regenerateKeys");
    let answer = mock.call(Method::POST, &url, r#"{"keyType": "Secondary"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (202, "1"));
    let (status, result) = (answer.header("azure-asyncoperation").to_owned(), answer.header("location").to_owned());
    let busy = mock.call(Method::POST, &url, r#"{"keyType": "Primary"}"#).await;
    assert_eq!((busy.status.as_u16(), busy.json()["error"]["code"].as_str()), (409, Some("Conflict")));
    let running = mock.call(Method::GET, &status, "").await;
    assert_eq!((running.json()["status"].as_str(), running.header("retry-after")), (Some("InProgress"), "1"));
    let running = mock.call(Method::GET, &result, "").await;
    assert_eq!(
        (running.status.as_u16(), running.header("location"), running.header("retry-after")),
        (202, &*result, "1")
    );
    assert_eq!(mock.keys("online-key").await, before);
    mock.advance(10.0);
    let done = mock.call(Method::GET, &status, "").await;
    assert_eq!((done.json()["status"].as_str(), done.header("retry-after")), (Some("Succeeded"), ""));
    assert_eq!(mock.call(Method::GET, &result, "").await.status, 204);
    let after = mock.keys("online-key").await;
    assert!(after[0] == before[0] && after[1] != before[1]);
}

#[tokio::test]
async fn the_present_key_sent_along_makes_a_new_one_unless_told_otherwise() {
    let mock = Mock::start().await;
    let url = mock.arm("/onlineEndpoints/online-key/regenerateKeys");
    for (word, changes) in [("replace", true), ("keep", false)] {
        mock.order("PUT", "/services/online-key", &format!(r#"{{"same_key_value": "{word}"}}"#)).await;
        let before = mock.keys("online-key").await;
        let body = json!({ "keyType": "Primary", "keyValue": before[0] }).to_string();
        assert_eq!(mock.call(Method::POST, &url, &body).await.status, 202);
        assert_eq!(mock.keys("online-key").await[0] != before[0], changes, "{word}");
    }
}

#[tokio::test]
async fn operations_end_as_told() {
    let mock = Mock::start().await;
    for (outcome, v1, v2) in
        [("Failed", "Failed", "Failed"), ("Cancelled", "Cancelled", "Canceled"), ("TimedOut", "TimedOut", "Failed")]
    {
        for name in ["aks-key", "online-key"] {
            mock.order("PUT", &format!("/services/{name}"), &format!(r#"{{"operation_state": "{outcome}"}}"#)).await;
        }
        let before = mock.keys("aks-key").await;
        let answer =
            mock.call(Method::POST, &mock.mms("/services/aks-key/regenerateKeys"), r#"{"keyType": "Primary"}"#).await;
        let state = mock.call(Method::GET, answer.header("operation-location"), "").await.json();
        assert_eq!((state["state"].as_str(), state["error"].is_object()), (Some(v1), true));
        assert_eq!(mock.keys("aks-key").await, before);
        let url = mock.arm("/onlineEndpoints/online-key/regenerateKeys");
        let answer = mock.call(Method::POST, &url, r#"{"keyType": "Primary"}"#).await;
        let state = mock.call(Method::GET, answer.header("azure-asyncoperation"), "").await.json();
        assert_eq!((state["status"].as_str(), state["error"].is_object()), (Some(v2), true));
    }
}

#[tokio::test]
async fn what_a_service_does_not_have_is_refused() {
    let mock = Mock::start().await;
    for (url, status) in [
        (mock.mms("/services/aks-token/token"), 201),
        (mock.mms("/services/aks-key/token"), 400),
        (mock.mms("/services/aks-token/listkeys"), 400),
        (mock.mms("/services/aci-open/listkeys"), 400),
        (mock.mms("/services/online-key/listkeys"), 404),
        (mock.arm("/onlineEndpoints/online-token/token"), 200),
        (mock.arm("/onlineEndpoints/online-key/token"), 400),
        (mock.arm("/onlineEndpoints/online-entra/listKeys"), 400),
        (mock.arm("/onlineEndpoints/aks-key/listKeys"), 404),
    ] {
        assert_eq!(mock.call(Method::POST, &url, "").await.status, status, "{url}");
    }
    let token = mock.call(Method::POST, &mock.mms("/services/aks-token/token"), "").await.json();
    assert_eq!(token["expiryOn"].as_u64().unwrap() - token["refreshAfter"].as_u64().unwrap(), 43_200);
    let token = mock.call(Method::POST, &mock.arm("/onlineEndpoints/online-token/token"), "").await.json();
    assert_eq!(token["expiryTimeUtc"].as_u64().unwrap() - token["refreshAfterTimeUtc"].as_u64().unwrap(), 1_800);
}

#[tokio::test]
async fn actions_are_denied_one_by_one() {
    let mock = Mock::start().await;
    for name in ["aks-key", "online-key"] {
        mock.order("PUT", &format!("/services/{name}"), r#"{"deny": ["listKeys", "regeneratekeys", "score"]}"#).await;
    }
    let flat = mock.call(Method::POST, &mock.mms("/services/aks-key/listkeys"), "").await;
    assert_eq!((flat.status.as_u16(), flat.json()["code"].as_str()), (403, Some("AuthorizationFailed")));
    let url = mock.arm("/onlineEndpoints/online-key/regenerateKeys");
    let nested = mock.call(Method::POST, &url, r#"{"keyType": "Primary"}"#).await;
    assert_eq!((nested.status.as_u16(), nested.json()["error"]["code"].as_str()), (403, Some("AuthorizationFailed")));
    assert_eq!(mock.call(Method::GET, &mock.mms("/services/aks-key"), "").await.status, 200);
    let [key, _] = mock.keys("aks-key").await;
    assert_eq!(mock.score("aks-key", 0, Some(&key)).await.status, 403);
}

#[tokio::test]
async fn a_post_without_a_length_is_a_post_without_a_body() {
    let mock = Mock::start().await;
    let token = mock.arm_token().await;
    let url: http::Uri = mock.mms("/services/aks-key/listkeys").parse().unwrap();
    for length in ["", "Content-Length: 0\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(url.authority().unwrap().as_str()).await.unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: any.example\r\nAuthorization: Bearer {token}\r\n{length}Connection: close\r\n\r\n",
            url.path()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("primaryKey"), "{answer}");
    }
}
