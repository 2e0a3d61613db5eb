//! The one place that builds an answer of our own.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    answer::Answer, body::ResponseBody, exchange::Watched, head::ResponseHead, headers::trace::RequestId,
    limit::Limited, reject::Reject,
};

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What an answer depends on beside its [`Reject`].
#[derive(Debug)]
pub struct Manner {
    /// Answer as gRPC clients expect: trailers only.
    pub grpc: bool,
    /// The request is HEAD: the answer has no body (RFC 9110 section 9.3.2).
    pub is_head: bool,
    /// Value of `allow`, for a 405.
    pub allow: Option<HeaderValue>,
    /// The limit that refused, for a 429.
    pub limited: Option<Limited>,
}

/// Answers a request that failed.
pub fn respond(reject: Reject, manner: Manner, exchange: Watched) -> Answer {
    let record = &exchange.0.record;
    record.reject.set(Some(reject));
    let status = if manner.grpc { StatusCode::OK } else { reject.status() };
    record.status.set(status.as_u16());
    exchange.0.head_sent(exchange.0.worker.coarse_now());
    let bodiless = manner.grpc || manner.is_head || status == StatusCode::NO_CONTENT;
    let body = if bodiless { Bytes::new() } else { json(reject, &exchange.0.request_id) };
    let mut headers = HeaderMap::new();
    headers.insert(header::SERVER, HeaderValue::from_static("scoregate"));
    if manner.grpc {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(reject.grpc_status())));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(reject.message()));
    } else if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(seconds) = reject.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(limited) = manner.limited {
        tell_limit(&mut headers, limited);
    }
    if reject.challenges() {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"scoregate\""));
    }
    if let Some(allow) = manner.allow {
        headers.insert(header::ALLOW, allow);
    }
    Answer {
        head: Box::new(ResponseHead { status, fields: headers.into() }),
        body: ResponseBody::full(exchange, body),
        is_ours: true,
    }
}

/// `Retry-After`, and which limit it was (draft-ietf-httpapi-ratelimit-headers-10 sections 3 and 4): nothing is left of it.
fn tell_limit(headers: &mut HeaderMap, limited: Limited) {
    let Limited { kind, most, window, wait } = limited;
    let name = kind.label();
    let window = window.map_or_else(|| ";qu=\"concurrent-requests\"".to_owned(), |seconds| format!(";w={seconds}"));
    let policy = format!("\"{name}\";q={most}{window}");
    let left = format!("\"{name}\";r=0;t={wait}");
    headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
    for (field, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(field, value);
        }
    }
}

/// `{"error":{"code","message","request_id"}}`. Codes and messages need no escaping (a test sees to it), ids are visible ASCII.
fn json(reject: Reject, request_id: &RequestId) -> Bytes {
    let mut body = Vec::with_capacity(256);
    for part in [r#"{"error":{"code":""#, reject.code(), r#"","message":""#, reject.message(), r#"","request_id":""#] {
        body.extend_from_slice(part.as_bytes());
    }
    for byte in request_id.as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            body.push(b'\\');
        }
        body.push(*byte);
    }
    body.extend_from_slice(b"\"}}\n");
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{
        head::Fields,
        headers::{survey::Survey, trace},
    };

    #[test]
    fn every_body_is_json_whatever_the_request_id() {
        for id in ["abc", "a\"b\\c"] {
            let fields: HeaderMap =
                [(HeaderName::from_static("x-request-id"), HeaderValue::from_str(id).unwrap())].into_iter().collect();
            let id_of = trace::request_id(Survey::of(&Fields::from(fields)).request_id, || 0);
            let body: serde_json::Value =
                serde_json::from_slice(&json(Reject::CallerUnknown, &id_of)).expect("valid JSON");
            assert_eq!(body["error"]["code"], "caller_unknown");
            assert_eq!(body["error"]["request_id"].as_str(), Some(id));
        }
    }
}
