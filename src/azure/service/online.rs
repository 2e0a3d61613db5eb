//! v2 online endpoints: the resource manager.
//!
//! The wire is that of Microsoft's `azure-ai-ml`, but for one thing: that library sends the present key back when it regenerates,
//! which read literally sets the key to itself. Here the slot is sent alone.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;

use super::{
    Auth, BoxFuture, ControlPlane, Description, KeyPair, Name, Regenerated, ServiceToken,
    operation::{self, Operation, Progress},
    read_keys, read_token, regenerate_body, slot_word,
};
use crate::{
    azure::{
        calls::{Calls, Why},
        control::{Ask, empty_post},
        error::Error,
        http::{Body, Repeat, Request},
        permissions::{ONLINE, ONLINE_KEYS, ONLINE_REGENERATE, ONLINE_TOKEN},
        token::Wanted,
        url::{Url, segment},
        workspace::Workspace,
    },
    config::model::Slot,
    secret::Secret,
};

/// The version that Microsoft's documentation uses for these calls.
const API: &str = "2023-04-01";

/// An online endpoint.
#[derive(Debug)]
pub struct OnlineEndpoint {
    workspace: Arc<Workspace>,
    name: Name,
}

#[derive(Deserialize)]
struct Answer {
    location: Option<String>,
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    auth_mode: Option<String>,
    scoring_uri: Option<String>,
    provisioning_state: Option<String>,
}

/// `Key`, `AMLToken`, `AADToken`, in any case.
fn auth(mode: Option<&str>) -> Option<Auth> {
    match mode?.to_ascii_lowercase().as_str() {
        "key" => Some(Auth::Key),
        "amltoken" => Some(Auth::Token),
        "aadtoken" => Some(Auth::Entra),
        _ => None,
    }
}

impl OnlineEndpoint {
    /// An endpoint that nothing is known of yet.
    #[must_use]
    pub const fn new(workspace: Arc<Workspace>, name: Name) -> Self {
        Self { workspace, name }
    }

    async fn id(&self, calls: &mut Calls) -> Result<String, Error> {
        Ok(format!("{}/onlineEndpoints/{}", self.workspace.id(calls).await?, segment(&self.name.name)))
    }

    async fn address(&self, below: &str, calls: &mut Calls) -> Result<Url, Error> {
        let id = self.id(calls).await?;
        self.workspace.control().manager(&format!("{id}{below}?api-version={API}"))
    }

    fn explained(&self, error: Error) -> Error {
        match (error.status(), error.refusal().map(|refusal| refusal.code.as_str())) {
            (Some(404), Some("ResourceGroupNotFound" | "SubscriptionNotFound")) => {
                error.advise("are the workspace's subscription and resource group right? `scoregate workspace list` shows them")
            }
            (Some(404), _) => error.advise(format!(
                "workspace {} has no online endpoint of that name, or is not there; web services are `kind: aci` or `aks`",
                self.workspace.place().name
            )),
            (Some(409), _) => error.advise("another operation runs on it: try again when that has ended"),
            _ => error,
        }
    }

    async fn described(&self, calls: &mut Calls) -> Result<Description, Error> {
        let url = self.address("", calls).await?;
        let request = Request::get(Why::Service, format!("read {}", self.name), url);
        let ask = Ask { request, permission: ONLINE };
        let reply = self.workspace.control().call(ask, calls).await.map_err(|error| self.explained(error))?;
        let Answer { location, properties } = reply.json("an online endpoint")?;
        let scoring = properties.scoring_uri.as_deref().filter(|uri| !uri.is_empty()).map(Url::parse).transpose();
        Ok(Description {
            scoring: scoring.map_err(|why| reply.unusable(format!("its scoring URI is {why}")))?,
            auth: auth(properties.auth_mode.as_deref()),
            state: properties.provisioning_state.unwrap_or_else(|| "unknown".to_owned()),
            region: location,
            compute: None,
        })
    }

    async fn keys(&self, calls: &mut Calls) -> Result<KeyPair, Error> {
        let url = self.address("/listKeys", calls).await?;
        let request = empty_post(Why::ListKeys, format!("read the keys of {}", self.name), url);
        let reply = self.workspace.control().call(Ask { request, permission: ONLINE_KEYS }, calls).await;
        read_keys(&reply.map_err(|error| self.explained(error))?)
    }

    async fn made_anew(&self, slot: Slot, value: Option<&Secret>, calls: &mut Calls) -> Result<Regenerated, Error> {
        let doing = format!("regenerate the {} key of {}", slot_word(slot), self.name);
        let body = regenerate_body(slot, value).map_err(|why| Error::local(&doing, why))?;
        let request = Request {
            method: Method::POST,
            body: Body::Json(body),
            repeat: Repeat::WhileUndone,
            secrets: value.into_iter().cloned().collect(),
            ..Request::get(Why::Regenerate, doing, self.address("/regenerateKeys", calls).await?)
        };
        let control = self.workspace.control();
        let reply = control.call(Ask { request, permission: ONLINE_REGENERATE }, calls).await;
        let reply = reply.map_err(|error| self.explained(error))?;
        if reply.status != 202 {
            return Ok(Regenerated::Done);
        }
        Ok(match operation::of_manager(&reply, control)? {
            Some(operation) => Regenerated::Started(operation, reply.retry_after()),
            None => Regenerated::Untracked,
        })
    }

    async fn standing(&self, operation: &Operation, calls: &mut Calls) -> Result<Progress, Error> {
        let doing = format!("look how an operation on {} stands", self.name);
        let control = self.workspace.control();
        if !control.is_manager(operation.url()) {
            return Err(Error::unusable(doing, format!("{} is not the resource manager", operation.url())));
        }
        let request = Request::get(Why::Poll, doing, operation.url().clone());
        let reply = control.call(Ask { request, permission: ONLINE }, calls).await?;
        operation::read(&reply, operation, control)
    }

    async fn fetched(&self, auth: Auth, refused: Option<&Secret>, calls: &mut Calls) -> Result<ServiceToken, Error> {
        let control = self.workspace.control();
        if auth == Auth::Entra {
            let audience = &control.cloud().scoring;
            let mut bearer = control.tokens().token(audience, Wanted::Valid, calls).await?;
            if refused == Some(&bearer.value) {
                bearer = control.tokens().token(audience, Wanted::Instead(bearer), calls).await?;
            }
            let now = control.http().clock().now();
            let at = |moment: crate::clock::Moment| {
                let left = i64::try_from(moment.since(now).as_secs()).unwrap_or(i64::MAX);
                i64::try_from(control.http().clock().unix_seconds()).unwrap_or(i64::MAX).saturating_add(left)
            };
            // On our own clock already, so nobody is ahead.
            let (expires_unix, refresh_unix) = (at(bearer.expires), at(bearer.renew));
            return Ok(ServiceToken { value: bearer.value.clone(), expires_unix, refresh_unix, ahead: None });
        }
        let request =
            empty_post(Why::Token, format!("fetch a token of {}", self.name), self.address("/token", calls).await?);
        let reply = control.call(Ask { request, permission: ONLINE_TOKEN }, calls).await.map_err(|error| match error.status() {
            Some(400) => error.advise("is its `auth_mode` aml_token? `auth: key` uses its keys, `auth: entra` the identity provider's tokens"),
            _ => self.explained(error),
        })?;
        read_token(&reply)
    }
}

impl ControlPlane for OnlineEndpoint {
    fn resource_id<'a>(&'a self, calls: &'a mut Calls) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(self.id(calls))
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
        refused: Option<&'a Secret>,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<ServiceToken, Error>> {
        Box::pin(self.fetched(auth, refused, calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_in_any_case_and_unknown_ones_not_guessed() {
        for (mode, expected) in [
            ("Key", Some(Auth::Key)),
            ("key", Some(Auth::Key)),
            ("AMLToken", Some(Auth::Token)),
            ("aadtoken", Some(Auth::Entra)),
            ("Passkey", None),
        ] {
            assert_eq!(auth(Some(mode)), expected, "{mode}");
        }
        assert_eq!(auth(None), None);
    }
}
