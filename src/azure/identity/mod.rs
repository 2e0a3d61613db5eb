//! Who scoregate is, to Azure: one kind for each identity, as configured, and never another one tried in its place.
//!
//! `config` makes an [`Identity`] out of what was written or found in the environment; [`Identity::tokens`] turns it into the
//! one seam that everything else sees, a [`TokenSource`]. Each kind is a file of its own.

pub mod assertion;
pub mod azure_cli;
pub mod browser;
pub mod cache;
pub mod device_code;
pub mod environment;
pub mod federated;
pub mod login;
pub mod managed;
mod oauth;
pub mod sdk_auth;
pub mod service_principal;

use std::sync::Arc;

use self::{azure_cli::AzureCli, login::Login, managed::Managed, service_principal::Application};
use super::{
    BoxFuture,
    calls::Calls,
    cloud::{Audience, Cloud},
    error::Error,
    http::Http,
    token::{Fetch, Fetched, Remembered, TokenSource},
};

pub(super) use self::oauth::{Number, SecretText};

/// Who scoregate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What the configuration calls it.
    pub name: String,
    /// How it signs in.
    pub kind: Kind,
    /// Where.
    pub cloud: Cloud,
    /// At which form of the token endpoint.
    pub endpoint: TokenEndpoint,
}

/// How an identity signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// As an application: a service principal, however its parts were found.
    Application(Application),
    /// As the machine itself.
    Managed(Managed),
    /// As whoever signed in with `az`.
    AzureCli(AzureCli),
    /// As whoever signed in with `scoregate login`.
    Login(Login),
}

/// The two forms of the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenEndpoint {
    /// `…/oauth2/token`, which takes a `resource`.
    V1,
    /// `…/oauth2/v2.0/token`, which takes a `scope`.
    #[default]
    V2,
}

impl Identity {
    /// Tokens of this identity, remembered while they are valid.
    #[must_use]
    pub fn tokens(&self, http: &Http) -> Arc<dyn TokenSource> {
        let http = http.trusting(self.cloud.trust());
        let clock = http.clock().clone();
        Arc::new(Remembered::new(SignIn { identity: self.clone(), http }, clock))
    }

    /// What is signed in, for messages.
    #[must_use]
    pub fn who(&self) -> String {
        match &self.kind {
            Kind::Application(application) => application.who(),
            Kind::Managed(managed) => managed.who(),
            Kind::AzureCli(_) => "whoever is signed in with `az`".to_owned(),
            Kind::Login(_) => "whoever signed in with `scoregate login`".to_owned(),
        }
    }
}

/// An identity with the way to its provider.
#[derive(Debug)]
struct SignIn {
    identity: Identity,
    http: Http,
}

impl Fetch for SignIn {
    fn fetch<'a>(
        &'a self,
        audience: &'a Audience,
        claims: Option<&'a str>,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        let Self { identity, http } = self;
        match &identity.kind {
            Kind::Application(application) => {
                let wish = service_principal::Wish { audience, claims };
                Box::pin(application.fetch(identity, http, wish, calls))
            }
            Kind::Managed(managed) => Box::pin(managed.fetch(http, audience, calls)),
            Kind::AzureCli(cli) => Box::pin(cli.fetch(http.clock(), audience)),
            Kind::Login(login) => Box::pin(login.fetch(identity, http, audience, calls)),
        }
    }

    fn who(&self) -> String {
        self.identity.who()
    }
}
