//! Every choice about a request, before anything is done about it: pure, synchronous, complete.
//!
//! Called by `pipeline` with the snapshot, the connection's facts and the head. No IO, no await, no lock, no clock of its own.

use std::borrow::Cow;

use http::Method;

use super::{
    auth::{Caller, Evidence, Reason, Subject, token_cache::TokenCache},
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
    route::{Action, Forward, Rewrite, Route},
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
    /// What the caller's credential says of it.
    pub subject: Option<Subject<'s>>,
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
    /// Why the caller's credential did not do, for metrics.
    pub reason: Option<Reason>,
    /// The caller whose issuer may have a key by now that it did not have.
    pub renew: Option<usize>,
}

impl From<Reject> for Refusal<'_> {
    fn from(reject: Reject) -> Self {
        Self { reject, route: None, reason: None, renew: None }
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
    tokens: &TokenCache,
    tick: Tick,
) -> Result<Plan<'s>, Refusal<'s>> {
    let wanted = websocket::wanted(head, survey);
    if wanted == Wanted::Tunnel {
        return Err(Reject::UpgradeRefused.into());
    }
    if head.method == Method::TRACE {
        return Err(Reject::MethodNotAllowed.into());
    }
    if head.too_large || head.fields.len() > snapshot.limits.fields {
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
        .map_err(|missing| Refusal { route: missing.route, ..missing.reject.into() })?;
    let refuse = |reject: Reject| Refusal { route: Some(route), ..reject.into() };

    let Action::Forward(forward) = &route.action else { return Err(refuse(Reject::RouteDenied)) };
    if canonical.special != Special::NONE && !canonical.special.allowed_by(forward.special) {
        return Err(refuse(Reject::BadRequest("the request's path has characters that this route does not allow")));
    }
    let evidence = Evidence { peer, trust: listener.client_trust.as_deref(), tokens, tick };
    let admitted = forward.callers.verify(snapshot, survey, evidence).map_err(|refused| Refusal {
        reject: refused.reject,
        route: Some(route),
        reason: refused.reason,
        renew: refused.renew,
    })?;
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
    let unchanged = own && matches!(canonical.path, Cow::Borrowed(_)) && forward.rewrite == Rewrite::Keep;
    Ok(Plan {
        route,
        forward,
        caller: admitted.caller,
        subject: admitted.subject,
        path: rewrite(canonical.path, &route.matched, &forward.rewrite),
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
        "*" if head.method == Method::OPTIONS => Ok("/"),
        "" if head.authority().is_some() => Ok("/"),
        _ => Ok(path),
    }
}

/// Replaces the matched prefix. What is left always begins with `/`.
fn rewrite<'a>(path: Cow<'a, str>, matched: &str, rewrite: &Rewrite) -> Cow<'a, str> {
    let rest = path.strip_prefix(matched).unwrap_or(&path);
    let (replacement, rest) = match (rewrite, rest) {
        (Rewrite::Keep, _) => return path,
        (Rewrite::Prefix(replacement), rest) => (replacement, rest),
        // Azure keeps the description beside the scoring path, not below it.
        (Rewrite::Scoring(_), "/swagger.json") => return Cow::Borrowed("/swagger.json"),
        (Rewrite::Scoring(leaf), "/") => (leaf, ""),
        (Rewrite::Scoring(leaf), rest) => (leaf, rest),
    };
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
            let how = replacement.map_or(Rewrite::Keep, |replacement: &str| Rewrite::Prefix(replacement.into()));
            assert_eq!(rewrite(path.into(), matched, &how), expected, "{path} {matched} {replacement:?}");
        }
    }

    #[test]
    fn a_services_prefix_is_its_scoring_path_with_swagger_beside_it() {
        for (path, matched, leaf, expected) in [
            ("/iris", "/iris", "/score", "/score"),
            ("/iris/", "/iris", "/score", "/score"),
            ("/iris/swagger.json", "/iris", "/score", "/swagger.json"),
            ("/iris/v2", "/iris", "/score", "/score/v2"),
            ("/", "", "/score", "/score"),
            ("/swagger.json", "", "/score", "/swagger.json"),
            ("/iris", "/iris", "/", "/"),
            ("/iris/x", "/iris", "/", "/x"),
        ] {
            assert_eq!(rewrite(path.into(), matched, &Rewrite::Scoring(leaf.into())), expected, "{path} {leaf}");
        }
    }
}
