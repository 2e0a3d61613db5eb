//! Certificates, keys and trust roots: PEM files become what rustls takes, and do not leave here unless they fit.

use std::sync::Arc;

use rustls::{Error, InconsistentKeys, RootCertStore, crypto::aws_lc_rs::default_provider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject};
use webpki::EndEntityCert;

use super::context::Context;
use crate::{
    azure::identity::assertion::AppCertificate,
    config::{model::Certificate, path::KeyPath},
    digest::sha256,
};

/// A file that is named somewhere.
#[derive(Clone, Copy)]
pub(super) struct NamedFile<'r> {
    /// The path as written.
    pub(super) written: &'r str,
    /// Where it is written.
    pub(super) at: &'r KeyPath,
}

/// A chain and its key.
pub(super) fn certificate(cx: &mut Context<'_>, cert: NamedFile<'_>, key: NamedFile<'_>) -> Option<Certificate> {
    let chain = chain(cx, cert);
    let private = private_key(cx, key);
    let (chain, private) = (chain?, private?);

    let names = chain.first().and_then(|leaf| names(cx, leaf, cert.at))?;
    let digest = digest_of(&chain);
    match CertifiedKey::from_der(chain, private, &default_provider()) {
        Ok(certified) => Some(Certificate { key: Arc::new(certified), names, digest }),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            cx.error(
                key.at,
                "a key that does not belong to the certificate",
                "the key that its certificate was made for",
            )
            .hint("in the file of the chain, the certificate itself stands first");
            None
        }
        Err(error) => {
            cx.error(key.at, format!("a key that cannot be used: {error}"), "an RSA, ECDSA or Ed25519 key");
            None
        }
    }
}

/// A certificate that an application proves itself with. Its names mean nothing, and `az` has made some of version 1, which
/// cannot be looked into here: then the identity provider is the one to say whether the key belongs to it.
pub(super) fn app_certificate(
    cx: &mut Context<'_>,
    cert: NamedFile<'_>,
    key: NamedFile<'_>,
    send_chain: bool,
) -> Option<AppCertificate> {
    let chain = chain(cx, cert);
    let private = private_key(cx, key);
    let (chain, private) = (chain?, private?);
    let digest = sha256(&[&digest_of(&chain)[..], private.secret_der()].concat());
    let signing = match default_provider().key_provider.load_private_key(private) {
        Ok(signing) => signing,
        Err(error) => {
            cx.error(key.at, format!("a key that cannot be used: {error}"), "an RSA key");
            return None;
        }
    };
    let certified = CertifiedKey::new(chain, signing);
    if !AppCertificate::can_sign(&certified) {
        cx.error(key.at, "a key that is not RSA", "an RSA key, the one kind that the identity provider takes");
        return None;
    }
    if let Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) = certified.keys_match() {
        cx.error(key.at, "a key that does not belong to the certificate", "the key that its certificate was made for");
        return None;
    }
    Some(AppCertificate { key: Arc::new(certified), digest, send_chain })
}

/// Certificates to trust, with the digest of all of them.
pub(super) fn roots(cx: &mut Context<'_>, file: NamedFile<'_>) -> Option<(Arc<RootCertStore>, [u8; 32])> {
    let certificates = chain(cx, file)?;
    let digest = digest_of(&certificates);
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates.into_iter().enumerate() {
        if let Err(error) = store.add(certificate) {
            let found = format!("a certificate, number {} of the file, that cannot be trusted: {error}", index + 1);
            cx.error(file.at, found, "certificates of authorities");
            return None;
        }
    }
    Some((Arc::new(store), digest))
}

/// The certificates of a PEM file, at least one.
fn chain(cx: &mut Context<'_>, file: NamedFile<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let pem = cx.read(file.at, file.written)?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if !chain.is_empty() => Some(chain),
        // What the PEM reader says can quote the file, and the file may be a key.
        Ok(_) | Err(_) => {
            let fault = cx.error(file.at, "a file without a certificate in PEM form", "`-----BEGIN CERTIFICATE-----`");
            fault.hint(if contains(&pem, "PRIVATE KEY-----") {
                "this is a private key: are the two exchanged?"
            } else {
                "`openssl x509 -inform der -in FILE` turns DER into PEM"
            });
            None
        }
    }
}

/// Lists of revoked certificates, at least one.
pub(super) fn revocation_lists(
    cx: &mut Context<'_>,
    file: NamedFile<'_>,
) -> Vec<CertificateRevocationListDer<'static>> {
    let Some(pem) = cx.read(file.at, file.written) else { return Vec::new() };
    let lists = CertificateRevocationListDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let Ok(lists) =
        lists.map_err(|_may_quote_the_file| ()).and_then(|lists| if lists.is_empty() { Err(()) } else { Ok(lists) })
    else {
        cx.error(file.at, "a file without a list of revoked certificates in PEM form", "`-----BEGIN X509 CRL-----`")
            .hint("`openssl crl -inform der -in FILE` turns DER into PEM");
        return Vec::new();
    };
    for (index, list) in lists.iter().enumerate() {
        if let Err(error) = webpki::BorrowedCertRevocationList::from_der(list) {
            let found = format!("a list, number {} of the file, that cannot be read: {error}", index + 1);
            cx.error(file.at, found, "lists of RFC 5280, version 2");
        }
    }
    lists
}

fn private_key(cx: &mut Context<'_>, file: NamedFile<'_>) -> Option<PrivateKeyDer<'static>> {
    let pem = cx.read(file.at, file.written)?;
    if contains(&pem, "BEGIN ENCRYPTED PRIVATE KEY") || contains(&pem, "Proc-Type: 4,ENCRYPTED") {
        cx.error(file.at, "an encrypted key", "a key that is not encrypted").hint(
            "`openssl pkey -in FILE -out NEWFILE` removes the password; keep the result readable by scoregate alone",
        );
        return None;
    }
    PrivateKeyDer::from_pem_slice(&pem)
        .inspect_err(|_may_quote_the_key| {
            let fault = cx.error(file.at, "a file without a private key in PEM form", "`-----BEGIN PRIVATE KEY-----`");
            fault.hint(if contains(&pem, "BEGIN CERTIFICATE") {
                "this is a certificate: are the two exchanged?"
            } else {
                "`openssl pkey -inform der -in FILE` turns DER into PEM"
            });
        })
        .ok()
}

/// The DNS names of a certificate, lower case.
fn names(cx: &mut Context<'_>, leaf: &CertificateDer<'_>, at: &KeyPath) -> Option<Vec<String>> {
    match EndEntityCert::try_from(leaf) {
        Ok(leaf) => Some(leaf.valid_dns_names().map(str::to_ascii_lowercase).collect()),
        Err(error) => {
            cx.error(at, format!("a certificate that cannot be read: {error}"), "an X.509 certificate, version 3");
            None
        }
    }
}

/// Of all of them in their order.
fn digest_of(chain: &[CertificateDer<'_>]) -> [u8; 32] {
    sha256(&chain.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>().concat())
}

fn contains(pem: &[u8], text: &str) -> bool {
    pem.windows(text.len()).any(|window| window == text.as_bytes())
}
