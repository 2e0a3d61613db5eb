//! The one value where control plane and data plane meet: everything a request needs to know, immutable.
//!
//! `control::publish` is the only writer. Workers load it once per request, and again for the credential of each resend.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::HeaderName;

use crate::{
    ids::{Generation, ListenerId},
    proxy::{
        auth::{CallerEntry, Grounds, KeyTable, certificate::ClientTrust},
        route::RouteTable,
        socket::Remote,
        tls::CertificatesByName,
        upstream::Endpoint,
    },
};

/// The world as one request sees it. A clone shares its parts: what changes alone, an address or a credential, costs a list of
/// pointers, however many routes and keys there are.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Grows with every publication.
    pub generation: Generation,
    /// What leads where.
    pub routes: Arc<RouteTable>,
    /// Every caller key.
    pub keys: Arc<KeyTable>,
    /// Who may come in, by position.
    pub callers: Arc<[CallerEntry]>,
    /// What some of them are judged by, which changes without a reload.
    pub grounds: Arc<Grounds>,
    /// How long what a key of a caller has let in may outlive the key, by position of the caller; none = as long as it likes.
    pub evictions: Arc<[Option<Duration>]>,
    /// Endpoints, by position. An endpoint that did not change is the same `Arc` as before.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// Listeners, by position.
    pub listeners: Arc<[Arc<ListenerPolicy>]>,
    /// Attach and identity headers of the whole configuration: removed from every request.
    pub stripped: Arc<[HeaderName]>,
    /// Caps.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Which requests are logged.
    pub access: Access,
}

impl Snapshot {
    /// The policy of a listener. None only for a connection whose listener a reload took away.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&Arc<ListenerPolicy>> {
        self.listeners.iter().find(|listener| listener.id == id)
    }
}

/// What a listener asks of its connections.
#[derive(Debug)]
pub struct ListenerPolicy {
    /// Identity.
    pub id: ListenerId,
    /// Label.
    pub name: Box<str>,
    /// HTTP/1.1 allowed.
    pub h1: bool,
    /// HTTP/2 allowed.
    pub h2: bool,
    /// TLS for new connections.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Which certificate a name gets, where there are several.
    pub certificates: Option<Arc<CertificatesByName>>,
    /// Whose client certificates are believed, where they are asked for.
    pub client_trust: Option<Arc<ClientTrust>>,
    /// Hosts served; empty = all. Lower case.
    pub hosts: Box<[Box<str>]>,
    /// Peers that are believed.
    pub trusted_proxies: Box<[Network]>,
    /// So are peers over Unix sockets.
    pub trusts_local: bool,
    /// Connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// A FIN before the answer does not cancel.
    pub half_close: bool,
}

impl ListenerPolicy {
    /// Whether what this peer says of others is believed.
    #[must_use]
    pub fn trusts(&self, peer: Remote) -> bool {
        peer.ip().map_or(self.trusts_local, |ip| self.trusted_proxies.iter().any(|network| network.contains(ip)))
    }

    /// Whether this host is served here; any case.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|h| h.eq_ignore_ascii_case(host))
    }

    /// Whether a request for this host would have met the certificate that its connection was given. A connection may be used
    /// for another host only where that is so (RFC 9110 section 7.4).
    #[must_use]
    pub fn certified(&self, server_name: Option<&str>, host: &str) -> bool {
        match (&self.certificates, server_name) {
            (None, _) => true,
            (Some(_), Some(name)) if name.eq_ignore_ascii_case(host) => true,
            (Some(certificates), name) => certificates.choose(name) == certificates.choose(Some(host)),
        }
    }
}

/// An address block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// First address.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

impl Network {
    /// Whether an address lies in it. IPv4 addresses mapped into IPv6 count as IPv4.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.prefix));
                u32::from(net).checked_shr(shift) == u32::from(address).checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.prefix));
                u128::from(net).checked_shr(shift) == u128::from(address).checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// Caps that the data plane enforces per request or connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request head.
    pub head: usize,
    /// Header fields of a request.
    pub fields: usize,
    /// Streams of one HTTP/2 connection.
    pub h2_streams: u32,
    /// Requests that wait for a token, of the whole process.
    pub token_waiters: usize,
}

/// Deadlines that the data plane enforces.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// TLS handshake.
    pub tls_handshake: Duration,
    /// Request head, total.
    pub request_head: Duration,
    /// Keep-alive with nothing in flight.
    pub idle: Duration,
    /// Request head to response head, where a route has none of its own.
    pub request: Duration,
    /// TCP and TLS to an upstream.
    pub connect: Duration,
    /// Request sent to response head.
    pub response_head: Duration,
    /// A caller stands still.
    pub stall: Duration,
    /// Response stream with nothing from the upstream.
    pub stream_idle: Duration,
}

/// Which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// None.
    Off,
    /// Those answered 400 and above.
    Errors,
    /// All.
    All,
}

/// The only `ArcSwap` of the process, with the two facts that may change faster than snapshots are built.
#[derive(Debug)]
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    overloaded: AtomicBool,
    draining: AtomicBool,
}

impl SnapshotCell {
    /// A cell with its first snapshot.
    #[must_use]
    pub fn new(first: Arc<Snapshot>) -> Self {
        Self { current: ArcSwap::new(first), overloaded: AtomicBool::new(false), draining: AtomicBool::new(false) }
    }

    /// For a worker's `arc_swap::Cache`.
    #[must_use]
    pub const fn source(&self) -> &ArcSwap<Snapshot> {
        &self.current
    }

    /// The present snapshot, for the control plane.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces the snapshot. `control::publish` alone calls this.
    pub(crate) fn store(&self, next: Arc<Snapshot>) {
        self.current.store(next);
    }

    /// Too little memory for new requests. Relaxed: a hint, read on every request, written about once a second.
    #[must_use]
    pub fn overloaded(&self) -> bool {
        self.overloaded.load(Ordering::Relaxed)
    }

    /// Sets [`SnapshotCell::overloaded`].
    pub fn set_overloaded(&self, overloaded: bool) {
        self.overloaded.store(overloaded, Ordering::Relaxed);
    }

    /// This process is shutting down. Relaxed: workers are also told by message.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Sets [`SnapshotCell::draining`].
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let net = |address: &str, prefix| Network { address: address.parse().unwrap(), prefix };
        let has = |n: Network, a: &str| n.contains(a.parse().unwrap());
        assert!(has(net("10.0.0.0", 8), "10.255.0.1"));
        assert!(!has(net("10.0.0.0", 8), "11.0.0.1"));
        assert!(has(net("10.0.0.0", 8), "::ffff:10.1.1.1"));
        assert!(has(net("0.0.0.0", 0), "8.8.8.8"));
        assert!(has(net("::1", 128), "::1"));
        assert!(!has(net("::1", 128), "::2"));
        assert!(!has(net("0.0.0.0", 0), "::1"));
    }
}
