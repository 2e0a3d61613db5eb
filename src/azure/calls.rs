//! What a piece of work has sent, and why: a ledger that its owner hands down and reads afterwards.
//!
//! It is the owner's even if the work is dropped half-way, so nothing that was sent goes uncounted.

use std::fmt;

/// Why a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// A token for the control plane or for scoring, from the identity provider.
    SignIn,
    /// The codes of a sign-in on another device.
    DeviceCode,
    /// Which tenants a person may sign in to.
    Tenants,
    /// Which subscriptions an identity sees.
    Subscriptions,
    /// Workspaces of a subscription.
    Workspaces,
    /// One workspace.
    Workspace,
    /// The addresses of a region.
    Discovery,
    /// Where a workspace's cluster is.
    Compute,
    /// What an identity may do.
    Permissions,
    /// Services of a workspace.
    Services,
    /// One service.
    Service,
    /// A service's keys.
    ListKeys,
    /// A new key.
    Regenerate,
    /// How a long operation stands.
    Poll,
    /// A service's token.
    Token,
    /// Whether a service takes a credential.
    Probe,
    /// The keys that an issuer of callers' tokens publishes.
    IssuerKeys,
}

impl Why {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::DeviceCode => "device_code",
            Self::Tenants => "tenants",
            Self::Subscriptions => "subscriptions",
            Self::Workspaces => "workspaces",
            Self::Workspace => "workspace",
            Self::Discovery => "discovery",
            Self::Compute => "compute",
            Self::Permissions => "permissions",
            Self::Services => "services",
            Self::Service => "service",
            Self::ListKeys => "list_keys",
            Self::Regenerate => "regenerate",
            Self::Poll => "poll",
            Self::Token => "token",
            Self::Probe => "probe",
            Self::IssuerKeys => "issuer_keys",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One call that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Why it was made.
    pub why: Why,
    /// The answer's status; `None` where none came.
    pub status: Option<u16>,
}

/// Calls in the order they were made.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Calls(Vec<Call>);

impl Calls {
    /// Notes a call as it begins; its answer is noted by [`Calls::answered`].
    pub(crate) fn begun(&mut self, why: Why) {
        self.0.push(Call { why, status: None });
    }

    /// Notes the answer of the call that was begun last.
    pub(crate) fn answered(&mut self, status: u16) {
        if let Some(last) = self.0.last_mut() {
            last.status = Some(status);
        }
    }

    /// All of them.
    #[must_use]
    pub fn made(&self) -> &[Call] {
        &self.0
    }

    /// How many were made for one reason.
    #[must_use]
    pub fn count(&self, why: Why) -> usize {
        self.0.iter().filter(|call| call.why == why).count()
    }
}

impl fmt::Display for Calls {
    /// `3 calls: sign_in 200, workspace 200, discovery -`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls", self.0.len())?;
        for (at, call) in self.0.iter().enumerate() {
            let sign = if at == 0 { ": " } else { ", " };
            match call.status {
                Some(status) => write!(f, "{sign}{} {status}", call.why)?,
                None => write!(f, "{sign}{} -", call.why)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_reads_as_what_was_done() {
        let mut calls = Calls::default();
        assert_eq!(calls.to_string(), "0 calls");
        calls.begun(Why::SignIn);
        calls.answered(200);
        calls.begun(Why::ListKeys);
        assert_eq!(calls.to_string(), "2 calls: sign_in 200, list_keys -");
        assert_eq!((calls.count(Why::ListKeys), calls.count(Why::Poll)), (1, 0));
    }
}
