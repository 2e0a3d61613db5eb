//! The composition root of `scoregate run`: the only file that knows every part, and the order in which they begin and end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
};
use tracing::Level;

use crate::{
    azure::http::{Attempts, Http, Proxies},
    clock::Clock,
    config::{
        self,
        model::Config,
        sources::{LastGood, ProcessEnv, RealFiles},
    },
    control::{
        admin::{self, AdminHandle, Listening, places::Fallbacks},
        azure::{self, Clients},
        gate::{Gate, Parts, Source},
        listening::Sockets,
        names::SystemNames,
        notify::Notify,
        state::{self, Presence, Salt},
        threads::Death,
    },
    telemetry::{
        access_log::AccessLog,
        logs::{self, Format},
    },
};

/// Access records that may wait for a slow reader.
const ACCESS_QUEUE: usize = 16_384;
/// How long the access log may take to write its last lines.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Exit code of a process that was interrupted a second time.
const INTERRUPTED: i32 = 130;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// In place of `log.level`.
    pub log_level: Option<Level>,
    /// In place of `log.format`.
    pub log_format: Option<Format>,
}

/// Serves until told to stop.
///
/// # Errors
/// [`config::fault::Faults`] where the configuration is wrong; else what could not be started, or which part died.
pub fn run(options: Options) -> anyhow::Result<()> {
    // Fails only if a provider is installed already, and then it is this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    raise_descriptor_limit();
    keep_pages_small();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control plane's runtime")?;
    let outcome = runtime.block_on(serve(options));
    // A blocking read that hangs (a stalled network file system) must not hold the end up.
    runtime.shutdown_timeout(LAST_LINES);
    outcome
}

/// As many file descriptors as the process may have: the usual soft limit of 1,024 is a hundred callers and their upstreams.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused the acceptors refuse connections early and say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Memory that ten thousand connections gave back when they fell idle lies scattered over pages; with huge ones next to nothing
/// of it reaches the system again (benches/README.md).
fn keep_pages_small() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    // Before the first load: a SIGHUP that arrives while the file is read is not lost.
    let mut signals = Signals::install()?;
    let source = file_source(options.clone());
    let (config, warnings) = match config::load(&options.config, &ProcessEnv, &RealFiles) {
        Ok(loaded) => (overridden(loaded.config, &options), loaded.warnings),
        Err(faults) => return Err(faults.into()),
    };
    let format = if config.log.json { Format::Json } else { Format::Text };
    let (log_control, log_guard) = logs::start(config.log.level, format)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let (access, access_handle) = AccessLog::start(config.log.json, Box::new(std::io::stdout()), ACCESS_QUEUE)
        .context("cannot start the access log")?;
    let mut sockets = Sockets::default().inherit()?;
    sockets.bind(&config.listeners)?;
    let (admin_config, health, state_dir) = (config.admin.clone(), config.health, config.state_dir.clone());
    let fallbacks = Fallbacks::from_env();
    let state = state::first_usable(&fallbacks.state_dirs(&state_dir));
    let salt = salt(&state)?;
    let clock = Clock::system();
    // Whoever asks has a backoff of their own.
    let http = Http::new(Proxies::from_env(), clock.clone(), Attempts::ONE);
    let parts = Parts {
        config,
        source,
        sockets,
        clock,
        access,
        salt,
        logs: Some(log_control),
        resolver: Arc::new(SystemNames),
        http: http.clone(),
        state: state.as_ref().ok().cloned(),
    };
    let (gate, deaths) = Gate::start(parts)?;
    let presence = tokio::spawn(announce(state));
    let listening = Listening { admin: &admin_config, health, state_dir: &state_dir, fallbacks: &fallbacks };
    let mut admin = match admin::serve(listening, Arc::new(Arc::clone(&gate))).await {
        Ok(admin) => admin,
        Err(error) => {
            gate.drop_everything().await;
            return Err(error);
        }
    };
    let memory = tokio::spawn(Arc::clone(&gate).watch_memory());
    let services = tokio::spawn(azure::attend(Arc::clone(&gate), Clients::new(http)));
    let mut tasks = Tasks { memory, services };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), "serving");

    let manager = Arc::new(Notify::from_env());
    manager.ready();
    let outcome = supervise(&gate, &mut signals, deaths, &mut admin, &mut tasks, &manager).await;

    tasks.memory.abort();
    tasks.services.abort();
    presence.abort();
    admin.stop().await;
    if !access_handle.join(LAST_LINES) {
        tracing::warn!("the access log's last lines could not be written in time");
    }
    drop(log_guard);
    outcome
}

/// Waits for signals, and for parts that die; drains in the end.
async fn supervise(
    gate: &Arc<Gate>,
    signals: &mut Signals,
    mut deaths: mpsc::UnboundedReceiver<Death>,
    admin: &mut AdminHandle,
    tasks: &mut Tasks,
    manager: &Arc<Notify>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            _ = signals.reload.recv() => {
                // Reports itself; the next signal need not wait for it.
                let (gate, manager) = (Arc::clone(gate), Arc::clone(manager));
                tokio::spawn(async move {
                    manager.reloading();
                    drop(gate.reload(false).await);
                    manager.ready();
                });
            }
            () = signals.end.recv() => break,
            () = gate.drain_asked.notified() => break,
            Some(death) = deaths.recv() => {
                gate.mark_dead();
                let why = death.error.unwrap_or_else(|| "it panicked; the log says where".to_owned());
                bail!("thread `{}` ended, which must live as long as the process: {why}", death.thread);
            }
            Err(panic) = &mut tasks.memory => bail!("the watch over memory ended: {panic}"),
            ended = &mut tasks.services => match ended {
                Err(panic) => bail!("looking after services of Azure's ended: {panic}"),
                Ok(ended) => return ended.context("looking after services of Azure's ended"),
            },
            error = admin.failed() => return Err(error.context("the admin side ended, which must live as long as the process")),
        }
    }
    manager.stopping();
    tokio::select! {
        () = gate.drain() => Ok(()),
        () = signals.end.recv() => {
            eprint_last("second signal: ending at once");
            std::process::exit(INTERRUPTED)
        }
    }
}

/// Tasks that must live as long as the process.
#[derive(Debug)]
struct Tasks {
    memory: JoinHandle<()>,
    services: JoinHandle<anyhow::Result<()>>,
}

/// The salt of the state directory, so that fingerprints mean the same after a restart; else one of this process.
fn salt(state: &Result<PathBuf, String>) -> anyhow::Result<Salt> {
    let fresh = || Salt::fresh().context("the system gives no randomness");
    let Ok(dir) = state else { return fresh() };
    Salt::of(dir).or_else(|error| {
        tracing::warn!(dir = %dir.display(), %error, "no salt there: fingerprints of keys are this process's own");
        fresh()
    })
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

/// Past the log's queue: the process ends before it would be read.
fn eprint_last(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Reads the file again. An empty secret file keeps its last good value: kubelets and editors truncate before they write.
fn file_source(options: Options) -> Source {
    let files = LastGood::new(RealFiles);
    // The first look fills in what is good now; its faults are the first load's to report.
    drop(config::load(&options.config, &ProcessEnv, &files));
    Box::new(move || match config::load(&options.config, &ProcessEnv, &files) {
        Ok(loaded) => {
            let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
            Ok((overridden(loaded.config, &options), warnings))
        }
        Err(faults) => Err(faults.iter().map(ToString::to_string).collect()),
    })
}

/// What the command line says wins.
fn overridden(mut config: Config, options: &Options) -> Config {
    if let Some(level) = options.log_level {
        config.log.level = level;
    }
    if let Some(format) = options.log_format {
        config.log.json = format == Format::Json;
    }
    config
}

/// The signals that mean something to us.
#[derive(Debug)]
struct Signals {
    reload: Signal,
    end: EndSignals,
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot install a signal handler");
        Ok(Self {
            reload: install(SignalKind::hangup())?,
            end: EndSignals {
                terminate: install(SignalKind::terminate())?,
                interrupt: install(SignalKind::interrupt())?,
            },
        })
    }
}

impl EndSignals {
    /// Either of them.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
