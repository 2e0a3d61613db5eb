//! The issuers of a configuration: what their tokens must be, which keys of theirs are known, and who must be told when a key is
//! missing. Carried from one build to the next, so that what did not change keeps its identity, hence the workers' verdicts.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::Notify;

use crate::{
    config::model::{CallerKind, IssuerKeys as Where, KeySource, TokenCaller},
    ids::{KeySetId, RulesId},
    jwt::{key_set::KeySet, terms::Terms},
    proxy::auth::token::{IssuerKeys, TokenRules},
};

/// Issuers.
#[derive(Debug, Default)]
pub struct Issuers {
    /// By the caller's name.
    rules: HashMap<String, Known>,
    published: HashMap<KeySource, Published>,
    /// By the digest of the document.
    files: HashMap<[u8; 32], Arc<IssuerKeys>>,
    /// By position of the caller.
    callers: Vec<Option<Origin>>,
}

#[derive(Debug)]
struct Known {
    terms: Terms,
    source: Option<KeySource>,
    rules: Arc<TokenRules>,
}

/// What an issuer publishes.
#[derive(Debug, Clone, Default)]
struct Published {
    /// Told when a token is signed with a key that is not known.
    wanted: Arc<Notify>,
    keys: Option<Arc<IssuerKeys>>,
}

#[derive(Debug, Clone)]
enum Origin {
    File([u8; 32]),
    Published(KeySource),
}

impl Issuers {
    /// Notes the next caller, in the order of positions; gives what its tokens must be, where it shows tokens.
    pub fn add(&mut self, before: &Self, name: &str, kind: &CallerKind) -> Option<Arc<TokenRules>> {
        let token = match kind {
            CallerKind::Token(token) => Some(token),
            // Its managers' tokens.
            CallerKind::Service(service) => service.managers.as_ref(),
            CallerKind::Anonymous | CallerKind::Keys(_) | CallerKind::Certificate(_) => None,
        };
        let Some(token) = token else {
            self.callers.push(None);
            return None;
        };
        let origin = self.origin(before, &token.keys);
        let source = match &origin {
            Origin::Published(source) => Some(source.clone()),
            Origin::File(_) => None,
        };
        self.callers.push(Some(origin));
        Some(self.rules(before, name, token, source))
    }

    fn rules(&mut self, before: &Self, name: &str, token: &TokenCaller, source: Option<KeySource>) -> Arc<TokenRules> {
        let same = before.rules.get(name).filter(|known| known.terms == token.terms && known.source == source);
        let rules = same.map_or_else(
            || {
                let issuer = source.as_ref().and_then(|source| self.published.get(source));
                let issuer = issuer.map(|published| Arc::clone(&published.wanted));
                Arc::new(TokenRules { id: RulesId::fresh(), terms: token.terms.clone(), issuer })
            },
            |known| Arc::clone(&known.rules),
        );
        let known = Known { terms: token.terms.clone(), source, rules: Arc::clone(&rules) };
        self.rules.insert(name.to_owned(), known);
        rules
    }

    fn origin(&mut self, before: &Self, keys: &Where) -> Origin {
        match keys {
            Where::File(set) => {
                let digest = *set.digest();
                let fresh = || Arc::new(IssuerKeys { id: KeySetId::fresh(), set: Arc::clone(set) });
                self.files.entry(digest).or_insert_with(|| before.files.get(&digest).map_or_else(fresh, Arc::clone));
                Origin::File(digest)
            }
            Where::Published(source) => {
                let known = || before.published.get(source).cloned().unwrap_or_default();
                self.published.entry(source.clone()).or_insert_with(known);
                Origin::Published(source.clone())
            }
        }
    }

    /// Which keys callers' tokens are judged by, by position.
    #[must_use]
    pub fn keys(&self) -> Box<[Option<Arc<IssuerKeys>>]> {
        let keys = |origin: &Origin| match origin {
            Origin::File(digest) => self.files.get(digest).cloned(),
            Origin::Published(source) => self.published.get(source)?.keys.clone(),
        };
        self.callers.iter().map(|origin| origin.as_ref().and_then(keys)).collect()
    }

    /// Who publishes keys, and what tells that one is missing.
    #[must_use]
    pub fn sources(&self) -> Vec<(KeySource, Arc<Notify>)> {
        self.published.iter().map(|(source, published)| (source.clone(), Arc::clone(&published.wanted))).collect()
    }

    /// Notes what an issuer publishes. False where that is what is known, or nobody asks for it any more.
    pub fn learn(&mut self, source: &KeySource, set: KeySet) -> bool {
        let Some(published) = self.published.get_mut(source) else { return false };
        if published.keys.as_ref().is_some_and(|keys| keys.set.digest() == set.digest()) {
            return false;
        }
        published.keys = Some(Arc::new(IssuerKeys { id: KeySetId::fresh(), set: Arc::new(set) }));
        true
    }
}
