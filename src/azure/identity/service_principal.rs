//! Signing in as an application: OAuth's client credentials grant (RFC 6749 section 4.4), proven by a secret, a certificate, or
//! a token of somebody whom the application trusts.
//!
//! `service_principal`, `sdk_auth`, `environment` and `workload_identity` of the configuration all end here.

use super::{
    Identity, TokenEndpoint,
    assertion::{self, AppCertificate},
    federated::TokenFile,
    oauth::{self, Form},
};
use crate::{
    azure::{
        calls::{Calls, Why},
        cloud::Audience,
        error::Error,
        http::Http,
        token::Fetched,
    },
    secret::Secret,
};

/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An application of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The tenant: an id or a domain.
    pub tenant: String,
    /// The application's id, which Azure also calls client id.
    pub client: String,
    /// How it proves who it is.
    pub proof: Proof,
}

/// How an application proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By a password.
    Secret(Secret),
    /// By signing with the key of a certificate that is registered for it.
    Certificate(AppCertificate),
    /// By a token that somebody else issues to this machine into a file.
    Federated(TokenFile),
}

/// What a token is wanted for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) audience: &'a Audience,
    pub(super) claims: Option<&'a str>,
}

impl Application {
    pub(super) fn who(&self) -> String {
        format!("application {} of tenant {}", self.client, self.tenant)
    }

    pub(super) async fn fetch(
        &self,
        identity: &Identity,
        http: &Http,
        wish: Wish<'_>,
        calls: &mut Calls,
    ) -> Result<Fetched, Error> {
        let doing = format!("sign in as {}", self.who());
        let url = oauth::address(identity, &self.tenant, "token")?;
        let form = Form::default().with("grant_type", "client_credentials").with("client_id", &self.client);
        let form = form.for_audience(identity.endpoint, wish.audience, "");
        let form = match (wish.claims, identity.endpoint) {
            (Some(claims), TokenEndpoint::V2) => form.with("claims", claims),
            (Some(_), TokenEndpoint::V1) | (None, _) => form,
        };
        let form = match &self.proof {
            Proof::Secret(secret) => form.with_secret("client_secret", secret),
            Proof::Certificate(certificate) => {
                let subject = assertion::Subject {
                    client: &self.client,
                    audience: &format!("{}{}", url.origin(), url.target()),
                    endpoint: identity.endpoint,
                    now_unix: http.clock().unix_seconds(),
                };
                let signed = assertion::sign(certificate, &subject).map_err(|why| Error::local(&doing, why))?;
                form.with("client_assertion_type", ASSERTION_TYPE).with_secret("client_assertion", &signed)
            }
            Proof::Federated(file) => {
                let token = file.read().await.map_err(|why| Error::local(&doing, why))?;
                form.with("client_assertion_type", ASSERTION_TYPE).with_secret("client_assertion", &token)
            }
        };
        let request = form.request(Why::SignIn, &doing, url);
        let (answer, reply) = oauth::token(http, request, calls).await?;
        answer.fetched(&reply, http.clock().unix_seconds())
    }
}
