//! Keys and certificates made at start, and the files that tell clients of them.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::setup::{Setup, app_certificate};
use crate::{jwt::rsa::RsaSigner, random};

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

/// What was made at start.
#[derive(Debug)]
pub(super) struct Material {
    /// Signs Entra's tokens, and the built-in cluster's.
    pub(super) signer: RsaSigner,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) files: Files,
}

/// A folder that goes away with the mock.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
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
        let folder = private_folder()?;
        let files = Files {
            ca: tls.then(|| folder.join("ca.pem")),
            certificate: folder.join("application.pem"),
            certificate_key: folder.join("application.key"),
            folder,
        };
        if let Some(application) = setup.applications.first_mut() {
            let certificate = application_certificate()?;
            application.certificates.push(app_certificate(&certificate.der)?);
            write(&files.certificate, &certificate.pem)?;
            write(&files.certificate_key, &certificate.key_pem)?;
        }
        let tls = match &files.ca {
            Some(ca) => Some(Arc::new(server_config(ca, &setup.region)?)),
            None => None,
        };
        Ok(Self { signer, tls, files })
    }

    /// Writes a file beside the others, for its owner alone.
    ///
    /// # Errors
    /// Where the disk fails.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.files.folder.join(name);
        write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What is left lies in the folder for temporary files, and tells nothing about anything real.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn private_folder() -> anyhow::Result<PathBuf> {
    let unique = u64::from_le_bytes(random::bytes().context("the operating system gave no random bytes")?);
    let folder = std::env::temp_dir().join(format!("scoregate-mock-azure-{unique:016x}"));
    fs::DirBuilder::new().mode(0o700).create(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
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

/// A CA, written to its file, and a server with a certificate of it. Newer clients look at key usages and key identifiers.
fn server_config(ca_file: &Path, region: &str) -> anyhow::Result<rustls::ServerConfig> {
    let ca_key = KeyPair::generate().context("cannot make the CA's key")?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "scoregate mock-azure CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    write(ca_file, &ca.self_signed(&ca_key).context("cannot make the CA")?.pem())?;
    let issuer = Issuer::new(ca, ca_key);

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
    let certificate = leaf.signed_by(&key, &issuer).context("cannot make the server's certificate")?;
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
