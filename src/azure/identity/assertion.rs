//! A statement of who an application is, signed with the key of a certificate that is registered for it (RFC 7523 section 3).
//!
//! Pure but for the signature: the time is an argument.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls::{SignatureScheme, sign::CertifiedKey};
use serde_json::json;

use super::TokenEndpoint;
use crate::{azure::http, digest::sha256, secret::Secret};

/// How long it is good for. The identity provider takes no more than ten minutes from its own clock on, so what is added before
/// now is taken off the end of nothing: a clock that is five minutes ahead or behind is still understood.
const GOOD_FOR: u64 = 600;
const GOOD_SINCE: u64 = 300;

/// A certificate of an application with its key, which is RSA: the identity provider takes no other.
#[derive(Clone)]
pub struct AppCertificate {
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
    /// SHA-256 of chain and key: equal means unchanged.
    pub digest: [u8; 32],
    /// Whether the chain is sent along, for applications that trust a subject name and issuer.
    pub send_chain: bool,
}

impl PartialEq for AppCertificate {
    fn eq(&self, other: &Self) -> bool {
        (self.digest, self.send_chain) == (other.digest, other.send_chain)
    }
}

impl Eq for AppCertificate {}

impl fmt::Debug for AppCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppCertificate({} certificates)", self.key.cert.len())
    }
}

impl AppCertificate {
    /// Whether its key can sign what the identity provider takes.
    #[must_use]
    pub fn can_sign(key: &CertifiedKey) -> bool {
        key.key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]).is_some()
    }
}

/// Who states what, when.
pub(super) struct Subject<'a> {
    pub(super) client: &'a str,
    /// The token endpoint's own URL.
    pub(super) audience: &'a str,
    pub(super) endpoint: TokenEndpoint,
    pub(super) now_unix: u64,
}

/// Signs a statement.
pub(super) fn sign(certificate: &AppCertificate, subject: &Subject<'_>) -> Result<Secret, String> {
    let leaf = certificate.key.cert.first().ok_or("there is no certificate")?;
    // What each form of the endpoint has always been given by Microsoft's own libraries.
    let (scheme, mut header) = match subject.endpoint {
        TokenEndpoint::V2 => (
            SignatureScheme::RSA_PSS_SHA256,
            json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(sha256(leaf)) }),
        ),
        TokenEndpoint::V1 => (
            SignatureScheme::RSA_PKCS1_SHA256,
            json!({ "alg": "RS256", "typ": "JWT", "x5t": URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, leaf)) }),
        ),
    };
    if certificate.send_chain
        && let Some(header) = header.as_object_mut()
    {
        let chain = certificate.key.cert.iter().map(|certificate| json!(STANDARD.encode(certificate))).collect();
        header.insert("x5c".to_owned(), serde_json::Value::Array(chain));
    }
    let claims = json!({
        "aud": subject.audience,
        "iss": subject.client,
        "sub": subject.client,
        "jti": http::correlation_id(),
        "nbf": subject.now_unix.saturating_sub(GOOD_SINCE),
        "exp": subject.now_unix + GOOD_FOR,
    });
    let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let statement = format!("{}.{}", part(&header), part(&claims));
    let signer = certificate.key.key.choose_scheme(&[scheme]).ok_or("the certificate's key is not RSA")?;
    let signature = signer.sign(statement.as_bytes()).map_err(|error| format!("the certificate's key: {error}"))?;
    Ok(Secret::new(format!("{statement}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes()))
}
