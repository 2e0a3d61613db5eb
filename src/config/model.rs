//! What a configuration means: typed, validated, secrets and certificates read.
//!
//! `resolve` makes it from what was typed; `control::build` turns it into a snapshot. Nothing here knows YAML.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustls_pki_types::CertificateRevocationListDer;

pub use crate::proxy::limit::Allowed as CallLimits;

pub use crate::rotation::slot::Slot;
use crate::{
    azure::{
        identity::Identity,
        service::{self, Auth},
        url::Url,
        workspace::Place,
    },
    jwt::{key_set::KeySet, terms::Terms},
    rotation::{operation::Policy, rules::Rules, schedule::Schedule, token::TokenRules},
    san::SanPattern,
    secret::Secret,
    service_auth::{AuthMode, ServiceKind},
};

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from, for messages.
    pub source: PathBuf,
    /// Data-plane threads; `None` = one per core the process may use.
    pub workers: Option<usize>,
    /// Journals, admin token, salt.
    pub state_dir: StateDir,
    /// Whether a change of a file is taken up by itself.
    pub watch: bool,
    /// Where traffic comes in. Names are unique.
    pub listeners: Vec<Listener>,
    /// `/livez /readyz /metrics` without a token.
    pub health: Option<SocketAddr>,
    /// The admin side.
    pub admin: Admin,
    /// Who scoregate is, to Azure. Names are unique.
    pub identities: Vec<Identity>,
    /// Workspaces of Azure Machine Learning. Names are unique.
    pub workspaces: Vec<Workspace>,
    /// Scoring services. Names are unique.
    pub endpoints: Vec<Endpoint>,
    /// Who may come in. Names are unique.
    pub callers: Vec<Caller>,
    /// What leads where.
    pub routes: Vec<Route>,
    /// Which endpoints `/readyz` asks.
    pub readiness: Readiness,
    /// Caps.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Log output.
    pub log: Log,
}

/// A directory or path that was written, or the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    /// The directory.
    pub path: PathBuf,
    /// Whether it was written in the file (then not being able to use it is a fault) or is the default.
    pub written: bool,
}

/// One place where traffic comes in.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Label of metrics, target of `match.listeners`.
    pub name: String,
    /// Where to listen.
    pub address: ListenAddress,
    /// HTTP/1.1 allowed.
    pub h1: bool,
    /// HTTP/2 allowed (TLS: by ALPN; plain: with prior knowledge).
    pub h2: bool,
    /// TLS, if any.
    pub tls: Option<ListenerTls>,
    /// Only these Hosts are served, others get 421; empty = every host. On loopback the default is
    /// `localhost`, `127.0.0.1`, `::1` and the routes' exact hosts. Lower case, no port, no brackets.
    pub hosts: Vec<String>,
    /// Peers whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<Network>,
    /// So are peers over Unix sockets.
    pub trusts_local: bool,
    /// Connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// h1: a FIN before the answer cancels, unless true.
    pub half_close: bool,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Who may connect, as of chmod(1).
        mode: u32,
    },
    /// A socket that the service manager hands over under this name.
    Inherited(String),
}

impl ListenAddress {
    /// Whether only this machine can reach it. What is handed over may be anything.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } => true,
            Self::Inherited(_) => false,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, mode } => write!(f, "unix:{}?mode={mode:04o}", path.display()),
            Self::Inherited(name) => write!(f, "fd:{name}"),
        }
    }
}

/// An address block, `10.0.0.0/8` or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// First address.
    pub address: std::net::IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

/// TLS of a listener.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// Certificates with their names, already checked against their keys; the first is the default.
    pub certificates: Vec<Certificate>,
    /// CAs for client certificates.
    pub client_ca: Option<Arc<rustls::RootCertStore>>,
    /// What those CAs took back (RFC 5280 section 5).
    pub client_crl: Vec<CertificateRevocationListDer<'static>>,
    /// Whether client certificates are asked for.
    pub client_auth: ClientAuth,
}

/// A certificate chain with its key, ready for rustls.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Chain and signing key; `keys_match` was checked.
    pub key: Arc<rustls::sign::CertifiedKey>,
    /// DNS names of the leaf, lower case, wildcards as `*.example.com`.
    pub names: Vec<String>,
    /// SHA-256 of the chain: equal means unchanged.
    pub digest: [u8; 32],
}

/// `client_auth` of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// No client certificate is asked for.
    #[default]
    Off,
    /// Asked for; none is fine, a wrong one is not.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

/// The admin side.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The Unix socket.
    pub socket: StateDir,
    /// The TCP address.
    pub address: Option<SocketAddr>,
    /// Its token; `None` = one is made in `state_dir/admin.token`.
    pub token: Option<Secret>,
    /// TLS of the TCP address: demanded off loopback.
    pub tls: Option<ListenerTls>,
}

/// A workspace of Azure Machine Learning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// What the configuration calls it.
    pub name: String,
    /// Name of the identity that it is asked as.
    pub identity: String,
    /// Where it is.
    pub place: Place,
}

/// A scoring service.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Label of metrics, target of routes.
    pub name: String,
    /// The service of Azure's that it is, if it is one.
    pub service: Option<Service>,
    /// Where it is: one or more base URLs. Of a service of Azure's, empty until it was found.
    pub upstreams: Vec<UpstreamUrl>,
    /// What is attached.
    pub credential: Credential,
    /// Header that carries it, lower case. Default `authorization`.
    pub attach_header: String,
    /// Text before the value. Default `Bearer `.
    pub attach_prefix: String,
    /// Send again what a reused HTTP/1.1 connection lost with no byte of answer, POST too.
    pub retry_unanswered: bool,
    /// Send again, with another credential, what is refused for its credential.
    pub replay: Replay,
    /// How to connect.
    pub connect: UpstreamConnect,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// Requests that may wait for a place.
    pub queue: usize,
}

/// Whether a request that is refused for its credential is sent again with another, while it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Replay {
    /// On for `aks` and `online`, off for `aci` and upstreams, where a 401 may come from the model.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// A service of Azure's, by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Name of the workspace in this configuration.
    pub workspace: String,
    /// Its name there, and what it is.
    pub name: service::Name,
    /// How it authenticates, where that is written; else as it reports.
    pub auth: Option<Auth>,
    /// Which of its keys is attached, where somebody chose; `None` = the one in use last, else the first that is accepted.
    pub active: Option<Slot>,
    /// Whether a credential may be sent to it over `http://`.
    pub plaintext: bool,
    /// How its credential is kept valid.
    pub upkeep: Upkeep,
}

impl Service {
    /// Whether what was found of one holds for the other: the same service, asked in the same way.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let asked = |service: &Self| (service.workspace.clone(), service.name.clone(), service.auth, service.plaintext);
        asked(self) == asked(other)
    }
}

/// How the credential of a service is kept valid. Two endpoints that are one service have the same.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Upkeep {
    /// Times and counts of its keys.
    pub rules: Rules,
    /// Times of its tokens.
    pub token_rules: TokenRules,
    /// When its keys are regenerated by themselves; `None` = never.
    pub schedule: Option<Schedule>,
    /// Which of them then.
    pub policy: Policy,
    /// How front ends are asked whether they know a value.
    pub probe: Probe,
}

/// A request of our own that shows whether a front end knows a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Its method. Default `OPTIONS`.
    pub method: http::Method,
    /// Its path below the folder of the scoring path, begins with `/`; `None` = the scoring path itself.
    pub path: Option<String>,
    /// Its body, which is JSON.
    pub body: Option<Arc<[u8]>>,
}

impl Default for Probe {
    fn default() -> Self {
        Self { method: http::Method::OPTIONS, path: None, body: None }
    }
}

/// What an endpoint attaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// What the control plane finds out about a service of Azure's.
    OfService,
    /// Two slots: from files or the environment.
    Keys {
        /// Slot Primary.
        primary: Option<Secret>,
        /// Slot Secondary.
        secondary: Option<Secret>,
        /// Which is attached; `auto` means primary here. The slot named has a value.
        active: Slot,
    },
}

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    /// `https` when true, else `http`.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port, 80 or 443 where none was written.
    pub port: u16,
    /// The scoring path, as written, begins with `/`; no query.
    pub path: String,
}

/// How to connect to the upstreams of an endpoint.
#[derive(Debug, Clone)]
pub struct UpstreamConnect {
    /// Which HTTP.
    pub protocol: UpstreamProtocol,
    /// Trust roots in place of the platform's, with the digest of their file.
    pub ca: Option<(Arc<rustls::RootCertStore>, [u8; 32])>,
    /// Name to verify and send as SNI in place of the URL's host.
    pub server_name: Option<String>,
    /// Client certificate.
    pub client_certificate: Option<Certificate>,
    /// An idle connection is closed after this. Default 30 s.
    pub idle: Duration,
    /// Connections per upstream at once. Default 1024.
    pub max_connections: usize,
    /// A connection takes no new request after this. Default 10 min.
    pub max_age: Duration,
}

/// HTTP spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UpstreamProtocol {
    /// TLS: by ALPN; plain: HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    H1,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/2 with prior knowledge over plain TCP.
    H2c,
}

/// One entry of `callers`.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What stands in logs and the identity header.
    pub name: String,
    /// How it proves who it is.
    pub kind: CallerKind,
    /// How long what its key, token or certificate has let in may outlive that; none = as long as it likes.
    pub evict_after: Option<Duration>,
    /// How much it may ask.
    pub limits: Option<CallLimits>,
}

/// How a caller proves who it is.
#[derive(Debug, Clone)]
pub enum CallerKind {
    /// Anyone at all.
    Anonymous,
    /// A key, by digest.
    Keys(Vec<CallerKey>),
    /// A token of an issuer.
    Token(Box<TokenCaller>),
    /// A client certificate.
    Certificate(CertificateRules),
    /// What a service that scoregate plays has handed out.
    Service(Box<ServiceCaller>),
}

/// Which client certificates are one caller's.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CertificateRules {
    /// Names, one of which it must have.
    pub names: Box<[SanPattern]>,
    /// SHA-256 of certificates.
    pub fingerprints: Box<[[u8; 32]]>,
}

/// A version 1 web service of Azure's that scoregate plays in front of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCaller {
    /// What it is.
    pub kind: ServiceKind,
    /// What it asks of callers.
    pub auth: AuthMode,
    /// What values of its keys are sealed with, so that they can be listed.
    pub seal_key: Option<Secret>,
    /// Who may list and regenerate its keys and fetch its tokens, and how they prove it.
    pub managers: Option<Box<TokenCaller>>,
    /// How long its tokens live.
    pub token_lifetime: Duration,
    /// Where it is called, for whoever asks.
    pub scoring_uri: Option<String>,
}

/// A live key of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerKey {
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// What it is called in logs.
    pub name: Option<Box<str>>,
    /// Unix seconds before which it is refused.
    pub not_before: Option<u64>,
    /// Unix seconds from which it is refused.
    pub expires: Option<u64>,
}

impl CallerKey {
    /// A key without a name that is always good.
    #[must_use]
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self { sha256, name: None, not_before: None, expires: None }
    }
}

/// A caller that shows tokens of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenCaller {
    /// What they must be.
    pub terms: Terms,
    /// What they are signed with.
    pub keys: IssuerKeys,
}

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKeys {
    /// They were in a file.
    File(Arc<KeySet>),
    /// The issuer publishes them.
    Published(KeySource),
}

/// Where an issuer publishes its keys. Equal sources are asked once for all callers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeySource {
    /// Its address.
    pub url: Url,
    /// Whose certificates are believed there; none = the platform's authorities.
    pub ca: Option<TrustedCa>,
    /// How often it is asked.
    pub refresh: Duration,
    /// It is asked no more often than this, whatever tokens callers send.
    pub least_refresh: Duration,
}

/// Authorities that were read from a file.
#[derive(Clone)]
pub struct TrustedCa {
    /// Their certificates.
    pub roots: Arc<rustls::RootCertStore>,
    /// Of all of them: what they are compared by.
    pub digest: [u8; 32],
}

impl PartialEq for TrustedCa {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TrustedCa {}

impl Hash for TrustedCa {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for TrustedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustedCa").field(&self.digest).finish()
    }
}

/// One entry of `routes`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Label of metrics: `name`, or host and path. Unique.
    pub name: String,
    /// `*`, `*.example.com` or an exact host, lower case, no port.
    pub host: String,
    /// Which paths.
    pub path: PathMatch,
    /// Allowed methods; empty = all (CONNECT and TRACE never).
    pub methods: Vec<http::Method>,
    /// Listener names; empty = all.
    pub listeners: Vec<String>,
    /// What happens.
    pub action: Action,
}

/// Which paths a route takes; always in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// This path alone.
    Exact(String),
    /// This path and what is below it, on segment borders. `/` is everything.
    Prefix(String),
}

/// What a route does.
#[derive(Debug, Clone)]
pub enum Action {
    /// 403 to everyone.
    Deny,
    /// Forward.
    Forward(Box<Forward>),
}

/// Where and how a route forwards.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Names of callers that may use it, in order.
    pub callers: Vec<String>,
    /// Name of the endpoint.
    pub endpoint: String,
    /// `attach: none`: nothing is attached.
    pub attach: bool,
    /// Replaces the matched prefix; `None` = the path is kept.
    pub rewrite_prefix: Option<String>,
    /// Where the upstream is told who was let in, lower case.
    pub identity_header: Option<String>,
    /// Headers a caller may show its key in. Default `authorization` alone.
    pub caller_headers: Vec<CallerHeader>,
    /// How much it is asked.
    pub limits: Option<CallLimits>,
    /// Whole request, up to the response head. `None` = `timeouts.request`.
    pub timeout: Option<Duration>,
    /// Largest request body. `None` = `limits.body`.
    pub body: Option<u64>,
    /// Largest request body that is held for a resend. `None` = `limits.replay_body`.
    pub replay_body: Option<u64>,
    /// Request trailers that pass, lower case.
    pub trailers: Vec<String>,
    /// Characters refused in paths unless listed: `;`, `\`, `%2F`, `%5C`.
    pub path_chars: PathChars,
    /// Connections may become WebSockets.
    pub websocket: bool,
}

/// A header a caller may show its key in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerHeader {
    /// `Authorization: Bearer KEY`.
    Authorization,
    /// `x-api-key: KEY`.
    XApiKey,
    /// `api-key: KEY`.
    ApiKey,
}

/// Characters that a route lets through in paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathChars {
    /// `;`
    pub semicolon: bool,
    /// `\`
    pub backslash: bool,
    /// `%2F`
    pub encoded_slash: bool,
    /// `%5C`
    pub encoded_backslash: bool,
}

/// `readiness`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Every endpoint.
    All,
    /// One at least.
    Any,
    /// These.
    Named(Vec<String>),
}

/// `limits`; see `Default` for the numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Client connections of the process. 20,000.
    pub max_connections: usize,
    /// Client connections of one address; not for loopback or trusted proxies. 2,000.
    pub per_address: usize,
    /// Bytes of a request head. 32 KiB.
    pub head: usize,
    /// Header fields of a request. 100.
    pub fields: usize,
    /// Bytes of a request body. 100 MiB.
    pub body: u64,
    /// Bytes of a request body held for a resend. 1 MiB.
    pub replay_body: u64,
    /// Bytes held by all requests together. 64 MiB.
    pub replay_total: u64,
    /// Streams of one HTTP/2 connection. 100.
    pub h2_streams: u32,
    /// Requests that wait for a token. 16,384.
    pub token_waiters: usize,
    /// Share of the cgroup's memory above which new requests are answered 503. 0.90.
    pub memory: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            per_address: 2_000,
            head: 32 << 10,
            fields: 100,
            body: 100 << 20,
            replay_body: 1 << 20,
            replay_total: 64 << 20,
            h2_streams: 100,
            token_waiters: 16_384,
            memory: 0.90,
        }
    }
}

/// `timeouts`; see `Default` for the numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake. 10 s.
    pub tls_handshake: Duration,
    /// Request head, total. 10 s.
    pub request_head: Duration,
    /// Keep-alive connection with nothing in flight. 75 s.
    pub idle: Duration,
    /// TCP and TLS to an upstream. 5 s.
    pub connect: Duration,
    /// From the request sent to the response head. 5 min.
    pub response_head: Duration,
    /// From the request head to the response head. 5 min.
    pub request: Duration,
    /// A caller that uploads or reads stands still. 30 s.
    pub stall: Duration,
    /// A response stream with nothing from the upstream. 15 min.
    pub stream_idle: Duration,
    /// SIGTERM to closing the listeners. 5 s.
    pub lame_duck: Duration,
    /// Listeners closed to everything closed. 30 s.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            tls_handshake: seconds(10),
            request_head: seconds(10),
            idle: seconds(75),
            connect: seconds(5),
            response_head: seconds(300),
            request: seconds(300),
            stall: seconds(30),
            stream_idle: seconds(900),
            lame_duck: seconds(5),
            drain: seconds(30),
        }
    }
}

/// `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`. Default info.
    pub level: tracing::Level,
    /// JSON lines (default in `run`) or text.
    pub json: bool,
    /// Which requests are logged.
    pub access: Access,
}

/// `log.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// None.
    Off,
    /// Those answered 400 and above.
    #[default]
    Errors,
    /// All.
    All,
}
