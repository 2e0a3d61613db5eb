//! Field blocks as they are written.

use http::{HeaderName, HeaderValue, StatusCode};

use crate::proxy::headers::outgoing::FieldSink;

/// Tells the reader that we keep no table (RFC 7541 section 4.2); once, before anything else.
pub const NO_TABLE: u8 = 0x20;
/// A literal that is not kept, and one that nobody on the way may keep.
const PLAIN: u8 = 0x00;
const NEVER: u8 = 0x10;

/// A field block that is being written. Whoever calls has made sure that names and values are sound, names in lower case.
#[derive(Debug)]
pub struct BlockWriter<'a>(&'a mut Vec<u8>);

impl<'a> BlockWriter<'a> {
    /// Begins an answer: its status.
    pub fn answer(into: &'a mut Vec<u8>, status: StatusCode) -> Self {
        let index = match status.as_u16() {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                // The name of `:status`.
                into.extend_from_slice(&[8, 3]);
                into.extend_from_slice(status.as_str().as_bytes());
                return Self(into);
            }
        };
        into.push(0x80 | index);
        Self(into)
    }

    /// Begins trailers.
    pub const fn trailers(into: &'a mut Vec<u8>) -> Self {
        Self(into)
    }

    /// `content-length`
    pub fn length(&mut self, length: u64) {
        let mut digits = [0; 20];
        self.field(b"content-length", crate::proxy::http1::write::decimal(length, &mut digits));
    }

    fn literal(&mut self, kind: u8, name: &[u8], value: &[u8]) {
        self.0.reserve(name.len() + value.len() + 8);
        match index_of(name) {
            0 => {
                self.0.push(kind);
                self.string(name);
            }
            index => self.integer(kind, 4, index),
        }
        self.string(value);
    }

    fn string(&mut self, text: &[u8]) {
        self.integer(0, 7, text.len());
        self.0.extend_from_slice(text);
    }

    /// An integer behind a prefix (RFC 7541 section 5.1).
    fn integer(&mut self, kind: u8, prefix: u32, number: usize) {
        let mask = (1_usize << prefix) - 1;
        if number < mask {
            self.0.push(kind | (number & 0xff) as u8);
            return;
        }
        self.0.push(kind | (mask & 0xff) as u8);
        let mut rest = number - mask;
        while rest >= 0x80 {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push((rest & 0x7f) as u8);
    }
}

impl FieldSink for BlockWriter<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.literal(PLAIN, name, value);
    }

    fn secret(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.literal(NEVER, name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Where everybody knows a name; 0: nowhere. Those that answers have.
const fn index_of(name: &[u8]) -> usize {
    match name {
        b"accept-ranges" => 18,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"cache-control" => 24,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-length" => 28,
        b"content-location" => 29,
        b"content-range" => 30,
        b"content-type" => 31,
        b"date" => 33,
        b"etag" => 34,
        b"expires" => 36,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"proxy-authenticate" => 48,
        b"refresh" => 52,
        b"retry-after" => 53,
        b"server" => 54,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"vary" => 59,
        b"via" => 60,
        b"www-authenticate" => 61,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http2::hpack::{Decoder, table::STATIC};

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(300);
        let fields: Vec<(&str, &str)> = STATIC
            .iter()
            .map(|(name, _)| std::str::from_utf8(name).unwrap())
            .filter(|name| !name.starts_with(':'))
            .map(|name| (name, "v"))
            .chain([("x-a", ""), ("x-b", &*long), (&*long, "y"), ("x-c", "0123456789")])
            .collect();
        for status in [200, 204, 206, 304, 400, 404, 500, 201, 301, 401, 503] {
            let mut block = vec![NO_TABLE];
            let mut writer = BlockWriter::answer(&mut block, StatusCode::from_u16(status).unwrap());
            for (name, value) in &fields {
                writer.field(name.as_bytes(), value.as_bytes());
            }
            writer.secret(&HeaderName::from_static("authorization"), &HeaderValue::from_static("s"));
            writer.length(u64::MAX);
            let mut read = Vec::new();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Decoder::default().read(&block, |field| read.push((text(field.name), text(field.value)))).unwrap();
            let mut expected = vec![(":status".to_owned(), status.to_string())];
            expected.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
            expected.push(("authorization".into(), "s".into()));
            expected.push(("content-length".into(), u64::MAX.to_string()));
            assert_eq!(read, expected);
        }
    }
}
