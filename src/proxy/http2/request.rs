//! A request's head, or its trailers, out of the fields of a block (RFC 9113 section 8). What HTTP/1.1 could not say the same way is
//! malformed.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::hpack::Field;
use crate::proxy::{
    head::RequestHead,
    headers::{
        framing,
        known::{Known, known},
    },
};

/// What a field costs beside name and value, as HTTP/2 counts (RFC 9113 section 6.5.2).
const OVERHEAD: usize = 32;

/// A head that is being read.
#[derive(Debug)]
pub struct HeadReader<'a> {
    head: &'a mut RequestHead,
    /// Most bytes of the list of fields; what is beyond is not kept.
    most: usize,
    size: usize,
    method: bool,
    scheme: bool,
    authority: bool,
    path: bool,
    /// `:protocol`, and whether that is a WebSocket.
    protocol: Option<bool>,
    /// A field that is no pseudo-header was there.
    fields: bool,
    lengths: usize,
    length: Option<u64>,
    malformed: bool,
}

/// A request that is not one: its stream ends (RFC 9113 section 8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl<'a> HeadReader<'a> {
    /// Begins a head, in the memory of another. Of its fields `most` bytes are kept at least.
    pub fn new(head: &'a mut RequestHead, most: usize) -> Self {
        head.begin(Version::HTTP_2);
        Self {
            head,
            most,
            size: 0,
            method: false,
            scheme: false,
            authority: false,
            path: false,
            protocol: None,
            fields: false,
            lengths: 0,
            length: None,
            malformed: false,
        }
    }

    /// Takes a field.
    pub fn field(&mut self, field: Field<'_>) {
        let Field { name, value, sound, line } = field;
        // One that is too large is kept: whoever judges the head sees that it is.
        if self.size > self.most {
            return;
        }
        self.size += name.len() + value.len() + OVERHEAD;
        let taken = if name.first() == Some(&b':') {
            sound && !self.fields && self.pseudo(name, value).is_some()
        } else {
            self.fields = true;
            sound && self.regular(name, value, line).is_some()
        };
        self.malformed |= !taken;
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let once = |seen: &mut bool| (!std::mem::replace(seen, true)).then_some(());
        match name {
            b":method" => {
                once(&mut self.method)?;
                self.head.method = Method::from_bytes(value).ok()?;
            }
            b":scheme" => {
                once(&mut self.scheme)?;
                is_scheme(value).then_some(())?;
            }
            b":authority" => {
                once(&mut self.authority)?;
                self.head.set_authority(value)?;
            }
            b":path" => {
                once(&mut self.path)?;
                self.head.set_path(value)?;
            }
            b":protocol" if self.protocol.is_none() => {
                self.protocol = Some(value.eq_ignore_ascii_case(b"websocket"));
            }
            _ => return None,
        }
        Some(())
    }

    fn regular(&mut self, name: &[u8], value: &[u8], line: &[u8]) -> Option<()> {
        let known = known(name);
        match known {
            _ if is_of_connection(known) => return None,
            Known::Te if value != b"trailers" => return None,
            Known::ContentLength => {
                self.lengths += 1;
                self.length = framing::plain_number(value);
            }
            _ => {}
        }
        if line.is_empty() {
            self.head.fields.push(known, name, value);
        } else {
            self.head.fields.push_line(known, line, name.len(), value.len());
        }
        Some(())
    }

    /// The head is whole; `tunnels`: extended CONNECT was offered (RFC 8441 section 3). Gives the length of the body, where it says one.
    ///
    /// # Errors
    /// Where it is malformed.
    pub fn end(self, tunnels: bool) -> Result<Option<u64>, Malformed> {
        let connects = self.head.method == Method::CONNECT;
        let target = if connects && self.protocol.is_none() {
            self.authority && !self.scheme && !self.path
        } else {
            self.scheme && self.path && (self.protocol.is_none() || (connects && tunnels && self.authority))
        };
        if self.malformed || !self.method || !target {
            return Err(Malformed);
        }
        self.head.extended_connect = self.protocol == Some(true);
        self.head.too_large = self.size > self.most;
        // More than one is for `framing::check_request` to refuse.
        Ok(self.length.filter(|_| self.lengths == 1))
    }
}

/// Whether a field is one of a connection of HTTP/1.1 (RFC 9113 section 8.2.2).
const fn is_of_connection(field: Known) -> bool {
    matches!(field, Known::Connection | Known::TransferEncoding | Known::Upgrade | Known::Hop)
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Trailers that are being read.
#[derive(Debug, Default)]
pub struct TrailerReader {
    trailers: HeaderMap,
    size: usize,
    malformed: bool,
}

impl TrailerReader {
    /// Takes a field; those beyond `most` bytes are as good as malformed.
    pub fn field(&mut self, field: Field<'_>, most: usize) {
        let Field { name, value, sound, .. } = field;
        self.size = self.size.saturating_add(name.len() + value.len() + OVERHEAD);
        self.malformed |= !sound || self.size > most;
        if self.malformed {
            return;
        }
        match (HeaderName::from_lowercase(name), HeaderValue::from_bytes(value)) {
            (Ok(field), Ok(value)) if !is_of_connection(known(name)) => {
                self.malformed |= self.trailers.try_append(field, value).is_err();
            }
            _ => self.malformed = true,
        }
    }

    /// They are whole.
    ///
    /// # Errors
    /// Where they are malformed.
    pub fn end(self) -> Result<HeaderMap, Malformed> {
        if self.malformed { Err(Malformed) } else { Ok(self.trailers) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn read(fields: Pairs<'_>, tunnels: bool) -> Result<(RequestHead, Option<u64>), Malformed> {
        let mut head = RequestHead::default();
        let mut reader = HeadReader::new(&mut head, 1000);
        for (name, value) in fields {
            reader.field(Field {
                name: name.as_bytes(),
                value: value.as_bytes(),
                sound: !value.contains('\n'),
                line: b"",
            });
        }
        let length = reader.end(tunnels)?;
        Ok((head, length))
    }

    const USUAL: Pairs<'_> =
        &[(":method", "POST"), (":scheme", "https"), (":authority", "gate.test"), (":path", "/score?x=1")];

    fn with<'a>(more: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
        [USUAL, more].concat()
    }

    #[test]
    fn a_request_has_its_parts() {
        let (head, length) = read(&with(&[("content-length", "5"), ("a", "1"), ("te", "trailers")]), false).unwrap();
        assert_eq!((head.method.as_str(), head.authority()), ("POST", Some("gate.test")));
        assert_eq!((head.path(), head.query(), length), ("/score", Some("x=1"), Some(5)));
        let fields: Vec<_> = head.fields.iter().collect();
        assert_eq!(fields, [(&b"content-length"[..], &b"5"[..]), (b"a", b"1"), (b"te", b"trailers")]);
        assert!(!head.too_large && !head.extended_connect);
    }

    #[test]
    fn what_no_request_has_is_malformed() {
        for more in [
            &[(":method", "GET")][..],
            &[(":scheme", "http")],
            &[(":path", "/")],
            &[(":authority", "x")],
            &[(":x", "y")],
            &[(":status", "200")],
            &[("a", "1"), (":x", "y")],
            &[("connection", "close")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "h2c")],
            &[("keep-alive", "5")],
            &[("proxy-connection", "x")],
            &[("te", "gzip")],
            &[("a", "b\nc")],
            &[(":protocol", "websocket")],
        ] {
            assert!(read(&with(more), true).is_err(), "{more:?}");
        }
        for missing in [0, 1, 3] {
            let fields: Vec<_> =
                USUAL.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, field)| *field).collect();
            assert!(read(&fields, true).is_err(), "{missing}");
        }
        for (at, value) in [
            (0, ""),
            (0, "GE T"),
            (1, ""),
            (1, "ht tp"),
            (1, "1s"),
            (2, "a b"),
            (2, "\u{e9}"),
            (3, ""),
            (3, "/\u{e9}"),
            (3, "/ x"),
            (3, "/#x"),
        ] {
            let mut fields = USUAL.to_vec();
            fields[at].1 = value;
            assert!(read(&fields, true).is_err(), "{value:?}");
        }
    }

    #[test]
    fn connect_has_a_form_of_its_own() {
        let plain = [(":method", "CONNECT"), (":authority", "a:443")];
        assert!(read(&plain, false).is_ok_and(|(head, _)| head.path().is_empty() && !head.extended_connect));
        assert!(read(&[&plain[..], &[(":path", "/")]].concat(), false).is_err());
        assert!(read(&plain[..1], false).is_err());
        let extended = [&plain[..], &[(":scheme", "https"), (":path", "/ws"), (":protocol", "websocket")]].concat();
        assert!(read(&extended, true).is_ok_and(|(head, _)| head.extended_connect && head.path() == "/ws"));
        assert!(read(&extended, false).is_err(), "nobody offered it");
    }

    #[test]
    fn of_a_head_that_is_too_large_no_more_is_kept() {
        let long = "x".repeat(600);
        let (head, _) = read(&with(&[("a", &long), ("b", &long), ("c", &long)]), false).unwrap();
        assert!(head.too_large);
        assert_eq!(head.fields.len(), 2);
    }

    #[test]
    fn several_lengths_are_none() {
        for lengths in [&[("content-length", "5"), ("content-length", "5")][..], &[("content-length", "x")], &[]] {
            assert_eq!(read(&with(lengths), false).unwrap().1, None);
        }
    }

    #[test]
    fn trailers_are_fields_alone() {
        let read = |fields: Pairs<'_>| {
            let mut reader = TrailerReader::default();
            for (name, value) in fields {
                reader.field(Field { name: name.as_bytes(), value: value.as_bytes(), sound: true, line: b"" }, 200);
            }
            reader.end().map(|trailers| trailers.len())
        };
        assert_eq!(read(&[("a", "1"), ("a", "2"), ("b", "3")]), Ok(3));
        for fields in [(":path", "/"), ("connection", "x"), ("A", "x")] {
            assert_eq!(read(&[fields]), Err(Malformed), "{fields:?}");
        }
        assert_eq!(read(&[("a", &"x".repeat(200))]), Err(Malformed));
    }
}
