//! Who is calling: a head goes in, a [`Caller`] comes out. There is no other way to make one.
//!
//! Called by `decide`. Later kinds of proof (tokens, certificates) become variants beside keys; the policy of a route names
//! callers, not kinds.

mod api_key;

pub use api_key::{DigestMemo, KeyEntry, KeyTable};

use super::{headers::survey::Survey, reject::Reject};

/// Proof that a request was let in, and as whom: the position of the caller in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller(usize);

impl Caller {
    /// Position in the snapshot's list of callers.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// A header that may carry a caller's credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialHeader {
    /// `Authorization: Bearer KEY`
    Authorization,
    /// `x-api-key: KEY`
    XApiKey,
    /// `api-key: KEY`
    ApiKey,
}

impl CredentialHeader {
    /// All of them; each is removed from every request.
    pub const ALL: [Self; 3] = [Self::Authorization, Self::XApiKey, Self::ApiKey];

    /// The field name.
    #[must_use]
    pub const fn name(self) -> http::HeaderName {
        match self {
            Self::Authorization => http::header::AUTHORIZATION,
            Self::XApiKey => X_API_KEY,
            Self::ApiKey => API_KEY,
        }
    }
}

const X_API_KEY: http::HeaderName = http::HeaderName::from_static("x-api-key");
const API_KEY: http::HeaderName = http::HeaderName::from_static("api-key");

/// Who may use a route, in order: the first that accepts wins.
#[derive(Debug, Default)]
pub struct CallerPolicy {
    /// Positions of callers in the snapshot.
    pub allowed: Box<[usize]>,
    /// Place in `allowed` of a caller that is anyone at all.
    pub anonymous: Option<usize>,
    /// Where a caller may show its key.
    pub headers: Box<[CredentialHeader]>,
}

impl CallerPolicy {
    /// Lets a request in or not. `unix` is the wall clock in seconds.
    ///
    /// # Errors
    /// `ambiguous_credentials`, `caller_unknown`, `caller_expired`, `caller_forbidden`.
    pub fn verify(&self, keys: &KeyTable, memo: &DigestMemo, survey: &Survey<'_>, unix: u64) -> Result<Caller, Reject> {
        let presented = self.presented(survey)?;
        match self.by_key(keys, memo, presented, unix) {
            Ok(caller) => Ok(caller),
            Err(reject) => {
                self.anonymous.and_then(|at| self.allowed.get(at)).map(|caller| Caller(*caller)).ok_or(reject)
            }
        }
    }

    fn by_key(
        &self,
        keys: &KeyTable,
        memo: &DigestMemo,
        presented: Option<&[u8]>,
        unix: u64,
    ) -> Result<Caller, Reject> {
        if self.anonymous == Some(0) {
            return Err(Reject::CallerUnknown);
        }
        let entry = keys.find(presented.ok_or(Reject::CallerUnknown)?, memo).ok_or(Reject::CallerUnknown)?;
        if entry.expires.is_some_and(|expires| expires <= unix) {
            return Err(Reject::CallerExpired);
        }
        if self.allowed.contains(&entry.caller) { Ok(Caller(entry.caller)) } else { Err(Reject::CallerForbidden) }
    }

    /// The one credential of the request, wherever it may stand. Two of them are refused even where only one place is read:
    /// which of them another server would take is anybody's guess.
    pub(super) fn presented<'h>(&self, survey: &Survey<'h>) -> Result<Option<&'h [u8]>, Reject> {
        let mut found = None;
        for (place, field) in [
            (CredentialHeader::Authorization, survey.authorization),
            (CredentialHeader::XApiKey, survey.x_api_key),
            (CredentialHeader::ApiKey, survey.api_key),
        ] {
            if let Some(value) = field.single(Reject::AmbiguousCredentials)?
                && found.replace((place, value)).is_some()
            {
                return Err(Reject::AmbiguousCredentials);
            }
        }
        let Some((place, value)) = found.filter(|(place, _)| self.headers.contains(place)) else { return Ok(None) };
        Ok(match place {
            CredentialHeader::Authorization => bearer(value),
            CredentialHeader::XApiKey | CredentialHeader::ApiKey => Some(value),
        })
    }
}

/// `Bearer` in any case, one space, and the credential (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let credential = rest.strip_prefix(b" ")?;
    let one_word = !credential.is_empty() && !credential.iter().any(|b| matches!(b, b' ' | b'\t'));
    (scheme.eq_ignore_ascii_case(b"bearer") && one_word).then_some(credential)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::{digest::sha256, proxy::head::Fields};

    const TEAM_A: usize = 1;
    const TEAM_B: usize = 2;

    fn keys() -> KeyTable {
        [
            KeyEntry { sha256: sha256(b"key-a"), caller: TEAM_A, expires: None },
            KeyEntry { sha256: sha256(b"key-a-old"), caller: TEAM_A, expires: Some(1_000) },
            KeyEntry { sha256: sha256(b"key-b"), caller: TEAM_B, expires: None },
        ]
        .into_iter()
        .collect()
    }

    fn policy(allowed: &[usize], anonymous: Option<usize>) -> CallerPolicy {
        CallerPolicy {
            allowed: allowed.into(),
            anonymous,
            headers: [CredentialHeader::Authorization, CredentialHeader::XApiKey].into(),
        }
    }

    fn verify(policy: &CallerPolicy, fields: &[(&'static str, &str)], unix: u64) -> Result<usize, Reject> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("value"));
        }
        policy.verify(&keys(), &DigestMemo::default(), &Survey::of(&Fields::from(headers)), unix).map(Caller::index)
    }

    #[test]
    fn a_key_lets_its_caller_in_wherever_the_route_reads_it() {
        let policy = policy(&[TEAM_A], None);
        assert_eq!(verify(&policy, &[("authorization", "Bearer key-a")], 0), Ok(TEAM_A));
        assert_eq!(verify(&policy, &[("authorization", "bEARER key-a")], 0), Ok(TEAM_A));
        assert_eq!(verify(&policy, &[("x-api-key", "key-a")], 0), Ok(TEAM_A));
        assert_eq!(verify(&policy, &[("api-key", "key-a")], 0), Err(Reject::CallerUnknown), "not read on this route");
    }

    #[test]
    fn what_is_not_exactly_a_key_is_unknown() {
        let policy = policy(&[TEAM_A], None);
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
        let policy = policy(&[TEAM_A], None);
        for fields in [
            &[("authorization", "Bearer key-a"), ("authorization", "Bearer key-a")][..],
            &[("authorization", "Bearer key-a"), ("x-api-key", "key-a")],
            &[("authorization", "Bearer key-a"), ("api-key", "key-b")],
        ] {
            assert_eq!(verify(&policy, fields, 0), Err(Reject::AmbiguousCredentials), "{fields:?}");
        }
    }

    #[test]
    fn expired_and_foreign_keys_have_their_own_answers() {
        let policy = policy(&[TEAM_A], None);
        assert_eq!(verify(&policy, &[("x-api-key", "key-a-old")], 999), Ok(TEAM_A));
        assert_eq!(verify(&policy, &[("x-api-key", "key-a-old")], 1_000), Err(Reject::CallerExpired));
        assert_eq!(verify(&policy, &[("x-api-key", "key-b")], 0), Err(Reject::CallerForbidden));
    }

    #[test]
    fn anonymous_takes_whom_nobody_before_it_took() {
        let last = policy(&[TEAM_A, 0], Some(1));
        assert_eq!(verify(&last, &[("x-api-key", "key-a")], 0), Ok(TEAM_A));
        assert_eq!(verify(&last, &[("x-api-key", "wrong")], 0), Ok(0));
        assert_eq!(verify(&last, &[], 0), Ok(0));
        let first = policy(&[0, TEAM_A], Some(0));
        assert_eq!(verify(&first, &[("x-api-key", "key-a")], 0), Ok(0));
    }
}
