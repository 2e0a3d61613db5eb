//! TLS of the admin address, from certificates that the configuration has already checked.
//!
//! `serve` builds it once at the start.

use std::sync::Arc;

use anyhow::Context;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
};
use tokio_rustls::TlsAcceptor;

use crate::config::model::{ClientAuth, ListenerTls};

pub(super) fn acceptor(tls: &ListenerTls) -> anyhow::Result<TlsAcceptor> {
    let certificate = tls.certificates.first().context("admin.tls has no certificate: write cert and key")?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("admin.tls: no TLS version can be used")?
        .with_client_cert_verifier(client_verifier(tls, provider)?);
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.key.clone())));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn client_verifier(tls: &ListenerTls, provider: Arc<CryptoProvider>) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    if tls.client_auth == ClientAuth::Off {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let roots: Arc<RootCertStore> =
        tls.client_ca.clone().context("admin.tls asks for client certificates, but has no client_ca")?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let verifier = if tls.client_auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
    verifier.build().context("admin.tls.client_ca cannot be used")
}
