//! Tokens of callers and the keys they are judged by: only what was signed is believed, letter by letter.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scoregate::jwt::{
    Compact, algorithm::Algorithms, assemble, ed25519::Ed25519Signer, encode_base64url, jws::Jws, key_set::KeySet,
    terms::Terms,
};
use serde_json::json;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

/// Every token that the issuer ever signed, and its published key. The seeds have them too.
static ISSUED: LazyLock<(Vec<String>, KeySet)> = LazyLock::new(|| {
    let signer = Ed25519Signer::from_seed(&[7; 32]);
    let sign = |header: &serde_json::Value, claims: &serde_json::Value| {
        assemble(header, claims, |signed| Ok::<_, ()>(signer.sign(signed))).expect("signed")
    };
    let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": signer.public().id() });
    let claims = json!({ "iss": ISSUER, "aud": "api://score", "exp": NOW + 600, "nbf": NOW - 10, "oid": "who", "roles": ["score"] });
    let expired = json!({ "iss": ISSUER, "aud": "api://score", "exp": NOW - 600 });
    let foreign = json!({ "iss": "https://other.example", "aud": ["api://score"], "exp": NOW + 600 });
    let bare = json!({ "alg": "EdDSA" });
    let tokens = vec![sign(&header, &claims), sign(&header, &expired), sign(&header, &foreign), sign(&bare, &claims)];
    let x = encode_base64url(signer.public().bytes());
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": signer.public().id(), "x": x }] });
    (tokens, KeySet::read(set.to_string().as_bytes()).expect("a set"))
});

static TERMS: LazyLock<Terms> = LazyLock::new(|| Terms {
    issuers: [ISSUER.into()].into(),
    audiences: ["api://score".into()].into(),
    algorithms: Algorithms::ALL,
    skew: 60,
    tenants: Box::default(),
    objects: Box::default(),
    roles: ["score".into()].into(),
    scopes: Box::default(),
    claims: Box::default(),
});

fuzz_target!(|bytes: &[u8]| {
    let (issued, keys) = &*ISSUED;
    let is_issued = |token: &[u8]| issued.iter().any(|issued| issued.as_bytes() == token);
    let strict = Jws::parse(bytes);
    if let Ok(jws) = &strict {
        let signed = jws.verify(keys, Algorithms::ALL, None).is_ok();
        assert_eq!(signed, is_issued(bytes), "a token that was not signed, or one that was and is refused");
        // What the strict reader takes, the lenient one reads as the same.
        if let (Some(claims), Ok(text)) = (jws.claims(), std::str::from_utf8(bytes)) {
            let compact = Compact::parse(text).expect("the lenient reader takes what the strict one does");
            assert_eq!(compact.claims, claims);
            assert_eq!(compact.header_text("kid"), jws.kid());
            let _all = (compact.seconds("exp"), compact.audiences().count(), compact.text("iss"));
        }
    }
    match TERMS.verify(Some(keys), bytes, NOW) {
        Ok(verified) => {
            assert!(strict.is_ok() && is_issued(bytes) && verified.until > NOW);
            assert!(
                verified
                    .subject
                    .is_none_or(|subject| !subject.is_empty() && subject.bytes().all(|b| b.is_ascii_graphic()))
            );
        }
        Err(why) => assert!(!why.to_string().is_empty()),
    }
    assert!(TERMS.verify(None, bytes, NOW).is_err(), "let in without a key");

    // As what an issuer publishes. A key that the fuzzer made up has not signed what ours has.
    if let Ok(set) = KeySet::read(bytes) {
        assert!(!set.is_empty() && set.len() <= 64);
        assert_eq!(KeySet::read(bytes).as_ref(), Ok(&set));
        let judged = Jws::parse(issued[0].as_bytes()).expect("sound").verify(&set, Algorithms::ALL, None);
        let ours = encode_base64url(Ed25519Signer::from_seed(&[7; 32]).public().bytes());
        assert!(
            judged.is_err() || String::from_utf8_lossy(bytes).replace('\\', "").contains(&ours[..40]),
            "another key's signature"
        );
    }
});
