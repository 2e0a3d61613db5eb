//! A web service as the model management service tells of it: every key that azureml-core demands is there.

use serde_json::{Map, Value, json};

use crate::{
    mock_azure::{arm::Asked, world::Deployed},
    service_auth::{AuthMode, ServiceKind},
    telemetry::utc::Utc,
};

/// The one tag of every service.
const TAG: (&str, &str) = ("mock", "scoregate");

pub(super) const fn compute_type(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Aci => "ACI",
        ServiceKind::Aks | ServiceKind::Online => "AKS",
    }
}

/// Whether a service has the tags of a filter: `key=value,key`.
pub(super) fn has_tags(filter: &str) -> bool {
    filter.split(',').all(|tag| match tag.split_once('=') {
        Some(pair) => pair == TAG,
        None => tag == TAG.0,
    })
}

pub(super) fn service(asked: &Asked<'_>, deployed: &Deployed) -> Value {
    let (kind, auth, created) = {
        let service = deployed.lock();
        (service.setup.kind, service.auth.auth, service.created)
    };
    let mut body = common(asked, deployed, kind, created);
    let more = match kind {
        ServiceKind::Aci => container(asked, auth),
        ServiceKind::Aks | ServiceKind::Online => cluster(auth),
    };
    body.extend(more);
    Value::Object(body)
}

fn common(asked: &Asked<'_>, deployed: &Deployed, kind: ServiceKind, created: u64) -> Map<String, Value> {
    let resource = format!("{}/services/{}", asked.world.setup.workspace_resource(), deployed.name);
    object(json!({
        "id": deployed.name, "name": deployed.name, "computeType": compute_type(kind), "description": "a mock web service",
        "kvTags": { TAG.0: TAG.1 }, "properties": {}, "createdTime": Utc(created * 1_000).to_string(),
        "updatedTime": Utc(created * 1_000).to_string(), "state": "Healthy", "error": null, "deploymentType": "Http",
        "createdBy": { "userObjectId": asked.world.setup.user.object_id, "userName": "Mock" }, "operationId": null,
        "imageId": format!("{}:1", deployed.name), "models": [], "modelConfigMap": {},
        "environmentImageRequest": null, "scoringUri": deployed.scoring_uri(), "resourceLocation": resource,
        "appInsightsEnabled": false,
    }))
}

/// A container instance.
fn container(asked: &Asked<'_>, auth: AuthMode) -> Map<String, Value> {
    object(json!({
        "authEnabled": auth == AuthMode::Key, "cname": "", "location": asked.world.setup.region, "publicIp": "127.0.0.1",
        "sslCertificate": null, "sslEnabled": false, "sslKey": null, "modelDataCollection": null, "vnetConfiguration": null,
        "containerResourceRequirements": { "cpu": 0.1, "memoryInGB": 0.5 }, "encryptionProperties": null,
    }))
}

/// A service in a Kubernetes cluster. `aadAuthEnabled` means its own tokens, whatever its name says.
fn cluster(auth: AuthMode) -> Map<String, Value> {
    object(json!({
        "authEnabled": auth == AuthMode::Key, "aadAuthEnabled": auth == AuthMode::Token, "computeName": "mock-cluster",
        "namespace": "default", "numReplicas": 3, "maxConcurrentRequestsPerContainer": 1, "maxQueueWaitMs": 500,
        "scoringTimeoutMs": 60_000, "isDefault": true, "traffic": 100, "type": null, "deploymentStatus": null,
        "autoScaler": {
            "autoscaleEnabled": false, "minReplicas": 1, "maxReplicas": 10, "refreshPeriodInSeconds": 1,
            "targetUtilization": 70,
        },
        "containerResourceRequirements": { "cpu": 0.1, "cpuLimit": 0.1, "memoryInGB": 0.5, "memoryInGBLimit": 0.5, "gpu": null },
        "dataCollection": { "eventHubEnabled": false, "storageEnabled": false },
        "livenessProbeRequirements": {
            "periodSeconds": 10, "initialDelaySeconds": 310, "timeoutSeconds": 2, "successThreshold": 1, "failureThreshold": 3,
        },
    }))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::has_tags;

    #[test]
    fn tags_are_a_name_or_a_pair() {
        assert!(has_tags("mock") && has_tags("mock=scoregate") && has_tags("mock,mock=scoregate"));
        assert!(!has_tags("mock=other") && !has_tags("other") && !has_tags("mock,other"));
    }
}
