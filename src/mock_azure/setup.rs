//! What the embedded Azure starts from: the built-in defaults, or what a fixture file says instead.

use anyhow::Context;

use super::state::{
    directory::{AppCertificate, AppSecret, Application, EntraKnobs, Federated, ManagedIdentity, User},
    guid,
    role::Role,
    service::{Knobs, usual_lifetimes},
};
use crate::{
    control::random_key,
    digest::sha256,
    jwt::rsa::RsaPublic,
    random,
    secret::Secret,
    service_auth::{AuthMode, KeyValue, Lifetimes, ServiceKind},
};

/// The Azure command line's own client, which its public sign-ins use.
pub(super) const PUBLIC_CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
/// Front ends of a service unless told otherwise: what azureml-fe has.
const FRONT_ENDS: usize = 3;

/// Whose tokens the built-in application takes in place of a secret: what a Kubernetes cluster would issue.
pub(super) const CLUSTER_ISSUER: &str = "https://cluster.mock-azure.example/";
pub(super) const CLUSTER_SUBJECT: &str = "system:serviceaccount:default:scoregate";
pub(super) const CLUSTER_AUDIENCE: &str = "api://AzureADTokenExchange";

/// Everything that the mock starts from.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) tenant: String,
    /// The first is the one that the port file tells of.
    pub(super) applications: Vec<Application>,
    pub(super) public_client_id: String,
    pub(super) user: User,
    pub(super) managed_identity: ManagedIdentity,
    /// What App Service's form asks for.
    pub(super) identity_header: String,
    /// What the form of Azure ML compute asks for.
    pub(super) msi_secret: String,
    pub(super) entra: EntraKnobs,
    pub(super) subscription: String,
    pub(super) resource_group: String,
    pub(super) workspace: String,
    pub(super) workspace_id: String,
    pub(super) region: String,
    /// Where the cluster is, if elsewhere.
    pub(super) compute_region: Option<String>,
    /// Services on one page of a list.
    pub(super) page_size: usize,
    pub(super) services: Vec<ServiceSetup>,
}

/// One service.
#[derive(Debug, Clone)]
pub(super) struct ServiceSetup {
    pub(super) name: String,
    pub(super) kind: ServiceKind,
    pub(super) auth: AuthMode,
    /// None: made at start.
    pub(super) primary_key: Option<KeyValue>,
    pub(super) secondary_key: Option<KeyValue>,
    pub(super) front_ends: usize,
    pub(super) lifetimes: Lifetimes,
    pub(super) knobs: Knobs,
    /// A real container in place of the built-in model.
    pub(super) backend: Option<http::Uri>,
}

impl ServiceSetup {
    pub(super) fn new(name: &str, kind: ServiceKind, auth: AuthMode) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            auth,
            primary_key: None,
            secondary_key: None,
            front_ends: FRONT_ENDS,
            lifetimes: usual_lifetimes(kind),
            knobs: Knobs::default(),
            backend: None,
        }
    }
}

impl Setup {
    /// The built-in defaults. Ids are fixed; secrets are made anew at each start.
    ///
    /// # Errors
    /// Where the operating system gives no randomness.
    pub(super) fn built_in() -> anyhow::Result<Self> {
        let application = Application {
            client_id: "c11e4700-0000-4000-8000-000000000001".to_owned(),
            object_id: "0b1ec700-0000-4000-8000-000000000001".to_owned(),
            secrets: vec![AppSecret { value: random_key::new()?, expires: None }],
            certificates: Vec::new(),
            federated: vec![Federated {
                issuer: CLUSTER_ISSUER.to_owned(),
                subject: CLUSTER_SUBJECT.to_owned(),
                audience: CLUSTER_AUDIENCE.to_owned(),
            }],
            role: Role::contributor(),
        };
        let user = User {
            name: "ada@mock-azure.example".to_owned(),
            password: random_key::new()?,
            object_id: "0b1ec700-0000-4000-8000-000000000002".to_owned(),
            role: Role::contributor(),
        };
        let (subscription, resource_group) = ("5b5c0000-0000-4000-8000-000000000001".to_owned(), "ml-group".to_owned());
        let managed_identity = ManagedIdentity {
            client_id: "c11e4700-0000-4000-8000-000000000003".to_owned(),
            object_id: "0b1ec700-0000-4000-8000-000000000003".to_owned(),
            resource_id: format!(
                "/subscriptions/{subscription}/resourcegroups/{resource_group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/ml-identity"
            ),
            role: Role::contributor(),
        };
        let services = [
            ("aci-key", ServiceKind::Aci, AuthMode::Key),
            ("aci-open", ServiceKind::Aci, AuthMode::None),
            ("aks-key", ServiceKind::Aks, AuthMode::Key),
            ("aks-token", ServiceKind::Aks, AuthMode::Token),
            ("online-key", ServiceKind::Online, AuthMode::Key),
            ("online-token", ServiceKind::Online, AuthMode::Token),
            ("online-entra", ServiceKind::Online, AuthMode::Entra),
        ];
        Ok(Self {
            tenant: "7e4a0700-0000-4000-8000-000000000001".to_owned(),
            applications: vec![application],
            public_client_id: PUBLIC_CLIENT.to_owned(),
            user,
            managed_identity,
            identity_header: guid(random::bytes()?),
            msi_secret: guid(random::bytes()?),
            entra: EntraKnobs::default(),
            subscription,
            resource_group,
            workspace: "ml-example".to_owned(),
            workspace_id: "0f0c0000-0000-4000-8000-000000000001".to_owned(),
            region: "eastus".to_owned(),
            compute_region: None,
            page_size: 50,
            services: services.map(|(name, kind, auth)| ServiceSetup::new(name, kind, auth)).into(),
        })
    }

    /// `/subscriptions/…/workspaces/…`
    pub(super) fn workspace_resource(&self) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}",
            self.subscription, self.resource_group, self.workspace
        )
    }
}

/// A certificate as the directory knows it.
///
/// # Errors
/// Where it is no certificate, or its key is not an RSA key.
pub(super) fn app_certificate(der: &[u8]) -> anyhow::Result<AppCertificate> {
    let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref().to_vec();
    let parsed = rustls_pki_types::CertificateDer::from(der);
    let parsed = webpki::EndEntityCert::try_from(&parsed).context("the certificate cannot be read")?;
    let public = RsaPublic(parsed.subject_public_key_info().as_ref().to_vec());
    Ok(AppCertificate { sha1, sha256: sha256(der), public })
}

/// A name that can stand in a path and in a header.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))
        && !text.starts_with('.')
}

/// The first application's first secret.
pub(super) fn first_secret(setup: &Setup) -> Option<&Secret> {
    setup.applications.first().and_then(|application| application.secrets.first()).map(|secret| &secret.value)
}
