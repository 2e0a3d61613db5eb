//! `limits` of callers and routes.

use super::context::Context;
use crate::{
    config::{model::CallLimits, path::KeyPath, raw},
    proxy::limit::{Allowed, Rate},
};

pub(super) fn limits(cx: &mut Context<'_>, raw: Option<&raw::CallLimits>, path: &KeyPath) -> Option<CallLimits> {
    let raw = raw?;
    let path = path.key("limits");
    if raw.rate.is_none() && raw.burst.is_some() {
        cx.error(&path.key("burst"), "a burst without `rate`", "`rate`");
    }
    let rate = raw.rate.as_ref().map(|rate| {
        let (count, seconds) = (rate.0.count, rate.0.seconds);
        Rate { count, seconds, burst: raw.burst.map_or_else(|| count.div_ceil(seconds), u64::from) }
    });
    let quota = raw.quota.as_ref().map(|quota| quota.0.0);
    if rate.is_none() && raw.burst.is_none() && raw.concurrent.is_none() && quota.is_none() {
        cx.error(&path, "nothing that is limited", "`rate`, `concurrent` or `quota`");
    }
    Some(Allowed { rate, concurrent: raw.concurrent.map(u64::from), quota })
}
