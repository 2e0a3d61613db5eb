//! Keys and certificates made at start, and the files that tell clients of them.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::setup::{Setup, app_certificate};
use crate::{jwt::rsa::RsaSigner, scratch::Scratch};

/// Names on the TLS certificate: the mock's own, and Microsoft's, for clients that resolve those to loopback.
const TLS_NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    "login.microsoftonline.com",
    "management.azure.com",
    "ml.azure.com",
    "*.api.azureml.ms",
    "*.inference.ml.azure.com",
];

const CERTIFICATE: &str = "application.pem";
const CERTIFICATE_KEY: &str = "application.key";

/// What was made at start.
#[derive(Debug)]
pub(super) struct Material {
    /// Signs Entra's tokens, and the built-in cluster's.
    pub(super) signer: RsaSigner,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) files: Files,
}

/// Files that go away with the mock.
#[derive(Debug)]
pub(super) struct Files {
    folder: Scratch,
    pub(super) ca: Option<PathBuf>,
    pub(super) certificate: PathBuf,
    pub(super) certificate_key: PathBuf,
}

impl Material {
    /// Makes everything; the application's certificate goes into the setup unless that has one.
    ///
    /// # Errors
    /// Where the library or the disk fails.
    pub(super) fn make(setup: &mut Setup, tls: bool) -> anyhow::Result<Self> {
        let signer = RsaSigner::generate().context("cannot make Entra's signing key")?;
        let folder = Scratch::make("mock-azure")?;
        if let Some(application) = setup.applications.first_mut() {
            let certificate = application_certificate()?;
            application.certificates.push(app_certificate(&certificate.der)?);
            folder.write(CERTIFICATE, &certificate.pem)?;
            folder.write(CERTIFICATE_KEY, &certificate.key_pem)?;
        }
        let (ca, tls) = if tls {
            let authority = authority()?;
            let config = server_config(&authority.issuer, &setup.region)?;
            (Some(folder.write("ca.pem", &authority.pem)?), Some(Arc::new(config)))
        } else {
            (None, None)
        };
        let files =
            Files { ca, certificate: folder.file(CERTIFICATE), certificate_key: folder.file(CERTIFICATE_KEY), folder };
        Ok(Self { signer, tls, files })
    }

    /// Writes a file beside the others, for its owner alone.
    ///
    /// # Errors
    /// Where the disk fails.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        self.files.folder.write(name, text)
    }
}

struct Certificate {
    der: Vec<u8>,
    pem: String,
    key_pem: String,
}

/// An application's own certificate, which nobody signs: Entra is told of it.
fn application_certificate() -> anyhow::Result<Certificate> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).context("cannot make an RSA key")?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "scoregate mock application");
    let certificate = params.self_signed(&key).context("cannot make the application's certificate")?;
    Ok(Certificate { der: certificate.der().to_vec(), pem: certificate.pem(), key_pem: key.serialize_pem() })
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A CA. Newer clients look at key usages and key identifiers.
fn authority() -> anyhow::Result<Authority> {
    let key = KeyPair::generate().context("cannot make the CA's key")?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "scoregate mock-azure CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = ca.self_signed(&key).context("cannot make the CA")?.pem();
    Ok(Authority { issuer: Issuer::new(ca, key), pem })
}

/// A server with a certificate of the CA's.
fn server_config(issuer: &Issuer<'_, KeyPair>, region: &str) -> anyhow::Result<rustls::ServerConfig> {
    let key = KeyPair::generate().context("cannot make the server's key")?;
    // Online endpoints have the region in their names, and a wildcard stands for one label.
    let regional = format!("*.{region}.inference.ml.azure.com");
    let names: Vec<String> = TLS_NAMES.into_iter().map(str::to_owned).chain([regional]).collect();
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "scoregate mock-azure");
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let certificate = leaf.signed_by(&key, issuer).context("cannot make the server's certificate")?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .context("the server's certificate cannot be used")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
