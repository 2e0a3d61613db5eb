//! Field names and framing that must not be forwarded, in either direction (RFC 9110 section 5.1, RFC 9112 section 6).
//!
//! The message has been parsed by now; what the grammar lets through and another server might read differently is refused here.
//! Framing towards the next hop is then made anew from the body itself.

use http::Version;

use super::survey::{One, Survey};
use crate::proxy::{http1::chunked::Decoder, reject::Reject};

/// Checks the framing of a request, and gives the length of its body, where it is known.
///
/// # Errors
/// `bad_request` naming the rule.
pub fn check_request(version: Version, survey: &Survey<'_>) -> Result<Option<u64>, Reject> {
    if survey.ambiguous_name {
        return Err(Reject::BadRequest("header names must not contain underscores or dots"));
    }
    if let Some(coding) = survey.transfer_encoding.first() {
        if version != Version::HTTP_11 {
            return Err(Reject::BadRequest("transfer-encoding is for HTTP/1.1 alone"));
        }
        if survey.transfer_encoding.is_repeated() || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Reject::BadRequest("the only transfer coding understood is exactly one 'chunked'"));
        }
        if survey.content_length.first().is_some() {
            return Err(Reject::BadRequest("the request has both content-length and transfer-encoding"));
        }
    }
    let length = survey.content_length.single(Reject::BadRequest("the request has more than one content-length"))?;
    length
        .map(|value| plain_number(value).ok_or(Reject::BadRequest("the content-length is not a plain number")))
        .transpose()
}

/// How the body of a request over HTTP/1 ends (RFC 9112 section 6.3). A request whose framing is refused has one that never ends:
/// nothing after it on the connection can be a head.
#[must_use]
pub fn body_of_request(version: Version, survey: &Survey<'_>) -> Decoder {
    match (survey.transfer_encoding.first(), survey.content_length.first()) {
        (None, None) => Decoder::Done,
        (None, Some(digits)) if !survey.content_length.is_repeated() => match plain_number(digits) {
            Some(0) => Decoder::Done,
            Some(length) => Decoder::Length(length),
            None => Decoder::UntilClose,
        },
        (Some(_), None) if check_request(version, survey).is_ok() => Decoder::chunked(),
        _ => Decoder::UntilClose,
    }
}

/// Whether the framing of a response is one that can be passed on as something complete.
#[must_use]
pub fn response_is_sound(codings: One<'_>, lengths: One<'_>) -> bool {
    // Both at once may be an attempt to have two readers see two answers (RFC 9112 section 6.3).
    let one_at_most = codings.first().is_none() || lengths.first().is_none();
    let coding_ok = codings.first().is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let length_ok = lengths.first().is_none_or(|length| plain_number(length).is_some());
    one_at_most && coding_ok && length_ok && !codings.is_repeated() && !lengths.is_repeated()
}

/// A number of digits and nothing else.
#[must_use]
pub fn plain_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::proxy::{head::Fields, headers::survey::ResponseSurvey};

    fn headers(fields: &[(&'static str, &'static str)]) -> Fields {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map.into()
    }

    fn check(version: Version, fields: &[(&'static str, &'static str)]) -> bool {
        check_request(version, &Survey::of(&headers(fields))).is_ok()
    }

    fn response_is_sound(fields: &[(&'static str, &'static str)]) -> bool {
        let headers = headers(fields);
        let survey = ResponseSurvey::of(&headers);
        super::response_is_sound(survey.transfer_encoding, survey.content_length)
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
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
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
    fn a_body_whose_framing_is_refused_never_ends() {
        let body = |version, fields: &[(&'static str, &'static str)]| {
            let fields = headers(fields);
            body_of_request(version, &Survey::of(&fields))
        };
        assert_eq!(body(Version::HTTP_11, &[("transfer-encoding", "chunked")]), Decoder::chunked());
        assert_eq!(body(Version::HTTP_10, &[("transfer-encoding", "chunked")]), Decoder::UntilClose);
        for coding in ["chunkedx", "gzip, chunked", "chunked, gzip", "\"chunked\"", "chunked;q=1", ""] {
            assert_eq!(body(Version::HTTP_11, &[("transfer-encoding", coding)]), Decoder::UntilClose, "{coding}");
        }
        assert_eq!(body(Version::HTTP_11, &[("content-length", "+1")]), Decoder::UntilClose);
        assert_eq!(body(Version::HTTP_11, &[]), Decoder::Done);
    }

    #[test]
    fn responses_with_other_codings_are_unsound() {
        assert!(response_is_sound(&[("transfer-encoding", "chunked")]));
        assert!(response_is_sound(&[("content-length", "3")]));
        assert!(!response_is_sound(&[("transfer-encoding", "foo, chunked")]));
        assert!(!response_is_sound(&[("content-length", "3, 4")]));
        assert!(!response_is_sound(&[("content-length", "3"), ("content-length", "3")]));
        assert!(!response_is_sound(&[("content-length", "3"), ("transfer-encoding", "chunked")]));
    }
}
