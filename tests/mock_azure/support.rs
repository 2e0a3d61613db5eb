//! A mock in this process whose clock stands still until it is told to move, and a plain client.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use scoregate::{
    clock::Clock,
    mock_azure::{MockAzure, Options, PortFile},
};
use serde_json::Value;

/// No step of a test takes longer than this.
const DEADLINE: Duration = Duration::from_secs(20);
/// Where the mock's clock starts.
pub const START: u64 = 1_700_000_000;

pub struct Mock {
    pub clock: Clock,
    pub at: PortFile,
    client: Client<HttpConnector, Full<Bytes>>,
    /// A new connection for every request.
    fresh: Client<HttpConnector, Full<Bytes>>,
    _running: MockAzure,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Mock {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with_fixture(text: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Self::with(Options { fixture: Some(file.path().to_owned()), ..Options::default() }).await
    }

    pub async fn with(options: Options) -> Self {
        let clock = Clock::manual(START);
        let running = MockAzure::start(Options { clock: clock.clone(), ..options }).await.unwrap();
        let client = || Client::builder(TokioExecutor::new());
        Self {
            clock,
            at: running.port_file().clone(),
            client: client().build_http(),
            fresh: client().pool_max_idle_per_host(0).build_http(),
            _running: running,
        }
    }

    pub fn advance(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }

    /// `/subscriptions/…/workspaces/…`
    pub fn workspace(&self) -> String {
        let PortFile { subscription, resource_group, workspace, .. } = &self.at;
        format!(
            "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
        )
    }

    pub fn mms(&self, rest: &str) -> String {
        format!("{}/modelmanagement/v1.0{}{rest}", self.at.mms, self.workspace())
    }

    pub fn arm(&self, rest: &str) -> String {
        format!("{}{}{rest}?api-version=2023-04-01", self.at.arm, self.workspace())
    }

    pub fn token_url(&self, rest: &str) -> String {
        format!("{}/{}/oauth2{rest}", self.at.entra, self.at.tenant)
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        read(tokio::time::timeout(DEADLINE, self.client.request(request)).await.expect("an answer in time")).await
    }

    /// Over a connection of its own.
    pub async fn send_fresh(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        read(tokio::time::timeout(DEADLINE, self.fresh.request(request)).await.expect("an answer in time")).await
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.send(request(Method::GET, url, None, "")).await.unwrap()
    }

    pub async fn form(&self, url: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(form(url, fields)).await.unwrap()
    }

    /// An order to the admin API.
    pub async fn order(&self, method: &str, path: &str, body: &str) -> Value {
        let url = format!("{}{path}", self.at.admin);
        let answer = self.send(request(method.parse().unwrap(), &url, None, body)).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// What of a service was seen, since a moment or ever.
    pub async fn seen(&self, service: &str, since: Option<f64>) -> Value {
        let query = since.map_or_else(String::new, |since| format!("?since={since}"));
        self.order("GET", &format!("/seen{query}"), "").await["services"][service].clone()
    }

    /// The moment of a look.
    pub async fn look(&self) -> f64 {
        self.order("GET", "/seen", "").await["at"].as_f64().unwrap()
    }

    /// A token of the application, for an audience.
    pub async fn token(&self, audience: &str) -> String {
        let scope = format!("{audience}/.default");
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.at.client_id),
            ("client_secret", &self.at.client_secret),
            ("scope", &scope),
        ];
        let answer = self.form(&self.token_url("/v2.0/token"), &fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn arm_token(&self) -> String {
        self.token("https://management.azure.com").await
    }

    /// A call of a control plane by the application.
    pub async fn call(&self, method: Method, url: &str, body: &str) -> Answer {
        self.try_call(method, url, body).await.unwrap()
    }

    pub async fn try_call(&self, method: Method, url: &str, body: &str) -> Result<Answer, String> {
        let token = self.arm_token().await;
        self.send(request(method, url, Some(&token), body)).await
    }

    /// Both keys, as the admin API tells them.
    pub async fn keys(&self, service: &str) -> [String; 2] {
        let keys = self.order("GET", &format!("/services/{service}"), "").await["keys"].clone();
        ["primaryKey", "secondaryKey"].map(|name| keys[name].as_str().unwrap().to_owned())
    }

    /// Both keys, as `listkeys` tells them.
    pub async fn list_keys(&self, service: &str) -> [String; 2] {
        let answer = self.call(Method::POST, &self.mms(&format!("/services/{service}/listkeys")), "").await;
        ["primaryKey", "secondaryKey"].map(|name| answer.json()[name].as_str().unwrap().to_owned())
    }

    /// Scores at one of a service's addresses: 0 is the shared one, then one for each front end.
    pub async fn score(&self, service: &str, which: usize, credential: Option<&str>) -> Answer {
        let url = &self.at.scoring[service][which];
        self.send(request(Method::POST, url, credential, r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#)).await.unwrap()
    }

    /// Statuses of a credential at each front end.
    pub async fn statuses(&self, service: &str, credential: &str) -> Vec<u16> {
        let mut statuses = Vec::new();
        for which in 1..self.at.scoring[service].len() {
            statuses.push(self.score(service, which, Some(credential)).await.status.as_u16());
        }
        statuses
    }
}

pub fn request(method: Method, url: &str, bearer: Option<&str>, body: &str) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(url);
    if let Some(bearer) = bearer {
        builder = builder.header("authorization", format!("Bearer {bearer}"));
    }
    if !body.is_empty() {
        builder = builder.header("content-type", "application/json");
    }
    builder.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

pub fn form(url: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let builder = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    builder.body(Full::new(body.into())).unwrap()
}

async fn read<E: std::error::Error>(answer: Result<Response<Incoming>, E>) -> Result<Answer, String> {
    let (head, body) = answer.map_err(|error| format!("{error} {:?}", error.source()))?.into_parts();
    let body = tokio::time::timeout(DEADLINE, body.collect()).await.expect("a body in time");
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}
