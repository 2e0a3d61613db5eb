//! What the commands that ask Azure share: the configuration, the client, and exit codes for what goes wrong.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::Duration,
};

use clap::Args;

use super::{
    Global,
    config_path::ConfigPath,
    exit::{Exit, Stop},
    output,
};
use crate::{
    azure::{
        cloud::Known,
        error::Error,
        http::{Attempts, Http, Proxies},
        identity::{
            Identity, Kind, TokenEndpoint,
            cache::Cache,
            login::{Login, PUBLIC_CLIENT},
        },
        service::ControlPlane,
    },
    clock::Clock,
    config::{
        self,
        model::{Config, Service},
        sources::{ProcessEnv, RealFiles},
    },
    control::azure::{Clients, Connect},
    telemetry::logs::{self, Format, LogGuard},
};

/// Which identity asks.
#[derive(Debug, Args)]
pub(super) struct WhoArgs {
    #[command(flatten)]
    pub(super) config: ConfigPath,
    /// Which identity of the configuration asks [default: the only one, else `default`; without a configuration whoever signed in with `scoregate login`]
    #[arg(long, value_name = "NAME")]
    pub(super) identity: Option<String>,
}

/// Shows the log of this command where its level was asked for: what is called, with correlation ids.
pub(super) fn log(global: &Global) -> Option<LogGuard> {
    let level = global.log_level?;
    // It fails only where there is a log already.
    logs::start(level.into(), global.log_format.unwrap_or(Format::Text)).ok().map(|(_, guard)| guard)
}

/// Clients that try again where that is safe: somebody waits.
pub(super) fn clients() -> Clients {
    Clients::new(Http::new(Proxies::from_env(), Clock::system(), Attempts::FEW))
}

/// Reads the configuration. Its warnings are `check`'s to tell.
pub(super) fn load(path: &Path) -> Result<Config, Stop> {
    config::load(path, &ProcessEnv, &RealFiles)
        .map(|loaded| loaded.config)
        .map_err(|faults| Stop::new(Exit::Config, faults))
}

/// The configuration, if there is one.
pub(super) fn load_if_any(config: ConfigPath) -> Result<Option<Config>, Stop> {
    config.find_if_any().map(|path| load(&path)).transpose()
}

/// The identity that asks.
pub(super) fn identity(config: Option<&Config>, name: Option<&str>) -> Result<Identity, Stop> {
    let identities = config.map_or(&[][..], |config| &config.identities);
    let names = || identities.iter().map(|identity| identity.name.as_str()).collect::<Vec<_>>().join(", ");
    let wanted = match (name, identities) {
        (None, []) => return Ok(signed_in_person(None)),
        (None, [only]) => return Ok(only.clone()),
        (None, _) => "default",
        (Some(name), _) => name,
    };
    identities.iter().find(|identity| identity.name == wanted).cloned().ok_or_else(|| {
        let message = match identities {
            [] => format!("there is no identity `{wanted}`: the configuration has none"),
            _ => format!("there is no identity `{wanted}`: name one of {} with --identity", names()),
        };
        Stop::new(Exit::Usage, message)
    })
}

/// Whoever signed in with `scoregate login`, at the public cloud.
pub(super) fn signed_in_person(tenant: Option<String>) -> Identity {
    let login =
        Login { tenant, client: PUBLIC_CLIENT.to_owned(), cache: Cache::of_user(|name| std::env::var_os(name)) };
    Identity {
        name: "login".to_owned(),
        kind: Kind::Login(login),
        cloud: Known::Public.cloud(),
        endpoint: TokenEndpoint::V2,
    }
}

/// An endpoint that is a service of Azure's, and its control plane.
pub(super) struct Chosen {
    pub(super) config: Config,
    pub(super) service: Service,
    pub(super) plane: std::sync::Arc<dyn ControlPlane>,
}

/// Finds an endpoint of the configuration by its name.
pub(super) fn choose(config: ConfigPath, name: &str, clients: &mut Clients) -> Result<Chosen, Stop> {
    let config = load(&config.find()?)?;
    let Some(endpoint) = config.endpoints.iter().find(|endpoint| endpoint.name == name) else {
        let names: Vec<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        let there_are = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let message = format!("there is no endpoint `{name}`: there are {there_are}");
        return Err(Stop::new(Exit::Usage, message));
    };
    let Some(service) = endpoint.service.clone() else {
        let message = format!("endpoint `{name}` is no service of Azure's: what is under its `keys` is all there is");
        return Err(Stop::new(Exit::Refused, message));
    };
    // What it names was looked up when the configuration was read.
    let plane =
        clients.connect(&config, &service).ok_or_else(|| Stop::failed("the configuration names no workspace"))?;
    Ok(Chosen { config, service, plane })
}

/// How a failure at Azure ends a command.
pub(super) fn stop(error: &Error) -> Stop {
    let exit = match error.status() {
        Some(403) => Exit::Refused,
        _ if error.is_unreachable() => Exit::Unreachable,
        _ => Exit::Failed,
    };
    Stop::new(exit, error)
}

/// Where nobody watches, what takes longer than this is told.
const WORTH_TELLING: Duration = Duration::from_secs(5);

/// A line about what goes on, in place of the one before it, on a terminal; elsewhere one line.
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { shown: false }
    }

    /// Shows a line.
    pub(super) fn show(&mut self, what: &str, took: Duration) {
        let mut err = io::stderr();
        if err.is_terminal() {
            self.shown = true;
            // Nobody is left to tell when this fails.
            drop(write!(err, "\r\u{1b}[Kscoregate: {what} … {} s", took.as_secs()).and_then(|()| err.flush()));
        } else if !self.shown && took >= WORTH_TELLING {
            self.shown = true;
            output::complain(&format!("{what} …"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && io::stderr().is_terminal() {
            drop(write!(io::stderr(), "\r\u{1b}[K"));
        }
    }
}
