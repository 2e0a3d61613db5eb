//! Addresses and host names.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use rustls_pki_types::ServerName;

use super::{Complaint, Syntax};
use crate::config::model::{ListenAddress, Network};

impl Syntax for SocketAddr {
    const FORMAT: &'static str = "socket-address";
    const EXPECTED: &'static str = "an address and a port, such as `0.0.0.0:8443` or `[::]:8443`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        if let Some(scheme) = ["unix:", "fd:"].into_iter().find(|scheme| text.starts_with(scheme)) {
            return Err(Complaint::hint(format!("`{scheme}` is for listeners")));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(Complaint::hint("write both, joined by `:`"));
        };
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        Err(if digits && port.parse::<u16>().is_err() {
            Complaint::hint("ports go up to 65535")
        } else if host.parse::<Ipv6Addr>().is_ok() {
            Complaint::hint("put an IPv6 address in brackets")
        } else if host.is_empty() {
            Complaint::hint("`0.0.0.0` or `[::]` stands for every address")
        } else if digits && host.parse::<IpAddr>().is_err() {
            Complaint::hint("names are not looked up here; write an address")
        } else {
            Complaint::default()
        })
    }
}

/// Who may open a Unix socket where nothing is said: its owner.
const SOCKET_MODE: u32 = 0o600;

impl Syntax for ListenAddress {
    const FORMAT: &'static str = "listen-address";
    const EXPECTED: &'static str =
        "an address and a port, such as `0.0.0.0:8443` or `[::]:8443`, or `unix:PATH?mode=0660`, or `fd:NAME`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Some(name) = text.strip_prefix("fd:") {
            let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
            return if plain {
                Ok(Self::Inherited(name.to_owned()))
            } else {
                Err(Complaint::hint("what follows `fd:` is the FileDescriptorName= of a systemd socket"))
            };
        }
        let Some(rest) = text.strip_prefix("unix:") else {
            return <SocketAddr as Syntax>::parse(text).map(Self::Tcp);
        };
        let (path, mode) = match rest.split_once('?') {
            None => (rest, SOCKET_MODE),
            Some((path, options)) => {
                let digits = options.strip_prefix("mode=").unwrap_or_default();
                let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| (1..=0o777).contains(mode));
                (
                    path,
                    mode.ok_or_else(|| {
                        Complaint::hint("what follows `?` is `mode=` and an octal number, such as `mode=0660`")
                    })?,
                )
            }
        };
        // The kernel's own limit, its terminator included (unix(7)).
        if !path.starts_with('/') {
            Err(Complaint::hint("the path of a socket begins with `/`"))
        } else if path.len() > 107 {
            Err(Complaint::hint("the path of a socket has 107 bytes at most"))
        } else {
            Ok(Self::Unix { path: PathBuf::from(path), mode })
        }
    }
}

/// Who is believed about where a connection comes from.
pub(crate) enum TrustedProxy {
    /// Peers of a block.
    Network(Network),
    /// Peers over Unix sockets.
    Local,
}

impl Syntax for TrustedProxy {
    const FORMAT: &'static str = "trusted-proxy";
    const EXPECTED: &'static str = "an address or a block, such as `10.0.0.0/8`, or `unix:`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text == "unix:" { Ok(Self::Local) } else { network(text).map(Self::Network) }
    }
}

fn network(text: &str) -> Result<Network, Complaint> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_not_an_address| Complaint::default())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => longest,
        Some(prefix) => prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= longest)
            .ok_or_else(|| Complaint::hint(format!("what follows `/` goes from 0 to {longest} here")))?,
    };
    let first = first_address(address, prefix);
    if first == address {
        Ok(Network { address, prefix })
    } else {
        Err(Complaint::hint(format!("the block begins at `{first}/{prefix}`")))
    }
}

/// The address with every bit after the prefix cleared.
fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    let dropped = |bits: u32| bits.saturating_sub(u32::from(prefix));
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(dropped(u32::BITS)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(dropped(u128::BITS)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// An exact host: lower case, no port, no brackets.
pub(crate) struct HostName(pub(crate) String);

impl Syntax for HostName {
    const FORMAT: &'static str = "host";
    const EXPECTED: &'static str = "a host name or address without a port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        host(text).map(Self)
    }
}

/// `*`, `*.example.com` or an exact host: lower case, no port, no brackets.
pub(crate) struct HostPattern(pub(crate) String);

impl Syntax for HostPattern {
    const FORMAT: &'static str = "host-pattern";
    const EXPECTED: &'static str = "`*`, `*.example.com` or a host name or address without a port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        match text.strip_prefix("*.") {
            _ if text == "*" => Ok(Self(text.to_owned())),
            Some(domain) => match host(domain)? {
                domain if domain.parse::<IpAddr>().is_ok() => Err(Complaint::hint("an address has no names below it")),
                domain => Ok(Self(format!("*.{domain}"))),
            },
            None => host(text).map(Self),
        }
    }
}

/// A name to verify a certificate against.
pub(crate) struct TlsName(pub(crate) String);

impl Syntax for TlsName {
    const FORMAT: &'static str = "tls-name";
    const EXPECTED: &'static str = "the DNS name or address that the upstream's certificate is for";

    fn parse(text: &str) -> Result<Self, Complaint> {
        host(text).map(Self)
    }
}

/// A DNS name or address in the one form that hosts are compared in.
pub(crate) fn host(text: &str) -> Result<String, Complaint> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if bare == text && ServerName::try_from(text).is_ok() {
        return Ok(text.to_ascii_lowercase());
    }
    Err(if text.contains('*') {
        Complaint::hint("`*` can stand alone or for the first label of a route's host")
    } else if text.contains("://") {
        Complaint::hint("write the host alone")
    } else if text.contains(':') {
        Complaint::hint("leave the port out")
    } else {
        Complaint::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint<T: Syntax>(text: &str) -> String {
        T::parse(text).err().unwrap().hint.unwrap_or_default()
    }

    #[test]
    fn addresses() {
        assert!(<SocketAddr as Syntax>::parse("127.0.0.1:0").is_ok());
        assert!(<SocketAddr as Syntax>::parse("[::1]:8443").is_ok());
        assert_eq!(hint::<SocketAddr>("127.0.0.1:70000"), "ports go up to 65535");
        assert_eq!(hint::<SocketAddr>("unix:/run/x"), "`unix:` is for listeners");
        assert_eq!(hint::<SocketAddr>("::1:8443"), "put an IPv6 address in brackets");
        assert_eq!(hint::<SocketAddr>(":80"), "`0.0.0.0` or `[::]` stands for every address");
        assert_eq!(hint::<SocketAddr>("localhost:80"), "names are not looked up here; write an address");
        assert_eq!(hint::<SocketAddr>("10.0.0.1"), "write both, joined by `:`");
    }

    #[test]
    fn places_to_listen() {
        let place = |text| ListenAddress::parse(text).map(|address| address.to_string());
        assert_eq!(place("127.0.0.1:0").unwrap(), "127.0.0.1:0");
        assert_eq!(place("unix:/run/gate.sock").unwrap(), "unix:/run/gate.sock?mode=0600");
        assert_eq!(place("unix:/run/gate.sock?mode=660").unwrap(), "unix:/run/gate.sock?mode=0660");
        assert_eq!(place("fd:public").unwrap(), "fd:public");
        for wrong in
            ["unix:", "unix:gate.sock", "unix:/a?mode=8", "unix:/a?mode=0", "unix:/a?x", "fd:", "fd:a:b", "fd:a b", "x"]
        {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks() {
        let block = |text| network(text).map(|network| (network.address.to_string(), network.prefix));
        assert_eq!(block("10.0.0.0/8").unwrap(), ("10.0.0.0".to_owned(), 8));
        assert_eq!(block("::1").unwrap(), ("::1".to_owned(), 128));
        assert_eq!(block("0.0.0.0/0").unwrap(), ("0.0.0.0".to_owned(), 0));
        assert_eq!(block("::/0").unwrap(), ("::".to_owned(), 0));
        assert_eq!(hint::<TrustedProxy>("10.1.0.0/8"), "the block begins at `10.0.0.0/8`");
        assert_eq!(hint::<TrustedProxy>("10.0.0.0/33"), "what follows `/` goes from 0 to 32 here");
    }

    #[test]
    fn hosts_have_one_form() {
        let name = |text| HostName::parse(text).map(|host| host.0);
        assert_eq!(name("Models.Example.COM").unwrap(), "models.example.com");
        assert_eq!(name("[::1]").unwrap(), "::1");
        assert_eq!(hint::<HostName>("localhost:80"), "leave the port out");
        assert_eq!(hint::<HostName>("https://a"), "write the host alone");
        let pattern = |text| HostPattern::parse(text).map(|host| host.0);
        assert_eq!(pattern("*").unwrap(), "*");
        assert_eq!(pattern("*.Example.com").unwrap(), "*.example.com");
        for wrong in ["", "a b", "*.*.com", "a.*.com", "*.", "*.10.0.0.1", "[localhost]", "-"] {
            assert!(pattern(wrong).is_err(), "{wrong}");
        }
    }
}
