//! `callers`: keys become digests, each of which belongs to one caller.

use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    context::{Context, items},
    secrets::{self, Source},
    settings::span,
};
use crate::{
    config::{
        model::{Caller, CallerKey, CallerKind},
        path::KeyPath,
        raw,
    },
    digest::sha256,
};

/// `evict_after`, when it is not written.
const EVICT_AFTER: Duration = Duration::from_secs(30);

/// Where each digest was first seen.
type Seen = HashMap<[u8; 32], KeyPath>;

pub(super) fn callers(cx: &mut Context<'_>, raw: &raw::Config) -> Vec<Caller> {
    let path = KeyPath::root().key("callers");
    let mut seen = Seen::new();
    let callers = raw.callers.iter().flatten().filter_map(|(name, caller)| Some((name, caller.as_ref()?)));
    callers
        .map(|(name, caller)| {
            let kind = match caller {
                raw::Caller::Table(raw::CallerTable { keys: Some(list), .. }) => {
                    let keys = items(Some(list), &path.key(name).key("keys"));
                    CallerKind::Keys(
                        keys.into_iter().filter_map(|(path, raw)| key(cx, raw, &path, &mut seen)).collect(),
                    )
                }
                raw::Caller::Table(_) | raw::Caller::Anonymous(_) => CallerKind::Anonymous,
            };
            let evict_after = match caller {
                raw::Caller::Table(table) => evict_after(cx, table, &path.key(name)),
                raw::Caller::Anonymous(_) => None,
            };
            Caller { name: name.clone(), kind, evict_after }
        })
        .collect()
}

fn evict_after(cx: &mut Context<'_>, table: &raw::CallerTable, path: &KeyPath) -> Option<Duration> {
    let evicts = table.revoke == Some(raw::RevokeWord::Evict);
    if table.revoke.is_some() && table.keys.is_none() {
        cx.error(&path.key("revoke"), "a caller without `keys`", "it beside `keys`: nothing else is taken back");
    }
    if table.evict_after.is_some() && !evicts {
        cx.error(&path.key("evict_after"), "it without `revoke: evict`", "both, or neither");
    }
    evicts.then(|| span(table.evict_after.as_ref()).unwrap_or(EVICT_AFTER))
}

fn key(cx: &mut Context<'_>, raw: &raw::CallerKey, path: &KeyPath, seen: &mut Seen) -> Option<CallerKey> {
    let expires = raw.expires.as_ref().map(|expires| expires.0.0);
    if expires.is_some_and(|expires| cx.env.now().duration_since(UNIX_EPOCH).is_ok_and(|now| now.as_secs() >= expires))
    {
        cx.warning(&path.key("expires"), "a time that has passed", "a time to come").hint("the key is refused");
    }
    let sha256 = digest(cx, raw, path)?;
    match seen.get(&sha256) {
        Some(first) => {
            let hint = format!("the first one is {first} at {}", cx.place_of(first));
            cx.error(path, "a key that is in use already", "a key of its own").hint(hint);
        }
        None => {
            seen.insert(sha256, path.clone());
        }
    }
    Some(CallerKey { sha256, expires })
}

fn digest(cx: &mut Context<'_>, raw: &raw::CallerKey, path: &KeyPath) -> Option<[u8; 32]> {
    if let Some(digest) = &raw.sha256 {
        return Some(digest.0.0);
    }
    let secret = secrets::from_source(cx, Source::of(&raw.file, &raw.env, &raw.value)?, path)?;
    secrets::warn_if_short(cx, &secret, path);
    Some(sha256(secret.expose_bytes()))
}
