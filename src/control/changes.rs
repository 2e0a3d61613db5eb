//! What a reload changes, in words, and what it cannot change.

use std::fmt::Debug;

use rustls_pki_types::{CertificateRevocationListDer, TrustAnchor};

use crate::config::model::{
    Caller, CallerKind, ClientAuth, Config, Credential, Endpoint, Listener, ListenerTls, Service,
};

/// What became different, a line each; empty where nothing did.
#[must_use]
pub fn describe(before: &Config, after: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let changed = "changed";
    compare(
        &mut lines,
        "identity",
        &before.identities,
        &after.identities,
        |i| &i.name,
        |a, b| (a != b).then_some(changed),
    );
    compare(
        &mut lines,
        "workspace",
        &before.workspaces,
        &after.workspaces,
        |w| &w.name,
        |a, b| (a != b).then_some(changed),
    );
    compare(&mut lines, "endpoint", &before.endpoints, &after.endpoints, |e| &e.name, endpoint_difference);
    compare(&mut lines, "caller", &before.callers, &after.callers, |c| &c.name, caller_difference);
    compare(&mut lines, "route", &before.routes, &after.routes, |r| &r.name, |a, b| shown(a, b, "changed"));
    compare(&mut lines, "listener", &before.listeners, &after.listeners, |l| &l.name, listener_difference);
    for (name, differs) in [
        ("limits", before.limits != after.limits),
        ("timeouts", before.timeouts != after.timeouts),
        ("log", before.log != after.log),
        ("readiness", before.readiness != after.readiness),
    ] {
        if differs {
            lines.push(format!("{name} changed"));
        }
    }
    lines
}

/// What of the new configuration needs a restart, a line each. Where there is any, the reload is refused: half a configuration
/// is none.
#[must_use]
pub fn needs_restart(before: &Config, after: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    if before.workers != after.workers {
        lines.push(
            "workers: the number of data-plane threads cannot change while they run; restart scoregate".to_owned(),
        );
    }
    let admin = |config: &Config| {
        (
            config.admin.socket.clone(),
            config.admin.address,
            config.admin.token.clone(),
            config.health,
            tls_face(config.admin.tls.as_ref()),
        )
    };
    if admin(before) != admin(after) {
        lines.push("admin, health: the admin side cannot move while it runs; restart scoregate".to_owned());
    }
    if before.state_dir != after.state_dir {
        lines.push("state_dir: cannot change while scoregate runs; restart it".to_owned());
    }
    lines
}

fn compare<T>(
    lines: &mut Vec<String>,
    kind: &str,
    before: &[T],
    after: &[T],
    name: impl Fn(&T) -> &String,
    difference: impl Fn(&T, &T) -> Option<&'static str>,
) {
    for new in after {
        match before.iter().find(|old| name(old) == name(new)) {
            None => lines.push(format!("{kind} `{}` added", name(new))),
            Some(old) => lines.extend(difference(old, new).map(|what| format!("{kind} `{}` {what}", name(new)))),
        }
    }
    for old in before.iter().filter(|old| !after.iter().any(|new| name(new) == name(old))) {
        lines.push(format!("{kind} `{}` removed", name(old)));
    }
}

fn endpoint_difference(before: &Endpoint, after: &Endpoint) -> Option<&'static str> {
    let other_service = match (&before.service, &after.service) {
        (Some(was), Some(is)) => Service { active: is.active, ..was.clone() } != *is,
        (was, is) => was.is_some() != is.is_some(),
    };
    match (&before.credential, &after.credential) {
        (Credential::Keys { active: was, .. }, Credential::Keys { active: is, .. }) if was != is => {
            Some("attaches the other key")
        }
        _ if other_service => Some("changed"),
        _ if before.service.as_ref().map(|was| was.active) != after.service.as_ref().map(|is| is.active) => {
            Some("attaches the other key")
        }
        (a, b) if a != b => Some("has another key"),
        _ => shown(before, after, "changed"),
    }
}

fn caller_difference(before: &Caller, after: &Caller) -> Option<&'static str> {
    match (&before.kind, &after.kind) {
        (CallerKind::Keys(a), CallerKind::Keys(b)) if a != b => Some("has other keys"),
        _ => shown(before, after, "changed"),
    }
}

fn listener_difference(before: &Listener, after: &Listener) -> Option<&'static str> {
    if tls_face(before.tls.as_ref()) != tls_face(after.tls.as_ref()) {
        return Some("has other certificates, client CAs or revocation lists");
    }
    if before.address != after.address {
        return Some("listens elsewhere");
    }
    let rest = |l: &Listener| {
        let trusted = (&l.trusted_proxies, l.trusts_local, l.proxy_protocol);
        format!("{:?}", (l.h1, l.h2, &l.hosts, trusted, l.half_close))
    };
    (rest(before) != rest(after)).then_some("changed")
}

/// Digests of certificates, demand for client certificates, the CAs they must come from, and what those took back.
type TlsFace =
    (Vec<[u8; 32]>, ClientAuth, Option<Vec<TrustAnchor<'static>>>, Vec<CertificateRevocationListDer<'static>>);

/// What makes one TLS configuration different from another.
fn tls_face(tls: Option<&ListenerTls>) -> Option<TlsFace> {
    tls.map(|tls| {
        let certificates = tls.certificates.iter().map(|certificate| certificate.digest).collect();
        (certificates, tls.client_auth, tls.client_ca.as_ref().map(|roots| roots.roots.clone()), tls.client_crl.clone())
    })
}

/// Secrets are equal here whatever they are: their `Debug` says nothing. Who holds one compares it first.
fn shown<T: Debug>(before: &T, after: &T, what: &'static str) -> Option<&'static str> {
    (format!("{before:?}") != format!("{after:?}")).then_some(what)
}
