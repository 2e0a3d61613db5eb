//! What a connection has shown of its caller: `decide` judges each request by it, and by the snapshot of that moment.

use std::cell::OnceCell;

use super::auth::{DigestMemo, certificate::PeerCertificate};

/// What a connection has shown.
#[derive(Debug, Default)]
pub struct Peer {
    /// The digest of the key or token it showed last.
    pub memo: DigestMemo,
    /// The name its TLS handshake asked for (SNI, RFC 6066 section 3), if it asked for one.
    pub server_name: OnceCell<Box<str>>,
    /// The certificate that it showed with its handshake, if it did.
    pub certificate: OnceCell<Box<PeerCertificate>>,
}
