//! Field names and framing that must not be forwarded, in either direction (RFC 9110 section 5.1, RFC 9112 section 6).
//!
//! hyper has parsed the message by now; what it lets through and another server might read differently is refused here.
//! Framing towards the next hop is then made anew by hyper from the body itself.

use http::{HeaderMap, HeaderValue, Version, header};

use crate::proxy::reject::Reject;

/// Checks the head of a request.
///
/// # Errors
/// `bad_request` naming the rule.
pub fn check_request(version: Version, headers: &HeaderMap) -> Result<(), Reject> {
    let mut special = false;
    for name in headers.keys() {
        // CGI-like servers read `x_auth` and `x.auth` as `x-auth`: a way around the removal of identity headers.
        if name.as_str().bytes().any(|b| b == b'_' || b == b'.') {
            return Err(Reject::BadRequest("header names must not contain underscores or dots"));
        }
        special |= *name == header::TRANSFER_ENCODING || *name == header::CONTENT_LENGTH;
    }
    if !special {
        return Ok(());
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if version != Version::HTTP_11 {
            return Err(Reject::BadRequest("transfer-encoding is for HTTP/1.1 alone"));
        }
        if !is_one_chunked(headers) {
            return Err(Reject::BadRequest("the only transfer coding understood is exactly one 'chunked'"));
        }
    }
    content_length(headers).map(|_| ())
}

/// The one content length of a head, if any.
///
/// # Errors
/// `bad_request` where there are two, or one is not a plain number.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Reject> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(Reject::BadRequest("the request has more than one content-length"));
    }
    plain_number(length).map(Some).ok_or(Reject::BadRequest("the content-length is not a plain number"))
}

/// Whether the framing of a response is one that can be passed on as something complete.
#[must_use]
pub fn response_is_sound(headers: &HeaderMap) -> bool {
    let coding_ok = !headers.contains_key(header::TRANSFER_ENCODING) || is_one_chunked(headers);
    coding_ok && content_length(headers).is_ok()
}

fn is_one_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.next().is_some_and(|c| c.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

fn plain_number(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn check(version: Version, fields: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        check_request(version, &map).is_ok()
    }

    #[test]
    fn ordinary_requests_pass() {
        assert!(check(Version::HTTP_11, &[("content-length", "5"), ("x-trace", "1")]));
        assert!(check(Version::HTTP_11, &[("transfer-encoding", "Chunked")]));
        assert!(check(Version::HTTP_2, &[]));
    }

    #[test]
    fn framing_with_two_meanings_is_refused() {
        for fields in [
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")][..],
            &[("transfer-encoding", "chunked, chunked")],
            &[("transfer-encoding", ",chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "identity")],
            &[("content-length", "5"), ("content-length", "5")],
            &[("content-length", "5, 5")],
            &[("content-length", "+5")],
            &[("content-length", "")],
            &[("content-length", "99999999999999999999")],
            &[("transfer_encoding", "chunked")],
            &[("x_auth", "me")],
            &[("x.auth", "me")],
        ] {
            assert!(!check(Version::HTTP_11, fields), "{fields:?}");
        }
        assert!(!check(Version::HTTP_10, &[("transfer-encoding", "chunked")]));
        assert!(!check(Version::HTTP_2, &[("transfer-encoding", "chunked")]));
    }

    #[test]
    fn responses_with_other_codings_are_unsound() {
        assert!(response_is_sound(&headers(&[("transfer-encoding", "chunked")])));
        assert!(response_is_sound(&headers(&[("content-length", "3")])));
        assert!(!response_is_sound(&headers(&[("transfer-encoding", "foo, chunked")])));
        assert!(!response_is_sound(&headers(&[("content-length", "3, 4")])));
    }
}
