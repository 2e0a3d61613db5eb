//! `callers`: keys become digests, each of which belongs to one caller.

use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    context::{Context, items, sound},
    limits, played,
    secrets::{self, Source},
    settings::span,
    tokens,
};
use crate::{
    config::{
        model::{Caller, CallerKey, CallerKind, CertificateRules},
        path::KeyPath,
        raw,
        text::{Name, Syntax, Text},
        units::{Digest, Timestamp},
    },
    digest::sha256,
};

/// `evict_after`, when it is not written.
const EVICT_AFTER: Duration = Duration::from_secs(30);
/// Faults of one file of digests that are reported.
const MOST_FAULTS: usize = 5;

/// Where each digest was first seen, with the line in a file of many.
type Seen = HashMap<[u8; 32], (KeyPath, Option<usize>)>;

pub(super) fn callers(cx: &mut Context<'_>, raw: &raw::Config) -> Vec<Caller> {
    let path = KeyPath::root().key("callers");
    let mut seen = Seen::new();
    let callers = raw.callers.iter().flatten().filter_map(|(name, caller)| Some((name, caller.as_ref()?)));
    callers
        .map(|(name, caller)| {
            let path = path.key(name);
            let (kind, limits, evict_after) = match caller {
                raw::Caller::Anonymous(_) => (CallerKind::Anonymous, None, None),
                raw::Caller::Table(table) => {
                    let limits = limits::limits(cx, table.limits.as_ref(), &path);
                    (kind(cx, table, &path, &mut seen), limits, evict_after(cx, table, &path))
                }
            };
            Caller { name: name.clone(), kind, limits, evict_after }
        })
        .collect()
}

fn evict_after(cx: &mut Context<'_>, table: &raw::CallerTable, path: &KeyPath) -> Option<Duration> {
    let evicts = table.revoke == Some(raw::RevokeWord::Evict);
    if table.revoke.is_some() && table.anonymous.is_some() {
        cx.error(&path.key("revoke"), "a caller that shows nothing", "it beside `keys`, `jwt`, `mtls` or `service`");
    }
    if table.evict_after.is_some() && !evicts {
        cx.error(&path.key("evict_after"), "it without `revoke: evict`", "both, or neither");
    }
    evicts.then(|| span(table.evict_after.as_ref()).unwrap_or(EVICT_AFTER))
}

fn kind(cx: &mut Context<'_>, table: &raw::CallerTable, path: &KeyPath, seen: &mut Seen) -> CallerKind {
    if let Some(list) = &table.keys {
        let keys = items(Some(list), &path.key("keys"));
        return CallerKind::Keys(keys.into_iter().flat_map(|(path, raw)| keys_of(cx, raw, &path, seen)).collect());
    }
    if let Some(jwt) = &table.jwt {
        // What is wrong was said; a caller without keys lets nobody in.
        return tokens::tokens(cx, jwt, &path.key("jwt"))
            .map_or_else(|| CallerKind::Keys(Vec::new()), |tokens| CallerKind::Token(Box::new(tokens)));
    }
    if let Some(mtls) = &table.mtls {
        let rules = CertificateRules {
            names: sound(mtls.san.as_ref()).map(|pattern| pattern.0.clone()).collect(),
            fingerprints: sound(mtls.fingerprints.as_ref()).map(|digest| digest.0.0).collect(),
        };
        if mtls.san.is_none() && mtls.fingerprints.is_none() {
            cx.error(&path.key("mtls"), "neither `san` nor `fingerprints`", "at least one of them");
        }
        return CallerKind::Certificate(rules);
    }
    if let Some(raw) = &table.service {
        // What is wrong was said; a caller without keys lets nobody in.
        return played::service(cx, raw, &path.key("service"))
            .map_or_else(|| CallerKind::Keys(Vec::new()), |service| CallerKind::Service(Box::new(service)));
    }
    CallerKind::Anonymous
}

fn keys_of(cx: &mut Context<'_>, raw: &raw::CallerKey, path: &KeyPath, seen: &mut Seen) -> Vec<CallerKey> {
    match &raw.digests {
        Some(written) => many(cx, raw, written, path, seen),
        None => key(cx, raw, path, seen).into_iter().collect(),
    }
}

fn key(cx: &mut Context<'_>, raw: &raw::CallerKey, path: &KeyPath, seen: &mut Seen) -> Option<CallerKey> {
    let (not_before, expires) = (moment(raw.not_before.as_ref()), moment(raw.expires.as_ref()));
    let now = cx.env.now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    if expires.is_some_and(|expires| now >= expires) {
        cx.warning(&path.key("expires"), "a time that has passed", "a time to come").hint("the key is refused");
    }
    if is_never(not_before, expires) {
        cx.error(&path.key("expires"), "a time that is not after `not_before`", "a later one");
    }
    let sha256 = digest(cx, raw, path)?;
    if let Some((first, line)) = seen.get(&sha256) {
        let hint = first_place(cx, first, *line);
        cx.error(path, "a key that is in use already", "a key of its own").hint(hint);
    } else {
        seen.insert(sha256, (path.clone(), None));
    }
    let name = raw.name.as_ref().map(|name| name.0.0.as_str().into());
    Some(CallerKey { sha256, name, not_before, expires })
}

/// The keys of a file of digests.
fn many(cx: &mut Context<'_>, raw: &raw::CallerKey, written: &str, path: &KeyPath, seen: &mut Seen) -> Vec<CallerKey> {
    for (key, stands) in
        [("name", raw.name.is_some()), ("not_before", raw.not_before.is_some()), ("expires", raw.expires.is_some())]
    {
        if stands {
            cx.error(&path.key(key), "a key beside `digests`", "it in the lines of that file");
        }
    }
    let at = path.key("digests");
    let Some(content) = cx.read(&at, written) else { return Vec::new() };
    let Ok(content) = std::str::from_utf8(&content) else {
        cx.error(&at, "a file that is not UTF-8", "lines that begin with a SHA-256 digest");
        return Vec::new();
    };
    if content.trim().is_empty() {
        // As while somebody writes it in place: callers must not lose their keys by a reload in that moment.
        cx.error(&at, "an empty file", "digests, or a comment where nobody is to come in by it");
        return Vec::new();
    }
    let (mut keys, mut faults) = (Vec::new(), 0);
    for (number, line) in (1..).zip(content.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let fault = match digest_line(line) {
            Ok(key) => match seen.get(&key.sha256) {
                None => {
                    seen.insert(key.sha256, (at.clone(), Some(number)));
                    keys.push(key);
                    continue;
                }
                Some((first, line)) => {
                    ("a key that is in use already", "a key of its own", Some(first_place(cx, first, *line)))
                }
            },
            // What stands there may be a key in place of its digest, and is not shown.
            Err((found, expected)) => (found, expected, None),
        };
        faults += 1;
        if faults <= MOST_FAULTS {
            let (found, expected, hint) = fault;
            cx.error(&at, format!("in line {number} {found}"), expected).hint = hint;
        }
    }
    if faults > MOST_FAULTS {
        cx.error(&at, format!("{} more lines with faults", faults - MOST_FAULTS), "lines as above");
    } else if faults == 0 && keys.is_empty() {
        cx.warning(&at, "a file without a digest", "at least one").hint("nobody comes in by it");
    }
    keys
}

/// `DIGEST [name=NAME] [not_before=TIME] [expires=TIME]`
fn digest_line(line: &str) -> Result<CallerKey, (&'static str, &'static str)> {
    let mut words = line.split_ascii_whitespace();
    let digest = words.next().and_then(|word| Digest::parse(word).ok());
    let digest = digest.ok_or(("no digest at the beginning", Digest::EXPECTED))?;
    let mut key = CallerKey::new(digest.0);
    for word in words {
        let moment = |text: &str| {
            Timestamp::parse(text)
                .map(|moment| Some(moment.0))
                .map_err(|_complaint| ("something that is no time", Timestamp::EXPECTED))
        };
        match word.split_once('=') {
            Some(("name", name)) => {
                let name = Name::parse(name).map_err(|_complaint| ("something that is no name", Name::EXPECTED))?;
                key.name = Some(name.0.into());
            }
            Some(("not_before", text)) => key.not_before = moment(text)?,
            Some(("expires", text)) => key.expires = moment(text)?,
            _ => return Err(("a word that means nothing", "`name=`, `not_before=` or `expires=`")),
        }
    }
    if is_never(key.not_before, key.expires) {
        return Err(("an `expires` that is not after `not_before`", "a later one"));
    }
    Ok(key)
}

fn moment(written: Option<&Text<Timestamp>>) -> Option<u64> {
    written.map(|moment| moment.0.0)
}

fn is_never(not_before: Option<u64>, expires: Option<u64>) -> bool {
    not_before.zip(expires).is_some_and(|(not_before, expires)| expires <= not_before)
}

fn first_place(cx: &Context<'_>, first: &KeyPath, line: Option<usize>) -> String {
    let line = line.map_or_else(String::new, |line| format!(", line {line} of its file"));
    format!("the first one is {first} at {}{line}", cx.place_of(first))
}

fn digest(cx: &mut Context<'_>, raw: &raw::CallerKey, path: &KeyPath) -> Option<[u8; 32]> {
    if let Some(digest) = &raw.sha256 {
        return Some(digest.0.0);
    }
    let secret = secrets::from_source(cx, Source::of(&raw.file, &raw.env, &raw.value)?, path)?;
    secrets::warn_if_short(cx, &secret, path);
    Some(sha256(secret.expose_bytes()))
}
