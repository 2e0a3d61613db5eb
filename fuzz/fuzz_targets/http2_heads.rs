//! The heads that a caller's HTTP/2 connection brings: what is let through says over HTTP/1.1 what it said over HTTP/2, and no more.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use scoregate::proxy::{
    head::RequestHead,
    headers::outgoing::FieldSink,
    http1::{
        parse::{self, HeadEnd},
        write::HeadWriter,
    },
    http2::{
        frame::{self, FrameHeader, HEADER, Kind, PREFACE},
        hpack::{BlockWriter, Decoder},
        request::{HeadReader, TrailerReader},
    },
};
use scoregate_fuzz::{FIELDS, HEAD};

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    let mut block = Vec::new();
    while let Some(header) = FrameHeader::read(rest) {
        let Some(payload) = rest.get(HEADER..HEADER + header.length) else { break };
        rest = &rest[HEADER + header.length..];
        match header.kind {
            Kind::Headers => block = frame::unpadded(header, payload).unwrap_or_default().to_vec(),
            Kind::Continuation => block.extend_from_slice(payload),
            _ => continue,
        }
        if header.has(frame::END_HEADERS) && !judge(&mut decoder, &block) {
            break;
        }
    }
});

/// Judges a block's head; false where the connection ends.
fn judge(decoder: &mut Decoder, block: &[u8]) -> bool {
    let mut fields = Vec::new();
    let mut head = RequestHead::default();
    let mut reader = HeadReader::new(&mut head, HEAD);
    let mut trailers = TrailerReader::default();
    let read = decoder.read(block, |field| {
        fields.push((field.name.to_vec(), field.value.to_vec(), field.sound));
        reader.field(field);
        trailers.field(field, HEAD);
    });
    if read.is_err() {
        return false;
    }
    written(&fields);
    if let Ok(trailers) = trailers.end() {
        assert_eq!(trailers.len(), fields.len());
        assert!(fields.iter().all(|(name, _, sound)| *sound && name[0] != b':'));
    }
    if reader.end(true).is_ok() {
        downgraded(&head);
    }
    true
}

/// What is written is read the same, whatever it is.
fn written(fields: &[(Vec<u8>, Vec<u8>, bool)]) {
    let mut block = Vec::new();
    let mut writer = BlockWriter::trailers(&mut block);
    for (name, value, _) in fields {
        writer.field(name, value);
    }
    let mut read = Vec::new();
    let again =
        Decoder::default().read(&block, |field| read.push((field.name.to_vec(), field.value.to_vec(), field.sound)));
    assert!(again.is_ok() && read == fields, "{}", block.escape_ascii());
}

/// The same request over HTTP/1.1 has the same method, target and fields.
fn downgraded(head: &RequestHead) {
    if head.too_large || head.fields.len() > FIELDS || head.method == Method::CONNECT {
        return;
    }
    let mut text = Vec::new();
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut writer = HeadWriter::request(&mut text, &head.method, &[head.path(), &query]);
    for (name, value) in head.fields.iter() {
        writer.field(name, value);
    }
    writer.end();
    let mut read = RequestHead::default();
    let whole = HeadEnd::default().read(&text, 2 * HEAD, |text| {
        parse::request(text, FIELDS, &mut read).map(|length| length.map(|length| (length, length)))
    });
    // In a form of target that HTTP/1.1 has not: `canonicalize` refuses it.
    if !head.path().starts_with('/') {
        return;
    }
    let whole = whole.unwrap_or_else(|bad| panic!("{bad}: {}", text.escape_ascii()));
    assert_eq!(whole.map(|(length, _)| length), Some(text.len()), "a head that ends before its end");
    assert_eq!((&read.method, read.path(), read.query()), (&head.method, head.path(), head.query()));
    assert!(read.fields.iter().eq(head.fields.iter()), "{}", text.escape_ascii());
    for (name, _) in read.fields.iter() {
        assert!(!matches!(name, b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive"), "of a connection");
    }
}
