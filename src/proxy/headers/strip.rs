//! Fields that end at this hop, and fields that a caller has no right to send on (RFC 9110 section 7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::survey::One;

/// Removed from every request: hop-by-hop fields, credentials, and framing that hyper makes anew.
/// The order is that of the bits in [`request_bit`].
static REQUEST: [HeaderName; 13] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("http2-settings"),
    header::EXPECT,
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// The bit of `authorization`.
pub const AUTHORIZATION: u32 = 1 << 10;

/// The bit of a field that is removed from requests; 0 for any other.
#[must_use]
pub fn request_bit(name: &str) -> u32 {
    match name {
        "connection" => 1,
        "keep-alive" => 1 << 1,
        "proxy-connection" => 1 << 2,
        "transfer-encoding" => 1 << 3,
        "upgrade" => 1 << 4,
        "te" => 1 << 5,
        "trailer" => 1 << 6,
        "proxy-authorization" => 1 << 7,
        "http2-settings" => 1 << 8,
        "expect" => 1 << 9,
        "authorization" => AUTHORIZATION,
        "x-api-key" => 1 << 11,
        "api-key" => 1 << 12,
        _ => 0,
    }
}

/// Removed from every response.
static RESPONSE: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
];

fn response_bit(name: &str) -> u32 {
    match name {
        "connection" => 1,
        "keep-alive" => 1 << 1,
        "proxy-connection" => 1 << 2,
        "transfer-encoding" => 1 << 3,
        "upgrade" => 1 << 4,
        "proxy-authenticate" => 1 << 5,
        _ => 0,
    }
}

/// Takes out of a request what must not pass. `present` are the bits of the fields that are there, `configured` the attach and
/// identity headers of the whole configuration. `te: trailers` survives, since gRPC needs it (RFC 9110 section 10.1.4).
pub fn strip_request(headers: &mut HeaderMap, present: u32, configured: &[HeaderName]) {
    let wants_trailers = present & request_bit("te") != 0 && has_token(headers, &header::TE, "trailers");
    if present & request_bit("connection") != 0 {
        remove_named_by_connection(headers);
    }
    remove(headers, &REQUEST, present);
    for name in configured {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// What stands in a response's head that matters to us.
#[derive(Debug, Default)]
pub struct ResponseSurvey<'h> {
    /// `content-length`
    pub content_length: One<'h>,
    /// `transfer-encoding`
    pub transfer_encoding: One<'h>,
    /// `x-request-id` is there.
    pub has_request_id: bool,
    /// Bits of the fields that are removed.
    pub present: u32,
}

/// Looks at every field of a response once.
#[must_use]
pub fn survey_response(headers: &HeaderMap) -> ResponseSurvey<'_> {
    let mut survey = ResponseSurvey::default();
    for (name, value) in headers {
        match name.as_str() {
            "content-length" => survey.content_length.add(value),
            "transfer-encoding" => {
                survey.transfer_encoding.add(value);
                survey.present |= response_bit("transfer-encoding");
            }
            "x-request-id" => survey.has_request_id = true,
            other => survey.present |= response_bit(other),
        }
    }
    survey
}

/// Takes out of a response what must not pass. `present` is from [`survey_response`].
pub fn strip_response(headers: &mut HeaderMap, present: u32) {
    if present & response_bit("connection") != 0 {
        remove_named_by_connection(headers);
    }
    remove(headers, &RESPONSE, present);
}

/// Joins the cookie crumbs of HTTP/2 (RFC 9113 section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (crumbs.next(), crumbs.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for crumb in headers.get_all(header::COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

fn remove(headers: &mut HeaderMap, names: &[HeaderName], mut present: u32) {
    for name in names {
        if present & 1 != 0 {
            headers.remove(name);
        }
        present >>= 1;
        if present == 0 {
            break;
        }
    }
}

/// `Connection: x-a, x-b` makes `x-a` and `x-b` hop-by-hop too. What this proxy itself sets is set afterwards, so a caller
/// cannot have it removed; framing and host are not the caller's to remove either.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        if matches!(value.as_bytes(), b"keep-alive" | b"close") {
            continue;
        }
        for token in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if token.is_empty() || token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close") {
                continue;
            }
            match HeaderName::from_bytes(token) {
                Ok(name) if name != header::CONTENT_LENGTH && name != header::HOST => named.push(name),
                _ => {}
            }
        }
    }
    for name in named {
        headers.remove(name);
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::headers::survey::Survey;

    fn strip_all(headers: &mut HeaderMap, configured: &[HeaderName]) {
        let present = Survey::of(headers).present.strip;
        strip_request(headers, present, configured);
    }

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("name"),
                HeaderValue::from_str(value).expect("value"),
            );
        }
        headers
    }

    #[test]
    fn the_bits_name_the_fields() {
        for (at, name) in REQUEST.iter().enumerate() {
            assert_eq!(request_bit(name.as_str()), 1 << at, "{name}");
        }
        for (at, name) in RESPONSE.iter().enumerate() {
            assert_eq!(response_bit(name.as_str()), 1 << at, "{name}");
        }
    }

    #[test]
    fn hop_by_hop_fields_and_credentials_end_here() {
        let mut headers = map(&[
            ("connection", "close, X-Hop, authorization, content-length, te"),
            ("x-hop", "1"),
            ("content-length", "3"),
            ("authorization", "Bearer a"),
            ("x-api-key", "a"),
            ("api-key", "a"),
            ("proxy-authorization", "a"),
            ("te", "gzip, Trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("x-auth-subject", "root"),
            ("accept", "*/*"),
        ]);
        strip_all(&mut headers, &[HeaderName::from_static("x-auth-subject")]);
        assert_eq!(headers, map(&[("content-length", "3"), ("te", "trailers"), ("accept", "*/*")]));
    }

    #[test]
    fn response_fields_of_this_hop_are_removed() {
        let mut headers =
            map(&[("connection", "x-a"), ("x-a", "1"), ("keep-alive", "5"), ("ms-azureml-model-error-reason", "x")]);
        let present = survey_response(&headers).present;
        strip_response(&mut headers, present);
        assert_eq!(headers, map(&[("ms-azureml-model-error-reason", "x")]));
    }

    #[test]
    fn cookie_crumbs_become_one_field() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; b=2; c=3")]));
    }

    proptest! {
        #[test]
        fn no_inbound_credential_leaves_and_stripping_is_idempotent(
            names in prop::collection::vec("(authorization|x-api-key|api-key|x-id|connection|te|accept|x-b)", 0..12),
            values in prop::collection::vec("[ -~]{0,20}", 12),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in names.iter().zip(&values) {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            let configured = [HeaderName::from_static("x-id")];
            strip_all(&mut headers, &configured);
            for name in ["authorization", "x-api-key", "api-key", "x-id", "connection"] {
                prop_assert!(!headers.contains_key(name));
            }
            let once = headers.clone();
            strip_all(&mut headers, &configured);
            prop_assert_eq!(headers, once);
        }
    }
}
