//! The TLS handshake of a client connection: deadline, certificate by SNI, protocol by ALPN.

use std::sync::Arc;

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::worker::Worker;
use crate::snapshot::ListenerPolicy;

/// What a handshake agreed on.
#[derive(Debug)]
pub struct Handshaken {
    /// The encrypted stream.
    pub stream: Box<tokio_rustls::TlsStream<TcpStream>>,
    /// Whether ALPN chose HTTP/2.
    pub h2: bool,
}

/// Shakes hands.
///
/// # Errors
/// A word for the metric: `tls_handshake` or `tls_handshake_timeout`.
pub async fn accept(
    worker: &Worker,
    policy: &ListenerPolicy,
    config: Arc<rustls::ServerConfig>,
    tcp: TcpStream,
) -> Result<Handshaken, &'static str> {
    let limit = worker.view().snapshot.timeouts.tls_handshake;
    let stream = match tokio::time::timeout(limit, TlsAcceptor::from(config).accept(tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(listener = &*policy.name, %error, "tls handshake failed");
            return Err("tls_handshake");
        }
        Err(_elapsed) => {
            worker.count_limit("tls_handshake");
            return Err("tls_handshake_timeout");
        }
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Handshaken { stream: Box::new(stream.into()), h2 })
}

/// Chooses a certificate by the name the client asks for: exact, then wildcard, else the first.
#[derive(Debug)]
pub struct CertificatesByName {
    named: hashbrown::HashMap<Box<str>, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
}

impl CertificatesByName {
    /// From certificates with their names, the first of which is the default. Where two have one name the first wins.
    #[must_use]
    pub fn new(
        default: Arc<CertifiedKey>,
        certificates: impl IntoIterator<Item = (Vec<String>, Arc<CertifiedKey>)>,
    ) -> Self {
        let mut named = hashbrown::HashMap::new();
        for (names, key) in certificates {
            for name in names {
                named.entry(name.into_boxed_str()).or_insert_with(|| Arc::clone(&key));
            }
        }
        Self { named, default }
    }

    fn choose(&self, name: &str) -> Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.named.get(format!("*.{parent}").as_str()));
        Arc::clone(self.named.get(name.as_str()).or_else(wildcard).unwrap_or(&self.default))
    }
}

impl ResolvesServerCert for CertificatesByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(hello.server_name().map_or_else(|| Arc::clone(&self.default), |name| self.choose(name)))
    }
}
