//! `identities` and `workspaces` as typed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Secret;
use crate::{
    azure::url::Url,
    config::text::{Audience, Text},
};

/// Who scoregate is, to Azure: exactly one kind each.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["service_principal"] },
    { "required": ["sdk_auth"] },
    { "required": ["environment"] },
    { "required": ["workload_identity"] },
    { "required": ["managed_identity"] },
    { "required": ["azure_cli"] },
    { "required": ["login"] },
]))]
pub(crate) struct Identity {
    /// An application of a tenant, with a secret, a certificate or a token file.
    pub(crate) service_principal: Option<ServicePrincipal>,
    /// An application, as `az ad sp create-for-rbac --sdk-auth` writes it.
    pub(crate) sdk_auth: Option<SdkAuth>,
    /// An application in variables: `AML_TENANT_ID`, `AML_PRINCIPAL_ID` and `AML_PRINCIPAL_PASS`, else `AZURE_TENANT_ID`,
    /// `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET` or `AZURE_CLIENT_CERTIFICATE_PATH`.
    pub(crate) environment: Option<Empty>,
    /// An application that trusts the service account of a pod in AKS.
    pub(crate) workload_identity: Option<WorkloadIdentity>,
    /// This machine, on Azure: a virtual machine, App Service, Container Apps or Azure ML's compute.
    pub(crate) managed_identity: Option<ManagedIdentity>,
    /// Whoever is signed in with `az`.
    pub(crate) azure_cli: Option<AzureCli>,
    /// Whoever signed in with `scoregate login`.
    pub(crate) login: Option<Login>,
    /// Which Azure: `public`, `china`, `usgov`, or addresses of its own. Default: what `sdk_auth` or `AZURE_AUTHORITY_HOST`
    /// says, else `public`.
    pub(crate) cloud: Option<Cloud>,
    /// Which form of the token endpoint: `v2` takes scopes, `v1` a `resource`. Default `v2`.
    pub(crate) token_endpoint: Option<TokenEndpointWord>,
}

/// Nothing to write.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Empty {}

/// An application of a tenant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["client_secret"] },
    { "required": ["certificate"] },
    { "required": ["federated_token_file"] },
]))]
pub(crate) struct ServicePrincipal {
    /// The tenant: its id or one of its domains.
    #[schemars(required, length(min = 1))]
    pub(crate) tenant_id: Option<String>,
    /// The application's id.
    #[schemars(required, length(min = 1))]
    pub(crate) client_id: Option<String>,
    /// The application's secret: its value, not its id.
    pub(crate) client_secret: Option<Secret>,
    /// A certificate that is registered at the application.
    pub(crate) certificate: Option<AppCertificate>,
    /// Path of a file with a token of an issuer that the application trusts. It is read at each use.
    #[schemars(length(min = 1))]
    pub(crate) federated_token_file: Option<String>,
}

/// A certificate with its key, which is RSA.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppCertificate {
    /// PEM file of the certificate, the chain after it.
    #[schemars(required, length(min = 1))]
    pub(crate) cert: Option<String>,
    /// PEM file of its key, not encrypted. Default: the file of `cert`, as `az` writes it.
    #[schemars(length(min = 1))]
    pub(crate) key: Option<String>,
    /// Whether the chain is sent, for an application that trusts a subject name and issuer. Default false.
    pub(crate) send_chain: Option<bool>,
}

/// A file of the Azure CLI.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SdkAuth {
    /// Path of the JSON.
    #[schemars(required, length(min = 1))]
    pub(crate) file: Option<String>,
}

/// What the webhook of AKS puts into a pod; each can be written in its place.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkloadIdentity {
    /// The application's id. Default `AZURE_CLIENT_ID`.
    #[schemars(length(min = 1))]
    pub(crate) client_id: Option<String>,
    /// The tenant. Default `AZURE_TENANT_ID`.
    #[schemars(length(min = 1))]
    pub(crate) tenant_id: Option<String>,
    /// Path of the service account's token. Default `AZURE_FEDERATED_TOKEN_FILE`.
    #[schemars(length(min = 1))]
    pub(crate) token_file: Option<String>,
}

/// Which of this machine's identities; nothing written is its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManagedIdentity {
    /// A user-assigned one, by its client id.
    #[schemars(length(min = 1))]
    pub(crate) client_id: Option<String>,
    /// A user-assigned one, by its object id.
    #[schemars(length(min = 1))]
    pub(crate) object_id: Option<String>,
    /// A user-assigned one, by its resource id.
    #[schemars(length(min = 1))]
    pub(crate) resource_id: Option<String>,
}

/// Whoever is signed in with `az`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AzureCli {
    /// Which tenant. Default: the CLI's choice.
    #[schemars(length(min = 1))]
    pub(crate) tenant: Option<String>,
}

/// Whoever signed in with `scoregate login`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// Which tenant. Default: the one signed in to last.
    #[schemars(length(min = 1))]
    pub(crate) tenant: Option<String>,
    /// The application that people sign in with. Default: that of Microsoft's own tools.
    #[schemars(length(min = 1))]
    pub(crate) client_id: Option<String>,
}

/// Which Azure.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Cloud {
    /// One of Microsoft's.
    Word(CloudWord),
    /// Addresses of its own.
    Table(Box<CloudTable>),
}

/// `cloud`
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CloudWord {
    Public,
    China,
    Usgov,
}

/// Addresses of an Azure of its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloudTable {
    /// The identity provider, such as `https://login.example.com`.
    #[schemars(required)]
    pub(crate) authority: Option<Text<Url>>,
    /// The resource manager, such as `https://management.example.com`.
    #[schemars(required)]
    pub(crate) resource_manager: Option<Text<Url>>,
    /// What tokens for the resource manager are for. Default: its address.
    pub(crate) audience: Option<Text<Audience>>,
    /// What the identity provider's tokens for scoring are for. Default `https://ml.azure.com`.
    pub(crate) scoring_audience: Option<Text<Audience>>,
    /// PEM file of the authorities that are trusted at these addresses and at the region's. Default: the platform's.
    #[schemars(length(min = 1))]
    pub(crate) ca: Option<String>,
}

/// `token_endpoint`
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenEndpointWord {
    V1,
    V2,
}

/// A workspace of Azure Machine Learning: the SDK's file, or where it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["config_file"] }, { "required": ["subscription_id"] }]))]
pub(crate) struct Workspace {
    /// Name of the identity that it is asked as.
    #[schemars(required)]
    pub(crate) identity: Option<String>,
    /// `config.json`, as the SDK writes it; a folder is searched as the SDK does, upwards.
    #[schemars(length(min = 1))]
    pub(crate) config_file: Option<String>,
    /// Subscription id.
    #[schemars(length(min = 1))]
    pub(crate) subscription_id: Option<String>,
    /// Resource group. Default: looked up in the subscription.
    #[schemars(length(min = 1))]
    pub(crate) resource_group: Option<String>,
    /// The workspace's name; demanded beside `subscription_id`.
    #[schemars(length(min = 1))]
    pub(crate) name: Option<String>,
}
