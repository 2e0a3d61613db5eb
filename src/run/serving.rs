//! A gate and everything that lives beside it: the admin side, the look at memory, the tasks that look after Azure's services, and
//! the word in the state directory that a gate runs.
//!
//! `run` starts one from a file and a service manager's sockets, `demo` one of its own; neither puts parts together by itself.

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use anyhow::{Context, anyhow};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    azure::http::{Attempts, Http, Proxies},
    clock::Clock,
    config::model::Config,
    control::{
        admin::{self, AdminHandle, Listening, places::Fallbacks},
        azure::{self, Clients},
        gate::{Gate, Parts, Source},
        journals::Journals,
        listening::Sockets,
        names::SystemNames,
        state::{self, Presence},
        threads::Death,
        watch::{self, LastRead, Watcher},
    },
    rotation::digest::Salt,
    telemetry::{access_log::AccessSender, logs::LogControl},
};

/// What it starts from.
pub(crate) struct Start {
    /// The configuration to begin with.
    pub(crate) config: Config,
    /// Where it comes from when it is read again.
    pub(crate) source: Source,
    /// What was read of it last: watched over.
    pub(crate) read: Arc<LastRead>,
    /// Sockets of its listeners.
    pub(crate) sockets: Sockets,
    /// Where access records go.
    pub(crate) access: AccessSender,
    /// The log's level and losses; none where there is no log.
    pub(crate) logs: Option<LogControl>,
    /// How Azure is reached.
    pub(crate) proxies: Proxies,
}

/// A gate that serves, and its company. [`Serving::stop`] ends the company; the gate drains or is dropped before.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) gate: Arc<Gate>,
    admin: AdminHandle,
    deaths: mpsc::UnboundedReceiver<Death>,
    memory: JoinHandle<()>,
    services: JoinHandle<anyhow::Result<()>>,
    watch: JoinHandle<Infallible>,
    presence: JoinHandle<()>,
}

impl Serving {
    /// Starts all of it. Traffic is served when this returns.
    ///
    /// # Errors
    /// What could not be started; nothing is left running then.
    pub(crate) async fn start(start: Start) -> anyhow::Result<Self> {
        let Start { config, source, read, sockets, access, logs, proxies } = start;
        let (admin_config, health, state_dir) = (config.admin.clone(), config.health, config.state_dir.clone());
        let fallbacks = Fallbacks::from_env();
        let state = state::first_usable(&fallbacks.state_dirs(&state_dir));
        let (salt, journals) = salt(&state)?;
        let clock = Clock::system();
        let resolver = Arc::new(SystemNames);
        // Whoever asks has a backoff of their own.
        let http = Http::new(proxies, clock.clone(), Attempts::ONE);
        let kept = state.as_ref().ok().cloned();
        let parts =
            Parts { config, source, sockets, clock, access, salt, logs, resolver, http: http.clone(), state: kept };
        let (gate, deaths) = Gate::start(parts)?;
        let presence = tokio::spawn(announce(state));
        let listening = Listening { admin: &admin_config, health, state_dir: &state_dir, fallbacks: &fallbacks };
        let admin = match admin::serve(listening, Arc::new(Arc::clone(&gate))).await {
            Ok(admin) => admin,
            Err(error) => {
                gate.drop_everything().await;
                presence.abort();
                return Err(error);
            }
        };
        let memory = tokio::spawn(Arc::clone(&gate).watch_memory());
        let services = tokio::spawn(azure::attend(Arc::clone(&gate), Clients::new(http), journals));
        let watch = tokio::spawn(Watcher::new(Arc::clone(&gate), read, watch::SLOW).watch());
        Ok(Self { gate, admin, deaths, memory, services, watch, presence })
    }

    /// Where the admin side listens over TCP, if it does.
    pub(crate) const fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin.address
    }

    /// Waits until a part ends that must live as long as the process.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            Some(death) = self.deaths.recv() => {
                self.gate.mark_dead();
                let why = death.error.unwrap_or_else(|| "it panicked; the log says where".to_owned());
                anyhow!("thread `{}` ended, which must live as long as the process: {why}", death.thread)
            }
            ended = &mut self.memory => match ended {
                Err(panic) => anyhow!("the watch over memory ended: {panic}"),
                Ok(()) => anyhow!("the watch over memory ended"),
            },
            Err(panic) = &mut self.watch => anyhow!("the watch over files ended: {panic}"),
            ended = &mut self.services => match ended {
                Err(panic) => anyhow!("looking after services of Azure's ended: {panic}"),
                Ok(Err(error)) => error.context("looking after services of Azure's ended"),
                Ok(Ok(())) => anyhow!("looking after services of Azure's ended"),
            },
            error = self.admin.failed() => error.context("the admin side ended, which must live as long as the process"),
        }
    }

    /// Ends what is beside the gate.
    pub(crate) async fn stop(self) {
        self.memory.abort();
        self.services.abort();
        self.watch.abort();
        self.presence.abort();
        self.admin.stop().await;
    }
}

/// The salt of the state directory, so that fingerprints mean the same after a restart, and the journals there; else a salt of this
/// process, and no journals: what was written under another salt would make every key look changed.
fn salt(state: &Result<PathBuf, String>) -> anyhow::Result<(Salt, Journals)> {
    let why = match state {
        Ok(dir) => match state::salt_of(dir) {
            Ok(salt) => return Ok((salt.clone(), Journals::new(Ok(dir.clone()), salt))),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "no salt there: fingerprints of keys are this process's own");
                format!("{}: its salt: {error}", dir.display())
            }
        },
        Err(why) => why.clone(),
    };
    let salt = state::fresh_salt().context("the system gives no randomness")?;
    Ok((salt.clone(), Journals::new(Err(why), salt)))
}

/// Says that a gate runs, until the process ends. Waits, off this thread, while a key is being changed.
async fn announce(state: Result<PathBuf, String>) {
    let announced = match state {
        Ok(dir) => tokio::task::spawn_blocking(move || Presence::announce(&dir)).await,
        Err(why) => {
            tracing::info!(why, "no state directory: nothing keeps `keys regen` from running beside this process");
            return;
        }
    };
    match announced {
        Ok(Ok(_presence)) => std::future::pending().await,
        Ok(Err(error)) => tracing::warn!(%error, "`keys regen` cannot be told that this process runs"),
        Err(panic) => tracing::error!(%panic, "`keys regen` cannot be told that this process runs"),
    }
}
