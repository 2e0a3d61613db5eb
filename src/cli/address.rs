//! `--admin ADDR`: where a running scoregate answers.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use http::{Uri, uri::Authority};

/// A URL or the path of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AdminAddress {
    Socket(PathBuf),
    Tcp(Origin),
}

/// Scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) tls: bool,
    pub(super) authority: Authority,
}

impl Origin {
    /// Name or address, without brackets.
    pub(super) fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    pub(super) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.tls { 443 } else { 80 })
    }

    /// Whether the way there leaves this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return origin(text).map(Self::Tcp);
        }
        if text.parse::<SocketAddr>().is_ok() {
            return origin(&format!("http://{text}")).map(Self::Tcp);
        }
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.is_empty() || path.contains("://") {
            return Err("expected the path of a socket, http://HOST:PORT or https://HOST:PORT".to_owned());
        }
        Ok(Self::Socket(PathBuf::from(path)))
    }
}

fn origin(url: &str) -> Result<Origin, String> {
    let uri: Uri = url.parse().map_err(|error| format!("this is not a URL: {error}"))?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or("the URL has no host")?;
    if authority.as_str().contains('@') {
        return Err("a token does not belong into the URL: set SCOREGATE_ADMIN_TOKEN".to_owned());
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err("the URL goes no further than host and port".to_owned());
    }
    Ok(Origin { tls: uri.scheme_str() == Some("https"), authority: authority.clone() })
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tcp(origin) if origin.tls => write!(f, "https://{}", origin.authority),
            Self::Tcp(origin) => write!(f, "http://{}", origin.authority),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_meant() {
        for (text, shown, port) in [
            ("http://localhost:9901", "http://localhost:9901", 9901),
            ("https://gate.example.com/", "https://gate.example.com", 443),
            ("http://[::1]:9901", "http://[::1]:9901", 9901),
            ("127.0.0.1:9901", "http://127.0.0.1:9901", 9901),
        ] {
            let address: AdminAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            let AdminAddress::Tcp(origin) = address else { panic!("{text}") };
            assert_eq!(origin.port(), port);
        }
        for (text, path) in [("/run/a.sock", "/run/a.sock"), ("unix:/run/a.sock", "/run/a.sock"), ("a.sock", "a.sock")]
        {
            assert_eq!(text.parse(), Ok(AdminAddress::Socket(path.into())));
        }
    }

    #[test]
    fn what_is_neither_says_what_was_expected() {
        for wrong in ["", "unix:", "ftp://host", "http://", "http://host/status", "http://host?x", "https://t@host"] {
            assert!(AdminAddress::from_str(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn loopback_is_this_machine_alone() {
        let loopback = |text: &str| matches!(text.parse(), Ok(AdminAddress::Tcp(origin)) if origin.is_loopback());
        assert!(loopback("http://localhost:1") && loopback("http://127.9.9.9:1") && loopback("http://[::1]:1"));
        assert!(!loopback("http://10.0.0.7:1") && !loopback("http://localhost.evil.example"));
    }
}
