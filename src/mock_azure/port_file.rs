//! What a client needs to know, in one document.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::Context;
use serde::Serialize;

use super::{
    admin, identity, setup,
    world::{Deployed, World},
};
use crate::{
    secret::Secret,
    service_auth::{AuthMode, ServiceKind},
};

/// How long the federated token of the port file lives: a year.
const FEDERATED_LIFETIME: u64 = 365 * 86_400;

/// Everything a client needs to know: the content of `--port-file`.
#[derive(Debug, Clone, Serialize)]
pub struct PortFile {
    /// Base of the identity provider.
    pub entra: String,
    /// The same over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entra_tls: Option<String>,
    /// Base of the resource manager.
    pub arm: String,
    /// The same over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arm_tls: Option<String>,
    /// Base of the model management service: that of the resource manager.
    pub mms: String,
    /// Base of the managed-identity endpoints.
    pub imds: String,
    /// Base of the admin API.
    pub admin: String,
    /// The CA to trust, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Per service its scoring URI, then one URI for each front end.
    pub scoring: BTreeMap<String, Vec<String>>,
    /// Tenant.
    pub tenant: String,
    /// The application's id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Its certificate.
    pub certificate: CertificateFiles,
    /// Client id of public sign-ins.
    pub public_client_id: String,
    /// A token of the built-in cluster, which the application may show in place of a secret.
    pub federated_token: String,
    /// The same in a file, as `AZURE_FEDERATED_TOKEN_FILE` wants it.
    pub federated_token_file: PathBuf,
    /// The person.
    pub user: UserNames,
    /// `IDENTITY_HEADER` of App Service's form.
    pub identity_header: String,
    /// `MSI_SECRET` of Azure ML's form.
    pub msi_secret: String,
    /// Path of App Service's form under `imds`.
    pub app_service_path: String,
    /// Path of Azure ML's form under `imds`.
    pub msi_path: String,
    /// Subscription.
    pub subscription: String,
    /// Resource group.
    pub resource_group: String,
    /// Workspace.
    pub workspace: String,
    /// Per service what it is.
    pub services: BTreeMap<String, ServiceNames>,
}

/// Paths of a certificate and its key, PEM.
#[derive(Debug, Clone, Serialize)]
pub struct CertificateFiles {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key, PKCS#8.
    pub key: PathBuf,
}

/// A person's name and password.
#[derive(Debug, Clone, Serialize)]
pub struct UserNames {
    /// Name.
    pub name: String,
    /// Password.
    pub password: String,
}

/// What a service is.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ServiceNames {
    /// Kind.
    pub kind: ServiceKind,
    /// What it asks of callers.
    pub auth: AuthMode,
}

/// Of a world whose listeners have their addresses.
///
/// # Errors
/// Where the disk or the library fails.
pub(super) fn describe(world: &World) -> anyhow::Result<PortFile> {
    let (setup, files) = (&world.setup, &world.material.files);
    let bases = world.bases().context("the listeners have no addresses")?.clone();
    let text = |secret: &Secret| String::from_utf8_lossy(secret.expose_bytes()).into_owned();
    let federated_token = admin::cluster_token(
        world,
        setup::CLUSTER_ISSUER,
        setup::CLUSTER_SUBJECT,
        setup::CLUSTER_AUDIENCE,
        FEDERATED_LIFETIME,
    )?;
    let federated_token_file = world.material.write("federated-token", &federated_token)?;
    let scoring = world.services().map(|one| (one.name.clone(), one.uris.get().cloned().unwrap_or_default())).collect();
    let named = |one: &Arc<Deployed>| {
        let service = one.lock();
        (one.name.clone(), ServiceNames { kind: service.setup.kind, auth: service.auth.auth })
    };
    Ok(PortFile {
        mms: bases.arm.clone(),
        entra: bases.entra,
        entra_tls: bases.entra_tls,
        arm: bases.arm,
        arm_tls: bases.arm_tls,
        imds: bases.imds,
        admin: bases.admin,
        ca_file: files.ca.clone(),
        scoring,
        tenant: setup.tenant.clone(),
        client_id: setup.applications.first().map(|one| one.client_id.clone()).unwrap_or_default(),
        client_secret: setup::first_secret(setup).map(text).unwrap_or_default(),
        certificate: CertificateFiles { cert: files.certificate.clone(), key: files.certificate_key.clone() },
        public_client_id: setup.public_client_id.clone(),
        federated_token,
        federated_token_file,
        user: UserNames { name: setup.user.name.clone(), password: text(&setup.user.password) },
        identity_header: setup.identity_header.clone(),
        msi_secret: setup.msi_secret.clone(),
        app_service_path: identity::APP_SERVICE_PATH.to_owned(),
        msi_path: identity::MSI_PATH.to_owned(),
        subscription: setup.subscription.clone(),
        resource_group: setup.resource_group.clone(),
        workspace: setup.workspace.clone(),
        services: world.services().map(named).collect(),
    })
}
