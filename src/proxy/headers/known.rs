//! Names that mean something to this proxy, told apart in one look.

/// What a field is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// `host`
    Host,
    /// `content-length`
    ContentLength,
    /// `content-type`
    ContentType,
    /// `transfer-encoding`
    TransferEncoding,
    /// `connection`
    Connection,
    /// `te`
    Te,
    /// `expect`
    Expect,
    /// `upgrade`
    Upgrade,
    /// `cookie`
    Cookie,
    /// `authorization`
    Authorization,
    /// `x-api-key`
    XApiKey,
    /// `api-key`
    ApiKey,
    /// `x-request-id`
    RequestId,
    /// `x-ms-client-request-id`, `x-ms-request-id`
    OtherId,
    /// `traceparent`
    TraceParent,
    /// `forwarded`
    Forwarded,
    /// `x-forwarded-for`
    ForwardedFor,
    /// `x-forwarded-proto`
    ForwardedProto,
    /// `x-forwarded-host`
    ForwardedHost,
    /// `x-real-ip`, and any other `x-forwarded-…`
    Claim,
    /// `max-forwards`
    MaxForwards,
    /// `date`
    Date,
    /// Ends at this hop in either direction (RFC 9110 section 7.6.1).
    Hop,
    /// Ends at this hop in requests.
    RequestHop,
    /// Ends at this hop in answers.
    ResponseHop,
    /// `sec-websocket-key`, `sec-websocket-accept`: of one connection of HTTP/1.1, and nothing to HTTP/2.
    WebSocketKey,
    /// Nothing.
    Other,
}

/// What a name means. It is lower-case.
#[must_use]
pub fn known(name: &[u8]) -> Known {
    let exact = match name.len() {
        2 if name == b"te" => Known::Te,
        4 => match name {
            b"host" => Known::Host,
            b"date" => Known::Date,
            _ => Known::Other,
        },
        6 => match name {
            b"expect" => Known::Expect,
            b"cookie" => Known::Cookie,
            _ => Known::Other,
        },
        7 => match name {
            b"upgrade" => Known::Upgrade,
            b"api-key" => Known::ApiKey,
            b"trailer" => Known::RequestHop,
            _ => Known::Other,
        },
        9 => match name {
            b"x-api-key" => Known::XApiKey,
            b"forwarded" => Known::Forwarded,
            b"x-real-ip" => Known::Claim,
            _ => Known::Other,
        },
        10 => match name {
            b"connection" => Known::Connection,
            b"keep-alive" => Known::Hop,
            _ => Known::Other,
        },
        11 if name == b"traceparent" => Known::TraceParent,
        12 => match name {
            b"max-forwards" => Known::MaxForwards,
            b"content-type" => Known::ContentType,
            b"x-request-id" => Known::RequestId,
            _ => Known::Other,
        },
        13 if name == b"authorization" => Known::Authorization,
        14 => match name {
            b"content-length" => Known::ContentLength,
            b"http2-settings" => Known::RequestHop,
            _ => Known::Other,
        },
        15 if name == b"x-ms-request-id" => Known::OtherId,
        16 if name == b"proxy-connection" => Known::Hop,
        17 => match name {
            b"transfer-encoding" => Known::TransferEncoding,
            b"sec-websocket-key" => Known::WebSocketKey,
            _ => Known::Other,
        },
        18 if name == b"proxy-authenticate" => Known::ResponseHop,
        19 if name == b"proxy-authorization" => Known::RequestHop,
        20 if name == b"sec-websocket-accept" => Known::WebSocketKey,
        22 if name == b"x-ms-client-request-id" => Known::OtherId,
        _ => Known::Other,
    };
    if exact == Known::Other && name.starts_with(b"x-forwarded-") { forwarded(name) } else { exact }
}

fn forwarded(name: &[u8]) -> Known {
    match name {
        b"x-forwarded-for" => Known::ForwardedFor,
        b"x-forwarded-proto" => Known::ForwardedProto,
        b"x-forwarded-host" => Known::ForwardedHost,
        _ => Known::Claim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_matters_is_known() {
        for (name, meaning) in [
            ("host", Known::Host),
            ("te", Known::Te),
            ("connection", Known::Connection),
            ("keep-alive", Known::Hop),
            ("proxy-connection", Known::Hop),
            ("proxy-authorization", Known::RequestHop),
            ("proxy-authenticate", Known::ResponseHop),
            ("trailer", Known::RequestHop),
            ("http2-settings", Known::RequestHop),
            ("transfer-encoding", Known::TransferEncoding),
            ("upgrade", Known::Upgrade),
            ("sec-websocket-key", Known::WebSocketKey),
            ("sec-websocket-accept", Known::WebSocketKey),
            ("x-forwarded-for", Known::ForwardedFor),
            ("x-forwarded-prefix", Known::Claim),
            ("x-real-ip", Known::Claim),
            ("x-ms-client-request-id", Known::OtherId),
            ("x-ms-request-id", Known::OtherId),
            ("x-other", Known::Other),
            ("", Known::Other),
        ] {
            assert_eq!(known(name.as_bytes()), meaning, "{name}");
        }
    }
}
