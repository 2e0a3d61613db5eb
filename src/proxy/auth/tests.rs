//! Who is let in by a key, and why not.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::{
    clock::Moment,
    digest::sha256,
    proxy::head::Fields,
    snapshot::{Access, Limits, Timeouts},
};

const ANYONE: usize = 0;
const TEAM_A: usize = 1;
const TEAM_B: usize = 2;

fn snapshot() -> Snapshot {
    let grant = |caller, not_before, expires| KeyGrant { caller, name: None, not_before, expires };
    let keys = [
        (sha256(b"key-a"), KeyGrant { name: Some("laptop".into()), ..grant(TEAM_A, 0, u64::MAX) }),
        (sha256(b"key-a-old"), grant(TEAM_A, 0, 1_000)),
        (sha256(b"key-a-new"), grant(TEAM_A, 1_000, u64::MAX)),
        (sha256(b"key-b"), grant(TEAM_B, 0, u64::MAX)),
    ];
    let entry = |name: &str, proof| CallerEntry { name: name.into(), proof, limits: None, evict_after: None };
    let second = Duration::from_secs(1);
    Snapshot {
        generation: 1,
        routes: Arc::default(),
        keys: Arc::new(keys.into_iter().collect()),
        callers: [entry("anyone", Proof::Anonymous), entry("a", Proof::Keys), entry("b", Proof::Keys)].into(),
        grounds: Arc::default(),
        endpoints: Box::default(),
        listeners: [].into(),
        stripped: [].into(),
        limits: Limits { head: 0, fields: 0, h2_streams: 0, token_waiters: 0 },
        timeouts: Timeouts {
            tls_handshake: second,
            request_head: second,
            idle: second,
            request: second,
            connect: second,
            response_head: second,
            stall: second,
            stream_idle: second,
        },
        access: Access::Off,
    }
}

fn policy(allowed: &[usize]) -> CallerPolicy {
    CallerPolicy {
        allowed: allowed.into(),
        headers: [CredentialHeader::Authorization, CredentialHeader::XApiKey].into(),
    }
}

fn judge<T>(
    policy: &CallerPolicy,
    fields: &[(&'static str, &str)],
    unix: u64,
    look: impl FnOnce(Result<Admitted<'_>, Refused>) -> T,
) -> T {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("value"));
    }
    let fields = Fields::from(headers);
    let (peer, tokens, snapshot) = (Peer::default(), TokenCache::default(), snapshot());
    let tick = Tick { now: Moment::default(), unix, dice: 0 };
    let survey = Survey::of(&fields);
    look(policy.verify(&snapshot, &survey, Evidence { peer: &peer, trust: None, tokens: &tokens, tick }))
}

fn verify(policy: &CallerPolicy, fields: &[(&'static str, &str)], unix: u64) -> Result<usize, Reject> {
    judge(policy, fields, unix, |verdict| verdict.map(|it| it.caller.index()).map_err(|refused| refused.reject))
}

fn reason(policy: &CallerPolicy, fields: &[(&'static str, &str)], unix: u64) -> Option<Reason> {
    judge(policy, fields, unix, |verdict| verdict.err()?.reason)
}

#[test]
fn a_key_lets_its_caller_in_wherever_the_route_reads_it() {
    let policy = policy(&[TEAM_A]);
    assert_eq!(verify(&policy, &[("authorization", "Bearer key-a")], 0), Ok(TEAM_A));
    assert_eq!(verify(&policy, &[("authorization", "bEARER key-a")], 0), Ok(TEAM_A));
    assert_eq!(verify(&policy, &[("x-api-key", "key-a")], 0), Ok(TEAM_A));
    assert_eq!(verify(&policy, &[("api-key", "key-a")], 0), Err(Reject::CallerUnknown), "not read on this route");
}

#[test]
fn a_key_has_a_name() {
    let name = |key| {
        judge(&policy(&[TEAM_A]), &[("x-api-key", key)], 0, |verdict| {
            verdict.unwrap().subject.map(|subject| subject.as_str().to_owned())
        })
    };
    assert_eq!(name("key-a").as_deref(), Some("laptop"));
    assert_eq!(name("key-a-old"), None);
}

#[test]
fn what_is_not_exactly_a_key_is_unknown() {
    let policy = policy(&[TEAM_A]);
    for value in [
        "key-a",
        "Basic key-a",
        "Bearer",
        "Bearer ",
        "Bearer  key-a",
        "Bearer key-a ",
        "Bearer KEY-A",
        "Bearer key-a, key-a",
        "Bearer\tkey-a",
    ] {
        assert_eq!(verify(&policy, &[("authorization", value)], 0), Err(Reject::CallerUnknown), "{value:?}");
    }
    assert_eq!(verify(&policy, &[], 0), Err(Reject::CallerUnknown));
}

#[test]
fn two_credentials_are_refused_even_if_equal_or_unread() {
    let policy = policy(&[TEAM_A]);
    for fields in [
        &[("authorization", "Bearer key-a"), ("authorization", "Bearer key-a")][..],
        &[("authorization", "Bearer key-a"), ("x-api-key", "key-a")],
        &[("authorization", "Bearer key-a"), ("api-key", "key-b")],
    ] {
        assert_eq!(verify(&policy, fields, 0), Err(Reject::AmbiguousCredentials), "{fields:?}");
    }
}

#[test]
fn keys_before_and_past_their_time_and_those_of_others_have_their_own_answers_and_reasons() {
    let policy = policy(&[TEAM_A]);
    for (key, unix, verdict, why) in [
        ("key-a-old", 999, Ok(TEAM_A), None),
        ("key-a-old", 1_000, Err(Reject::CallerExpired), Some(Reason::KeyExpired)),
        ("key-a-new", 999, Err(Reject::CallerUnknown), Some(Reason::KeyNotYet)),
        ("key-a-new", 1_000, Ok(TEAM_A), None),
        ("key-b", 0, Err(Reject::CallerForbidden), Some(Reason::KeyForbidden)),
        ("key-c", 0, Err(Reject::CallerUnknown), Some(Reason::KeyUnknown)),
    ] {
        assert_eq!(verify(&policy, &[("x-api-key", key)], unix), verdict, "{key} {unix}");
        assert_eq!(reason(&policy, &[("x-api-key", key)], unix), why, "{key} {unix}");
    }
    assert_eq!(reason(&policy, &[], 0), Some(Reason::NoCredential));
}

#[test]
fn the_first_caller_that_accepts_wins() {
    let last = policy(&[TEAM_A, ANYONE]);
    assert_eq!(verify(&last, &[("x-api-key", "key-a")], 0), Ok(TEAM_A));
    assert_eq!(verify(&last, &[("x-api-key", "wrong")], 0), Ok(ANYONE));
    assert_eq!(verify(&last, &[], 0), Ok(ANYONE));
    let first = policy(&[ANYONE, TEAM_A]);
    assert_eq!(verify(&first, &[("x-api-key", "key-a")], 0), Ok(ANYONE));
    let both = policy(&[TEAM_A, TEAM_B]);
    assert_eq!(verify(&both, &[("x-api-key", "key-b")], 0), Ok(TEAM_B));
}
