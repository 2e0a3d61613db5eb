//! Starts the admin side: binds everything, then serves each listener in a task of its own.
//!
//! `run` calls [`serve`] once and keeps the [`AdminHandle`]; it stops the admin side last, so that it can be asked about
//! a drain. A reload does not come here: what it changes of `admin` and `health` waits for a restart.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, anyhow, ensure};
use axum::Router;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::timeout,
};

use super::{
    SharedOperations,
    connection::{Listener, accept_loop},
    guard::Gate,
    places::Fallbacks,
    routes, socket, tls,
    token::{self, Token},
};
use crate::config::model::{Admin, StateDir};

/// How long a request may still take when the admin side stops.
const PATIENCE: Duration = Duration::from_secs(5);

/// What of the configuration the admin side needs.
#[derive(Debug, Clone, Copy)]
pub struct Listening<'a> {
    /// `admin`.
    pub admin: &'a Admin,
    /// `health.address`.
    pub health: Option<SocketAddr>,
    /// `state_dir`, where the token may be.
    pub state_dir: &'a StateDir,
    /// Where to go when a default place cannot be used.
    pub fallbacks: &'a Fallbacks,
}

/// The running admin side. Dropping it ends everything at once; [`AdminHandle::stop`] is kinder.
#[derive(Debug)]
pub struct AdminHandle {
    /// Path of the socket.
    pub socket: Option<PathBuf>,
    /// Bound TCP admin address.
    pub address: Option<SocketAddr>,
    /// Bound health address.
    pub health: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// Binds every listener, then serves them.
///
/// # Errors
/// When a listener cannot be bound or its TLS cannot be used: the message names the address and its key. Nothing is
/// served then.
pub async fn serve(listening: Listening<'_>, operations: SharedOperations) -> anyhow::Result<AdminHandle> {
    let Listening { admin, health, state_dir, fallbacks } = listening;
    let health = match health {
        Some(address) => Some(bind(address, "health.address").await?),
        None => None,
    };
    let tcp = match admin.address {
        Some(address) => Some(tcp(address, admin, &fallbacks.state_dirs(state_dir), operations.clone()).await?),
        None => None,
    };
    let socket = socket::bind(&admin.socket, fallbacks)?;

    let mut handle = AdminHandle::new();
    if let Some(bound) = socket {
        tracing::info!(socket = %bound.file.path().display(), "admin API");
        handle.socket = Some(bound.file.path().to_owned());
        handle.spawn("admin socket", Listener::Socket(bound), routes::socket(operations.clone()));
    }
    if let Some(TcpSide { listener, address, router }) = tcp {
        tracing::info!(%address, "admin API");
        handle.address = Some(address);
        handle.spawn("admin address", listener, router);
    }
    if let Some((listener, address)) = health {
        tracing::info!(%address, "health");
        handle.health = Some(address);
        handle.spawn("health", Listener::Tcp(listener, None), routes::health(operations));
    }
    Ok(handle)
}

struct TcpSide {
    listener: Listener,
    address: SocketAddr,
    router: Router,
}

async fn tcp(
    address: SocketAddr,
    admin: &Admin,
    state_dirs: &[PathBuf],
    operations: SharedOperations,
) -> anyhow::Result<TcpSide> {
    let loopback = address.ip().to_canonical().is_loopback();
    ensure!(
        loopback || admin.tls.is_some(),
        "admin.address {address} can be reached from other machines and has no TLS: write admin.tls, or a loopback address"
    );
    let acceptor = admin.tls.as_ref().map(tls::acceptor).transpose()?;
    let names = admin.tls.iter().flat_map(|tls| &tls.certificates).flat_map(|one| one.names.clone()).collect();
    let (listener, address) = bind(address, "admin.address").await?;
    let token = find_token(admin, address, state_dirs);
    let router = routes::tcp(operations, Gate { token, tls: admin.tls.is_some(), loopback, names });
    Ok(TcpSide { listener: Listener::Tcp(listener, acceptor), address, router })
}

/// Without a token the process still works: what needs one is refused.
fn find_token(admin: &Admin, address: SocketAddr, state_dirs: &[PathBuf]) -> Option<Token> {
    if let Some(token) = admin.token.as_ref().filter(|token| !token.expose_bytes().is_empty()) {
        return Some(Token::new(token));
    }
    token::read_or_make(state_dirs)
        .inspect_err(|error| {
            tracing::warn!(%address, reason = %error, "no admin token: this address answers only what needs none");
        })
        .ok()
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} ({key}): choose another port, or stop the process that has this one")
    })?;
    let bound = listener.local_addr().with_context(|| format!("{key} has no address"))?;
    Ok((listener, bound))
}

impl AdminHandle {
    fn new() -> Self {
        let (stop, _) = watch::channel(false);
        Self { socket: None, address: None, health: None, stop, tasks: JoinSet::new(), names: HashMap::new() }
    }

    fn spawn(&mut self, name: &'static str, listener: Listener, router: Router) {
        let task = self.tasks.spawn(accept_loop(name, listener, router, self.stop.subscribe()));
        self.names.insert(task.id(), name);
    }

    /// Waits until a listener's task ends by itself, which it never should: the process should say so and end.
    /// For ever when there is none.
    pub async fn failed(&mut self) -> anyhow::Error {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let (id, error) = match ended {
            Ok((id, ())) => (id, anyhow!("it ended by itself")),
            Err(error) => (error.id(), error.into()),
        };
        error.context(format!("the task of the {} listener is gone", self.name(id)))
    }

    /// Accepts nothing more, lets requests that are under way end within 5 s, and removes the socket.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let in_time = timeout(PATIENCE, async {
            while let Some(ended) = self.tasks.join_next().await {
                self.report(ended);
            }
        });
        if in_time.await.is_err() {
            tracing::warn!("admin requests were cut off: they took longer than the stop waits");
            self.tasks.shutdown().await;
        }
    }

    fn report(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            tracing::error!(task = self.name(error.id()), %error, "an admin task ended badly: please report this");
        }
    }

    fn name(&self, id: Id) -> &'static str {
        self.names.get(&id).copied().unwrap_or("admin")
    }
}
