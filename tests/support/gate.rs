//! A gate in this process, on ports of its own.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use scoregate::{
    azure::http::{Attempts, Http, Proxies},
    clock::Clock,
    config::model::*,
    control::{
        admin::report::{ReloadError, ReloadReport},
        gate::{Gate, Parts, Source},
        listening::Sockets,
        names::{Resolve, SystemNames},
        state::fresh_salt,
    },
    digest::sha256,
    secret::Secret,
    telemetry::access_log::AccessLog,
};

pub const CALLER_KEY: &str = "caller-key-of-team-a-0123456789abcdef";
pub const PRIMARY: &str = "canary-primary-key";
pub const SECONDARY: &str = "canary-secondary-key";

/// A configuration with one plain listener, one endpoint with two keys, one caller and one route to it.
pub fn config(upstream: SocketAddr) -> Config {
    Config {
        source: PathBuf::from("test.yaml"),
        workers: Some(2),
        state_dir: StateDir { path: PathBuf::from("/nonexistent"), written: false },
        watch: false,
        listeners: vec![listener("public")],
        health: None,
        admin: Admin {
            socket: StateDir { path: PathBuf::from("/nonexistent/admin.sock"), written: false },
            address: None,
            token: None,
            tls: None,
        },
        identities: Vec::new(),
        workspaces: Vec::new(),
        endpoints: vec![endpoint("iris", upstream)],
        callers: vec![
            Caller {
                name: "team-a".into(),
                kind: CallerKind::Keys(vec![CallerKey::new(sha256(CALLER_KEY.as_bytes()))]),
                limits: None,
                evict_after: None,
            },
            Caller { name: "anyone".into(), kind: CallerKind::Anonymous, limits: None, evict_after: None },
        ],
        routes: vec![route("/", "iris", &["team-a"])],
        readiness: Readiness::All,
        limits: Limits::default(),
        timeouts: Timeouts { lame_duck: std::time::Duration::ZERO, ..Timeouts::default() },
        log: Log { level: tracing::Level::INFO, json: true, access: Access::All },
    }
}

pub fn listener(name: &str) -> Listener {
    Listener {
        name: name.into(),
        address: ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()),
        h1: true,
        h2: true,
        tls: None,
        hosts: Vec::new(),
        trusted_proxies: Vec::new(),
        trusts_local: false,
        proxy_protocol: false,
        half_close: false,
    }
}

pub fn endpoint(name: &str, upstream: SocketAddr) -> Endpoint {
    Endpoint {
        name: name.into(),
        service: None,
        upstreams: vec![url(upstream, "/score")],
        credential: keys(Some(PRIMARY), Some(SECONDARY), Slot::Primary),
        attach_header: "authorization".into(),
        attach_prefix: "Bearer ".into(),
        replay: Replay::Auto,
        retry_unanswered: false,
        connect: UpstreamConnect {
            protocol: UpstreamProtocol::Auto,
            ca: None,
            server_name: None,
            client_certificate: None,
            idle: std::time::Duration::from_secs(30),
            max_connections: 1024,
            max_age: std::time::Duration::from_secs(600),
        },
        concurrency: 512,
        queue: 1024,
    }
}

pub fn keys(primary: Option<&str>, secondary: Option<&str>, active: Slot) -> Credential {
    let secret = |value: &str| Secret::new(value.as_bytes().to_vec());
    Credential::Keys { primary: primary.map(secret), secondary: secondary.map(secret), active }
}

pub fn url(upstream: SocketAddr, path: &str) -> UpstreamUrl {
    UpstreamUrl { tls: false, host: upstream.ip().to_string(), port: upstream.port(), path: path.into() }
}

pub fn route(prefix: &str, endpoint: &str, callers: &[&str]) -> Route {
    Route {
        name: format!("*{prefix}"),
        host: "*".into(),
        path: PathMatch::Prefix(prefix.into()),
        methods: Vec::new(),
        listeners: Vec::new(),
        action: Action::Forward(Box::new(forward(endpoint, callers))),
    }
}

pub fn forward(endpoint: &str, callers: &[&str]) -> Forward {
    Forward {
        callers: callers.iter().map(ToString::to_string).collect(),
        endpoint: endpoint.into(),
        attach: true,
        rewrite_prefix: None,
        identity_header: None,
        caller_headers: vec![CallerHeader::Authorization, CallerHeader::XApiKey],
        limits: None,
        timeout: None,
        body: None,
        replay_body: None,
        trailers: Vec::new(),
        path_chars: PathChars::default(),
        websocket: false,
    }
}

/// The route's way of forwarding, to change it.
pub fn forward_of(route: &mut Route) -> &mut Forward {
    match &mut route.action {
        Action::Forward(forward) => forward,
        Action::Deny => panic!("a deny route"),
    }
}

/// A running gate.
pub struct TestGate {
    pub gate: Arc<Gate>,
    pub clock: Clock,
    next: Arc<std::sync::Mutex<Config>>,
    log: Arc<std::sync::Mutex<Vec<u8>>>,
    _access: scoregate::telemetry::access_log::AccessHandle,
}

#[derive(Clone)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl TestGate {
    pub fn start(config: Config) -> Self {
        Self::start_with(config, Clock::system())
    }

    pub fn start_with(config: Config, clock: Clock) -> Self {
        Self::start_by_name(config, clock, Arc::new(SystemNames))
    }

    pub fn start_by_name(config: Config, clock: Clock, resolver: Arc<dyn Resolve>) -> Self {
        let next = Arc::new(std::sync::Mutex::new(config.clone()));
        let theirs = Arc::clone(&next);
        let source = Box::new(move || Ok((theirs.lock().unwrap().clone(), Vec::new())));
        Self::start_whole(config, clock, resolver, source, next, None)
    }

    /// With a state directory.
    pub fn start_in(config: Config, clock: Clock, state: &std::path::Path) -> Self {
        let next = Arc::new(std::sync::Mutex::new(config.clone()));
        let theirs = Arc::clone(&next);
        let source = Box::new(move || Ok((theirs.lock().unwrap().clone(), Vec::new())));
        Self::start_whole(config, clock, Arc::new(SystemNames), source, next, Some(state.to_owned()))
    }

    /// A gate whose reloads read from a source of the test's own.
    pub fn start_from(config: Config, clock: Clock, source: Source) -> Self {
        let next = Arc::new(std::sync::Mutex::new(config.clone()));
        Self::start_whole(config, clock, Arc::new(SystemNames), source, next, None)
    }

    fn start_whole(
        config: Config,
        clock: Clock,
        resolver: Arc<dyn Resolve>,
        source: Source,
        next: Arc<std::sync::Mutex<Config>>,
        state: Option<PathBuf>,
    ) -> Self {
        let mut sockets = Sockets::default();
        sockets.bind(&config.listeners).unwrap();
        let log = Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let (access, handle) = AccessLog::start(true, Box::new(Shared(Arc::clone(&log))), 10_000).unwrap();
        let parts = Parts {
            config,
            source,
            sockets,
            clock: clock.clone(),
            access,
            salt: fresh_salt().unwrap(),
            logs: None,
            resolver,
            http: Http::new(Proxies::none(), clock.clone(), Attempts::ONE),
            state,
        };
        let (gate, _deaths) = Gate::start(parts).unwrap();
        Self { gate, clock, next, log, _access: handle }
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.gate.address(listener).unwrap()
    }

    /// Changes the configuration, for the next reload.
    pub fn change(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.next.lock().unwrap());
    }

    /// Changes the configuration and reloads.
    pub async fn reload(&self, drained: bool, change: impl FnOnce(&mut Config)) -> Result<ReloadReport, ReloadError> {
        change(&mut self.next.lock().unwrap());
        super::in_time("reload", self.gate.reload(drained)).await
    }

    pub fn metrics(&self) -> String {
        use scoregate::control::admin::Operations;
        self.gate.metrics()
    }

    /// The value of a metric's line, labels included in `name`; 0 where there is none.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix("scoregate_")?.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0.0)
    }

    /// What was written to the access log so far.
    pub fn access_log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }

    pub async fn drain(&self) {
        super::in_time("drain", self.gate.drain()).await;
    }
}

impl Drop for TestGate {
    /// Ends the threads: a gate that is dropped drains at once.
    fn drop(&mut self) {
        let gate = Arc::clone(&self.gate);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(gate.drop_everything());
        });
    }
}
