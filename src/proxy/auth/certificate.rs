//! Client certificates: shown with the handshake, judged with each request by whom the listener believes at that moment.
//!
//! The handshake has proved that the peer holds the key. Whether the certificate is still good is asked again of the present
//! authorities and lists of revoked certificates (RFC 5280 section 6), once a minute or when they change.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use rustls::{CertificateError, server::danger::ClientCertVerifier};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;

use super::reason::Reason;
use crate::{
    digest::{hex, sha256},
    ids::ClientTrustId,
    san::{Names, SanPattern},
};

/// Whose client certificates a listener believes.
#[derive(Debug)]
pub struct ClientTrust {
    /// Which authorities and lists these are.
    pub id: ClientTrustId,
    /// Judges a chain.
    pub verifier: Arc<dyn ClientCertVerifier>,
}

/// Which certificates are one caller's.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CertificateRules {
    /// Names, one of which it must have.
    pub names: Box<[SanPattern]>,
    /// SHA-256 of certificates.
    pub fingerprints: Box<[[u8; 32]]>,
}

/// A client's certificate.
#[derive(Debug)]
pub struct PeerCertificate {
    /// The certificate, then what its authority sent along.
    chain: Vec<CertificateDer<'static>>,
    names: Names<Rc<str>>,
    fingerprint: [u8; 32],
    judged: Cell<Option<Judged>>,
}

#[derive(Debug, Clone, Copy)]
struct Judged {
    trust: ClientTrustId,
    /// Unix seconds.
    at: u64,
    verdict: Result<(), Reason>,
}

/// A certificate ends, and nobody tells: it is looked at again after so many seconds.
const LOOK_AGAIN: u64 = 60;

impl PeerCertificate {
    /// What a handshake brought. None where the certificate cannot be read, which no verifier would have let pass.
    #[must_use]
    pub fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let chain: Vec<CertificateDer<'static>> = chain.iter().map(|one| one.clone().into_owned()).collect();
        let leaf = chain.first()?;
        let parsed = EndEntityCert::try_from(leaf).ok()?;
        let dns = parsed.valid_dns_names().filter(|name| !name.starts_with('*'));
        let names = Names {
            dns: dns.map(|name| name.to_ascii_lowercase().into()).collect(),
            uris: parsed.valid_uri_names().map(Into::into).collect(),
        };
        let fingerprint = sha256(leaf);
        Some(Self { names, fingerprint, judged: Cell::new(None), chain })
    }

    /// Whether it is good now.
    ///
    /// # Errors
    /// Taken back, or not believed.
    pub fn is_good(&self, trust: &ClientTrust, unix: u64) -> Result<(), Reason> {
        let recent = |judged: &Judged| judged.trust == trust.id && unix.abs_diff(judged.at) < LOOK_AGAIN;
        if let Some(judged) = self.judged.get().filter(recent) {
            return judged.verdict;
        }
        let verdict = self.judge(trust, unix);
        self.judged.set(Some(Judged { trust: trust.id, at: unix, verdict }));
        verdict
    }

    fn judge(&self, trust: &ClientTrust, unix: u64) -> Result<(), Reason> {
        let (leaf, intermediates) = self.chain.split_first().ok_or(Reason::CertificateUntrusted)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(unix));
        match trust.verifier.verify_client_cert(leaf, intermediates, now) {
            Ok(_verified) => Ok(()),
            Err(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => Err(Reason::CertificateRevoked),
            Err(_) => Err(Reason::CertificateUntrusted),
        }
    }

    /// What of it makes it one caller's: the name that fits, or its fingerprint.
    #[must_use]
    pub fn fits(&self, rules: &CertificateRules) -> Option<Rc<str>> {
        let by_name = rules.names.iter().find_map(|pattern| pattern.matches(&self.names).cloned());
        by_name.or_else(|| rules.fingerprints.contains(&self.fingerprint).then(|| hex(&self.fingerprint).into()))
    }
}
