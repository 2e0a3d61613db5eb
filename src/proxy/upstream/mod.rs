//! Scoring services: what is known of them, and the worker's own connections to them.
//!
//! [`Endpoint`] and [`Backend`] are immutable and shared. [`pool`] holds a worker's connections, [`connect`] makes them,
//! [`balance`] picks one of several upstreams, [`admission`] bounds how many requests an endpoint has in flight.

pub mod admission;
pub mod balance;
pub mod connect;
pub mod io;
pub mod pool;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use rustls_pki_types::ServerName;
use tokio::sync::Semaphore;

use super::credential::{Attachment, Trials};
use crate::{
    ids::{BackendId, EndpointId},
    rotation::ladder::Replay,
};

/// A scoring service.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Identity; survives reloads that keep the name.
    pub id: EndpointId,
    /// Label.
    pub name: Box<str>,
    /// Where it is; empty until the control plane knows.
    pub upstreams: Box<[Upstream]>,
    /// What is attached.
    pub attachment: Attachment,
    /// Whether a request is sent again after a 401 about that.
    pub replay: Replay,
    /// What a locked service can spare; shared by all workers. Survives reloads.
    pub trials: Arc<Trials>,
    /// Send again what a reused HTTP/1.1 connection lost with no byte of answer, POST too.
    pub retry_unanswered: bool,
    /// Places for requests in flight, shared by all workers. Survives reloads that keep the numbers.
    pub admission: Arc<admission::Admission>,
}

/// One upstream of an endpoint, and where that is at present.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// What decides which connections are interchangeable.
    pub backend: Arc<Backend>,
    /// Its addresses; none where a name was never looked up, an empty list where it has none.
    pub addresses: Addresses,
}

/// Addresses of an upstream.
pub type Addresses = Option<Arc<[SocketAddr]>>;

/// One upstream of an endpoint, with everything that decides which connections are interchangeable.
#[derive(Debug)]
pub struct Backend {
    /// Identity; survives reloads that change none of what stands here.
    pub id: BackendId,
    /// Name or address, and port.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
    /// `Host` and `:authority` of requests to it.
    pub authority: http::uri::Authority,
    /// The scoring path up to and with its last `/`.
    pub base: Box<str>,
    /// TLS.
    pub tls: Option<BackendTls>,
    /// Which HTTP.
    pub protocol: Protocol,
    /// An idle connection is closed after this.
    pub idle: Duration,
    /// A connection takes no new request after this.
    pub max_age: Duration,
    /// Connections at once, of all workers together.
    pub connections: Arc<Semaphore>,
    /// Requests that wait for one, of all workers. Relaxed; written only when there is no free one.
    pub waiting: AtomicUsize,
}

/// TLS to an upstream.
#[derive(Debug)]
pub struct BackendTls {
    /// With what it may negotiate.
    pub config: Arc<rustls::ClientConfig>,
    /// The same for HTTP/1.1 alone.
    pub h1: Arc<rustls::ClientConfig>,
    /// The name to verify.
    pub name: ServerName<'static>,
}

/// HTTP spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// By ALPN.
    Negotiated,
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}
