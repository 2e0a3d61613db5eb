//! A request to Azure's control plane: the resource manager's or the regional model management's, with our token on it.
//!
//! `workspace` and `service` send everything through `Control::call`. A token that is refused is replaced once, and only if it
//! was not fetched for this very request; a missing role is named with the file that has it.

use std::sync::Arc;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use http::header;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    calls::{Calls, Why},
    cloud::Cloud,
    error::Error,
    http::{Body, Http, Reply, Request},
    permissions::Permission,
    token::{TokenSource, Wanted},
    url::Url,
};

/// Pages of a list that are followed: more workspaces than any subscription has.
const MOST_PAGES: usize = 50;

/// The control plane, as one identity sees it.
#[derive(Debug)]
pub struct Control {
    http: Http,
    tokens: Arc<dyn TokenSource>,
    cloud: Cloud,
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) request: Request,
    pub(super) permission: Permission,
}

impl Control {
    /// The control plane of a cloud.
    #[must_use]
    pub fn new(http: &Http, tokens: Arc<dyn TokenSource>, cloud: Cloud) -> Self {
        Self { http: http.trusting(cloud.trust()), tokens, cloud }
    }

    /// Which cloud.
    #[must_use]
    pub const fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Whose tokens.
    #[must_use]
    pub fn tokens(&self) -> &Arc<dyn TokenSource> {
        &self.tokens
    }

    /// The client, for what needs no token.
    pub(super) const fn http(&self) -> &Http {
        &self.http
    }

    /// An address of the resource manager.
    pub(super) fn manager(&self, target: &str) -> Result<Url, Error> {
        let base = &self.cloud.resource_manager;
        base.below(target).map_err(|why| Error::local("ask the resource manager", format!("{base}{target}: {why}")))
    }

    /// Whether an address that the resource manager handed out is one of its own: itself, or a regional name below it.
    pub(super) fn is_manager(&self, url: &Url) -> bool {
        let own = &self.cloud.resource_manager;
        let below = format!(".{}", own.host().to_ascii_lowercase());
        let regional = url.is_tls() == own.is_tls()
            && url.port() == own.port()
            && url.host().to_ascii_lowercase().ends_with(&below);
        url.has_origin_of(own) || regional
    }

    /// Asks, and gives back a success.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn call(&self, ask: Ask, calls: &mut Calls) -> Result<Reply, Error> {
        let Ask { request, permission } = ask;
        let audience = &self.cloud.audience;
        let before = calls.count(Why::SignIn);
        let bearer = self.tokens.token(audience, Wanted::Valid, calls).await?;
        let is_fresh = calls.count(Why::SignIn) > before;
        let again = copy(&request);
        let reply =
            self.http.call(request.with_secret(header::AUTHORIZATION, "Bearer ", &bearer.value)?, calls).await?;
        let reply = match (reply.status, claims_challenge(&reply)) {
            (401, Some(claims)) => Some(Wanted::WithClaims(claims)),
            (401, None) if !is_fresh => Some(Wanted::Instead(Arc::clone(&bearer))),
            _ => None,
        }
        .map_or(Ok(reply), Err);
        let reply = match reply {
            Ok(reply) => reply,
            Err(wanted) => {
                let bearer = self.tokens.token(audience, wanted, calls).await?;
                self.http.call(again.with_secret(header::AUTHORIZATION, "Bearer ", &bearer.value)?, calls).await?
            }
        };
        reply.success().map_err(|error| self.explained(error, permission))
    }

    /// A list, page by page.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        mut next: Url,
        ask: impl Fn(Url) -> Ask,
        calls: &mut Calls,
    ) -> Result<Vec<T>, Error> {
        #[derive(Deserialize)]
        struct Page<T> {
            value: Vec<T>,
            #[serde(rename = "nextLink")]
            next: Option<String>,
        }
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let base = next.clone();
            let reply = self.call(ask(next), calls).await?;
            let page: Page<T> = reply.json("a list")?;
            all.extend(page.value);
            next = match page.next.filter(|next| !next.is_empty()).map(|next| Url::parse(&next)) {
                None => return Ok(all),
                Some(Ok(url)) if url.has_origin_of(&base) => url,
                Some(_) => return Err(reply.malformed("a next page at another address", "one at the same")),
            };
        }
        Ok(all)
    }

    fn explained(&self, error: Error, permission: Permission) -> Error {
        let Some(refusal) = error.refusal() else { return error };
        let who = self.tokens.who();
        match refusal.status {
            401 => {
                let advice = format!(
                    "the token of {who} is not taken there: is the subscription in its tenant, `cloud` right, and this machine's clock?"
                );
                error.advise(advice)
            }
            403 => {
                let file = permission.role.file();
                let advice = match refusal.denied_action() {
                    // One that we know nothing of: our role alone would not do.
                    Some(action) if !permission.role.has(action) => {
                        format!("{who} needs a role with {action}, beside what {file} has")
                    }
                    denied => {
                        let action = denied.unwrap_or(permission.action);
                        format!("{who} needs a role with {action}, such as the one in {file}")
                    }
                };
                error.advise(advice)
            }
            _ => error,
        }
    }
}

/// The request, for a second sending: without a token yet.
fn copy(request: &Request) -> Request {
    Request {
        doing: request.doing.clone(),
        method: request.method.clone(),
        url: request.url.clone(),
        fields: request.fields.clone(),
        body: request.body.clone(),
        secrets: request.secrets.clone(),
        ..*request
    }
}

/// What a token must say besides, where the answer asks for that: `WWW-Authenticate: Bearer …, error="insufficient_claims",
/// claims="BASE64"`.
/// <https://learn.microsoft.com/entra/identity-platform/claims-challenge>
fn claims_challenge(reply: &Reply) -> Option<String> {
    let challenge = reply.field("www-authenticate")?;
    let (_, rest) = challenge.split_once("claims=\"")?;
    let (encoded, _) = rest.split_once('"')?;
    if !challenge.contains("insufficient_claims") {
        return None;
    }
    let encoded = encoded.trim_end_matches('=');
    let bytes = URL_SAFE_NO_PAD.decode(encoded).or_else(|_other_alphabet| STANDARD_NO_PAD.decode(encoded)).ok()?;
    String::from_utf8(bytes).ok().filter(|claims| serde_json::from_str::<serde_json::Value>(claims).is_ok())
}

/// An empty POST that changes nothing.
pub(super) fn empty_post(why: Why, doing: String, url: Url) -> Request {
    Request::post(why, doing, url, Body::None)
}
