//! What the fuzz targets share: a gate that uses every rule a request can meet, and heads out of bytes.
//!
//! A target asserts what a user would miss, not only that nothing panics. Each input is read as what it is, with no bytes that
//! steer the target: seeds are what really comes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a panic is how a fuzz target speaks"
)]

use std::{
    ffi::OsString,
    io,
    path::Path,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use http::Method;
use scoregate::{
    config::{
        self,
        sources::{Env, Files},
    },
    control::{attach::Attached, build::Carried},
    proxy::{
        head::RequestHead,
        headers::outgoing::FieldSink,
        http1::parse::{self, BadHead, HeadEnd},
        http2::{
            hpack::{BlockWriter, Decoder},
            request::HeadReader,
        },
    },
    snapshot::Snapshot,
};

/// The one key of a caller.
pub const CALLER_KEY: &str = "canary-caller-key-0123456789abcdef";
/// What the service wants.
pub const SERVICE_KEY: &str = "canary-service-key-0123456789abcd";
/// Limits of the gate below.
pub const HEAD: usize = 32 << 10;
pub const FIELDS: usize = 100;

/// Variables and files of no machine: a configuration reads the same everywhere.
#[derive(Debug)]
pub struct Nowhere;

impl Env for Nowhere {
    fn var(&self, name: &str) -> Option<OsString> {
        (name == "SCOREGATE_FUZZ_SECRET").then(|| SERVICE_KEY.into())
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }
}

impl Files for Nowhere {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = |text: &str| Ok(text.as_bytes().to_vec());
        match path.file_name().and_then(|name| name.to_str()) {
            Some("secret") => file(SERVICE_KEY),
            Some("tls.crt") => file(&certificate().0),
            Some("tls.key") => file(&certificate().1),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// A certificate and its key.
fn certificate() -> &'static (String, String) {
    static MADE: OnceLock<(String, String)> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["gate.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

/// A gate with a rule of every kind. `/admin` is closed to everybody, `/open` has no credential, everything else wants the key.
const GATE: &str = r#"
version: 1
listeners:
  - { name: public, address: 0.0.0.0:8080 }
  - { name: trusting, address: 0.0.0.0:8081, trusted_proxies: [10.0.0.0/8] }
  - { name: sidecar, address: 127.0.0.1:8082 }
endpoints:
  iris:
    upstreams: ["http://127.0.0.1:9/base/score"]
    keys: { primary: { env: SCOREGATE_FUZZ_SECRET } }
    attach: { header: x-service-key, prefix: "" }
  plain: { upstreams: ["http://127.0.0.1:9/"] }
callers:
  anyone: anonymous
  team: { keys: [ { value: canary-caller-key-0123456789abcdef } ] }
routes:
  - { match: { path_prefix: /admin }, deny: true }
  - { match: { path_prefix: /open }, callers: [anyone], endpoint: plain, attach: none }
  - { match: { path_prefix: /iris, methods: [GET, POST] }, rewrite: { path_prefix: / }, callers: [team], endpoint: iris,
      identity_header: x-auth-subject, caller_headers: [authorization, x-api-key, api-key], body: 1MiB }
  - { match: { path_prefix: /special }, callers: [team], endpoint: iris, path_chars: [";", "\\", "%2F", "%5C"] }
  - { match: { path_prefix: /ws }, callers: [team], endpoint: iris, websocket: on }
  - { match: { host: other.example, path_prefix: / }, callers: [team], endpoint: iris }
"#;

/// The gate.
pub fn gate() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let loaded = config::parse(GATE.as_bytes(), "gate.yaml".as_ref(), &Nowhere, &Nowhere);
        let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
        Carried::default().build(&loaded.config, &Attached::new(), 1, 2).unwrap()
    })
}

/// The head of a request, as a connection with these bytes before it reads it.
pub fn request(bytes: &[u8]) -> Result<Option<(usize, RequestHead)>, BadHead> {
    let mut head = RequestHead::default();
    let read = HeadEnd::default().read(bytes, HEAD, |bytes| {
        parse::request(bytes, FIELDS, &mut head).map(|length| length.map(|length| (length, ())))
    });
    Ok(read?.map(|(length, ())| (length, head)))
}

/// The same request as HTTP/2 brings it; none where HTTP/2 has no such request.
pub fn over_http2(head: &RequestHead) -> Option<RequestHead> {
    let authority = head.authority().or_else(|| std::str::from_utf8(head.fields.all("host").next()?).ok())?;
    let target = match head.query() {
        Some(query) => format!("{}?{query}", head.path()),
        None => head.path().to_owned(),
    };
    let mut block = Vec::new();
    let mut writer = BlockWriter::trailers(&mut block);
    writer.field(b":method", head.method.as_str().as_bytes());
    if head.method != Method::CONNECT {
        writer.field(b":scheme", b"https");
        writer.field(b":path", target.as_bytes());
    }
    writer.field(b":authority", authority.as_bytes());
    for (name, value) in head.fields.iter() {
        writer.field(name, value);
    }
    let mut made = RequestHead::default();
    let mut reader = HeadReader::new(&mut made, HEAD);
    Decoder::default().read(&block, |field| reader.field(field)).expect("what is written is read");
    reader.end(false).ok()?;
    Some(made)
}

/// How often a field stands in a head's text, by a reader that knows nothing of ours.
pub fn count(text: &[u8], name: &str) -> usize {
    let begins = |line: &&[u8]| {
        line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name.as_bytes()))
            && line.get(name.len()) == Some(&b':')
    };
    text.split(|byte| *byte == b'\n').filter(begins).count()
}

/// Whether `text` has `part` in it.
pub fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window == part.as_bytes())
}

/// The segments of a path as a simple server sees them: escapes decoded once, empty and dotted segments resolved. None where
/// that leads above the root or the path has an escape that is none.
pub fn resolved(raw: &str) -> Option<Vec<Vec<u8>>> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for segment in raw.split('/').skip(1) {
        let mut bytes = segment.bytes();
        let mut decoded = Vec::new();
        while let Some(byte) = bytes.next() {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            decoded.push(if byte == b'%' { digit(bytes.next())? << 4 | digit(bytes.next())? } else { byte });
        }
        match decoded.as_slice() {
            b"" | b"." => {}
            b".." => drop(segments.pop()?),
            _ => segments.push(decoded),
        }
    }
    Some(segments)
}
