//! Where a request came from: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via` (RFC 9110 section 7.6.3).
//!
//! What a caller says of itself is believed only where its peer is a trusted proxy; else it is replaced.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The hop before this one.
#[derive(Debug)]
pub struct PreviousHop<'a> {
    /// `forwarded`, `x-real-ip` or any `x-forwarded-…` stands in the head.
    pub claims: bool,
    /// Its address, as text.
    pub address: &'a HeaderValue,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Whether what it says of the hops before it is believed.
    pub trusted: bool,
    /// The `Host` or `:authority` it asked for.
    pub host: HeaderValue,
    /// The HTTP it spoke.
    pub version: Version,
}

/// Writes where the request came from.
pub fn set_forwarded(headers: &mut HeaderMap, hop: PreviousHop<'_>) {
    let PreviousHop { claims, address, tls, trusted, host, version } = hop;
    let proto = if tls { "https" } else { "http" };
    if trusted {
        append(headers, &header::FORWARDED, &forwarded_element(address, proto, &host));
        append(headers, &X_FORWARDED_FOR, address.as_bytes());
        if !headers.contains_key(X_FORWARDED_FOR) {
            headers.insert(X_FORWARDED_FOR, address.clone());
        }
        if !headers.contains_key(X_FORWARDED_PROTO) {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
        }
        if !headers.contains_key(X_FORWARDED_HOST) {
            headers.insert(X_FORWARDED_HOST, host);
        }
    } else {
        if claims {
            remove_claims(headers);
        }
        headers.insert(X_FORWARDED_FOR, address.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
        headers.insert(X_FORWARDED_HOST, host);
    }
    let via = HeaderValue::from_static(match version {
        Version::HTTP_2 => "2.0 scoregate",
        Version::HTTP_10 => "1.0 scoregate",
        _ => "1.1 scoregate",
    });
    headers.append(header::VIA, via);
}

/// Whatever a stranger says of where its request came from.
fn remove_claims(headers: &mut HeaderMap) {
    let is_claim = |name: &&HeaderName| {
        matches!(name.as_str(), "forwarded" | "x-real-ip") || name.as_str().starts_with("x-forwarded-")
    };
    let claims: Vec<HeaderName> = headers.keys().filter(is_claim).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Joins the values of a field that is there and adds an element; a field that is not there stays away.
fn append(headers: &mut HeaderMap, name: &HeaderName, element: &[u8]) {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return };
    let mut joined = first.as_bytes().to_vec();
    for value in values {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value.as_bytes());
    }
    joined.extend_from_slice(b", ");
    joined.extend_from_slice(element);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(name.clone(), joined);
    }
}

fn forwarded_element(address: &HeaderValue, proto: &str, host: &HeaderValue) -> Vec<u8> {
    let address = address.as_bytes();
    let mut element = b"for=".to_vec();
    if address.contains(&b':') {
        element.extend_from_slice(b"\"[");
        element.extend_from_slice(address);
        element.extend_from_slice(b"]\"");
    } else {
        element.extend_from_slice(address);
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(proto.as_bytes());
    element.extend_from_slice(b";host=\"");
    element.extend_from_slice(host.as_bytes());
    element.push(b'"');
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(trusted: bool, fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let hop = PreviousHop {
            claims: true,
            address: &HeaderValue::from_static("10.1.2.3"),
            tls: true,
            trusted,
            host: HeaderValue::from_static("gate.example:8443"),
            version: Version::HTTP_11,
        };
        set_forwarded(&mut headers, hop);
        let mut lines: Vec<String> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
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
