//! Long operations: where to look how they stand, and what they say, in the three forms that Azure has.
//!
//! Nothing here waits; an [`Operation`] is text and back, so that it can be kept over a restart.

use std::{fmt, str::FromStr, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::azure::{control::Control, error::Error, http::Reply, url::Url};

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Model management's `operations/ID`: 200 with a `state`.
    ModelManagement(Url),
    /// The resource manager's `Azure-AsyncOperation`: 200 with a `status`.
    Status(Url),
    /// Its `Location`: 202 until it is done.
    Location(Url),
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It goes on: look again there, after this pause where one was asked for.
    Running(Operation, Option<Duration>),
    /// It is done.
    Succeeded,
    /// It ended otherwise; in Azure's words.
    Failed(String),
}

/// A text that is no [`Operation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the address of an operation")]
pub struct NoOperation;

impl Operation {
    const fn parts(&self) -> (&'static str, &Url) {
        match self {
            Self::ModelManagement(url) => ("modelmanagement", url),
            Self::Status(url) => ("status", url),
            Self::Location(url) => ("location", url),
        }
    }

    /// Its address.
    #[must_use]
    pub const fn url(&self) -> &Url {
        self.parts().1
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, url) = self.parts();
        write!(f, "{word} {}{}", url.origin(), url.target())
    }
}

impl FromStr for Operation {
    type Err = NoOperation;

    fn from_str(text: &str) -> Result<Self, NoOperation> {
        let (word, url) = text.split_once(' ').ok_or(NoOperation)?;
        let url = Url::parse(url).map_err(|_not_a_url| NoOperation)?;
        match word {
            "modelmanagement" => Ok(Self::ModelManagement(url)),
            "status" => Ok(Self::Status(url)),
            "location" => Ok(Self::Location(url)),
            _ => Err(NoOperation),
        }
    }
}

/// Where model management says that a change goes on. Its own SDK takes the last segment of the header and nothing else of it; an
/// address of model management itself is taken as it is.
pub(super) fn of_model_management(reply: &Reply, base: &Url) -> Option<Operation> {
    let written = reply.field("operation-location")?;
    if let Ok(url) = Url::parse(written)
        && url.has_origin_of(base)
    {
        return Some(Operation::ModelManagement(url));
    }
    let path = written.split(['?', '#']).next().unwrap_or_default();
    let id = path.trim_end_matches('/').rsplit('/').next().filter(|id| !id.is_empty())?;
    base.below(&format!("/operations/{id}")).ok().map(Operation::ModelManagement)
}

/// Where the resource manager says that a change goes on; the status where there is one. Our token goes to its own addresses alone.
pub(super) fn of_manager(reply: &Reply, control: &Control) -> Result<Option<Operation>, Error> {
    let address = |name: &str| -> Result<Option<Url>, Error> {
        let Some(written) = reply.field(name) else { return Ok(None) };
        match Url::parse(written) {
            Ok(url) if control.is_manager(&url) => Ok(Some(url)),
            Ok(url) => {
                Err(reply.unusable(format!("`{name}` leads to {}, which is not the resource manager", url.origin())))
            }
            Err(why) => Err(reply.unusable(format!("`{name}` is {why}"))),
        }
    };
    Ok(match address("azure-asyncoperation")? {
        Some(url) => Some(Operation::Status(url)),
        None => address("location")?.map(Operation::Location),
    })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "status")]
    state: String,
    error: Option<Value>,
}

/// Reads what an operation says of itself.
pub(super) fn read(reply: &Reply, operation: &Operation, control: &Control) -> Result<Progress, Error> {
    if let Operation::Location(_) = operation {
        if reply.status != 202 {
            return Ok(Progress::Succeeded);
        }
        // It may have moved.
        let next = match of_manager(reply, control)? {
            Some(next @ Operation::Location(_)) => next,
            Some(Operation::Status(_) | Operation::ModelManagement(_)) | None => operation.clone(),
        };
        return Ok(Progress::Running(next, reply.retry_after()));
    }
    let Answer { state, error } = reply.json("the state of an operation")?;
    Ok(match state.to_ascii_lowercase().as_str() {
        "succeeded" => Progress::Succeeded,
        // One l or two, by API.
        "failed" | "canceled" | "cancelled" | "timedout" => {
            Progress::Failed(reply.shown(&words(&state, error.as_ref())))
        }
        _ => Progress::Running(operation.clone(), reply.retry_after()),
    })
}

/// The state with the first code and message that its error has.
fn words(state: &str, error: Option<&Value>) -> String {
    let inner = error.map(|error| error.get("error").unwrap_or(error));
    let text = |name: &str| inner.and_then(|error| error.get(name)?.as_str());
    let bare = error.and_then(Value::as_str);
    let said = [Some(state), text("code"), text("message").or(bare)];
    said.into_iter().flatten().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_text_and_back() {
        for text in
            ["modelmanagement https://h/operations/1", "status https://h/x?api-version=1", "location http://[::1]:1/y"]
        {
            assert_eq!(text.parse::<Operation>().unwrap().to_string(), text);
        }
        for wrong in ["", "status", "status x", "other https://h/"] {
            assert_eq!(wrong.parse::<Operation>(), Err(NoOperation), "{wrong}");
        }
    }

    #[test]
    fn a_failure_is_its_state_code_and_message() {
        let error: Value = serde_json::from_str(r#"{"code":"Conflict","message":"a b"}"#).unwrap();
        assert_eq!(words("Failed", Some(&error)), "Failed: Conflict: a b");
        assert_eq!(words("Failed", Some(&serde_json::json!({ "error": error }))), "Failed: Conflict: a b");
        assert_eq!(words("TimedOut", Some(&"late".into())), "TimedOut: late");
        assert_eq!(words("Canceled", None), "Canceled");
    }
}
