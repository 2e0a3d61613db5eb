//! Managed identity's wire.

use http::Method;

use crate::support::{Answer, Mock, START, request};

async fn ask(mock: &Mock, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let mut asked = request(Method::GET, &format!("{}{path}", mock.at.imds), None, "");
    for (name, value) in headers {
        asked.headers_mut().insert(*name, value.parse().unwrap());
    }
    mock.send(asked).await.unwrap()
}

const IMDS: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://ml.azure.com/";

#[tokio::test]
async fn every_form_has_its_fields() {
    let mock = Mock::start().await;
    let imds = ask(&mock, IMDS, &[("metadata", "true")]).await.json();
    assert_eq!((imds["expires_in"].as_str(), imds["resource"].as_str()), (Some("3599"), Some("https://ml.azure.com/")));
    assert_eq!(imds["expires_on"], (START + 3_599).to_string());
    let path = format!("{}?api-version=2019-08-01&resource=https://ml.azure.com", mock.at.app_service_path);
    let app = ask(&mock, &path, &[("x-identity-header", &mock.at.identity_header)]).await.json();
    assert!(app["expires_on"].is_string() && app.get("expires_in").is_none());
    let path = format!("{}?api-version=2017-09-01&resource=https://ml.azure.com&clientid=", mock.at.msi_path);
    let aml = ask(&mock, &path, &[("secret", &mock.at.msi_secret)]).await.json();
    assert!(aml["access_token"].is_string());
}

#[tokio::test]
async fn whoever_is_not_the_machine_itself_is_refused() {
    let mock = Mock::start().await;
    let missing = ask(&mock, IMDS, &[]).await;
    assert_eq!((missing.status.as_u16(), missing.json()["error"].as_str()), (400, Some("bad_request_102")));
    let forwarded = ask(&mock, IMDS, &[("metadata", "true"), ("x-forwarded-for", "10.0.0.1")]).await;
    assert_eq!(forwarded.status, 400);
    let unknown = ask(&mock, &format!("{IMDS}&client_id=nobody"), &[("metadata", "true")]).await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()["error_description"].as_str()),
        (400, Some("Identity not found"))
    );
    let path = format!("{}?api-version=2019-08-01&resource=https://ml.azure.com", mock.at.app_service_path);
    let wrong = ask(&mock, &path, &[("x-identity-header", "x")]).await;
    assert_eq!((wrong.status.as_u16(), wrong.json()["statusCode"].as_u64()), (401, Some(401)));
    assert_eq!(ask(&mock, &mock.at.msi_path, &[("secret", "x")]).await.status, 401);
    let scope = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://nobody.example";
    let foreign = ask(&mock, scope, &[("metadata", "true")]).await;
    assert_eq!(foreign.json()["error"], "invalid_resource");
    assert_eq!(ask(&mock, "/", &[]).await.status, 404);
}

#[tokio::test]
async fn it_can_be_down_and_come_back() {
    let mock = Mock::start().await;
    mock.order("PUT", "/faults", r#"{"target": "imds", "kind": "status", "status": 410, "count": 1}"#).await;
    assert_eq!(ask(&mock, IMDS, &[("metadata", "true")]).await.status, 410);
    assert_eq!(ask(&mock, IMDS, &[("metadata", "true")]).await.status, 200);
}
