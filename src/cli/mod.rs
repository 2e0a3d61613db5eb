//! The command line: what a user types, one file for each command.
//!
//! `main` calls [`main`]. A command either does its work in this process (`check`, `keygen`, …), asks a running one
//! through its admin API (`status`, `reload`, `drain`), asks Azure (`keys`, `token`, `login`, `workspace`, …), or becomes the
//! server (`run`). Secrets are printed by `keygen`, by `azure-token` into a pipe, and else where `--reveal` says so.

use std::{ffi::OsString, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::telemetry::logs::Format;

mod address;
mod azure;
mod azure_token;
mod check;
mod check_online;
mod client;
mod completions;
mod config_path;
mod demo;
mod drain;
mod exit;
mod keygen;
mod keys;
mod login;
mod man;
mod mock_azure;
mod output;
mod reload;
mod run;
mod schema;
mod status;
mod table;
mod token;
mod version;
mod wait;
mod workspace;

use address::AdminAddress;
use exit::{Exit, Stop};

/// Parses the arguments of this process, does what they say, and gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os()).into()
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version come this way too. A pipe that is closed wanted no more of it.
            drop(answer.print());
            return if answer.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    match cli.command.run(&cli.global) {
        Ok(()) => Exit::Ok,
        Err(Stop { exit, message }) => {
            output::complain(&message);
            exit
        }
    }
}

/// An authenticating reverse proxy for deployed machine-learning web services.
#[derive(Debug, Parser)]
#[command(name = "scoregate", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Exit codes: 0 ok, 1 failed while running, 2 usage, 3 the configuration is wrong, 4 check --online found problems, \
5 refused, nothing touched, 6 a remote side could not be reached, 130 interrupted.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
struct Global {
    /// Show events of this level and above, in place of log.level
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// How log lines look, in place of log.format
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<Format>,
    /// Where a running scoregate answers: a URL or the path of its socket [default: its default socket]
    #[arg(long, global = true, value_name = "ADDR")]
    admin: Option<AdminAddress>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A tour in one minute: an Azure of its own, the gate in front of its services, and what to try; Ctrl-C ends it
    Demo,
    /// Serve; SIGHUP reloads, SIGTERM drains, a second SIGTERM or SIGINT ends at once
    Run(config_path::ConfigPath),
    /// Show every fault of a configuration at once
    Check(CheckArgs),
    /// Show or make anew the two keys of a service of Azure's
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Fetch a service's token and say how long it is good for
    Token(token::TokenArgs),
    /// Sign in to Azure as a person
    Login(login::LoginArgs),
    /// Find workspaces of Azure Machine Learning
    #[command(subcommand)]
    Workspace(workspace::WorkspaceCommand),
    /// Print a token for Azure's REST API
    AzureToken(azure_token::AzureTokenArgs),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Make a 256-bit caller key and its digest
    Keygen(OutputArgs),
    /// Show what a running scoregate does
    Status(StatusArgs),
    /// Make a running scoregate read its configuration again
    Reload(ReloadArgs),
    /// Make a running scoregate take leave: not ready, then no new connections, then the end
    Drain,
    /// Be an Azure of one's own: identity provider, control plane and scoring services, to try things against
    MockAzure(mock_azure::MockAzureArgs),
    /// Print the version
    Version(VersionArgs),
    /// Print completions for a shell
    Completions {
        /// Which one
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man(man::ManArgs),
}

impl Command {
    fn run(self, global: &Global) -> Result<(), Stop> {
        let admin = global.admin.as_ref();
        match self {
            Self::Demo => demo::run(),
            Self::Run(config) => run::run(config, global),
            Self::Check(args) => check::run(args, global),
            Self::Keys(command) => keys::run(command, global),
            Self::Token(args) => token::run(args, global),
            Self::Login(args) => login::run(args, global),
            Self::Workspace(command) => workspace::run(command, global),
            Self::AzureToken(args) => azure_token::run(args, global),
            Self::Schema => schema::run(),
            Self::Keygen(args) => keygen::run(args.output),
            Self::Status(args) => status::run(&args, admin),
            Self::Reload(args) => reload::run(&args, admin),
            Self::Drain => drain::run(admin),
            Self::MockAzure(args) => mock_azure::run(args, global),
            Self::Version(args) => version::run(args.json),
            Self::Completions { shell } => completions::run(shell),
            Self::Man(args) => man::run(&args),
        }
    }
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    config: config_path::ConfigPath,
    /// Sign in, find every service, and try its credential
    #[arg(long)]
    online: bool,
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// For people or for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Show it again every two seconds
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct ReloadArgs {
    /// Wait until no request holds a value that is no longer active
    #[arg(long)]
    drained: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct VersionArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Whom output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// People.
    Text,
    /// Programs.
    Json,
}

/// `tracing`'s levels, as clap reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

#[cfg(test)]
mod tests;
