//! `listeners` and `admin`: where the process listens, with which certificates, for which hosts.

use std::{collections::HashMap, net::SocketAddr};

use rustls_pki_types::CertificateRevocationListDer;

use super::{
    context::{Context, items, sound},
    secrets,
    tls::{self, NamedFile},
};
use crate::config::{
    model::{Admin, Certificate, ClientAuth, ListenAddress, Listener, ListenerTls, Route},
    path::KeyPath,
    raw::{self, ClientAuthWord, Protocol},
    text::{Text, TrustedProxy},
};

/// What a browser on this machine calls it.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub(super) fn listeners(cx: &mut Context<'_>, raw: &raw::Config, routes: &[Route]) -> Vec<Listener> {
    let listeners = items(raw.listeners.as_ref(), &KeyPath::root().key("listeners"));
    unique_names(cx, &listeners);
    unique_addresses(cx, raw, &listeners);
    listeners.into_iter().filter_map(|(path, raw)| listener(cx, raw, &path, routes)).collect()
}

fn listener(cx: &mut Context<'_>, raw: &raw::Listener, path: &KeyPath, routes: &[Route]) -> Option<Listener> {
    let tls = raw.tls.as_ref().map(|tls| listener_tls(cx, tls, &path.key("tls")));
    let name = raw.name.as_ref()?.0.0.clone();
    let address = raw.address.as_ref()?.0.clone();
    let speaks = |protocol| raw.protocols.is_none() || sound(raw.protocols.as_ref()).any(|one| *one == protocol);
    let hosts = match &raw.hosts {
        Some(hosts) => hosts.iter().flatten().map(|host| host.0.0.clone()).collect(),
        None if matches!(address, ListenAddress::Tcp(address) if is_loopback(address)) => loopback_hosts(&name, routes),
        None => Vec::new(),
    };
    let trusted = || sound(raw.trusted_proxies.as_ref());
    let proxy_protocol = raw.proxy_protocol.unwrap_or(false);
    if proxy_protocol && trusted().next().is_none() {
        cx.missing(&path.key("trusted_proxies"), "the load balancers whose PROXY header is believed");
    }
    Some(Listener {
        address,
        h1: speaks(Protocol::H1),
        h2: speaks(Protocol::H2),
        tls,
        hosts,
        trusted_proxies: trusted()
            .filter_map(|Text(one)| if let TrustedProxy::Network(network) = one { Some(*network) } else { None })
            .collect(),
        trusts_local: trusted().any(|Text(one)| matches!(one, TrustedProxy::Local)),
        proxy_protocol,
        half_close: raw.half_close.unwrap_or(false),
        name,
    })
}

/// Whether only this machine can reach an address.
fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The hosts that a listener on loopback serves unless told: a page from elsewhere, whose name has been made to point
/// here, must not reach it (DNS rebinding).
fn loopback_hosts(listener: &str, routes: &[Route]) -> Vec<String> {
    let reaches = |route: &&Route| route.listeners.is_empty() || route.listeners.iter().any(|name| name == listener);
    let exact = routes.iter().filter(reaches).map(|route| route.host.as_str()).filter(|host| !host.starts_with('*'));
    let mut hosts: Vec<String> = LOOPBACK_HOSTS.map(str::to_owned).into();
    for host in exact {
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
    hosts
}

fn unique_names(cx: &mut Context<'_>, listeners: &[(KeyPath, &raw::Listener)]) {
    let mut seen: HashMap<&str, KeyPath> = HashMap::new();
    for (path, raw) in listeners {
        let Some(Text(name)) = &raw.name else { continue };
        let path = path.key("name");
        if let Some(first) = seen.get(name.0.as_str()) {
            let hint = format!("the first one is at {}", cx.place_of(first));
            cx.error(&path, format!("{} again", cx.shown(&path, &name.0)), "a name of its own").hint(hint);
        } else {
            seen.insert(&name.0, path);
        }
    }
}

/// No two sockets of the process can have one address; port 0 is a new one each time.
fn unique_addresses(cx: &mut Context<'_>, raw: &raw::Config, listeners: &[(KeyPath, &raw::Listener)]) {
    let root = KeyPath::root();
    let of_listeners = listeners.iter().filter_map(|(path, raw)| Some((path.clone(), raw.address.as_ref()?.0.clone())));
    let tcp = |address: &Option<Text<SocketAddr>>| address.as_ref().map(|address| ListenAddress::Tcp(address.0));
    let of_health = raw.health.as_ref().and_then(|health| Some((root.key("health"), tcp(&health.address)?)));
    let of_admin = raw.admin.as_ref().and_then(|admin| Some((root.key("admin"), tcp(&admin.address)?)));
    let mut seen: HashMap<ListenAddress, KeyPath> = HashMap::new();
    for (path, address) in of_listeners.chain(of_health).chain(of_admin) {
        if matches!(address, ListenAddress::Tcp(address) if address.port() == 0) {
            continue;
        }
        let path = path.key("address");
        if let Some(first) = seen.get(&address) {
            let hint = format!("the first one is {first} at {}", cx.place_of(first));
            cx.error(&path, format!("`{address}` again"), "an address of its own").hint(hint);
        } else {
            seen.insert(address, path);
        }
    }
}

fn listener_tls(cx: &mut Context<'_>, raw: &raw::ListenerTls, path: &KeyPath) -> ListenerTls {
    let certificates = items(raw.certificates.as_ref(), &path.key("certificates"));
    let client_auth = match raw.client_auth {
        Some(ClientAuthWord::Off) | None => ClientAuth::Off,
        Some(ClientAuthWord::Optional) => ClientAuth::Optional,
        Some(ClientAuthWord::Required) => ClientAuth::Required,
    };
    match (client_auth, &raw.client_ca) {
        (ClientAuth::Optional | ClientAuth::Required, None) => {
            cx.missing(&path.key("client_ca"), "the CAs of the client certificates that are asked for");
        }
        (ClientAuth::Off, Some(_)) => {
            cx.error(&path.key("client_ca"), "CAs of client certificates, which nobody asks for", "`client_auth`")
                .hint("write `client_auth: optional` or `client_auth: required`");
        }
        _ => {}
    }
    ListenerTls {
        certificates: certificates
            .into_iter()
            .filter_map(|(path, files)| certificate(cx, files.cert.as_deref(), files.key.as_deref(), &path))
            .collect(),
        client_ca: client_ca(cx, raw.client_ca.as_deref(), path),
        client_crl: client_crl(cx, raw, path),
        client_auth,
    }
}

fn certificate(cx: &mut Context<'_>, cert: Option<&str>, key: Option<&str>, path: &KeyPath) -> Option<Certificate> {
    let (cert_path, key_path) = (path.key("cert"), path.key("key"));
    tls::certificate(cx, NamedFile { written: cert?, at: &cert_path }, NamedFile { written: key?, at: &key_path })
}

fn client_ca(
    cx: &mut Context<'_>,
    written: Option<&str>,
    path: &KeyPath,
) -> Option<std::sync::Arc<rustls::RootCertStore>> {
    tls::roots(cx, NamedFile { written: written?, at: &path.key("client_ca") }).map(|(roots, _)| roots)
}

fn client_crl(
    cx: &mut Context<'_>,
    raw: &raw::ListenerTls,
    path: &KeyPath,
) -> Vec<CertificateRevocationListDer<'static>> {
    let Some(written) = &raw.client_crl else { return Vec::new() };
    let at = path.key("client_crl");
    if raw.client_ca.is_none() {
        cx.error(&at, "lists of CAs that are not there", "`client_ca`");
    }
    tls::revocation_lists(cx, NamedFile { written, at: &at })
}

pub(super) fn admin(cx: &mut Context<'_>, raw: &raw::Config) -> Admin {
    let empty = raw::Admin::default();
    let raw = raw.admin.as_ref().unwrap_or(&empty);
    let path = KeyPath::root().key("admin");
    let address = raw.address.as_ref().map(|address| address.0);
    if let Some(address) = address.filter(|address| !is_loopback(*address))
        && raw.tls.is_none()
    {
        cx.error(&path.key("address"), format!("`{address}` without `tls`"), "`tls`, or an address on loopback")
            .hint("the token would cross the network in the clear");
    }
    let token = raw.token.as_ref().and_then(|token| secrets::secret(cx, token, &path.key("token")));
    if let Some(token) = &token {
        secrets::warn_if_short(cx, token, &path.key("token"));
    }
    Admin {
        socket: cx.place(raw.socket.as_deref(), "/run/scoregate/admin.sock"),
        address,
        token,
        tls: raw.tls.as_ref().map(|tls| admin_tls(cx, tls, &path.key("tls"))),
    }
}

/// Who names CAs for clients of the admin side wants clients that have a certificate.
fn admin_tls(cx: &mut Context<'_>, raw: &raw::AdminTls, path: &KeyPath) -> ListenerTls {
    ListenerTls {
        certificates: certificate(cx, raw.cert.as_deref(), raw.key.as_deref(), path).into_iter().collect(),
        client_ca: client_ca(cx, raw.client_ca.as_deref(), path),
        client_crl: Vec::new(),
        client_auth: if raw.client_ca.is_some() { ClientAuth::Required } else { ClientAuth::Off },
    }
}
