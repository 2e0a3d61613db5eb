//! Heads out of bytes (RFC 9112 sections 2 to 6): strict, since what two servers read in two ways is how requests are smuggled.
//!
//! Its first line is read here and its fields by `lines`; what doubt names and values leave is `headers::framing`'s. A head is parsed
//! once, when its end is there; until then only the search for that end goes on.

use std::ops::Range;

use http::{Method, StatusCode, Version};

use super::lines::LINE_END;
use crate::proxy::{
    head::{RequestHead, ResponseHead, is_uri_text},
    headers::grammar::{text_length, token_length},
};

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
            // What has its end and is no head all the same will not become one.
            return parse(bytes.get(..end).unwrap_or_default())?.map(Some).ok_or(BadHead::Malformed);
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

const HEAD_END: &[u8] = b"\r\n\r\n";

/// Reads the request's head that `bytes` begin with; says how long it is. None where its end is not there.
///
/// # Errors
/// See [`BadHead`]. `fields` is the most it may have.
pub fn request(bytes: &[u8], fields: usize, into: &mut RequestHead) -> Result<Option<usize>, BadHead> {
    let (method, behind) = bytes.split_at_checked(token_length(bytes)).unwrap_or_default();
    let target = match behind {
        [b' ', target @ ..] => target,
        [] => return Ok(None),
        _ => return Err(BadHead::Malformed),
    };
    let Some(length) = memchr::memchr(b' ', target) else {
        return if is_uri_text(target) { Ok(None) } else { Err(BadHead::Malformed) };
    };
    let (target, behind) = target.split_at_checked(length).unwrap_or_default();
    into.method = Method::from_bytes(method).map_err(|_not_a_token| BadHead::Malformed)?;
    // One space and no more stands on both sides of the target.
    into.read_target(target).ok_or(BadHead::Malformed)?;
    let version = behind.get(1..).unwrap_or_default();
    into.version = match version.get(..VERSION_LINE) {
        Some(b"HTTP/1.1\r\n") => Version::HTTP_11,
        Some(b"HTTP/1.0\r\n") => Version::HTTP_10,
        Some(other) => return Err(refuse_version(other)),
        None if may_become_version(version) => return Ok(None),
        None => return Err(BadHead::Malformed),
    };
    let begin = method.len() + 1 + target.len() + 1 + VERSION_LINE;
    into.fields.read(bytes, begin, fields)
}

/// The length of a version with its line end.
const VERSION_LINE: usize = "HTTP/1.1\r\n".len();

/// Whether what is there is the beginning of a version with its line end.
fn may_become_version(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/0.0\r\n").all(|(byte, form)| byte == form || (*form == b'0' && byte.is_ascii_digit()))
}

/// What is no version of ours with its line end.
fn refuse_version(line: &[u8]) -> BadHead {
    match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', ..] => BadHead::Malformed,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b'\r', _]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            BadHead::Version
        }
        _ => BadHead::Malformed,
    }
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
    let old = match bytes {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b' ', ..] => *minor == b'0',
        _ if b"HTTP/1.1 ".starts_with(bytes) || b"HTTP/1.0 ".starts_with(bytes) => return Ok(None),
        _ if bytes.starts_with(b"HTTP/") => return Err(BadHead::Version),
        _ => return Err(BadHead::Malformed),
    };
    let status = bytes.get(STATUS).unwrap_or_default();
    if status.len() < STATUS.len() {
        return if status.iter().all(u8::is_ascii_digit) { Ok(None) } else { Err(BadHead::Malformed) };
    }
    into.status = StatusCode::from_bytes(status).map_err(|_range| BadHead::Malformed)?;
    let reason = bytes.get(STATUS.end..).unwrap_or_default();
    // The space before it may be missing with it.
    let length = if reason.first() == Some(&b' ') { text_length(reason) } else { 0 };
    match reason.get(length..).unwrap_or_default() {
        [b'\r', b'\n', ..] => {}
        [] | [b'\r'] => return Ok(None),
        _ => return Err(BadHead::Malformed),
    }
    let length = into.fields.read(bytes, STATUS.end + length + LINE_END.len(), fields)?;
    Ok(length.map(|length| (length, StatusLine { old })))
}

/// Where the status stands in an answer's first line.
const STATUS: Range<usize> = 9..12;

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
        if text.windows(4).any(|four| four == HEAD_END) {
            // Who waits for more of it would wait without a limit.
            assert!(!matches!(in_pieces, Ok(None)), "{:?}", String::from_utf8_lossy(text));
        }
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
            (b"CONNECT  HTTP/1.1\r\n\r\n", BadHead::Malformed),
            (b"GET / HTTP/\r\n\r\n", BadHead::Malformed),
            (b"GET / HTTP\r\n\r\n", BadHead::Malformed),
            (b"GET / HTTP/1.1\n\r\n\r\n", BadHead::Malformed),
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

    /// The first line's parts, and the fields.
    type Read = (String, Vec<(Vec<u8>, Vec<u8>)>);

    /// A head as httparse reads it, and what is refused on top of that: line ends other than CRLF.
    fn as_httparse(bytes: &[u8]) -> Option<Read> {
        let mut room = [httparse::EMPTY_HEADER; 10];
        let (first, length) = if bytes.starts_with(b"HTTP") {
            let mut parsed = httparse::Response::new(&mut room);
            let httparse::Status::Complete(length) = parsed.parse(bytes).ok()? else { return None };
            (format!("{:?} {:?}", parsed.version?, parsed.code.filter(|code| *code >= 100)?), length)
        } else {
            let mut parsed = httparse::Request::new(&mut room);
            let httparse::Status::Complete(length) = parsed.parse(bytes).ok()? else { return None };
            let mut head = RequestHead::default();
            head.method = parsed.method?.parse().ok()?;
            head.read_target(parsed.path?.as_bytes())?;
            (format!("{:?} {}", parsed.version?, first_line(&head)), length)
        };
        let head = &bytes[..length];
        let bare = head.iter().enumerate().any(|(at, byte)| *byte == b'\n' && !head[..at].ends_with(b"\r"));
        let fields = room.iter().take_while(|field| !field.name.is_empty());
        (!bare).then(|| (first, fields.map(|f| (f.name.to_ascii_lowercase().into_bytes(), f.value.to_vec())).collect()))
    }

    fn first_line(head: &RequestHead) -> String {
        format!("{} {:?} {} {:?}", head.method, head.authority(), head.path(), head.query())
    }

    fn as_ours(bytes: &[u8]) -> Option<Read> {
        let (first, fields) = if bytes.starts_with(b"HTTP") {
            let mut head = ResponseHead::default();
            let (_, line) = response(bytes, 10, &mut head).ok()??;
            (format!("{} {}", u8::from(!line.old), head.status.as_u16()), head.fields)
        } else {
            let mut head = RequestHead::default();
            request(bytes, 10, &mut head).ok()??;
            (format!("{} {}", u8::from(head.version == Version::HTTP_11), first_line(&head)), head.fields)
        };
        Some((first, fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()))
    }

    /// Pieces that heads are made of, good and bad ones.
    const PIECES: [&[u8]; 29] = [
        b"HTTP/",
        b"GET",
        b"/x?y",
        b" ",
        b" ",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/1.2",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b":",
        b":",
        b": ",
        b"Host",
        b"a",
        b"B-c",
        b"\t",
        b"200",
        b"099",
        b"OK",
        b"\xe9",
        b"\x7f",
        b"\0",
        b"/",
        b"{",
        b"12345678",
    ];

    proptest! {
        #[test]
        fn what_is_read_is_what_httparse_reads(
            of_answers in any::<bool>(),
            pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24),
            whole in 0..4,
        ) {
            let line: &[u8] = if of_answers { b"HTTP/1.1 200 OK\r\n" } else { b"POST /score HTTP/1.1\r\n" };
            let line = if whole > 0 { line } else if of_answers { b"HTTP" } else { b"GET " };
            let text = [line, &pieces.concat(), if whole > 1 { b"\r\n\r\n" } else { b"" }].concat();
            prop_assert_eq!(as_ours(&text), as_httparse(&text), "{:?}", String::from_utf8_lossy(&text));
            if !of_answers {
                // Read in pieces it is the same, and an end that is there is not waited for.
                let _same = parse(&text);
            }
        }

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
