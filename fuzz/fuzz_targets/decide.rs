//! From a request's bytes to what is done with it: nobody comes in without the key, nothing is served that is closed, and no
//! request has two framings or two hosts.
#![no_main]

use http::{Method, Version};
use libfuzzer_sys::fuzz_target;
use scoregate::{
    clock::{Moment, Tick},
    proxy::{
        auth::token_cache::TokenCache,
        decide::{Plan, decide},
        head::RequestHead,
        headers::{framing, survey::Survey},
        http1::chunked::Decoder,
        path::{Special, canonicalize},
        peer::Peer,
        reject::{Blame, Reject},
        route::Action,
    },
};
use scoregate_fuzz::{CALLER_KEY, contains, count, gate, over_http2, request, resolved};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((length, head))) = request(bytes) else { return };
    judge(&bytes[..length], &head);
    if let Some(head) = over_http2(&head) {
        judge(&bytes[..length], &head);
    }
});

fn judge(text: &[u8], head: &RequestHead) {
    let survey = Survey::of(&head.fields);
    let framing = framing::body_of_request(head.version, &survey);
    for listener in gate().listeners.iter() {
        let (peer, tokens) = (Peer::default(), TokenCache::default());
        let tick = Tick { now: Moment::from_micros(1), unix: 1_800_000_000, dice: 7 };
        let decided = decide(gate(), listener, head, &survey, &peer, &tokens, tick);
        match decided {
            Ok(plan) => {
                admitted(text, head, &plan);
                framed(text, head, &plan, &framing);
            }
            Err(refusal) => {
                assert_eq!(refusal.reject.blame(), Blame::Client, "{:?}", refusal.reject);
                assert!(refusal.reject.status().is_client_error() || refusal.reject == Reject::LastHop);
            }
        }
        // A caller that was let in by the memory of its connection is let in without it.
        let again = decide(gate(), listener, head, &survey, &peer, &tokens, tick);
        let anew = decide(gate(), listener, head, &survey, &Peer::default(), &TokenCache::default(), tick);
        assert_eq!(again.map_err(|r| r.reject).map(|p| p.path), anew.map_err(|r| r.reject).map(|p| p.path));
    }
}

fn admitted(text: &[u8], head: &RequestHead, plan: &Plan<'_>) {
    let name = &*plan.route.name;
    assert!(matches!(plan.route.action, Action::Forward(_)));
    assert!(name.contains("/open") || contains(text, CALLER_KEY), "{name}: no key, and let in");
    assert!(!matches!(head.method, Method::TRACE) && (head.method != Method::CONNECT || plan.websocket));

    let asked = if head.path() == "*" || head.path().is_empty() { "/" } else { head.path() };
    let canonical = canonicalize(asked).expect("a path without a canonical form is refused");
    if let (Some(segments), true) = (resolved(asked), canonical.special == Special::NONE) {
        let first = segments.first().map_or(&b""[..], Vec::as_slice);
        // A host of its own goes before every path: what is closed elsewhere, or rewritten, is not so there.
        let own_host = name.contains("other.example");
        assert!(own_host || first != b"admin", "what is closed is served");
        let goes_on: Vec<_> = if first == b"iris" && !own_host { segments[1..].to_vec() } else { segments };
        assert_eq!(resolved(&plan.path), Some(goes_on), "another place than was asked for");
    }
    assert!(canonical.special.allowed_by(plan.forward.special));
    assert!(plan.path.starts_with('/'));
    assert_eq!(canonicalize(&plan.path).expect("canonical").path, plan.path, "what goes on is canonical");
    if plan.path_unchanged {
        assert_eq!(plan.path, head.path());
    }
}

fn framed(text: &[u8], head: &RequestHead, plan: &Plan<'_>, framing: &Decoder) {
    let (lengths, codings) = (count(text, "content-length"), count(text, "transfer-encoding"));
    assert!(lengths + codings <= 1, "two framings");
    assert!(count(text, "host") <= 1, "two hosts");
    if head.version == Version::HTTP_2 {
        return;
    }
    assert!(count(text, "host") == 1 || head.authority().is_some() || head.version == Version::HTTP_10, "no host");
    let expected = match plan.content_length {
        None if codings == 1 => Decoder::chunked(),
        None | Some(0) => Decoder::Done,
        Some(length) => Decoder::Length(length),
    };
    assert_eq!(*framing, expected, "the body that is read is another than the one that is announced");
}
