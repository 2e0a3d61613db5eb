//! Heads and chunks into bytes. Whoever calls has made sure that names and values are sound: they were parsed, or are ours.

use http::{HeaderMap, Method, StatusCode};

use crate::proxy::headers::outgoing::FieldSink;

/// A head that is being written.
#[derive(Debug)]
pub struct HeadWriter<'a>(&'a mut Vec<u8>);

impl<'a> HeadWriter<'a> {
    /// Begins a request: its first line.
    pub fn request(into: &'a mut Vec<u8>, method: &Method, target: &[&str]) -> Self {
        into.extend_from_slice(method.as_str().as_bytes());
        into.push(b' ');
        for part in target {
            into.extend_from_slice(part.as_bytes());
        }
        into.extend_from_slice(b" HTTP/1.1\r\n");
        Self(into)
    }

    /// Begins an answer: its first line, with the registered phrase of the status.
    pub fn response(into: &'a mut Vec<u8>, status: StatusCode) -> Self {
        if status == StatusCode::OK {
            into.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
            return Self(into);
        }
        into.extend_from_slice(b"HTTP/1.1 ");
        into.extend_from_slice(status.as_str().as_bytes());
        into.push(b' ');
        into.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        into.extend_from_slice(b"\r\n");
        Self(into)
    }

    /// A whole line of our own, its end included.
    pub fn line(&mut self, line: &[u8]) {
        self.0.extend_from_slice(line);
    }

    /// `content-length`
    pub fn length(&mut self, length: u64) {
        self.0.extend_from_slice(b"content-length: ");
        let mut digits = [0; 20];
        self.0.extend_from_slice(decimal(length, &mut digits));
        self.0.extend_from_slice(b"\r\n");
    }

    /// The empty line.
    pub fn end(self) {
        self.0.extend_from_slice(b"\r\n");
    }
}

impl FieldSink for HeadWriter<'_> {
    const TAKES_LINES: bool = true;

    fn lines(&mut self, lines: &[u8]) {
        self.0.extend_from_slice(lines);
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.0.reserve(name.len() + value.len() + 4);
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }
}

/// A number's digits.
pub fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut from = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        from -= 1;
        if number == 0 {
            break;
        }
    }
    digits.get(from..).unwrap_or_default()
}

/// What stands before a chunk's data.
pub fn chunk_head(into: &mut Vec<u8>, length: usize) {
    let mut begun = false;
    for shift in (0..usize::BITS / 4).rev() {
        let digit = u8::try_from(length >> (shift * 4) & 15).unwrap_or(0);
        begun |= digit != 0;
        if begun {
            into.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }
    into.extend_from_slice(b"\r\n");
}

/// What ends a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The end of a chunked body, with its trailer section.
pub fn last_chunk(into: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    into.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        HeadWriter(into).field(name.as_str().as_bytes(), value.as_bytes());
    }
    into.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 7, 10, 12_345, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
        for length in [1, 15, 16, 255, 65_536, usize::MAX] {
            let mut text = vec![];
            chunk_head(&mut text, length);
            assert_eq!(text, format!("{length:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn a_head_and_a_chunked_body_look_as_rfc_9112_has_them() {
        let mut text = vec![];
        let mut head = HeadWriter::request(&mut text, &Method::POST, &["/base/", "score", "?", "x=1"]);
        head.field(b"host", b"a");
        head.length(3);
        head.end();
        assert_eq!(text, b"POST /base/score?x=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
        let mut text = vec![];
        HeadWriter::response(&mut text, StatusCode::NOT_FOUND).end();
        last_chunk(&mut text, Some(&[(http::header::ETAG, http::HeaderValue::from_static("1"))].into_iter().collect()));
        assert_eq!(text, b"HTTP/1.1 404 Not Found\r\n\r\n0\r\netag: 1\r\n\r\n");
    }
}
