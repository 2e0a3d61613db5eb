//! `rotation` and what stands beside it: how a service's credential is kept valid.

use std::{sync::Arc, time::Duration};

use super::{
    context::Context,
    settings::{pause, span},
};
use crate::{
    config::{
        model::{Action, Probe, Route, Timeouts, Upkeep},
        path::KeyPath,
        raw::{self, Active, AuthWord, PolicyWord},
    },
    rotation::{operation::Policy, rules::Rules, schedule::Schedule, token::TokenRules},
};

const EVERY: Duration = Duration::from_secs(30 * 86_400);
/// A response head that comes in time is not cut off by a drain that ends at the same moment.
const BEYOND_THE_LAST: Duration = Duration::from_secs(10);
/// Larger bodies show no more, and each probe sends one.
const LARGEST_BODY: usize = 64 << 10;

/// How long a request to one of these endpoints, which are one service, may take to its response head.
pub(super) fn longest_request(routes: &[Route], timeouts: &Timeouts, endpoints: &[&str]) -> Duration {
    let of_routes = routes.iter().filter_map(|route| match &route.action {
        Action::Forward(forward) if endpoints.contains(&forward.endpoint.as_str()) => {
            Some(forward.timeout.unwrap_or(timeouts.request))
        }
        Action::Forward(_) | Action::Deny => None,
    });
    of_routes.max().unwrap_or(timeouts.request)
}

/// Reports what is of no use to an endpoint whose keys are changed by hand.
pub(super) fn belongs_to_a_service(cx: &mut Context<'_>, raw: &raw::Endpoint, path: &KeyPath) {
    for (key, written) in [
        ("look", raw.look.is_some()),
        ("listkeys_interval", raw.listkeys_interval.is_some()),
        ("refresh_interval", raw.refresh_interval.is_some()),
        ("rotation", raw.rotation.is_some()),
    ] {
        if written {
            cx.error(&path.key(key), "how a service's credential is kept valid", "`service` beside it")
                .hint("keys under `keys` are changed by whoever changes their files, and taken into use by a reload");
        }
    }
}

/// How the credential of a service is kept valid. `slowest` is how long its requests may take.
pub(super) fn upkeep(cx: &mut Context<'_>, raw: &raw::Endpoint, slowest: Duration, path: &KeyPath) -> Upkeep {
    let tokens = TokenRules::default();
    let token_rules = TokenRules {
        refresh_interval: span(raw.refresh_interval.as_ref()).unwrap_or(tokens.refresh_interval),
        ..tokens
    };
    let empty = raw::Rotation::default();
    let typed = raw.rotation.as_ref().unwrap_or(&empty);
    let path_of = |key: &str| path.key("rotation").key(key);
    let rules = rules(cx, raw, slowest, path);
    let enabled = typed.enabled == Some(true);
    let every = span(typed.every.as_ref());
    if enabled {
        fits(cx, raw, path);
        if every.is_some_and(|every| every < rules.min_gap) {
            let found = format!("less than `min_gap`, which is {:?}", rules.min_gap);
            cx.error(&path_of("every"), found, "at least as long");
        }
    } else if typed.enabled.is_none() && (every.is_some() || typed.window.is_some()) {
        let key = if every.is_some() { "every" } else { "window" };
        cx.warning(&path_of(key), "times of rotations that do not take place", "`enabled: true` beside it")
            .hint("`enabled: false` keeps the times for later without this warning");
    }
    Upkeep {
        rules,
        token_rules,
        schedule: enabled.then(|| Schedule {
            every: every.unwrap_or(EVERY),
            window: typed.window.as_ref().map(|window| window.0.clone()),
        }),
        policy: match typed.policy {
            Some(PolicyWord::Full) => Policy::Full,
            Some(PolicyWord::Alternate) | None => Policy::Alternate,
        },
        probe: probe(cx, typed, &path_of("probe")),
    }
}

fn rules(cx: &mut Context<'_>, raw: &raw::Endpoint, slowest: Duration, path: &KeyPath) -> Rules {
    let default = Rules::default();
    let empty = (raw::Rotation::default(), raw::Probe::default());
    let typed = raw.rotation.as_ref().unwrap_or(&empty.0);
    let probe = typed.probe.as_ref().unwrap_or(&empty.1);
    let mut rules = Rules {
        look: span(raw.look.as_ref()).unwrap_or(default.look),
        listkeys_interval: span(raw.listkeys_interval.as_ref()).unwrap_or(default.listkeys_interval),
        adopt_gap: pause(typed.adopt_gap.as_ref()).unwrap_or(default.adopt_gap),
        settle: span(typed.settle.as_ref()).unwrap_or(default.settle),
        drain_timeout: span(typed.drain_timeout.as_ref()).unwrap_or(slowest + BEYOND_THE_LAST),
        read_gap: pause(typed.read_gap.as_ref()).unwrap_or(default.read_gap),
        read_timeout: span(typed.read_timeout.as_ref()).unwrap_or(default.read_timeout),
        resubmit_after: span(typed.resubmit_after.as_ref()).unwrap_or(default.resubmit_after),
        probe_successes: probe.successes.unwrap_or(default.probe_successes),
        probe_spread: pause(probe.spread.as_ref()).unwrap_or(default.probe_spread),
        probe_fresh: span(probe.fresh.as_ref()).unwrap_or(default.probe_fresh),
        probe_timeout: span(probe.timeout.as_ref()).unwrap_or(default.probe_timeout),
        ..default
    };
    let path = path.key("rotation");
    let least = rules.least_min_gap();
    match span(typed.min_gap.as_ref()) {
        Some(written) => {
            rules.min_gap = written;
            if written < least {
                let found = format!("{written:?}, in which not every process takes up a new key before the next");
                cx.error(
                    &path.key("min_gap"),
                    found,
                    format!("at least {least:?}: 2 × (`look` + `probe.spread` + `settle`)"),
                )
                .hint("lengthen it, or shorten those");
            }
        }
        None => rules.min_gap = rules.min_gap.max(least),
    }
    if rules.probe_timeout <= rules.probe_spread {
        let key = if probe.timeout.is_some() { "timeout" } else { "spread" };
        let found =
            format!("`timeout` {:?}, in which `spread` {:?} never ends", rules.probe_timeout, rules.probe_spread);
        cx.error(&path.key("probe").key(key), found, "a `timeout` that is longer than `spread`");
    }
    rules
}

/// Reports what cannot go together with keys that are regenerated by themselves.
fn fits(cx: &mut Context<'_>, raw: &raw::Endpoint, path: &KeyPath) {
    if let Some(AuthWord::Token | AuthWord::Entra | AuthWord::None) = raw.auth {
        cx.error(&path.key("rotation").key("enabled"), "rotation for a service without keys", "`auth: key` beside it")
            .hint("tokens are renewed by themselves");
    }
    if let Some(Active::Primary | Active::Secondary) = raw.active {
        cx.error(&path.key("active"), "a choice of key beside `rotation.enabled`", "`auto`")
            .hint("rotation takes one key into use after the other; `keys rollback` goes back to the other one");
    }
}

fn probe(cx: &mut Context<'_>, typed: &raw::Rotation, path: &KeyPath) -> Probe {
    let Some(typed) = &typed.probe else { return Probe::default() };
    let default = Probe::default();
    let body = typed.body_file.as_deref().and_then(|file| {
        let path = path.key("body_file");
        if typed.method.is_none() {
            cx.error(&path, "a body for `OPTIONS`, which has none", "a `method` beside it, such as `POST`");
        }
        let body = cx.read(&path, file)?;
        if body.len() > LARGEST_BODY {
            cx.error(&path, format!("a file of {} bytes", body.len()), format!("at most {LARGEST_BODY}"));
        } else if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
            cx.error(&path, "a file that is not JSON", "a request that the model takes, as JSON");
        }
        Some(Arc::from(body))
    });
    Probe {
        method: typed.method.as_ref().map_or(default.method, |method| method.0.clone()),
        path: typed.path.as_ref().map(|path| path.0.0.clone()),
        body,
    }
}
