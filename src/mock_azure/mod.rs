//! The embedded Azure: a faithful stand-in for the identity provider, the control plane and the scoring front ends.
//!
//! `scoregate mock-azure` runs it, and so do the demo and the tests; Microsoft's own libraries talk to it unchanged. In reading order:
//!
//! 1. `setup` and `fixture`: what it starts from; `material`: keys, certificates, and the files that tell clients of them.
//! 2. `state`: everything it remembers. Pure: time and randomness are arguments. `world` puts locks around it.
//! 3. `entra`: token endpoints, sign-in, discovery; `identity`: managed identity; `arm` and `mms`: the control planes;
//!    `scoring`: front ends, which judge with [`crate::service_auth`]; `admin`: how it is told to misbehave, and what it saw.
//! 4. `listen`: sockets, TLS, HTTP.
//!
//! It is no part of the data plane, and nothing in it is secret: everything it knows is made up at its start.

mod admin;
mod arm;
mod entra;
mod fixture;
mod identity;
mod listen;
mod material;
mod mms;
mod port_file;
mod scoring;
mod setup;
mod state;
mod welcome;
mod wire;
mod world;

pub use self::port_file::{CertificateFiles, PortFile, ServiceNames, UserNames};

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize},
};

use anyhow::{Context, anyhow, bail, ensure};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::{Id, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use self::{
    listen::Handler,
    material::Material,
    scoring::{Backend, Line, Which},
    setup::Setup,
    state::faults::Target,
    world::{Bases, Deployed, World},
};
use crate::{clock::Clock, service_auth::ServiceKind};

/// Connections that may wait to be accepted: load tests open many at once.
const BACKLOG: u32 = 4_096;

/// How to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of every listener, and the port of the first (the identity provider). The others take free ports.
    pub listen: SocketAddr,
    /// Address of the admin API.
    pub admin: SocketAddr,
    /// Whether listeners take TLS beside plain connections.
    pub tls: bool,
    /// What to start from in place of the defaults.
    pub fixture: Option<PathBuf>,
    /// Containers behind services, by name: scoring URIs.
    pub backends: Vec<(String, String)>,
    /// Whether other machines may connect.
    pub reach: Reach,
    /// The source of time.
    pub clock: Clock,
}

impl Default for Options {
    /// Free ports of loopback, no TLS, the built-in defaults.
    fn default() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen: loopback,
            admin: loopback,
            tls: false,
            fixture: None,
            backends: Vec::new(),
            reach: Reach::Loopback,
            clock: Clock::system(),
        }
    }
}

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine.
    Loopback,
    /// Whoever reaches the addresses.
    Anywhere,
}

/// A running mock. Dropping it ends everything.
#[derive(Debug)]
pub struct MockAzure {
    port_file: Arc<PortFile>,
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
    /// Its files live as long as it does.
    _world: Arc<World>,
}

impl MockAzure {
    /// Makes keys, binds every listener, and serves.
    ///
    /// # Errors
    /// Where the fixture is wrong, a backend is for no service, an address is not loopback and `reach` does not say so, or a
    /// listener cannot be bound.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        for (flag, address) in [("--listen", options.listen), ("--admin", options.admin)] {
            let allowed = address.ip().to_canonical().is_loopback() || options.reach == Reach::Anywhere;
            ensure!(
                allowed,
                "{flag} {address} can be reached from other machines: write a loopback address, or --listen-anywhere"
            );
        }
        let mut setup = Setup::built_in()?;
        if let Some(path) = &options.fixture {
            setup = fixture::load(path, setup)?;
        }
        for (name, url) in &options.backends {
            let uri = fixture::backend_uri(url).with_context(|| format!("--backend {name}={url}"))?;
            let named = |service: &&mut setup::ServiceSetup| service.name.eq_ignore_ascii_case(name);
            match setup.services.iter_mut().find(named) {
                Some(service) => service.backend = Some(uri),
                None => bail!("--backend {name}=…: there is no service of this name: {}", names(&setup)),
            }
        }
        let material = Material::make(&mut setup, options.tls)?;
        let world = Arc::new(World::new(setup, material, options.clock.clone())?);
        Listening::bind(&options, &world).await?.serve(world)
    }

    /// Where everything is, and who may come in.
    #[must_use]
    pub fn port_file(&self) -> &PortFile {
        &self.port_file
    }

    /// What a person is told.
    #[must_use]
    pub fn welcome(&self) -> String {
        welcome::text(&self.port_file)
    }

    /// Writes the port file, by rename, so that whoever finds it finds all of it.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn write_port_file(&self, path: &Path) -> anyhow::Result<()> {
        let context = || format!("cannot write the port file {}", path.display());
        let json = serde_json::to_string_pretty(&*self.port_file)?;
        let name = path.file_name().with_context(context)?.to_string_lossy().into_owned();
        let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
        std::fs::write(&beside, json + "\n").with_context(context)?;
        std::fs::rename(&beside, path).with_context(context)
    }

    /// Waits until a listener's task ends, which it never should.
    pub async fn failed(&mut self) -> anyhow::Error {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let (id, error) = match ended {
            Ok((id, ())) => (id, anyhow!("it ended by itself")),
            Err(error) => (error.id(), error.into()),
        };
        let name = self.names.get(&id).map_or("unknown", String::as_str);
        error.context(format!("the task of the listener `{name}` is gone"))
    }
}

fn names(setup: &Setup) -> String {
    setup.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Every listener, bound and not yet served.
struct Listening {
    entra: TcpListener,
    arm: TcpListener,
    imds: TcpListener,
    admin: TcpListener,
    /// Per service: the shared one, then one for each front end.
    scoring: Vec<(Arc<Deployed>, Vec<TcpListener>)>,
}

impl Listening {
    async fn bind(options: &Options, world: &World) -> anyhow::Result<Self> {
        let any_port = SocketAddr::new(options.listen.ip(), 0);
        let mut scoring = Vec::new();
        for deployed in world.services() {
            let front_ends = deployed.lock().setup.front_ends;
            let listeners = (0..=front_ends).map(|_| bind(any_port)).collect::<anyhow::Result<_>>()?;
            scoring.push((Arc::clone(deployed), listeners));
        }
        Ok(Self {
            entra: bind(options.listen)?,
            arm: bind(any_port)?,
            imds: bind(any_port)?,
            admin: bind(options.admin)?,
            scoring,
        })
    }

    fn serve(self, world: Arc<World>) -> anyhow::Result<MockAzure> {
        let tls = world.material.tls.clone().map(TlsAcceptor::from);
        let with_tls = |listener: &TcpListener| tls.as_ref().map(|_| encrypted(listener)).transpose();
        world.settle_bases(Bases {
            entra: plain(&self.entra)?,
            entra_tls: with_tls(&self.entra)?,
            arm: plain(&self.arm)?,
            arm_tls: with_tls(&self.arm)?,
            imds: plain(&self.imds)?,
            admin: plain(&self.admin)?,
        });
        for (deployed, listeners) in &self.scoring {
            let kind = deployed.lock().setup.kind;
            let base = scoring::base_path(kind, &deployed.name);
            // Online endpoints are always behind TLS, web services of version 1 seldom.
            let encrypt = kind == ServiceKind::Online && tls.is_some();
            let uri = |listener: &TcpListener| {
                let origin = if encrypt { encrypted(listener) } else { plain(listener) };
                origin.map(|origin| format!("{origin}{base}score"))
            };
            let uris = listeners.iter().map(uri).collect::<anyhow::Result<_>>()?;
            // Set once, here.
            let _ = deployed.uris.set(uris);
        }
        let port_file = Arc::new(port_file::describe(&world)?);

        let mut tasks = JoinSet::new();
        let mut names = HashMap::new();
        let mut spawn = |name: String, listener, tls, handler| {
            let task = tasks.spawn(listen::serve(listener, tls, handler, Arc::clone(&world)));
            names.insert(task.id(), name);
        };
        let routers = [
            ("identity provider", self.entra, tls.clone(), entra::router(Arc::clone(&world)), Some(Target::Entra)),
            // Faults of the model management service, which shares its base, are met by requests.
            ("control plane", self.arm, tls.clone(), arm::router(Arc::clone(&world)), None),
            ("managed identity", self.imds, None, identity::router(Arc::clone(&world)), Some(Target::Imds)),
        ];
        for (name, listener, tls, router, target) in routers {
            spawn(name.to_owned(), listener, tls, Handler::Router(router, target));
        }
        let orders = admin::router(Arc::clone(&world), Arc::clone(&port_file));
        spawn("admin".to_owned(), self.admin, None, Handler::Admin(orders));
        for (deployed, listeners) in self.scoring {
            let backend = deployed.lock().setup.backend.as_ref().map(|uri| Arc::new(Backend::new(uri)));
            let front_ends = listeners.len().saturating_sub(1);
            for (index, listener) in listeners.into_iter().enumerate() {
                let which = match index.checked_sub(1) {
                    None => Which::InTurn(AtomicUsize::new(0), front_ends),
                    Some(front_end) => Which::One(front_end),
                };
                let line = Line::new(Arc::clone(&deployed), which, backend.clone());
                spawn(format!("{} {index}", deployed.name), listener, tls.clone(), Handler::Scoring(Arc::new(line)));
            }
        }
        Ok(MockAzure { port_file, tasks, names, _world: world })
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().with_context(|| {
        format!("cannot listen on {address}: choose another port, or stop the process that has this one")
    })
}

fn plain(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

/// By name: what checks certificates seldom takes addresses.
fn encrypted(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("https://localhost:{}", listener.local_addr()?.port()))
}
