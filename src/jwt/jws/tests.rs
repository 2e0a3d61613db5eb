//! The Wycheproof vectors, and hostile headers.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::jwt::encode_base64url;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vectors {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    public: Option<Value>,
    private: Value,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    tc_id: u32,
    jws: Value,
    result: String,
}

fn vectors() -> Vectors {
    let text = include_str!("../../../tests/data/json_web_signature_test.json");
    serde_json::from_str(text).expect("the vectors")
}

/// The set that an issuer would publish. Of a symmetric key nothing can be published, so tokens under one meet another issuer's keys.
fn published(group: &Group) -> Option<KeySet> {
    let key = group.public.as_ref().unwrap_or(&group.private);
    KeySet::read(serde_json::json!({ "keys": [key] }).to_string().as_bytes()).ok()
}

fn verdict(keys: Option<&KeySet>, jws: &Value) -> Result<(), Flaw> {
    // What is not compact is handed over as it would come: as text.
    let token = jws.as_str().map_or_else(|| jws.to_string(), str::to_owned);
    let parsed = Jws::parse(token.as_bytes())?;
    keys.map_or(Err(Flaw::KeyUnknown), |keys| parsed.verify(keys, Algorithms::ALL, None))
}

#[test]
fn wycheproofs_vectors_have_their_verdicts() {
    let vectors = vectors();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for group in &vectors.test_groups {
        let keys = published(group);
        for Test { tc_id, jws, result } in &group.tests {
            let verdict = verdict(keys.as_ref(), jws);
            let header = jws.as_str().and_then(|jws| strict_base64url(jws.split('.').next()?));
            let alg = header.and_then(|header| object::read(&header)?.remove("alg"));
            let ours = alg.as_ref().and_then(Value::as_str).is_some_and(|name| Algorithm::named(name).is_some());
            let class = match (result.as_str(), ours) {
                ("valid", true) => {
                    assert_eq!(verdict, Ok(()), "{tc_id}");
                    "accepted"
                }
                ("valid", false) => {
                    // Two of the twelve have a header that is no base64url, which some libraries read all the same.
                    let refused = matches!(verdict, Err(Flaw::Algorithm | Flaw::Malformed));
                    assert!(refused, "{tc_id}: {verdict:?}");
                    "valid, but not by an algorithm of ours"
                }
                _ => {
                    assert!(verdict.is_err(), "{tc_id} is accepted");
                    "refused"
                }
            };
            *counts.entry(class).or_default() += 1;
        }
    }
    let expected = [("accepted", 34), ("refused", 355), ("valid, but not by an algorithm of ours", 12)];
    assert_eq!(counts, BTreeMap::from(expected));
    assert_eq!(counts.values().sum::<usize>(), vectors.number_of_tests);
}

fn token(header: &str) -> String {
    format!("{}.{}.{}", encode_base64url(header.as_bytes()), encode_base64url(b"{}"), encode_base64url(&[0; 64]))
}

#[test]
fn a_header_chooses_neither_key_nor_rules() {
    for (header, flaw) in [
        (r#"{"alg":"none"}"#, Flaw::Algorithm),
        (r#"{"alg":"HS256"}"#, Flaw::Algorithm),
        (r#"{"alg":"ES512"}"#, Flaw::Algorithm),
        (r#"{"alg":["ES256"]}"#, Flaw::Malformed),
        (r#"{"alg":"ES256","alg":"none"}"#, Flaw::Malformed),
        (r#"{"typ":"JWT"}"#, Flaw::Malformed),
        (r#"{"alg":"ES256","crit":["exp"]}"#, Flaw::Extension),
        (r#"{"alg":"ES256","crit":[]}"#, Flaw::Extension),
        (r#"{"alg":"ES256","b64":false}"#, Flaw::Extension),
        (r#"{"alg":"ES256","kid":7}"#, Flaw::Malformed),
        (r#"{"alg":"ES256","typ":null}"#, Flaw::Malformed),
        (r#"["alg","ES256"]"#, Flaw::Malformed),
        ("", Flaw::Malformed),
    ] {
        assert_eq!(Jws::parse(token(header).as_bytes()).map(|_| ()), Err(flaw), "{header}");
    }
    let huge = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(5_000));
    assert_eq!(Jws::parse(token(&huge).as_bytes()).map(|_| ()), Err(Flaw::Malformed));
    let long = format!("{}{}", token(r#"{"alg":"ES256"}"#), "A".repeat(20_000));
    assert_eq!(Jws::parse(long.as_bytes()).map(|_| ()), Err(Flaw::Malformed));
}

#[test]
fn an_algorithm_that_is_not_allowed_here_is_refused_with_a_right_signature() {
    let vectors = vectors();
    let group = vectors.test_groups.iter().find(|group| group.tests.iter().any(|test| test.tc_id == 18)).unwrap();
    let keys = published(group).unwrap();
    let jws = group.tests[0].jws.as_str().unwrap();
    let parsed = Jws::parse(jws.as_bytes()).unwrap();
    assert_eq!(parsed.verify(&keys, Algorithms::ALL, None), Ok(()));
    let others: Algorithms = Algorithm::ALL.into_iter().filter(|one| *one != Algorithm::Es256).collect();
    assert_eq!(parsed.verify(&keys, others, None), Err(Flaw::Algorithm));
}

proptest! {
    #[test]
    fn nothing_that_is_sent_panics(token in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Jws::parse(&token).map(|parsed| parsed.claims());
    }

    #[test]
    fn no_bit_of_a_token_can_be_changed(position in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let vectors = vectors();
        let group = &vectors.test_groups[1];
        let keys = published(group).unwrap();
        let mut token = group.tests[0].jws.as_str().unwrap().as_bytes().to_vec();
        let at = position.index(token.len());
        token[at] ^= 1 << bit;
        let verdict = Jws::parse(&token).and_then(|parsed| parsed.verify(&keys, Algorithms::ALL, None));
        prop_assert!(verdict.is_err(), "{at} {bit}");
    }
}
