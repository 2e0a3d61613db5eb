//! What the model management service says of a web service: every name that azureml-core demands, null where there is nothing to say.

use serde_json::{Map, Value, json};

use crate::{
    config::model::ServiceCaller,
    service_auth::{AuthMode, ServiceKind},
    telemetry::utc::Utc,
};

pub(super) const fn compute_type(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Aci => "ACI",
        ServiceKind::Aks | ServiceKind::Online => "AKS",
    }
}

pub(super) fn service(name: &str, config: &ServiceCaller, since: u64, workspace: &str) -> Value {
    let made = Utc(since * 1_000).to_string();
    let mut body = object(json!({
        "id": name, "name": name, "computeType": compute_type(config.kind), "description": "", "kvTags": {}, "properties": {},
        "createdTime": made, "updatedTime": made, "state": "Healthy", "error": null, "deploymentType": "Http", "createdBy": null,
        "operationId": null, "imageId": null, "models": [], "modelConfigMap": {}, "environmentImageRequest": null,
        "scoringUri": config.scoring_uri, "resourceLocation": format!("{workspace}/services/{name}"), "appInsightsEnabled": false,
        "authEnabled": config.auth == AuthMode::Key,
    }));
    body.extend(match config.kind {
        ServiceKind::Aci => object(json!({
            "cname": "", "location": "", "publicIp": "", "sslCertificate": null, "sslEnabled": false, "sslKey": null,
            "modelDataCollection": null, "vnetConfiguration": null, "encryptionProperties": null,
            "containerResourceRequirements": { "cpu": 0.1, "memoryInGB": 0.5 },
        })),
        ServiceKind::Aks | ServiceKind::Online => object(json!({
            "aadAuthEnabled": config.auth == AuthMode::Token, "computeName": "", "namespace": "", "numReplicas": 1,
            "maxConcurrentRequestsPerContainer": 1, "maxQueueWaitMs": null, "scoringTimeoutMs": null, "isDefault": true,
            "traffic": 100, "type": null, "deploymentStatus": null,
            // azureml-core looks into these without asking whether they are there: one container, never scaled.
            "autoScaler": {
                "autoscaleEnabled": false, "minReplicas": 1, "maxReplicas": 1, "refreshPeriodInSeconds": 1, "targetUtilization": 70,
            },
            "containerResourceRequirements": { "cpu": 0.1, "cpuLimit": 0.1, "memoryInGB": 0.5, "memoryInGBLimit": 0.5, "gpu": null },
            "dataCollection": { "eventHubEnabled": false, "storageEnabled": false },
            "livenessProbeRequirements": {
                "periodSeconds": 10, "initialDelaySeconds": 310, "timeoutSeconds": 2, "successThreshold": 1, "failureThreshold": 3,
            },
        })),
    });
    Value::Object(body)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
