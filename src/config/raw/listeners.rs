//! `listeners` and `admin` as typed.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, Secret};
use crate::config::{
    model::ListenAddress,
    text::{HostName, Name, Text, TrustedProxy},
};

/// One place where traffic comes in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// Label of metrics, and what `match.listeners` of a route names.
    #[schemars(required)]
    pub(crate) name: Option<Text<Name>>,
    /// Where to listen: address and port, `unix:PATH`, `unix:PATH?mode=0660` (default 0600), or `fd:NAME` for a socket that the
    /// service manager hands over.
    #[schemars(required)]
    pub(crate) address: Option<Text<ListenAddress>>,
    /// HTTP/1.1 and HTTP/2; with TLS by ALPN, else HTTP/2 with prior knowledge. Default both.
    #[schemars(length(min = 1))]
    pub(crate) protocols: Option<List<Protocol>>,
    /// TLS. Default: none.
    pub(crate) tls: Option<ListenerTls>,
    /// Proxies whose `Forwarded`, `X-Forwarded-*` and PROXY header are believed: addresses, blocks, and `unix:` for peers over a
    /// Unix socket. Default: nobody's.
    pub(crate) trusted_proxies: Option<List<Text<TrustedProxy>>>,
    /// Connections begin with a PROXY header (version 1 or 2); only `trusted_proxies` may connect. Default false.
    pub(crate) proxy_protocol: Option<bool>,
    /// HTTP/1.1: a client may close its side before the answer; else that cancels the request. Default false.
    pub(crate) half_close: Option<bool>,
    /// Hosts that are served; others get 421. Empty = every host. Default on loopback: `localhost`, `127.0.0.1`, `::1` and
    /// the exact hosts of the routes (against DNS rebinding); elsewhere every host.
    pub(crate) hosts: Option<List<Text<HostName>>>,
}

/// An HTTP version.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    H1,
    H2,
}

/// TLS of a listener.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerTls {
    /// Certificates, chosen by SNI; the first is the default.
    #[schemars(required, length(min = 1))]
    pub(crate) certificates: Option<List<CertificateFiles>>,
    /// PEM file of the CAs whose client certificates are accepted.
    #[schemars(length(min = 1))]
    pub(crate) client_ca: Option<String>,
    /// PEM file with the lists of certificates that those CAs took back, one of each authority that signs clients. A list counts
    /// for every request of every connection, and after its `nextUpdate` too. Default: none.
    #[schemars(length(min = 1))]
    pub(crate) client_crl: Option<String>,
    /// Whether client certificates are asked for, and demanded. Default `off`.
    pub(crate) client_auth: Option<ClientAuthWord>,
}

/// A certificate and its key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateFiles {
    /// PEM file of the chain, the certificate itself first.
    #[schemars(required, length(min = 1))]
    pub(crate) cert: Option<String>,
    /// PEM file of the key, not encrypted.
    #[schemars(required, length(min = 1))]
    pub(crate) key: Option<String>,
}

/// `client_auth`
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuthWord {
    Off,
    Optional,
    Required,
}

/// The admin side.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// Unix socket, for its owner alone. Default `/run/scoregate/admin.sock`; where that cannot be made,
    /// `$XDG_RUNTIME_DIR/scoregate/admin.sock`.
    #[schemars(length(min = 1))]
    pub(crate) socket: Option<String>,
    /// TCP address, besides the socket. Default: none.
    pub(crate) address: Option<Text<SocketAddr>>,
    /// Token that the TCP address asks for. Default: one is made in `state_dir/admin.token`.
    pub(crate) token: Option<Secret>,
    /// TLS of the TCP address; demanded off loopback.
    pub(crate) tls: Option<AdminTls>,
}

/// TLS of the admin side.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminTls {
    /// PEM file of the chain, the certificate itself first.
    #[schemars(required, length(min = 1))]
    pub(crate) cert: Option<String>,
    /// PEM file of the key, not encrypted.
    #[schemars(required, length(min = 1))]
    pub(crate) key: Option<String>,
    /// PEM file of the CAs of client certificates; when written, a client certificate is demanded.
    #[schemars(length(min = 1))]
    pub(crate) client_ca: Option<String>,
}
