//! The token endpoint of the identity provider, in both forms: a form goes in, a token comes out.
//!
//! Service principals and sign-ins call it. The numbers of its answers are text in one form and numbers in the other; both are
//! read everywhere.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

use super::{Identity, TokenEndpoint};
use crate::{
    azure::{
        calls::{Calls, Why},
        cloud::Audience,
        error::Error,
        http::{Body, Http, Reply, Request},
        token::{Fetched, claims, lifetime},
        url::{Url, segment},
    },
    secret::Secret,
};

/// A form, and what of it is secret.
#[derive(Default)]
pub(super) struct Form {
    text: Zeroizing<String>,
    secrets: Vec<Secret>,
}

impl Form {
    /// With a field.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.push(name, value.as_bytes());
        self
    }

    /// With a field whose value is secret.
    pub(super) fn with_secret(mut self, name: &str, value: &Secret) -> Self {
        self.push(name, value.expose_bytes());
        self.secrets.push(value.clone());
        self
    }

    /// What a token is wanted for, as this endpoint takes it. A person's sign-in asks for more beside it.
    pub(super) fn for_audience(self, endpoint: TokenEndpoint, audience: &Audience, beside: &str) -> Self {
        match endpoint {
            TokenEndpoint::V1 => self.with("resource", audience.resource()),
            TokenEndpoint::V2 => self.with("scope", format!("{} {beside}", audience.scope()).trim_end()),
        }
    }

    fn push(&mut self, name: &str, value: &[u8]) {
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.text.extend(form_urlencoded::byte_serialize(name.as_bytes()));
        self.text.push('=');
        self.text.extend(form_urlencoded::byte_serialize(value));
    }

    /// As a request's body.
    pub(super) fn request(self, why: Why, doing: &str, url: Url) -> Request {
        let body = Body::Form(Secret::new(self.text.as_bytes().to_vec()));
        Request { secrets: self.secrets, ..Request::post(why, doing, url, body) }
    }
}

/// Something of a tenant at the identity provider, such as `token`.
pub(super) fn address(identity: &Identity, tenant: &str, what: &str) -> Result<Url, Error> {
    let version = match identity.endpoint {
        TokenEndpoint::V1 => "",
        TokenEndpoint::V2 => "/v2.0",
    };
    let below = format!("/{}/oauth2{version}/{what}", segment(tenant));
    let authority = &identity.cloud.authority;
    authority.below(&below).map_err(|why| Error::local("sign in", format!("{authority}{below}: {why}")))
}

/// An answer with a token.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) access_token: SecretText,
    #[serde(default)]
    expires_in: Number,
    #[serde(default)]
    expires_on: Number,
    #[serde(default)]
    refresh_in: Number,
    pub(super) refresh_token: Option<SecretText>,
    pub(super) id_token: Option<SecretText>,
}

impl TokenAnswer {
    /// The token with its life.
    pub(super) fn fetched(&self, reply: &Reply, now_unix: u64) -> Result<Fetched, Error> {
        let stated = self.expires_on.0.or_else(|| expiry_of_jwt(&self.access_token.0));
        let life = lifetime(self.expires_in.0, stated, now_unix, reply.ahead())
            .ok_or_else(|| reply.malformed("a token without an expiry to come", "a token"))?;
        let refresh_in = self.refresh_in.0.and_then(|seconds| u64::try_from(seconds).ok());
        if self.access_token.0.expose_bytes().is_empty() {
            return Err(reply.malformed("an empty token", "a token"));
        }
        Ok(Fetched { value: self.access_token.0.clone(), life, refresh_in: refresh_in.map(Duration::from_secs) })
    }
}

/// Asks the token endpoint.
///
/// # Errors
/// What the identity provider says, with what to do about it.
pub(super) async fn token(http: &Http, request: Request, calls: &mut Calls) -> Result<(TokenAnswer, Reply), Error> {
    let reply = http.call(request, calls).await?;
    if !reply.is_success() {
        let error = reply.refusal();
        return Err(match advice(&error, reply.ahead()) {
            Some(advice) => error.advise(advice),
            None => error,
        });
    }
    let answer = reply.json("a token")?;
    Ok((answer, reply))
}

/// What to do about what the identity provider says, by its numbers: the words may change.
fn advice(error: &Error, ahead: Option<i64>) -> Option<String> {
    let refusal = error.refusal()?;
    let known = refusal.numbers.iter().find_map(|number| {
        Some(match number {
            7_000_215 => {
                "the value of the secret is wanted, not its id; `az ad sp credential reset --id CLIENT_ID` makes a new one"
            }
            7_000_222 => "the secret has expired: `az ad sp credential reset --id CLIENT_ID` makes a new one",
            700_027 => "is the certificate registered at the application, and this its key?",
            70_021 | 700_211 | 700_212 | 700_213 => {
                "the application has no federated credential for the issuer, subject and audience of this token: \
                 `az ad app federated-credential create`"
            }
            7_000_218 => "the application is no public client: allow public client flows, or use a secret",
            700_016 => "is `client_id` the application's, and is it registered in this tenant?",
            90_002 | 900_023 => "is `tenant_id` right, and `cloud` the one that it is in?",
            500_011 | 50_001 => "is `cloud.audience` right?",
            70_011 | 1_002_012 => "the scope is a resource with `/.default` at its end",
            70_008 | 700_082 | 50_173 | 54_005 | 70_000 => "sign in again: `scoregate login`",
            50_076 | 50_079 | 53_003 | 65_001 => "a person has to sign in: `scoregate login`",
            700_024 => "",
            _ => return None,
        })
    });
    if known == Some("") {
        return Some(clock_advice(ahead));
    }
    known.map(str::to_owned).or_else(|| match refusal.code.as_str() {
        "interaction_required" | "consent_required" => Some("a person has to sign in: `scoregate login`".to_owned()),
        "invalid_grant" => Some("sign in again: `scoregate login`".to_owned()),
        _ => None,
    })
}

fn clock_advice(ahead: Option<i64>) -> String {
    match ahead {
        Some(seconds) if seconds.abs() >= 30 => {
            let way = if seconds > 0 { "behind" } else { "ahead of" };
            format!("this machine's clock is {} s {way} the identity provider's: set it", seconds.abs())
        }
        Some(_) | None => "is this machine's clock right, and the token file being renewed?".to_owned(),
    }
}

/// A secret as JSON has it.
#[derive(Clone)]
pub(in crate::azure) struct SecretText(pub(in crate::azure) Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text.into_bytes())))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A whole number, written as one or as text; `None` where it is neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::azure) struct Number(pub(in crate::azure) Option<i64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number(Some(number)))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number(i64::try_from(number).ok()))
            }

            #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number(number.is_finite().then_some(number as i64)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Number, E> {
                Ok(Number(text.trim().parse().ok()))
            }

            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number(None))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn expiry_of_jwt(token: &Secret) -> Option<i64> {
    claims(token)?.get("exp")?.as_i64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::azure::{error::Fault, refusal::Refusal};

    proptest! {
        #[test]
        fn no_token_answer_makes_it_panic(number in any::<i64>(), text in "\\PC{0,30}", bytes: Vec<u8>) {
            for value in [serde_json::json!(number), serde_json::json!(number.to_string()), serde_json::json!(text), serde_json::json!(null)] {
                let json = serde_json::json!({ "access_token": text, "expires_in": value, "expires_on": value, "refresh_in": value });
                let answer: TokenAnswer = serde_json::from_value(json).unwrap();
                let life = lifetime(answer.expires_in.0, answer.expires_on.0, 1_800_000_000, Some(number));
                prop_assert!(life.is_none_or(|life| !life.is_zero()));
            }
            let _ = (serde_json::from_slice::<TokenAnswer>(&bytes), claims(&Secret::new(bytes)));
        }
    }

    #[test]
    fn numbers_are_read_in_both_forms() {
        let read = |json: &str| serde_json::from_str::<Number>(json).unwrap().0;
        assert_eq!((read("3599"), read("\"3599\""), read("3599.0")), (Some(3599), Some(3599), Some(3599)));
        assert_eq!((read("null"), read("\"soon\"")), (None, None));
        assert_eq!(read("1e300"), Some(i64::MAX));
    }

    #[test]
    fn a_form_is_encoded_and_knows_its_secrets() {
        let form = Form::default()
            .with("scope", "https://a/.default x")
            .with_secret("client_secret", &Secret::new(b"p&=\xff".to_vec()));
        assert_eq!(form.text.as_str(), "scope=https%3A%2F%2Fa%2F.default+x&client_secret=p%26%3D%FF");
        assert_eq!(form.secrets.len(), 1);
    }

    #[test]
    fn advice_goes_by_number_and_the_clock_is_measured() {
        let error = |body: &str| {
            let refusal = Refusal::read(401, body.as_bytes(), &[]);
            Error::new("sign in", Fault::Refused { host: "h".into(), refusal })
        };
        let wrong = error(r#"{"error":"invalid_client","error_codes":[7000215]}"#);
        assert!(advice(&wrong, None).unwrap().contains("not its id"));
        let late = error(r#"{"error":"invalid_client","error_codes":[700024]}"#);
        assert!(advice(&late, Some(300)).unwrap().contains("300 s behind"));
        assert!(advice(&late, Some(-300)).unwrap().contains("300 s ahead of"));
        assert!(advice(&late, None).unwrap().contains("clock right"));
        assert_eq!(advice(&error(r#"{"error":"x"}"#), None), None);
    }

    #[test]
    fn the_claims_of_what_is_no_jwt_are_none() {
        for wrong in ["", "a", "a.b", "a.!.c", "a.eyJ9.c", "..", "a.W10.c"] {
            assert!(claims(&Secret::new(wrong.as_bytes().to_vec())).is_none(), "{wrong}");
        }
        assert_eq!(expiry_of_jwt(&Secret::new(b"e30.eyJleHAiOjd9.x".to_vec())), Some(7));
    }
}
