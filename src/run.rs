//! The composition root of `scoregate run`: process, file, log and signals around what `serving` puts together, and the order in
//! which everything begins and ends.

pub(crate) mod serving;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::Level;

use self::serving::{Serving, Start};
use crate::{
    azure::http::Proxies,
    config::{
        self, Loaded,
        fault::Faults,
        model::Config,
        sources::{LastGood, Noted, ProcessEnv},
    },
    control::{
        gate::Source,
        listening::Sockets,
        notify::Notify,
        watch::{
            LastRead,
            mounts::{self, Pinned},
        },
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
/// How much less of a hurry the control plane is in: the tail while it rotates and reloads is that at rest (benches/README.md).
const CONTROL_NICE: i32 = 10;
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
    keep_memory_private();
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

/// Before the first secret is read: no core dump has it, and no other process of the same user reads it out of memory, or out of
/// this process's variables (prctl(2), `PR_SET_DUMPABLE`; proc(5)). Root still can.
fn keep_memory_private() {
    // A crash handler may be a program that is fed the dump whatever the limit says; this keeps the kernel from making one.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let no_cores = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    for refused in [hidden, no_cores].into_iter().filter_map(Result::err) {
        // The log is not there yet. Both are allowed to everybody, so a sandbox that is stricter than it means to be.
        eprint_last(&format!("core dumps stay on, and other processes of this user may read secrets: {refused}"));
    }
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

/// No request waits for the control plane where they share a core: what this thread does, and whatever it starts from here, is in less of
/// a hurry, `az` included. It keeps a tenth of a core that is busy (sched(7)); the data plane's threads are started elsewhere
/// (`control::nursery`).
fn give_way() {
    if let Err(error) = rustix::process::nice(CONTROL_NICE) {
        tracing::debug!(%error, "the control plane keeps the priority of the data plane");
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    // Before the first load: a SIGHUP that arrives while the file is read is not lost.
    let mut signals = Signals::install()?;
    let source = FileSource::new(options.clone());
    let Loaded { config, warnings, files, variables } = source.load()?;
    let format = if config.log.json { Format::Json } else { Format::Text };
    let (log_control, log_guard) = logs::start(config.log.level, format)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    if config.watch {
        point_out_what_stays(&files, &variables);
    }
    let (access, access_handle) = AccessLog::start(config.log.json, Box::new(std::io::stdout()), ACCESS_QUEUE)
        .context("cannot start the access log")?;
    let mut sockets = Sockets::default().inherit()?;
    sockets.bind(&config.listeners)?;
    let logs = Some(log_control);
    let read = source.read();
    let source = source.for_reloads();
    let start = Start { config, source, read, sockets, access, logs, proxies: Proxies::from_env() };
    let mut serving = Serving::start(start).await?;
    give_way();
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

/// The configuration file, read as often as need be. An empty secret file keeps its last good value: kubelets and editors truncate
/// before they write.
pub(crate) struct FileSource {
    options: Options,
    files: LastGood<Arc<Noted>>,
    noted: Arc<Noted>,
    read: Arc<LastRead>,
}

impl FileSource {
    pub(crate) fn new(options: Options) -> Self {
        let noted = Arc::<Noted>::default();
        Self { options, files: LastGood::new(Arc::clone(&noted)), noted, read: Arc::default() }
    }

    /// Reads it.
    ///
    /// # Errors
    /// Every fault.
    pub(crate) fn load(&self) -> Result<Loaded, Faults> {
        let _loading = self.read.load();
        let mut loaded = config::load(&self.options.config, &ProcessEnv, &self.files);
        self.read.note(self.noted.take(), loaded.is_ok());
        if let Ok(loaded) = &mut loaded {
            override_by(&self.options, &mut loaded.config);
        }
        loaded
    }

    /// What was read last, for whoever watches over it.
    pub(crate) fn read(&self) -> Arc<LastRead> {
        Arc::clone(&self.read)
    }

    /// For a gate.
    pub(crate) fn for_reloads(self) -> Source {
        Box::new(move || match self.load() {
            Ok(loaded) => Ok((loaded.config, loaded.warnings.iter().map(ToString::to_string).collect())),
            Err(faults) => Err(faults.iter().map(ToString::to_string).collect()),
        })
    }
}

/// What no watching can see change, so that nobody waits for it in vain.
fn point_out_what_stays(files: &[PathBuf], variables: &[String]) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let real: Vec<PathBuf> = files.iter().filter_map(|file| file.canonicalize().ok()).collect();
    for Pinned { file, mount } in mounts::pinned(real.iter().map(PathBuf::as_path), &mounts) {
        tracing::warn!(
            file = %file.display(),
            mount = %mount.display(),
            "is mounted by itself (a Kubernetes `subPath`, or a container engine's mount of one file): whoever replaces it outside \
             is not seen here; mount the folder instead"
        );
    }
    for variable in variables {
        tracing::info!(
            secret = variable,
            "comes from the environment: it changes with a restart only, a `file` without one"
        );
    }
}

/// What the command line says wins.
const fn override_by(options: &Options, config: &mut Config) {
    if let Some(level) = options.log_level {
        config.log.level = level;
    }
    if let Some(format) = options.log_format {
        config.log.json = matches!(format, Format::Json);
    }
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
