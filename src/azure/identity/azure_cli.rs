//! Signing in as whoever signed in with `az`: the Azure CLI is run, and asked for a token.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{process::Command, time::timeout};

use super::oauth::{Number, SecretText};
use crate::{
    azure::{
        cloud::Audience,
        error::Error,
        token::{self, Fetched, lifetime},
    },
    child,
    clock::Clock,
    secret::Secret,
};

/// It is a Python program, and may itself ask the identity provider.
const PATIENCE: Duration = Duration::from_secs(30);
const DOING: &str = "sign in with the Azure CLI";

/// The Azure CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureCli {
    /// The program, looked for in `PATH`.
    pub program: PathBuf,
    /// Which tenant; the CLI's own choice where none is named.
    pub tenant: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "accessToken")]
    token: SecretText,
    /// Unix seconds. Its elder, `expiresOn`, is local time without a zone, and is not read.
    #[serde(default)]
    expires_on: Number,
}

impl AzureCli {
    pub(super) async fn fetch(&self, clock: &Clock, audience: &Audience) -> Result<Fetched, Error> {
        let mut command = Command::new(&self.program);
        child::keep_secrets_from(command.as_std_mut());
        command.args(["account", "get-access-token", "--output", "json", "--resource", audience.resource()]);
        if let Some(tenant) = &self.tenant {
            command.args(["--tenant", tenant]);
        }
        // Dropped with this future; a terminal that is asked something by it would wait for ever.
        command.stdin(Stdio::null()).kill_on_drop(true);
        let program = self.program.display();
        let output = match timeout(PATIENCE, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => {
                let error = Error::local(DOING, format!("`{program}` cannot be run: {error}"));
                return Err(error.advise("install it, or configure another kind of identity"));
            }
            Err(_elapsed) => return Err(Error::local(DOING, format!("`{program}` did not end within {PATIENCE:?}"))),
        };
        let said = Secret::new(output.stdout);
        if !output.status.success() {
            return Err(refused(&self.program.to_string_lossy(), output.status.code(), &output.stderr));
        }
        let answer: Answer = serde_json::from_slice(said.expose_bytes())
            .map_err(|_may_quote_the_token| Error::local(DOING, format!("what `{program}` prints is no token")))?;
        let token = answer.token.0;
        let stated = answer.expires_on.0.or_else(|| token::claims(&token)?.get("exp")?.as_i64());
        let life = lifetime(None, stated, clock.unix_seconds(), None)
            .ok_or_else(|| Error::local(DOING, format!("the token that `{program}` prints has expired")))?;
        Ok(Fetched { value: token, life, refresh_in: None })
    }
}

/// Its last line says what is wrong; the rest is a traceback or an upgrade notice.
fn refused(program: &str, code: Option<i32>, stderr: &[u8]) -> Error {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("nothing");
    let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
    let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"));
    Error::local(DOING, format!("`{program}` ended with {code}, saying: {line}")).advise("`az login` signs in")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn run(script: &str) -> Result<Fetched, String> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("az");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let cli = AzureCli { program, tenant: Some("t".into()) };
        let audience = Audience::new("https://management.azure.com");
        // A file that was just written can still be open in a child of another test's fork.
        for _ in 0..100 {
            match cli.fetch(&Clock::manual(1_000), &audience).await {
                Err(error) if error.to_string().contains("Text file busy") => tokio::task::yield_now().await,
                done => return done.map_err(|error| error.to_string()),
            }
        }
        panic!("the script stays busy")
    }

    #[tokio::test]
    async fn it_is_asked_for_the_resource_and_the_tenant() {
        let script = r#"[ "$*" = "account get-access-token --output json --resource https://management.azure.com --tenant t" ] || exit 9
echo '{"accessToken":"canary","expiresOn":"2019-12-17 21:15:56.000000","expires_on":4600,"tokenType":"Bearer"}'"#;
        let fetched = run(script).await.unwrap();
        assert_eq!((fetched.value.expose_bytes(), fetched.life), (&b"canary"[..], Duration::from_secs(3600)));
    }

    #[tokio::test]
    async fn an_older_one_is_understood_by_its_token() {
        let fetched = run(r#"echo '{"accessToken":"e30.eyJleHAiOjQ2MDB9.x","expiresOn":"2019-12-17 21:15:56"}'"#).await;
        assert_eq!(fetched.unwrap().life, Duration::from_secs(3600));
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_one_sentence_without_a_token() {
        let refused =
            run("echo 'Traceback' >&2; echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1").await;
        let refused = refused.unwrap_err();
        assert!(refused.contains("code 1, saying: ERROR: Please run 'az login'"), "{refused}");
        let garbage = run("echo canary").await.unwrap_err();
        assert!(garbage.contains("is no token") && !garbage.contains("canary"), "{garbage}");
        assert!(run(r#"echo '{"accessToken":"x","expires_on":1}'"#).await.unwrap_err().contains("has expired"));
        let missing = AzureCli { program: "/nonexistent/az".into(), tenant: None };
        let error = missing.fetch(&Clock::manual(0), &Audience::new("a")).await.unwrap_err().to_string();
        assert!(error.contains("cannot be run: No such file") && error.contains("another kind of identity"), "{error}");
    }
}
