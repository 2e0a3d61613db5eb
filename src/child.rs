//! Other programs: what is started gets none of this process's secrets.
//!
//! `az` is run by the identity of that name, a browser by `scoregate login`. Both would inherit every variable, and with them the
//! keys and passwords that a configuration takes from there. So they get those that are listed here: a list of what is secret
//! would miss the next one.

use std::{ffi::OsStr, process::Command};

/// What programs need to find themselves, their settings, the person's screen and the way out of this network.
const PASSED: [&str; 25] = [
    "ALL_PROXY",
    "BROWSER",
    "CURL_CA_BUNDLE",
    "DBUS_SESSION_BUS_ADDRESS",
    "DESKTOP_SESSION",
    "DISPLAY",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TEMP",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
];
/// The same, by how they begin. Of Azure's own, settings of the CLI alone: `AZURE_CLIENT_SECRET` is none of them.
const PASSED_FAMILIES: [&str; 7] = ["AZURE_CONFIG_", "AZURE_CORE_", "AZURE_EXTENSION_", "LC_", "PYTHON", "WSL", "XDG_"];

/// Lets a program that is about to be started have the variables it needs, and no other.
pub(crate) fn keep_secrets_from(command: &mut Command) {
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| passes(name)));
}

fn passes(name: &OsStr) -> bool {
    // Proxies are written in either case.
    let Some(name) = name.to_str().map(str::to_ascii_uppercase) else { return false };
    PASSED.contains(&name.as_str()) || PASSED_FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_passes_and_nothing_else() {
        for name in ["PATH", "HOME", "https_proxy", "LC_ALL", "XDG_RUNTIME_DIR", "AZURE_CONFIG_DIR", "PYTHONPATH"] {
            assert!(passes(OsStr::new(name)), "{name}");
        }
        for name in [
            "AML_PRINCIPAL_PASS",
            "AZURE_CLIENT_SECRET",
            "AZURE_CLIENT_CERTIFICATE_PASSWORD",
            "AZURE_FEDERATED_TOKEN_FILE",
            "IDENTITY_HEADER",
            "MSI_SECRET",
            "SCOREGATE_ADMIN_TOKEN",
            "WINE_KEY",
            "",
        ] {
            assert!(!passes(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_child_sees_what_passes() {
        let mut command = Command::new("env");
        command.env("SCOREGATE_CHILD_CANARY", "canary");
        keep_secrets_from(&mut command);
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(said.contains("PATH=") && !said.contains("canary") && !said.contains("CARGO"), "{said}");
    }
}
