//! Heads of HTTP/1.1, both sides: read the same however they come, and nothing in them has a second meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scoregate::proxy::{
    head::{Fields, RequestHead, ResponseHead},
    headers::outgoing::FieldSink,
    http1::{
        parse::{self, HeadEnd},
        write::HeadWriter,
    },
};
use scoregate_fuzz::{FIELDS, HEAD, request};

fuzz_target!(|bytes: &[u8]| {
    requests(bytes);
    responses(bytes);
});

fn requests(bytes: &[u8]) {
    let at_once = request(bytes);
    if let Ok(Some((length, head))) = &at_once {
        let text = &bytes[..*length];
        assert!(text.ends_with(b"\r\n\r\n") && *length <= HEAD && head.fields.len() <= FIELDS);
        sound(text, &head.fields);
        assert!(head.path().bytes().all(|byte| byte.is_ascii_graphic()), "a target that is not one word");
        let target = match head.query() {
            Some(query) => [head.path(), "?", query].concat(),
            None => head.path().to_owned(),
        };
        if head.authority().is_none() {
            let mut again = Vec::new();
            let mut writer = HeadWriter::request(&mut again, &head.method, &[&target]);
            copy(&mut writer, &head.fields);
            writer.end();
            let (_, again) = request(&again).expect("what we write we read").expect("all of it");
            assert_eq!(listed(&again.fields), listed(&head.fields));
            assert_eq!((&again.method, again.path(), again.query()), (&head.method, head.path(), head.query()));
        }
    }
    in_pieces(bytes, at_once.is_ok_and(|read| read.is_some()), |end, bytes| {
        let mut head = RequestHead::default();
        let read = |bytes: &[u8]| Ok(parse::request(bytes, FIELDS, &mut head)?.map(|length| (length, ())));
        end.read(bytes, HEAD, read).map(|read| read.is_some()).map_err(drop)
    });
}

fn responses(bytes: &[u8]) {
    let mut head = ResponseHead::default();
    let at_once = HeadEnd::default().read(bytes, HEAD, |bytes| parse::response(bytes, FIELDS, &mut head));
    if let Ok(Some((length, _))) = at_once {
        sound(&bytes[..length], &head.fields);
        let mut again = Vec::new();
        let mut writer = HeadWriter::response(&mut again, head.status);
        copy(&mut writer, &head.fields);
        writer.end();
        let mut read = ResponseHead::default();
        parse::response(&again, FIELDS, &mut read).expect("what we write we read").expect("all of it");
        assert_eq!((read.status, listed(&read.fields)), (head.status, listed(&head.fields)));
    }
    in_pieces(bytes, at_once.is_ok_and(|read| read.is_some()), |end, bytes| {
        let mut head = ResponseHead::default();
        end.read(bytes, HEAD, |bytes| parse::response(bytes, FIELDS, &mut head))
            .map(|read| read.is_some())
            .map_err(drop)
    });
}

/// Byte by byte a head is read exactly where it is read at once.
fn in_pieces(bytes: &[u8], whole: bool, mut read: impl FnMut(&mut HeadEnd, &[u8]) -> Result<bool, ()>) {
    let mut end = HeadEnd::default();
    let mut there = Ok(false);
    for length in 1..=bytes.len().min(2048) {
        there = read(&mut end, &bytes[..length]);
        if there != Ok(false) {
            break;
        }
    }
    if bytes.len() <= 2048 {
        let ends = bytes.windows(4).any(|four| four == b"\r\n\r\n");
        assert!(
            !ends || there != Ok(false),
            "its end is there and more is awaited: {:?}",
            String::from_utf8_lossy(bytes)
        );
        assert_eq!(there == Ok(true), whole, "{:?}", String::from_utf8_lossy(bytes));
    }
}

/// A line of the text for each field, and no byte in any of them that ends a line or a name.
fn sound(text: &[u8], fields: &Fields) {
    let lines = text.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(lines, fields.len() + 2, "a field that spans lines, or a line that is none");
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), lines);
    for (name, value) in fields.iter() {
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        assert!(!name.is_empty() && name.iter().all(token) && !name.iter().any(u8::is_ascii_uppercase));
        assert!(!value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')), "{value:?}");
        assert!(
            !value.first().is_some_and(u8::is_ascii_whitespace) && !value.last().is_some_and(u8::is_ascii_whitespace)
        );
    }
}

fn copy(writer: &mut HeadWriter<'_>, fields: &Fields) {
    for (name, value) in fields.iter() {
        writer.field(name, value);
    }
}

fn listed(fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}
