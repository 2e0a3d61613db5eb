//! Tokens of RFC 7515's appendix, and hostile ones.

use proptest::prelude::*;
use serde_json::json;

use super::{ed25519::Ed25519Signer, jws::Jws, rsa::*, *};

#[test]
fn a_token_comes_apart_as_it_was_put_together() {
    let signer = Ed25519Signer::from_seed(&[7; 32]);
    let token = assemble(&json!({ "alg": "EdDSA" }), &json!({ "aud": ["a", "b"], "exp": 12.9 }), |signed| {
        Ok::<_, ()>(signer.sign(signed))
    })
    .unwrap();
    let parsed = Compact::parse(&token).unwrap();
    assert_eq!(parsed.header_text("alg"), Some("EdDSA"));
    assert_eq!(parsed.audiences().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(parsed.seconds("exp"), Some(12));
    assert_eq!(parsed.seconds("nbf"), None);
    let strict = Jws::parse(token.as_bytes()).unwrap();
    assert!(signer.public().signed(&strict));
    assert!(!Ed25519Signer::from_seed(&[8; 32]).public().signed(&strict));
    let other = assemble(&json!({ "alg": "ES256" }), &json!({}), |signed| Ok::<_, ()>(signer.sign(signed))).unwrap();
    assert!(!signer.public().signed(&Jws::parse(other.as_bytes()).unwrap()), "the algorithm is the key's own");
}

#[test]
fn padded_segments_are_read() {
    // {"alg":"none"} and {"a":1}, both padded.
    let parsed = Compact::parse("eyJhbGciOiJub25lIn0=.eyJhIjoxfQ==.AA==").unwrap();
    assert_eq!(parsed.header_text("alg"), Some("none"));
    assert_eq!(parsed.signature, [0]);
    assert_eq!(parsed.signed, b"eyJhbGciOiJub25lIn0=.eyJhIjoxfQ==");
}

#[test]
fn what_is_no_token_is_refused() {
    for wrong in ["", ".", "..", "a.b", "e30.e30.", "W10.e30.AA", "e30.e30.e30.e30", "e30.e30.!", "💥.💥.💥"] {
        // `e30.e30.` is a token with an empty signature, which verifies with nothing.
        assert_eq!(Compact::parse(wrong).is_err(), wrong != "e30.e30.", "{wrong}");
    }
}

#[test]
fn rsa_signatures_hold_for_their_message_alone() {
    let signer = RsaSigner::generate().unwrap();
    let public = signer.public().unwrap();
    let signature = signer.sign(b"message").unwrap();
    assert!(public.verify(RsaAlgorithm::Rs256, b"message", &signature));
    assert!(!public.verify(RsaAlgorithm::Rs256, b"another", &signature));
    assert!(!public.verify(RsaAlgorithm::Ps256, b"message", &signature));
    assert!(!RsaPublic(b"no key".to_vec()).verify(RsaAlgorithm::Rs256, b"message", &signature));
    assert_eq!(signer.jwk()["kid"], signer.id());
    assert_eq!(signer.jwk()["e"], "AQAB");
}

#[test]
fn no_token_chooses_its_own_algorithm() {
    for alg in ["none", "HS256", "rs256", "RS512", ""] {
        assert_eq!(RsaAlgorithm::named(alg), None);
    }
}

proptest! {
    #[test]
    fn nothing_that_is_sent_panics(token in "\\PC{0,200}") {
        let _ = Compact::parse(&token).map(|parsed| parsed.audiences().count());
    }

    #[test]
    fn base64url_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(decode_base64url(&encode_base64url(&bytes)), Some(bytes));
    }
}
