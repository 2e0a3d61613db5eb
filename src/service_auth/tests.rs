//! Which credentials are taken, when, and why not.

use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::jwt;

struct NoEntra;

impl EntraTokens for NoEntra {
    fn check(&self, _token: &str, _unix: u64) -> Result<(), EntraRefusal> {
        Err(EntraRefusal::NoRole)
    }
}

fn key(text: &str) -> KeyValue {
    KeyValue::new(text).unwrap()
}

fn service(auth: AuthMode) -> ServiceAuth {
    ServiceAuth {
        name: "svc".to_owned(),
        auth,
        keys: Keys { primary: key("one"), secondary: key("two") },
        tokens: TokenKeys::new(&[1; 32]),
        lifetimes: Lifetimes { lifetime: 3600, refresh_after: 1800 },
    }
}

fn at(seconds: u64) -> Moment {
    Moment::from_micros(seconds * 1_000_000)
}

fn judge(service: &ServiceAuth, value: &[u8], seconds: u64) -> Result<Accepted, Refusal> {
    let sight = Sight::new(&service.keys);
    service.judge(&sight, &Presented::Bearer(value), When { now: at(seconds), unix: 1_000 + seconds }, &NoEntra)
}

#[test]
fn either_key_is_taken_and_nothing_else() {
    let service = service(AuthMode::Key);
    assert_eq!(judge(&service, b"one", 0), Ok(Accepted::Key(Slot::Primary)));
    assert_eq!(judge(&service, b"two", 0), Ok(Accepted::Key(Slot::Secondary)));
    for wrong in [&b"One"[..], b"one ", b"", b"onetwo", service.issue(1_000, &[0; 32]).token.expose_bytes()] {
        assert_eq!(judge(&service, wrong, 0), Err(Refusal::UnknownKey));
    }
}

#[test]
fn an_open_service_takes_everything() {
    let service = service(AuthMode::None);
    let sight = Sight::new(&service.keys);
    for presented in [Presented::Nothing, Presented::Several, Presented::NotBearer, Presented::Bearer(b"x")] {
        let when = When { now: at(0), unix: 0 };
        assert_eq!(service.judge(&sight, &presented, when, &NoEntra), Ok(Accepted::Open));
    }
}

#[test]
fn a_credential_is_one_bearer_field() {
    let presented = |fields: &[&str]| {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append("authorization", field.parse().unwrap());
        }
        Presented::read(&headers).value().map(<[u8]>::to_vec)
    };
    assert_eq!(presented(&["Bearer k"]), Ok(b"k".to_vec()));
    assert_eq!(presented(&["bearer k, Bearer l"]), Ok(b"k, Bearer l".to_vec()));
    assert_eq!(presented(&[]), Err(Refusal::Missing));
    assert_eq!(presented(&["Bearer k", "Bearer k"]), Err(Refusal::Several));
    for wrong in ["Basic k", "Bearer", "Bearer ", "k"] {
        assert_eq!(presented(&[wrong]), Err(Refusal::NotBearer), "{wrong}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let service = service(AuthMode::Key);
    let issued = service.issue(0, &[0; 32]);
    let shown = format!("{service:?} {issued:?} {:?}", Presented::Bearer(b"one"));
    for secret in ["one", "\"two", "[1, 1", "eyJ"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn tokens_hold_for_their_service_until_they_expire() {
    let service = service(AuthMode::Token);
    let issued = service.issue(1_000, &[0; 32]);
    assert_eq!((issued.expiry, issued.refresh_by), (4_600, 2_800));
    let token = issued.token.expose_bytes();
    let claims = TokenClaims { issued: 1_000, refresh_by: 2_800, expiry: 4_600 };
    assert_eq!(judge(&service, token, 0), Ok(Accepted::Token(claims)));
    assert_eq!(judge(&service, token, 3_599), Ok(Accepted::Token(claims)), "past refresh_by it still holds");
    assert_eq!(judge(&service, token, 3_600), Err(Refusal::ExpiredToken));
    let another = ServiceAuth { name: "other".to_owned(), ..service };
    assert_eq!(judge(&another, token, 0), Err(Refusal::ForeignToken));
    assert_eq!(judge(&another, b"one", 0), Err(Refusal::MalformedToken));
}

#[test]
fn forged_tokens_are_foreign() {
    let service = service(AuthMode::Token);
    let claims = json!({ "iss": "https://ml.azure.com/service-tokens", "aud": "svc", "iat": 0, "exp": 9_999_999_999_u64, "refresh_by": 1 });
    let genuine = String::from_utf8(service.issue(1_000, &[0; 32]).token.expose_bytes().to_vec()).unwrap();
    let parsed = jwt::Compact::parse(&genuine).unwrap();
    let id = parsed.header_text("kid").unwrap();
    for header in [json!({ "alg": "none", "kid": id }), json!({ "alg": "HS256", "kid": id }), json!({ "alg": "HS256" })]
    {
        let forged = jwt::assemble(&header, &claims, |_| Ok::<_, ()>(vec![0; 32])).unwrap();
        assert_eq!(judge(&service, forged.as_bytes(), 0), Err(Refusal::ForeignToken));
    }
    let none = jwt::assemble(&json!({ "alg": "none", "kid": id }), &claims, |_| Ok::<_, ()>(Vec::new())).unwrap();
    assert_eq!(judge(&service, none.as_bytes(), 0), Err(Refusal::ForeignToken));
}

#[test]
fn a_signing_key_changes_with_overlap() {
    let mut service = service(AuthMode::Token);
    let old = service.issue(1_000, &[0; 32]);
    service.tokens.rotate(&[2; 32], 1_000, 1_060);
    let new = service.issue(1_000, &[0; 32]);
    assert!(judge(&service, new.token.expose_bytes(), 0).is_ok());
    assert!(judge(&service, old.token.expose_bytes(), 59).is_ok());
    assert_eq!(judge(&service, old.token.expose_bytes(), 60), Err(Refusal::ForeignToken));
}

#[test]
fn what_azure_does_not_have_is_not_allowed() {
    use AuthMode::{Entra, Key, None, Token};
    let allowed = |kind: ServiceKind| [Key, Token, Entra, None].map(|auth| kind.allows(auth));
    assert_eq!(allowed(ServiceKind::Aci), [true, false, false, true]);
    assert_eq!(allowed(ServiceKind::Aks), [true, true, false, true]);
    assert_eq!(allowed(ServiceKind::Online), [true, true, true, false]);
}

#[test]
fn regenerate_bodies_are_read_as_azure_reads_them() {
    let read = |body: &str| Regenerate::read(body.as_bytes());
    let whole = read(r#"{"keyType":"Secondary","keyValue":"abc"}"#).unwrap();
    assert_eq!((whole.slot, whole.value.unwrap().expose_text()), (Slot::Secondary, "abc"));
    for null in [r#"{"keyType":"Primary"}"#, r#"{"keyType":"Primary","keyValue":null,"more":1}"#] {
        assert!(read(null).unwrap().value.is_none());
    }
    for (body, why) in [
        ("", BadRegenerate::NoObject),
        ("[]", BadRegenerate::NoObject),
        ("{}", BadRegenerate::KeyType),
        (r#"{"keyType":"primary"}"#, BadRegenerate::KeyType),
        (r#"{"keyType":0}"#, BadRegenerate::KeyType),
        (r#"{"keyType":"Primary","keyValue":1}"#, BadRegenerate::KeyValue),
        (r#"{"keyType":"Primary","keyValue":""}"#, BadRegenerate::BadKey(BadKey::Empty)),
        (r#"{"keyType":"Primary","keyValue":"a\nb"}"#, BadRegenerate::BadKey(BadKey::NotForAHeader)),
    ] {
        assert_eq!(read(body).unwrap_err(), why, "{body}");
    }
}

#[test]
fn bodies_have_the_names_that_the_libraries_demand() {
    let service = service(AuthMode::Token);
    assert_eq!(keys_body(&service.keys), json!({ "primaryKey": "one", "secondaryKey": "two" }));
    let issued = service.issue(1_000, &[0; 32]);
    let one = web_service_token_body(&issued);
    assert_eq!(
        (&one["tokenType"], &one["expiryOn"], &one["refreshAfter"]),
        (&json!("Bearer"), &json!(4_600), &json!(2_800))
    );
    let two = online_token_body(&issued);
    assert_eq!((&two["expiryTimeUtc"], &two["refreshAfterTimeUtc"]), (&json!(4_600), &json!(2_800)));
}

proptest! {
    /// Whatever is told when: a front end takes, of each slot, the last value whose time has come, and what it has learned it keeps.
    #[test]
    fn a_front_end_takes_one_value_of_each_slot_and_never_forgets(
        told in proptest::collection::vec((0_u64..50, any::<bool>()), 0..12),
        settled in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let mut sight = Sight::new(&service(AuthMode::Key).keys);
        let mut expected = Vec::new();
        let mut last = [0; 2];
        for (index, (from, primary)) in told.into_iter().enumerate() {
            let slot = if primary { Slot::Primary } else { Slot::Secondary };
            let last = &mut last[usize::from(primary)];
            *last = from.max(*last);
            sight.learn(slot, key(&format!("{slot:?}-{index}")), at(from));
            expected.push((slot, *last, format!("{slot:?}-{index}")));
        }
        for (now, settle) in settled.into_iter().enumerate() {
            let now = now as u64;
            if settle {
                sight.settle(at(now));
            }
            for slot in Slot::BOTH {
                let first = if slot == Slot::Primary { "one" } else { "two" };
                let newest = expected.iter().rfind(|(of, from, _)| *of == slot && *from <= now);
                let value = newest.map_or(first, |(_, _, value)| value);
                prop_assert_eq!(sight.value(slot, at(now)).expose_text(), value);
                prop_assert_eq!(sight.slot_of(value.as_bytes(), at(now)), Some(slot));
            }
        }
    }

    #[test]
    fn keys_made_up_can_be_sent_and_differ_from_each_other(one: [u8; 32], other: [u8; 32]) {
        let (one_key, other_key) = (KeyValue::made_of(&one), KeyValue::made_of(&other));
        prop_assert!(KeyValue::new(one_key.expose_text()).is_ok());
        prop_assert!(one_key.expose_text().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        prop_assert_eq!(one.map(|b| b % 62) == other.map(|b| b % 62), one_key.is(other_key.expose_text().as_bytes()));
    }

    #[test]
    fn hostile_credentials_and_bodies_are_refused_in_peace(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(judge(&service(AuthMode::Token), &bytes, 0).is_err());
        let _ = Regenerate::read(&bytes).map(|_| ());
    }
}

#[test]
fn a_lag_is_counted_from_the_change() {
    let mut sight = Sight::new(&service(AuthMode::Key).keys);
    sight.learn(Slot::Primary, key("new"), at(10) + Duration::from_secs(3));
    assert_eq!(sight.slot_of(b"one", at(12)), Some(Slot::Primary));
    assert_eq!(sight.slot_of(b"new", at(12)), None);
    assert_eq!(sight.slot_of(b"one", at(13)), None, "exactly one value at each moment");
    assert_eq!(sight.slot_of(b"new", at(13)), Some(Slot::Primary));
}
