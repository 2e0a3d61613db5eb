//! The rules of RFC 8725 and RFC 7519, a broken one at a time.

use serde_json::json;

use super::*;
use crate::jwt::{algorithm::Algorithm, assemble, ed25519::Ed25519Signer, encode_base64url};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

fn signer() -> Ed25519Signer {
    Ed25519Signer::from_seed(&[7; 32])
}

fn published(signer: &Ed25519Signer) -> KeySet {
    let x = encode_base64url(signer.public().bytes());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": signer.public().id(), "x": x });
    KeySet::read(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap()
}

fn terms() -> Terms {
    Terms {
        issuers: [ISSUER.into()].into(),
        audiences: ["api://score".into()].into(),
        algorithms: Algorithms::ALL,
        skew: 60,
        tenants: Box::default(),
        objects: Box::default(),
        roles: Box::default(),
        scopes: Box::default(),
        claims: Box::default(),
    }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "api://score", "exp": NOW + 600, "nbf": NOW - 10, "oid": "who" })
}

/// The claims with one of them changed, or taken out by null.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn token(header: &Value, claims: &Value) -> String {
    assemble(header, claims, |signed| Ok::<_, ()>(signer().sign(signed))).unwrap()
}

fn header() -> Value {
    json!({ "alg": "EdDSA", "typ": "JWT", "kid": signer().public().id() })
}

fn verdict(terms: &Terms, claims: &Value) -> Result<Verified, BadToken> {
    terms.verify(Some(&published(&signer())), token(&header(), claims).as_bytes(), NOW)
}

fn flaw(terms: &Terms, claims: &Value) -> Option<BadToken> {
    verdict(terms, claims).err()
}

#[test]
fn a_good_token_says_who_it_is_about_and_until_when() {
    let good = verdict(&terms(), &claims()).unwrap();
    assert_eq!((good.until, good.subject.as_deref()), (NOW + 660, Some("who")));
    let sub = verdict(&terms(), &{
        let mut claims = with("oid", Value::Null);
        claims["sub"] = json!("a b\r\n%é");
        claims
    });
    assert_eq!(sub.unwrap().subject.as_deref(), Some("a%20b%0D%0A%25%C3%A9"));
    assert_eq!(verdict(&terms(), &with("oid", Value::Null)).unwrap().subject, None);
}

#[test]
fn each_rule_has_its_own_word() {
    for (claims, expected) in [
        (with("iss", json!("https://issuer.example/")), BadToken::Issuer),
        (with("iss", json!("https://ISSUER.example")), BadToken::Issuer),
        (with("iss", json!([ISSUER])), BadToken::Issuer),
        (with("iss", Value::Null), BadToken::Issuer),
        (with("aud", json!("api://other")), BadToken::Audience),
        (with("aud", json!(["api://scor", "api://score/"])), BadToken::Audience),
        (with("aud", json!({ "api://score": 1 })), BadToken::Audience),
        (with("aud", Value::Null), BadToken::Audience),
        (with("exp", json!(NOW - 60)), BadToken::Expired),
        (with("exp", json!(0)), BadToken::Expired),
        (with("exp", Value::Null), BadToken::Malformed),
        (with("exp", json!((NOW + 600).to_string())), BadToken::Malformed),
        (with("exp", json!(-1)), BadToken::Malformed),
        (with("nbf", json!(NOW + 61)), BadToken::NotYet),
        (with("nbf", json!("soon")), BadToken::Malformed),
    ] {
        assert_eq!(flaw(&terms(), &claims), Some(expected), "{claims}");
    }
    for good in [
        with("aud", json!(["api://other", "api://score"])),
        with("exp", json!(NOW - 59)),
        with("exp", json!(1e30)),
        with("nbf", json!(NOW + 60)),
        with("nbf", Value::Null),
    ] {
        assert_eq!(flaw(&terms(), &good), None, "{good}");
    }
}

#[test]
fn a_token_of_another_kind_is_none() {
    let keys = published(&signer());
    let with_type = |typ: Value| {
        let mut header = header();
        header["typ"] = typ;
        terms().verify(Some(&keys), token(&header, &claims()).as_bytes(), NOW).err()
    };
    for typ in ["at+jwt", "application/at+jwt", "jwt", "APPLICATION/JWT"] {
        assert_eq!(with_type(json!(typ)), None, "{typ}");
    }
    for typ in ["dpop+jwt", "logout+jwt", "secevent+jwt", "JWE", "text/jwt", ""] {
        assert_eq!(with_type(json!(typ)), Some(BadToken::Type), "{typ}");
    }
}

#[test]
fn only_the_issuers_keys_count_whatever_the_header_brings_along() {
    let stranger = Ed25519Signer::from_seed(&[8; 32]);
    let x = encode_base64url(stranger.public().bytes());
    let forged = |header: &Value| {
        let token = assemble(header, &claims(), |signed| Ok::<_, ()>(stranger.sign(signed))).unwrap();
        terms().verify(Some(&published(&signer())), token.as_bytes(), NOW).err()
    };
    let own = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    for (name, value) in [
        ("jwk", own.clone()),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = header();
        header[name] = value;
        assert_eq!(forged(&header), Some(BadToken::Flaw(Flaw::Signature)), "{name}");
        assert_eq!(terms().verify(Some(&published(&signer())), token(&header, &claims()).as_bytes(), NOW).err(), None);
    }
    for kid in ["../../etc/passwd", "' OR 1=1 --", "", "https://evil.example"] {
        let header = json!({ "alg": "EdDSA", "kid": kid });
        assert_eq!(forged(&header), Some(BadToken::Flaw(Flaw::KeyUnknown)), "{kid}");
    }
    assert_eq!(forged(&json!({ "alg": "EdDSA" })), Some(BadToken::Flaw(Flaw::Signature)), "no kid");
    assert_eq!(forged(&json!({ "alg": "none" })), Some(BadToken::Flaw(Flaw::Algorithm)));
    let other = Terms { algorithms: [Algorithm::Es256].into_iter().collect(), ..terms() };
    assert_eq!(flaw(&other, &claims()), Some(BadToken::Flaw(Flaw::Algorithm)), "the caller's list");
}

#[test]
fn an_unknown_issuers_keys_let_nobody_in() {
    let verdict = terms().verify(None, token(&header(), &claims()).as_bytes(), NOW);
    assert_eq!(verdict.err(), Some(BadToken::KeysMissing));
}

#[test]
fn entras_issuers_are_those_of_listed_tenants() {
    let tenants: Box<[Box<str>]> = ["72f988bf-86f1-41af-91ab-2d7cd011db47".into()].into();
    let issuers =
        ["https://sts.windows.net/{tenantid}/".into(), "https://login.microsoftonline.com/{tenantid}/v2.0".into()];
    let terms = Terms { issuers: issuers.into(), tenants, ..terms() };
    let of = |iss: &str, tid: &str| {
        let mut claims = with("iss", json!(iss));
        claims["tid"] = json!(tid);
        flaw(&terms, &claims)
    };
    let (ours, other) = ("72f988bf-86f1-41af-91ab-2d7cd011db47", "00000000-0000-0000-0000-000000000000");
    assert_eq!(of(&format!("https://sts.windows.net/{ours}/"), ours), None);
    assert_eq!(of(&format!("https://login.microsoftonline.com/{ours}/v2.0"), ours), None);
    assert_eq!(of(&format!("https://sts.windows.net/{other}/"), other), Some(BadToken::Issuer));
    assert_eq!(of(&format!("https://sts.windows.net/{other}/"), ours), Some(BadToken::Issuer));
    assert_eq!(of(&format!("https://sts.windows.net/{ours}/"), other), Some(BadToken::Issuer));
    assert_eq!(of(&format!("https://login.microsoftonline.com/{ours}/v1.0"), ours), Some(BadToken::Issuer));
    assert_eq!(of("https://sts.windows.net/{tenantid}/", "{tenantid}"), Some(BadToken::Issuer));
}

#[test]
fn what_is_required_must_be_said_whole() {
    let list = |items: &[&str]| -> Box<[Box<str>]> { items.iter().map(|item| (*item).into()).collect() };
    let roles = Terms { roles: list(&["score", "read"]), ..terms() };
    assert_eq!(flaw(&roles, &with("roles", json!(["read", "score", "x"]))), None);
    assert_eq!(flaw(&roles, &with("roles", json!(["score"]))), Some(BadToken::Claims));
    assert_eq!(flaw(&roles, &with("roles", json!("score read"))), Some(BadToken::Claims));
    assert_eq!(flaw(&roles, &claims()), Some(BadToken::Claims));
    let scopes = Terms { scopes: list(&["score"]), ..terms() };
    assert_eq!(flaw(&scopes, &with("scp", json!("read score"))), None);
    assert_eq!(flaw(&scopes, &with("scope", json!(["score"]))), None);
    assert_eq!(flaw(&scopes, &with("scp", json!("score.all"))), Some(BadToken::Claims));
    let people = Terms { objects: list(&["WHO"]), ..terms() };
    assert_eq!(flaw(&people, &claims()), None, "GUIDs have either case");
    assert_eq!(flaw(&people, &with("oid", json!("whoever"))), Some(BadToken::Claims));
    let expected: Box<[Expected]> = [Expected::Text("1".into()), Expected::Number(2), Expected::Truth(true)].into();
    let others = Terms { claims: [("ver".into(), expected)].into(), ..terms() };
    for (value, fits) in [
        (json!("1"), true),
        (json!(2), true),
        (json!(true), true),
        (json!(["x", 2]), true),
        (json!(1), false),
        (json!("2"), false),
        (json!("true"), false),
        (json!([["1"]]), false),
        (Value::Null, false),
    ] {
        let wanted = if fits { None } else { Some(BadToken::Claims) };
        assert_eq!(flaw(&others, &with("ver", value.clone())), wanted, "{value}");
    }
}
