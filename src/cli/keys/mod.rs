//! `scoregate keys show|regen|rollback|freeze|unfreeze`: a service's two keys, through the scoregate that serves them (`gate`) or,
//! where none runs, alone (`show`, `regen`).

mod gate;
mod played;
mod regen;
mod show;

use clap::Subcommand;

use super::{
    Global,
    azure::{self, Chosen},
    exit::{Exit, Stop},
};
use crate::{
    azure::{calls::Calls, service::Auth},
    config::model::{Config, Slot},
    control::{admin::places::Fallbacks, state},
    rotation::digest::Salt,
};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Show what tells a service's keys apart, and the keys themselves with --reveal
    Show(show::ShowArgs),
    /// Make one of a service's keys anew: under traffic through the running scoregate, else here
    Regen(regen::RegenArgs),
    /// Give new requests the other key, which every front end accepts
    Rollback(gate::RollbackArgs),
    /// Let no key of a service be regenerated until unfreeze; what has been submitted is brought to its end
    Freeze(gate::EndpointArgs),
    /// Let keys of a service be regenerated again
    Unfreeze(gate::EndpointArgs),
}

pub(super) fn run(command: KeysCommand, global: &Global) -> Result<(), Stop> {
    let _log = azure::log(global);
    let admin = global.admin.as_ref();
    match command {
        KeysCommand::Show(args) if played::is(&args.config, &args.endpoint) => {
            played::show(args, global.admin.as_ref())
        }
        KeysCommand::Regen(args) if played::is(&args.config, &args.endpoint) => {
            played::regen(args, global.admin.as_ref())
        }
        KeysCommand::Show(args) => show::run(args),
        KeysCommand::Regen(args) => regen::run(args, admin),
        KeysCommand::Rollback(args) => gate::rollback(args, admin),
        KeysCommand::Freeze(args) => gate::freeze(args, admin, true),
        KeysCommand::Unfreeze(args) => gate::freeze(args, admin, false),
    }
}

const fn word(slot: Slot) -> &'static str {
    match slot {
        Slot::Primary => "primary",
        Slot::Secondary => "secondary",
    }
}

/// Whether it is a service with keys at all.
async fn has_keys(chosen: &Chosen, calls: &mut Calls) -> Result<(), Stop> {
    let description = chosen.plane.describe(calls).await.map_err(|error| azure::stop(&error))?;
    let has = match chosen.service.auth.or(description.auth) {
        Some(Auth::Key) | None => return Ok(()),
        Some(Auth::Token) => "tokens of Azure ML's: `scoregate token`",
        Some(Auth::Entra) => "tokens of the identity provider's: `scoregate token`",
        Some(Auth::Open) => "nothing: it is open",
    };
    Err(Stop::new(Exit::Refused, format_args!("{} has no keys; it has {has}", chosen.service.name)))
}

/// The salt of the state directory, so that what is shown here is what `status` of a gate shows.
fn salt(config: &Config) -> Result<Salt, Stop> {
    let dirs = Fallbacks::from_env().state_dirs(&config.state_dir);
    let kept = state::first_usable(&dirs).ok().and_then(|dir| state::salt_of(&dir).ok());
    kept.map_or_else(|| state::fresh_salt().map_err(Stop::failed), Ok)
}
