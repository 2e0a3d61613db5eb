//! Who is calling: a head and a connection go in, a [`Caller`] comes out. There is no other way to make one.
//!
//! Called by `decide`. A route names callers, not kinds of proof: each caller has one kind, and the first on the route that accepts
//! what was shown wins.

mod api_key;
pub mod certificate;
mod digest_memo;
mod reason;
pub mod service;
pub mod token;
pub mod token_cache;

use std::{rc::Rc, sync::Arc, time::Duration};

pub use api_key::{KeyGrant, KeyTable};
pub use digest_memo::DigestMemo;
pub use reason::Reason;
use tokio::sync::Notify;

use self::{
    certificate::{CertificateRules, ClientTrust},
    service::ServiceFace,
    token::{IssuerKeys, TokenRules},
    token_cache::TokenCache,
};
use super::{headers::survey::Survey, limit::Limiter, peer::Peer, reject::Reject};
use crate::{clock::Tick, snapshot::Snapshot};

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

/// A caller.
#[derive(Debug)]
pub struct CallerEntry {
    /// Its name: access log and identity header.
    pub name: Box<str>,
    /// How it proves who it is.
    pub proof: Proof,
    /// How much it may ask.
    pub limits: Option<Arc<Limiter>>,
    /// How long what its key, token or certificate has let in may outlive that; none = as long as it likes.
    pub evict_after: Option<Duration>,
}

impl CallerEntry {
    /// Whether this caller is let in by what it presents or has shown, and as whom. `at`: its position.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn judge<'s>(
        &self,
        at: usize,
        snapshot: &'s Snapshot,
        presented: Option<&[u8]>,
        evidence: Evidence<'_>,
    ) -> Result<Option<Subject<'s>>, Refused> {
        match &self.proof {
            Proof::Anonymous => Ok(None),
            Proof::Keys => Ok(by_key(at, snapshot, presented, evidence)?),
            Proof::Token(rules) => Ok(by_token(at, rules, snapshot, presented, evidence)?.map(Subject::Shown)),
            Proof::Certificate(rules) => Ok(Some(Subject::Shown(by_certificate(rules, evidence)?))),
            Proof::Service { .. } => Ok(by_service(at, snapshot, presented, evidence)?.map(Subject::Slot)),
        }
    }
}

/// How a caller proves who it is.
#[derive(Debug)]
pub enum Proof {
    /// Not at all.
    Anonymous,
    /// By a key of the snapshot's table.
    Keys,
    /// By a token of an issuer.
    Token(Arc<TokenRules>),
    /// By a client certificate.
    Certificate(CertificateRules),
    /// By what a service that scoregate plays has handed out.
    Service {
        /// Who may manage it; callers are not judged by it.
        managers: Option<Arc<TokenRules>>,
    },
}

impl Proof {
    /// Whom to tell that a token is signed with a key that its issuer did not have.
    #[must_use]
    pub fn issuer(&self) -> Option<&Notify> {
        match self {
            Self::Token(rules) => rules.issuer.as_deref(),
            Self::Anonymous | Self::Keys | Self::Certificate(_) | Self::Service { .. } => None,
        }
    }
}

/// What proofs rest on and changes without a reload, by position of the caller.
#[derive(Debug, Default)]
pub struct Grounds {
    /// Keys of issuers, as far as they are known.
    pub issuers: Box<[Option<Arc<IssuerKeys>>]>,
    /// Services that scoregate plays.
    pub services: Box<[Option<Arc<ServiceFace>>]>,
}

/// What a caller's credential says of it: a key's name, whom a token is about, a certificate's name, which of two keys it is.
#[derive(Debug, Clone)]
pub enum Subject<'s> {
    /// In the snapshot.
    Known(&'s str),
    /// In the worker's memory.
    Shown(Rc<str>),
    /// One of a service's two keys: says nothing of who has it.
    Slot(&'static str),
}

impl Subject<'_> {
    /// As text that any field of a head can hold.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(text) => text,
            Self::Shown(text) => text,
            Self::Slot(text) => text,
        }
    }

    /// Who it is among those that the caller's entry stands for. Whoever goes over to the other key of a service is who they were.
    #[must_use]
    pub fn who(&self) -> Option<&str> {
        match self {
            Self::Known(_) | Self::Shown(_) => Some(self.as_str()),
            Self::Slot(_) => None,
        }
    }
}

/// Who was let in.
#[derive(Debug)]
pub struct Admitted<'s> {
    /// Which caller.
    pub caller: Caller,
    /// What its credential says of it.
    pub subject: Option<Subject<'s>>,
}

/// Why nobody was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The answer.
    pub reject: Reject,
    /// For the metric.
    pub reason: Option<Reason>,
    /// The caller whose issuer may have a key by now that it did not have.
    pub renew: Option<usize>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reject: reason.reject(), reason: Some(reason), renew: None }
    }
}

/// What is judged, and by what that a worker has of its own.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What the connection has shown.
    pub peer: &'a Peer,
    /// Whose client certificates are believed here and now.
    pub trust: Option<&'a ClientTrust>,
    /// Tokens that were found good.
    pub tokens: &'a TokenCache,
    /// Now.
    pub tick: Tick,
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
    /// Where a caller may show its key or token.
    pub headers: Box<[CredentialHeader]>,
}

impl CallerPolicy {
    /// Lets a request in or not.
    ///
    /// # Errors
    /// `ambiguous_credentials`, `caller_unknown`, `caller_expired`, `caller_forbidden`.
    pub fn verify<'s>(
        &self,
        snapshot: &'s Snapshot,
        survey: &Survey<'_>,
        evidence: Evidence<'_>,
    ) -> Result<Admitted<'s>, Refused> {
        let presented = self.presented(survey).map_err(|reject| Refused { reject, reason: None, renew: None })?;
        let mut refused = Refused::from(Reason::NoCredential);
        let mut refuse = |why: Refused| {
            if why.reason > refused.reason {
                refused = Refused { renew: why.renew.or(refused.renew), ..why };
            }
        };
        let (mut is_strange, mut shows_certificate) = (presented.is_some(), false);
        for at in &self.allowed {
            let Some(entry) = snapshot.callers.get(*at) else { continue };
            match entry.judge(*at, snapshot, presented, evidence) {
                Ok(subject) => return Ok(Admitted { caller: Caller(*at), subject }),
                Err(why) => {
                    is_strange &= !matches!(entry.proof, Proof::Keys);
                    shows_certificate |= why.reason == Some(Reason::CertificateForbidden);
                    refuse(why);
                }
            }
        }
        // A key that somebody else has is known, if not here.
        if is_strange && !shows_certificate && !snapshot.keys.is_empty() {
            let elsewhere = by_key(usize::MAX, snapshot, presented, evidence).err();
            elsewhere.filter(|why| *why != Reason::KeyUnknown).into_iter().for_each(|why| refuse(why.into()));
        }
        Err(refused)
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

fn by_key<'s>(
    caller: usize,
    snapshot: &'s Snapshot,
    presented: Option<&[u8]>,
    evidence: Evidence<'_>,
) -> Result<Option<Subject<'s>>, Reason> {
    let presented = presented.ok_or(Reason::NoCredential)?;
    let grant = snapshot.keys.find(&evidence.peer.memo.digest(presented)).ok_or(Reason::KeyUnknown)?;
    if grant.expires <= evidence.tick.unix {
        return Err(Reason::KeyExpired);
    }
    if grant.not_before > evidence.tick.unix {
        return Err(Reason::KeyNotYet);
    }
    if grant.caller != caller {
        return Err(Reason::KeyForbidden);
    }
    Ok(grant.name.as_deref().map(Subject::Known))
}

fn by_token(
    caller: usize,
    rules: &TokenRules,
    snapshot: &Snapshot,
    presented: Option<&[u8]>,
    evidence: Evidence<'_>,
) -> Result<Option<Rc<str>>, Refused> {
    let presented = presented.ok_or(Reason::NoCredential)?;
    let keys = snapshot.grounds.issuers.get(caller).and_then(Option::as_deref);
    let digest = evidence.peer.memo.digest(presented);
    rules.judge(keys, presented, digest, evidence.tokens, evidence.tick).map_err(|reason| {
        let may_be_new = matches!(reason, Reason::TokenKeyUnknown | Reason::TokenKeysMissing);
        Refused { renew: may_be_new.then_some(caller), ..reason.into() }
    })
}

fn by_certificate(rules: &CertificateRules, evidence: Evidence<'_>) -> Result<Rc<str>, Reason> {
    let (certificate, trust) = evidence.peer.certificate.get().zip(evidence.trust).ok_or(Reason::NoCredential)?;
    certificate.is_good(trust, evidence.tick.unix)?;
    certificate.fits(rules).ok_or(Reason::CertificateForbidden)
}

fn by_service(
    caller: usize,
    snapshot: &Snapshot,
    presented: Option<&[u8]>,
    evidence: Evidence<'_>,
) -> Result<Option<&'static str>, Reason> {
    let face = snapshot.grounds.services.get(caller).and_then(Option::as_deref).ok_or(Reason::KeyUnknown)?;
    face.judge(presented, &evidence.peer.memo, evidence.tokens, evidence.tick)
}

/// `Bearer` in any case, one space, and the credential (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    let credential = rest.strip_prefix(b" ")?;
    // A token has half a thousand bytes: byte by byte this was most of what a remembered one cost.
    let one_word = !credential.is_empty() && memchr::memchr2(b' ', b'\t', credential).is_none();
    (scheme.eq_ignore_ascii_case(b"bearer") && one_word).then_some(credential)
}

#[cfg(test)]
mod tests;
