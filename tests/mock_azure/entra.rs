//! The identity provider's wire.

use http::Method;
use serde_json::Value;

use crate::support::{Mock, START, form, request};

const ARM: &str = "https://management.azure.com/";

async fn v1(mock: &Mock, more: &[(&str, &str)]) -> crate::support::Answer {
    let usual = [
        ("grant_type", "client_credentials"),
        ("client_id", &*mock.at.client_id),
        ("client_secret", &mock.at.client_secret),
        ("resource", ARM),
    ];
    let kept = usual.into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    let fields: Vec<_> = kept.chain(more.iter().copied().filter(|(_, value)| !value.is_empty())).collect();
    mock.form(&mock.token_url("/token"), &fields).await
}

#[tokio::test]
async fn numbers_are_texts_on_version_1_and_numbers_on_version_2() {
    let mock = Mock::start().await;
    let one = v1(&mock, &[]).await.json();
    assert_eq!((one["expires_in"].as_str(), one["ext_expires_in"].as_str()), (Some("3599"), Some("3599")));
    assert_eq!(one["expires_on"], (START + 3_599).to_string());
    assert_eq!((one["not_before"].as_str(), one["resource"].as_str()), (Some(&*START.to_string()), Some(ARM)));
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", &*mock.at.client_id),
        ("client_secret", &mock.at.client_secret),
        ("scope", "https://management.azure.com//.default"),
        ("unknown", "field"),
    ];
    let two = mock.form(&mock.token_url("/v2.0/token"), &fields).await.json();
    assert_eq!((two["expires_in"].as_u64(), two["token_type"].as_str()), (Some(3_599), Some("Bearer")));
    assert!(two.get("expires_on").is_none() && two.get("refresh_token").is_none() && two.get("refresh_in").is_none());
    let claims = claims(two["access_token"].as_str().unwrap());
    assert_eq!(claims["aud"], ARM, "the slash stays");
    for name in ["iss", "tid", "oid", "appid", "iat", "nbf", "exp", "sub"] {
        assert!(claims.get(name).is_some(), "{name}");
    }
}

fn claims(token: &str) -> Value {
    let segment = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&scoregate::jwt::decode_base64url(segment).unwrap()).unwrap()
}

#[tokio::test]
async fn errors_have_their_name_number_and_status() {
    let mock = Mock::start().await;
    for (more, status, error, code) in [
        (&[("client_secret", "wrong")][..], 401, "invalid_client", 7_000_215),
        (&[("client_secret", "")], 401, "invalid_client", 7_000_218),
        (&[("client_id", "nobody")], 400, "unauthorized_client", 700_016),
        (&[("client_id", "")], 400, "invalid_request", 900_144),
        (&[("grant_type", "")], 400, "invalid_request", 900_144),
        (&[("grant_type", "password")], 400, "unsupported_grant_type", 70_003),
        (&[("resource", "")], 400, "invalid_request", 900_144),
        (&[("resource", "https://nobody.example")], 400, "invalid_resource", 500_011),
        (&[("grant_type", "refresh_token"), ("refresh_token", "x")], 400, "invalid_grant", 700_082),
        (
            &[("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", "http://localhost")],
            400,
            "invalid_grant",
            70_000,
        ),
        (&[("grant_type", "device_code"), ("code", "x")], 400, "bad_verification_code", 70_018),
        (&[("client_secret", ""), ("client_assertion", "x")], 400, "invalid_request", 900_144),
    ] {
        let answer = v1(&mock, more).await;
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), body["error"].as_str()), (status, Some(error)), "{more:?} {body}");
        assert_eq!(body["error_codes"], serde_json::json!([code]), "{more:?}");
        let described = body["error_description"].as_str().unwrap();
        assert!(
            described.starts_with(&format!("AADSTS{code}: ")) && described.contains("Timestamp: 2023-11-14 22:13:20Z")
        );
        assert_eq!(body["timestamp"], "2023-11-14 22:13:20Z");
        for name in ["trace_id", "correlation_id", "error_uri"] {
            assert!(body[name].is_string(), "{name}");
        }
    }
}

#[tokio::test]
async fn other_tenants_are_not_known_and_shared_ones_are_for_people() {
    let mock = Mock::start().await;
    for tenant in ["nobody", "common", "organizations"] {
        let url = format!("{}/{tenant}/oauth2/token", mock.at.entra);
        let answer = mock.form(&url, &[("grant_type", "client_credentials")]).await;
        assert_eq!((answer.status.as_u16(), answer.json()["error_codes"][0].as_u64()), (400, Some(90_002)), "{tenant}");
        let known = mock.get(&format!("{}/{tenant}/v2.0/.well-known/openid-configuration", mock.at.entra)).await;
        assert_eq!(known.status.as_u16(), if tenant == "nobody" { 400 } else { 200 }, "{tenant}");
    }
}

#[tokio::test]
async fn a_request_id_comes_back_where_it_is_wanted() {
    let mock = Mock::start().await;
    for wanted in [true, false] {
        let mut request = form(&mock.token_url("/token"), &[]);
        request.headers_mut().insert("client-request-id", "abc".parse().unwrap());
        request.headers_mut().insert("return-client-request-id", wanted.to_string().parse().unwrap());
        let answer = mock.send(request).await.unwrap();
        assert_eq!(answer.header("client-request-id"), if wanted { "abc" } else { "" });
        assert_eq!(answer.json()["correlation_id"], "abc");
        assert!(!answer.header("x-ms-request-id").is_empty());
    }
}

#[tokio::test]
async fn addresses_are_built_from_how_the_client_names_us() {
    let mock = Mock::start().await;
    let url = format!("{}/{}/v2.0/.well-known/openid-configuration", mock.at.entra, mock.at.tenant);
    let endpoint = async |headers: &[(&'static str, &str)]| {
        let mut asked = request(Method::GET, &url, None, "");
        for (name, value) in headers {
            asked.headers_mut().insert(*name, value.parse().unwrap());
        }
        mock.send(asked).await.unwrap().json()["token_endpoint"].as_str().unwrap().to_owned()
    };
    let rest = format!("/{}/oauth2/v2.0/token", mock.at.tenant);
    assert_eq!(endpoint(&[]).await, format!("{}{rest}", mock.at.entra));
    assert_eq!(
        endpoint(&[("host", "login.microsoftonline.com")]).await,
        format!("http://login.microsoftonline.com{rest}")
    );
    let forwarded = [("x-forwarded-proto", "https"), ("x-forwarded-host", "azure.test:8443")];
    assert_eq!(endpoint(&forwarded).await, format!("https://azure.test:8443{rest}"));
}

#[tokio::test]
async fn instances_are_known_by_their_host() {
    let mock = Mock::start().await;
    let ask = async |version: &str, endpoint: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("api-version", version)
            .append_pair("authorization_endpoint", endpoint)
            .finish();
        mock.get(&format!("{}/common/discovery/instance?{query}", mock.at.entra)).await
    };
    let known = ask("1.1", "https://login.microsoftonline.com/common/oauth2/authorize").await.json();
    assert_eq!(
        known["tenant_discovery_endpoint"],
        "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"
    );
    assert!(known["metadata"][0]["aliases"].as_array().unwrap().contains(&"login.windows.net".into()));
    let older = ask("1.0", "https://login.windows.net/x/oauth2/authorize").await.json();
    assert!(older.get("metadata").is_none() && older["tenant_discovery_endpoint"].is_string());
    for unknown in ["https://evil.example/x/oauth2/authorize", "nonsense", "https://login.windows.net"] {
        let answer = ask("1.1", unknown).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["error"].as_str()),
            (400, Some("invalid_instance")),
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn lifetimes_are_as_told() {
    let mock = Mock::start().await;
    mock.order("PUT", "/entra", r#"{"token_lifetime": 60, "refresh_in": 30}"#).await;
    let answer = v1(&mock, &[]).await.json();
    assert_eq!((answer["expires_in"].as_str(), answer["refresh_in"].as_str()), (Some("60"), Some("30")));
    let token = answer["access_token"].as_str().unwrap();
    let ask = async || mock.send(request(Method::GET, &mock.arm(""), Some(token), "")).await.unwrap();
    assert_eq!(ask().await.status, 200);
    mock.advance(60.0);
    let late = ask().await;
    assert_eq!(
        (late.status.as_u16(), late.json()["error"]["code"].as_str()),
        (401, Some("ExpiredAuthenticationToken"))
    );
    mock.order("PUT", "/entra", r#"{"refresh_in": null}"#).await;
    assert!(v1(&mock, &[]).await.json().get("refresh_in").is_none());
}

#[tokio::test]
async fn the_clock_can_be_off() {
    let mock = Mock::start().await;
    mock.order("PUT", "/clock", r#"{"offset": -600.5}"#).await;
    let answer = v1(&mock, &[]).await.json();
    assert_eq!(answer["not_before"], (START - 601).to_string());
    assert_eq!(mock.order("GET", "/clock", "").await["offset"], -600.5);
    mock.order("PUT", "/clock", r#"{"offset": 0}"#).await;
    assert_eq!(v1(&mock, &[]).await.json()["not_before"], START.to_string());
}

#[tokio::test]
async fn a_code_is_bound_to_its_client_redirect_and_time() {
    let mock = Mock::start().await;
    let authorize = async |more: &str| {
        let url = format!(
            "{}?client_id={}&response_type=code&redirect_uri=http%3A%2F%2Flocalhost%3A1&scope=openid%20https%3A%2F%2Fml.azure.com%2F.default&state=s%26t{more}",
            mock.token_url("/v2.0/authorize"),
            mock.at.public_client_id
        );
        let person = [("username", &*mock.at.user.name), ("password", &mock.at.user.password), ("decision", "approve")];
        let answer = mock.form(&url, &person).await;
        let location: http::Uri = answer.header("location").parse().unwrap();
        let fields: std::collections::HashMap<String, String> =
            form_urlencoded::parse(location.query().unwrap().as_bytes()).into_owned().collect();
        assert_eq!((answer.status.as_u16(), &*fields["state"]), (302, "s&t"));
        fields
    };
    let redeem = async |code: &str, redirect: &str, verifier: Option<&str>| {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("client_id", &*mock.at.public_client_id),
            ("code", code),
            ("redirect_uri", redirect),
        ];
        fields.extend(verifier.map(|verifier| ("code_verifier", verifier)));
        mock.form(&mock.token_url("/v2.0/token"), &fields).await.json()
    };
    let code = authorize("&nonce=n").await["code"].clone();
    assert_eq!(redeem(&code, "http://localhost:2", None).await["error_codes"][0], 50_011);
    assert_eq!(
        redeem(&code, "http://localhost:1", Some("x")).await["error_codes"][0],
        501_481,
        "a verifier for nothing"
    );
    let good = redeem(&code, "http://localhost:1", None).await;
    let id = claims(good["id_token"].as_str().unwrap());
    assert_eq!((id["nonce"].as_str(), id["aud"].as_str()), (Some("n"), Some(&*mock.at.public_client_id)));
    assert!(good["client_info"].is_string() && good["refresh_token"].is_string());
    assert_eq!(redeem(&code, "http://localhost:1", None).await["error_codes"][0], 54_005);
    let plain = authorize("&code_challenge=abc&code_challenge_method=plain").await["code"].clone();
    assert_eq!(redeem(&plain, "http://localhost:1", None).await["error_codes"][0], 501_481);
    assert!(redeem(&plain, "http://localhost:1", Some("abc")).await["access_token"].is_string());
    let late = authorize("").await["code"].clone();
    mock.advance(601.0);
    assert_eq!(redeem(&late, "http://localhost:1", None).await["error_codes"][0], 70_008);
    assert_eq!(authorize("&response_type=token").await.len(), 3, "the first of two counts");
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_said() {
    let mock = Mock::start().await;
    let nothing = mock.get(&format!("{}/x/y", mock.at.entra)).await;
    assert_eq!((nothing.status.as_u16(), nothing.json()["error_codes"][0].as_u64()), (404, Some(90_013)));
    assert_eq!(mock.get(&mock.token_url("/v2.0/token")).await.status, 405);
    let huge = "x".repeat(2 << 20);
    let refused = mock.send(form(&mock.token_url("/token"), &[("grant_type", &huge)])).await;
    assert!(refused.is_err() || refused.unwrap().status == 400);
}

#[tokio::test]
async fn a_secret_expires_and_a_reader_reads() {
    let mock = Mock::with_fixture(
        r#"{"application": {"client_secret_expires": 1700000010}, "more_applications": [
            {"client_id": "reader", "client_secret": "r", "role": "reader"},
            {"client_id": "nobody", "client_secret": "n", "role": "none"}]}"#,
    )
    .await;
    let token = async |client: &str, secret: &str| {
        v1(&mock, &[("client_id", client), ("client_secret", secret)]).await.json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (reader, nobody) = (token("reader", "r").await, token("nobody", "n").await);
    let keys = mock.mms("/services/aks-key/listkeys");
    for (token, method, url, status) in [
        (&reader, Method::GET, mock.arm("/onlineEndpoints/online-key"), 200),
        (&reader, Method::GET, mock.mms("/services/aks-key"), 200),
        (&reader, Method::POST, keys.clone(), 403),
        (&nobody, Method::GET, mock.arm(""), 403),
        (&nobody, Method::POST, keys, 403),
    ] {
        let answer = mock.send(request(method, &url, Some(token), "")).await.unwrap();
        assert_eq!(answer.status, status, "{url}");
    }
    mock.advance(10.0);
    assert_eq!(v1(&mock, &[]).await.json()["error_codes"][0], 7_000_222);
}
