//! Heads out of bytes (RFC 9112 sections 2 to 6): strict, since what two servers read in two ways is how requests are smuggled.
//!
//! The grammar is httparse's. Refused on top of it: line ends other than CRLF, names of any other case of doubt being left to
//! `headers::framing`. A head is parsed once, when its end is there; until then only the search for that end goes on.

use std::mem::MaybeUninit;

use http::{Method, StatusCode, Version};

use crate::proxy::head::{Fields, RequestHead, ResponseHead, Span};

/// Fields that are parsed without allocating.
const FEW_FIELDS: usize = 256;

/// Why a head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// Not as RFC 9112 has it: 400.
    #[error("not HTTP/1.1")]
    Malformed,
    /// HTTP of another version: 505.
    #[error("another version of HTTP")]
    Version,
    /// More bytes or fields than allowed: 431.
    #[error("a head over the limits")]
    TooLarge,
}

/// How far the reading of a head has come. A head that is there at once is parsed at once; of one that comes in pieces the end is
/// searched first, so that a head that comes byte by byte is not parsed anew each time.
#[derive(Debug, Default)]
pub struct HeadEnd {
    searched: usize,
    partial: bool,
}

impl HeadEnd {
    /// Reads the head that `bytes` begin with, of `limit` bytes at most; says how long it is. None where its end is not there yet.
    ///
    /// # Errors
    /// See [`BadHead`]; those of `parse`, which is given bytes that begin with a head, and says how much of them that is.
    pub fn read<T>(
        &mut self,
        bytes: &[u8],
        limit: usize,
        parse: impl FnOnce(&[u8]) -> Result<Option<(usize, T)>, BadHead>,
    ) -> Result<Option<(usize, T)>, BadHead> {
        let Some(first) = bytes.first() else { return Ok(None) };
        if !first.is_ascii_alphabetic() {
            return Err(BadHead::Malformed);
        }
        if self.partial {
            let Some(end) = self.find(bytes, limit)? else { return Ok(None) };
            return parse(bytes.get(..end).unwrap_or_default());
        }
        match parse(bytes)? {
            Some((length, _)) if length > limit => Err(BadHead::TooLarge),
            Some(read) => Ok(Some(read)),
            None if bytes.len() > limit => Err(BadHead::TooLarge),
            None => {
                self.partial = true;
                Ok(None)
            }
        }
    }

    /// How long the head is that `bytes` begin with; None where its end is not there yet.
    fn find(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, BadHead> {
        while let Some(at) = bytes.get(self.searched..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let end = self.searched + at + 1;
            let line = bytes.get(..end).unwrap_or_default();
            if !line.ends_with(LINE_END) {
                return Err(BadHead::Malformed);
            }
            self.searched = end;
            if line.ends_with(HEAD_END) {
                self.searched = 0;
                return if end > limit { Err(BadHead::TooLarge) } else { Ok(Some(end)) };
            }
        }
        self.searched = bytes.len();
        if bytes.len() > limit { Err(BadHead::TooLarge) } else { Ok(None) }
    }
}

const LINE_END: &[u8] = b"\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Reads the request's head that `bytes` begin with; says how long it is. None where its end is not there.
///
/// # Errors
/// See [`BadHead`]. `fields` is the most it may have.
pub fn request(bytes: &[u8], fields: usize, into: &mut RequestHead) -> Result<Option<usize>, BadHead> {
    with_room(bytes, fields, |room| {
        let mut parsed = httparse::Request::new(&mut []);
        let done = parsed.parse_with_uninit_headers(bytes, room).map_err(|error| match refuse(error) {
            BadHead::Version if !names_a_version(bytes) => BadHead::Malformed,
            bad => bad,
        })?;
        let httparse::Status::Complete(length) = done else { return Ok(None) };
        let text = bytes.get(..length).unwrap_or_default();
        into.method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
            .map_err(|_not_a_token| BadHead::Malformed)?;
        into.version = version(parsed.version);
        // One space and no more is what httparse takes on both sides of the target.
        into.read_target(parsed.path.unwrap_or_default()).ok_or(BadHead::Malformed)?;
        take_fields(text, parsed.headers, &mut into.fields)?;
        Ok(Some(length))
    })
}

/// Takes the fields over; every line must end with CRLF, where httparse would take a bare LF.
fn take_fields(text: &[u8], headers: &[httparse::Header<'_>], into: &mut Fields) -> Result<(), BadHead> {
    if !text.ends_with(HEAD_END) {
        return Err(BadHead::Malformed);
    }
    into.take_text(text);
    for header in headers {
        let (name, value) = (offset(text, header.name.as_bytes()), offset(text, header.value));
        if !text.get(..name).unwrap_or_default().ends_with(LINE_END) {
            return Err(BadHead::Malformed);
        }
        into.push_line(Span::new(name, name + header.name.len()), Span::new(value, value + header.value.len()));
    }
    Ok(())
}

/// What an answer's first line says beside the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusLine {
    /// Whether it is HTTP/1.0, where the connection ends with the answer unless it says otherwise.
    pub old: bool,
}

/// Reads the answer's head that `bytes` begin with; says how long it is. None where its end is not there.
///
/// # Errors
/// See [`BadHead`].
pub fn response(bytes: &[u8], fields: usize, into: &mut ResponseHead) -> Result<Option<(usize, StatusLine)>, BadHead> {
    with_room(bytes, fields, |room| {
        let mut parsed = httparse::Response::new(&mut []);
        let done = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, bytes, room)
            .map_err(refuse)?;
        let httparse::Status::Complete(length) = done else { return Ok(None) };
        into.status = StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(|_range| BadHead::Malformed)?;
        take_fields(bytes.get(..length).unwrap_or_default(), parsed.headers, &mut into.fields)?;
        Ok(Some((length, StatusLine { old: parsed.version == Some(0) })))
    })
}

fn with_room<'b, T>(
    _of: &'b [u8],
    fields: usize,
    parse: impl FnOnce(&mut [MaybeUninit<httparse::Header<'b>>]) -> Result<T, BadHead>,
) -> Result<T, BadHead> {
    let mut few = [const { MaybeUninit::uninit() }; FEW_FIELDS];
    match few.get_mut(..fields) {
        Some(room) => parse(room),
        None => parse(&mut vec![MaybeUninit::uninit(); fields]),
    }
}

const fn refuse(error: httparse::Error) -> BadHead {
    match error {
        httparse::Error::TooManyHeaders => BadHead::TooLarge,
        httparse::Error::Version => BadHead::Version,
        _ => BadHead::Malformed,
    }
}

/// Whether a request line ends with a version of HTTP, whichever that is. What ends with anything else is no request line.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let third = words.nth(2).unwrap_or_default();
    let version = third.strip_prefix(b"HTTP/").unwrap_or_default();
    words.next().is_none()
        && matches!(version, [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

const fn version(minor: Option<u8>) -> Version {
    if matches!(minor, Some(0)) { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// Where a part of `bytes` begins in it. An empty part may point anywhere: it is as good at the beginning.
fn offset(bytes: &[u8], part: &[u8]) -> usize {
    if part.is_empty() { 0 } else { part.as_ptr() as usize - bytes.as_ptr() as usize }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &[u8]) -> Result<RequestHead, BadHead> {
        let mut head = RequestHead::default();
        let at_once = HeadEnd::default().read(text, 1 << 15, |bytes| whole(request(bytes, 100, &mut head)));
        // In pieces it comes to the same.
        let (mut end, mut pieces) = (HeadEnd::default(), RequestHead::default());
        let _begun =
            end.read(text.get(..1).unwrap_or_default(), 1 << 15, |bytes| whole(request(bytes, 100, &mut pieces)));
        let in_pieces = end.read(text, 1 << 15, |bytes| whole(request(bytes, 100, &mut pieces)));
        let is_head = |read: &Result<Option<(usize, ())>, BadHead>| matches!(read, Ok(Some(_)));
        assert_eq!(is_head(&at_once), is_head(&in_pieces), "{:?}", String::from_utf8_lossy(text));
        at_once?.map(|_| head).ok_or(BadHead::Malformed)
    }

    fn whole(read: Result<Option<usize>, BadHead>) -> Result<Option<(usize, ())>, BadHead> {
        read.map(|length| length.map(|length| (length, ())))
    }

    #[test]
    fn a_head_is_its_parts() {
        let head =
            parse(b"POST /score?x HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Padded: \t b c \t\r\n\r\nbody").expect("head");
        assert_eq!((head.method.as_str(), head.path(), head.query()), ("POST", "/score", Some("x")));
        let fields: Vec<_> = head.fields.iter().collect();
        assert_eq!(fields, [(&b"host"[..], &b"a"[..]), (b"x-empty", b""), (b"x-padded", b"b c")]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, why) in [
            (&b"GET / HTTP/1.1\nhost: a\r\n\r\n"[..], BadHead::Malformed),
            (b"GET / HTTP/1.1\r\nhost: a\n\r\n", BadHead::Malformed),
            (b"GET / HTTP/1.1\r\nhost: a\r\n\n", BadHead::Malformed),
            (b"GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n", BadHead::Malformed),
            (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", BadHead::Malformed),
            (b"GET / HTTP/1.1\r\n host: a\r\n\r\n", BadHead::Malformed),
            (b"GET / HTTP/1.1\r\nhost\r\n\r\n", BadHead::Malformed),
            (b"GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n", BadHead::Malformed),
            (b"GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n", BadHead::Malformed),
            (b"GET / HTTP/1.1\r\n: a\r\n\r\n", BadHead::Malformed),
            (b"GET  / HTTP/1.1\r\n\r\n", BadHead::Malformed),
            (b"GET / \r\n\r\n", BadHead::Malformed),
            (b"GET /x  HTTP/1.1\r\n\r\n", BadHead::Malformed),
            (b"GET /x y HTTP/1.1\r\n\r\n", BadHead::Malformed),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\r\n", BadHead::Malformed),
            (b"GET /\r\n\r\n", BadHead::Malformed),
            (b"\r\nGET / HTTP/1.1\r\n\r\n", BadHead::Malformed),
            (b"\x16\x03\x01\x02", BadHead::Malformed),
            (b"GET / HTTP/2.0\r\n\r\n", BadHead::Version),
            (b"GET / HTTP/1.2\r\n\r\n", BadHead::Version),
            (b"GET / HTTP/11\r\n\r\n", BadHead::Malformed),
        ] {
            assert_eq!(parse(text).map(|_| ()), Err(why), "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn limits_hold_however_the_bytes_come() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
        assert_eq!(parse(many.as_bytes()).map(|_| ()), Err(BadHead::TooLarge));
        let text = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let read = |end: &mut HeadEnd, bytes: &[u8], limit| {
            end.read(bytes, limit, |bytes| whole(request(bytes, 100, &mut RequestHead::default())))
        };
        let mut end = HeadEnd::default();
        for length in 0..text.len() {
            assert_eq!(read(&mut end, &text[..length], 100), Ok(None));
        }
        assert_eq!(read(&mut end, text, 100), Ok(Some((text.len(), ()))));
        for mut end in [end, HeadEnd::default()] {
            assert_eq!(read(&mut end, text, text.len() - 1), Err(BadHead::TooLarge));
        }
        assert_eq!(read(&mut HeadEnd::default(), &[b'a'; 101], 100), Err(BadHead::TooLarge));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let mut head = ResponseHead::default();
            let _ = response(&bytes, 10, &mut head);
        }

        #[test]
        fn lines_of_tokens_are_read_as_they_are(
            fields in prop::collection::vec(("[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}", "[!-~]([ -~]{0,20}[!-~])?"), 0..20),
        ) {
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = parse(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()).expect("a sound head");
            let read: Vec<_> = head.fields.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            let sent: Vec<_> =
                fields.iter().map(|(n, v)| (n.to_ascii_lowercase().into_bytes(), v.clone().into_bytes())).collect();
            prop_assert_eq!(read, sent);
        }
    }
}
