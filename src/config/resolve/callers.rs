//! `callers`: keys become digests, each of which belongs to one caller.

use std::{collections::HashMap, time::UNIX_EPOCH};

use super::{
    context::{Context, items},
    secrets::{self, Source},
    tokens,
};
use crate::{
    config::{
        model::{Caller, CallerKey, CallerKind},
        path::KeyPath,
        raw,
    },
    digest::sha256,
};

/// Where each digest was first seen.
type Seen = HashMap<[u8; 32], KeyPath>;

pub(super) fn callers(cx: &mut Context<'_>, raw: &raw::Config) -> Vec<Caller> {
    let path = KeyPath::root().key("callers");
    let mut seen = Seen::new();
    let callers = raw.callers.iter().flatten().filter_map(|(name, caller)| Some((name, caller.as_ref()?)));
    callers
        .map(|(name, caller)| {
            let kind = match caller {
                raw::Caller::Anonymous(_) => CallerKind::Anonymous,
                raw::Caller::Table(table) => kind(cx, table, &path.key(name), &mut seen),
            };
            Caller { name: name.clone(), kind }
        })
        .collect()
}

fn kind(cx: &mut Context<'_>, table: &raw::CallerTable, path: &KeyPath, seen: &mut Seen) -> CallerKind {
    if let Some(list) = &table.keys {
        let keys = items(Some(list), &path.key("keys"));
        return CallerKind::Keys(keys.into_iter().filter_map(|(path, raw)| key(cx, raw, &path, seen)).collect());
    }
    if let Some(jwt) = &table.jwt {
        // What is wrong was said; a caller without keys lets nobody in.
        return tokens::tokens(cx, jwt, &path.key("jwt"))
            .map_or_else(|| CallerKind::Keys(Vec::new()), |tokens| CallerKind::Token(Box::new(tokens)));
    }
    CallerKind::Anonymous
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
