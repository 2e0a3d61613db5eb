//! One look at every field of a head, so that nobody after it has to search.
//!
//! Called once per request by `pipeline`; `decide` and `forward` read the result.

use super::known::Known;
use crate::proxy::{head::Fields, reject::Reject};

/// A field that may stand in a head once.
#[derive(Debug, Clone, Copy, Default)]
pub struct One<'h> {
    value: Option<&'h [u8]>,
    more: bool,
}

impl<'h> One<'h> {
    const fn add(&mut self, value: &'h [u8]) {
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
    pub fn single(self, otherwise: Reject) -> Result<Option<&'h [u8]>, Reject> {
        if self.more { Err(otherwise) } else { Ok(self.value) }
    }

    /// The first value.
    #[must_use]
    pub const fn first(self) -> Option<&'h [u8]> {
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
    /// `upgrade`
    pub upgrade: One<'h>,
    /// `max-forwards`
    pub max_forwards: One<'h>,
    /// `sec-websocket-key`
    pub websocket_key: One<'h>,
    /// `te: trailers`
    pub takes_trailers: bool,
    /// `forwarded`
    pub forwarded: One<'h>,
    /// `x-forwarded-for`
    pub forwarded_for: One<'h>,
    /// `x-forwarded-proto` is there.
    pub forwarded_proto: bool,
    /// `x-forwarded-host` is there.
    pub forwarded_host: bool,
    /// `traceparent`
    pub traceparent: One<'h>,
    /// A name has an underscore or a dot.
    pub ambiguous_name: bool,
}

impl<'h> Survey<'h> {
    /// Looks at every field once.
    #[must_use]
    pub fn of(fields: &'h Fields) -> Self {
        let mut survey = Self::default();
        for (known, name, value) in fields.known() {
            match known {
                Known::Host => survey.host.add(value),
                Known::ContentLength => survey.content_length.add(value),
                Known::ContentType => survey.content_type.add(value),
                Known::Authorization => survey.authorization.add(value),
                Known::XApiKey => survey.x_api_key.add(value),
                Known::ApiKey => survey.api_key.add(value),
                Known::RequestId => survey.request_id.add(value),
                Known::TransferEncoding => survey.transfer_encoding.add(value),
                Known::Upgrade => survey.upgrade.add(value),
                Known::WebSocketKey => survey.websocket_key.add(value),
                Known::MaxForwards => survey.max_forwards.add(value),
                Known::Expect => survey.expect.add(value),
                Known::Cookie => survey.cookie.add(value),
                Known::Te => survey.takes_trailers |= tokens(value).any(|item| item.eq_ignore_ascii_case(b"trailers")),
                Known::Forwarded => survey.forwarded.add(value),
                Known::ForwardedFor => survey.forwarded_for.add(value),
                Known::ForwardedProto => survey.forwarded_proto = true,
                Known::ForwardedHost => survey.forwarded_host = true,
                Known::TraceParent => survey.traceparent.add(value),
                Known::Connection
                | Known::OtherId
                | Known::Claim
                | Known::Date
                | Known::Hop
                | Known::RequestHop
                | Known::ResponseHop => {}
                // CGI-like servers read `x_auth` and `x.auth` as `x-auth`: a way around the removal of identity headers.
                Known::Other => survey.ambiguous_name |= name.iter().any(|b| matches!(b, b'_' | b'.')),
            }
        }
        survey
    }

    /// Whether it is gRPC.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.content_type.first().is_some_and(|value| value.starts_with(b"application/grpc"))
    }

    /// Whether the caller waits for a 100 before it sends its body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expect.first().is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }
}

/// What stands in an answer's head that matters to us.
#[derive(Debug, Default)]
pub struct ResponseSurvey<'h> {
    /// `content-length`
    pub content_length: One<'h>,
    /// `transfer-encoding`
    pub transfer_encoding: One<'h>,
    /// `upgrade`
    pub upgrade: One<'h>,
    /// `sec-websocket-accept`
    pub websocket_accept: One<'h>,
}

impl<'h> ResponseSurvey<'h> {
    /// Looks at every field once.
    #[must_use]
    pub fn of(fields: &'h Fields) -> Self {
        let mut survey = Self::default();
        for (known, _, value) in fields.known() {
            match known {
                Known::ContentLength => survey.content_length.add(value),
                Known::TransferEncoding => survey.transfer_encoding.add(value),
                Known::Upgrade => survey.upgrade.add(value),
                Known::WebSocketKey => survey.websocket_accept.add(value),
                _ => {}
            }
        }
        survey
    }
}

/// The items of a list (RFC 9110 section 5.6.1).
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}
