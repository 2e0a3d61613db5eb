//! What a caller presents, and the verdict on it.

use http::{HeaderMap, header::AUTHORIZATION};

use super::{keys::Slot, token::TokenClaims};

/// The credential of a request.
#[derive(Clone, Copy)]
pub enum Presented<'a> {
    /// There is no `Authorization`.
    Nothing,
    /// There is more than one.
    Several,
    /// One, but not `Bearer VALUE`.
    NotBearer,
    /// What follows `Bearer`. Keys travel so too.
    Bearer(&'a [u8]),
}

impl<'a> Presented<'a> {
    /// Reads the credential of a request. The scheme's case does not matter (RFC 9110 section 11.1).
    #[must_use]
    pub fn read(headers: &'a HeaderMap) -> Self {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let (one, another) = (fields.next(), fields.next());
        match (one, another) {
            (None, _) => Self::Nothing,
            (Some(_), Some(_)) => Self::Several,
            (Some(field), None) => match field.as_bytes().split_at_checked("Bearer ".len()) {
                Some((scheme, value)) if scheme.eq_ignore_ascii_case(b"Bearer ") && !value.is_empty() => {
                    Self::Bearer(value)
                }
                _ => Self::NotBearer,
            },
        }
    }

    /// The value.
    ///
    /// # Errors
    /// Where there is not exactly one.
    pub const fn value(&self) -> Result<&'a [u8], Refusal> {
        match self {
            Self::Nothing => Err(Refusal::Missing),
            Self::Several => Err(Refusal::Several),
            Self::NotBearer => Err(Refusal::NotBearer),
            Self::Bearer(value) => Ok(value),
        }
    }
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Several => "Several",
            Self::NotBearer => "NotBearer",
            Self::Bearer(_) => "Bearer([redacted])",
        })
    }
}

/// Why a caller is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// The service asks for nothing.
    Open,
    /// It has the key of this slot.
    Key(Slot),
    /// It has a token of this service.
    Token(TokenClaims),
    /// It has an Entra token.
    Entra,
}

/// Why a caller is not let in: 401, except where [`Refusal::is_forbidden`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No credential.
    #[error("no credential was presented")]
    Missing,
    /// More than one.
    #[error("more than one credential was presented")]
    Several,
    /// Not `Bearer VALUE`.
    #[error("the credential is not of the scheme Bearer")]
    NotBearer,
    /// A key that this front end does not know.
    #[error("the key is none that this front end takes now")]
    UnknownKey,
    /// No token at all.
    #[error("the credential is no token")]
    MalformedToken,
    /// Somebody else's token, or another service's.
    #[error("the token is not of this service")]
    ForeignToken,
    /// Past its expiry.
    #[error("the token has expired")]
    ExpiredToken,
    /// What Entra's side says.
    #[error(transparent)]
    Entra(EntraRefusal),
}

impl Refusal {
    /// Whether the caller is known, but not allowed: 403. No other credential would help.
    #[must_use]
    pub const fn is_forbidden(self) -> bool {
        matches!(self, Self::Entra(EntraRefusal::NoRole))
    }

    /// A word for metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Several => "several",
            Self::NotBearer => "not_bearer",
            Self::UnknownKey => "unknown_key",
            Self::MalformedToken | Self::Entra(EntraRefusal::Malformed) => "malformed_token",
            Self::ForeignToken | Self::Entra(EntraRefusal::Foreign) => "foreign_token",
            Self::ExpiredToken | Self::Entra(EntraRefusal::Expired) => "expired_token",
            Self::Entra(EntraRefusal::WrongAudience) => "wrong_audience",
            Self::Entra(EntraRefusal::NoRole) => "no_role",
        }
    }
}

/// Why an Entra token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntraRefusal {
    /// No token at all.
    #[error("the credential is no token")]
    Malformed,
    /// Not signed by this tenant's provider.
    #[error("the token is not of this tenant")]
    Foreign,
    /// Past its expiry, or before its time.
    #[error("the token has expired")]
    Expired,
    /// For something else than scoring.
    #[error("the token is for another audience")]
    WrongAudience,
    /// Its holder has no role on the service.
    #[error("the token's holder may not score here")]
    NoRole,
}

/// Who checks Entra's tokens. A trait because the answer needs the provider's keys, which are not the service's own.
pub trait EntraTokens {
    /// Checks a token for scoring.
    ///
    /// # Errors
    /// Why it is not taken.
    fn check(&self, token: &str, unix: u64) -> Result<(), EntraRefusal>;
}
