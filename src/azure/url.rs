//! Addresses that Azure is asked at: an origin, a path and a query.
//!
//! Made from the configuration and from what Azure answers; parsed once, so that whoever sends a token to one can compare
//! origins and not texts.

use std::{fmt, net::IpAddr};

use http::{
    Uri,
    uri::{Authority, PathAndQuery},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// An absolute `http://` or `https://` address without user, password and fragment.
///
/// `Display` leaves the query out: some answers carry credentials there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    tls: bool,
    authority: Authority,
    target: PathAndQuery,
}

/// Why a text is no [`Url`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all, or without a host.
    #[error("not an absolute URL")]
    NotAbsolute,
    /// Neither `http` nor `https`.
    #[error("neither http:// nor https://")]
    Scheme,
    /// `user:password@host`.
    #[error("a URL with a user or password")]
    UserInfo,
}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// What it is instead; the text is not quoted, since it may hold a password.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        // A fragment is not sent, and `Uri` drops it.
        let uri: Uri = text.parse().map_err(|_says_no_more| UrlError::NotAbsolute)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(UrlError::NotAbsolute);
        };
        let tls = match scheme.as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(UrlError::Scheme),
        };
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        if authority.host().is_empty() {
            return Err(UrlError::NotAbsolute);
        }
        // `http://h?q` has an empty path, which no request target has (RFC 9112 section 3.2.1).
        let target = match parts.path_and_query {
            Some(target) if target.as_str().starts_with('/') => target,
            Some(target) => format!("/{}", target.as_str()).parse().map_err(|_says_no_more| UrlError::NotAbsolute)?,
            None => PathAndQuery::from_static("/"),
        };
        Ok(Self { tls, authority, target })
    }

    /// Another path and query at the same origin.
    ///
    /// # Errors
    /// Where the target is none.
    pub fn at(&self, target: &str) -> Result<Self, UrlError> {
        let target = target.parse().map_err(|_says_no_more| UrlError::NotAbsolute)?;
        Ok(Self { target, ..self.clone() })
    }

    /// What stands below this address: its path without a slash at the end, then `below`, which begins with one.
    ///
    /// # Errors
    /// Where the two make no target.
    pub fn below(&self, below: &str) -> Result<Self, UrlError> {
        self.at(&format!("{}{below}", self.target.path().trim_end_matches('/')))
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// Name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, written or the scheme's own.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }

    /// Host and port as `Host` has them.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        self.target.as_str()
    }

    /// The path alone.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The query alone.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// Scheme, host and port: what a token for one may be sent to.
    #[must_use]
    pub fn has_origin_of(&self, other: &Self) -> bool {
        self.tls == other.tls && self.port() == other.port() && self.host().eq_ignore_ascii_case(other.host())
    }

    /// Whether what is sent there stays on this machine (RFC 6761 section 6.3 for the name).
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
        }
    }

    /// Whether a secret may be sent there: over TLS, or without leaving this machine.
    #[must_use]
    pub fn keeps_secrets(&self) -> bool {
        self.tls || self.is_loopback()
    }

    /// Scheme, host and port as text.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// As hyper takes it.
    pub(crate) fn to_uri(&self) -> Uri {
        let uri = Uri::builder().scheme(if self.tls { "https" } else { "http" });
        let uri = uri.authority(self.authority.clone()).path_and_query(self.target.clone());
        // All three parts were parsed.
        uri.build().unwrap_or_default()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.target.path())
    }
}

/// RFC 3986 section 2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as one segment of a path, whatever it is made of.
#[must_use]
pub fn segment(name: &str) -> String {
    match name {
        // As they are, these two would climb.
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => utf8_percent_encode(name, UNRESERVED).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_an_origin_and_a_target() {
        let url = Url::parse("https://Management.azure.com/a/b?api-version=1#x").unwrap();
        assert_eq!((url.host(), url.port(), url.is_tls()), ("Management.azure.com", 443, true));
        assert_eq!(url.target(), "/a/b?api-version=1");
        assert_eq!(url.to_string(), "https://Management.azure.com/a/b");
        assert_eq!(url.below("/c?d").unwrap().target(), "/a/b/c?d");
        assert_eq!(Url::parse("http://[::1]:80/").unwrap().host(), "::1");
        assert_eq!(Url::parse("http://h").unwrap().below("/x").unwrap().to_string(), "http://h/x");
        assert_eq!(Url::parse("http://h:1?q=1").unwrap().target(), "/?q=1");
        for (wrong, why) in [
            ("", UrlError::NotAbsolute),
            ("/a", UrlError::NotAbsolute),
            ("ftp://a/", UrlError::Scheme),
            ("https://me:canary@a/", UrlError::UserInfo),
            ("https://a b/", UrlError::NotAbsolute),
        ] {
            assert_eq!(Url::parse(wrong), Err(why), "{wrong}");
        }
    }

    #[test]
    fn tokens_stay_with_their_origin() {
        let url = |text| Url::parse(text).unwrap();
        assert!(url("https://A.example/x").has_origin_of(&url("https://a.example:443/y")));
        for other in ["http://a.example", "https://b.example", "https://a.example:444", "https://a.example.evil"] {
            assert!(!url("https://a.example").has_origin_of(&url(other)), "{other}");
        }
        assert!(url("http://127.0.0.1:1").keeps_secrets() && url("http://localhost").keeps_secrets());
        assert!(!url("http://10.0.0.7").keeps_secrets() && !url("http://localhost.evil").keeps_secrets());
    }

    #[test]
    fn names_stay_one_segment() {
        assert_eq!(segment("aks-service_1.x~"), "aks-service_1.x~");
        assert_eq!(segment("a/b?c#d e%"), "a%2Fb%3Fc%23d%20e%25");
        assert_eq!((segment(".."), segment(".")), ("%2E%2E".to_owned(), "%2E".to_owned()));
    }
}
