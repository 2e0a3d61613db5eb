//! Certificates made at run time, and TLS clients and servers that use them.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    sign::CertifiedKey,
};
use scoregate::config::model::{Certificate, ClientAuth, ListenerTls};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::in_time;

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

/// A certificate with its key.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    names: Vec<String>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// A client's certificate with a SPIFFE id or another URI.
    pub fn sign_uri(&self, uri: &str, serial: u64) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.serial_number = Some(serial.into());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { chain: vec![certificate.der().clone()], key: key.serialize_der(), names: Vec::new() }
    }

    /// A list of what this authority took back.
    pub fn revoke(&self, serials: &[u64]) -> CertificateRevocationListDer<'static> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().into()
    }

    pub fn sign(&self, names: &[&str]) -> Leaf {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names.clone()).unwrap().signed_by(&key, &self.issuer).unwrap();
        Leaf { chain: vec![certificate.der().clone()], key: key.serialize_der(), names }
    }

    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        Arc::new(roots)
    }

    /// As an endpoint's `ca`.
    pub fn as_ca(&self) -> (Arc<RootCertStore>, [u8; 32]) {
        (self.roots(), scoregate::digest::sha256(&self.der))
    }

    /// A client that trusts this authority.
    pub fn client(&self, alpn: &[&str], identity: Option<&Leaf>) -> rustls::ClientConfig {
        let builder = rustls::ClientConfig::builder().with_root_certificates(self.roots());
        let mut config = match identity {
            Some(leaf) => builder.with_client_auth_cert(leaf.chain.clone(), leaf.private_key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }
}

impl Leaf {
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }

    /// As the configuration has it.
    pub fn certificate(&self) -> Certificate {
        let provider = rustls::crypto::CryptoProvider::get_default().expect("a provider");
        let key = CertifiedKey::from_der(self.chain.clone(), self.private_key(), provider).unwrap();
        Certificate { key: Arc::new(key), names: self.names.clone(), digest: scoregate::digest::sha256(&self.chain[0]) }
    }

    /// A server with this certificate; `clients`: whose certificates it demands.
    pub fn server(&self, alpn: &[&str], clients: Option<&Authority>) -> rustls::ServerConfig {
        let builder = rustls::ServerConfig::builder();
        let builder = match clients {
            Some(authority) => {
                let verifier = rustls::server::WebPkiClientVerifier::builder(authority.roots()).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(self.chain.clone(), self.private_key()).unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }
}

/// A listener's TLS with these certificates.
pub fn listener_tls(leaves: &[&Leaf]) -> ListenerTls {
    ListenerTls {
        certificates: leaves.iter().map(|leaf| leaf.certificate()).collect(),
        client_ca: None,
        client_crl: Vec::new(),
        client_auth: ClientAuth::Off,
    }
}

/// The process's TLS library, as the program's own start chooses it.
pub fn install() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

pub async fn connect(
    address: SocketAddr,
    name: &str,
    config: rustls::ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = in_time("connect", TcpStream::connect(address)).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    in_time("handshake", TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}
