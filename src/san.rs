//! Names that client certificates are let in by (RFC 5280 section 4.2.1.6): DNS names, URIs, and SPIFFE ids.
//!
//! Patterns come from the configuration and are matched by the data plane. A wildcard stands for a whole label or segment and
//! never for a part of one; it never reaches into the scheme or the trust domain.

use std::fmt;

/// What a name of a certificate must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SanPattern {
    kind: Kind,
    /// As it was written.
    text: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// This DNS name, lower case.
    Dns(Box<str>),
    /// One label, and this below it.
    DnsBelow(Box<str>),
    /// This URI, letter by letter.
    Uri(Box<str>),
    /// A SPIFFE id.
    Spiffe(Box<str>, Box<[Segment]>),
}

/// A segment of a SPIFFE id's path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// This one.
    Exact(Box<str>),
    /// Any one; at the end, any number of them but none.
    Any,
}

/// The names of a certificate.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Names<S> {
    /// DNS names, lower case. Names with wildcards are not among them: they say who somebody might be.
    pub dns: Box<[S]>,
    /// URIs, as they stand there.
    pub uris: Box<[S]>,
}

const SPIFFE: &str = "spiffe://";

impl SanPattern {
    /// Reads a pattern: `client.example`, `*.clients.example`, `https://…`, `spiffe://domain/path/*`. None where it is none of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let kind = if let Some(id) = text.strip_prefix(SPIFFE) {
            let (domain, segments) = spiffe(id)?;
            let segment = |segment: &str| match segment {
                "*" => Some(Segment::Any),
                other if other.contains('*') => None,
                other => Some(Segment::Exact(other.into())),
            };
            Kind::Spiffe(domain.into(), segments.into_iter().map(segment).collect::<Option<_>>()?)
        } else if text.contains("://") {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*');
            plain.then(|| Kind::Uri(text.into()))?
        } else if let Some(below) = text.strip_prefix("*.") {
            (is_host(below) && below.contains('.')).then(|| Kind::DnsBelow(below.to_ascii_lowercase().into()))?
        } else {
            is_host(text).then(|| Kind::Dns(text.to_ascii_lowercase().into()))?
        };
        Some(Self { kind, text: text.into() })
    }

    /// The name that fits, if one does.
    pub fn matches<'n, S: AsRef<str>>(&self, names: &'n Names<S>) -> Option<&'n S> {
        match &self.kind {
            Kind::Dns(name) => names.dns.iter().find(|one| one.as_ref() == &**name),
            Kind::DnsBelow(parent) => {
                let below =
                    |one: &str| one.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == &**parent);
                names.dns.iter().find(|one| below(one.as_ref()))
            }
            Kind::Uri(uri) => names.uris.iter().find(|one| one.as_ref() == &**uri),
            // An id is the certificate's only URI (SPIFFE X509-SVID section 2).
            Kind::Spiffe(domain, segments) => match &*names.uris {
                [only] => is_id(only.as_ref(), domain, segments).then_some(only),
                _ => None,
            },
        }
    }
}

impl fmt::Display for SanPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Trust domain and segments of an id without its scheme. None where it is no id (SPIFFE-ID section 2).
fn spiffe(id: &str) -> Option<(&str, Vec<&str>)> {
    let (domain, path) = id.split_once('/')?;
    let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    let of_segment = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
    let segments: Vec<&str> = path.split('/').collect();
    let sound =
        |segment: &&str| !segment.is_empty() && !matches!(*segment, "." | "..") && segment.bytes().all(of_segment);
    (!domain.is_empty() && domain.bytes().all(of_domain) && segments.iter().all(sound)).then_some((domain, segments))
}

fn is_id(uri: &str, domain: &str, pattern: &[Segment]) -> bool {
    let Some((of, segments)) = uri.strip_prefix(SPIFFE).and_then(spiffe) else { return false };
    let open = pattern.last() == Some(&Segment::Any);
    let long_enough = if open { segments.len() >= pattern.len() } else { segments.len() == pattern.len() };
    let fits = |(pattern, segment): (&Segment, &&str)| match pattern {
        Segment::Exact(exact) => **exact == **segment,
        Segment::Any => true,
    };
    // What a certificate says is taken letter by letter, a star too.
    of == domain && long_enough && !uri.contains('*') && pattern.iter().zip(&segments).all(fits)
}

fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, dns: &[&'static str], uris: &[&'static str]) -> bool {
        let names = Names { dns: dns.into(), uris: uris.into() };
        SanPattern::parse(pattern).expect(pattern).matches(&names).is_some()
    }

    #[test]
    fn names_match_whole_and_a_star_is_one_label() {
        assert!(matches("Client.example", &["other", "client.example"], &[]));
        assert!(matches("*.clients.example", &["a.clients.example"], &[]));
        for (pattern, dns) in [
            ("client.example", "a.client.example"),
            ("*.clients.example", "clients.example"),
            ("*.clients.example", "a.b.clients.example"),
            ("*.clients.example", "aclients.example"),
            ("*.clients.example", ".clients.example"),
        ] {
            assert!(!matches(pattern, &[dns], &[]), "{pattern} {dns}");
        }
        assert!(!matches("client.example", &[], &["client.example"]), "a URI is no DNS name");
    }

    #[test]
    fn ids_match_by_segment_below_their_own_trust_domain() {
        for (pattern, id, fits) in [
            ("spiffe://prod/*", "spiffe://prod/web", true),
            ("spiffe://prod/*", "spiffe://prod/ns/default/sa/web", true),
            ("spiffe://prod/*", "spiffe://prod", false),
            ("spiffe://prod/*", "spiffe://prod/", false),
            ("spiffe://prod/*", "spiffe://prod.evil/web", false),
            ("spiffe://prod/*", "spiffe://evil/prod/web", false),
            ("spiffe://prod/*", "spiffe://prod/../evil/web", false),
            ("spiffe://prod/*", "spiffe://prod//web", false),
            ("spiffe://prod/*", "spiffe://prod/%2e%2e", false),
            ("spiffe://prod/*", "spiffe://prod/a?b", false),
            ("spiffe://prod/*", "SPIFFE://prod/web", false),
            ("spiffe://prod/*", "https://prod/web", false),
            ("spiffe://prod/ns/*/sa/web", "spiffe://prod/ns/a/sa/web", true),
            ("spiffe://prod/ns/*/sa/web", "spiffe://prod/ns/a/b/sa/web", false),
            ("spiffe://prod/ns/*/sa/*", "spiffe://prod/ns/a/sa/b/c", true),
            ("spiffe://prod/web", "spiffe://prod/web", true),
            ("spiffe://prod/web", "spiffe://prod/Web", false),
            ("spiffe://prod/web", "spiffe://prod/web/a", false),
        ] {
            assert_eq!(matches(pattern, &[], &[id]), fits, "{pattern} {id}");
        }
        assert!(!matches("spiffe://prod/*", &[], &["spiffe://prod/a", "spiffe://prod/b"]), "two ids are none");
        assert!(matches("https://a/b", &[], &["spiffe://prod/a", "https://a/b"]));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in [
            "",
            "*",
            "*.com",
            "a*.example",
            "a.*.example",
            "-a.example",
            "a..b",
            "a b",
            "https://a/*",
            "spiffe://prod",
            "spiffe://*/web",
            "spiffe://prod/a*",
            "spiffe://Prod/web",
            "spiffe://prod/",
            "spiffe:///web",
            "spiffe://prod/a/../b",
        ] {
            assert_eq!(SanPattern::parse(wrong), None, "{wrong}");
        }
    }
}
