//! Where upstreams and Azure are, and which paths routes take.

use http::Uri;

use super::{Complaint, Syntax, network::host};
use crate::{
    azure::{
        self,
        url::{Url, UrlError},
    },
    config::model::UpstreamUrl,
};

impl Syntax for UpstreamUrl {
    const FORMAT: &'static str = "upstream-url";
    const EXPECTED: &'static str = "a URL such as `https://10.0.0.7/score`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        // These can hold credentials, so the text is not shown.
        if text.contains('@') {
            return Err(unshown("a URL with a user or password", "credentials go under `keys`"));
        }
        if text.contains('?') {
            return Err(unshown("a URL with a query", "the query of each request is passed on; leave this one out"));
        }
        if text.contains('#') {
            return Err(unshown("a URL with a fragment", "leave out what begins with `#`"));
        }
        let (scheme, _) =
            text.split_once("://").ok_or_else(|| Complaint::hint("begin with `https://` or `http://`"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(Complaint::hint("only `https://` and `http://` are spoken")),
        };
        let uri: Uri = text.parse().map_err(|_not_a_url| Complaint::default())?;
        let authority = uri.authority().ok_or_else(Complaint::default)?;
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => Some(if tls { 443 } else { 80 }),
            Some(port) => port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port != 0),
            None => None,
        };
        let port = port.ok_or_else(|| Complaint::hint("ports go from 1 to 65535"))?;
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        if path.split('/').any(is_dot_segment) {
            return Err(Complaint::hint("write the path without `.` and `..`"));
        }
        Ok(Self { tls, host: host(authority.host())?, port, path: path.to_owned() })
    }
}

fn unshown(found: &'static str, hint: &str) -> Complaint {
    Complaint { found: Some(found), ..Complaint::hint(hint) }
}

/// An address of Azure's control plane: credentials go there.
impl Syntax for Url {
    const FORMAT: &'static str = "azure-url";
    const EXPECTED: &'static str = "a URL such as `https://login.example.com`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let url = Self::parse(text).map_err(|why| match why {
            UrlError::UserInfo => unshown("a URL with a user or password", "leave them out"),
            UrlError::NotAbsolute => Complaint::hint("begin with `https://`"),
            UrlError::Scheme => Complaint::hint("only `https://` is spoken, and `http://` on this machine"),
        })?;
        if url.query().is_some() {
            return Err(Complaint::hint("leave out what begins with `?`"));
        }
        if url.keeps_secrets() { Ok(url) } else { Err(Complaint::hint("credentials go there: write `https://`")) }
    }
}

/// What a token is for: a resource, which may end in `/.default` as scopes do.
pub(crate) struct Audience(pub(crate) azure::cloud::Audience);

impl Syntax for Audience {
    const FORMAT: &'static str = "audience";
    const EXPECTED: &'static str = "what a token is for, such as `https://management.azure.com`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible { Ok(Self(azure::cloud::Audience::new(text))) } else { Err(Complaint::default()) }
    }
}

fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// A path in the form that requests' paths are brought into before they are compared.
pub(crate) struct CanonicalPath(pub(crate) String);

impl CanonicalPath {
    /// Without the slash at its end, unless it is nothing else: `/iris/` and `/iris` are the same prefix.
    pub(crate) fn as_prefix(&self) -> &str {
        match self.0.trim_end_matches('/') {
            "" => &self.0,
            trimmed => trimmed,
        }
    }
}

impl Syntax for CanonicalPath {
    const FORMAT: &'static str = "canonical-path";
    const EXPECTED: &'static str = "a path such as `/iris`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(Complaint::hint("begin with `/`"));
        };
        if text.contains(['?', '#']) {
            return Err(Complaint::hint("queries and fragments are not matched; leave them out"));
        }
        let segments: Vec<&str> = rest.split('/').collect();
        let inner = segments.split_last().map_or(&[][..], |(_, inner)| inner);
        if inner.iter().any(|segment| segment.is_empty()) {
            return Err(Complaint::hint("write one `/` where there are two"));
        }
        if segments.iter().any(|segment| is_dot_segment(segment)) {
            return Err(Complaint::hint("write the path without `.` and `..`"));
        }
        if let Some(wrong) = text.chars().find(|c| !is_path_char(*c)) {
            return Err(Complaint::hint(format!("{wrong:?} cannot stand in a path; encode it as `%XX`")));
        }
        match text.split('%').skip(1).find(|after| !is_canonical_escape(after)) {
            Some(_) => Err(Complaint::hint(
                "write letters, digits, `-`, `.`, `_` and `~` as they are, other bytes as `%` and two upper-case hex digits",
            )),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// RFC 3986, 3.3: `pchar`, `/` and the `%` of an escape.
fn is_path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c)
}

/// Whether what follows `%` is an escape as RFC 3986, 6.2.2 would have it: upper case, and of a byte that needs one.
fn is_canonical_escape(after: &str) -> bool {
    let Some(digits) = after.get(..2) else { return false };
    let hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    let needless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    hex && u8::from_str_radix(digits, 16).is_ok_and(|byte| !needless(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams() {
        let read = |text| <UpstreamUrl as Syntax>::parse(text);
        let url = |tls, host: &str, port, path: &str| UpstreamUrl { tls, host: host.into(), port, path: path.into() };
        assert_eq!(read("https://Models.example.com").unwrap(), url(true, "models.example.com", 443, "/"));
        assert_eq!(read("http://[::1]:8080/a/b").unwrap(), url(false, "::1", 8080, "/a/b"));
        for wrong in [
            "",
            "10.0.0.7/score",
            "ftp://a/",
            "https://",
            "https://a:0/",
            "https://a:70000/",
            "https://a/../b",
            "https://a b/",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_that_can_hold_credentials_are_not_quoted() {
        for secret in ["https://me:canary@a/", "https://a/?code=canary", "https://a/#canary"] {
            let complaint = <UpstreamUrl as Syntax>::parse(secret).unwrap_err();
            assert!(complaint.found.is_some(), "{secret}");
        }
    }

    #[test]
    fn addresses_of_azure_keep_credentials() {
        let hint = |text| <Url as Syntax>::parse(text).unwrap_err().hint.unwrap();
        assert!(<Url as Syntax>::parse("https://login.example.com/").is_ok());
        assert!(<Url as Syntax>::parse("http://127.0.0.1:8080").is_ok());
        assert_eq!(hint("http://login.example.com"), "credentials go there: write `https://`");
        assert_eq!(hint("login.example.com"), "begin with `https://`");
        assert!(<Url as Syntax>::parse("https://me:canary@a/").unwrap_err().found.is_some());
        assert!(Audience::parse("api://x").is_ok() && Audience::parse("").is_err() && Audience::parse("a b").is_err());
    }

    #[test]
    fn paths() {
        let prefix = |text| CanonicalPath::parse(text).map(|path| path.as_prefix().to_owned());
        assert_eq!(prefix("/").unwrap(), "/");
        assert_eq!(prefix("/iris/").unwrap(), "/iris");
        assert_eq!(prefix("/a%20b/c").unwrap(), "/a%20b/c");
        for wrong in
            ["", "iris", "//", "/a//b", "/a/../b", "/a/%2e%2E", "/a?b", "/a b", "/ü", "/a%2f", "/%41", "/%", "/%zz"]
        {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
    }
}
