//! Why nobody was let in, in one word for the metric. The answer says no more than `Reject`: whoever guesses learns nothing.

use crate::{jwt::jws::Flaw, proxy::reject::Reject};

/// Why a credential did not do. In the order of how far it got: of several callers on a route the furthest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// There is none.
    NoCredential,
    /// No token, where one is wanted.
    TokenMalformed,
    /// A key that nobody has.
    KeyUnknown,
    /// `none`, a symmetric algorithm, or one that is not allowed.
    TokenAlgorithm,
    /// A header that asks for what is not understood.
    TokenExtension,
    /// A token of another type (RFC 8725 section 3.11).
    TokenType,
    /// Another issuer's.
    TokenIssuer,
    /// The issuer's keys are not known yet.
    TokenKeysMissing,
    /// No key of the issuer can have signed it.
    TokenKeyUnknown,
    /// Not signed by the issuer's key.
    TokenSignature,
    /// For somebody else.
    TokenAudience,
    /// Before its time.
    TokenNotYet,
    /// Past its time.
    TokenExpired,
    /// A tenant or principal that is not listed, or a role, scope or claim that is missing.
    TokenClaims,
    /// A token of Azure's scheme that is none of this service's, or none any more.
    ServiceToken,
    /// A key before its time.
    KeyNotYet,
    /// A key past its time.
    KeyExpired,
    /// The key of a caller that this route does not serve.
    KeyForbidden,
    /// A client certificate that its authority has taken back.
    CertificateRevoked,
    /// A client certificate that is not, or no longer, believed.
    CertificateUntrusted,
    /// A good client certificate of a caller that this route does not serve.
    CertificateForbidden,
}

impl Reason {
    /// The word for the metric.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::TokenMalformed => "token_malformed",
            Self::KeyUnknown => "key_unknown",
            Self::TokenAlgorithm => "token_algorithm",
            Self::TokenExtension => "token_extension",
            Self::TokenType => "token_type",
            Self::TokenIssuer => "token_issuer",
            Self::TokenKeysMissing => "token_keys_missing",
            Self::TokenKeyUnknown => "token_key_unknown",
            Self::TokenSignature => "token_signature",
            Self::TokenAudience => "token_audience",
            Self::TokenNotYet => "token_not_yet",
            Self::TokenExpired => "token_expired",
            Self::TokenClaims => "token_claims",
            Self::ServiceToken => "service_token",
            Self::KeyNotYet => "key_not_yet",
            Self::KeyExpired => "key_expired",
            Self::KeyForbidden => "key_forbidden",
            Self::CertificateRevoked => "certificate_revoked",
            Self::CertificateUntrusted => "certificate_untrusted",
            Self::CertificateForbidden => "certificate_forbidden",
        }
    }

    /// What the caller is answered: expired or forbidden only where the credential was a good one.
    #[must_use]
    pub const fn reject(self) -> Reject {
        match self {
            Self::TokenExpired | Self::KeyExpired => Reject::CallerExpired,
            Self::TokenClaims | Self::KeyForbidden | Self::CertificateForbidden => Reject::CallerForbidden,
            Self::NoCredential
            | Self::TokenMalformed
            | Self::KeyUnknown
            | Self::TokenAlgorithm
            | Self::TokenExtension
            | Self::TokenType
            | Self::TokenIssuer
            | Self::TokenKeysMissing
            | Self::TokenKeyUnknown
            | Self::TokenSignature
            | Self::TokenAudience
            | Self::TokenNotYet
            | Self::ServiceToken
            | Self::KeyNotYet
            | Self::CertificateRevoked
            | Self::CertificateUntrusted => Reject::CallerUnknown,
        }
    }
}

impl From<Flaw> for Reason {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Malformed => Self::TokenMalformed,
            Flaw::Algorithm => Self::TokenAlgorithm,
            Flaw::Extension => Self::TokenExtension,
            Flaw::KeyUnknown => Self::TokenKeyUnknown,
            Flaw::Signature => Self::TokenSignature,
        }
    }
}
