//! A running admin side over scripted operations, and a client that sends exactly what it is told to.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use scoregate::{
    config::model::{Admin, StateDir},
    control::admin::{
        AdminHandle, BoxFuture, Listening, Operations,
        places::Fallbacks,
        report::{EndpointReady, EndpointStatus, ReadyReport, ReloadError, ReloadReport, SlotStatus, Status},
        serve,
    },
    control::desk::{Granted, Run, Wish},
    rotation::refusal::Refusal,
    secret::Secret,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// The token of [`Setting::start`] unless a test says otherwise; planted to be searched for.
pub(crate) const CANARY: &str = "canary-admin-token-7f3a";

/// Answers as told, and remembers what was asked.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) ready: bool,
    pub(crate) dead: bool,
    pub(crate) reload: Mutex<Option<ReloadError>>,
    pub(crate) calls: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn note(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }
}

impl Operations for Fake {
    fn ready(&self) -> ReadyReport {
        let reason = (!self.ready).then(|| "no key".to_owned());
        let iris = EndpointReady { name: "iris".into(), ready: self.ready, reason };
        ReadyReport { ready: self.ready, draining: false, endpoints: vec![iris] }
    }

    fn live(&self) -> bool {
        !self.dead
    }

    fn status(&self) -> Status {
        Status {
            version: "1.2.3".into(),
            pid: 7,
            uptime_seconds: 5,
            generation: 9,
            draining: false,
            listeners: vec![],
            endpoints: vec![EndpointStatus {
                name: "iris".into(),
                ready: true,
                reason: None,
                upstreams: vec![],
                slots: vec![SlotStatus {
                    slot: "primary".into(),
                    active: true,
                    fingerprint: Some("0011aabb".into()),
                    age_seconds: 3,
                    generation: 2,
                }],
                service: None,
                in_flight: 0,
            }],
            workers: vec![],
            last_reload: None,
        }
    }

    fn metrics(&self) -> String {
        "scoregate_build_info{version=\"1.2.3\"} 1\n".into()
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!({ "admin": { "token": "[redacted]" } })
    }

    fn reload(&self, drained: bool) -> BoxFuture<'static, Result<ReloadReport, ReloadError>> {
        self.note(format!("reload {drained}"));
        let answer = match self.reload.lock().unwrap().clone() {
            Some(error) => Err(error),
            None => Ok(ReloadReport { generation: 10, changed: vec!["routes".into()], warnings: vec![], drained }),
        };
        Box::pin(async move { answer })
    }

    fn change_keys<'a>(&'a self, endpoint: &'a str, wish: Wish, run: Run) -> BoxFuture<'a, Result<Granted, Refusal>> {
        self.note(format!("change {endpoint} {wish:?} {run:?}"));
        Box::pin(async { Err(Refusal::Frozen) })
    }

    fn drain(&self) {
        self.note("drain");
    }

    fn set_log_level(&self, level: tracing::Level) {
        self.note(format!("level {level}"));
    }
}

/// What to start; made by [`setting`], changed by the test.
pub(crate) struct Setting {
    pub(crate) admin: Admin,
    pub(crate) health: Option<SocketAddr>,
    pub(crate) state_dir: StateDir,
    pub(crate) fallbacks: Fallbacks,
    pub(crate) dir: TempDir,
}

pub(crate) struct Running {
    pub(crate) handle: AdminHandle,
    pub(crate) fake: Arc<Fake>,
    pub(crate) dir: TempDir,
}

/// Everything on loopback with free ports, the socket and the state in a directory of its own.
pub(crate) fn setting() -> Setting {
    let dir = tempfile::tempdir().unwrap();
    let written = |name: &str| StateDir { path: dir.path().join(name), written: true };
    let admin = Admin {
        socket: written("admin.sock"),
        address: Some(free_port()),
        token: Some(Secret::new(CANARY.into())),
        tls: None,
    };
    Setting { admin, health: Some(free_port()), state_dir: written("state"), fallbacks: Fallbacks::default(), dir }
}

pub(crate) fn free_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Setting {
    pub(crate) async fn start(self) -> Running {
        self.start_with(Fake { ready: true, ..Fake::default() }).await
    }

    pub(crate) async fn start_with(self, fake: Fake) -> Running {
        let fake = Arc::new(fake);
        let handle = self.serve(&fake).await.unwrap();
        Running { handle, fake, dir: self.dir }
    }

    pub(crate) async fn serve(&self, fake: &Arc<Fake>) -> anyhow::Result<AdminHandle> {
        let Self { admin, health, state_dir, fallbacks, .. } = self;
        serve(Listening { admin, health: *health, state_dir, fallbacks }, fake.clone()).await
    }
}

impl Running {
    pub(crate) fn socket(&self) -> PathBuf {
        self.handle.socket.clone().unwrap()
    }

    /// Over the socket.
    pub(crate) async fn ask_socket(&self, method: &str, path: &str) -> Answer {
        Ask::new(method, path).over(UnixStream::connect(self.socket()).await.unwrap()).await
    }

    /// Over TCP, as is.
    pub(crate) async fn ask_tcp(&self, ask: Ask) -> Answer {
        ask.over(TcpStream::connect(self.handle.address.unwrap()).await.unwrap()).await
    }

    /// On the health address.
    pub(crate) async fn ask_health(&self, ask: Ask) -> Answer {
        ask.over(TcpStream::connect(self.handle.health.unwrap()).await.unwrap()).await
    }
}

/// A request; `Host: localhost` unless a test replaces it.
pub(crate) struct Ask {
    head: http::request::Builder,
    host: bool,
    body: Bytes,
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { head: Request::builder().method(method).uri(path), host: true, body: Bytes::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.host &= !name.eq_ignore_ascii_case("host");
        self.head = self.head.header(name, value);
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(mut self, body: &str) -> Self {
        self.body = body.to_owned().into();
        self.header("content-type", "application/json")
    }

    pub(crate) async fn over(mut self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Answer {
        if self.host {
            self.head = self.head.header("host", "localhost");
        }
        let request = self.head.body(Full::new(self.body)).unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let answer = async {
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            drop(sender);
            Answer { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
        };
        tokio::join!(connection, answer).1
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of an error, after the shape of every error was checked.
    pub(crate) fn code(&self) -> String {
        let error = &self.json()["error"];
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert_eq!(self.headers["x-request-id"], error["request_id"].as_str().unwrap());
        assert_eq!(self.headers["server"], "scoregate");
        error["code"].as_str().unwrap().to_owned()
    }

    /// Status and code of an error.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }
}

pub(crate) fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
