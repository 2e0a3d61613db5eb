//! The demo's folder: what somebody with a subscription would have, who followed the README. The configuration that runs is the file
//! in it.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use serde_json::json;

use crate::{
    control::random_key,
    digest::{hex, sha256},
    mock_azure::PortFile,
    scratch::Scratch,
    service_auth::ServiceKind,
};

const CONFIGURATION: &str = "scoregate.yaml";
/// As `az ad sp create-for-rbac --sdk-auth` prints it.
const PRINCIPAL: &str = "sp.json";
/// As the portal and the SDK write it for a workspace.
const WORKSPACE: &str = "config.json";
/// Whom Azure's own certificates need not name.
const AUTHORITY: &str = "ca.pem";
/// Where the admin side listens, under the folder.
const SOCKET: &str = "admin.sock";

/// The folder, and the one key that whoever takes the tour holds.
#[derive(Debug)]
pub(super) struct Files {
    folder: Scratch,
    /// Where the gate listens.
    pub(super) gate: SocketAddr,
    /// Made for this demo, and shown by it.
    pub(super) caller_key: String,
}

impl Files {
    /// Writes them, for a gate that listens there.
    ///
    /// # Errors
    /// Where the disk or the system's randomness fails.
    pub(super) fn write(azure: &PortFile, gate: SocketAddr) -> anyhow::Result<Self> {
        let caller_key = String::from_utf8(random_key::new()?.expose_bytes().to_vec()).context("a key is text")?;
        let folder = Scratch::make("demo")?;
        let ca = azure.ca_file.as_ref().context("the demo's Azure has no CA")?;
        let ca = std::fs::read_to_string(ca).with_context(|| format!("cannot read {}", ca.display()))?;
        folder.write(AUTHORITY, &ca)?;
        folder.write(PRINCIPAL, &format!("{:#}\n", principal(azure)))?;
        folder.write(WORKSPACE, &format!("{:#}\n", workspace(azure)))?;
        folder.write(CONFIGURATION, &configuration(azure, gate, &caller_key))?;
        Ok(Self { folder, gate, caller_key })
    }

    /// The folder.
    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The file that the gate runs from.
    pub(super) fn configuration(&self) -> PathBuf {
        self.folder.file(CONFIGURATION)
    }
}

fn principal(azure: &PortFile) -> serde_json::Value {
    json!({
        "clientId": azure.client_id,
        "clientSecret": azure.client_secret,
        "subscriptionId": azure.subscription,
        "tenantId": azure.tenant,
        "activeDirectoryEndpointUrl": azure.entra_tls,
        "resourceManagerEndpointUrl": azure.arm_tls,
    })
}

fn workspace(azure: &PortFile) -> serde_json::Value {
    json!({
        "subscription_id": azure.subscription,
        "resource_group": azure.resource_group,
        "workspace_name": azure.workspace,
    })
}

fn configuration(azure: &PortFile, gate: SocketAddr, caller_key: &str) -> String {
    let (mut endpoints, mut routes) = (String::new(), String::new());
    let width = azure.services.keys().map(String::len).max().unwrap_or_default() + 1;
    for (name, what) in &azure.services {
        let (kind, tls) = match what.kind {
            ServiceKind::Aci => ("aci", ""),
            ServiceKind::Aks => ("aks", ""),
            ServiceKind::Online => ("online", ", upstream: { tls: { ca: ca.pem } }"),
        };
        let key = format!("{name}:");
        // Writing to a String cannot fail.
        let _ = writeln!(
            endpoints,
            "  {key:width$} {{ service: {{ workspace: {workspace}, name: {name}, kind: {kind} }}{tls} }}",
            workspace = azure.workspace
        );
        let _ = writeln!(
            routes,
            "  - {{ name: {name}, match: {{ path_prefix: /{name} }}, callers: [you], endpoint: {name} }}"
        );
    }
    format!(
        "# What `scoregate demo` runs. In front of an Azure with a subscription of your own it looks the same, but that `cloud` and `upstream`
# are left out: the addresses of the public Azure are known, and the platform trusts its certificates.
version: 1
state_dir: state
listeners:
  - {{ name: demo, address: \"{gate}\" }}
admin: {{ socket: {SOCKET}, address: \"127.0.0.1:0\" }}

identities:
  default:
    sdk_auth: {{ file: {PRINCIPAL} }}                # what `az ad sp create-for-rbac --sdk-auth` prints
    cloud: {{ authority: \"{authority}\", resource_manager: \"{manager}\", ca: {AUTHORITY} }}
workspaces:
  {workspace}: {{ identity: default, config_file: {WORKSPACE} }}   # the portal's \"Download config.json\"

endpoints:                                     # no scoring URI and no key: both are found by the service's name
{endpoints}
callers:
  you: {{ keys: [ {{ sha256: \"{digest}\" }} ] }}   # of the key that `scoregate keygen` would make

routes:
{routes}",
        authority = azure.entra_tls.as_deref().unwrap_or_default(),
        manager = azure.arm_tls.as_deref().unwrap_or_default(),
        workspace = azure.workspace,
        digest = hex(&sha256(caller_key.as_bytes())),
    )
}
