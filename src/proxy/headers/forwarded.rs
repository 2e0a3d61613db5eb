//! Where a request came from: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via` (RFC 9110 section 7.6.3).
//!
//! What a caller says of itself is believed only where its peer is a trusted proxy; else it is replaced.

use http::Version;

use super::{
    outgoing::{FieldSink, joined},
    survey::Survey,
};
use crate::proxy::head::Fields;

/// The hop before this one.
#[derive(Debug, Clone, Copy)]
pub struct PreviousHop<'a> {
    /// Its address, as text.
    pub address: &'a [u8],
    /// Whether it came over TLS.
    pub tls: bool,
    /// Whether what it says of the hops before it is believed.
    pub trusted: bool,
    /// The `Host` or `:authority` it asked for.
    pub host: &'a [u8],
    /// The HTTP it spoke.
    pub version: Version,
}

/// Writes where the request came from. The claims that are replaced or added to did not pass (`outgoing`).
pub fn write(sink: &mut impl FieldSink, hop: &PreviousHop<'_>, survey: &Survey<'_>, fields: &Fields) {
    let proto: &[u8] = if hop.tls { b"https" } else { b"http" };
    if hop.trusted && survey.forwarded.first().is_some() {
        sink.field(b"forwarded", &added(fields, "forwarded", &element(hop.address, proto, hop.host)));
    }
    if hop.trusted && survey.forwarded_for.first().is_some() {
        sink.field(b"x-forwarded-for", &added(fields, "x-forwarded-for", hop.address));
    } else {
        sink.field(b"x-forwarded-for", hop.address);
    }
    if !(hop.trusted && survey.forwarded_proto) {
        sink.field(b"x-forwarded-proto", proto);
    }
    if !(hop.trusted && survey.forwarded_host) {
        sink.field(b"x-forwarded-host", hop.host);
    }
    sink.field(
        b"via",
        match hop.version {
            Version::HTTP_2 => b"2.0 scoregate",
            Version::HTTP_10 => b"1.0 scoregate",
            _ => b"1.1 scoregate",
        },
    );
}

/// The values of a field joined, and one more.
fn added(fields: &Fields, name: &str, element: &[u8]) -> Vec<u8> {
    let mut values = joined(fields, name, b", ");
    values.extend_from_slice(b", ");
    values.extend_from_slice(element);
    values
}

fn element(address: &[u8], proto: &[u8], host: &[u8]) -> Vec<u8> {
    let mut element = b"for=".to_vec();
    if address.contains(&b':') {
        element.extend_from_slice(b"\"[");
        element.extend_from_slice(address);
        element.extend_from_slice(b"]\"");
    } else {
        element.extend_from_slice(address);
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(proto);
    element.extend_from_slice(b";host=\"");
    element.extend_from_slice(host);
    element.push(b'"');
    element
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::proxy::{
        head::RequestHead,
        headers::{outgoing::Outgoing, trace},
    };

    fn forwarded(trusted: bool, fields: &[(&str, &str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.field(name.as_bytes(), value.as_bytes());
        }
        let mut head = RequestHead::default();
        head.fields = map.into();
        let survey = Survey::of(&head.fields);
        let hop = PreviousHop {
            address: b"10.1.2.3",
            tls: true,
            trusted,
            host: b"gate.example:8443",
            version: Version::HTTP_11,
        };
        let id = trace::request_id(survey.request_id, || 1);
        let mut out = HeaderMap::new();
        Outgoing { head: &head, survey: &survey, configured: &[], hop, id: &id, identity: None, websocket_key: false }
            .write(&mut out);
        out.remove("x-request-id");
        let mut lines: Vec<String> = out.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    const SPOOFED: [(&str, &str); 4] = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=6.6.6.6"),
        ("via", "1.1 edge"),
    ];

    #[test]
    fn what_a_stranger_says_of_itself_is_replaced() {
        let spoofed =
            [("x-forwarded-port", "1"), ("x-real-ip", "6.6.6.6"), ("x-forwarded-prefix", "/admin"), ("accept", "*/*")];
        assert!(
            forwarded(false, &spoofed)
                .iter()
                .all(|line| !line.contains("port") && !line.contains("real") && !line.contains("prefix"))
        );
        assert_eq!(
            forwarded(false, &SPOOFED),
            [
                "via: 1.1 edge",
                "via: 1.1 scoregate",
                "x-forwarded-for: 10.1.2.3",
                "x-forwarded-host: gate.example:8443",
                "x-forwarded-proto: https"
            ]
        );
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept_and_added_to() {
        assert_eq!(
            forwarded(true, &SPOOFED),
            [
                "forwarded: for=6.6.6.6, for=10.1.2.3;proto=https;host=\"gate.example:8443\"",
                "via: 1.1 edge",
                "via: 1.1 scoregate",
                "x-forwarded-for: 6.6.6.6, 10.1.2.3",
                "x-forwarded-host: gate.example:8443",
                "x-forwarded-proto: http"
            ]
        );
    }
}
