//! Which fields pass, and how the head that goes on is written: requests to upstreams, answers to callers.
//!
//! Fields that end at this hop stay here, and so does what a caller has no right to send on (RFC 9110 section 7.6.1): every
//! credential, every attach and identity header of the whole configuration, and whatever `Connection` names. Framing and host
//! are made anew by whoever sends.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{
    forwarded::{self, PreviousHop},
    framing,
    known::{Known, known},
    survey::{Survey, tokens},
    trace::{self, RequestId},
};
use crate::proxy::head::{Copy, Fields, RequestHead};

/// Where a head is written.
pub trait FieldSink {
    /// Whether whole lines can be added as they are.
    const TAKES_LINES: bool = false;

    /// Adds a field.
    fn field(&mut self, name: &[u8], value: &[u8]);

    /// Adds whole lines, `name: value` and their line ends. Only where it takes them.
    fn lines(&mut self, _lines: &[u8]) {}

    /// Adds a field that nothing on the way may keep.
    fn secret(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.field(name.as_str().as_bytes(), value.as_bytes());
    }
}

impl FieldSink for HeaderMap {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            self.append(name, value);
        }
    }

    /// `value` is marked as sensitive: it is not put into HPACK's table (RFC 7541 section 7.1.3).
    fn secret(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.insert(name.clone(), value.clone());
    }
}

/// Who was let in.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// As which caller. Its name has no `/`.
    pub caller: &'a str,
    /// Who among those that the caller's entry stands for, where the credential says so.
    pub who: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// `CALLER`, or `CALLER/WHO`: what an issuer or an authority calls somebody never passes for the name of a caller, nor for somebody
    /// whom another one names so.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        self.who.map_or(Cow::Borrowed(self.caller), |who| Cow::Owned([self.caller, "/", who].concat()))
    }
}

/// A request as it goes on, but for its first line, its host, its framing and its credential.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// As it came.
    pub head: &'a RequestHead,
    /// What stands in it.
    pub survey: &'a Survey<'a>,
    /// Attach and identity headers of the whole configuration.
    pub configured: &'a [HeaderName],
    /// Where it came from.
    pub hop: PreviousHop<'a>,
    /// Which it is.
    pub id: &'a RequestId,
    /// Who sends it, for the upstream to know, and in which field.
    pub identity: Option<(&'a HeaderName, Identity<'a>)>,
    /// The key of a WebSocket's handshake passes: both sides are HTTP/1.1.
    pub websocket_key: bool,
}

impl Outgoing<'_> {
    /// Writes the fields.
    pub fn write(&self, sink: &mut impl FieldSink) {
        let named = named_by_connection(&self.head.fields);
        self.head.fields.copy(sink, |sink, known, name, value| {
            let is_ours = || self.configured.iter().any(|other| other.as_str().as_bytes() == name);
            match self.verdict(known, value) {
                Verdict::Stays => return Copy::Not,
                _ if named.contains(&name) || is_ours() => return Copy::Not,
                Verdict::Passes => return Copy::Whole,
                Verdict::BecomesId => sink.field(name, self.id.as_bytes()),
                Verdict::OneLess => sink.field(name, one_less(value).as_bytes()),
            }
            Copy::Not
        });
        if self.survey.cookie.is_repeated() && !named.contains(&&b"cookie"[..]) {
            sink.field(b"cookie", &joined(&self.head.fields, "cookie", b"; "));
        }
        if self.survey.takes_trailers {
            sink.field(b"te", b"trailers");
        }
        forwarded::write(sink, &self.hop, self.survey, &self.head.fields);
        sink.field(b"x-request-id", self.id.as_bytes());
        if let Some((name, identity)) = self.identity {
            sink.field(name.as_str().as_bytes(), identity.text().as_bytes());
        }
    }

    fn verdict(&self, field: Known, value: &[u8]) -> Verdict {
        let passes = match field {
            Known::Other | Known::ContentType | Known::Date | Known::ResponseHop => true,
            // The crumbs of HTTP/2 are joined (RFC 9113 section 8.2.3).
            Known::Cookie => !self.survey.cookie.is_repeated(),
            Known::ForwardedProto | Known::ForwardedHost | Known::Claim => self.hop.trusted,
            // For OPTIONS alone, since TRACE ends here (RFC 9110 section 7.6.2).
            Known::MaxForwards if self.head.method == Method::OPTIONS => return Verdict::OneLess,
            Known::MaxForwards => true,
            Known::WebSocketKey => self.websocket_key,
            Known::OtherId if trace::is_sound(value) => true,
            Known::OtherId => return Verdict::BecomesId,
            // More than one is to be ignored (W3C Trace Context section 3.2).
            Known::TraceParent => !self.survey.traceparent.is_repeated() && trace::is_sound(value),
            Known::Host
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Connection
            | Known::Te
            | Known::Expect
            | Known::Upgrade
            | Known::Authorization
            | Known::XApiKey
            | Known::ApiKey
            | Known::RequestId
            | Known::Forwarded
            | Known::ForwardedFor
            | Known::Hop
            | Known::RequestHop => false,
        };
        if passes { Verdict::Passes } else { Verdict::Stays }
    }
}

enum Verdict {
    Passes,
    Stays,
    BecomesId,
    OneLess,
}

fn one_less(number: &[u8]) -> String {
    framing::plain_number(number).unwrap_or(0).saturating_sub(1).to_string()
}

/// Writes the fields of an answer that pass; `content-length` where `length`. Adds the request's id and the date where the
/// upstream gave none (RFC 9110 section 6.6.1).
pub fn write_answer(sink: &mut impl FieldSink, fields: &Fields, length: bool, id: &RequestId, date: &[u8]) {
    let named = named_by_connection(fields);
    let (mut has_id, mut has_date) = (false, false);
    fields.copy(sink, |_, known, name, _| {
        has_id |= known == Known::RequestId;
        has_date |= known == Known::Date;
        let passes = match known {
            Known::Connection | Known::TransferEncoding | Known::Upgrade | Known::Hop | Known::ResponseHop => false,
            // Whoever joins two ends makes it anew.
            Known::WebSocketKey => false,
            Known::ContentLength => length,
            _ => true,
        };
        if passes && !named.contains(&name) { Copy::Whole } else { Copy::Not }
    });
    if !has_id {
        sink.field(b"x-request-id", id.as_bytes());
    }
    if !has_date {
        sink.field(b"date", date);
    }
}

/// Writes the fields of an informational answer that pass.
pub fn write_informational(sink: &mut impl FieldSink, fields: &Fields) {
    let named = named_by_connection(fields);
    fields.copy(
        sink,
        |_, known, name, _| {
            if known == Known::Other && !named.contains(&name) { Copy::Whole } else { Copy::Not }
        },
    );
}

/// The trailers of an answer that pass: none that says how the message is framed, where it goes or what it is (RFC 9110 section
/// 6.5.1), and none that ends at this hop.
pub fn trailers(fields: HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(fields.len());
    let mut name = None;
    for (next, value) in fields {
        name = next.or(name);
        let Some(name) = &name else { continue };
        let text = name.as_str();
        if matches!(known(text.as_bytes()), Known::Other | Known::RequestId | Known::OtherId | Known::TraceParent)
            && !NO_TRAILERS.contains(&text)
        {
            kept.append(name, value);
        }
    }
    kept
}

/// Of fields that mean nothing else to us, those that must not be trailers (RFC 9110 section 6.5.1).
const NO_TRAILERS: [&str; 14] = [
    "age",
    "cache-control",
    "content-encoding",
    "content-location",
    "content-range",
    "expires",
    "location",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "warning",
    "www-authenticate",
];

/// `Connection: x-a, x-b` makes `x-a` and `x-b` hop-by-hop too. What this proxy itself adds does not pass here: a caller cannot
/// have it removed.
fn named_by_connection(fields: &Fields) -> Vec<&[u8]> {
    if !fields.connection().names {
        return Vec::new();
    }
    let listed: Vec<&[u8]> = fields.all("connection").flat_map(tokens).collect();
    let is_listed = |name: &&[u8]| listed.iter().any(|token| token.eq_ignore_ascii_case(name));
    fields.iter().map(|(name, _)| name).filter(is_listed).filter(|name| *name != b"content-length").collect()
}

/// The values of a field, joined.
pub fn joined(fields: &Fields, name: &str, separator: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    for value in fields.all(name) {
        if !joined.is_empty() {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(value);
    }
    joined
}

#[cfg(test)]
mod tests {
    use http::Version;
    use proptest::prelude::*;

    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.field(name.as_bytes(), value.as_bytes());
        }
        map
    }

    fn sent(fields: HeaderMap, configured: &[HeaderName]) -> HeaderMap {
        let mut head = RequestHead::default();
        head.fields = fields.into();
        let survey = Survey::of(&head.fields);
        let hop =
            PreviousHop { address: b"10.0.0.1", tls: false, trusted: false, host: b"gate", version: Version::HTTP_11 };
        let id = trace::request_id(survey.request_id, || 0xabc);
        let mut out = HeaderMap::new();
        Outgoing { head: &head, survey: &survey, configured, hop, id: &id, identity: None, websocket_key: false }
            .write(&mut out);
        for ours in ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "via", "x-request-id"] {
            assert!(out.remove(ours).is_some(), "{ours}");
        }
        out
    }

    #[test]
    fn what_ends_here_stays_here() {
        let fields = [
            ("connection", "close, X-Secret, x-forwarded-for"),
            ("x-secret", "1"),
            ("keep-alive", "5"),
            ("proxy-connection", "x"),
            ("te", "gzip, Trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "x"),
            ("authorization", "Bearer x"),
            ("x-api-key", "x"),
            ("api-key", "x"),
            ("x-team", "spoofed"),
            ("expect", "100-continue"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("host", "a"),
            ("accept", "*/*"),
        ];
        let team = [HeaderName::from_static("x-team")];
        assert_eq!(sent(map(&fields), &team), map(&[("accept", "*/*"), ("te", "trailers")]));
    }

    #[test]
    fn crumbs_are_joined_and_ids_put_in_order() {
        assert_eq!(sent(map(&[("cookie", "a=1"), ("cookie", "b=2")]), &[]), map(&[("cookie", "a=1; b=2")]));
        assert_eq!(sent(map(&[("cookie", "a=1")]), &[]), map(&[("cookie", "a=1")]));
        let sound = [("x-ms-client-request-id", "c"), ("traceparent", "00-a-b-01")];
        assert_eq!(sent(map(&sound), &[]), map(&sound));
        let none = [("cookie", "a=1"), ("cookie", "b=2"), ("connection", "cookie")];
        assert_eq!(sent(map(&none), &[]), map(&[]));
        let odd = [("x-ms-client-request-id", "a b"), ("traceparent", "1"), ("traceparent", "2")];
        let id = "00000000000000000000000000000abc";
        assert_eq!(sent(map(&odd), &[]), map(&[("x-ms-client-request-id", id)]));
    }

    #[test]
    fn answers_lose_what_ends_here_and_gain_id_and_date() {
        let fields = Fields::from(map(&[
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("proxy-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("content-length", "3"),
            ("www-authenticate", "Bearer"),
        ]));
        let id = trace::request_id(Survey::default().request_id, || 1);
        let write = |length| {
            let mut out = HeaderMap::new();
            write_answer(&mut out, &fields, length, &id, b"now");
            out
        };
        let id = "00000000000000000000000000000001";
        assert_eq!(write(false), map(&[("www-authenticate", "Bearer"), ("x-request-id", id), ("date", "now")]));
        assert_eq!(write(true)["content-length"], "3");
    }

    #[test]
    fn trailers_of_answers_frame_nothing() {
        let fields = map(&[
            ("grpc-status", "0"),
            ("grpc-status-details-bin", "AAA"),
            ("content-length", "100"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("ms-azureml-bandwidth-request-delay-ms", "5"),
            ("x-sum", "1"),
            ("x-sum", "2"),
        ]);
        let kept =
            [("grpc-status", "0"), ("grpc-status-details-bin", "AAA"), ("ms-azureml-bandwidth-request-delay-ms", "5")];
        assert_eq!(trailers(fields), map(&[&kept[..], &[("x-sum", "1"), ("x-sum", "2")]].concat()));
    }

    proptest! {
        #[test]
        fn no_credential_passes_whatever_else_is_there(
            names in prop::collection::vec("(authorization|x-api-key|api-key|x-id|connection|accept|x-b)", 0..12),
            values in prop::collection::vec("[ -~]{0,20}", 12),
        ) {
            let mut fields = HeaderMap::new();
            for (name, value) in names.iter().zip(&values) {
                fields.field(name.as_bytes(), value.as_bytes());
            }
            let out = sent(fields, &[HeaderName::from_static("x-id")]);
            for name in ["authorization", "x-api-key", "api-key", "x-id", "connection"] {
                prop_assert!(!out.contains_key(name));
            }
        }
    }
}
