//! Clients of Azure for a configuration: one source of tokens for each identity, one memory for each workspace, however many
//! endpoints share them, and the same ones after a reload that did not change them.
//!
//! The gate and the commands of the command line get theirs here.

use std::{collections::HashMap, sync::Arc};

use crate::{
    azure::{
        control::Control,
        http::Http,
        identity::Identity,
        service::{self, ControlPlane},
        token::TokenSource,
        workspace::{self, Place},
    },
    config::model::{Config, Service, Workspace},
};

/// Where control planes of services come from: [`Clients`], or a test's fake.
pub trait Connect: Send {
    /// The control plane of a service; `None` where the configuration does not have what it names.
    fn connect(&mut self, config: &Config, service: &Service) -> Option<Arc<dyn ControlPlane>>;

    /// Lets go of what a configuration no longer names.
    fn forget_all_but(&mut self, config: &Config);
}

/// Clients of Azure.
#[derive(Debug)]
pub struct Clients {
    http: Http,
    tokens: HashMap<String, (Identity, Arc<dyn TokenSource>)>,
    workspaces: HashMap<(String, Place), Arc<workspace::Workspace>>,
}

impl Clients {
    /// None yet.
    #[must_use]
    pub fn new(http: Http) -> Self {
        Self { http, tokens: HashMap::new(), workspaces: HashMap::new() }
    }

    /// The way to Azure.
    #[must_use]
    pub const fn http(&self) -> &Http {
        &self.http
    }

    /// Tokens of an identity.
    pub fn tokens(&mut self, identity: &Identity) -> Arc<dyn TokenSource> {
        if let Some((same, tokens)) = self.tokens.get(&identity.name)
            && same == identity
        {
            return Arc::clone(tokens);
        }
        // Workspaces that were asked with the old ones must not go on with them.
        self.workspaces.retain(|(name, _), _| *name != identity.name);
        let tokens = identity.tokens(&self.http);
        self.tokens.insert(identity.name.clone(), (identity.clone(), Arc::clone(&tokens)));
        tokens
    }

    /// A workspace, asked as an identity.
    pub fn workspace(&mut self, identity: &Identity, place: &Place) -> Arc<workspace::Workspace> {
        let tokens = self.tokens(identity);
        let known = self.workspaces.entry((identity.name.clone(), place.clone())).or_insert_with(|| {
            let control = Control::new(&self.http, tokens, identity.cloud.clone());
            Arc::new(workspace::Workspace::new(Arc::new(control), place.clone()))
        });
        Arc::clone(known)
    }

    /// A workspace of a configuration.
    pub fn configured(&mut self, config: &Config, workspace: &Workspace) -> Option<Arc<workspace::Workspace>> {
        let identity = config.identities.iter().find(|identity| identity.name == workspace.identity)?;
        Some(self.workspace(identity, &workspace.place))
    }
}

impl Connect for Clients {
    fn connect(&mut self, config: &Config, service: &Service) -> Option<Arc<dyn ControlPlane>> {
        let workspace = config.workspaces.iter().find(|workspace| workspace.name == service.workspace)?;
        let workspace = self.configured(config, workspace)?;
        Some(service::connect(workspace, service.name.clone()))
    }

    fn forget_all_but(&mut self, config: &Config) {
        self.tokens.retain(|name, _| config.identities.iter().any(|identity| identity.name == *name));
        let named = |identity: &String, place: &Place| {
            config.workspaces.iter().any(|workspace| workspace.identity == *identity && workspace.place == *place)
        };
        self.workspaces.retain(|(identity, place), _| named(identity, place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        azure::{
            cloud::Known,
            http::{Attempts, Proxies},
            identity::{Kind, TokenEndpoint, azure_cli::AzureCli},
        },
        clock::Clock,
    };

    fn identity(tenant: &str) -> Identity {
        let kind = Kind::AzureCli(AzureCli { program: "az".into(), tenant: Some(tenant.to_owned()) });
        Identity { name: "default".into(), kind, cloud: Known::Public.cloud(), endpoint: TokenEndpoint::V2 }
    }

    #[test]
    fn what_did_not_change_is_shared_and_survives() {
        let mut clients = Clients::new(Http::new(Proxies::none(), Clock::manual(0), Attempts::ONE));
        let place = Place { subscription: "s".into(), resource_group: None, name: "w".into() };
        let one = clients.workspace(&identity("a"), &place);
        assert!(Arc::ptr_eq(&one, &clients.workspace(&identity("a"), &place)));
        let other = clients.workspace(&identity("b"), &place);
        assert!(!Arc::ptr_eq(&one, &other), "another identity never asks with the old one's tokens");
    }
}
