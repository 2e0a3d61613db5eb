//! The opening handshake of a WebSocket, and what becomes of it between HTTP/1.1 (RFC 6455 section 4) and HTTP/2 (RFC 8441).

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Method, Version};

use super::survey::Survey;
use crate::proxy::head::RequestHead;

/// What is hashed with the key (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a request asks its connection or stream to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What it is.
    Nothing,
    /// A WebSocket.
    WebSocket,
    /// A tunnel of another kind (CONNECT). An `upgrade` to anything else over HTTP/1.1 is none: a server may pass over it (RFC 9110
    /// section 7.8).
    Tunnel,
}

/// Reads what a request asks for.
#[must_use]
pub fn wanted(head: &RequestHead, survey: &Survey<'_>) -> Wanted {
    if head.method == Method::CONNECT {
        return if head.extended_connect { Wanted::WebSocket } else { Wanted::Tunnel };
    }
    let Some(protocol) = survey.upgrade.first() else { return Wanted::Nothing };
    let asks = head.version == Version::HTTP_11
        && !survey.upgrade.is_repeated()
        && protocol.eq_ignore_ascii_case(b"websocket")
        && head.fields.connection().upgrade;
    if asks { Wanted::WebSocket } else { Wanted::Nothing }
}

/// A key for a handshake of our own: 16 random bytes (RFC 6455 section 4.1).
#[must_use]
pub fn key(random: [u64; 2]) -> String {
    STANDARD.encode([random[0].to_ne_bytes(), random[1].to_ne_bytes()].concat())
}

/// What the other side shows to have understood a key (RFC 6455 section 4.2.2).
#[must_use]
pub fn accept(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::proxy::headers::outgoing::FieldSink;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key([0, 0]), "AAAAAAAAAAAAAAAAAAAAAA==");
    }

    #[test]
    fn only_a_whole_handshake_asks_for_a_websocket() {
        let of = |version, fields: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.field(name.as_bytes(), value.as_bytes());
            }
            let mut head = RequestHead::default();
            (head.version, head.fields) = (version, map.into());
            wanted(&head, &Survey::of(&head.fields))
        };
        let both = [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
        assert_eq!(of(Version::HTTP_11, &both), Wanted::WebSocket);
        assert_eq!(of(Version::HTTP_10, &both), Wanted::Nothing);
        assert_eq!(of(Version::HTTP_11, &both[..1]), Wanted::Nothing, "without `connection` it is for nobody");
        for other in ["h2c", "websocket, h2c", "websocket/13", "TLS/1.0"] {
            assert_eq!(of(Version::HTTP_11, &[("upgrade", other), ("connection", "upgrade")]), Wanted::Nothing);
        }
        let twice = [("upgrade", "websocket"), ("upgrade", "websocket"), ("connection", "upgrade")];
        assert_eq!(of(Version::HTTP_11, &twice), Wanted::Nothing);
    }
}
