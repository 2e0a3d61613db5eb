//! The requests that are sent.

use std::io;

use crate::arguments::Arguments;

/// A request's bytes, and the length of the body that must answer it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Head and body.
    pub bytes: Vec<u8>,
    /// Length of the answer's body.
    pub answer: usize,
}

impl Request {
    /// What `--path`, `--key`, `--body` (a number of bytes; none: a GET) and `--answer` ask for.
    ///
    /// # Errors
    /// Where an option cannot be read.
    pub fn read(arguments: &Arguments) -> io::Result<Self> {
        let path: String = arguments.optional("path")?.unwrap_or_else(|| "/score".to_owned());
        let key: String = arguments.needed("key")?;
        let body = arguments.optional("body")?.unwrap_or(190);
        Ok(Self { bytes: bytes(&path, &key, body), answer: arguments.optional("answer")?.unwrap_or(32) })
    }

    /// A POST of that many bytes by the same caller, as one of 190 is answered.
    ///
    /// # Errors
    /// Where an option cannot be read.
    pub fn bulk(arguments: &Arguments, body: usize) -> io::Result<Self> {
        let key: String = arguments.needed("key")?;
        Ok(Self { bytes: bytes("/upload", &key, body), answer: 32 })
    }
}

fn bytes(path: &str, key: &str, body: usize) -> Vec<u8> {
    let method = if body == 0 { "GET" } else { "POST" };
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n").into_bytes();
    if body == 0 {
        bytes.extend_from_slice(b"\r\n");
        return bytes;
    }
    bytes.extend_from_slice(format!("content-type: application/json\r\ncontent-length: {body}\r\n\r\n").as_bytes());
    bytes.extend(b"{\"data\": [[5.1, 3.5, 1.4, 0.2]]}".iter().cycle().take(body));
    bytes
}
