//! What goes on of a head: one framing, one host, one credential and that ours; nothing that ends at this hop.
#![no_main]

use http::{HeaderName, Version};
use libfuzzer_sys::fuzz_target;
use scoregate::proxy::{
    head::{Fields, RequestHead, ResponseHead},
    headers::{
        forwarded::PreviousHop,
        framing,
        outgoing::{self, FieldSink, Identity, Outgoing},
        survey::{ResponseSurvey, Survey},
        trace::request_id,
    },
    http1::{
        parse::{self, HeadEnd},
        write::HeadWriter,
    },
};
use scoregate_fuzz::{FIELDS, HEAD, SERVICE_KEY, over_http2, request};

/// Of which none may come from a caller, whatever it sends.
const NEVER: [&str; 18] = [
    "authorization",
    "x-api-key",
    "api-key",
    "proxy-authorization",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "expect",
    "x-auth-subject",
    "x-real-ip",
    "x-forwarded-port",
    "forwarded",
    "x-service-key",
    "transfer-encoding",
];
/// Which there is one of.
const ONE: [&str; 6] =
    ["host", "content-length", "x-request-id", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
const ID: u128 = 0x1234_5678_9abc_def0_1234_5678_9abc_def0;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((_, head))) = request(bytes) {
        if let Some(head) = over_http2(&head) {
            forwarded(&head);
        }
        forwarded(&head);
    }
    let mut head = ResponseHead::default();
    if let Ok(Some(_)) = HeadEnd::default().read(bytes, HEAD, |bytes| parse::response(bytes, FIELDS, &mut head)) {
        answered(&head);
    }
});

/// As `sending` writes a request towards an upstream of HTTP/1.1.
fn forwarded(head: &RequestHead) {
    let survey = Survey::of(&head.fields);
    let Ok(length) = framing::check_request(head.version, &survey) else { return };
    let configured = ["x-service-key", "x-auth-subject"].map(HeaderName::from_static);
    let id = request_id(survey.request_id, || ID);
    let identity = HeaderName::from_static("x-auth-subject");
    let host = survey.host.first().unwrap_or(b"gate.example");
    let hop = PreviousHop { address: b"192.0.2.1", tls: false, trusted: false, host, version: head.version };
    let mut text = Vec::new();
    let mut writer = HeadWriter::request(&mut text, &head.method, &["/base", "/score"]);
    writer.field(b"host", b"upstream.example");
    Outgoing {
        head,
        survey: &survey,
        configured: &configured,
        hop,
        id: &id,
        identity: Some((&identity, Identity { caller: "team", who: Some("somebody") })),
        websocket_key: false,
    }
    .write(&mut writer);
    writer.field(b"x-service-key", SERVICE_KEY.as_bytes());
    match length {
        Some(length) => writer.length(length),
        None => writer.line(b"transfer-encoding: chunked\r\n"),
    }
    writer.end();

    let mut read = RequestHead::default();
    let whole =
        parse::request(&text, 2 * FIELDS, &mut read).unwrap_or_else(|bad| panic!("{bad}: {}", text.escape_ascii()));
    assert_eq!(whole, Some(text.len()), "a head that ends before its end: {}", text.escape_ascii());
    for name in NEVER {
        let allowed: &[&[u8]] = match name {
            "te" => &[b"trailers"],
            "x-auth-subject" => &[b"team/somebody"],
            "x-service-key" => &[SERVICE_KEY.as_bytes()],
            "transfer-encoding" if length.is_none() => &[b"chunked"],
            _ => &[],
        };
        let there: Vec<&[u8]> = read.fields.all(name).collect();
        assert!(there.is_empty() || there == allowed, "{name}: {}", text.escape_ascii());
    }
    for name in ONE {
        let expected = if name == "content-length" { usize::from(length.is_some()) } else { 1 };
        assert_eq!(read.fields.all(name).count(), expected, "{name}: {}", text.escape_ascii());
    }
    assert_eq!(read.fields.all("host").next(), Some(&b"upstream.example"[..]));
    // Every proxy on the way adds a line of its own (RFC 9110 section 7.6.3).
    assert!(read.fields.all("via").last().is_some_and(|last| last.ends_with(b" scoregate")), "{}", text.escape_ascii());
    assert_eq!(read.fields.all("x-forwarded-for").next(), Some(&b"192.0.2.1"[..]), "a claim of the caller's own");
    for (name, value) in read.fields.iter() {
        let spelled = String::from_utf8_lossy(name).replace(['_', '.'], "-");
        assert!(spelled.as_bytes() == name, "{spelled}: a twin of another field passes");
        // What passes came like this, or is ours.
        let came = head.fields.iter().any(|(other, as_it_was)| other == name && as_it_was == value);
        let ours = ONE.contains(&&*spelled)
            || NEVER.contains(&&*spelled)
            || ["cookie", "max-forwards", "via"].contains(&&*spelled);
        assert!(came || ours || value == id.as_bytes(), "{spelled}: made up: {}", text.escape_ascii());
    }
    // A second gate behind this one lets pass what the first did.
    let survey = Survey::of(&read.fields);
    assert_eq!(framing::check_request(Version::HTTP_11, &survey).ok(), Some(length));
}

/// As `http1::server` writes an answer.
fn answered(head: &ResponseHead) {
    let survey = ResponseSurvey::of(&head.fields);
    if !framing::response_is_sound(survey.transfer_encoding, survey.content_length) {
        return;
    }
    let has_length = survey.content_length.first().is_some();
    let id = request_id(Survey::default().request_id, || ID);
    let mut text = Vec::new();
    let mut writer = HeadWriter::response(&mut text, head.status);
    outgoing::write_answer(&mut writer, &head.fields, true, &id, b"Thu, 01 Jan 1970 00:00:00 GMT");
    if !has_length {
        writer.line(b"transfer-encoding: chunked\r\n");
    }
    writer.end();
    let mut read = ResponseHead::default();
    let whole = parse::response(&text, 2 * FIELDS, &mut read).expect("what we write is read").map(|(length, _)| length);
    assert_eq!(whole, Some(text.len()), "an answer that is split: {}", text.escape_ascii());
    let count = |fields: &Fields, name: &str| fields.all(name).count();
    for name in ["connection", "keep-alive", "proxy-connection", "upgrade", "proxy-authenticate"] {
        assert_eq!(count(&read.fields, name), 0, "{name}: {}", text.escape_ascii());
    }
    assert_eq!(count(&read.fields, "content-length") + count(&read.fields, "transfer-encoding"), 1);
    assert!(count(&read.fields, "date") >= 1 && count(&read.fields, "x-request-id") >= 1);
    let again = ResponseSurvey::of(&read.fields);
    assert!(framing::response_is_sound(again.transfer_encoding, again.content_length));
}
