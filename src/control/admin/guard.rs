//! Who may speak to the TCP admin address: no page in a browser, and for most paths only who shows the token.
//!
//! `routes` puts both checks in front of the TCP router. The socket has its file mode instead.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::Response,
};

use super::{failure::Failure, token::Token};

/// What the TCP admin address demands.
#[derive(Debug)]
pub(super) struct Gate {
    /// `None`: no token could be found or made, so what needs one cannot be had here.
    pub(super) token: Option<Token>,
    /// Whether TLS is spoken.
    pub(super) tls: bool,
    /// Whether only this machine can connect; then `/status` and its like are open.
    pub(super) loopback: bool,
    /// Names on the certificate: ours, by the word of whoever signed it. Lower case.
    pub(super) names: Vec<String>,
}

/// Our own end of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalAddress(pub(super) SocketAddr);

/// A page that the administrator has open must not give orders here. What a browser sends across origins has `Origin`;
/// a page whose name was made to resolve to us (DNS rebinding) has that name as `Host`.
pub(super) async fn refuse_foreign_pages(
    State(gate): State<Arc<Gate>>,
    Extension(LocalAddress(local)): Extension<LocalAddress>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    if request.headers().contains_key(header::ORIGIN) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "origin_refused", "the admin API does not talk to web pages"));
    }
    if !hosts(request.uri(), request.headers()).is_some_and(|hosts| hosts.iter().all(|host| gate.owns(host, local))) {
        let message =
            "Host is not this listener's own: ask by its address, by localhost, or by a name on its certificate";
        return Err(Failure::new(StatusCode::FORBIDDEN, "host_refused", message));
    }
    Ok(next.run(request).await)
}

/// Asks for `Authorization: Bearer TOKEN`.
pub(super) async fn require_token(
    State(gate): State<Arc<Gate>>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let Some(token) = &gate.token else {
        let message = "this scoregate has no admin token, so this works over its socket only: write admin.token, or \
                       give it a state_dir that it can write to";
        return Err(Failure::new(StatusCode::FORBIDDEN, "no_admin_token", message));
    };
    if !bearer(request.headers()).is_some_and(|shown| token.matches(shown)) {
        let message = "this needs the admin token, as `Authorization: Bearer TOKEN`";
        return Err(Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", message));
    }
    Ok(next.run(request).await)
}

impl Gate {
    /// The port is not looked at: forwarding changes it, and a page cannot choose an address by it.
    fn owns(&self, host: &Authority, local: SocketAddr) -> bool {
        let name = host.host().to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        if let Ok(address) = address.parse::<IpAddr>().map(|address| address.to_canonical()) {
            // The loopback's own addresses are what `localhost` means, and no name leads to them unseen.
            return address == local.ip().to_canonical() || address.is_loopback();
        }
        name == "localhost" || self.names.iter().any(|own| covers(own, &name))
    }
}

/// `*.example.com` covers one label.
fn covers(own: &str, name: &str) -> bool {
    match own.strip_prefix("*.") {
        Some(parent) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
        None => own == name,
    }
}

/// Every host that the request names: exactly one `Host`, and the target's own when it has one, since either may be
/// believed. `None` when that cannot be read.
fn hosts(uri: &Uri, headers: &HeaderMap) -> Option<Vec<Authority>> {
    let mut written = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (written.next(), written.next()) else { return None };
    let host = Authority::try_from(host.as_bytes()).ok()?;
    Some(std::iter::once(host).chain(uri.authority().cloned()).collect())
}

/// The only `Authorization` there is, when it is a bearer's.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut written = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (written.next(), written.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate {
            token: None,
            tls: true,
            loopback: false,
            names: vec!["gate.example.com".into(), "*.gates.example.com".into()],
        }
    }

    fn owned(host: &str, local: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        hosts(&Uri::from_static("/"), &headers)
            .is_some_and(|hosts| hosts.iter().all(|host| gate().owns(host, local.parse().unwrap())))
    }

    #[test]
    fn own_hosts_are_the_address_localhost_and_the_names_on_the_certificate() {
        for own in ["10.0.0.7", "10.0.0.7:1", "localhost", "LOCALHOST:9901", "127.0.0.1", "[::1]:9901"] {
            assert!(owned(own, "10.0.0.7:9901"), "{own}");
        }
        for own in ["gate.example.com", "Gate.Example.com:9901", "a.gates.example.com"] {
            assert!(owned(own, "10.0.0.7:9901"), "{own}");
        }
        assert!(owned("10.0.0.7", "[::ffff:10.0.0.7]:9901"));
    }

    #[test]
    fn every_other_host_is_foreign() {
        for foreign in [
            "evil.example",
            "10.0.0.8",
            "",
            "localhost.",
            "localhost.evil.example",
            "gates.example.com",
            "a.b.gates.example.com",
            ".gates.example.com",
            "10.0.0.7.evil.example",
            "[::2]",
            "0.0.0.0",
        ] {
            assert!(!owned(foreign, "10.0.0.7:9901"), "{foreign}");
        }
    }

    #[test]
    fn an_absolute_target_counts_and_two_hosts_are_none() {
        let mut headers = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
        let named = hosts(&Uri::from_static("http://evil.example/"), &headers).unwrap();
        assert!(!named.iter().all(|host| gate().owns(host, "127.0.0.1:1".parse().unwrap())));
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(hosts(&Uri::from_static("/"), &headers).is_none());
        assert!(hosts(&Uri::from_static("/"), &HeaderMap::new()).is_none());
    }

    #[test]
    fn a_bearer_is_one_header_with_one_scheme() {
        let shown = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(shown(&["Bearer t"]), Some(b"t".to_vec()));
        assert_eq!(shown(&["bearer t"]), Some(b"t".to_vec()));
        for wrong in [&["Basic t"][..], &["Bearer"], &["t"], &[], &["Bearer t", "Bearer t"]] {
            assert_eq!(shown(wrong), None, "{wrong:?}");
        }
    }
}
