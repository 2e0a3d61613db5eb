//! Workspaces: from what the configuration says of one to its place, its region and the address of its model management.
//!
//! A [`Workspace`] asks when it is first needed and remembers the answer; [`Workspace::forget`] makes it ask again.

use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::Mutex;

use super::{
    calls::{Calls, Why},
    control::{Ask, Control},
    discovery,
    error::Error,
    http::Request,
    permissions::{COMPUTE, PERMISSIONS, SUBSCRIPTIONS, WORKSPACE},
    url::{Url, segment},
};

/// The versions that Microsoft's own clients ask for.
const API: &str = "2022-05-01";
const SUBSCRIPTIONS_API: &str = "2022-12-01";
const PERMISSIONS_API: &str = "2022-04-01";

/// Where a workspace is said to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Subscription id.
    pub subscription: String,
    /// Resource group; looked up where none is named.
    pub resource_group: Option<String>,
    /// The workspace's name.
    pub name: String,
}

/// What Azure says of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Resource id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Resource group.
    pub resource_group: String,
    /// Region, such as `eastus`.
    pub region: String,
    /// Where the region's services are listed, where Azure says so.
    pub discovery: Option<String>,
}

/// A subscription that an identity sees.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Subscription {
    /// Its id.
    #[serde(rename = "subscriptionId")]
    pub id: String,
    /// Its name.
    #[serde(rename = "displayName", default)]
    pub name: String,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    name: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    properties: Properties,
}

#[derive(Default, Deserialize)]
struct Properties {
    #[serde(rename = "discoveryUrl")]
    discovery: Option<String>,
}

impl Answer {
    fn facts(self) -> Facts {
        // `/subscriptions/S/resourceGroups/R/…`, in any case.
        let mut parts = self.id.split('/').skip_while(|part| !part.eq_ignore_ascii_case("resourceGroups"));
        let resource_group = plain(parts.nth(1).unwrap_or_default());
        let Self { id, name, location, properties } = self;
        Facts { id, name: plain(&name), resource_group, region: plain(&location), discovery: properties.discovery }
    }
}

/// A name of Azure's, as it may be shown. None is longer than a resource group's 90 characters.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(90).collect()
}

/// A workspace.
#[derive(Debug)]
pub struct Workspace {
    control: Arc<Control>,
    place: Place,
    /// Held while somebody asks; the others wait and read.
    known: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    facts: Option<Arc<Facts>>,
    model_management: Option<Url>,
}

impl Workspace {
    /// A workspace that nothing is known of yet.
    #[must_use]
    pub fn new(control: Arc<Control>, place: Place) -> Self {
        Self { control, place, known: Mutex::default() }
    }

    /// Where it is said to be.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// How it is asked about.
    #[must_use]
    pub const fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Asks again next time: it may have moved.
    pub async fn forget(&self) {
        *self.known.lock().await = Remembered::default();
    }

    /// What Azure says of it.
    ///
    /// # Errors
    /// Where it cannot be found.
    pub async fn facts(&self, calls: &mut Calls) -> Result<Arc<Facts>, Error> {
        self.facts_of(&mut *self.known.lock().await, calls).await
    }

    async fn facts_of(&self, known: &mut Remembered, calls: &mut Calls) -> Result<Arc<Facts>, Error> {
        if let Some(facts) = &known.facts {
            return Ok(Arc::clone(facts));
        }
        let facts = match &self.place.resource_group {
            Some(group) => self.read(group, calls).await?,
            None => self.search(calls).await?,
        };
        Ok(Arc::clone(known.facts.insert(Arc::new(facts))))
    }

    /// Resource id, without asking where the configuration names the resource group.
    ///
    /// # Errors
    /// Where it has to be asked for and cannot be found.
    pub async fn id(&self, calls: &mut Calls) -> Result<String, Error> {
        match &self.place.resource_group {
            Some(group) => Ok(self.path(group)),
            None => Ok(self.facts(calls).await?.id.clone()),
        }
    }

    /// `…/modelmanagement/v1.0/subscriptions/…/workspaces/…`: what v1 services are below.
    ///
    /// # Errors
    /// Where the workspace or its region's services cannot be found.
    pub async fn model_management(&self, calls: &mut Calls) -> Result<Url, Error> {
        let mut known = self.known.lock().await;
        if let Some(base) = &known.model_management {
            return Ok(base.clone());
        }
        let facts = self.facts_of(&mut known, calls).await?;
        let base = discovery::model_management(&self.control, &facts, calls).await?;
        let below = format!("/modelmanagement/v1.0{}", self.path(&facts.resource_group));
        let url =
            base.below(&below).map_err(|why| Error::local("find model management", format!("{base}{below}: {why}")))?;
        Ok(known.model_management.insert(url).clone())
    }

    fn path(&self, group: &str) -> String {
        let Place { subscription, name, .. } = &self.place;
        format!(
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}",
            segment(subscription),
            segment(group),
            segment(name)
        )
    }

    async fn read(&self, group: &str, calls: &mut Calls) -> Result<Facts, Error> {
        let doing = format!("read workspace {} of resource group {group}", self.place.name);
        let url = self.control.manager(&format!("{}?api-version={API}", self.path(group)))?;
        let request = Request::get(Why::Workspace, doing, url);
        let reply = self.control.call(Ask { request, permission: WORKSPACE }, calls).await.map_err(|error| {
            match error.status() {
                Some(404) => error.advise(format!(
                    "is it in another resource group or subscription than {}? `scoregate workspace list` shows those that {} sees",
                    self.place.subscription,
                    self.control.tokens().who()
                )),
                _ => error,
            }
        })?;
        let answer: Answer = reply.json("a workspace")?;
        Ok(answer.facts())
    }

    /// By its name among all of the subscription.
    async fn search(&self, calls: &mut Calls) -> Result<Facts, Error> {
        let Place { subscription, name, .. } = &self.place;
        let all = list(&self.control, subscription, calls).await?;
        let count = all.len();
        let mut same = all.into_iter().filter(|facts| facts.name.eq_ignore_ascii_case(name));
        let doing = format!("find workspace {name} in subscription {subscription}");
        match (same.next(), same.next()) {
            (Some(facts), None) => Ok(facts),
            (Some(one), Some(other)) => {
                let what = format!(
                    "there is one in resource group {} and one in {}",
                    one.resource_group, other.resource_group
                );
                Err(Error::unusable(doing, what).advise("name the `resource_group`"))
            }
            (None, _) => {
                let what = format!("it is none of the {count} that {} sees there", self.control.tokens().who());
                Err(Error::unusable(doing, what)
                    .advise("is it in another subscription? `scoregate workspace list` shows them"))
            }
        }
    }

    /// Where one of its computes is.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn compute_region(&self, compute: &str, calls: &mut Calls) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Compute {
            #[serde(default)]
            properties: ComputeProperties,
        }
        #[derive(Default, Deserialize)]
        struct ComputeProperties {
            #[serde(rename = "computeLocation")]
            location: Option<String>,
        }
        let id = self.id(calls).await?;
        let url = self.control.manager(&format!("{id}/computes/{}?api-version={API}", segment(compute)))?;
        let request = Request::get(Why::Compute, format!("read compute {compute}"), url);
        let compute: Compute =
            self.control.call(Ask { request, permission: COMPUTE }, calls).await?.json("a compute")?;
        Ok(compute.properties.location)
    }

    /// What the identity may do here, as Azure's own rules add it up: for a check of what cannot be tried out.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn permissions(&self, calls: &mut Calls) -> Result<Vec<Grant>, Error> {
        let id = self.id(calls).await?;
        let target = format!("{id}/providers/Microsoft.Authorization/permissions?api-version={PERMISSIONS_API}");
        let ask = |url| Ask {
            request: Request::get(Why::Permissions, "read the permissions at the workspace", url),
            permission: PERMISSIONS,
        };
        self.control.list(self.control.manager(&target)?, ask, calls).await
    }
}

/// What one role assignment permits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Grant {
    #[serde(default)]
    actions: Vec<String>,
    #[serde(rename = "notActions", default)]
    not_actions: Vec<String>,
}

impl Grant {
    /// Whether an action is permitted: `*` stands for any text, letters' case does not matter.
    #[must_use]
    pub fn permits(&self, action: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, action));
        any(&self.actions) && !any(&self.not_actions)
    }
}

fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| action.strip_prefix(first)) else { return false };
    let Some((last, middle)) =
        pieces.clone().collect::<Vec<_>>().split_last().map(|(last, rest)| (*last, rest.to_vec()))
    else {
        return rest.is_empty();
    };
    for piece in middle {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// Workspaces of a subscription.
///
/// # Errors
/// Where they cannot be read.
pub async fn list(control: &Control, subscription: &str, calls: &mut Calls) -> Result<Vec<Facts>, Error> {
    let target = format!(
        "/subscriptions/{}/providers/Microsoft.MachineLearningServices/workspaces?api-version={API}",
        segment(subscription)
    );
    let doing = format!("list the workspaces of subscription {subscription}");
    let ask = |url| Ask { request: Request::get(Why::Workspaces, doing.clone(), url), permission: WORKSPACE };
    let all: Vec<Answer> = control.list(control.manager(&target)?, ask, calls).await?;
    Ok(all.into_iter().map(Answer::facts).collect())
}

/// Subscriptions that the identity sees.
///
/// # Errors
/// Where they cannot be read.
pub async fn subscriptions(control: &Control, calls: &mut Calls) -> Result<Vec<Subscription>, Error> {
    let first = control.manager(&format!("/subscriptions?api-version={SUBSCRIPTIONS_API}"))?;
    let ask = |url| Ask {
        request: Request::get(Why::Subscriptions, "list the subscriptions", url),
        permission: SUBSCRIPTIONS,
    };
    control.list(first, ask, calls).await
}

/// A tenant that a person may sign in to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tenant {
    /// Its id.
    #[serde(rename = "tenantId")]
    pub id: String,
    /// Its name.
    #[serde(rename = "displayName", default)]
    pub name: String,
}

/// Tenants that whoever is signed in may choose between.
///
/// # Errors
/// Where they cannot be read.
pub async fn tenants(control: &Control, calls: &mut Calls) -> Result<Vec<Tenant>, Error> {
    let first = control.manager(&format!("/tenants?api-version={SUBSCRIPTIONS_API}"))?;
    let ask = |url| Ask { request: Request::get(Why::Tenants, "list the tenants", url), permission: SUBSCRIPTIONS };
    control.list(first, ask, calls).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_added_up_as_azure_does() {
        let grant = |actions: &[&str], not_actions: &[&str]| Grant {
            actions: actions.iter().map(ToString::to_string).collect(),
            not_actions: not_actions.iter().map(ToString::to_string).collect(),
        };
        let action = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/regenerateKeys/action";
        assert!(grant(&["*"], &[]).permits(action));
        assert!(grant(&["microsoft.machinelearningservices/*/action"], &[]).permits(action));
        assert!(grant(&["Microsoft.MachineLearningServices/workspaces/*/regenerateKeys/*"], &[]).permits(action));
        assert!(grant(&[action], &[]).permits(action));
        assert!(!grant(&["*/read"], &[]).permits(action));
        assert!(!grant(&["*"], &["*/regenerateKeys/action"]).permits(action));
        assert!(!grant(&[&action[..action.len() - 1]], &[]).permits(action));
        assert!(!grant(&[], &[]).permits(action));
        assert!(!matches("ab*ba", "aba"));
    }

    #[test]
    fn the_resource_group_is_in_the_id_in_any_case() {
        for word in ["resourceGroups", "resourcegroups"] {
            let id = format!("/subscriptions/s/{word}/RG/providers/x/workspaces/w");
            let answer = Answer { id, name: "w".into(), location: String::new(), properties: Properties::default() };
            assert_eq!(answer.facts().resource_group, "RG");
        }
    }

    #[test]
    fn no_name_writes_to_a_terminal() {
        let id = format!("/subscriptions/s/resourceGroups/R\u{1b}[2J\nG{}/x", "x".repeat(500));
        let answer = Answer { id, name: "w\r\n".into(), location: "e\u{7}".into(), properties: Properties::default() };
        let facts = answer.facts();
        assert_eq!((&*facts.name, &*facts.region), ("w", "e"));
        assert!(facts.resource_group.starts_with("R[2JGxx") && facts.resource_group.len() == 90);
    }
}
