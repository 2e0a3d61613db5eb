//! `scoregate demo`: a scoring service that demands a key, the gate in front of it, and what to try, in one process.
//!
//! Needs nothing but the binary. Everything listens on loopback; keys are made anew at each start.

mod model;

use std::{
    io::{self, IsTerminal, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;

use crate::{
    azure::http::{Attempts, Http, Proxies},
    clock::Clock,
    config::{
        self,
        model::StateDir,
        sources::{ProcessEnv, RealFiles},
    },
    control::{
        admin::{self, Listening, Operations, places::Fallbacks},
        gate::{Gate, Parts},
        listening::Sockets,
        names::SystemNames,
        random_key,
        state::Salt,
    },
    telemetry::access_log::AccessLog,
};

/// Where people expect a demo; any free port where it is taken.
const USUAL_ADDRESS: &str = "127.0.0.1:8080";
/// How often the counters are shown.
const COUNTERS: Duration = Duration::from_secs(1);

/// Runs the demo until it is interrupted.
///
/// # Errors
/// What could not be started.
pub fn demo() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tour())
}

async fn tour() -> anyhow::Result<()> {
    let (service_key, caller_key) = (key()?, key()?);
    let service = model::serve(service_key.clone()).await.context("cannot start the demo's scoring service")?;
    let text = configuration(service, &service_key, &caller_key);
    let loaded = config::parse(text.as_bytes(), Path::new("demo.yaml"), &ProcessEnv, &RealFiles)?;
    let mut config = loaded.config;
    let folder = std::env::temp_dir().join(format!("scoregate-demo-{}", std::process::id()));
    config.state_dir = StateDir { path: folder.clone(), written: true };
    config.admin.socket = StateDir { path: folder.join("admin.sock"), written: true };

    let socket = TcpListener::bind(USUAL_ADDRESS).or_else(|_taken| TcpListener::bind("127.0.0.1:0"))?;
    let listener = config.listeners.first().context("the demo has no listener")?;
    let sockets = Sockets::default().with(listener, socket);
    let (access, _access_handle) = AccessLog::start(false, Box::new(io::sink()), 16)?;
    let (admin_config, state_dir) = (config.admin.clone(), config.state_dir.clone());
    let source_config = config.clone();
    let parts = Parts {
        config,
        source: Box::new(move || Ok((source_config.clone(), Vec::new()))),
        sockets,
        clock: Clock::system(),
        access,
        salt: Salt::fresh().context("the system gives no randomness")?,
        logs: None,
        resolver: Arc::new(SystemNames),
        http: Http::new(Proxies::none(), Clock::system(), Attempts::ONE),
        state: None,
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (gate, _deaths) = Gate::start(parts)?;
    let fallbacks = Fallbacks::from_env();
    let listening = Listening { admin: &admin_config, health: None, state_dir: &state_dir, fallbacks: &fallbacks };
    let admin = admin::serve(listening, Arc::new(Arc::clone(&gate))).await?;

    let address = gate.address("demo").context("the demo has no listener")?;
    show(&welcome(address, admin.address, service, &caller_key))?;
    tokio::select! {
        result = count(&gate) => result?,
        result = tokio::signal::ctrl_c() => result.context("cannot wait for Ctrl-C")?,
    }
    show("\nthe demo has ended\n")?;
    gate.drop_everything().await;
    admin.stop().await;
    // The folder holds the socket and the admin token of a process that is gone.
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}

fn key() -> anyhow::Result<String> {
    String::from_utf8(random_key::new()?.expose_bytes().to_vec()).context("a key is text")
}

/// The configuration that the demo runs: the same text that a file would have.
fn configuration(service: SocketAddr, service_key: &str, caller_key: &str) -> String {
    format!(
        "version: 1
listeners:
  - {{ name: demo, address: 127.0.0.1:8080 }}
admin:
  address: 127.0.0.1:0
endpoints:
  iris:
    upstreams: [\"http://{service}/score\"]
    keys: {{ primary: {{ value: \"{service_key}\" }} }}
callers:
  you: {{ keys: [ {{ value: \"{caller_key}\" }} ] }}
routes:
  - {{ match: {{ path_prefix: /iris, methods: [POST, OPTIONS] }}, rewrite: {{ path_prefix: / }}, callers: [you], endpoint: iris }}
"
    )
}

fn welcome(gate: SocketAddr, admin: Option<SocketAddr>, service: SocketAddr, caller_key: &str) -> String {
    let admin = admin.map_or_else(String::new, |admin| {
        format!(
            "
 4. What the gate counts, and how it stands:

    curl -s http://{admin}/metrics | grep requests_total
    curl -s http://{admin}/status
"
        )
    });
    format!(
        "scoregate demo: a scoring service on {service} that demands its own key, and the gate on {gate} in front of it.
You hold a key for the gate. The service's key you never see: the gate attaches it.

 1. Score two flowers through the gate, with your key:

    curl -s http://{gate}/iris/score -H 'Authorization: Bearer {caller_key}' \\
      -d '{{\"data\": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}}'

 2. Without a key the gate lets nobody in:

    curl -s http://{gate}/iris/score -d '{{\"data\": [[5.1, 3.5, 1.4, 0.2]]}}'

 3. And your key is nothing to the service itself:

    curl -s http://{service}/score -H 'Authorization: Bearer {caller_key}' -d '{{\"data\": []}}'
{admin}
Ctrl-C ends the demo.

"
    )
}

/// Shows the counters while they change: rewritten in place on a terminal, a line for each change elsewhere.
async fn count(gate: &Arc<Gate>) -> anyhow::Result<()> {
    let terminal = io::stdout().is_terminal();
    let mut before = String::new();
    loop {
        let line = counters(&gate.metrics());
        if line != before {
            show(&if terminal { format!("\r\x1b[K{line}") } else { format!("{line}\n") })?;
            before = line;
        }
        tokio::time::sleep(COUNTERS).await;
    }
}

fn counters(metrics: &str) -> String {
    let sum = |class: &str| -> u64 {
        let label = format!("code_class=\"{class}\"");
        let values =
            metrics.lines().filter(|line| line.starts_with("scoregate_requests_total") && line.contains(&label));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    format!("answered {}   refused or failed {}", sum("2xx"), sum("4xx") + sum("5xx"))
}

fn show(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}
