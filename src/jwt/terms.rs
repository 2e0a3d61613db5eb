//! Whose tokens are believed, for what audience, and what a token must say: the terms of one caller, or of who may manage a
//! service. Pure: time and keys are arguments.
//!
//! Terms come from the configuration, keys from the issuer. The data plane judges callers by them, the control plane managers.

use serde_json::{Map, Value};

use super::{
    algorithm::Algorithms,
    jws::{Flaw, Jws},
    key_set::KeySet,
};

/// What a token must be, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Values of `iss` that are believed, whole; `{tenantid}` stands for the token's `tid`.
    pub issuers: Box<[Box<str>]>,
    /// Values of `aud`, one of which must be among the token's.
    pub audiences: Box<[Box<str>]>,
    /// Algorithms that are taken.
    pub algorithms: Algorithms,
    /// How far clocks may differ, seconds.
    pub skew: u64,
    /// Tenants (`tid`), one of which it must be of; empty = any.
    pub tenants: Box<[Box<str>]>,
    /// Principals (`oid`), one of which it must be of; empty = any.
    pub objects: Box<[Box<str>]>,
    /// Roles (`roles`) that it must have, all of them.
    pub roles: Box<[Box<str>]>,
    /// Scopes (`scp` or `scope`) that it must have, all of them.
    pub scopes: Box<[Box<str>]>,
    /// Claims that it must have, each with one of these values; of a claim that is a list, one of its items.
    pub claims: Box<[Claim]>,
}

/// The name of a claim, and the values of which it must have one.
pub type Claim = (Box<str>, Box<[Expected]>);

/// The value of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A text, compared letter by letter.
    Text(Box<str>),
    /// A whole number.
    Number(i64),
    /// True or false.
    Truth(bool),
}

impl Expected {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            Self::Number(number) => value.as_i64() == Some(*number),
            Self::Truth(truth) => value.as_bool() == Some(*truth),
        }
    }
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadToken {
    /// Its form, its header or its signature.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// Claims that are none, or a time that is no number.
    #[error("its claims cannot be read")]
    Malformed,
    /// Made for something else (RFC 8725 section 3.11).
    #[error("its type is not that of an access token")]
    Type,
    /// Another issuer's.
    #[error("it is of another issuer")]
    Issuer,
    /// The issuer's keys are not known yet.
    #[error("the keys of its issuer are not known yet")]
    KeysMissing,
    /// For somebody else.
    #[error("it is for another audience")]
    Audience,
    /// Before its time.
    #[error("its time has not come")]
    NotYet,
    /// Past its time.
    #[error("it has expired")]
    Expired,
    /// A tenant or principal that is not listed, or a role, scope or claim that is missing.
    #[error("its holder is not among those who are let in, or it lacks a role, scope or claim")]
    Claims,
}

/// A token that is good.
#[derive(Debug, Clone)]
pub struct Verified {
    /// From this moment on it is not, Unix seconds.
    pub until: u64,
    /// Whom it is about: `oid`, else `sub`; in a form that any field of a head can hold.
    pub subject: Option<Box<str>>,
}

impl Terms {
    /// Judges a token. `keys`: those of the issuer, as far as they are known.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify(&self, keys: Option<&KeySet>, token: &[u8], unix: u64) -> Result<Verified, BadToken> {
        let jws = Jws::parse(token)?;
        if !jws.typ().is_none_or(is_access_token) {
            return Err(BadToken::Type);
        }
        let claims = jws.claims().ok_or(BadToken::Malformed)?;
        // Before the signature, so that another issuer's token costs little; it must hold either way.
        let issuer = text(&claims, "iss").filter(|issuer| self.is_issuer(issuer, &claims)).ok_or(BadToken::Issuer)?;
        let keys = keys.ok_or(BadToken::KeysMissing)?;
        jws.verify(keys, self.algorithms, Some(issuer))?;
        if !texts(&claims, "aud").any(|audience| self.audiences.iter().any(|ours| **ours == *audience)) {
            return Err(BadToken::Audience);
        }
        let until = self.check_time(&claims, unix)?;
        self.check_claims(&claims)?;
        let subject = text(&claims, "oid").or_else(|| text(&claims, "sub"));
        Ok(Verified { until, subject: subject.map(|subject| visible(subject).into_boxed_str()) })
    }

    fn is_issuer(&self, issuer: &str, claims: &Map<String, Value>) -> bool {
        self.issuers.iter().any(|ours| match ours.split_once("{tenantid}") {
            None => **ours == *issuer,
            Some((before, after)) => {
                let tenant = issuer.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                // The tenant of the address and of the claim are one, and it is listed: configurations see to that.
                tenant.is_some_and(|tenant| text(claims, "tid") == Some(tenant) && is_listed(&self.tenants, tenant))
            }
        })
    }

    /// `exp` is demanded, `nbf` counts where it stands (RFC 7519 sections 4.1.4 and 4.1.5).
    fn check_time(&self, claims: &Map<String, Value>, unix: u64) -> Result<u64, BadToken> {
        let until = claims.get("exp").and_then(seconds).ok_or(BadToken::Malformed)?.saturating_add(self.skew);
        let from = match claims.get("nbf") {
            Some(from) => seconds(from).ok_or(BadToken::Malformed)?,
            None => 0,
        };
        if unix >= until {
            return Err(BadToken::Expired);
        }
        if unix.saturating_add(self.skew) < from {
            return Err(BadToken::NotYet);
        }
        Ok(until)
    }

    fn check_claims(&self, claims: &Map<String, Value>) -> Result<(), BadToken> {
        let listed =
            |list: &[Box<str>], name| list.is_empty() || text(claims, name).is_some_and(|it| is_listed(list, it));
        let has_role = |role: &str| texts(claims, "roles").any(|has| has == role);
        let has_scope = |scope: &str| {
            ["scp", "scope"]
                .into_iter()
                .flat_map(|name| texts(claims, name))
                .any(|has| has.split(' ').any(|one| one == scope))
        };
        let has_claim = |(name, expected): &Claim| {
            let value = claims.get(&**name).unwrap_or(&Value::Null);
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            values.iter().any(|value| expected.iter().any(|expected| expected.is(value)))
        };
        let fits = listed(&self.tenants, "tid")
            && listed(&self.objects, "oid")
            && self.roles.iter().all(|role| has_role(role))
            && self.scopes.iter().all(|scope| has_scope(scope))
            && self.claims.iter().all(has_claim);
        if fits { Ok(()) } else { Err(BadToken::Claims) }
    }
}

/// `JWT`, or the access token of RFC 9068 section 2.1. What is made for something else (a proof of possession, a logout, an event)
/// says so in its type, and is not taken for one.
fn is_access_token(typ: &str) -> bool {
    let subtype = typ.split_at_checked("application/".len());
    let subtype = subtype.filter(|(kind, _)| kind.eq_ignore_ascii_case("application/")).map_or(typ, |(_, rest)| rest);
    ["jwt", "at+jwt"].iter().any(|taken| subtype.eq_ignore_ascii_case(taken))
}

/// Tenants and principals are GUIDs, in either case.
fn is_listed(list: &[Box<str>], it: &str) -> bool {
    list.iter().any(|listed| listed.eq_ignore_ascii_case(it))
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name)?.as_str()
}

/// A claim that is one text or several.
fn texts<'c>(claims: &'c Map<String, Value>, name: &str) -> impl Iterator<Item = &'c str> {
    let values = match claims.get(name) {
        Some(Value::Array(several)) => several.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    values.iter().filter_map(Value::as_str)
}

/// A NumericDate (RFC 7519 section 2), in whole Unix seconds. None for what is negative or no number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64))
}

/// The longest subject that is told: more is no name.
const LONGEST_SUBJECT: usize = 256;

/// What an issuer calls somebody, so that it can stand in a field: anything but visible ASCII is percent-encoded.
fn visible(subject: &str) -> String {
    let mut shown = String::with_capacity(subject.len());
    for byte in subject.bytes().take(LONGEST_SUBJECT) {
        if byte.is_ascii_graphic() && byte != b'%' {
            shown.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0').to_ascii_uppercase();
            shown.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    shown
}

#[cfg(test)]
mod tests;
