//! What to try while the demo runs: steps that say what will be seen, their lines to be copied into a shell. Pure.
//!
//! The end-to-end test of the demo does what stands here, line by line.

use std::{fmt::Write as _, net::SocketAddr};

use super::files::Files;
use crate::{
    mock_azure::PortFile,
    service_auth::{AuthMode, ServiceKind},
};

/// The service whose key changes.
const CHANGED: &str = "aks-key";
/// The service whose token is looked at.
const WITH_TOKEN: &str = "aks-token";

/// What the steps speak of.
pub(super) struct Scene<'a> {
    pub(super) azure: &'a PortFile,
    pub(super) files: &'a Files,
    /// Where the gate's admin side listens over TCP.
    pub(super) admin: Option<SocketAddr>,
    /// As the user has called it.
    pub(super) program: String,
}

impl Scene<'_> {
    /// The whole tour.
    pub(super) fn tour(&self) -> String {
        let steps = [self.score(), self.keys_apart(), self.look(), self.change(), self.count()];
        let mut text = self.opening();
        for (index, step) in steps.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, " {}. {step}", index + 1);
        }
        text + "Ctrl-C ends the demo.\n\n"
    }

    fn opening(&self) -> String {
        let Files { gate, caller_key, .. } = self.files;
        let mut services = String::new();
        for (name, what) in &self.azure.services {
            let _ = writeln!(services, "    {name:<14} {:<38} {}", asked(what.kind, what.auth), self.scoring_uri(name));
        }
        format!(
            "scoregate demo: an Azure of your own on this machine, {count} scoring services in it, and the gate on {gate} in front of all.
You hold one key, for the gate. The keys and tokens of the services you never see: the gate has signed in to Azure, found each service
by its name, read what it asks for, and attaches that.

{services}
What runs is {configuration}: copy it, for it goes away with the demo.
For the lines below, in another terminal:

    KEY={caller_key}
    DEMO={folder}
    FLOWER='{{\"data\": [[5.1, 3.5, 1.4, 0.2]]}}'

",
            count = self.azure.services.len(),
            configuration = self.files.configuration().display(),
            folder = quoted(&self.files.folder().to_string_lossy()),
        )
    }

    fn score(&self) -> String {
        let names = self.azure.services.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
        format!(
            "Score a flower at each of them. What they ask for differs, what you send does not:

    for SERVICE in {names}; do
      {}
    done
",
            self.ask("$SERVICE")
        )
    }

    fn keys_apart(&self) -> String {
        let (gate, service) = (self.files.gate, self.scoring_uri(CHANGED));
        format!(
            "Without your key the gate lets nobody in (401); and your key is nothing to a service itself (401):

    curl -sw ' %{{http_code}}\\n' http://{gate}/{CHANGED} -d \"$FLOWER\"
    curl -sw ' %{{http_code}}\\n' {service} -H \"Authorization: Bearer $KEY\" -d \"$FLOWER\"
"
        )
    }

    fn look(&self) -> String {
        let program = &self.program;
        format!(
            "What the gate has found, and its keys by their fingerprints; then what Azure says, asked with the same configuration:

    {program} status --admin $DEMO/admin.sock
    {program} keys show {CHANGED} -c $DEMO/scoregate.yaml
    {program} token {WITH_TOKEN} -c $DEMO/scoregate.yaml
    {program} check --online -c $DEMO/scoregate.yaml
"
        )
    }

    /// The place of healing: once a refused key makes the gate read the keys anew by itself, `reload` goes out of here.
    fn change(&self) -> String {
        let (ask, program, azure) = (self.ask(CHANGED), &self.program, &self.azure.admin);
        format!(
            "Somebody else regenerates the key that the gate attaches, as in Azure's portal. The service refuses the old one, and the
    gate sends the request again with the other: you notice nothing (200). `reload` reads the keys anew (another fingerprint):

    curl -s -o /dev/null -X POST {azure}/services/{CHANGED}/regenerate -d '{{\"key\": \"Primary\"}}'
    {ask}
    {program} reload --admin $DEMO/admin.sock; sleep 1
    {program} status --admin $DEMO/admin.sock | grep {CHANGED}
"
        )
    }

    fn count(&self) -> String {
        let azure = &self.azure.admin;
        let metrics = self.admin.map_or_else(String::new, |admin| {
            format!("    curl -s http://{admin}/metrics | grep -E '(requests|replays)_total{{.* [1-9]'\n")
        });
        format!(
            "What the gate has counted, and what the services have seen:

{metrics}    curl -s {azure}/seen; echo
"
        )
    }

    /// A flower, scored through the gate.
    fn ask(&self, service: &str) -> String {
        let gate = self.files.gate;
        format!(
            "curl -sw ' %{{http_code}}\\n' http://{gate}/{service} -H \"Authorization: Bearer $KEY\" -d \"$FLOWER\""
        )
    }

    fn scoring_uri(&self, service: &str) -> &str {
        self.azure.scoring.get(service).and_then(|uris| uris.first()).map_or("", String::as_str)
    }
}

const fn asked(kind: ServiceKind, auth: AuthMode) -> &'static str {
    match (kind, auth) {
        (ServiceKind::Aci, AuthMode::Key) => "ACI, asks for its key",
        (ServiceKind::Aci, _) => "ACI, open",
        (ServiceKind::Aks, AuthMode::Key) => "AKS, asks for its key",
        (ServiceKind::Aks, _) => "AKS, a token of Azure ML's",
        (ServiceKind::Online, AuthMode::Key) => "online endpoint, its key",
        (ServiceKind::Online, AuthMode::Entra) => "online endpoint, a token of Entra's",
        (ServiceKind::Online, _) => "online endpoint, a token of Azure ML's",
    }
}

/// A word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reaches_the_shell_as_it_is() {
        assert_eq!(quoted("target/release/scoregate"), "target/release/scoregate");
        assert_eq!(quoted("/tmp/my folder/it's"), r"'/tmp/my folder/it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
