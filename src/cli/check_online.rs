//! `scoregate check --online`: signs in, finds every workspace and service, reads its credential and tries it; each step a line.

use std::{collections::HashSet, sync::Arc};

use http::{Method, header};

use super::{
    azure,
    exit::{Exit, Stop},
    output,
    wait::wait,
};
use crate::{
    azure::{
        calls::{Calls, Why},
        error::Error,
        http::{Http, Reach, Repeat, Reply, Request, Trust},
        permissions::{ONLINE_REGENERATE, ONLINE_SCORE, Permission},
        service::{Auth, ControlPlane, Description, Kind, v1},
        token::Wanted,
        url::Url,
        workspace::Workspace,
    },
    config::model::{Config, Endpoint, Service, Slot},
    control::azure::{Clients, Connect, Credential, find, upstream},
    random,
    secret::Secret,
};

/// States of a service in which requests are served.
const SERVING: [&str; 2] = ["Healthy", "Succeeded"];

pub(super) fn run(config: &Config) -> Result<(), Stop> {
    let mut report = Report::default();
    let mut clients = azure::clients();
    wait(async {
        Box::pin(check(config, &mut clients, &mut report)).await;
        Ok(())
    })?;
    output::print(&report.text)?;
    match (report.problems, report.unreachable) {
        (0, _) => Ok(()),
        // Nothing but that somebody could not be reached is no fault of the configuration's.
        (problems, unreachable) if problems == unreachable => {
            Err(Stop::new(Exit::Unreachable, problems_found(problems)))
        }
        (problems, _) => Err(Stop::new(Exit::Online, problems_found(problems))),
    }
}

fn problems_found(problems: usize) -> String {
    format!("{problems} {} found", if problems == 1 { "problem" } else { "problems" })
}

/// What was found, a line each.
#[derive(Default)]
struct Report {
    text: String,
    problems: usize,
    unreachable: usize,
}

impl Report {
    /// Lines about one thing of the configuration.
    fn about(&mut self, kind: &str, name: &str) -> About<'_> {
        About { report: self, place: format!("{kind} {name}") }
    }
}

/// Lines about one thing of the configuration.
struct About<'r> {
    report: &'r mut Report,
    place: String,
}

impl About<'_> {
    fn line(&mut self, verdict: &str, what: &str) {
        self.report.text.push_str(&format!("{verdict:<7} {}: {what}\n", self.place));
    }

    fn ok(&mut self, what: &str) {
        self.line("ok", what);
    }

    fn warn(&mut self, what: &str) {
        self.line("warning", what);
    }

    /// Not looked at, because of something that was told before.
    fn skipped(&mut self, why: &str) {
        self.line("-", why);
    }

    fn problem(&mut self, what: &str) {
        self.report.problems += 1;
        self.line("PROBLEM", what);
    }

    fn failed(&mut self, error: &Error) {
        if error.is_unreachable() {
            self.report.unreachable += 1;
        }
        self.problem(&error.to_string());
    }
}

async fn check(config: &Config, clients: &mut Clients, report: &mut Report) {
    let mut signed_in = HashSet::new();
    for identity in &config.identities {
        let mut about = report.about("identity", &identity.name);
        let tokens = clients.tokens(identity);
        match tokens.token(&identity.cloud.audience, Wanted::Valid, &mut Calls::default()).await {
            Ok(_) => {
                signed_in.insert(identity.name.as_str());
                about.ok(&format!("signed in as {}", tokens.who()));
            }
            Err(error) => about.failed(&error),
        }
    }
    let mut found = HashSet::new();
    for workspace in &config.workspaces {
        let mut about = report.about("workspace", &workspace.name);
        if !signed_in.contains(workspace.identity.as_str()) {
            about.skipped(&format!("not looked for, since identity {} cannot sign in", workspace.identity));
            continue;
        }
        let Some(client) = clients.configured(config, workspace) else { continue };
        match client.facts(&mut Calls::default()).await {
            Ok(facts) => {
                found.insert(workspace.name.as_str());
                about.ok(&format!("{} in {}", facts.id, facts.region));
            }
            Err(error) => about.failed(&error),
        }
    }
    for endpoint in &config.endpoints {
        let Some(service) = &endpoint.service else { continue };
        let mut about = report.about("endpoint", &endpoint.name);
        if !found.contains(service.workspace.as_str()) {
            about.skipped(&format!("not looked for, since workspace {} was not found", service.workspace));
            continue;
        }
        let workspace = config.workspaces.iter().find(|workspace| workspace.name == service.workspace);
        let Some(workspace) = workspace.and_then(|workspace| clients.configured(config, workspace)) else { continue };
        let Some(plane) = clients.connect(config, service) else { continue };
        let looked = Looked { endpoint, service, workspace: &workspace, plane: &*plane };
        looked.check(clients.http(), &mut about).await;
    }
}

/// An endpoint that is a service of Azure's.
struct Looked<'a> {
    endpoint: &'a Endpoint,
    service: &'a Service,
    workspace: &'a Workspace,
    plane: &'a dyn ControlPlane,
}

impl Looked<'_> {
    async fn check(&self, http: &Http, about: &mut About<'_>) {
        let Self { endpoint, service, workspace, plane } = *self;
        let mut calls = Calls::default();
        let description = match plane.describe(&mut calls).await {
            Ok(description) => description,
            Err(error) => return about.failed(&error),
        };
        let (scoring, auth) = match description.usable(&service.name, service.auth) {
            Ok(usable) => usable,
            Err(error) => return about.failed(&error),
        };
        about.ok(&format!("{} scores at {scoring}, auth {auth}", service.name));
        if !SERVING.contains(&description.state.as_str()) {
            about.warn(&format!("its state is {}", description.state));
        }
        if let (Some(written), Some(reported)) = (service.auth, description.auth)
            && written != reported
        {
            about.warn(&format!("`auth: {written}` is written, and it reports {reported}"));
        }
        if let Err(error) = upstream(service, &scoring, auth) {
            return about.failed(&error);
        }
        regions(workspace, &description, auth, about).await;
        let credential = match find(plane, service, http.clock(), &mut calls).await {
            Ok(found) => found.credential,
            Err(error) => return about.failed(&error),
        };
        about.ok(match auth {
            Auth::Key => "its keys can be read",
            Auth::Token | Auth::Entra => "its token can be fetched",
            Auth::Open => "it is open: nothing is attached",
        });
        if auth == Auth::Key {
            regenerate_role(workspace, service.name.kind, about).await;
        }
        let http = trusting(http, endpoint);
        accepted(&http, endpoint, &scoring, (auth, &credential), about).await;
    }
}

/// Keys are known where the service runs; tokens come from the workspace's region.
async fn regions(workspace: &Workspace, description: &Description, auth: Auth, about: &mut About<'_>) {
    let mut calls = Calls::default();
    let Ok(facts) = workspace.facts(&mut calls).await else { return };
    let runs_in = match (&description.region, &description.compute) {
        (Some(region), _) => Some(region.clone()),
        (None, Some(compute)) => match workspace.compute_region(compute, &mut calls).await {
            Ok(region) => region,
            Err(error) => {
                return about.warn(&format!("where its cluster is cannot be told: {error}"));
            }
        },
        (None, None) => None,
    };
    let Some(runs_in) = runs_in else { return };
    let plain = |region: &str| region.replace(' ', "").to_ascii_lowercase();
    if plain(&runs_in) == plain(&facts.region) {
        return;
    }
    let consequence = match auth {
        Auth::Token => {
            "its tokens come from there: while that region is down none can be fetched, and the distance delays each"
        }
        Auth::Key | Auth::Entra | Auth::Open => {
            "its control plane is there: while that region is down its keys cannot be read"
        }
    };
    about.warn(&format!("it runs in {runs_in}, its workspace is in {}; {consequence}", facts.region));
}

/// What cannot be tried out without changing a key: whether the role is there, by Azure's own account.
async fn regenerate_role(workspace: &Workspace, kind: Kind, about: &mut About<'_>) {
    let needed: Permission = match kind {
        Kind::Aci | Kind::Aks => v1::regenerate_permission(kind),
        Kind::Online => ONLINE_REGENERATE,
    };
    match workspace.permissions(&mut Calls::default()).await {
        Ok(grants) if grants.iter().any(|grant| grant.permits(needed.action)) => {
            about.ok("its keys may be regenerated");
        }
        Ok(_) => about.warn(&format!(
            "its keys may not be regenerated: that needs {}, as in {}",
            needed.action,
            needed.role.file()
        )),
        Err(error) => about.warn(&format!("whether its keys may be regenerated cannot be told: {error}")),
    }
}

fn trusting(http: &Http, endpoint: &Endpoint) -> Http {
    match &endpoint.connect.ca {
        Some((roots, _)) => http.trusting(Trust::Only(Arc::clone(roots))),
        None => http.trusting(Trust::Platform),
    }
}

/// Asks the service itself, without running the model: once with the credential, once with one that is wrong.
async fn accepted(
    http: &Http,
    endpoint: &Endpoint,
    scoring: &Url,
    (auth, credential): (Auth, &Credential),
    about: &mut About<'_>,
) {
    let value = match credential {
        Credential::Keys { primary, active: Slot::Primary, .. } => Some(primary),
        Credential::Keys { secondary, .. } => Some(secondary),
        Credential::Token { value, .. } => Some(value),
        Credential::Open => None,
    };
    let reply = match probe(http, endpoint, scoring, value).await {
        Ok(reply) => reply,
        Err(error) => return about.failed(&error),
    };
    match Verdict::of(&reply) {
        Verdict::Refused => about.problem("the service refuses the credential (401): was it changed a moment ago?"),
        Verdict::Unclear(403) if auth == Auth::Entra => about.problem(&format!(
            "the service knows the credential and does not let it in (403): a token of the identity provider's needs a role with {} at \
             the endpoint, such as the one in {}",
            ONLINE_SCORE.action,
            ONLINE_SCORE.role.file()
        )),
        Verdict::Unclear(403) => about.problem(
            "the service forbids it (403), which is not about the credential: does a network rule keep this machine out?",
        ),
        Verdict::Unclear(status) => {
            about.warn(&format!("the service answers OPTIONS with {status}, which proves nothing of the credential"));
        }
        Verdict::Accepted if value.is_none() => about.ok("the service answers"),
        Verdict::Accepted => {
            let wrong = random::bytes::<16>().map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            let wrong = Secret::new(format!("scoregate-wrong-{}", wrong.unwrap_or_default()).into_bytes());
            match probe(http, endpoint, scoring, Some(&wrong)).await.map(|reply| Verdict::of(&reply)) {
                Ok(Verdict::Refused) => about.ok("the service accepts the credential, and refuses a wrong one"),
                Ok(_) | Err(_) => {
                    about.warn("the service answers OPTIONS whatever the credential, which proves nothing of it");
                }
            }
        }
    }
}

/// What an answer says of the credential.
enum Verdict {
    Accepted,
    Refused,
    Unclear(u16),
}

impl Verdict {
    /// Only a 401 without a sign that the model ran is about the credential.
    fn of(reply: &Reply) -> Self {
        let mut names = reply.fields.keys().map(header::HeaderName::as_str);
        let ran = names.any(|name| name.starts_with("x-ms-run-") || name.starts_with("ms-azureml-model-error-"));
        match reply.status {
            200..300 => Self::Accepted,
            _ if ran => Self::Accepted,
            401 => Self::Refused,
            status => Self::Unclear(status),
        }
    }
}

async fn probe(http: &Http, endpoint: &Endpoint, scoring: &Url, value: Option<&Secret>) -> Result<Reply, Error> {
    let request = Request {
        method: Method::OPTIONS,
        repeat: Repeat::Freely,
        // Straight there, as the gate goes; that a credential may go in plain text was asked before.
        reach: Reach::Host,
        ..Request::get(Why::Probe, format!("ask the service of endpoint {}", endpoint.name), scoring.clone())
    };
    let request = match value {
        Some(value) => {
            let name =
                header::HeaderName::from_bytes(endpoint.attach_header.as_bytes()).unwrap_or(header::AUTHORIZATION);
            request.with_secret(name, &endpoint.attach_prefix, value)?
        }
        None => request,
    };
    http.call(request, &mut Calls::default()).await
}
