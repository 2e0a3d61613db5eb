//! `workers`, `health`, `readiness`, `limits`, `timeouts` and `log` as typed.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::List;
use crate::config::{
    text::Text,
    units::{Pause, Size, Span},
};

/// Data-plane threads.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Workers {
    /// One per core that the process may use.
    Auto(AutoWord),
    /// This many.
    Count(#[schemars(range(min = 1, max = 1024))] usize),
}

/// `auto`
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AutoWord {
    Auto,
}

/// What kubelet and Prometheus ask.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    /// Where to listen. Nothing that is answered there is secret.
    #[schemars(required)]
    pub(crate) address: Option<Text<SocketAddr>>,
}

/// Endpoints that must be usable.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Readiness {
    /// All of them or any of them.
    Word(ReadinessWord),
    /// These.
    Named(#[schemars(length(min = 1))] List<String>),
}

/// `all` or `any`
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReadinessWord {
    All,
    Any,
}

/// Caps. Whatever is above one is answered by scoregate itself and counted.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Client connections of the process. Default 20000.
    #[schemars(range(min = 1))]
    pub(crate) max_connections: Option<usize>,
    /// Client connections of one address; not for loopback and trusted proxies. Default 2000.
    #[schemars(range(min = 1))]
    pub(crate) per_address: Option<usize>,
    /// Request head, 1KiB to 1MiB. Default 32KiB.
    pub(crate) head: Option<Text<Size>>,
    /// Header fields of a request. Default 100.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) fields: Option<usize>,
    /// Request body. Default 100MiB.
    pub(crate) body: Option<Text<Size>>,
    /// Request body that is held to be sent again; 0 = none is. Default 1MiB.
    pub(crate) replay_body: Option<Text<Size>>,
    /// What all requests together may hold. Default 64MiB.
    pub(crate) replay_total: Option<Text<Size>>,
    /// Streams of one HTTP/2 connection. Default 100.
    #[schemars(range(min = 1, max = 10000))]
    pub(crate) h2_streams: Option<u32>,
    /// Requests that wait for a token. Default 16384.
    #[schemars(range(min = 1))]
    pub(crate) token_waiters: Option<usize>,
    /// Share of the cgroup's memory above which new requests are answered 503. Default 0.90.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub(crate) memory: Option<f64>,
}

/// Deadlines.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Timeouts {
    /// TLS handshake of a client. Default 10s.
    pub(crate) tls_handshake: Option<Text<Span>>,
    /// Request head, from its first byte to its last. Default 10s.
    pub(crate) request_head: Option<Text<Span>>,
    /// Client connection with nothing in flight. Default 75s.
    pub(crate) idle: Option<Text<Span>>,
    /// TCP and TLS to an upstream. Default 5s.
    pub(crate) connect: Option<Text<Span>>,
    /// From the request sent to the response head. Default 5m.
    pub(crate) response_head: Option<Text<Span>>,
    /// From the request head to the response head. Default 5m.
    pub(crate) request: Option<Text<Span>>,
    /// A caller that uploads or reads stands still. Default 30s.
    pub(crate) stall: Option<Text<Span>>,
    /// A response stream with nothing from the upstream. Default 15m.
    pub(crate) stream_idle: Option<Text<Span>>,
    /// From SIGTERM to closing the listeners; `0s` closes them at once. Default 5s.
    pub(crate) lame_duck: Option<Text<Pause>>,
    /// From closing the listeners to closing everything. Default 30s.
    pub(crate) drain: Option<Text<Pause>>,
}

/// Log output.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// How much. Default `info`.
    pub(crate) level: Option<Level>,
    /// JSON lines or text for people. Default `json`.
    pub(crate) format: Option<LogFormat>,
    /// Which requests: none, those answered 400 and above, or all. Default `errors`.
    pub(crate) access: Option<Access>,
}

/// `log.level`
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log.format`
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Json,
    Text,
}

/// `log.access`
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    Off,
    Errors,
    All,
}
