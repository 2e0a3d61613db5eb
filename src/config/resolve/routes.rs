//! `routes`: names looked up, twins found, and no credential for strangers.

use std::collections::{HashMap, HashSet};

use http::Method;

use super::{
    context::{Context, items, sound},
    endpoints::attach_header,
    limits, played,
    settings::{bytes, known_endpoint, not_zero, span},
};
use crate::config::{
    fault::quote,
    model::{Action, CallerHeader, Forward, PathChars, PathMatch, Route},
    path::KeyPath,
    raw::{self, AuthWord, CallerHeaderWord, OnOff, PathChar},
};

pub(super) fn routes(cx: &mut Context<'_>, raw: &raw::Config) -> Vec<Route> {
    let path = KeyPath::root().key("routes");
    if raw.routes.as_ref().is_none_or(Vec::is_empty) {
        cx.warning(&path, "no routes", "at least one").hint("every request is answered 404");
    }
    let mut routes: Vec<(KeyPath, Route)> = Vec::new();
    for (path, typed) in items(raw.routes.as_ref(), &path) {
        let action = action(cx, raw, typed, &path);
        let Some(matching) = typed.r#match.as_ref().and_then(|r#match| matching(cx, raw, r#match, &path)) else {
            continue;
        };
        if let Some((first, _)) = routes.iter().find(|(_, other)| are_twins(other, &matching)) {
            let hint = format!("the first one is {first} at {}", cx.place_of(first));
            let expected = "a different host, path, method or listener";
            cx.error(&path.key("match"), "requests that another route takes", expected).hint(hint);
        }
        let name = typed.name.as_ref().map_or_else(String::new, |name| name.0.0.clone());
        routes.push((path, Route { name, action, ..matching }));
    }
    name(cx, &mut routes);
    routes.into_iter().map(|(_, route)| route).collect()
}

/// Which requests a route takes; its name and action come later.
fn matching(cx: &mut Context<'_>, raw: &raw::Config, r#match: &raw::Match, path: &KeyPath) -> Option<Route> {
    let path = path.key("match");
    let listeners = sound(raw.listeners.as_ref()).filter_map(|listener| Some(listener.name.as_ref()?.0.0.as_str()));
    let listeners: Vec<&str> = listeners.collect();
    for (path, name) in items(r#match.listeners.as_ref(), &path.key("listeners")) {
        if !listeners.contains(&name.as_str()) {
            cx.unknown_name(&path, name, "a listener", listeners.iter().copied());
        }
    }
    let exact = r#match.path.as_ref().map(|path| PathMatch::Exact(path.0.0.clone()));
    let prefix = r#match.path_prefix.as_ref().map(|prefix| PathMatch::Prefix(prefix.0.as_prefix().to_owned()));
    Some(Route {
        name: String::new(),
        host: r#match.host.as_ref().map_or_else(|| "*".to_owned(), |host| host.0.0.clone()),
        path: exact.or(prefix)?,
        methods: sound(r#match.methods.as_ref()).map(|method| method.0.clone()).collect(),
        listeners: sound(r#match.listeners.as_ref()).cloned().collect(),
        action: Action::Deny,
    })
}

/// Whether there are requests that both take with none of them the more specific.
fn are_twins(one: &Route, other: &Route) -> bool {
    fn overlap<T: PartialEq>(one: &[T], other: &[T]) -> bool {
        one.is_empty() || other.is_empty() || one.iter().any(|item| other.contains(item))
    }
    one.host == other.host
        && one.path == other.path
        && overlap::<Method>(&one.methods, &other.methods)
        && overlap::<String>(&one.listeners, &other.listeners)
}

/// Gives a name to every route that has none and reports those that are taken.
fn name(cx: &mut Context<'_>, routes: &mut [(KeyPath, Route)]) {
    let mut taken: HashMap<String, KeyPath> = HashMap::new();
    for (path, route) in routes.iter().filter(|(_, route)| !route.name.is_empty()) {
        if let Some(first) = taken.get(&route.name) {
            let hint = format!("the first one is at {}", cx.place_of(&first.key("name")));
            let path = path.key("name");
            cx.error(&path, format!("{} again", cx.shown(&path, &route.name)), "a name of its own").hint(hint);
        }
        taken.entry(route.name.clone()).or_insert_with(|| path.clone());
    }
    for (path, route) in routes.iter_mut().filter(|(_, route)| route.name.is_empty()) {
        let plain = match &route.path {
            PathMatch::Exact(path) => format!("{}{path}", route.host),
            PathMatch::Prefix(prefix) => format!("{}{prefix}*", route.host),
        };
        let numbered = (2..).map(|number| format!("{plain}#{number}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains_key(name));
        route.name = free.unwrap_or(plain);
        taken.insert(route.name.clone(), path.clone());
    }
}

fn action(cx: &mut Context<'_>, raw: &raw::Config, typed: &raw::Route, path: &KeyPath) -> Action {
    if typed.deny.is_some() {
        no_other_keys(cx, typed, path);
        return Action::Deny;
    }
    // Without an endpoint it may as well have been meant to deny; that there is neither has been said.
    if typed.callers.is_none() && typed.endpoint.is_some() {
        cx.missing(&path.key("callers"), "the names of callers");
    }
    for (path, name) in items(typed.callers.as_ref(), &path.key("callers")) {
        let callers = || raw.callers.iter().flatten().map(|(name, _)| name.as_str());
        if !callers().any(|caller| caller == name) {
            cx.unknown_name(&path, name, "a caller", callers());
        }
    }
    let endpoint = typed.endpoint.clone().unwrap_or_default();
    if typed.endpoint.is_some() {
        known_endpoint(cx, raw, &endpoint, &path.key("endpoint"));
    }
    no_credential_for_strangers(cx, raw, typed, path);
    identity_header(cx, raw, typed, path);
    Action::Forward(Box::new(forward(cx, typed, endpoint, path)))
}

/// A route that denies does nothing else, so nothing else may be written.
fn no_other_keys(cx: &mut Context<'_>, typed: &raw::Route, path: &KeyPath) {
    let written = [
        ("rewrite", typed.rewrite.is_some()),
        ("callers", typed.callers.is_some()),
        ("attach", typed.attach.is_some()),
        ("identity_header", typed.identity_header.is_some()),
        ("caller_headers", typed.caller_headers.is_some()),
        ("timeout", typed.timeout.is_some()),
        ("body", typed.body.is_some()),
        ("replay_body", typed.replay_body.is_some()),
        ("trailers", typed.trailers.is_some()),
        ("path_chars", typed.path_chars.is_some()),
        ("websocket", typed.websocket.is_some()),
        ("limits", typed.limits.is_some()),
    ];
    for (key, _) in written.iter().filter(|(_, written)| *written) {
        cx.error(&path.key(key), "a key beside `deny`", "`match` and `deny` alone");
    }
}

fn forward(cx: &mut Context<'_>, typed: &raw::Route, endpoint: String, path: &KeyPath) -> Forward {
    let body = bytes(typed.body.as_ref());
    if let Some(body) = body {
        not_zero(cx, body, &path.key("body"));
    }
    let rewrite = typed.rewrite.as_ref().and_then(|rewrite| rewrite.path_prefix.as_ref());
    let headers = match &typed.caller_headers {
        Some(written) => written.iter().flatten().copied().map(caller_header).collect(),
        None => vec![CallerHeader::Authorization],
    };
    Forward {
        callers: sound(typed.callers.as_ref()).cloned().collect(),
        endpoint,
        attach: typed.attach.is_none(),
        rewrite_prefix: rewrite.map(|prefix| prefix.0.as_prefix().to_owned()),
        identity_header: typed.identity_header.as_ref().map(|header| header.0.0.clone()),
        caller_headers: headers,
        limits: limits::limits(cx, typed.limits.as_ref(), path),
        timeout: span(typed.timeout.as_ref()),
        body,
        replay_body: bytes(typed.replay_body.as_ref()),
        trailers: sound(typed.trailers.as_ref()).map(|trailer| trailer.0.0.clone()).collect(),
        path_chars: path_chars(typed),
        websocket: typed.websocket == Some(OnOff::On),
    }
}

fn caller_header(word: CallerHeaderWord) -> CallerHeader {
    match word {
        CallerHeaderWord::Authorization => CallerHeader::Authorization,
        CallerHeaderWord::XApiKey => CallerHeader::XApiKey,
        CallerHeaderWord::ApiKey => CallerHeader::ApiKey,
    }
}

fn path_chars(typed: &raw::Route) -> PathChars {
    let mut chars = PathChars::default();
    for char in sound(typed.path_chars.as_ref()) {
        match char {
            PathChar::Semicolon => chars.semicolon = true,
            PathChar::Backslash => chars.backslash = true,
            PathChar::EncodedSlash => chars.encoded_slash = true,
            PathChar::EncodedBackslash => chars.encoded_backslash = true,
        }
    }
    chars
}

/// Nobody who has not shown a key uses an endpoint's credential from elsewhere, unless the configuration says so.
fn no_credential_for_strangers(cx: &mut Context<'_>, raw: &raw::Config, typed: &raw::Route, path: &KeyPath) {
    let endpoint = raw.endpoints.as_ref().zip(typed.endpoint.as_ref());
    let endpoint = endpoint.and_then(|(endpoints, name)| endpoints.get(name)?.as_ref());
    // What a service of Azure's wants is asked later: anything but a written `none` counts.
    let has_credential = |endpoint: &raw::Endpoint| {
        endpoint.keys.is_some() || (endpoint.service.is_some() && endpoint.auth != Some(AuthWord::None))
    };
    if typed.attach.is_some() || !endpoint.is_some_and(has_credential) {
        return;
    }
    let Some(listener) = reachable_from_elsewhere(raw, typed) else { return };
    for (path, name) in items(typed.callers.as_ref(), &path.key("callers")) {
        let caller = raw.callers.as_ref().and_then(|callers| callers.get(name)?.as_ref());
        if caller.is_some_and(is_stranger) {
            let found = format!("{} on listener {}, with a credential attached", quote(name), quote(&listener));
            cx.error(&path, found, "callers that show a key").hint(format!(
                "anyone who reaches the listener could use the endpoint's key; `attach: none`, \
                 `match.listeners` on loopback, or `callers.{name}: {{ anonymous: {{ public: true }} }}` permit it"
            ));
        }
    }
}

/// A listener that takes requests for a route from other machines.
fn reachable_from_elsewhere(raw: &raw::Config, typed: &raw::Route) -> Option<String> {
    let chosen = typed.r#match.as_ref().and_then(|r#match| r#match.listeners.as_ref());
    let chosen: Option<HashSet<&str>> = chosen.map(|names| names.iter().flatten().map(String::as_str).collect());
    sound(raw.listeners.as_ref()).find_map(|listener| {
        let name = &listener.name.as_ref()?.0.0;
        let serves = chosen.as_ref().is_none_or(|chosen| chosen.contains(name.as_str()));
        (serves && !listener.address.as_ref()?.0.is_local()).then(|| name.clone())
    })
}

/// Whether a caller is anyone at all, with no word that this is meant.
fn is_stranger(caller: &raw::Caller) -> bool {
    match caller {
        raw::Caller::Anonymous(_) => true,
        raw::Caller::Table(table) => {
            let open = |service| played::auth(service) == crate::service_auth::AuthMode::None;
            table.anonymous.as_ref().is_some_and(|anonymous| anonymous.public != Some(true))
                || table.service.as_ref().is_some_and(open)
        }
    }
}

/// What carries a credential somewhere is taken out of every request, so it cannot carry a name.
fn identity_header(cx: &mut Context<'_>, raw: &raw::Config, typed: &raw::Route, path: &KeyPath) {
    let Some(header) = &typed.identity_header else { return };
    let endpoints = raw.endpoints.iter().flatten().filter_map(|(name, raw)| Some((name, raw.as_ref()?)));
    let carrier = endpoints.into_iter().find(|(_, endpoint)| attach_header(endpoint) == header.0.0);
    if let Some((name, _)) = carrier {
        cx.error(&path.key("identity_header"), quote(&header.0.0), "a field that carries no credential")
            .hint(format!("endpoint `{name}` attaches its key in it"));
    }
}
