//! `workers`, `readiness`, `limits`, `timeouts` and `log`: typed values or their defaults.

use std::time::Duration;

use super::context::{Context, items};
use crate::config::{
    model::{Access, Limits, Log, Readiness, Timeouts},
    path::KeyPath,
    raw::{self, ReadinessWord},
    text::Text,
    units::{Pause, Size, Span},
};

pub(super) fn workers(raw: &raw::Config) -> Option<usize> {
    match raw.workers {
        Some(raw::Workers::Count(count)) => Some(count),
        Some(raw::Workers::Auto(_)) | None => None,
    }
}

pub(super) fn readiness(cx: &mut Context<'_>, raw: &raw::Config) -> Readiness {
    match &raw.readiness {
        None | Some(raw::Readiness::Word(ReadinessWord::All)) => Readiness::All,
        Some(raw::Readiness::Word(ReadinessWord::Any)) => Readiness::Any,
        Some(raw::Readiness::Named(names)) => {
            for (path, name) in items(Some(names), &KeyPath::root().key("readiness")) {
                known_endpoint(cx, raw, name, &path);
            }
            Readiness::Named(names.iter().flatten().cloned().collect())
        }
    }
}

/// Reports the name of an endpoint that there is not.
pub(super) fn known_endpoint(cx: &mut Context<'_>, raw: &raw::Config, name: &str, path: &KeyPath) {
    let mut endpoints = raw.endpoints.iter().flatten().map(|(name, _)| name.as_str());
    if !endpoints.any(|endpoint| endpoint == name) {
        let endpoints = raw.endpoints.iter().flatten().map(|(name, _)| name.as_str());
        cx.unknown_name(path, name, "an endpoint", endpoints);
    }
}

pub(super) fn limits(cx: &mut Context<'_>, raw: &raw::Config) -> Limits {
    let empty = raw::Limits::default();
    let raw = raw.limits.as_ref().unwrap_or(&empty);
    let default = Limits::default();
    let limits = Limits {
        max_connections: raw.max_connections.unwrap_or(default.max_connections),
        per_address: raw.per_address.unwrap_or(default.per_address),
        head: raw.head.as_ref().and_then(|head| usize::try_from(head.0.0).ok()).unwrap_or(default.head),
        fields: raw.fields.unwrap_or(default.fields),
        body: bytes(raw.body.as_ref()).unwrap_or(default.body),
        replay_body: bytes(raw.replay_body.as_ref()).unwrap_or(default.replay_body),
        replay_total: bytes(raw.replay_total.as_ref()).unwrap_or(default.replay_total),
        h2_streams: raw.h2_streams.unwrap_or(default.h2_streams),
        token_waiters: raw.token_waiters.unwrap_or(default.token_waiters),
        memory: raw.memory.unwrap_or(default.memory),
    };

    let path = KeyPath::root().key("limits");
    if !(1 << 10..=1 << 20).contains(&limits.head) {
        cx.error(&path.key("head"), format!("{} bytes", limits.head), "1KiB to 1MiB");
    }
    not_zero(cx, limits.body, &path.key("body"));
    if limits.replay_body > limits.replay_total {
        cx.error(
            &path.key("replay_body"),
            format!("{} bytes for one request, {} for all", limits.replay_body, limits.replay_total),
            "no more than `limits.replay_total`",
        );
    }
    limits
}

/// Reports a size that lets nothing through.
pub(super) fn not_zero(cx: &mut Context<'_>, bytes: u64, path: &KeyPath) {
    if bytes == 0 {
        cx.error(path, "0", "a size above zero");
    }
}

pub(super) fn bytes(size: Option<&Text<Size>>) -> Option<u64> {
    size.map(|size| size.0.0)
}

pub(super) fn span(span: Option<&Text<Span>>) -> Option<Duration> {
    span.map(|span| span.0.0)
}

pub(super) fn pause(pause: Option<&Text<Pause>>) -> Option<Duration> {
    pause.map(|pause| pause.0.0)
}

pub(super) fn timeouts(raw: &raw::Config) -> Timeouts {
    let empty = raw::Timeouts::default();
    let raw = raw.timeouts.as_ref().unwrap_or(&empty);
    let default = Timeouts::default();
    Timeouts {
        tls_handshake: span(raw.tls_handshake.as_ref()).unwrap_or(default.tls_handshake),
        request_head: span(raw.request_head.as_ref()).unwrap_or(default.request_head),
        idle: span(raw.idle.as_ref()).unwrap_or(default.idle),
        connect: span(raw.connect.as_ref()).unwrap_or(default.connect),
        response_head: span(raw.response_head.as_ref()).unwrap_or(default.response_head),
        request: span(raw.request.as_ref()).unwrap_or(default.request),
        stall: span(raw.stall.as_ref()).unwrap_or(default.stall),
        stream_idle: span(raw.stream_idle.as_ref()).unwrap_or(default.stream_idle),
        lame_duck: pause(raw.lame_duck.as_ref()).unwrap_or(default.lame_duck),
        drain: pause(raw.drain.as_ref()).unwrap_or(default.drain),
    }
}

pub(super) fn log(raw: &raw::Config) -> Log {
    let empty = raw::Log::default();
    let raw = raw.log.as_ref().unwrap_or(&empty);
    Log {
        level: match raw.level {
            Some(raw::Level::Error) => tracing::Level::ERROR,
            Some(raw::Level::Warn) => tracing::Level::WARN,
            Some(raw::Level::Info) | None => tracing::Level::INFO,
            Some(raw::Level::Debug) => tracing::Level::DEBUG,
            Some(raw::Level::Trace) => tracing::Level::TRACE,
        },
        json: !matches!(raw.format, Some(raw::LogFormat::Text)),
        access: match raw.access {
            Some(raw::Access::Off) => Access::Off,
            Some(raw::Access::Errors) | None => Access::Errors,
            Some(raw::Access::All) => Access::All,
        },
    }
}
