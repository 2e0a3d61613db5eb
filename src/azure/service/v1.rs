//! v1 web services, on Container Instances and on Kubernetes: the region's model management.
//!
//! The wire is that of Microsoft's `azureml-core` and of the published `modelManagement.json` (2019-12-01 preview). These calls
//! have no api-version.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;

use super::{
    Auth, BoxFuture, ControlPlane, Description, KeyPair, Kind, Name, Regenerated, ServiceToken,
    operation::{self, Operation, Progress},
    read_keys, read_token, regenerate_body, slot_word,
};
use crate::{
    azure::{
        calls::{Calls, Why},
        control::{Ask, empty_post},
        error::Error,
        http::{Body, Repeat, Request},
        permissions::{ACI_KEYS, ACI_REGENERATE, AKS_KEYS, AKS_REGENERATE, Permission, SERVICE, WORKSPACE},
        url::{Url, segment},
        workspace::Workspace,
    },
    config::model::Slot,
    secret::Secret,
};

/// What regenerating needs.
#[must_use]
pub const fn regenerate_permission(kind: Kind) -> Permission {
    match kind {
        Kind::Aci => ACI_REGENERATE,
        Kind::Aks | Kind::Online => AKS_REGENERATE,
    }
}

/// A v1 web service.
#[derive(Debug)]
pub struct WebService {
    workspace: Arc<Workspace>,
    name: Name,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    compute_type: String,
    auth_enabled: Option<bool>,
    /// Tokens of Azure ML's, whatever its name says.
    aad_auth_enabled: Option<bool>,
    scoring_uri: Option<String>,
    state: Option<String>,
    location: Option<String>,
    compute_name: Option<String>,
}

impl Answer {
    /// A service reports keys, tokens or neither, never both.
    fn auth(&self) -> Option<Auth> {
        match (self.auth_enabled, self.aad_auth_enabled.unwrap_or(false)) {
            (Some(true), false) => Some(Auth::Key),
            (Some(false) | None, true) => Some(Auth::Token),
            (Some(false), false) => Some(Auth::Open),
            (Some(true), true) | (None, false) => None,
        }
    }

    fn is(&self, kind: Kind) -> bool {
        match kind {
            Kind::Aci => self.compute_type == "ACI",
            Kind::Aks => matches!(self.compute_type.as_str(), "AKS" | "AKSENDPOINT"),
            Kind::Online => false,
        }
    }
}

impl WebService {
    /// A service that nothing is known of yet.
    #[must_use]
    pub const fn new(workspace: Arc<Workspace>, name: Name) -> Self {
        Self { workspace, name }
    }

    /// `…/services/NAME`, and what is below it.
    async fn address(&self, below: &str, calls: &mut Calls) -> Result<Url, Error> {
        let base = self.workspace.model_management(calls).await?;
        let below = format!("/services/{}{below}", segment(&self.name.name));
        base.below(&below).map_err(|why| Error::local(format!("use {}", self.name), format!("{base}{below}: {why}")))
    }

    fn explained(&self, error: Error) -> Error {
        match error.status() {
            Some(404) => error.advise(format!(
                "workspace {} has no web service of that name; online endpoints are `kind: online`",
                self.workspace.place().name
            )),
            _ => error,
        }
    }

    async fn described(&self, calls: &mut Calls) -> Result<Description, Error> {
        let url = self.address("?expand=true", calls).await?;
        let request = Request::get(Why::Service, format!("read {}", self.name), url);
        let ask = Ask { request, permission: SERVICE };
        let reply = self.workspace.control().call(ask, calls).await.map_err(|error| self.explained(error))?;
        let answer: Answer = reply.json("a web service")?;
        if !answer.is(self.name.kind) {
            let kind: String = answer.compute_type.chars().filter(|c| !c.is_control()).take(40).collect();
            let error = reply.unusable(format!("it is of the kind {kind}"));
            return Err(error.advise("write that as the service's `kind`, if it is aci or aks"));
        }
        let scoring = answer.scoring_uri.as_deref().filter(|uri| !uri.is_empty()).map(Url::parse).transpose();
        Ok(Description {
            scoring: scoring.map_err(|why| reply.unusable(format!("its scoring URI is {why}")))?,
            auth: answer.auth(),
            state: answer.state.unwrap_or_else(|| "unknown".to_owned()),
            region: answer.location,
            compute: answer.compute_name,
        })
    }

    async fn keys(&self, calls: &mut Calls) -> Result<KeyPair, Error> {
        let url = self.address("/listkeys", calls).await?;
        let request = empty_post(Why::ListKeys, format!("read the keys of {}", self.name), url);
        let permission = if self.name.kind == Kind::Aci { ACI_KEYS } else { AKS_KEYS };
        let reply = self.workspace.control().call(Ask { request, permission }, calls).await;
        read_keys(&reply.map_err(|error| self.explained(error))?)
    }

    async fn made_anew(&self, slot: Slot, value: Option<&Secret>, calls: &mut Calls) -> Result<Regenerated, Error> {
        let doing = format!("regenerate the {} key of {}", slot_word(slot), self.name);
        let body = regenerate_body(slot, value).map_err(|why| Error::local(&doing, why))?;
        let url = self.address("/regenerateKeys", calls).await?;
        let base = self.workspace.model_management(calls).await?;
        let request = Request {
            method: Method::POST,
            body: Body::Json(body),
            repeat: Repeat::WhileUndone,
            secrets: value.into_iter().cloned().collect(),
            ..Request::get(Why::Regenerate, doing, url)
        };
        let ask = Ask { request, permission: regenerate_permission(self.name.kind) };
        let reply = self.workspace.control().call(ask, calls).await.map_err(|error| self.explained(error))?;
        Ok(match (operation::of_model_management(&reply, &base), reply.status) {
            (Some(operation), _) => Regenerated::Started(operation, reply.retry_after()),
            (None, 202) => Regenerated::Untracked,
            (None, _) => Regenerated::Done,
        })
    }

    async fn standing(&self, operation: &Operation, calls: &mut Calls) -> Result<Progress, Error> {
        let doing = format!("look how an operation on {} stands", self.name);
        let base = self.workspace.model_management(calls).await?;
        // What was kept over a restart may be from before a move.
        if !operation.url().has_origin_of(&base) {
            return Err(Error::unusable(doing, format!("{} is not where model management is", operation.url())));
        }
        let request = Request::get(Why::Poll, doing, operation.url().clone());
        let reply = self.workspace.control().call(Ask { request, permission: SERVICE }, calls).await?;
        operation::read(&reply, operation, self.workspace.control())
    }

    async fn fetched(&self, auth: Auth, calls: &mut Calls) -> Result<ServiceToken, Error> {
        let doing = format!("fetch a token of {}", self.name);
        if self.name.kind == Kind::Aci {
            let error = Error::local(doing, "services on Container Instances have keys or nothing, never tokens");
            return Err(error.advise("write `auth: key`, or deploy it on AKS"));
        }
        if auth == Auth::Entra {
            let error =
                Error::local(doing, "a web service takes tokens of Azure ML's alone, none of the identity provider's");
            return Err(error.advise("write `auth: token`"));
        }
        let url = self.address("/token", calls).await?;
        let request = empty_post(Why::Token, doing, url);
        let reply = self.workspace.control().call(Ask { request, permission: WORKSPACE }, calls).await;
        let reply = reply.map_err(|error| match error.status() {
            Some(400) => error.advise("is token authentication on for this service? `auth: key` uses its keys"),
            _ => self.explained(error),
        })?;
        read_token(&reply)
    }
}

impl ControlPlane for WebService {
    fn resource_id<'a>(&'a self, calls: &'a mut Calls) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(
            async move { Ok(format!("{}/services/{}", self.workspace.id(calls).await?, segment(&self.name.name))) },
        )
    }

    fn describe<'a>(&'a self, calls: &'a mut Calls) -> BoxFuture<'a, Result<Description, Error>> {
        Box::pin(self.described(calls))
    }

    fn list_keys<'a>(&'a self, calls: &'a mut Calls) -> BoxFuture<'a, Result<KeyPair, Error>> {
        Box::pin(self.keys(calls))
    }

    fn regenerate<'a>(
        &'a self,
        slot: Slot,
        value: Option<&'a Secret>,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<Regenerated, Error>> {
        Box::pin(self.made_anew(slot, value, calls))
    }

    fn poll<'a>(&'a self, operation: &'a Operation, calls: &'a mut Calls) -> BoxFuture<'a, Result<Progress, Error>> {
        Box::pin(self.standing(operation, calls))
    }

    fn token<'a>(
        &'a self,
        auth: Auth,
        _refused: Option<&'a Secret>,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<ServiceToken, Error>> {
        Box::pin(self.fetched(auth, calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(json: &str) -> Option<Auth> {
        serde_json::from_str::<Answer>(json).unwrap().auth()
    }

    #[test]
    fn a_service_wants_what_it_says_and_nothing_is_guessed() {
        assert_eq!(auth(r#"{"computeType":"ACI","authEnabled":true}"#), Some(Auth::Key));
        assert_eq!(auth(r#"{"computeType":"ACI","authEnabled":false}"#), Some(Auth::Open));
        assert_eq!(auth(r#"{"computeType":"AKS","authEnabled":false,"aadAuthEnabled":true}"#), Some(Auth::Token));
        assert_eq!(auth(r#"{"computeType":"AKS","authEnabled":true,"aadAuthEnabled":true}"#), None);
        assert_eq!(auth(r#"{"computeType":"AKS","authEnabled":null,"aadAuthEnabled":null}"#), None);
        assert_eq!(auth(r#"{"computeType":"IOT"}"#), None);
    }
}
