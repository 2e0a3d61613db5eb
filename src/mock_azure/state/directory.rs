//! Who exists in the tenant, and what each may do.

use subtle::ConstantTimeEq;

use super::{grants::Grants, role::Role};
use crate::{jwt::rsa::RsaPublic, mock_azure::setup::Setup, secret::Secret};

/// A registered application.
#[derive(Debug, Clone)]
pub(in crate::mock_azure) struct Application {
    pub(in crate::mock_azure) client_id: String,
    pub(in crate::mock_azure) object_id: String,
    pub(in crate::mock_azure) secrets: Vec<AppSecret>,
    pub(in crate::mock_azure) certificates: Vec<AppCertificate>,
    pub(in crate::mock_azure) federated: Vec<Federated>,
    pub(in crate::mock_azure) role: Role,
}

#[derive(Debug, Clone)]
pub(in crate::mock_azure) struct AppSecret {
    pub(in crate::mock_azure) value: Secret,
    /// Unix seconds; none: never.
    pub(in crate::mock_azure) expires: Option<u64>,
}

/// A certificate whose key may sign an application's assertions.
#[derive(Debug, Clone)]
pub(in crate::mock_azure) struct AppCertificate {
    /// SHA-1 of the DER: `x5t`.
    pub(in crate::mock_azure) sha1: Vec<u8>,
    /// SHA-256 of the DER: `x5t#S256`.
    pub(in crate::mock_azure) sha256: [u8; 32],
    pub(in crate::mock_azure) public: RsaPublic,
}

/// Whose tokens from elsewhere an application may show in place of a secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::mock_azure) struct Federated {
    pub(in crate::mock_azure) issuer: String,
    pub(in crate::mock_azure) subject: String,
    pub(in crate::mock_azure) audience: String,
}

/// What a secret is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock_azure) enum SecretVerdict {
    Right,
    Expired,
    Wrong,
}

impl Application {
    pub(in crate::mock_azure) fn judge_secret(&self, shown: &[u8], unix: u64) -> SecretVerdict {
        let right = self.secrets.iter().find(|secret| bool::from(secret.value.expose_bytes().ct_eq(shown)));
        match right {
            None => SecretVerdict::Wrong,
            Some(secret) if secret.expires.is_some_and(|expires| unix >= expires) => SecretVerdict::Expired,
            Some(_) => SecretVerdict::Right,
        }
    }
}

/// The one person of the tenant.
#[derive(Debug, Clone)]
pub(in crate::mock_azure) struct User {
    pub(in crate::mock_azure) name: String,
    pub(in crate::mock_azure) password: Secret,
    pub(in crate::mock_azure) object_id: String,
    pub(in crate::mock_azure) role: Role,
}

/// The identity that the managed-identity endpoints hand out.
#[derive(Debug, Clone)]
pub(in crate::mock_azure) struct ManagedIdentity {
    pub(in crate::mock_azure) client_id: String,
    pub(in crate::mock_azure) object_id: String,
    pub(in crate::mock_azure) resource_id: String,
    pub(in crate::mock_azure) role: Role,
}

/// How the identity provider behaves: what `PUT /entra` sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock_azure) struct EntraKnobs {
    /// `expires_in` of access tokens, seconds.
    pub(in crate::mock_azure) token_lifetime: u64,
    /// `refresh_in`, seconds; none: not sent.
    pub(in crate::mock_azure) refresh_in: Option<u64>,
    /// Seconds between two questions for a device code.
    pub(in crate::mock_azure) device_interval: u64,
    /// Seconds that a device code lives.
    pub(in crate::mock_azure) device_lifetime: u64,
}

impl Default for EntraKnobs {
    fn default() -> Self {
        Self { token_lifetime: 3_599, refresh_in: None, device_interval: 5, device_lifetime: 900 }
    }
}

/// The tenant.
#[derive(Debug)]
pub(in crate::mock_azure) struct Directory {
    pub(in crate::mock_azure) tenant: String,
    pub(in crate::mock_azure) applications: Vec<Application>,
    pub(in crate::mock_azure) public_client_id: String,
    pub(in crate::mock_azure) user: User,
    pub(in crate::mock_azure) managed_identity: ManagedIdentity,
    pub(in crate::mock_azure) knobs: EntraKnobs,
    pub(in crate::mock_azure) grants: Grants,
}

/// How a client is registered.
#[derive(Debug, Clone, Copy)]
pub(in crate::mock_azure) enum Client<'a> {
    Confidential(&'a Application),
    Public,
}

impl Directory {
    pub(in crate::mock_azure) fn new(setup: &Setup) -> Self {
        Self {
            tenant: setup.tenant.clone(),
            applications: setup.applications.clone(),
            public_client_id: setup.public_client_id.clone(),
            user: setup.user.clone(),
            managed_identity: setup.managed_identity.clone(),
            knobs: setup.entra,
            grants: Grants::default(),
        }
    }

    /// Whether a path's tenant is this one.
    pub(in crate::mock_azure) fn is_tenant(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(&self.tenant)
    }

    pub(in crate::mock_azure) fn client(&self, client_id: &str) -> Option<Client<'_>> {
        if client_id.eq_ignore_ascii_case(&self.public_client_id) {
            return Some(Client::Public);
        }
        let application = self.applications.iter().find(|one| one.client_id.eq_ignore_ascii_case(client_id));
        application.map(Client::Confidential)
    }

    /// The role of a principal, by its object id.
    pub(in crate::mock_azure) fn role(&self, object_id: &str) -> Role {
        let application = self.applications.iter().find(|one| one.object_id == object_id).map(|one| &one.role);
        let user = (self.user.object_id == object_id).then_some(&self.user.role);
        let machine = (self.managed_identity.object_id == object_id).then_some(&self.managed_identity.role);
        application.or(user).or(machine).map_or_else(Role::none, Role::clone)
    }

    /// Whether this is the person.
    pub(in crate::mock_azure) fn knows(&self, name: &str, password: &str) -> bool {
        let right: bool = self.user.password.expose_bytes().ct_eq(password.as_bytes()).into();
        right && self.user.name.eq_ignore_ascii_case(name)
    }
}
