//! Services that scoregate itself plays (`callers.*.service`): their keys and tokens, kept, changed and handed out.
//!
//! The gate owns one [`Played`]. What changes is on the disk before callers are judged by it. What callers are judged by reaches the
//! data plane as a [`ServiceFace`]; `manage` is what Microsoft's SDK speaks to.

pub mod kept;
pub mod manage;
pub mod owner;
mod payload;
pub mod seal;

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context;

use self::{
    kept::{Credentials, Key},
    seal::SealKey,
};
use super::durable;
use crate::{
    config::model::{CallerKind, Config, ServiceCaller},
    ids::{KeySetId, RulesId},
    proxy::auth::service::ServiceFace,
    random,
    service_auth::{AuthMode, Issued, KeyValue, Keys, Lifetimes, Regenerate, ServiceAuth, Slot},
};

const LARGEST: u64 = 1 << 20;
/// How long one key signs tokens.
const SIGNS: u64 = 86_400;
/// Operations that can be asked about.
const MOST_OPERATIONS: usize = 100;

/// What callers of services are judged by, by the service's name.
pub type Faces = HashMap<String, Arc<ServiceFace>>;

/// The services.
#[derive(Debug, Default)]
pub struct Played {
    state: Option<PathBuf>,
    services: HashMap<String, Service>,
    operations: VecDeque<Operation>,
}

#[derive(Debug)]
struct Service {
    config: ServiceCaller,
    seal: Option<SealKey>,
    credentials: Credentials,
    face: Arc<ServiceFace>,
    /// Unix seconds since which it is played.
    since: u64,
}

/// A key that was changed.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its name.
    pub id: String,
    /// Which service's.
    pub service: String,
    /// Unix seconds.
    pub at: u64,
}

/// Why a key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// There is no such service.
    #[error("there is no such service")]
    NoService,
    /// It has no use for keys.
    #[error("key authentication is off for this service")]
    NoKeys,
    /// Whoever is shut out with one key would come in with the other.
    #[error("that is the value of the other key")]
    OtherKey,
    /// It could not be kept: nothing has changed.
    #[error("it could not be kept, so nothing has changed: {0:#}")]
    NotKept(anyhow::Error),
}

impl Played {
    /// None yet. `state`: where they are kept.
    #[must_use]
    pub fn new(state: Option<PathBuf>) -> Self {
        Self { state, ..Self::default() }
    }

    /// Plays the services of a configuration, and no others. Reads and writes files.
    ///
    /// # Errors
    /// Where one of them cannot be gone on with; what was played before is still.
    pub fn adopt(&mut self, config: &Config, unix: u64) -> anyhow::Result<Faces> {
        let mut next = HashMap::new();
        for caller in &config.callers {
            let CallerKind::Service(service) = &caller.kind else { continue };
            let known = self.services.get(&caller.name);
            let played = match known.filter(|known| known.config.seal_key == service.seal_key) {
                Some(known) => {
                    let seal = service.seal_key.as_ref().map(SealKey::new).transpose()?;
                    Service::new(&caller.name, service, seal, known.credentials.clone(), known.since)
                }
                None => {
                    self.resume(&caller.name, service, unix).with_context(|| format!("service `{}`", caller.name))?
                }
            };
            next.insert(caller.name.clone(), played);
        }
        // Equal to what is served already: nothing is judged anew.
        for (name, service) in &mut next {
            if let Some(known) = self.services.get(name).filter(|known| known.config == service.config) {
                service.face = Arc::clone(&known.face);
            }
        }
        self.services = next;
        Ok(self.faces())
    }

    /// What callers are judged by.
    #[must_use]
    pub fn faces(&self) -> Faces {
        self.services.iter().map(|(name, service)| (name.clone(), Arc::clone(&service.face))).collect()
    }

    fn resume(&self, name: &str, config: &ServiceCaller, unix: u64) -> anyhow::Result<Service> {
        let seal = config.seal_key.as_ref().map(SealKey::new).transpose()?;
        let random = || random::bytes::<32>().context("the system gives no randomness");
        let lifetime = config.token_lifetime.as_secs();
        let kept = match &self.state {
            Some(dir) => match durable::read(&dir.join(kept::file(name)), LARGEST) {
                Ok(text) => Some(text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error).with_context(|| format!("{}", dir.join(kept::file(name)).display())),
            },
            None => None,
        };
        // A file that cannot be read is never written over: every caller would be shut out.
        let credentials = match kept {
            Some(text) => Credentials::read(&text, name, seal.as_ref(), &random()?, unix, lifetime)
                .with_context(|| format!("{} in the state directory cannot be used", kept::file(name)))?,
            None => Credentials::fresh(unix, [&random()?, &random()?, &random()?]),
        };
        let service = Service::new(name, config, seal, credentials, unix);
        if self.state.is_none() && config.auth != AuthMode::None {
            tracing::warn!(service = name, "no state directory: its keys and tokens end with this process");
        }
        self.keep(name, &service, &service.credentials)?;
        Ok(service)
    }

    fn keep(&self, name: &str, service: &Service, credentials: &Credentials) -> anyhow::Result<()> {
        let Some(dir) = &self.state else { return Ok(()) };
        let text = credentials.write(name, service.seal.as_ref())?;
        durable::write(dir, &kept::file(name), &text)
            .with_context(|| format!("{}", dir.join(kept::file(name)).display()))
    }

    /// Changes one key of a service. Writes a file.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub fn regenerate(&mut self, name: &str, wanted: Regenerate, unix: u64) -> Result<Operation, NotChanged> {
        let service = self.services.get(name).ok_or(NotChanged::NoService)?;
        if service.config.auth != AuthMode::Key {
            return Err(NotChanged::NoKeys);
        }
        let failed = |error: io::Error| NotChanged::NotKept(error.into());
        let value = match wanted.value {
            Some(value) => value,
            None => KeyValue::made_of(&random::bytes().map_err(failed)?),
        };
        let other = match wanted.slot {
            Slot::Primary => Slot::Secondary,
            Slot::Secondary => Slot::Primary,
        };
        if service.credentials.of(other).digest == value.digest() {
            return Err(NotChanged::OtherKey);
        }
        let next = service.credentials.with(wanted.slot, value, unix);
        let id: [u8; 16] = random::bytes().map_err(failed)?;
        self.change(name, next).map_err(NotChanged::NotKept)?;
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let operation = Operation { id, service: name.to_owned(), at: unix };
        self.operations.truncate(MOST_OPERATIONS - 1);
        self.operations.push_front(operation.clone());
        Ok(operation)
    }

    /// Signs with another key where one has signed for long enough. Whether any does. Writes files.
    pub fn rotate_signing_keys(&mut self, unix: u64) -> bool {
        let due = |service: &Service| {
            service.config.auth == AuthMode::Token && unix.saturating_sub(service.credentials.signs_since) >= SIGNS
        };
        let due: Vec<String> =
            self.services.iter().filter(|(_, service)| due(service)).map(|(name, _)| name.clone()).collect();
        let mut any = false;
        for name in due {
            let Some(service) = self.services.get(&name) else { continue };
            let lifetime = service.config.token_lifetime.as_secs();
            let rotated = random::bytes::<32>()
                .map_err(anyhow::Error::from)
                .map(|seed| service.credentials.signing_anew(&seed, unix, lifetime))
                .and_then(|next| self.change(&name, next));
            match rotated {
                Ok(()) => any = true,
                Err(error) => tracing::warn!(service = name, "its tokens go on being signed by the old key: {error:#}"),
            }
        }
        any
    }

    /// Kept first: what callers hold must be good after a crash too.
    fn change(&mut self, name: &str, next: Credentials) -> anyhow::Result<()> {
        let service = self.services.get(name).context("there is no such service")?;
        self.keep(name, service, &next)?;
        if let Some(service) = self.services.get_mut(name) {
            service.face = Arc::new(face(name, &service.config, &next));
            service.credentials = next;
        }
        Ok(())
    }

    /// A key that was changed, by the name of the change.
    #[must_use]
    pub fn operation(&self, id: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.id == id)
    }

    /// The key of a slot.
    #[must_use]
    pub fn key(&self, name: &str, slot: Slot) -> Option<&Key> {
        Some(self.services.get(name)?.credentials.of(slot))
    }

    /// How a service is configured, and since when it is played.
    #[must_use]
    pub fn describe(&self, name: &str) -> Option<(&ServiceCaller, u64)> {
        self.services.get(name).map(|service| (&service.config, service.since))
    }

    /// Whether values of its keys are kept: what nobody could say after a restart is not said before it either.
    #[must_use]
    pub fn keeps_values(&self, name: &str) -> bool {
        self.services.get(name).is_some_and(|service| service.seal.is_some())
    }

    /// Hands out a token.
    ///
    /// # Errors
    /// Where the system gives no randomness. None where there is no such service.
    pub fn issue(&self, name: &str, unix: u64) -> Option<io::Result<Issued>> {
        let service = self.services.get(name)?;
        let lifetime = service.config.token_lifetime.as_secs();
        Some(random::bytes().map(|unique| {
            let none = || KeyValue::made_of(&[0; 32]);
            let auth = ServiceAuth {
                name: name.to_owned(),
                auth: service.config.auth,
                // Tokens need none.
                keys: Keys { primary: none(), secondary: none() },
                tokens: service.credentials.tokens.clone(),
                lifetimes: Lifetimes { lifetime, refresh_after: lifetime / 2 },
            };
            auth.issue(unix, &unique)
        }))
    }
}

impl Service {
    fn new(name: &str, config: &ServiceCaller, seal: Option<SealKey>, credentials: Credentials, since: u64) -> Self {
        let face = Arc::new(face(name, config, &credentials));
        Self { config: config.clone(), seal, credentials, face, since }
    }
}

fn face(name: &str, config: &ServiceCaller, credentials: &Credentials) -> ServiceFace {
    ServiceFace {
        id: RulesId::fresh(),
        keys_id: KeySetId::fresh(),
        name: name.into(),
        auth: config.auth,
        keys: credentials.digests(),
        tokens: credentials.tokens.verifiers(),
    }
}
