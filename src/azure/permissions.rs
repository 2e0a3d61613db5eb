//! What each call needs a role to permit, and which of the roles under `config/azure` has it: one table, so that a refusal names the
//! action that is missing and the files are never short of one.
//!
//! Actions are those of Microsoft's documentation: "Manage access to Azure Machine Learning workspaces" for web services, and
//! "Authentication and authorization for online endpoints".

/// What a role must permit for a call, and the role of ours that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The action, as role definitions name it.
    pub action: &'static str,
    /// Which role has it.
    pub role: Role,
}

/// A role that this repository defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Finding services, reading keys, fetching tokens.
    Read,
    /// That, and regenerating keys.
    Rotate,
}

impl Role {
    /// Its definition.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Read => "config/azure/role-read.json",
            Self::Rotate => "config/azure/role-rotate.json",
        }
    }

    /// Whether it permits an action.
    #[must_use]
    pub fn has(self, action: &str) -> bool {
        let within = |one: &&Permission| one.role == Self::Read || self == Self::Rotate;
        ALL.iter().filter(within).any(|one| one.action.eq_ignore_ascii_case(action))
    }
}

const fn read(action: &'static str) -> Permission {
    Permission { action, role: Role::Read }
}

const fn rotate(action: &'static str) -> Permission {
    Permission { action, role: Role::Rotate }
}

/// One workspace, those of a subscription, and the token of a v1 service, which is fetched at the workspace.
pub const WORKSPACE: Permission = read("Microsoft.MachineLearningServices/workspaces/read");
/// Where a cluster is.
pub const COMPUTE: Permission = read("Microsoft.MachineLearningServices/workspaces/computes/read");
/// Subscriptions and tenants: whoever has any role at all sees them.
pub const SUBSCRIPTIONS: Permission = read("Microsoft.Resources/subscriptions/read");
/// What one may do oneself.
pub const PERMISSIONS: Permission = read("Microsoft.Authorization/permissions/read");
/// v1 services and their operations.
pub const SERVICE: Permission = read("Microsoft.MachineLearningServices/workspaces/services/read");
/// Keys of a v1 service on Container Instances.
pub const ACI_KEYS: Permission = read("Microsoft.MachineLearningServices/workspaces/services/aci/listkeys/action");
/// Keys of a v1 service on Kubernetes.
pub const AKS_KEYS: Permission = read("Microsoft.MachineLearningServices/workspaces/services/aks/listkeys/action");
/// Scoring there; documented beside reading its keys.
pub const AKS_SCORE: Permission = read("Microsoft.MachineLearningServices/workspaces/services/aks/score/action");
/// A new key of a service on Container Instances. No action of its own is published for it: it changes the service, as deploying does.
pub const ACI_REGENERATE: Permission = rotate("Microsoft.MachineLearningServices/workspaces/services/aci/write");
/// The same on Kubernetes.
pub const AKS_REGENERATE: Permission = rotate("Microsoft.MachineLearningServices/workspaces/services/aks/write");
/// Online endpoints and their operations.
pub const ONLINE: Permission = read("Microsoft.MachineLearningServices/workspaces/onlineEndpoints/read");
/// Their keys.
pub const ONLINE_KEYS: Permission =
    read("Microsoft.MachineLearningServices/workspaces/onlineEndpoints/listKeys/action");
/// Their tokens.
pub const ONLINE_TOKEN: Permission = read("Microsoft.MachineLearningServices/workspaces/onlineEndpoints/token/action");
/// A new key.
pub const ONLINE_REGENERATE: Permission =
    rotate("Microsoft.MachineLearningServices/workspaces/onlineEndpoints/regenerateKeys/action");
/// Scoring with a token of the identity provider's.
pub const ONLINE_SCORE: Permission = read("Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action");

/// All of them.
pub const ALL: [Permission; 15] = [
    WORKSPACE,
    COMPUTE,
    SUBSCRIPTIONS,
    PERMISSIONS,
    SERVICE,
    ACI_KEYS,
    AKS_KEYS,
    AKS_SCORE,
    ACI_REGENERATE,
    AKS_REGENERATE,
    ONLINE,
    ONLINE_KEYS,
    ONLINE_TOKEN,
    ONLINE_REGENERATE,
    ONLINE_SCORE,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The actions of a role's definition, without wildcards.
    fn actions(role: Role) -> BTreeSet<String> {
        let text = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(role.file())).unwrap();
        let definition: serde_json::Value = serde_json::from_slice(&text).unwrap();
        for (key, value) in [("IsCustom", serde_json::json!(true)), ("NotActions", serde_json::json!([]))] {
            assert_eq!(definition[key], value, "{role:?}");
        }
        assert!(definition["AssignableScopes"][0].as_str().unwrap().starts_with("/subscriptions/"));
        let actions = definition["Actions"].as_array().unwrap();
        let actions: BTreeSet<String> = actions.iter().map(|action| action.as_str().unwrap().to_owned()).collect();
        assert!(!actions.iter().any(|action| action.contains('*')), "least privilege has no wildcards");
        actions
    }

    #[test]
    fn the_roles_have_what_is_needed_and_nothing_else() {
        let of = |role: Role| ALL.iter().filter(move |one| one.role == role).map(|one| one.action.to_owned());
        assert_eq!(actions(Role::Read), of(Role::Read).collect());
        assert_eq!(actions(Role::Rotate), of(Role::Read).chain(of(Role::Rotate)).collect());
    }

    #[test]
    fn a_role_has_what_is_in_its_file_and_no_more() {
        assert!(Role::Read.has("microsoft.machinelearningservices/workspaces/READ"));
        assert!(!Role::Read.has(AKS_REGENERATE.action) && Role::Rotate.has(AKS_REGENERATE.action));
        assert!(
            Role::Rotate.has(WORKSPACE.action) && !Role::Rotate.has("Microsoft.MachineLearningServices/workspaces/*")
        );
    }
}
