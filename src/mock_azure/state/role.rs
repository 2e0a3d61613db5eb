//! What a principal may do in the workspace: the actions that its role permits, named as role definitions name them.
//!
//! Names are those of Microsoft's "Manage access to Azure Machine Learning workspaces" (web services) and "Authentication and
//! authorization for online endpoints". For a new key of a web service none is published; it changes the service, as deploying does.

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::service::Action;
use crate::service_auth::ServiceKind;

/// The workspace itself; documented for tokens of web services too.
pub(in crate::mock_azure) const WORKSPACE: &str = "Microsoft.MachineLearningServices/workspaces/read";
/// Clusters.
pub(in crate::mock_azure) const COMPUTE: &str = "Microsoft.MachineLearningServices/workspaces/computes/read";
/// One's own permissions.
pub(in crate::mock_azure) const PERMISSIONS: &str = "Microsoft.Authorization/permissions/read";
/// Web services and their operations.
pub(in crate::mock_azure) const SERVICE: &str = "Microsoft.MachineLearningServices/workspaces/services/read";
/// Online endpoints and their deployments.
pub(in crate::mock_azure) const ONLINE: &str = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/read";
/// Scoring with a token of the identity provider's.
pub(in crate::mock_azure) const ONLINE_SCORE: &str =
    "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action";

/// A role, as it is assigned at the workspace. Serialised as the list of permissions has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::mock_azure) struct Role {
    actions: Vec<String>,
    not_actions: Vec<String>,
}

impl Role {
    fn of(actions: &[&str]) -> Self {
        Self { actions: actions.iter().map(ToString::to_string).collect(), not_actions: Vec::new() }
    }

    /// Everything.
    pub(in crate::mock_azure) fn contributor() -> Self {
        Self::of(&["*"])
    }

    /// Look, but not at keys, and not score.
    pub(in crate::mock_azure) fn reader() -> Self {
        Self::of(&["*/read"])
    }

    /// Nothing.
    pub(in crate::mock_azure) fn none() -> Self {
        Self::of(&[])
    }

    /// A definition, as `az role definition create` takes it.
    ///
    /// # Errors
    /// Where it is none.
    pub(in crate::mock_azure) fn define(text: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Definition {
            actions: Vec<String>,
            #[serde(default)]
            not_actions: Vec<String>,
        }
        let Definition { actions, not_actions } =
            serde_json::from_str(text).context("it is no role definition, which has `Actions`")?;
        Ok(Self { actions, not_actions })
    }

    /// The same without some actions.
    pub(in crate::mock_azure) fn without(mut self, actions: impl IntoIterator<Item = &'static str>) -> Self {
        self.not_actions.extend(actions.into_iter().map(str::to_owned));
        self
    }

    pub(in crate::mock_azure) fn permits(&self, action: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|one| covers(one.as_bytes(), action.as_bytes()));
        any(&self.actions) && !any(&self.not_actions)
    }
}

/// `*` stands for anything; letters' case does not matter.
fn covers(pattern: &[u8], action: &[u8]) -> bool {
    match (pattern, action) {
        ([], rest) => rest.is_empty(),
        ([b'*', after @ ..], []) => covers(after, action),
        ([b'*', after @ ..], [_, rest @ ..]) => covers(after, action) || covers(pattern, rest),
        ([one, after @ ..], [other, rest @ ..]) => one.eq_ignore_ascii_case(other) && covers(after, rest),
        ([_, ..], []) => false,
    }
}

/// What doing something with a service needs.
pub(in crate::mock_azure) const fn needed(kind: ServiceKind, action: Action) -> &'static str {
    match (kind, action) {
        (ServiceKind::Online, Action::Read) => ONLINE,
        (ServiceKind::Online, Action::Listkeys) => {
            "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/listKeys/action"
        }
        (ServiceKind::Online, Action::Regeneratekeys) => {
            "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/regenerateKeys/action"
        }
        (ServiceKind::Online, Action::Token) => {
            "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/token/action"
        }
        (ServiceKind::Online, Action::Score) => ONLINE_SCORE,
        (ServiceKind::Aci | ServiceKind::Aks, Action::Read) => SERVICE,
        (ServiceKind::Aci | ServiceKind::Aks, Action::Token) => WORKSPACE,
        (ServiceKind::Aci, Action::Listkeys) => {
            "Microsoft.MachineLearningServices/workspaces/services/aci/listkeys/action"
        }
        (ServiceKind::Aks, Action::Listkeys) => {
            "Microsoft.MachineLearningServices/workspaces/services/aks/listkeys/action"
        }
        (ServiceKind::Aci, Action::Regeneratekeys) => "Microsoft.MachineLearningServices/workspaces/services/aci/write",
        (ServiceKind::Aks, Action::Regeneratekeys) => "Microsoft.MachineLearningServices/workspaces/services/aks/write",
        (ServiceKind::Aci | ServiceKind::Aks, Action::Score) => {
            "Microsoft.MachineLearningServices/workspaces/services/aks/score/action"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_anything_and_case_is_nothing() {
        let keys = needed(ServiceKind::Aks, Action::Listkeys);
        for good in ["*", "*/action", "microsoft.machinelearningservices/*/LISTKEYS/action", keys, "*keys*"] {
            assert!(Role::of(&[good]).permits(keys), "{good}");
        }
        for bad in ["", "*/read", "Microsoft", &keys[1..], &keys[..keys.len() - 1]] {
            assert!(!Role::of(&[bad]).permits(keys), "{bad}");
        }
        assert!(!Role::contributor().without([keys]).permits(keys));
        assert!(Role::reader().permits(WORKSPACE) && !Role::reader().permits(keys) && !Role::none().permits(WORKSPACE));
    }

    #[test]
    fn a_definition_is_read_as_az_takes_it() {
        let role = Role::define(r#"{"Name": "r", "Actions": ["*/read"], "NotActions": ["*/computes/read"]}"#).unwrap();
        assert!(role.permits(WORKSPACE) && !role.permits(COMPUTE));
        assert!(Role::define("{}").is_err() && Role::define("no").is_err());
    }
}
