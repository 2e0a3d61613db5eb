//! Subscriptions, the workspace, and the two documents that are read without a token: discovery and the list of clouds.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Asked, Holder, errors::ControlError};
use crate::{
    mock_azure::{
        state::{
            role::{WORKSPACE, needed},
            service::Action,
        },
        wire,
    },
    telemetry::utc::Utc,
};

/// What AKS services say that they run on.
pub(in crate::mock_azure) const CLUSTER: &str = "mock-cluster";

pub(super) fn subscriptions(asked: &Asked<'_>) -> Response {
    wire::ok(&json!({ "value": [subscription_json(asked)], "count": { "type": "Total", "value": 1 } }))
}

pub(super) fn subscription(asked: &Asked<'_>) -> Response {
    wire::ok(&subscription_json(asked))
}

fn subscription_json(asked: &Asked<'_>) -> Value {
    let setup = &asked.world.setup;
    json!({
        "id": format!("/subscriptions/{}", setup.subscription), "subscriptionId": setup.subscription,
        "tenantId": setup.tenant, "displayName": "Mock subscription", "state": "Enabled",
        "authorizationSource": "RoleBased", "managedByTenants": [],
        "subscriptionPolicies": { "locationPlacementId": "Public_2014-09-01", "quotaId": "Mock_2014-09-01", "spendingLimit": "Off" },
    })
}

pub(super) fn tenants(asked: &Asked<'_>) -> Response {
    let tenant = &asked.world.setup.tenant;
    wire::ok(&json!({ "value": [{ "id": format!("/tenants/{tenant}"), "tenantId": tenant }] }))
}

pub(super) fn resource_group(asked: &Asked<'_>) -> Response {
    let setup = &asked.world.setup;
    wire::ok(&json!({
        "id": format!("/subscriptions/{}/resourceGroups/{}", setup.subscription, setup.resource_group),
        "name": setup.resource_group, "type": "Microsoft.Resources/resourceGroups", "location": setup.region,
        "properties": { "provisioningState": "Succeeded" },
    }))
}

pub(super) fn list(asked: &Asked<'_>, holder: &Holder) -> Response {
    // A list shows what the caller may read, and nothing is no error.
    let seen = if holder.role.permits(WORKSPACE) { vec![workspace(asked)] } else { vec![] };
    wire::ok(&json!({ "value": seen }))
}

pub(super) fn get(asked: &Asked<'_>) -> Response {
    wire::ok(&workspace(asked))
}

fn workspace(asked: &Asked<'_>) -> Value {
    let setup = &asked.world.setup;
    let group = format!("/subscriptions/{}/resourceGroups/{}/providers", setup.subscription, setup.resource_group);
    json!({
        "id": setup.workspace_resource(), "name": setup.workspace, "type": "Microsoft.MachineLearningServices/workspaces",
        "location": setup.region, "tags": {}, "kind": "Default",
        "identity": { "type": "SystemAssigned", "principalId": setup.workspace_id, "tenantId": setup.tenant },
        "sku": { "name": "Basic", "tier": "Basic" },
        "properties": {
            "workspaceId": setup.workspace_id, "friendlyName": setup.workspace, "description": "",
            "storageAccount": format!("{group}/Microsoft.Storage/storageAccounts/mlstorage"),
            "keyVault": format!("{group}/Microsoft.KeyVault/vaults/mlvault"),
            "applicationInsights": format!("{group}/Microsoft.Insights/components/mlinsights"),
            "hbiWorkspace": false, "provisioningState": "Succeeded", "v1LegacyMode": false,
            "publicNetworkAccess": "Enabled", "tenantId": setup.tenant,
            "creationTime": Utc(1_576_610_156_000).to_string(),
            "discoveryUrl": format!("{}/discovery", asked.base),
            "mlFlowTrackingUri": format!("azureml://{}.api.azureml.ms/mlflow/v1.0{}", setup.region, setup.workspace_resource()),
        },
    })
}

/// The cluster that AKS services run on.
pub(super) fn compute(asked: &Asked<'_>, name: &str) -> Result<Response, ControlError> {
    let setup = &asked.world.setup;
    if !name.eq_ignore_ascii_case(CLUSTER) {
        let text = format!("The Resource 'computes/{name}' was not found.");
        return Err(ControlError::new(StatusCode::NOT_FOUND, "ResourceNotFound", &text));
    }
    let location = setup.compute_region.as_ref().unwrap_or(&setup.region);
    Ok(wire::ok(&json!({
        "id": format!("{}/computes/{CLUSTER}", setup.workspace_resource()), "name": CLUSTER,
        "type": "Microsoft.MachineLearningServices/workspaces/computes", "location": setup.region,
        "properties": { "computeType": "AKS", "computeLocation": location, "provisioningState": "Succeeded" },
    })))
}

/// What the caller may do at the workspace: its role, but for what a service was told to deny.
pub(super) fn permissions(asked: &Asked<'_>, holder: &Holder) -> Response {
    let denied = asked.world.services().flat_map(|deployed| {
        let service = deployed.lock();
        let needed = |action: &Action| needed(service.setup.kind, *action);
        service.knobs.deny.iter().map(needed).collect::<Vec<_>>()
    });
    wire::ok(&json!({ "value": [holder.role.clone().without(denied)] }))
}

/// Services of a region by name: azureml-core demands six of them.
pub(super) fn discovery(asked: &Asked<'_>) -> Response {
    let base = &asked.base;
    wire::ok(&json!({
        "api": base, "experimentation": base, "history": base, "hyperdrive": base, "modelmanagement": base, "studio": base,
    }))
}

/// The list of clouds, with this one in the place of the public one: what `ARM_CLOUD_METADATA_URL` points at.
pub(super) fn clouds(asked: &Asked<'_>) -> Response {
    let bases = asked.world.bases();
    let tls = asked.base.starts_with("https://");
    let entra = bases.map(|bases| bases.entra_tls.as_ref().filter(|_| tls).unwrap_or(&bases.entra));
    let entra = entra.map_or("https://login.microsoftonline.com", String::as_str);
    wire::ok(&json!([{
        "name": "AzureCloud", "portal": "https://portal.azure.com", "resourceManager": format!("{}/", asked.base),
        "gallery": "https://gallery.azure.com/", "graph": "https://graph.windows.net/",
        "graphAudience": "https://graph.windows.net/", "batch": "https://batch.core.windows.net/",
        "sqlManagement": "https://management.core.windows.net:8443/", "media": "https://rest.media.azure.net",
        "vmImageAliasDoc": "https://raw.githubusercontent.com/Azure/azure-rest-api-specs/main/aliases.json",
        "authentication": {
            "loginEndpoint": entra, "tenant": "common", "identityProvider": "AAD",
            "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
        },
        "suffixes": {
            "storage": "core.windows.net", "keyVaultDns": "vault.azure.net", "acrLoginServer": "azurecr.io",
            "sqlServerHostname": "database.windows.net", "azureDataLakeStoreFileSystem": "azuredatalakestore.net",
            "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
        },
    }]))
}
