//! What a person is told at the start: what is there, and what to try.

use std::fmt::Write as _;

use super::PortFile;

pub(super) fn text(at: &PortFile) -> String {
    let mut services = String::new();
    for (name, what) in &at.services {
        let uri = at.scoring.get(name).and_then(|uris| uris.first()).map_or("", String::as_str);
        let (kind, auth) = (word(&what.kind), word(&what.auth));
        // Writing to a String cannot fail.
        let _ = writeln!(services, "    {name:<14} {kind:<7} {auth:<6} {uri}");
    }
    let tls = match (&at.entra_tls, &at.arm_tls, &at.ca_file) {
        (Some(entra), Some(arm), Some(ca)) => {
            format!("  over TLS           {entra} and {arm}, with the CA {}\n", ca.display())
        }
        _ => "  over TLS           no: Microsoft's libraries want it for sign-in, so start with --tls for them\n"
            .to_owned(),
    };
    let PortFile { entra, arm, imds, admin, tenant, client_id, client_secret, user, .. } = at;
    let resource = format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}",
        at.subscription, at.resource_group, at.workspace
    );
    let first = at.services.iter().find(|(_, what)| word(&what.auth) == "key" && word(&what.kind) != "online");
    let (first, uri) = first.map_or(("aks-key", ""), |(name, _)| {
        (name.as_str(), at.scoring.get(name).and_then(|uris| uris.first()).map_or("", String::as_str))
    });
    format!(
        "scoregate mock-azure: an Azure of your own, on this machine. Nothing here is real; secrets are made anew at each start.

  identity provider  {entra}
  control plane      {arm}
  managed identity   {imds}
  admin API          {admin}
{tls}
  tenant {tenant}, workspace {workspace}
  application {client_id} with the secret {client_secret}
  person {name} with the password {password}

  services: kind, what they ask for, scoring URI
{services}
 1. A token for the control plane, as Azure's clients get it:

    TOKEN=$(curl -s {entra}/{tenant}/oauth2/v2.0/token -d grant_type=client_credentials -d client_id={client_id} \\
      -d client_secret={client_secret} -d scope=https://management.azure.com/.default | sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/')

 2. The keys of a service:

    curl -s -X POST {arm}/modelmanagement/v1.0{resource}/services/{first}/listkeys -H \"Authorization: Bearer $TOKEN\"

 3. Score with one of them, and regenerate it as somebody else would:

    curl -s {uri} -H 'Authorization: Bearer KEY' -d '{{\"data\": [[5.1, 3.5, 1.4, 0.2]]}}'
    curl -s -X POST {admin}/services/{first}/regenerate -d '{{\"key\": \"Primary\"}}'

 4. What it saw, and how to make it misbehave:

    curl -s {admin}/seen
    curl -s -X PUT {admin}/faults -d '{{\"target\": \"mms\", \"kind\": \"status\", \"status\": 503, \"count\": 3}}'

Ctrl-C ends it.

",
        workspace = at.workspace,
        name = user.name,
        password = user.password,
    )
}

/// A word as JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
