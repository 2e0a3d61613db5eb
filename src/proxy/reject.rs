//! Every failure of a request, as one closed table: code, status, whose fault it was, and what the caller may read.
//!
//! Made by `decide` and `forward`, turned into a response by `respond` alone.

use http::StatusCode;

/// Whose fault a failure was. Only the upstream's count against an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller's.
    Client,
    /// Ours, or our configuration's.
    Proxy,
    /// The upstream's.
    Upstream,
}

/// Why a request was not answered by its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reject {
    /// The head or body breaks a rule of HTTP, or cannot be forwarded with one meaning. Says which.
    BadRequest(&'static str),
    /// Two credentials, or one in two places.
    AmbiguousCredentials,
    /// CONNECT, or an upgrade that the route does not allow.
    UpgradeRefused,
    /// No credential, or one that nobody has.
    CallerUnknown,
    /// A credential past its time.
    CallerExpired,
    /// A known caller that this route does not serve.
    CallerForbidden,
    /// A route with `deny: true`.
    RouteDenied,
    /// Nothing is configured for this host and path.
    NoRoute,
    /// The path is known, the method is not allowed there.
    MethodNotAllowed,
    /// Too many requests in a time, or in flight.
    RateLimited,
    /// Too many requests today.
    QuotaExceeded,
    /// OPTIONS that says it goes no further: no failure, but answered by us.
    LastHop,
    /// The caller sent its body too slowly or not at all.
    RequestTimeout,
    /// The body is larger than the route allows.
    RequestTooLarge,
    /// The listener does not serve this host.
    Misdirected,
    /// The head is larger, or has more fields, than the limits allow.
    RequestHeadTooLarge,
    /// No connection to any upstream could be made.
    UpstreamUnreachable,
    /// The upstream broke off, or spoke something that is not HTTP.
    UpstreamProtocolError,
    /// Too many requests in flight, too many waiting, or too little memory.
    Overloaded,
    /// The endpoint has no credential to attach.
    CredentialUnavailable,
    /// The service refuses our credential, and there is no other.
    UpstreamCredentialRejected,
    /// This process is shutting down.
    Draining,
    /// The upstream took longer than the route allows.
    UpstreamTimeout,
}

impl Reject {
    /// The stable code of `interface.md`: label of metrics, `error.code` of the body.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::AmbiguousCredentials => "ambiguous_credentials",
            Self::UpgradeRefused => "upgrade_refused",
            Self::CallerUnknown => "caller_unknown",
            Self::CallerExpired => "caller_expired",
            Self::CallerForbidden => "caller_forbidden",
            Self::RouteDenied => "route_denied",
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::LastHop => "last_hop",
            Self::RequestTimeout => "request_timeout",
            Self::RequestTooLarge => "request_too_large",
            Self::Misdirected => "misdirected",
            Self::RequestHeadTooLarge => "request_head_too_large",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamProtocolError => "upstream_protocol_error",
            Self::Overloaded => "overloaded",
            Self::CredentialUnavailable => "credential_unavailable",
            Self::UpstreamCredentialRejected => "upstream_credential_rejected",
            Self::Draining => "draining",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::AmbiguousCredentials | Self::UpgradeRefused => StatusCode::BAD_REQUEST,
            Self::CallerUnknown | Self::CallerExpired => StatusCode::UNAUTHORIZED,
            Self::CallerForbidden | Self::RouteDenied => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RateLimited | Self::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::LastHop => StatusCode::NO_CONTENT,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::RequestHeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UpstreamUnreachable | Self::UpstreamProtocolError => StatusCode::BAD_GATEWAY,
            Self::Overloaded | Self::CredentialUnavailable | Self::UpstreamCredentialRejected | Self::Draining => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whose fault it was.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::UpstreamUnreachable | Self::UpstreamProtocolError | Self::UpstreamTimeout => Blame::Upstream,
            Self::Overloaded | Self::CredentialUnavailable | Self::UpstreamCredentialRejected | Self::Draining => {
                Blame::Proxy
            }
            _ => Blame::Client,
        }
    }

    /// One sentence for the caller: what happened and what to do. Never names an upstream, a key or a configuration.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::BadRequest(what) => what,
            Self::AmbiguousCredentials => "the request carries more than one credential; send exactly one",
            Self::UpgradeRefused => "this route does not allow CONNECT or protocol upgrades",
            Self::CallerUnknown => "no valid credential was presented; send your key as 'Authorization: Bearer KEY'",
            Self::CallerExpired => "the presented credential has expired; ask for a new one",
            Self::CallerForbidden => "this caller may not use this route",
            Self::RouteDenied => "access to this path is denied",
            Self::NoRoute => "nothing is served at this host and path",
            Self::MethodNotAllowed => "this method is not allowed here; the allow header lists those that are",
            Self::RateLimited => "too many requests; retry-after says when to try again",
            Self::QuotaExceeded => "the requests of this day are used up; retry-after says when the next one begins",
            Self::LastHop => "the request says that it goes no further",
            Self::RequestTimeout => "the request body did not arrive in time",
            Self::RequestTooLarge => "the request body is larger than this route allows",
            Self::Misdirected => "this listener does not serve the requested host",
            Self::RequestHeadTooLarge => "the request head is too large or has too many fields",
            Self::UpstreamUnreachable => "the scoring service could not be reached; try again",
            Self::UpstreamProtocolError => "the scoring service broke off or gave an answer that is not valid HTTP",
            Self::Overloaded => "too many requests are in flight; try again shortly",
            Self::UpstreamCredentialRejected => {
                "the scoring service does not accept this proxy's credential at present; try again shortly"
            }
            Self::CredentialUnavailable => "no credential for the scoring service is available now; try again shortly",
            Self::Draining => "this instance is shutting down; try again",
            Self::UpstreamTimeout => "the scoring service did not answer in time",
        }
    }

    /// Seconds for `Retry-After`, where trying again makes sense and nobody knows better.
    #[must_use]
    pub const fn retry_after(self) -> Option<u32> {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        }
    }

    /// Whether the answer carries `WWW-Authenticate` (RFC 9110 section 11.6.1).
    #[must_use]
    pub const fn challenges(self) -> bool {
        matches!(self, Self::CallerUnknown | Self::CallerExpired)
    }

    /// gRPC's own word for it (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
    #[must_use]
    pub const fn grpc_status(self) -> u8 {
        match self {
            Self::BadRequest(_) | Self::AmbiguousCredentials | Self::UpgradeRefused | Self::Misdirected => 3,
            Self::RequestTimeout | Self::UpstreamTimeout => 4,
            Self::NoRoute | Self::MethodNotAllowed | Self::LastHop => 12,
            Self::CallerForbidden | Self::RouteDenied => 7,
            Self::RequestTooLarge | Self::RequestHeadTooLarge | Self::RateLimited | Self::QuotaExceeded => 8,
            Self::CallerUnknown | Self::CallerExpired => 16,
            Self::UpstreamUnreachable
            | Self::UpstreamProtocolError
            | Self::Overloaded
            | Self::CredentialUnavailable
            | Self::UpstreamCredentialRejected
            | Self::Draining => 14,
        }
    }

    /// Every variant, for tables of metrics and tests.
    pub const ALL: [Self; 23] = [
        Self::BadRequest("the request is malformed"),
        Self::AmbiguousCredentials,
        Self::UpgradeRefused,
        Self::CallerUnknown,
        Self::CallerExpired,
        Self::CallerForbidden,
        Self::RouteDenied,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::LastHop,
        Self::RequestTimeout,
        Self::RequestTooLarge,
        Self::Misdirected,
        Self::RequestHeadTooLarge,
        Self::UpstreamUnreachable,
        Self::UpstreamProtocolError,
        Self::Overloaded,
        Self::CredentialUnavailable,
        Self::UpstreamCredentialRejected,
        Self::Draining,
        Self::UpstreamTimeout,
    ];
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_statuses_pinned() {
        let codes: HashSet<_> = Reject::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reject::ALL.len());
        let table: Vec<String> = Reject::ALL.iter().map(|r| format!("{} {}", r.code(), r.status().as_u16())).collect();
        assert_eq!(
            table.join("\n"),
            "bad_request 400\nambiguous_credentials 400\nupgrade_refused 400\ncaller_unknown 401\ncaller_expired 401\n\
             caller_forbidden 403\nroute_denied 403\nno_route 404\nmethod_not_allowed 405\nrate_limited 429\nquota_exceeded 429\nlast_hop 204\nrequest_timeout 408\n\
             request_too_large 413\nmisdirected 421\nrequest_head_too_large 431\nupstream_unreachable 502\n\
             upstream_protocol_error 502\noverloaded 503\ncredential_unavailable 503\n\
             upstream_credential_rejected 503\ndraining 503\nupstream_timeout 504"
        );
    }

    #[test]
    fn messages_need_no_escaping_in_json_and_a_503_says_when_to_retry() {
        for reject in Reject::ALL {
            assert!(
                reject.message().bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\'),
                "{reject:?}"
            );
            assert_eq!(reject.retry_after().is_some(), reject.status() == StatusCode::SERVICE_UNAVAILABLE);
            let clients = reject.status().is_client_error() || reject == Reject::LastHop;
            assert_eq!(clients, reject.blame() == Blame::Client, "{reject:?}");
        }
    }
}
