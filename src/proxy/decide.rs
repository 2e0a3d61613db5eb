//! Every choice about a request, before anything is done about it: pure, synchronous, complete.
//!
//! Called by `pipeline` with the snapshot, the connection's facts and the head. No IO, no await, no lock, no clock of its own.

use std::borrow::Cow;

use http::{Method, Version};

use super::{
    auth::Caller,
    authority,
    head::RequestHead,
    headers::{
        framing,
        survey::Survey,
        websocket::{self, Wanted},
    },
    path::{self, Special},
    peer::Peer,
    reject::Reject,
    route::{Action, Forward, Route},
    upstream::balance,
};
use crate::{
    clock::Tick,
    snapshot::{ListenerPolicy, Snapshot},
};

/// What is to be done with a request.
#[derive(Debug)]
pub struct Plan<'s> {
    /// The route, for its name.
    pub route: &'s Route,
    /// How it forwards.
    pub forward: &'s Forward,
    /// Proof that the caller was let in.
    pub caller: Caller,
    /// The path below the upstream's base: canonical, rewritten, begins with `/`.
    pub path: Cow<'s, str>,
    /// Whether `path` is the request's own, letter by letter.
    pub path_unchanged: bool,
    /// Two upstreams of which the less loaded is taken: positions in the endpoint.
    pub candidates: (usize, usize),
    /// Length of the body, where it is known.
    pub content_length: Option<u64>,
    /// The connection or stream is to become a WebSocket.
    pub websocket: bool,
}

/// Why a request is refused, and by which route, if it got that far.
#[derive(Debug)]
pub struct Refusal<'s> {
    /// The answer.
    pub reject: Reject,
    /// For metrics, and for `allow` in a 405.
    pub route: Option<&'s Route>,
}

impl From<Reject> for Refusal<'_> {
    fn from(reject: Reject) -> Self {
        Self { reject, route: None }
    }
}

/// Decides about a request.
///
/// # Errors
/// The first rule that the request breaks, in the order: method, framing, host, path, route, size, caller.
pub fn decide<'s>(
    snapshot: &'s Snapshot,
    listener: &ListenerPolicy,
    head: &'s RequestHead,
    survey: &Survey<'_>,
    peer: &Peer,
    tick: Tick,
) -> Result<Plan<'s>, Refusal<'s>> {
    let wanted = websocket::wanted(head, survey);
    if wanted == Wanted::Tunnel {
        return Err(Reject::UpgradeRefused.into());
    }
    if head.method == Method::TRACE {
        return Err(Reject::MethodNotAllowed.into());
    }
    // What comes over HTTP/1.1 was measured when it was read.
    let too_large = head.version == Version::HTTP_2 && head.fields.list_size() > snapshot.limits.head;
    if too_large || head.fields.len() > snapshot.limits.fields {
        return Err(Reject::RequestHeadTooLarge.into());
    }
    let content_length = framing::check_request(head.version, survey)?;
    let host = authority::host_of(head.authority(), survey.host)?;
    if !listener.serves(host) || !listener.certified(peer.server_name.get().map(|name| &**name), host) {
        return Err(Reject::Misdirected.into());
    }
    // A WebSocket is asked for by GET, or by what HTTP/2 has in its place.
    let method = if wanted == Wanted::WebSocket { &Method::GET } else { &head.method };
    let raw = raw_path(head)?;
    let canonical =
        path::canonicalize(raw).map_err(|_why| Reject::BadRequest("the request's path has no canonical form"))?;
    let route = snapshot
        .routes
        .find(listener.id, host, &canonical.path, method)
        .map_err(|missing| Refusal { reject: missing.reject, route: missing.route })?;
    let refuse = |reject| Refusal { reject, route: Some(route) };

    let Action::Forward(forward) = &route.action else { return Err(refuse(Reject::RouteDenied)) };
    if canonical.special != Special::NONE && !canonical.special.allowed_by(forward.special) {
        return Err(refuse(Reject::BadRequest("the request's path has characters that this route does not allow")));
    }
    let caller = forward.callers.verify(&snapshot.keys, &peer.memo, survey, tick.unix).map_err(refuse)?;
    if head.method == Method::OPTIONS && survey.max_forwards.first().is_some_and(is_zero) {
        return Err(refuse(Reject::LastHop));
    }
    if wanted == Wanted::WebSocket {
        if !forward.websocket {
            return Err(refuse(Reject::UpgradeRefused));
        }
        let has_body = content_length.is_some_and(|length| length > 0) || survey.transfer_encoding.first().is_some();
        if has_body || (head.method != Method::GET && head.method != Method::CONNECT) {
            return Err(refuse(Reject::BadRequest("a WebSocket is asked for by a GET without a body")));
        }
    }
    if content_length.is_some_and(|length| length > forward.body) {
        return Err(refuse(Reject::RequestTooLarge));
    }
    let Some(endpoint) = snapshot.endpoints.get(forward.endpoint) else { return Err(refuse(Reject::NoRoute)) };
    // `*` stands for `/` and must be forwarded as that.
    let own = std::ptr::eq(raw, head.path());
    let unchanged = own && matches!(canonical.path, Cow::Borrowed(_)) && forward.rewrite.is_none();
    Ok(Plan {
        route,
        forward,
        caller,
        path: rewrite(canonical.path, &route.matched, forward.rewrite.as_deref()),
        path_unchanged: unchanged,
        candidates: balance::draw_two(endpoint.upstreams.len(), tick.dice),
        content_length,
        websocket: wanted == Wanted::WebSocket,
    })
}

/// Whether `max-forwards` says that this is as far as the request goes (RFC 9110 section 7.6.2).
fn is_zero(number: &[u8]) -> bool {
    framing::plain_number(number) == Some(0)
}

/// The path of the request target; `*` only with OPTIONS (RFC 9112 section 3.2.4), where it stands for `/`.
fn raw_path(head: &RequestHead) -> Result<&str, Reject> {
    let path = head.path();
    match path {
        "*" if head.method == Method::OPTIONS && head.version != Version::HTTP_2 => Ok("/"),
        "" if head.authority().is_some() => Ok("/"),
        _ => Ok(path),
    }
}

/// Replaces the matched prefix. What is left always begins with `/`.
fn rewrite<'a>(path: Cow<'a, str>, matched: &str, replacement: Option<&str>) -> Cow<'a, str> {
    let Some(replacement) = replacement else { return path };
    let rest = path.strip_prefix(matched).unwrap_or(&path);
    let mut rewritten = String::with_capacity(replacement.len() + rest.len() + 1);
    rewritten.push_str(replacement.trim_end_matches('/'));
    rewritten.push_str(rest);
    if rewritten.is_empty() {
        rewritten.push('/');
    }
    Cow::Owned(rewritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_replaces_the_matched_prefix_and_nothing_else() {
        for (path, matched, replacement, expected) in [
            ("/iris/score", "/iris", Some("/"), "/score"),
            ("/iris", "/iris", Some("/"), "/"),
            ("/iris/", "/iris", Some("/"), "/"),
            ("/iris/score", "/iris", Some("/v1"), "/v1/score"),
            ("/iris", "/iris", Some("/v1/"), "/v1"),
            ("/score", "", Some("/v1"), "/v1/score"),
            ("/iris/iris", "/iris", Some("/"), "/iris"),
            ("/iris/score", "/iris", None, "/iris/score"),
        ] {
            assert_eq!(rewrite(path.into(), matched, replacement), expected, "{path} {matched} {replacement:?}");
        }
    }
}
