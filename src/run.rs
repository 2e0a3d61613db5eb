//! The composition root of `scoregate run`: process, file, log and signals around what `serving` puts together, and the order in
//! which everything begins and ends.

pub(crate) mod serving;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

use self::serving::{Serving, Start};
use crate::{
    azure::http::Proxies,
    config::{
        self,
        model::Config,
        sources::{LastGood, ProcessEnv, RealFiles},
    },
    control::{gate::Source, listening::Sockets, notify::Notify},
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
    let logs = Some(log_control);
    let start = Start { config, source, sockets, access, logs, proxies: Proxies::from_env() };
    let mut serving = Serving::start(start).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), "serving");

    let manager = Arc::new(Notify::from_env());
    manager.ready();
    let outcome = supervise(&mut serving, &mut signals, &manager).await;

    serving.stop().await;
    if !access_handle.join(LAST_LINES) {
        tracing::warn!("the access log's last lines could not be written in time");
    }
    drop(log_guard);
    outcome
}

/// Waits for signals, and for parts that die; drains in the end.
async fn supervise(serving: &mut Serving, signals: &mut Signals, manager: &Arc<Notify>) -> anyhow::Result<()> {
    let gate = Arc::clone(&serving.gate);
    loop {
        tokio::select! {
            _ = signals.reload.recv() => {
                // Reports itself; the next signal need not wait for it.
                let (gate, manager) = (Arc::clone(&gate), Arc::clone(manager));
                tokio::spawn(async move {
                    manager.reloading();
                    drop(gate.reload(false).await);
                    manager.ready();
                });
            }
            () = signals.end.recv() => break,
            () = gate.drain_asked.notified() => break,
            error = serving.failed() => return Err(error),
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

/// Past the log's queue: the process ends before it would be read.
fn eprint_last(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Reads the file again. An empty secret file keeps its last good value: kubelets and editors truncate before they write.
pub(crate) fn file_source(options: Options) -> Source {
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
