//! `endpoints`: where they are, what is attached to requests, how to connect.

use std::{net::IpAddr, time::Duration};

use super::{
    context::{Context, items, sound},
    rotation, secrets,
    settings::span,
    tls::{self, NamedFile},
};
use crate::{
    azure::service::{Auth, Kind, Name},
    config::{
        model::{
            Certificate, Credential, Endpoint, Replay, Route, Service, Slot, Timeouts, UpstreamConnect,
            UpstreamProtocol, UpstreamUrl,
        },
        path::KeyPath,
        raw::{self, Active, AuthWord, OnOff, Plaintext, ReplayWord, ServiceKindWord, UpstreamProtocolWord},
    },
    secret::Secret,
};

const CONCURRENCY: usize = 512;
const QUEUE: usize = 1_024;
const IDLE: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: usize = 1_024;
const MAX_AGE: Duration = Duration::from_secs(600);

/// The field and what stands before the key where `attach` says nothing.
const ATTACH_HEADER: &str = "authorization";
const ATTACH_PREFIX: &str = "Bearer ";

pub(super) fn endpoints(
    cx: &mut Context<'_>,
    raw: &raw::Config,
    routes: &[Route],
    timeouts: &Timeouts,
) -> Vec<Endpoint> {
    let path = KeyPath::root().key("endpoints");
    let typed = || raw.endpoints.iter().flatten().filter_map(|(name, raw)| Some((name.as_str(), raw.as_ref()?)));
    let slowest = |name: &str, one: &raw::Endpoint| {
        let same = typed().filter(|(_, other)| one.service.is_some() && other.service == one.service);
        let names: Vec<&str> = same.map(|(name, _)| name).chain([name]).collect();
        rotation::longest_request(routes, timeouts, &names)
    };
    let endpoints: Vec<Endpoint> =
        typed().map(|(name, one)| endpoint(cx, raw, (name, one, slowest(name, one)), &path.key(name))).collect();
    one_upkeep_each(cx, &endpoints, &path);
    endpoints
}

/// Reports endpoints that are one service and would have its keys kept in different ways.
fn one_upkeep_each(cx: &mut Context<'_>, endpoints: &[Endpoint], path: &KeyPath) {
    let services: Vec<(&str, &Service)> =
        endpoints.iter().filter_map(|endpoint| Some((endpoint.name.as_str(), endpoint.service.as_ref()?))).collect();
    for (index, (name, service)) in services.iter().enumerate() {
        let same = |(_, other): &&(&str, &Service)| other.workspace == service.workspace && other.name == service.name;
        let Some((first, other)) = services.iter().take(index).find(same) else { continue };
        if (service.auth, service.active, &service.upkeep) != (other.auth, other.active, &other.upkeep) {
            let found = format!("the service of endpoint `{first}`, whose credential is kept in another way there");
            cx.error(&path.key(name).key("service"), found, "the same settings for the same service").hint(
                "`auth`, `active`, `look`, `listkeys_interval`, `refresh_interval` and `rotation` belong to the service",
            );
        }
    }
}

fn endpoint(
    cx: &mut Context<'_>,
    whole: &raw::Config,
    (name, raw, slowest): (&str, &raw::Endpoint, Duration),
    path: &KeyPath,
) -> Endpoint {
    let prefix = raw.attach.as_ref().and_then(|attach| attach.prefix.as_ref());
    let service = raw.service.as_ref().and_then(|typed| service(cx, whole, (raw, typed, slowest), path));
    if raw.upstreams.is_some() {
        rotation::belongs_to_a_service(cx, raw, path);
    }
    if raw.auth.is_some() && raw.upstreams.is_some() {
        cx.error(&path.key("auth"), "how a service of Azure's authenticates", "`service` beside it")
            .hint("to an upstream the key under `keys` is attached, or nothing");
    }
    Endpoint {
        name: name.to_owned(),
        upstreams: upstreams(cx, raw, &path.key("upstreams")),
        credential: if raw.service.is_some() { Credential::OfService } else { credential(cx, raw, path) },
        service,
        attach_header: attach_header(raw).to_owned(),
        attach_prefix: prefix.map_or(ATTACH_PREFIX, |prefix| &prefix.0.0).to_owned(),
        retry_unanswered: raw.retry_unanswered == Some(OnOff::On),
        replay: match raw.replay {
            Some(ReplayWord::Auto) | None => Replay::Auto,
            Some(ReplayWord::On) => Replay::On,
            Some(ReplayWord::Off) => Replay::Off,
        },
        connect: connect(cx, raw, path),
        concurrency: raw.concurrency.unwrap_or(CONCURRENCY),
        queue: raw.queue.unwrap_or(QUEUE),
    }
}

/// A service of Azure's.
fn service(
    cx: &mut Context<'_>,
    whole: &raw::Config,
    (raw, typed, slowest): (&raw::Endpoint, &raw::Service, Duration),
    path: &KeyPath,
) -> Option<Service> {
    let workspaces = || whole.workspaces.iter().flatten().map(|(name, _)| name.as_str());
    if let Some(workspace) = &typed.workspace
        && !workspaces().any(|known| known == workspace)
    {
        cx.unknown_name(&path.key("service").key("workspace"), workspace, "a workspace", workspaces());
    }
    if raw.keys.is_some() {
        cx.error(&path.key("keys"), "keys beside `service`", "one of the two")
            .hint("a service's keys are asked of Azure");
    }
    let upkeep = rotation::upkeep(cx, raw, slowest, path);
    let kind = match typed.kind? {
        ServiceKindWord::Aci => Kind::Aci,
        ServiceKindWord::Aks => Kind::Aks,
        ServiceKindWord::Online => Kind::Online,
    };
    let auth = raw.auth.map(|auth| match auth {
        AuthWord::Key => Auth::Key,
        AuthWord::Token => Auth::Token,
        AuthWord::Entra => Auth::Entra,
        AuthWord::None => Auth::Open,
    });
    let auth_path = path.key("auth");
    match (kind, auth) {
        (Kind::Aci, Some(Auth::Token)) => {
            cx.error(&auth_path, "tokens for a service on Container Instances", "`key` or `none`").hint(
                "Azure ML gives tokens for AKS services and online endpoints; a service on ACI has keys, or nothing",
            );
        }
        (Kind::Aci | Kind::Aks, Some(Auth::Entra)) => {
            cx.error(&auth_path, "tokens of the identity provider for a web service", "`key`, `token` or `none`")
                .hint("online endpoints take them; what a web service calls AAD authentication is `token`");
        }
        _ => {}
    }
    Some(Service {
        workspace: typed.workspace.clone()?,
        name: Name { name: typed.name.clone()?, kind },
        auth,
        active: active(raw),
        plaintext: raw.plaintext == Some(Plaintext::Allow),
        upkeep,
    })
}

fn active(raw: &raw::Endpoint) -> Option<Slot> {
    match raw.active {
        Some(Active::Primary) => Some(Slot::Primary),
        Some(Active::Secondary) => Some(Slot::Secondary),
        Some(Active::Auto) | None => None,
    }
}

/// The field that carries an endpoint's key.
pub(super) fn attach_header(raw: &raw::Endpoint) -> &str {
    let header = raw.attach.as_ref().and_then(|attach| attach.header.as_ref());
    header.map_or(ATTACH_HEADER, |header| &header.0.0)
}

fn upstreams(cx: &mut Context<'_>, raw: &raw::Endpoint, path: &KeyPath) -> Vec<UpstreamUrl> {
    let mut upstreams: Vec<UpstreamUrl> = Vec::new();
    let protocol = raw.upstream.as_ref().and_then(|upstream| upstream.protocol);
    for (path, url) in items(raw.upstreams.as_ref(), path) {
        let url = &url.0;
        if upstreams.contains(url) {
            cx.error(&path, "an upstream that is in the list already", "each upstream once");
        }
        if raw.keys.is_some() && raw.plaintext != Some(Plaintext::Allow) && !url.tls && !is_loopback(&url.host) {
            cx.error(&path, "`http://`, over which anyone on the way can read the key", "`https://`")
                .hint("`plaintext: allow` on the endpoint permits it");
        }
        match (protocol, url.tls) {
            (Some(UpstreamProtocolWord::H2), false) => {
                cx.error(&path, "`http://` with `protocol: h2`", "`https://`").hint("over `http://` it is `h2c`");
            }
            (Some(UpstreamProtocolWord::H2c), true) => {
                cx.error(&path, "`https://` with `protocol: h2c`", "`http://`").hint("over `https://` it is `h2`");
            }
            _ => {}
        }
        upstreams.push(url.clone());
    }
    upstreams
}

/// Whether what is sent there stays on this machine (RFC 6761, 6.3, for the name).
pub(in crate::config) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn credential(cx: &mut Context<'_>, raw: &raw::Endpoint, path: &KeyPath) -> Credential {
    let Some(keys) = &raw.keys else {
        if let Some(Active::Primary | Active::Secondary) = raw.active {
            cx.error(&path.key("active"), "a choice of key", "`keys` beside it");
        }
        return Credential::None;
    };
    let keys_path = path.key("keys");
    let slot = active(raw).unwrap_or(Slot::Primary);
    let (primary, secondary) = (keys_path.key("primary"), keys_path.key("secondary"));
    match (slot, cx.is_written(&primary), cx.is_written(&secondary)) {
        (_, false, false) => {
            cx.error(&keys_path, "no key", "`primary`, `secondary` or both").hint("without `keys`, none is attached");
        }
        (Slot::Primary, false, true) => {
            cx.error(&primary, "no primary key", "the key that is active").hint("`active: secondary` takes the other");
        }
        (Slot::Secondary, true, false) => {
            cx.error(&secondary, "no secondary key", "the key that is active")
                .hint("`active: primary` takes the other");
        }
        (Slot::Primary, true, _) | (Slot::Secondary, _, true) => {}
    }
    let mut read = |raw: Option<&raw::Secret>, path| -> Option<Secret> { secrets::secret(cx, raw?, path) };
    Credential::Keys {
        primary: read(keys.primary.as_ref(), &primary),
        secondary: read(keys.secondary.as_ref(), &secondary),
        active: slot,
    }
}

fn connect(cx: &mut Context<'_>, raw: &raw::Endpoint, path: &KeyPath) -> UpstreamConnect {
    let path = path.key("upstream").key("tls");
    let empty = raw::UpstreamOptions::default();
    let options = raw.upstream.as_ref().unwrap_or(&empty);
    // Where a service of Azure's is stands elsewhere.
    if options.tls.is_some() && raw.service.is_none() && sound(raw.upstreams.as_ref()).all(|url| !url.0.tls) {
        cx.error(&path, "settings for TLS", "an `https://` upstream that uses them");
    }
    let tls = options.tls.as_ref();
    UpstreamConnect {
        protocol: match options.protocol {
            Some(UpstreamProtocolWord::Auto) | None => UpstreamProtocol::Auto,
            Some(UpstreamProtocolWord::H1) => UpstreamProtocol::H1,
            Some(UpstreamProtocolWord::H2) => UpstreamProtocol::H2,
            Some(UpstreamProtocolWord::H2c) => UpstreamProtocol::H2c,
        },
        ca: tls.and_then(|tls| tls::roots(cx, NamedFile { written: tls.ca.as_deref()?, at: &path.key("ca") })),
        server_name: tls.and_then(|tls| Some(tls.server_name.as_ref()?.0.0.clone())),
        client_certificate: tls.and_then(|tls| client_certificate(cx, tls, &path)),
        idle: span(options.idle.as_ref()).unwrap_or(IDLE),
        max_connections: options.max_connections.unwrap_or(MAX_CONNECTIONS),
        max_age: span(options.max_age.as_ref()).unwrap_or(MAX_AGE),
    }
}

fn client_certificate(cx: &mut Context<'_>, tls: &raw::UpstreamTls, path: &KeyPath) -> Option<Certificate> {
    let (cert_path, key_path) = (path.key("client_cert"), path.key("client_key"));
    match (tls.client_cert.as_deref(), tls.client_key.as_deref()) {
        (Some(cert), Some(key)) => {
            tls::certificate(cx, NamedFile { written: cert, at: &cert_path }, NamedFile { written: key, at: &key_path })
        }
        (Some(_), None) => {
            cx.missing(&key_path, "the key of `client_cert`");
            None
        }
        (None, Some(_)) => {
            cx.missing(&cert_path, "the certificate of `client_key`");
            None
        }
        (None, None) => None,
    }
}
