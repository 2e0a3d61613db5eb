//! The heads of messages as this proxy keeps them: fields in a flat list, whichever HTTP they came over.
//!
//! A head read from HTTP/1.1 stays the bytes it was, with the places of its parts beside them: nothing is allocated per field,
//! and the memory serves the connection's next head. A head of HTTP/2 comes as a map from hyper and stays one. What reads a head
//! (`headers::survey`) and what writes one (`headers::outgoing`) walks the fields once, and never searches.

use http::{HeaderMap, Method, StatusCode, Version, request, response};

/// A stretch of a head's text: from, to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span(u32, u32);

impl Span {
    /// From and to. Heads are far under 4 GiB (`limits.head`).
    #[must_use]
    pub fn new(from: usize, to: usize) -> Self {
        Self(u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(to).unwrap_or(u32::MAX))
    }

    fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.0 as usize..self.1 as usize).unwrap_or_default()
    }
}

/// The fields of a message. Names are lower-case.
#[derive(Debug, Default)]
pub struct Fields {
    /// What the spans point into.
    text: Vec<u8>,
    lines: Vec<(Span, Span)>,
    map: HeaderMap,
}

impl Fields {
    /// Name and value of each, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let lines = self.lines.iter().map(|(name, value)| (name.of(&self.text), value.of(&self.text)));
        lines.chain(self.map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
    }

    /// Every value of one name.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.iter().filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len() + self.map.len()
    }

    /// How large they are, as HTTP/2 counts it (RFC 9113 section 6.5.2): 32 bytes beside each name and value.
    #[must_use]
    pub fn list_size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins anew with a head's text; the memory stays.
    pub(super) fn take_text(&mut self, text: &[u8]) -> &mut Vec<u8> {
        self.lines.clear();
        self.map.clear();
        self.text.clear();
        self.text.extend_from_slice(text);
        &mut self.text
    }

    /// A field of the text, its name made lower-case.
    pub(super) fn push_line(&mut self, name: Span, value: Span) {
        if let Some(name) = self.text.get_mut(name.0 as usize..name.1 as usize) {
            name.make_ascii_lowercase();
        }
        self.lines.push((name, value));
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        Self { map, ..Self::default() }
    }
}

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// The HTTP it came over.
    pub version: Version,
    /// CONNECT with `:protocol` = `websocket` (RFC 8441 section 4).
    pub extended_connect: bool,
    /// Fields; their text begins with the request target's line in HTTP/1.1, and is the target alone in HTTP/2.
    pub fields: Fields,
    /// `:authority`, or that of an absolute-form target.
    authority: Option<Span>,
    path: Span,
    query: Option<Span>,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            method: Method::GET,
            version: Version::HTTP_11,
            extended_connect: false,
            fields: Fields::default(),
            authority: None,
            path: Span::default(),
            query: None,
        }
    }
}

impl RequestHead {
    /// `:authority`, or that of an absolute-form target.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.map(|span| self.text(span))
    }

    /// The path as it came; empty where an absolute-form target has none.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(self.path)
    }

    /// The query as it came, without its question mark.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.text(span))
    }

    fn text(&self, span: Span) -> &str {
        // Only ASCII is let into a target (`read_target`); hyper's targets are text.
        std::str::from_utf8(span.of(&self.fields.text)).unwrap_or_default()
    }

    /// Finds the parts of the target that stands at `from..to` of the text (RFC 9112 section 3.2). None where it is in no form
    /// of those that a server may be sent, or has a character that no URI has.
    pub(super) fn read_target(&mut self, from: usize, to: usize) -> Option<()> {
        let target = self.fields.text.get(from..to)?;
        if target.iter().any(|b| !b.is_ascii_graphic() || matches!(b, b'#' | b'<' | b'>')) {
            return None;
        }
        self.authority = None;
        self.query = None;
        let mut begin = from;
        if !target.starts_with(b"/") {
            if self.method == Method::CONNECT {
                self.authority = Some(Span::new(from, to));
                self.path = Span::new(to, to);
                return Some(());
            }
            if target == b"*" {
                self.path = Span::new(from, to);
                return Some(());
            }
            let after = scheme_length(target)?;
            let rest = target.get(after..)?;
            let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
            self.authority = Some(Span::new(from + after, from + after + end));
            begin = from + after + end;
        }
        let question = self.fields.text.get(begin..to)?.iter().position(|b| *b == b'?').map(|at| begin + at);
        self.path = Span::new(begin, question.unwrap_or(to));
        self.query = question.map(|at| Span::new(at + 1, to));
        Some(())
    }
}

fn scheme_length(target: &[u8]) -> Option<usize> {
    let has = |scheme: &str| target.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme.as_bytes()));
    ["http://", "https://"].into_iter().find(|scheme| has(scheme)).map(str::len)
}

impl From<request::Parts> for RequestHead {
    fn from(parts: request::Parts) -> Self {
        let mut fields = Fields::from(parts.headers);
        let mut put = |text: &str| {
            let from = fields.text.len();
            fields.text.extend_from_slice(text.as_bytes());
            Span::new(from, fields.text.len())
        };
        let authority = parts.uri.authority().map(|authority| put(authority.as_str()));
        let path = put(parts.uri.path());
        let query = parts.uri.query().map(&mut put);
        let protocol = parts.extensions.get::<hyper::ext::Protocol>();
        let extended_connect = protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"));
        Self { method: parts.method, version: parts.version, extended_connect, fields, authority, path, query }
    }
}

/// The head of an answer.
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// Status.
    pub status: StatusCode,
    /// Fields.
    pub fields: Fields,
}

impl From<response::Parts> for ResponseHead {
    fn from(parts: response::Parts) -> Self {
        Self { status: parts.status, fields: parts.headers.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: Method, text: &str) -> Option<(Option<String>, String, Option<String>)> {
        let mut head = RequestHead { method, ..RequestHead::default() };
        head.fields.take_text(text.as_bytes());
        head.read_target(0, text.len())?;
        Some((head.authority().map(Into::into), head.path().into(), head.query().map(Into::into)))
    }

    #[test]
    fn targets_have_four_forms() {
        let parts = |authority: Option<&str>, path: &str, query: Option<&str>| {
            Some((authority.map(Into::into), path.to_owned(), query.map(Into::into)))
        };
        for (text, expected) in [
            ("/score?a=1?b", parts(None, "/score", Some("a=1?b"))),
            ("/", parts(None, "/", None)),
            ("*", parts(None, "*", None)),
            ("http://a.b:80/x?y", parts(Some("a.b:80"), "/x", Some("y"))),
            ("HTTPS://a.b", parts(Some("a.b"), "", None)),
            ("http://a.b?q", parts(Some("a.b"), "", Some("q"))),
            ("ftp://a/", None),
            ("score", None),
            ("", None),
            ("/a#b", None),
            ("/a\u{e9}", None),
            ("/a b", None),
        ] {
            assert_eq!(target(Method::GET, text), expected, "{text}");
        }
        assert_eq!(target(Method::CONNECT, "a:443"), parts(Some("a:443"), "", None));
    }

    #[test]
    fn heads_of_http2_read_the_same() {
        let request = http::Request::get("https://gate.test/score?x").header("a", "1").body(()).expect("request");
        let head = RequestHead::from(request.into_parts().0);
        assert_eq!((head.authority(), head.path(), head.query()), (Some("gate.test"), "/score", Some("x")));
        assert_eq!(head.fields.iter().collect::<Vec<_>>(), [(&b"a"[..], &b"1"[..])]);
        assert_eq!(head.fields.all("a").count(), 1);
    }
}
