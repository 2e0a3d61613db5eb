//! Signing in as a person: `scoregate login` does it once with `browser` or `device_code`, and keeps a refresh token; from then on
//! a `login` identity of the configuration gets its tokens with that one, with nobody asked.

use std::sync::Arc;

use super::{
    Identity,
    cache::{Cache, Kept},
    oauth::{self, Form, TokenAnswer},
};
use crate::{
    azure::{
        calls::{Calls, Why},
        cloud::Audience,
        error::Error,
        http::{Http, Reply},
        token::{self, Fetched},
    },
    secret::Secret,
};

/// The application that Microsoft's own tools sign people in with.
pub const PUBLIC_CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
/// Whoever has a work or school account, in whatever tenant.
pub const ANY_TENANT: &str = "organizations";
/// What a person's sign-in asks for besides a resource: a refresh token, and who it is.
pub(super) const BESIDE: &str = "offline_access openid profile";

/// A person's sign-in that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Which tenant; the one signed in to last where none is named.
    pub tenant: Option<String>,
    /// The application that asks.
    pub client: String,
    /// Where it is kept; `None` where this user has no state directory.
    pub cache: Option<Cache>,
}

/// What came of a sign-in.
#[derive(Debug)]
pub struct SignedIn {
    /// To be kept.
    pub kept: Kept,
    /// A first token, for the audience that was asked for.
    pub fetched: Fetched,
}

impl Login {
    pub(super) async fn fetch(
        &self,
        identity: &Identity,
        http: &Http,
        audience: &Audience,
        calls: &mut Calls,
    ) -> Result<Fetched, Error> {
        let doing = "sign in with what `scoregate login` kept";
        let Some(cache) = &self.cache else {
            return Err(Error::local(doing, "neither XDG_STATE_HOME nor HOME says where that is"));
        };
        let kept = self.find(identity, cache.clone()).await.map_err(|why| Error::local(doing, why))?;
        let Some(kept) = kept else {
            let whom = self.tenant.as_ref().map_or_else(String::new, |tenant| format!(" to tenant {tenant}"));
            let error = Error::local(doing, format!("nobody has signed in{whom} at {}", identity.cloud.authority));
            return Err(error.advise("`scoregate login` does it"));
        };
        let signed_in = refresh(identity, http, &kept, audience, calls).await?;
        if signed_in.kept != kept {
            keep(cache.clone(), signed_in.kept).await;
        }
        Ok(signed_in.fetched)
    }

    async fn find(&self, identity: &Identity, cache: Cache) -> Result<Option<Kept>, String> {
        let kept = tokio::task::spawn_blocking(move || cache.read()).await.map_err(|error| error.to_string())?;
        let kept = kept.map_err(|error| error.to_string())?;
        let authority = identity.cloud.authority.origin();
        Ok(kept.into_iter().find(|kept| {
            kept.authority == authority
                && kept.client == self.client
                && self.tenant.as_ref().is_none_or(|tenant| tenant.eq_ignore_ascii_case(&kept.tenant))
        }))
    }
}

/// A newer refresh token that cannot be kept is a nuisance, not a failure: the old one works for now.
async fn keep(cache: Cache, kept: Kept) {
    let result = tokio::task::spawn_blocking(move || cache.keep(&kept)).await;
    if let Err(error) =
        result.map_err(|error| error.to_string()).and_then(|kept| kept.map_err(|error| error.to_string()))
    {
        tracing::warn!(error, "the sign-in could not be renewed in its file");
    }
}

/// A token for what was kept (RFC 6749 section 6); in another tenant, if that is named in `kept`.
///
/// # Errors
/// What the identity provider says.
pub async fn refresh(
    identity: &Identity,
    http: &Http,
    kept: &Kept,
    audience: &Audience,
    calls: &mut Calls,
) -> Result<SignedIn, Error> {
    let doing = format!("sign in again as {kept}");
    let form = Form::default()
        .with("grant_type", "refresh_token")
        .with("client_id", &kept.client)
        .with_secret("refresh_token", &kept.refresh_token)
        .for_audience(identity.endpoint, audience, BESIDE);
    let request = form.request(Why::SignIn, &doing, oauth::address(identity, &kept.tenant, "token")?);
    let http = http.trusting(identity.cloud.trust());
    let (answer, reply) = oauth::token(&http, request, calls).await?;
    let fetched = answer.fetched(&reply, http.clock().unix_seconds())?;
    let newer = answer.refresh_token.map(|token| token.0);
    let refresh_token = newer.unwrap_or_else(|| kept.refresh_token.clone());
    Ok(SignedIn { kept: Kept { refresh_token, ..kept.clone() }, fetched })
}

/// What a person's sign-in asks for.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Where, and at which form of the endpoint.
    pub identity: Arc<Identity>,
    /// The tenant; [`ANY_TENANT`] leaves it to the person.
    pub tenant: String,
    /// The application that asks.
    pub client: String,
    /// What the first token is for.
    pub audience: Audience,
}

impl Asking {
    /// Reads the answer to a sign-in.
    pub(super) fn signed_in(
        &self,
        answer: &TokenAnswer,
        reply: &Reply,
        nonce: Option<&str>,
        now_unix: u64,
    ) -> Result<SignedIn, Error> {
        let fetched = answer.fetched(reply, now_unix)?;
        let Some(refresh_token) = answer.refresh_token.as_ref().filter(|token| !token.0.expose_bytes().is_empty())
        else {
            return Err(reply.malformed("no refresh token", "one to be kept"));
        };
        // It came over TLS from the one who issued it, so its signature says nothing more (OpenID Connect Core, 3.1.3.7).
        let claims = answer.id_token.as_ref().and_then(|token| token::claims(&token.0));
        let text = |name: &str| claims.as_ref().and_then(|claims| claims.get(name)?.as_str());
        if let Some(nonce) = nonce
            && (text("nonce") != Some(nonce) || text("aud") != Some(self.client.as_str()))
        {
            return Err(reply.malformed("an answer to another sign-in", "the answer to this one"));
        }
        let tenant_of_token =
            token::claims(&fetched.value).and_then(|claims| claims.get("tid")?.as_str().map(str::to_owned));
        let tenant = text("tid").map(str::to_owned).or(tenant_of_token).unwrap_or_else(|| self.tenant.clone());
        let user = text("preferred_username").or_else(|| text("upn")).or_else(|| text("email"));
        Ok(SignedIn {
            kept: Kept {
                authority: self.identity.cloud.authority.origin(),
                tenant,
                client: self.client.clone(),
                user: user.map(str::to_owned),
                refresh_token: Secret::clone(&refresh_token.0),
            },
            fetched,
        })
    }
}
