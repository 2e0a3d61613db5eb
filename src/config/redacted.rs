//! The configuration in force, for `GET /config`: everything that matters, nothing that is secret.
//!
//! Written out field by field: a field that is added to the model is not shown until somebody decides that it may be.

use std::time::Duration;

use serde_json::{Value, json};

use super::model::{
    Action, CallLimits, Caller, CallerKey, CallerKind, Config, Credential, Endpoint, IssuerKeys, Listener, PathMatch,
    Readiness, Route, Slot, Upkeep, UpstreamUrl,
};
use crate::azure::{identity::Identity, service::Auth};

const HIDDEN: &str = "[redacted]";
/// Keys of one caller that are listed.
const MOST_KEYS: usize = 100;

/// A configuration without its secrets.
#[must_use]
pub fn redacted(config: &Config) -> Value {
    let limits = &config.limits;
    let timeouts = &config.timeouts;
    json!({
        "version": 1,
        "source": config.source,
        "workers": config.workers.map_or(json!("auto"), |count| json!(count)),
        "state_dir": config.state_dir.path,
        "watch": config.watch,
        "listeners": config.listeners.iter().map(listener).collect::<Vec<_>>(),
        "health": config.health.map(|address| json!({ "address": address })),
        "admin": {
            "socket": config.admin.socket.path,
            "address": config.admin.address,
            "token": config.admin.token.as_ref().map(|_| HIDDEN),
            "tls": config.admin.tls.is_some(),
        },
        "identities": named(config.identities.iter().map(|one| (&one.name, identity(one)))),
        "workspaces": named(config.workspaces.iter().map(|one| (&one.name, json!({
            "identity": one.identity,
            "subscription_id": one.place.subscription,
            "resource_group": one.place.resource_group,
            "name": one.place.name,
        })))),
        "endpoints": named(config.endpoints.iter().map(|one| (&one.name, endpoint(one)))),
        "callers": named(config.callers.iter().map(|one| (&one.name, caller(one)))),
        "routes": config.routes.iter().map(route).collect::<Vec<_>>(),
        "readiness": match &config.readiness {
            Readiness::All => json!("all"),
            Readiness::Any => json!("any"),
            Readiness::Named(names) => json!(names),
        },
        "limits": {
            "max_connections": limits.max_connections, "per_address": limits.per_address, "head": limits.head,
            "fields": limits.fields, "body": limits.body, "replay_body": limits.replay_body, "replay_total": limits.replay_total,
            "h2_streams": limits.h2_streams, "token_waiters": limits.token_waiters, "memory": limits.memory,
        },
        "timeouts": {
            "tls_handshake": text(timeouts.tls_handshake), "request_head": text(timeouts.request_head), "idle": text(timeouts.idle),
            "connect": text(timeouts.connect), "response_head": text(timeouts.response_head), "request": text(timeouts.request),
            "stall": text(timeouts.stall), "stream_idle": text(timeouts.stream_idle), "lame_duck": text(timeouts.lame_duck),
            "drain": text(timeouts.drain),
        },
        "log": {
            "level": config.log.level.to_string().to_lowercase(),
            "format": if config.log.json { "json" } else { "text" },
            "access": format!("{:?}", config.log.access).to_lowercase(),
        },
    })
}

fn listener(listener: &Listener) -> Value {
    let protocols: Vec<&str> =
        [(listener.h1, "h1"), (listener.h2, "h2")].into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
    let blocks = listener.trusted_proxies.iter().map(|n| format!("{}/{}", n.address, n.prefix));
    let trusted = blocks.chain(listener.trusts_local.then(|| "unix:".to_owned()));
    json!({
        "name": listener.name,
        "address": listener.address.to_string(),
        "protocols": protocols,
        "tls": listener.tls.as_ref().map(|tls| json!({
            "certificates": tls.certificates.iter().map(|certificate| json!({ "names": certificate.names })).collect::<Vec<_>>(),
            "client_auth": format!("{:?}", tls.client_auth).to_lowercase(),
        })),
        "hosts": listener.hosts,
        "trusted_proxies": trusted.collect::<Vec<_>>(),
        "proxy_protocol": listener.proxy_protocol,
        "half_close": listener.half_close,
    })
}

/// Who it is and where; nothing that proves it.
fn identity(identity: &Identity) -> Value {
    json!({
        "who": identity.who(),
        "authority": identity.cloud.authority.to_string(),
        "resource_manager": identity.cloud.resource_manager.to_string(),
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "service": endpoint.service.as_ref().map(|service| json!({
            "workspace": service.workspace,
            "name": service.name.name,
            "kind": service.name.kind.word(),
            "auth": service.auth.map(Auth::word),
            "plaintext": service.plaintext,
            "active": service.active.map_or("auto", Slot::label),
            "upkeep": upkeep(&service.upkeep),
        })),
        "upstreams": endpoint.upstreams.iter().map(url).collect::<Vec<_>>(),
        "keys": match &endpoint.credential {
            Credential::None | Credential::OfService => Value::Null,
            Credential::Keys { primary, secondary, active } => json!({
                "primary": primary.as_ref().map(|_| HIDDEN),
                "secondary": secondary.as_ref().map(|_| HIDDEN),
                "active": match active { Slot::Primary => "primary", Slot::Secondary => "secondary" },
            }),
        },
        "attach": { "header": endpoint.attach_header },
        "retry_unanswered": endpoint.retry_unanswered,
        "replay": format!("{:?}", endpoint.replay).to_lowercase(),
        "upstream": {
            "protocol": format!("{:?}", endpoint.connect.protocol).to_lowercase(),
            "idle": text(endpoint.connect.idle),
            "max_age": text(endpoint.connect.max_age),
            "max_connections": endpoint.connect.max_connections,
        },
        "concurrency": endpoint.concurrency,
        "queue": endpoint.queue,
    })
}

/// By the names and at the places of the file.
fn upkeep(upkeep: &Upkeep) -> Value {
    let rules = &upkeep.rules;
    json!({
        "look": text(rules.look),
        "listkeys_interval": text(rules.listkeys_interval),
        "refresh_interval": text(upkeep.token_rules.refresh_interval),
        "rotation": {
            "enabled": upkeep.schedule.is_some(),
            "every": upkeep.schedule.as_ref().map(|schedule| text(schedule.every)),
            "window": upkeep.schedule.as_ref().is_some_and(|schedule| schedule.window.is_some()),
            "policy": upkeep.policy,
            "min_gap": text(rules.min_gap), "settle": text(rules.settle), "drain_timeout": text(rules.drain_timeout),
            "read_gap": text(rules.read_gap), "read_timeout": text(rules.read_timeout), "adopt_gap": text(rules.adopt_gap),
            "resubmit_after": text(rules.resubmit_after),
            "probe": {
                "method": upkeep.probe.method.as_str(), "path": upkeep.probe.path, "body": upkeep.probe.body.is_some(),
                "successes": rules.probe_successes, "spread": text(rules.probe_spread), "fresh": text(rules.probe_fresh),
                "timeout": text(rules.probe_timeout),
            },
        },
    })
}

fn route(route: &Route) -> Value {
    let (kind, path) = match &route.path {
        PathMatch::Exact(path) => ("path", path),
        PathMatch::Prefix(path) => ("path_prefix", path),
    };
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let mut shown = json!({
        "name": route.name,
        "match": { "host": route.host, kind: path, "methods": methods, "listeners": route.listeners },
    });
    let rest = match &route.action {
        Action::Deny => json!({ "deny": true }),
        Action::Forward(forward) => json!({
            "callers": forward.callers,
            "endpoint": forward.endpoint,
            "attach": forward.attach,
            "rewrite": forward.rewrite_prefix.as_ref().map(|prefix| json!({ "path_prefix": prefix })),
            "identity_header": forward.identity_header,
            "limits": forward.limits.as_ref().map(limits_of),
            "timeout": forward.timeout.map(text),
            "body": forward.body,
        }),
    };
    if let (Value::Object(shown), Value::Object(rest)) = (&mut shown, rest) {
        shown.extend(rest);
    }
    shown
}

fn caller(caller: &Caller) -> Value {
    let key =
        |key: &CallerKey| json!({ "name": key.name, "not_before_unix": key.not_before, "expires_unix": key.expires });
    let kind = match &caller.kind {
        CallerKind::Anonymous => json!({ "anonymous": {} }),
        CallerKind::Token(token) => json!({ "jwt": {
            "issuer": token.terms.issuers,
            "audience": token.terms.audiences,
            "jwks_uri": match &token.keys {
                IssuerKeys::Published(source) => Some(source.url.to_string()),
                IssuerKeys::File(_) => None,
            },
        } }),
        CallerKind::Certificate(rules) => json!({ "mtls": {
            "san": rules.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "fingerprints": rules.fingerprints.len(),
        } }),
        CallerKind::Service(service) => json!({ "service": {
            "kind": service.kind,
            "auth": service.auth,
            "seal_key": service.seal_key.as_ref().map(|_| HIDDEN),
            "managers": service.managers.as_ref().map(|managers| &managers.terms.objects),
            "token_lifetime": text(service.token_lifetime),
            "scoring_uri": service.scoring_uri,
        } }),
        CallerKind::Keys(keys) => json!({
            "keys": keys.iter().take(MOST_KEYS).map(key).collect::<Vec<_>>(),
            "count": keys.len(),
            "evict_after": caller.evict_after.map(text),
        }),
    };
    match (kind, &caller.limits) {
        (Value::Object(mut shown), Some(limits)) => {
            shown.insert("limits".to_owned(), limits_of(limits));
            shown.into()
        }
        (Value::Object(_), None) if matches!(caller.kind, CallerKind::Anonymous) => json!("anonymous"),
        (shown, _) => shown,
    }
}

fn limits_of(limits: &CallLimits) -> Value {
    let rate = limits.rate.map(|rate| json!({ "count": rate.count, "seconds": rate.seconds, "burst": rate.burst }));
    json!({ "rate": rate, "concurrent": limits.concurrent, "quota": limits.quota })
}

fn url(url: &UpstreamUrl) -> String {
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    format!("{}://{host}:{}{}", if url.tls { "https" } else { "http" }, url.port, url.path)
}

fn named<'a>(entries: impl Iterator<Item = (&'a String, Value)>) -> Value {
    Value::Object(entries.map(|(name, value)| (name.clone(), value)).collect())
}

fn text(duration: Duration) -> String {
    format!("{duration:?}")
}
