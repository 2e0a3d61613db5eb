//! The model management service's side of a played service, at the paths that Microsoft's SDK uses: who may ask, and what is answered.
//!
//! The admin API hands requests over; whoever shows a token of the trusted issuer that names them as a manager is answered. A token for
//! the resource manager alone proves nothing: everybody in a tenant can get one.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};

use super::{NotChanged, Operation, Played, payload};
use crate::{
    clock::Clock,
    control::gate::Gate,
    jwt::{jws::Flaw, terms::BadToken},
    proxy::auth::{Proof, token::TokenRules},
    service_auth::{AuthMode, Keys, Regenerate, Slot, keys_body, web_service_token_body},
    snapshot::Snapshot,
    telemetry::utc::Utc,
};

/// How long a manager whose issuer's keys are not known waits for them.
const KEYS_PATIENCE: Duration = Duration::from_secs(3);
const KEYS_LOOK: Duration = Duration::from_millis(50);

/// A request of a manager.
#[derive(Debug)]
pub struct Asked {
    /// Method.
    pub method: Method,
    /// The path, as it came.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// The bearer's token.
    pub token: Option<Vec<u8>>,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Where the operation is that was begun.
    pub operation: Option<String>,
    /// JSON; none where there is no body.
    pub body: Option<Value>,
}

impl Answer {
    fn ok(body: Value) -> Self {
        Self { status: 200, operation: None, body: Some(body) }
    }

    /// In the form of the service's own errors.
    fn error(status: u16, code: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let body = json!({ "code": code, "statusCode": status, "message": message, "details": [] });
        Self { status, operation: None, body: Some(body) }
    }
}

/// What of a path counts.
struct Place<'p> {
    /// The workspace, as an id of the resource manager.
    workspace: String,
    rest: Vec<&'p str>,
}

/// `/modelmanagement/v1.0/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W/…`, in any case.
/// Which workspace it is means nothing: there is one set of services.
fn place(path: &str) -> Option<Place<'_>> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let [mms, version, _, subscription, _, group, _, _, _, name, rest @ ..] = segments.as_slice() else { return None };
    let fixed =
        [(0, "modelmanagement"), (2, "subscriptions"), (4, "resourcegroups"), (6, "providers"), (8, "workspaces")];
    let is = |(at, word): &(usize, &str)| segments.get(*at).is_some_and(|segment| segment.eq_ignore_ascii_case(word));
    let _ = mms;
    (fixed.iter().all(is) && version.starts_with('v')).then(|| Place {
        workspace: format!(
            "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{name}"
        ),
        rest: rest.to_vec(),
    })
}

impl Gate {
    /// Answers a manager.
    pub async fn manage(self: Arc<Self>, asked: Asked) -> Answer {
        let Some(place) = place(&asked.path) else {
            return Answer::error(404, "NotFound", "nothing is served at this path");
        };
        let managed = match self.managed_by(asked.token.as_deref()).await {
            Ok(managed) => managed,
            Err(answer) => return answer,
        };
        let rest: Vec<String> = place.rest.iter().map(|segment| segment.to_ascii_lowercase()).collect();
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let name = || place.rest.get(1).copied().unwrap_or_default();
        let get = asked.method == Method::GET;
        let post = asked.method == Method::POST;
        if let ["services"] = rest.as_slice() {
            return if get { self.list(&managed, &place, asked.query.as_deref()).await } else { not_allowed() };
        }
        if let ["operations", id] = rest.as_slice() {
            return if get { self.operation(&managed, id, &place).await } else { not_allowed() };
        }
        if rest.first() != Some(&"services") {
            return Answer::error(404, "NotFound", "nothing is served at this path");
        }
        if !managed.iter().any(|one| one == name()) {
            return Answer::error(404, "WebserviceNotFound", format!("Service with name '{}' was not found.", name()));
        }
        match rest.get(2..).unwrap_or_default() {
            [] if get => self.describe(name(), &place).await,
            ["listkeys"] if post => self.list_keys(name()).await,
            ["token"] if post => self.hand_out_token(name()).await,
            ["regeneratekeys"] if post => match Regenerate::read(&asked.body) {
                Ok(wanted) => self.regenerate_at(name(), wanted, &asked.path).await,
                Err(why) => Answer::error(400, "BadRequest", why.to_string()),
            },
            [] | ["listkeys" | "token" | "regeneratekeys"] => not_allowed(),
            _ => Answer::error(404, "NotFound", "nothing is served at this path"),
        }
    }

    /// Names of the services that the bearer of a token manages, at least one.
    async fn managed_by(&self, token: Option<&[u8]>) -> Result<Vec<String>, Answer> {
        let Some(token) = token else {
            return Err(Answer::error(
                401,
                "Unauthorized",
                "this needs a manager's token, as `Authorization: Bearer TOKEN`",
            ));
        };
        let clock = self.clock().clone();
        let mut waited = Duration::ZERO;
        loop {
            let snapshot = self.snapshot();
            let judged: Vec<_> = played(&snapshot)
                .map(|(at, name, rules)| (name, rules, judge(&snapshot, at, rules, token, &clock)))
                .collect();
            let managed: Vec<String> =
                judged.iter().filter(|(.., verdict)| verdict.is_ok()).map(|(name, ..)| (*name).to_owned()).collect();
            if !managed.is_empty() {
                return Ok(managed);
            }
            let mut may_come = false;
            for (_, rules, verdict) in &judged {
                if let Err(BadToken::KeysMissing | BadToken::Flaw(Flaw::KeyUnknown)) = verdict {
                    may_come |= rules.issuer.as_ref().inspect(|issuer| issuer.notify_one()).is_some();
                }
            }
            if may_come && waited < KEYS_PATIENCE {
                waited += KEYS_LOOK;
                tokio::time::sleep(KEYS_LOOK).await;
                continue;
            }
            let known = judged.iter().any(|(.., verdict)| matches!(verdict, Err(BadToken::Claims)));
            return Err(if known {
                Answer::error(403, "AuthorizationFailed", "whom this token is about manages no service here")
            } else {
                Answer::error(401, "Unauthorized", "this token is not believed here")
            });
        }
    }

    async fn list(&self, managed: &[String], place: &Place<'_>, query: Option<&str>) -> Answer {
        let wanted = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("computeType="));
        let played = self.played().await;
        let services = managed.iter().filter_map(|name| {
            let (config, since) = played.describe(name)?;
            let fits = wanted.is_none_or(|wanted| wanted == payload::compute_type(config.kind));
            fits.then(|| payload::service(name, config, since, &place.workspace))
        });
        Answer::ok(json!({ "value": services.collect::<Vec<_>>() }))
    }

    async fn describe(&self, name: &str, place: &Place<'_>) -> Answer {
        let played = self.played().await;
        match played.describe(name) {
            Some((config, since)) => Answer::ok(payload::service(name, config, since, &place.workspace)),
            None => no_service(),
        }
    }

    async fn list_keys(&self, name: &str) -> Answer {
        let played = self.played().await;
        if let Err(answer) = demand(&played, name, AuthMode::Key) {
            return answer;
        }
        let (Some(primary), Some(secondary)) = (played.key(name, Slot::Primary), played.key(name, Slot::Secondary))
        else {
            return no_service();
        };
        match (&primary.value, &secondary.value) {
            (Ok(primary), Ok(secondary)) if played.keeps_values(name) => {
                Answer::ok(keys_body(&Keys { primary: primary.clone(), secondary: secondary.clone() }))
            }
            (Err(why), _) | (_, Err(why)) => Answer::error(409, "KeysNotKept", why.to_string()),
            _ => Answer::error(409, "KeysNotKept", super::kept::NotKept::NoSealKey.to_string()),
        }
    }

    async fn hand_out_token(&self, name: &str) -> Answer {
        let unix = self.clock().unix_seconds();
        let played = self.played().await;
        if let Err(answer) = demand(&played, name, AuthMode::Token) {
            return answer;
        }
        match played.issue(name, unix) {
            Some(Ok(issued)) => Answer { status: 201, ..Answer::ok(web_service_token_body(&issued)) },
            Some(Err(error)) => Answer::error(500, "InternalServerError", error.to_string()),
            None => no_service(),
        }
    }

    async fn regenerate_at(self: &Arc<Self>, name: &str, wanted: Regenerate, path: &str) -> Answer {
        match self.regenerate_played(name, wanted).await {
            Ok(operation) => {
                let workspace =
                    path.to_ascii_lowercase().rfind("/services/").and_then(|at| path.get(..at)).unwrap_or_default();
                let operation = Some(format!("{workspace}/operations/{}", operation.id));
                Answer { status: 202, operation, body: None }
            }
            Err(NotChanged::NoService) => no_service(),
            Err(why @ NotChanged::NoKeys) => Answer::error(400, "AuthNotEnabled", why.to_string()),
            Err(why @ NotChanged::OtherKey) => Answer::error(400, "BadRequest", why.to_string()),
            Err(why @ NotChanged::NotKept(_)) => {
                tracing::error!(service = name, %why, "a key was not changed");
                Answer::error(500, "InternalServerError", "the key could not be kept, so nothing has changed")
            }
        }
    }

    async fn operation(&self, managed: &[String], id: &str, place: &Place<'_>) -> Answer {
        let played = self.played().await;
        match played.operation(id).filter(|operation| managed.contains(&operation.service)) {
            Some(operation) => Answer::ok(operation_json(operation, place)),
            None => Answer::error(404, "OperationNotFound", "there is no such operation"),
        }
    }
}

/// Services that scoregate plays, with who may manage them.
fn played(snapshot: &Snapshot) -> impl Iterator<Item = (usize, &str, &TokenRules)> {
    snapshot.callers.iter().enumerate().filter_map(|(at, caller)| match &caller.proof {
        Proof::Service { managers: Some(rules) } => Some((at, &*caller.name, &**rules)),
        _ => None,
    })
}

fn judge(snapshot: &Snapshot, at: usize, rules: &TokenRules, token: &[u8], clock: &Clock) -> Result<(), BadToken> {
    let keys = snapshot.grounds.issuers.get(at).and_then(Option::as_deref);
    rules.terms.verify(keys.map(|keys| &*keys.set), token, clock.unix_seconds()).map(drop)
}

fn demand(played: &Played, name: &str, wanted: AuthMode) -> Result<(), Answer> {
    let (config, _) = played.describe(name).ok_or_else(no_service)?;
    let what = match wanted {
        AuthMode::Token => "token authentication is off for this service",
        _ => "key authentication is off for this service",
    };
    if config.auth == wanted { Ok(()) } else { Err(Answer::error(400, "AuthNotEnabled", what)) }
}

fn no_service() -> Answer {
    Answer::error(404, "WebserviceNotFound", "there is no such service")
}

fn not_allowed() -> Answer {
    Answer::error(405, "MethodNotAllowed", "this method is not allowed here")
}

/// It was over before it could be asked about.
fn operation_json(operation: &Operation, place: &Place<'_>) -> Value {
    let at = Utc(operation.at * 1_000).to_string();
    json!({
        "id": operation.id, "operationType": "Service", "state": "Succeeded", "createdTime": at, "endTime": at, "error": null,
        "resourceLocation": format!("{}/services/{}", place.workspace, operation.service),
        "operationDetails": { "subOperationType": "RegenerateKeys", "subOperationState": "Succeeded" },
    })
}
