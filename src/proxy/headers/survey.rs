//! One look at every field of a head, so that nobody after it has to search the map.
//!
//! Called once per request by `pipeline`; `decide` and `forward` read the result. A search in a header map costs a hash and a
//! probe; there are some twenty questions to ask of a head, and six fields in it.

use http::{HeaderMap, HeaderValue};

use super::strip;
use crate::proxy::reject::Reject;

/// A field that may stand in a head once.
#[derive(Debug, Clone, Copy, Default)]
pub struct One<'h> {
    value: Option<&'h HeaderValue>,
    more: bool,
}

impl<'h> One<'h> {
    pub(super) fn add(&mut self, value: &'h HeaderValue) {
        if self.value.is_some() {
            self.more = true;
        } else {
            self.value = Some(value);
        }
    }

    /// The value, where there is exactly one or none.
    ///
    /// # Errors
    /// `otherwise` where there are several.
    pub fn single(self, otherwise: Reject) -> Result<Option<&'h HeaderValue>, Reject> {
        if self.more { Err(otherwise) } else { Ok(self.value) }
    }

    /// The first value.
    #[must_use]
    pub const fn first(self) -> Option<&'h HeaderValue> {
        self.value
    }

    /// Whether there are several.
    #[must_use]
    pub const fn is_repeated(self) -> bool {
        self.more
    }
}

/// What stands in a request's head.
#[derive(Debug, Default)]
pub struct Survey<'h> {
    /// `host`
    pub host: One<'h>,
    /// `content-length`
    pub content_length: One<'h>,
    /// `transfer-encoding`
    pub transfer_encoding: One<'h>,
    /// `authorization`
    pub authorization: One<'h>,
    /// `x-api-key`
    pub x_api_key: One<'h>,
    /// `api-key`
    pub api_key: One<'h>,
    /// `x-request-id`
    pub request_id: One<'h>,
    /// `content-type`
    pub content_type: One<'h>,
    /// `expect`
    pub expect: One<'h>,
    /// `cookie`
    pub cookie: One<'h>,
    /// What is there of the rest that forwarding changes.
    pub present: Present,
    /// A name has an underscore or a dot.
    pub ambiguous_name: bool,
}

/// Which of the fields that forwarding changes are there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Present {
    /// Bits of [`strip`].
    pub strip: u32,
    /// `forwarded`, `x-real-ip` or any `x-forwarded-…`
    pub forwarded: bool,
    /// `x-ms-client-request-id`, `x-ms-request-id` or `traceparent`
    pub trace: bool,
}

impl<'h> Survey<'h> {
    /// Looks at every field once.
    #[must_use]
    pub fn of(headers: &'h HeaderMap) -> Self {
        let mut survey = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            match name {
                "host" => survey.host.add(value),
                "content-length" => survey.content_length.add(value),
                "content-type" => survey.content_type.add(value),
                "authorization" => survey.authorization.add(value),
                "user-agent" | "accept" | "accept-encoding" => {}
                "x-api-key" => survey.x_api_key.add(value),
                "api-key" => survey.api_key.add(value),
                "x-request-id" => survey.request_id.add(value),
                "transfer-encoding" => survey.transfer_encoding.add(value),
                "expect" => survey.expect.add(value),
                "cookie" => survey.cookie.add(value),
                "forwarded" | "x-forwarded-for" | "x-real-ip" => survey.present.forwarded = true,
                "x-ms-client-request-id" | "x-ms-request-id" | "traceparent" => survey.present.trace = true,
                // CGI-like servers read `x_auth` and `x.auth` as `x-auth`: a way around the removal of identity headers.
                _ if name.starts_with("x-forwarded-") => survey.present.forwarded = true,
                _ => survey.ambiguous_name |= name.bytes().any(|b| b == b'_' || b == b'.'),
            }
            survey.present.strip |= strip::request_bit(name);
        }
        survey
    }

    /// Whether it is gRPC.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.content_type.first().is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
    }

    /// Whether the caller waits for a 100 before it sends its body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expect.first().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    }
}
