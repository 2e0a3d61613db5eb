//! Whatever went wrong on the way to Azure, as one sentence: what was tried, what happened, what to do.
//!
//! Every module here ends its failures in an [`Error`]; the command line prints it, the gate logs it and shows it as the
//! reason why an endpoint is not ready. It never holds a secret.

use std::{fmt, time::Duration};

use super::refusal::Refusal;

/// A failure. Cheap to clone, so that everyone who waited for one call can be told.
#[derive(Debug, Clone)]
pub struct Error(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    doing: String,
    fault: Fault,
    advice: Option<String>,
    /// Under this id Azure's support finds the call.
    correlation: Option<String>,
    retry_after: Option<Duration>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing was sent.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// Whom we asked.
        host: String,
        /// What the system says.
        why: String,
    },
    /// Nothing was sent: whoever answered could not prove who they are.
    #[error("the certificate of {host} is not trusted: {why}")]
    Untrusted {
        /// Whom we asked.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something may have been sent, and nothing that can be read came back: it may have been done or not.
    #[error("{host} gave no answer: {why}")]
    NoAnswer {
        /// Whom we asked.
        host: String,
        /// How it broke off.
        why: String,
    },
    /// Azure said no.
    #[error("{host} answered {refusal}")]
    Refused {
        /// Whom we asked.
        host: String,
        /// What it said.
        refusal: Refusal,
    },
    /// It said yes, with something that is no answer.
    #[error("{host} answered {status} with {found} where {expected} was expected")]
    Malformed {
        /// Whom we asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// What came instead, without quoting it.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// A redirect; they are never followed, so that no token goes where nobody sent it.
    #[error("{host} answered {status}, a redirect, which is not followed")]
    Redirected {
        /// Whom we asked.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// Something on this machine: a file, a variable, a program.
    #[error("{0}")]
    Local(String),
    /// What stands at Azure is not such that it can be used.
    #[error("{0}")]
    Unusable(String),
}

/// When it makes sense to try again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heals {
    /// In seconds: a network, a throttle, a server error.
    Soon,
    /// In minutes: after somebody changed something, here or at Azure.
    Later,
}

impl Error {
    /// A failure of what was tried; `doing` goes on after "cannot".
    pub(crate) fn new(doing: impl Into<String>, fault: Fault) -> Self {
        Self(Box::new(Parts { doing: doing.into(), fault, advice: None, correlation: None, retry_after: None }))
    }

    /// A failure on this machine.
    pub(crate) fn local(doing: impl Into<String>, what: impl fmt::Display) -> Self {
        Self::new(doing, Fault::Local(what.to_string()))
    }

    /// Something at Azure that cannot be used.
    pub(crate) fn unusable(doing: impl Into<String>, what: impl fmt::Display) -> Self {
        Self::new(doing, Fault::Unusable(what.to_string()))
    }

    /// With what to do about it. The first advice stays: it is the one nearest to the fault.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.0.advice.get_or_insert_with(|| advice.into());
        self
    }

    pub(crate) fn with_correlation(mut self, id: &str) -> Self {
        self.0.correlation = Some(id.to_owned());
        self
    }

    pub(crate) fn with_retry_after(mut self, pause: Option<Duration>) -> Self {
        self.0.retry_after = pause;
        self
    }

    /// What happened.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// What Azure said, where it said no.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.0.fault {
            Fault::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// The status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// How long Azure asked to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the remote side could not be reached or is out of order, rather than refusing.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match &self.0.fault {
            Fault::Unreachable { .. } | Fault::Untrusted { .. } | Fault::NoAnswer { .. } => true,
            Fault::Refused { refusal, .. } => is_transient(refusal.status),
            Fault::Malformed { .. } | Fault::Redirected { .. } | Fault::Local(_) | Fault::Unusable(_) => false,
        }
    }

    /// When it makes sense to try again.
    #[must_use]
    pub fn heals(&self) -> Heals {
        match &self.0.fault {
            Fault::Unreachable { .. } | Fault::NoAnswer { .. } => Heals::Soon,
            Fault::Refused { refusal, .. } if is_transient(refusal.status) => Heals::Soon,
            Fault::Refused { .. }
            | Fault::Untrusted { .. }
            | Fault::Malformed { .. }
            | Fault::Redirected { .. }
            | Fault::Local(_)
            | Fault::Unusable(_) => Heals::Later,
        }
    }

    /// Whether what was asked for may have been done all the same: of a change, that it must not be sent again blindly.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match &self.0.fault {
            Fault::NoAnswer { .. } | Fault::Malformed { .. } => true,
            // A server error may come after the effect; 429 comes before it.
            Fault::Refused { refusal, .. } => refusal.status >= 500 || refusal.status == 408,
            Fault::Unreachable { .. }
            | Fault::Untrusted { .. }
            | Fault::Redirected { .. }
            | Fault::Local(_)
            | Fault::Unusable(_) => false,
        }
    }
}

/// Statuses that say "not now".
pub(super) const fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { doing, fault, advice, correlation, .. } = &*self.0;
        write!(f, "cannot {doing}: {fault}")?;
        if let Some(advice) = advice {
            write!(f, "; {advice}")?;
        }
        if let Some(id) = correlation {
            write!(f, " (correlation id {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> Error {
        let refusal = Refusal::read(status, br#"{"code":"C","message":"m"}"#, &[]);
        Error::new("read the keys", Fault::Refused { host: "h".into(), refusal })
    }

    #[test]
    fn a_failure_is_one_sentence() {
        let error = refused(403).advise("ask for the role").advise("or not").with_correlation("id-1");
        assert_eq!(
            error.to_string(),
            "cannot read the keys: h answered status 403 C: m; ask for the role (correlation id id-1)"
        );
    }

    #[test]
    fn what_may_have_happened_is_never_taken_for_what_did_not() {
        for (status, may) in [(400, false), (401, false), (403, false), (409, false), (429, false), (408, true)] {
            assert_eq!(refused(status).may_have_happened(), may, "{status}");
        }
        assert!(refused(500).may_have_happened() && refused(503).may_have_happened());
        let unreachable = Fault::Unreachable { host: "h".into(), why: "x".into() };
        assert!(!Error::new("x", unreachable).may_have_happened());
        assert!(Error::new("x", Fault::NoAnswer { host: "h".into(), why: "x".into() }).may_have_happened());
    }

    #[test]
    fn only_what_passes_by_itself_heals_soon() {
        assert_eq!(refused(503).heals(), Heals::Soon);
        assert_eq!(refused(403).heals(), Heals::Later);
        assert_eq!(Error::local("x", "y").heals(), Heals::Later);
    }
}
