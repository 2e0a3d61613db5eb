//! `scoregate mock-azure`: becomes the embedded Azure until SIGTERM or SIGINT.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Global,
    address::AdminAddress,
    exit::{Exit, Stop},
    output,
};
use crate::{
    clock::Clock,
    mock_azure::{MockAzure, Options, Reach},
};

#[derive(Debug, Args)]
pub(super) struct MockAzureArgs {
    /// Address of every listener, and port of the first; the others take free ports
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Take TLS beside plain connections, with a CA that is written out
    #[arg(long)]
    tls: bool,
    /// Start from this file (JSON or YAML) in place of the defaults
    #[arg(long, value_name = "FILE")]
    fixture: Option<PathBuf>,
    /// Write where everything is, as JSON, once it listens
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Put a real scoring container behind a service: its scoring URI
    #[arg(long = "backend", value_name = "NAME=URL", value_parser = backend)]
    backends: Vec<(String, String)>,
    /// Let other machines connect
    #[arg(long)]
    listen_anywhere: bool,
}

fn backend(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && !url.is_empty() => Ok((name.to_owned(), url.to_owned())),
        _ => Err("expected NAME=URL, the name of a service and the scoring URI of a container".to_owned()),
    }
}

pub(super) fn run(args: MockAzureArgs, global: &Global) -> Result<(), Stop> {
    let admin = admin_address(global.admin.as_ref())?;
    let reach = if args.listen_anywhere { Reach::Anywhere } else { Reach::Loopback };
    for (flag, address) in [("--listen", args.listen), ("--admin", admin)] {
        if reach == Reach::Loopback && !address.ip().to_canonical().is_loopback() {
            let message = "can be reached from other machines: write a loopback address, or --listen-anywhere";
            return Err(Stop::new(Exit::Usage, format_args!("{flag} {address} {message}")));
        }
    }
    let MockAzureArgs { listen, tls, fixture, port_file, backends, .. } = args;
    let from_fixture = fixture.is_some();
    let options = Options { listen, admin, tls, fixture, backends, reach, clock: Clock::system() };
    serve(options, port_file.as_deref()).map_err(|error| {
        let exit = if from_fixture && format!("{error}").contains("fixture") { Exit::Config } else { Exit::Failed };
        Stop::new(exit, format_args!("{error:#}"))
    })
}

/// `--admin` is where other commands find a running scoregate; here it is where the admin API listens.
fn admin_address(admin: Option<&AdminAddress>) -> Result<SocketAddr, Stop> {
    let Some(admin) = admin else { return Ok(SocketAddr::from(([127, 0, 0, 1], 0))) };
    let address = match admin {
        AdminAddress::Tcp(origin) if !origin.tls => {
            let host = if origin.host().eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { origin.host() };
            host.parse().ok().map(|ip| SocketAddr::new(ip, origin.port()))
        }
        AdminAddress::Tcp(_) | AdminAddress::Socket(_) => None,
    };
    address.ok_or_else(|| Stop::new(Exit::Usage, "--admin of mock-azure is an address to listen on, as 127.0.0.1:9901"))
}

fn serve(options: Options, port_file: Option<&Path>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let install = |kind| signal(kind).context("cannot install a signal handler");
        let (mut terminate, mut interrupt) = (install(SignalKind::terminate())?, install(SignalKind::interrupt())?);
        let mut mock = MockAzure::start(options).await?;
        if let Some(path) = port_file {
            mock.write_port_file(path)?;
        }
        // Whoever started it may not care to read.
        drop(output::print(&mock.welcome()));
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            error = mock.failed() => Err(error),
        }
    })
}
