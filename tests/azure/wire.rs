//! What the client does with servers that Azure's are not: that redirect, never end, answer nonsense, or would have our token go
//! elsewhere.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Response;
use scoregate::{
    azure::{
        BoxFuture,
        calls::{Calls, Why},
        cloud::{Audience, Cloud, Known},
        control::Control,
        error::{Error, Fault},
        http::{Attempts, Http, Proxies, Request},
        service::{
            self, ControlPlane, Kind, Name, Regenerated,
            operation::{Operation, Progress},
        },
        token::{Bearer, TokenSource, Wanted},
        url::Url,
        workspace::{self, Place, Workspace},
    },
    clock::Clock,
    config::model::Slot,
    secret::Secret,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::world::pass_while;
use crate::support::{
    in_time,
    upstream::{Seen, Upstream},
};

const TOKEN: &str = "canary-control-plane-token";

/// Gives out numbered tokens, and remembers what it was asked for.
#[derive(Debug, Default)]
struct FakeTokens {
    given: AtomicU64,
    wanted: Mutex<Vec<String>>,
    /// Whether each is said to have been fetched for the asker.
    fresh: bool,
}

impl TokenSource for FakeTokens {
    fn token<'a>(
        &'a self,
        _: &'a Audience,
        wanted: Wanted,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<Arc<Bearer>, Error>> {
        Box::pin(async move {
            if self.fresh {
                // What a real source does: it asks for itself.
                let url = Url::parse("http://127.0.0.1:1/").unwrap();
                let http = Http::new(Proxies::none(), Clock::manual(0), Attempts::ONE);
                drop(http.call(Request::get(Why::SignIn, "sign in", url), calls).await);
            }
            self.wanted.lock().unwrap().push(match wanted {
                Wanted::Valid => "valid".to_owned(),
                Wanted::Instead(_) => "instead".to_owned(),
                Wanted::WithClaims(claims) => claims,
            });
            let value = format!("{TOKEN}-{}", self.given.fetch_add(1, SeqCst));
            let far = Clock::manual(0).now() + Duration::from_secs(1 << 40);
            let value = Secret::new(value.into_bytes());
            Ok(Arc::new(Bearer { value, renew: far, expires: far, expires_unix: 0 }))
        })
    }

    fn who(&self) -> String {
        "a test".to_owned()
    }
}

struct Scripted {
    upstream: Upstream,
    tokens: Arc<FakeTokens>,
    control: Arc<Control>,
    clock: Clock,
}

impl Scripted {
    async fn start(script: impl Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        Self::start_with(Attempts::ONE, FakeTokens::default(), script).await
    }

    async fn start_with(
        attempts: Attempts,
        tokens: FakeTokens,
        script: impl Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let upstream = Upstream::scripted(script).await;
        let base = Url::parse(&format!("http://{}", upstream.address)).unwrap();
        let cloud = Cloud { resource_manager: base, ..Known::Public.cloud() };
        let (tokens, clock) = (Arc::new(tokens), Clock::manual(1_800_000_000));
        let http = Http::new(Proxies::none(), clock.clone(), attempts);
        let source: Arc<dyn TokenSource> = Arc::clone(&tokens) as _;
        let control = Arc::new(Control::new(&http, source, cloud));
        Self { upstream, tokens, control, clock }
    }

    fn service(&self, kind: Kind) -> Arc<dyn ControlPlane> {
        let place = Place { subscription: "s".into(), resource_group: Some("g".into()), name: "w".into() };
        let workspace = Arc::new(Workspace::new(Arc::clone(&self.control), place));
        service::connect(workspace, Name { name: "x".into(), kind })
    }

    /// What was sent to anything but the two addresses that lead to model management.
    fn asked(&self) -> Vec<Seen> {
        let leads =
            |seen: &Seen| !seen.uri.path().contains("modelmanagement") && !seen.uri.path().contains("onlineEndpoints");
        self.upstream.seen().into_iter().filter(|seen| !leads(seen)).collect()
    }
}

fn answer(status: u16, body: Value) -> Response<Bytes> {
    Response::builder().status(status).body(body.to_string().into()).unwrap()
}

fn with(mut response: Response<Bytes>, name: &'static str, value: &str) -> Response<Bytes> {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

/// Workspace and discovery of a region that is this server itself; everything else is the test's.
fn region(seen: &Seen) -> Option<Response<Bytes>> {
    let host = seen.header("host").unwrap_or_default();
    let path = seen.uri.path();
    if path == "/discovery" {
        assert!(seen.header("authorization").is_none(), "discovery is read without a token");
        return Some(answer(200, json!({ "modelmanagement": format!("http://{host}") })));
    }
    (path.ends_with("/workspaces/w")).then(|| {
        let id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w";
        let discovery = format!("http://{host}/discovery");
        answer(200, json!({ "id": id, "name": "w", "location": "eastus", "properties": { "discoveryUrl": discovery } }))
    })
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Upstream::echo().await;
    let location = format!("http://{}/stolen", elsewhere.address);
    let scripted = Scripted::start(move |_| with(answer(302, json!({})), "location", &location)).await;
    let error = scripted.service(Kind::Online).describe(&mut Calls::default()).await.unwrap_err();
    assert!(matches!(error.fault(), Fault::Redirected { status: 302, .. }), "{error}");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn every_request_says_who_it_is_and_failures_name_its_id() {
    let scripted =
        Scripted::start(|_| answer(404, json!({ "error": { "code": "ResourceNotFound", "message": "no" } }))).await;
    let error = scripted.service(Kind::Online).describe(&mut Calls::default()).await.unwrap_err().to_string();
    let seen = scripted.upstream.only();
    let id = seen.header("x-ms-client-request-id").unwrap();
    assert_eq!(seen.header("client-request-id"), Some(id));
    assert!(error.contains(&format!("(correlation id {id})")), "{error}");
    assert!(seen.header("user-agent").unwrap().starts_with("scoregate/"));
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {TOKEN}-0").as_str()));
    assert_eq!(seen.uri.query(), Some("api-version=2023-04-01"));
}

#[tokio::test]
async fn a_secret_that_is_quoted_back_is_not_shown() {
    let scripted = Scripted::start(|seen| {
        let quoted = format!("bad token {}", seen.header("authorization").unwrap());
        answer(400, json!({ "error": { "code": "Bad", "message": quoted } }))
    })
    .await;
    let error = scripted.service(Kind::Online).list_keys(&mut Calls::default()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    assert!(error.to_string().contains("bad token Bearer [redacted]"), "{error}");
    let key = Secret::new(b"canary-key-of-mine".to_vec());
    let scripted = Scripted::start(|seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        answer(400, json!({ "error": { "code": "Bad", "message": body } }))
    })
    .await;
    let error = scripted.service(Kind::Online).regenerate(Slot::Primary, Some(&key), &mut Calls::default()).await;
    let error = error.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    // What an operation that failed says of itself.
    let scripted = Scripted::start(|seen| {
        let quoted = format!("no\nto {}", seen.header("authorization").unwrap());
        answer(200, json!({ "status": "Failed", "error": { "code": "Bad", "message": quoted } }))
    })
    .await;
    let operation: Operation = format!("status http://{}/operation", scripted.upstream.address).parse().unwrap();
    let failed = scripted.service(Kind::Online).poll(&operation, &mut Calls::default()).await.unwrap();
    assert_eq!(failed, Progress::Failed("Failed: Bad: no to Bearer [redacted]".to_owned()));
}

#[tokio::test]
async fn answers_that_are_none_are_one_sentence_that_quotes_nothing() {
    let long = format!("\"{}\"", "x".repeat(5 << 20));
    for (body, expected) in [
        ("", "answered 200 with an empty body where"),
        (" \n", "answered 200 with an empty body where"),
        ("<html>canary</html>", "what is no JSON"),
        ("{\"canary\":", "JSON that breaks off"),
        ("[\"canary\"]", "JSON of another shape"),
        ("{\"primaryKey\":null,\"secondaryKey\":\"canary\"}", "JSON of another shape"),
        ("{\"primaryKey\":\"canary\"}", "JSON of another shape"),
        ("{\"primaryKey\":\"canary\\n\",\"secondaryKey\":\"canary\"}", "a key that no header can carry"),
        ("{\"primaryKey\":\"\",\"secondaryKey\":\"canary\"}", "a key that no header can carry"),
        (long.as_str(), "more than 4 MiB"),
    ] {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let scripted = Scripted::start(move |_| Response::new(body.clone())).await;
        let mut calls = Calls::default();
        let error = scripted.service(Kind::Online).list_keys(&mut calls).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("canary") && !error.contains('\n') && error.len() < 600, "{error}");
        assert_eq!(calls.made().len(), 1, "{calls}");
    }
    for (body, expected) in [
        (json!({ "accessToken": "canary" }), "a token without its expiry"),
        (json!({ "accessToken": "", "expiryTimeUtc": 1 }), "a token that no header can carry"),
        (json!({ "expiryTimeUtc": 1 }), "JSON of another shape"),
    ] {
        let scripted = Scripted::start(move |_| answer(200, body.clone())).await;
        let error = scripted.service(Kind::Online).token(service::Auth::Token, None, &mut Calls::default()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("canary"), "{error}");
    }
}

/// A server that reads a request's head and then says these bytes.
async fn raw(says: &'static [u8]) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            drop(stream.write_all(says).await);
        }
    });
    url
}

#[tokio::test]
async fn what_is_no_answer_may_have_been_done() {
    let http = Http::new(Proxies::none(), Clock::manual(0), Attempts::ONE);
    for (says, expected) in [
        (&b""[..], "closed the connection without one"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection without one"),
        (b"what\r\n\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "broke off within its answer"),
    ] {
        let request = Request::get(Why::Workspace, "ask", raw(says).await);
        let error = in_time("answer", http.call(request, &mut Calls::default())).await.unwrap_err();
        assert!(matches!(error.fault(), Fault::NoAnswer { .. }) && error.may_have_happened(), "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn reads_are_tried_again_as_they_are_asked_to_and_no_oftener() {
    let tries = AtomicU64::new(0);
    let scripted =
        Scripted::start_with(Attempts::FEW, FakeTokens::default(), move |_| match tries.fetch_add(1, SeqCst) {
            0 => with(answer(429, json!({})), "retry-after", "7"),
            1 => answer(503, json!({})),
            _ => answer(200, json!({ "primaryKey": "p", "secondaryKey": "s" })),
        })
        .await;
    let mut calls = Calls::default();
    let plane = scripted.service(Kind::Online);
    let (keys, passed) = pass_while(&scripted.clock, plane.list_keys(&mut calls)).await;
    keys.unwrap();
    assert_eq!(calls.to_string(), "3 calls: list_keys 429, list_keys 503, list_keys 200");
    assert!(passed >= Duration::from_secs(8) && passed < Duration::from_secs(20), "{passed:?}");

    let scripted = Scripted::start_with(Attempts::FEW, FakeTokens::default(), |_| {
        with(answer(429, json!({})), "retry-after", "3600")
    })
    .await;
    let mut calls = Calls::default();
    let error = scripted.service(Kind::Online).list_keys(&mut calls).await.unwrap_err();
    assert_eq!((calls.made().len(), error.retry_after()), (1, Some(Duration::from_secs(3600))));
    assert!(error.to_string().contains("it asks for 3600 s without calls"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once_and_claims_are_answered() {
    let refusing = |good: &'static str| {
        move |seen: &Seen| match seen.header("authorization") {
            Some(value) if value.ends_with(good) => answer(200, json!({ "primaryKey": "p", "secondaryKey": "s" })),
            _ => with(
                answer(401, json!({ "error": { "code": "ExpiredAuthenticationToken", "message": "old" } })),
                "www-authenticate",
                "Bearer error=\"invalid_token\"",
            ),
        }
    };
    let scripted = Scripted::start(refusing("-1")).await;
    let mut calls = Calls::default();
    scripted.service(Kind::Online).list_keys(&mut calls).await.unwrap();
    assert_eq!(*scripted.tokens.wanted.lock().unwrap(), ["valid", "instead"]);
    assert_eq!(calls.made().len(), 2);

    // Refused again, that is the answer.
    let scripted = Scripted::start(refusing("-9")).await;
    let error = scripted.service(Kind::Online).list_keys(&mut Calls::default()).await.unwrap_err().to_string();
    assert_eq!(scripted.upstream.seen().len(), 2);
    assert!(
        error.contains("status 401 ExpiredAuthenticationToken") && error.contains("the token of a test is not taken"),
        "{error}"
    );

    // One that was fetched for this very call is not thrown away for another just like it.
    let scripted =
        Scripted::start_with(Attempts::ONE, FakeTokens { fresh: true, ..FakeTokens::default() }, refusing("-9")).await;
    scripted.service(Kind::Online).list_keys(&mut Calls::default()).await.unwrap_err();
    assert_eq!(scripted.upstream.seen().len(), 1);

    let claims = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
    let challenge = format!("Bearer realm=\"\", error=\"insufficient_claims\", claims=\"{}\"", STANDARD.encode(claims));
    let scripted = Scripted::start_with(
        Attempts::ONE,
        FakeTokens { fresh: true, ..FakeTokens::default() },
        move |seen| match seen.header("authorization") {
            Some(value) if value.ends_with("-1") => answer(200, json!({ "primaryKey": "p", "secondaryKey": "s" })),
            _ => with(answer(401, json!({})), "www-authenticate", &challenge),
        },
    )
    .await;
    scripted.service(Kind::Online).list_keys(&mut Calls::default()).await.unwrap();
    assert_eq!(*scripted.tokens.wanted.lock().unwrap(), ["valid", claims]);
}

#[tokio::test]
async fn our_token_stays_with_the_control_plane() {
    let thief = Upstream::echo().await;
    let elsewhere = format!("http://{}", thief.address);
    // The next page of a list.
    let next = format!("{elsewhere}/next");
    let scripted = Scripted::start(move |_| answer(200, json!({ "value": [], "nextLink": next }))).await;
    let error = workspace::subscriptions(&scripted.control, &mut Calls::default()).await.unwrap_err().to_string();
    assert!(error.contains("a next page at another address"), "{error}");
    // Where an operation goes on.
    for header in ["azure-asyncoperation", "location"] {
        let address = format!("{elsewhere}/operation");
        let scripted = Scripted::start(move |_| with(answer(202, json!({})), header, &address)).await;
        let plane = scripted.service(Kind::Online);
        let error = plane.regenerate(Slot::Primary, None, &mut Calls::default()).await.unwrap_err().to_string();
        assert!(error.contains("which is not the resource manager"), "{error}");
        let kept: Operation = format!("status {elsewhere}/operation").parse().unwrap();
        let error = plane.poll(&kept, &mut Calls::default()).await.unwrap_err().to_string();
        assert!(error.contains("is not the resource manager"), "{error}");
    }
    // Whoever answers knows the token, and may put it into what we then say.
    let echo = format!("https://{TOKEN}-0.example.com/operation");
    let scripted = Scripted::start(move |_| with(answer(202, json!({})), "azure-asyncoperation", &echo)).await;
    let plane = scripted.service(Kind::Online);
    let error = plane.regenerate(Slot::Primary, None, &mut Calls::default()).await.unwrap_err().to_string();
    assert!(error.contains("leads to https://[redacted].example.com") && !error.contains(TOKEN), "{error}");
    // Where a region says that its services are, in plain text.
    for (discovery, services, expected) in [
        ("http://models.example.com/discovery", json!({}), "is plain http://"),
        ("ftp://x", json!({}), "neither http:// nor https://"),
        ("/discovery", json!({ "modelmanagement": "http://models.example.com" }), "which is plain http://"),
        ("/discovery", json!({ "modelmanagement": 7 }), "1 addresses without `modelmanagement`"),
        ("/discovery", json!({ "modelmanagement": "https://me:canary@a" }), "a URL with a user or password"),
    ] {
        let scripted = Scripted::start(move |seen| {
            if seen.uri.path() == "/discovery" {
                return answer(200, services.clone());
            }
            let host = seen.header("host").unwrap();
            let discovery =
                if discovery.starts_with('/') { format!("http://{host}{discovery}") } else { discovery.to_owned() };
            answer(
                200,
                json!({ "id": "/x", "name": "w", "location": "eastus", "properties": { "discoveryUrl": discovery } }),
            )
        })
        .await;
        let error = scripted.service(Kind::Aks).list_keys(&mut Calls::default()).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("canary"), "{expected}: {error}");
    }
    assert!(thief.seen().is_empty());
    // And none leaves this machine in plain text, whoever asks.
    let http = Http::new(Proxies::none(), Clock::manual(0), Attempts::ONE);
    let request = Request::get(Why::Service, "ask", Url::parse("http://management.example.com/").unwrap());
    let request =
        request.with_secret(http::header::AUTHORIZATION, "Bearer ", &Secret::new(b"canary".to_vec())).unwrap();
    let mut calls = Calls::default();
    let error = http.call(request, &mut calls).await.unwrap_err().to_string();
    assert!(error.contains("no credential is sent there") && calls.made().is_empty(), "{error}");
}

#[tokio::test]
async fn model_management_is_asked_as_its_own_sdk_asks() {
    for (location, status, expected) in [
        (Some("/anything/operations/7"), 202, Some("/operations/7")),
        (Some("http://elsewhere.example/x/operations/8?y=1"), 202, Some("/operations/8")),
        (Some("9"), 200, Some("/operations/9")),
        (None, 200, None),
    ] {
        let scripted = Scripted::start(move |seen| {
            region(seen).unwrap_or_else(|| {
                let done = answer(status, json!({}));
                location.map_or(done.clone(), |location| with(done, "operation-location", location))
            })
        })
        .await;
        let plane = scripted.service(Kind::Aks);
        let regenerated = plane.regenerate(Slot::Secondary, None, &mut Calls::default()).await.unwrap();
        let asked = scripted.asked();
        assert_eq!(asked.len(), 1);
        assert!(asked[0].uri.path().ends_with("/workspaces/w/services/x/regenerateKeys"), "{}", asked[0].uri);
        assert_eq!(asked[0].uri.query(), None, "model management has no api-version");
        assert_eq!(&asked[0].body[..], br#"{"keyType":"Secondary"}"#);
        match (regenerated, expected) {
            (Regenerated::Started(Operation::ModelManagement(url), _), Some(expected)) => {
                assert!(url.has_origin_of(&scripted.control.cloud().resource_manager), "{url}");
                assert!(url.path().ends_with(expected) && url.query().is_none(), "{url}");
            }
            (Regenerated::Done, None) => {}
            (other, _) => panic!("{location:?}: {other:?}"),
        }
    }
    let scripted = Scripted::start(|seen| region(seen).unwrap_or_else(|| answer(202, json!({})))).await;
    let regenerated = scripted.service(Kind::Aci).regenerate(Slot::Primary, None, &mut Calls::default()).await.unwrap();
    assert_eq!(regenerated, Regenerated::Untracked);
    // Every other call.
    let scripted = Scripted::start(|seen| {
        region(seen).unwrap_or_else(|| match seen.uri.path().rsplit('/').next() {
            Some("listkeys") => answer(200, json!({ "primaryKey": "p", "secondaryKey": "s" })),
            Some("token") => answer(
                201,
                json!({ "accessToken": "t", "tokenType": "Bearer", "expiryOn": 2_000, "refreshAfter": "1000" }),
            ),
            _ => answer(
                200,
                json!({ "computeType": "AKS", "authEnabled": true, "scoringUri": null, "state": "Transitioning" }),
            ),
        })
    })
    .await;
    let plane = scripted.service(Kind::Aks);
    let mut calls = Calls::default();
    plane.list_keys(&mut calls).await.unwrap();
    let token = plane.token(service::Auth::Token, None, &mut calls).await.unwrap();
    assert_eq!((token.expires_unix, token.refresh_unix), (2_000, 1_000));
    assert_eq!(plane.describe(&mut calls).await.unwrap().scoring, None);
    let asked = scripted.asked();
    let of = |end: &str| asked.iter().find(|seen| seen.uri.path().ends_with(end)).unwrap();
    assert_eq!((of("listkeys").method.as_str(), of("listkeys").header("content-length")), ("POST", Some("0")));
    assert_eq!(of("/services/x").uri.query(), Some("expand=true"));
}

#[tokio::test]
async fn names_from_the_configuration_stay_one_segment() {
    let scripted = Scripted::start(|_| answer(404, json!({}))).await;
    let place = Place { subscription: "s/../t".into(), resource_group: Some("g?h".into()), name: "..".into() };
    let workspace = Arc::new(Workspace::new(Arc::clone(&scripted.control), place));
    let plane = service::connect(workspace, Name { name: "x/y#z".into(), kind: Kind::Online });
    plane.describe(&mut Calls::default()).await.unwrap_err();
    assert_eq!(
        scripted.upstream.only().uri.path(),
        "/subscriptions/s%2F..%2Ft/resourceGroups/g%3Fh/providers/Microsoft.MachineLearningServices/workspaces/%2E%2E/onlineEndpoints/x%2Fy%23z"
    );
}
