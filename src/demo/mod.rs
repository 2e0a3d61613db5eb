//! `scoregate demo`: an Azure of one's own, services of every kind in it, the gate in front of all, and what to try; one process.
//!
//! Needs nothing but the binary. Everything listens on loopback, every secret is made anew at each start, and what is written lies in
//! a folder that goes away with it. The gate is the one that `run` starts, from a file that `run` would take (`files`); `tour` says
//! what to try, `counters` what happens meanwhile.

mod counters;
mod files;
mod tour;

use std::{
    io::{self, Write},
    net::TcpListener,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{files::Files, tour::Scene};
use crate::{
    azure::http::Proxies,
    control::{admin::Operations, gate::Gate, listening::Sockets},
    mock_azure::{self, MockAzure},
    run::{
        FileSource, Options,
        serving::{Serving, Start},
    },
    telemetry::access_log::AccessLog,
};

/// Where people expect a demo; any free port where it is taken.
const USUAL_ADDRESS: &str = "127.0.0.1:8080";
/// How long services may take to be found, which takes a tenth of a second; the tour begins then all the same.
const FINDING: Duration = Duration::from_secs(10);
const FINDING_LOOK: Duration = Duration::from_millis(10);

/// Runs the demo until it is interrupted, or nobody reads what it says.
///
/// # Errors
/// What could not be started, or which part of it ended.
pub fn demo() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run()).or_else(|error| {
        let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if error.downcast_ref().is_some_and(closed) { Ok(()) } else { Err(error) }
    })
}

async fn run() -> anyhow::Result<()> {
    let mut ends = Ends::install()?;
    // Online endpoints are behind TLS, as Azure's are.
    let options = mock_azure::Options { tls: true, ..mock_azure::Options::default() };
    let mut azure = MockAzure::start(options).await.context("cannot start the demo's Azure")?;
    let socket = TcpListener::bind(USUAL_ADDRESS).or_else(|_taken| TcpListener::bind("127.0.0.1:0"))?;
    let files = Files::write(azure.port_file(), socket.local_addr()?)?;
    let mut serving = start(&files.configuration(), socket).await?;
    let gate = Arc::clone(&serving.gate);
    let program = std::env::args().next().map_or_else(|| "scoregate".to_owned(), |name| tour::quoted(&name));
    let tour = Scene { azure: azure.port_file(), files: &files, admin: serving.admin_address(), program }.tour();
    let outcome = tokio::select! {
        outcome = guide(&gate, &tour) => outcome,
        outcome = ends.one() => outcome,
        () = gate.drain_asked.notified() => show("\nthe demo was told to drain, and has ended\n"),
        error = azure.failed() => Err(error.context("the demo's Azure ended")),
        error = serving.failed() => Err(error),
    };
    gate.drop_everything().await;
    serving.stop().await;
    outcome
}

/// The gate, as `run` starts it from this file; on a socket that is bound already.
async fn start(file: &Path, socket: TcpListener) -> anyhow::Result<Serving> {
    let source = FileSource::new(Options { config: file.to_owned(), log_level: None, log_format: None });
    let loaded = source.load()?;
    let listener = loaded.config.listeners.first().context("the demo has no listener")?;
    let sockets = Sockets::default().with(listener, socket);
    // What there is to see, the counters tell.
    let (access, _access_handle) = AccessLog::start(false, Box::new(io::sink()), 16)?;
    // Nothing of this leaves the machine, whatever proxy the environment names.
    let read = source.read();
    let source = source.for_reloads();
    let start = Start { config: loaded.config, source, read, sockets, access, logs: None, proxies: Proxies::none() };
    Serving::start(start).await
}

/// Says what to try once all of it works, and counts from then on.
async fn guide(gate: &Arc<Gate>, tour: &str) -> anyhow::Result<()> {
    let found = async {
        while !gate.ready().ready {
            tokio::time::sleep(FINDING_LOOK).await;
        }
    };
    // Where one is not found, `status` says why.
    let _ = tokio::time::timeout(FINDING, found).await;
    show(tour)?;
    counters::show_for_ever(gate).await
}

/// The signals that end it: Ctrl-C, a supervisor's, and a terminal that was closed.
#[derive(Debug)]
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Ends {
    fn install() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot install a signal handler");
        Ok(Self {
            interrupt: install(SignalKind::interrupt())?,
            terminate: install(SignalKind::terminate())?,
            hang_up: install(SignalKind::hangup())?,
        })
    }

    /// Any of them.
    async fn one(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            // Nobody is left to be told.
            _ = self.hang_up.recv() => return Ok(()),
        }
        show("\nthe demo has ended\n")
    }
}

fn show(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}
