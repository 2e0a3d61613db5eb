//! A user of the command line: the binary itself, with a configuration for an embedded Azure.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use super::world::World;
use crate::support::in_time;

/// A user with a configuration, a home and no variables but ours.
pub struct User {
    folder: tempfile::TempDir,
    pub config: PathBuf,
}

impl User {
    pub fn new(world: &World, more: &str) -> Self {
        Self::with_secret(world, more, &world.ports().client_secret)
    }

    pub fn with_secret(world: &World, more: &str, secret: &str) -> Self {
        Self::of(world, more, &world.ports().client_id, secret, "  person: { login: {}, cloud: CLOUD }\n")
    }

    /// With no identity but this application's.
    pub fn application(world: &World, client_id: &str, secret: &str) -> Self {
        Self::of(world, "", client_id, secret, "")
    }

    fn of(world: &World, more: &str, client_id: &str, secret: &str, identities: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("scoregate.yaml");
        let ports = world.ports();
        let cloud = format!(
            "{{ authority: \"{}\", resource_manager: \"{}\", audience: \"https://management.azure.com\", ca: \"{}\" }}",
            ports.entra_tls.as_ref().unwrap(),
            ports.arm_tls.as_ref().unwrap(),
            ports.ca_file.as_ref().unwrap().display()
        );
        let endpoint = |name: &str, kind: &str| {
            format!(
                "  {name}: {{ service: {{ workspace: ml, name: {name}, kind: {kind} }}, upstream: {{ tls: {{ ca: \"{}\" }} }} }}\n",
                ports.ca_file.as_ref().unwrap().display()
            )
        };
        let endpoints: String = [
            ("aci-key", "aci"),
            ("aci-open", "aci"),
            ("aks-key", "aks"),
            ("aks-token", "aks"),
            ("online-key", "online"),
            ("online-token", "online"),
            ("online-entra", "online"),
        ]
        .map(|(name, kind)| endpoint(name, kind))
        .concat();
        fs::write(folder.path().join("secret"), secret).unwrap();
        fs::write(
            folder.path().join("config.json"),
            json!({ "subscription_id": ports.subscription, "resource_group": ports.resource_group, "workspace_name": ports.workspace })
                .to_string(),
        )
        .unwrap();
        let text = format!(
            "version: 1
state_dir: state
listeners: [ {{ name: a, address: \"127.0.0.1:0\" }} ]
admin: {{ socket: admin.sock, address: \"127.0.0.1:0\" }}
identities:
  default:
    service_principal: {{ tenant_id: {}, client_id: {}, client_secret: {{ file: secret }} }}
    cloud: {cloud}
{others}workspaces:
  ml: {{ identity: default, config_file: config.json }}
endpoints:
{endpoints}{more}
callers: {{ anyone: anonymous }}
routes: [ {{ match: {{ path_prefix: /iris }}, callers: [anyone], endpoint: aks-key }} ]
",
            ports.tenant,
            client_id,
            others = identities.replace("CLOUD", &cloud),
        );
        fs::write(&config, text).unwrap();
        Self { folder, config }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scoregate"));
        command.args(arguments).current_dir(self.path()).env_clear().env("HOME", self.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, beside the mock.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        let output = in_time("command", tokio::task::spawn_blocking(move || command.output().unwrap())).await.unwrap();
        Ran::of(output)
    }
}

#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{self:?}"))
    }

    #[track_caller]
    pub fn ends(&self, code: i32, with: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(format!("{}{}", self.out, self.err).contains(with), "{with}: {self:?}");
    }
}
