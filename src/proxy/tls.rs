//! The TLS handshake of a client connection: deadline, certificate by SNI, protocol by ALPN.

use std::sync::Arc;

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use super::{auth::certificate::PeerCertificate, socket::Socket, worker::Worker};
use crate::snapshot::ListenerPolicy;

/// What a handshake agreed on.
#[derive(Debug)]
pub struct Handshaken {
    /// The encrypted stream.
    pub stream: Box<tokio_rustls::TlsStream<Socket>>,
    /// Whether ALPN chose HTTP/2.
    pub h2: bool,
    /// The name that was asked for, if one was.
    pub server_name: Option<Box<str>>,
    /// The certificate that the client showed, if it did.
    pub certificate: Option<Box<PeerCertificate>>,
}

/// Shakes hands.
///
/// # Errors
/// A word for the metric: `tls_handshake` or `tls_handshake_timeout`.
pub async fn accept(
    worker: &Worker,
    policy: &ListenerPolicy,
    config: Arc<rustls::ServerConfig>,
    socket: Socket,
) -> Result<Handshaken, &'static str> {
    let limit = worker.view().snapshot.timeouts.tls_handshake;
    let stream = match tokio::time::timeout(limit, TlsAcceptor::from(config).accept(socket)).await {
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
    let session = stream.get_ref().1;
    let h2 = session.alpn_protocol() == Some(b"h2");
    let server_name = session.server_name().map(Into::into);
    let certificate = session.peer_certificates().and_then(PeerCertificate::read).map(Box::new);
    Ok(Handshaken { stream: Box::new(stream.into()), h2, server_name, certificate })
}

/// Chooses a certificate by the name the client asks for: exact, then wildcard, else the first.
#[derive(Debug)]
pub struct CertificatesByName {
    named: hashbrown::HashMap<Box<str>, usize>,
    certificates: Vec<Arc<CertifiedKey>>,
}

impl CertificatesByName {
    /// From certificates with their names, the first of which is the default. Where two have one name the first wins.
    #[must_use]
    pub fn new(certificates: impl IntoIterator<Item = (Vec<String>, Arc<CertifiedKey>)>) -> Self {
        let mut by_name = Self { named: hashbrown::HashMap::new(), certificates: Vec::new() };
        for (at, (names, key)) in certificates.into_iter().enumerate() {
            by_name.certificates.push(key);
            for name in names {
                by_name.named.entry(name.into_boxed_str()).or_insert(at);
            }
        }
        by_name
    }

    /// The place of the certificate that a name gets; that of the default where it has none, or there is no name.
    #[must_use]
    pub fn choose(&self, name: Option<&str>) -> usize {
        let Some(name) = name.map(str::to_ascii_lowercase) else { return 0 };
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.named.get(format!("*.{parent}").as_str()));
        self.named.get(name.as_str()).or_else(wildcard).copied().unwrap_or(0)
    }
}

impl ResolvesServerCert for CertificatesByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificates.get(self.choose(hello.server_name())).cloned()
    }
}
