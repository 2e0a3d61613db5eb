//! The heads of messages as this proxy keeps them: fields in a flat list, whichever HTTP they came over.
//!
//! A head read from HTTP/1.1 stays the bytes it was, with the places of its parts beside them; one that a caller sent over HTTP/2 is
//! laid out as the same text. Nothing is allocated per field, and the memory serves the connection's next head. An upstream's head of
//! HTTP/2 comes as a map from hyper and stays one. What reads a head (`headers::survey`) and what writes one (`headers::outgoing`) walks
//! the fields once, and never searches.

use http::{HeaderMap, Method, StatusCode, Version, response};

use super::{
    headers::{
        known::{Known, known},
        outgoing::FieldSink,
        survey::tokens,
    },
    http1::{
        lines::{self, LINE_END},
        parse::BadHead,
    },
};

/// A stretch of a head's text: from, to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Span(u32, u32);

impl Span {
    /// From and to. Heads are far under 4 GiB (`limits.head`).
    fn new(from: usize, to: usize) -> Self {
        Self(u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(to).unwrap_or(u32::MAX))
    }

    fn from(begin: usize, length: usize) -> Self {
        Self::new(begin, begin + length)
    }

    fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.0 as usize..self.1 as usize).unwrap_or_default()
    }
}

/// The fields of a message. Names are lower-case.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// What the lines point into.
    text: Vec<u8>,
    lines: Vec<Line>,
    map: HeaderMap,
    connection: ConnectionOptions,
}

/// A field in a head's text.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: Span,
    value: Span,
    known: Known,
    /// It stands there exactly as it would be written: `name: value` and its line end.
    verbatim: bool,
}

/// What `Connection` says (RFC 9110 section 7.6.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`
    pub close: bool,
    /// `keep-alive`
    pub keep_alive: bool,
    /// `upgrade`
    pub upgrade: bool,
    /// Names of fields that end at this hop.
    pub names: bool,
}

impl ConnectionOptions {
    fn add(&mut self, value: &[u8]) {
        for option in tokens(value) {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            if is(b"keep-alive") {
                self.keep_alive = true;
            } else if is(b"close") {
                self.close = true;
            } else {
                // `upgrade` is an option and the name of a field.
                self.upgrade |= is(b"upgrade");
                self.names = true;
            }
        }
    }
}

/// What is to be done with a field that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// It passes as it is.
    Whole,
    /// It does not pass, or was written in another form.
    Not,
}

impl Fields {
    /// Name and value of each, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.known().map(|(_, name, value)| (name, value))
    }

    /// The same, with what each is to us.
    pub fn known(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        let lines = self.lines.iter().map(|line| (line.known, line.name.of(&self.text), line.value.of(&self.text)));
        lines.chain(self.map.iter().map(|(name, value)| {
            let name = name.as_str().as_bytes();
            (known(name), name, value.as_bytes())
        }))
    }

    /// Copies the fields that pass. Those that stand one after the other as they would be written are copied together.
    pub fn copy<S: FieldSink>(&self, sink: &mut S, mut verdict: impl FnMut(&mut S, Known, &[u8], &[u8]) -> Copy) {
        // An empty run is where nothing waits to be copied.
        let mut run = 0..0;
        for line in &self.lines {
            let (name, value) = (line.name.of(&self.text), line.value.of(&self.text));
            let passes = verdict(sink, line.known, name, value) == Copy::Whole;
            if passes && line.verbatim && S::TAKES_LINES {
                let (from, to) = (line.name.0 as usize, line.value.1 as usize + LINE_END.len());
                if run.end != from {
                    sink.lines(self.text.get(run).unwrap_or_default());
                    run = from..to;
                }
                run.end = to;
            } else if passes {
                sink.lines(self.text.get(std::mem::take(&mut run)).unwrap_or_default());
                sink.field(name, value);
            }
        }
        if !run.is_empty() {
            sink.lines(self.text.get(run).unwrap_or_default());
        }
        for (name, value) in &self.map {
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            if verdict(sink, known(name), name, value) == Copy::Whole {
                sink.field(name, value);
            }
        }
    }

    /// Every value of one name.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        self.iter().filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// What `Connection` says.
    #[must_use]
    pub const fn connection(&self) -> ConnectionOptions {
        self.connection
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len() + self.map.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins anew with the fields of a head that `bytes` begin with, its field lines from `begin` on; the memory stays. Says how long
    /// the head is; None where its end is not there yet.
    ///
    /// # Errors
    /// See [`lines::read`].
    pub(super) fn read(&mut self, bytes: &[u8], begin: usize, most: usize) -> Result<Option<usize>, BadHead> {
        let usual = bytes.get(..USUAL).unwrap_or(bytes);
        match self.read_whole(usual, begin, most)? {
            None if usual.len() < bytes.len() => self.read_whole(bytes, begin, most),
            read => Ok(read),
        }
    }

    fn read_whole(&mut self, bytes: &[u8], begin: usize, most: usize) -> Result<Option<usize>, BadHead> {
        self.clear();
        let Self { text, lines, connection, .. } = self;
        text.extend_from_slice(bytes);
        let end = lines::read(text, begin, most, |name, value, place| {
            let known = known(name);
            if known == Known::Connection {
                connection.add(value);
            }
            let (name, value) = (Span::from(place.name, name.len()), Span::from(place.value, value.len()));
            lines.push(Line { name, value, known, verbatim: place.verbatim });
        })?;
        if let Some(end) = end {
            text.truncate(end);
        }
        Ok(end)
    }

    /// Whether its memory is worth keeping for another: little, and no map of hyper's.
    pub(super) fn fit_another(&self) -> bool {
        self.map.capacity() == 0 && self.text.capacity() + self.lines.capacity() * size_of::<Line>() <= KEPT
    }

    /// Begins anew with nothing; the memory stays.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
        self.map.clear();
        self.connection = ConnectionOptions::default();
    }

    /// Adds a field, as a line of HTTP/1.1. Its name is lower-case.
    pub(super) fn push(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let from = self.text.len();
        for part in [name, b": ", value, LINE_END] {
            self.text.extend_from_slice(part);
        }
        self.push_last(from, known, name.len(), value.len());
    }

    /// The same, of which the line is there as it would be written.
    pub(super) fn push_line(&mut self, known: Known, line: &[u8], name: usize, value: usize) {
        let from = self.text.len();
        self.text.extend_from_slice(line);
        self.push_last(from, known, name, value);
    }

    fn push_last(&mut self, from: usize, known: Known, name: usize, value: usize) {
        let (name, value) = (Span::from(from, name), Span::from(from + name + 2, value));
        self.lines.push(Line { name, value, known, verbatim: true });
    }
}

/// Memory of a head that is worth keeping for the next one, bytes.
const KEPT: usize = 10 << 10;
/// A head is seldom longer: so many bytes are looked through first, and the body behind it is not copied with it.
const USUAL: usize = 4 << 10;

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let mut connection = ConnectionOptions::default();
        for value in map.get_all(http::header::CONNECTION) {
            connection.add(value.as_bytes());
        }
        Self { map, connection, ..Self::default() }
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
    /// It has more than the connection's HTTP keeps of one; only what was kept is here. HTTP/1.1 refuses it when it is read.
    pub too_large: bool,
    /// Fields.
    pub fields: Fields,
    /// What the spans below point into: the target of HTTP/1.1, or its parts of HTTP/2 one after the other.
    target: String,
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
            too_large: false,
            fields: Fields::default(),
            target: String::new(),
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

    /// Begins anew with nothing; the memory stays.
    pub(super) fn begin(&mut self, version: Version) {
        self.method = Method::GET;
        self.version = version;
        self.extended_connect = false;
        self.too_large = false;
        self.fields.clear();
        self.target.clear();
        self.authority = None;
        self.path = Span::default();
        self.query = None;
    }

    /// Whether its memory is worth keeping for another.
    pub(super) fn fits_another(&self) -> bool {
        self.fields.fit_another() && self.target.capacity() <= KEPT
    }

    /// Sets `:authority`. None where it has a character that no URI has.
    pub(super) fn set_authority(&mut self, authority: &[u8]) -> Option<()> {
        self.authority = Some(self.put_target(authority)?);
        Some(())
    }

    /// Sets `:path`, with its query. None where it is empty, or has a character that no URI has.
    pub(super) fn set_path(&mut self, target: &[u8]) -> Option<()> {
        let Span(begin, _) = self.put_target(target).filter(|_| !target.is_empty())?;
        self.find_query(begin as usize);
        Some(())
    }

    /// The target has its path from here, and its query behind that.
    fn find_query(&mut self, begin: usize) {
        let end = self.target.len();
        let rest = self.target.as_bytes().get(begin..).unwrap_or_default();
        let question = memchr::memchr(b'?', rest).map(|at| begin + at);
        self.path = Span::new(begin, question.unwrap_or(end));
        self.query = question.map(|at| Span::new(at + 1, end));
    }

    fn put_target(&mut self, text: &[u8]) -> Option<Span> {
        let text = std::str::from_utf8(text).ok().filter(|text| is_uri_text(text.as_bytes()))?;
        let from = self.target.len();
        self.target.push_str(text);
        Some(Span::new(from, self.target.len()))
    }

    fn text(&self, span: Span) -> &str {
        self.target.get(span.0 as usize..span.1 as usize).unwrap_or_default()
    }

    /// Finds the parts of a target (RFC 9112 section 3.2). None where it is in no form of those that a server may be sent, or has a
    /// character that no URI has.
    pub(super) fn read_target(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.is_empty() {
            return None;
        }
        self.target.clear();
        self.put_target(bytes)?;
        self.authority = None;
        self.query = None;
        let end = bytes.len();
        let mut begin = 0;
        if !bytes.starts_with(b"/") {
            if self.method == Method::CONNECT {
                self.authority = Some(Span::new(0, end));
                self.path = Span::new(end, end);
                return Some(());
            }
            if bytes == b"*" {
                self.path = Span::new(0, end);
                return Some(());
            }
            let after = scheme_length(bytes)?;
            let rest = bytes.get(after..)?;
            begin = after + rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
            self.authority = Some(Span::new(after, begin));
        }
        self.find_query(begin);
        Some(())
    }
}

/// Whether every character may stand in a URI's text, fragment and brackets of quoting aside (RFC 3986 appendix C).
pub(super) fn is_uri_text(text: &[u8]) -> bool {
    text.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'<' | b'>'))
}

fn scheme_length(target: &[u8]) -> Option<usize> {
    let has = |scheme: &str| target.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme.as_bytes()));
    ["http://", "https://"].into_iter().find(|scheme| has(scheme)).map(str::len)
}

/// The head of an answer.
#[derive(Debug, Clone, Default)]
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
        head.read_target(text.as_bytes())?;
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
    fn fields_that_stand_as_they_would_be_written_are_copied_together() {
        #[derive(Default)]
        struct Pieces(Vec<String>);
        impl FieldSink for Pieces {
            const TAKES_LINES: bool = true;
            fn field(&mut self, name: &[u8], value: &[u8]) {
                self.0.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
            }
            fn lines(&mut self, lines: &[u8]) {
                self.0.extend((!lines.is_empty()).then(|| String::from_utf8_lossy(lines).into_owned()));
            }
        }
        let mut head = RequestHead::default();
        let text = b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nDrop: x\r\nC: 3\r\nD:  4\r\nE: 5 \r\nF:\r\n\r\n";
        crate::proxy::http1::parse::request(text, 100, &mut head).expect("head");
        let mut pieces = Pieces::default();
        head.fields.copy(&mut pieces, |_, _, name, _| if name == b"drop" { Copy::Not } else { Copy::Whole });
        assert_eq!(pieces.0, ["a: 1\r\nb: 2\r\n", "c: 3\r\n", "d=4", "e=5", "f="]);
    }
}
