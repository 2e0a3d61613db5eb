//! Methods and header fields.

use http::{HeaderName, Method};

use super::{Complaint, Syntax};

impl Syntax for Method {
    const FORMAT: &'static str = "method";
    const EXPECTED: &'static str = "an HTTP method such as `POST`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match Self::from_bytes(text.as_bytes()) {
            Ok(Self::CONNECT | Self::TRACE) => Err(Complaint::hint(format!("{text} is never forwarded"))),
            Ok(_) if text.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                Err(Complaint::hint(format!("methods are case-sensitive; write `{}`", text.to_ascii_uppercase())))
            }
            Ok(method) => Ok(method),
            Err(_) => Err(Complaint::default()),
        }
    }
}

/// Fields that belong to one connection or frame a message (RFC 9110, 7.6.1; RFC 9112, 6).
const OF_THE_CONNECTION: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that every proxy on the way writes.
const OF_PROXIES: &[&str] = &[
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// Fields in which callers or upstreams look for credentials.
const OF_CREDENTIALS: &[&str] = &["api-key", "authorization", "cookie", "proxy-authorization", "x-api-key"];

/// A field that may carry an endpoint's credential: lower case.
pub(crate) struct AttachHeader(pub(crate) String);

impl Syntax for AttachHeader {
    const FORMAT: &'static str = "attach-header";
    const EXPECTED: &'static str = "the name of a header field that can carry a credential";

    fn parse(text: &str) -> Result<Self, Complaint> {
        field(text, &[OF_THE_CONNECTION, OF_PROXIES]).map(Self)
    }
}

/// A field that carries neither a credential nor anything that messages are framed or routed by: lower case.
pub(crate) struct PlainHeader(pub(crate) String);

impl Syntax for PlainHeader {
    const FORMAT: &'static str = "plain-header";
    const EXPECTED: &'static str = "the name of a header field of no other use";

    fn parse(text: &str) -> Result<Self, Complaint> {
        field(text, &[OF_THE_CONNECTION, OF_PROXIES, OF_CREDENTIALS]).map(Self)
    }
}

fn field(text: &str, refused: &[&[&str]]) -> Result<String, Complaint> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_not_a_token| Complaint::default())?;
    if refused.iter().any(|group| group.contains(&name.as_str())) {
        return Err(Complaint::hint(format!("`{name}` has a meaning of its own")));
    }
    Ok(name.as_str().to_owned())
}

/// What stands before a credential in its field, such as `Bearer `; may be empty.
pub(crate) struct AttachPrefix(pub(crate) String);

impl Syntax for AttachPrefix {
    const FORMAT: &'static str = "attach-prefix";
    const EXPECTED: &'static str = "visible ASCII and spaces, no space first";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let visible = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if visible && !text.starts_with(' ') { Ok(Self(text.to_owned())) } else { Err(Complaint::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        assert_eq!(<Method as Syntax>::parse("POST").unwrap(), Method::POST);
        for wrong in ["CONNECT", "TRACE", "post", "", "A B"] {
            assert!(<Method as Syntax>::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_with_a_meaning_of_their_own_are_refused() {
        assert_eq!(AttachHeader::parse("X-Api-Key").map(|name| name.0).unwrap(), "x-api-key");
        assert!(AttachHeader::parse("Host").is_err());
        assert_eq!(PlainHeader::parse("X-Auth-Subject").map(|name| name.0).unwrap(), "x-auth-subject");
        for wrong in ["authorization", "transfer-encoding", "x-forwarded-for", "a b", ""] {
            assert!(PlainHeader::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prefixes_are_visible() {
        assert!(AttachPrefix::parse("").is_ok());
        assert!(AttachPrefix::parse("Bearer ").is_ok());
        assert!(AttachPrefix::parse(" Bearer").is_err());
        assert!(AttachPrefix::parse("Bearer\t").is_err());
    }
}
