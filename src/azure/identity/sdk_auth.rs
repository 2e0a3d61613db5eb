//! The JSON that `az ad sp create-for-rbac` prints, with `--sdk-auth` and without. Pure.

use serde::Deserialize;

use super::oauth::SecretText;
use crate::{
    azure::{
        cloud::{Audience, Cloud},
        url::Url,
    },
    secret::Secret,
};

/// An application with the addresses of its cloud.
#[derive(Debug)]
pub struct SdkAuth {
    /// The tenant.
    pub tenant: String,
    /// The application's id.
    pub client: String,
    /// Its password.
    pub secret: Secret,
    /// The cloud that the file describes, where it names one.
    pub cloud: Option<Cloud>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "clientId", alias = "appId")]
    client: Option<String>,
    #[serde(rename = "clientSecret", alias = "password")]
    secret: Option<SecretText>,
    #[serde(rename = "tenantId", alias = "tenant")]
    tenant: Option<String>,
    #[serde(rename = "activeDirectoryEndpointUrl")]
    authority: Option<String>,
    #[serde(rename = "resourceManagerEndpointUrl")]
    resource_manager: Option<String>,
    #[serde(rename = "managementEndpointUrl")]
    management: Option<String>,
}

/// Reads the file.
///
/// # Errors
/// What is wrong with it, quoting nothing of it.
pub fn parse(json: &[u8]) -> Result<SdkAuth, String> {
    let Written { client, secret, tenant, authority, resource_manager, management } = serde_json::from_slice(json)
        .map_err(|error| format!("a file that is not this JSON (line {}, column {})", error.line(), error.column()))?;
    let missing = |name: &str| format!("a file without `{name}`");
    let secret = secret.ok_or_else(|| missing("clientSecret"))?.0;
    if secret.expose_bytes().is_empty() {
        return Err("a file with an empty `clientSecret`".to_owned());
    }
    let url = |name: &str, text: &str| Url::parse(text).map_err(|why| format!("`{name}`: {why}"));
    let cloud = match authority {
        None => None,
        Some(authority) => {
            let mut cloud =
                Cloud::of_authority(&authority).map_err(|why| format!("`activeDirectoryEndpointUrl`: {why}"))?;
            if let Some(text) = resource_manager {
                let address = url("resourceManagerEndpointUrl", &text)?;
                // A cloud of Microsoft's has one audience in our books; a private one is asked as its file says.
                if !address.has_origin_of(&cloud.resource_manager) {
                    cloud.audience = Audience::new(&management.unwrap_or(text));
                    cloud.resource_manager = address;
                }
            }
            Some(cloud)
        }
    };
    Ok(SdkAuth {
        tenant: tenant.ok_or_else(|| missing("tenantId"))?,
        client: client.ok_or_else(|| missing("clientId"))?,
        secret,
        cloud,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::cloud::Known;

    #[test]
    fn both_forms_are_read() {
        let long = parse(
            br#"{"clientId":"c","clientSecret":"s","subscriptionId":"u","tenantId":"t",
                "activeDirectoryEndpointUrl":"https://login.microsoftonline.com","resourceManagerEndpointUrl":"https://management.azure.com/",
                "activeDirectoryGraphResourceId":"https://graph.windows.net/","managementEndpointUrl":"https://management.core.windows.net/"}"#,
        )
        .unwrap();
        assert_eq!((long.tenant.as_str(), long.client.as_str()), ("t", "c"));
        assert_eq!(long.cloud, Some(Known::Public.cloud()));
        let short = parse(br#"{"appId":"c","password":"s","tenant":"t","displayName":"d"}"#).unwrap();
        assert_eq!((short.secret.expose_bytes(), short.cloud), (&b"s"[..], None));
        let private = parse(
            br#"{"clientId":"c","clientSecret":"s","tenantId":"t","activeDirectoryEndpointUrl":"https://localhost:1",
                "resourceManagerEndpointUrl":"https://localhost:2/","managementEndpointUrl":"https://aud/"}"#,
        );
        let cloud = private.unwrap().cloud.unwrap();
        assert_eq!((cloud.resource_manager.port(), cloud.audience.resource()), (2, "https://aud/"));
    }

    #[test]
    fn faults_quote_nothing() {
        for wrong in ["", "canary", "[]", r#"{"clientSecret":7}"#, "{}", r#"{"clientId":"c","clientSecret":"canary"}"#]
        {
            let error = parse(wrong.as_bytes()).unwrap_err();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
