//! `scoregate keys show`: what tells a service's keys apart, and the keys themselves where that is asked for.

use clap::Args;
use serde::Serialize;

use super::{
    super::{Output, OutputArgs, azure, config_path::ConfigPath, exit::Stop, output, table, wait::wait},
    has_keys, salt, word,
};
use crate::{azure::calls::Calls, config::model::Slot};

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Which endpoint of the configuration, or which caller that is a `service`
    pub(super) endpoint: String,
    #[command(flatten)]
    pub(super) config: ConfigPath,
    /// Show the keys themselves
    #[arg(long)]
    pub(super) reveal: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Serialize)]
struct Shown {
    endpoint: String,
    service: String,
    slots: Vec<ShownSlot>,
}

#[derive(Serialize)]
struct ShownSlot {
    slot: &'static str,
    fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

pub(super) fn run(args: ShowArgs) -> Result<(), Stop> {
    let mut clients = azure::clients();
    let chosen = azure::choose(args.config, &args.endpoint, &mut clients)?;
    let salt = salt(&chosen.config)?;
    let mut calls = Calls::default();
    let keys = wait(async {
        has_keys(&chosen, &mut calls).await?;
        chosen.plane.list_keys(&mut calls).await.map_err(|error| azure::stop(&error))
    })?;
    let slots = [Slot::Primary, Slot::Secondary].map(|slot| ShownSlot {
        slot: word(slot),
        fingerprint: salt.digest(keys.of(slot).expose_bytes()).fingerprint(),
        key: args.reveal.then(|| String::from_utf8_lossy(keys.of(slot).expose_bytes()).into_owned()),
    });
    let shown = Shown { endpoint: args.endpoint, service: chosen.service.name.to_string(), slots: slots.into() };
    match args.output.output {
        Output::Json => output::print_json(&shown),
        Output::Text => output::print(&text(&shown)),
    }
}

fn text(shown: &Shown) -> String {
    let rows: Vec<_> = shown
        .slots
        .iter()
        .map(|slot| {
            let key = slot.key.clone().unwrap_or_else(|| "shown with --reveal".to_owned());
            [shown.endpoint.clone(), slot.slot.to_owned(), slot.fingerprint.clone(), key]
        })
        .collect();
    let table = table::render(["ENDPOINT", "SLOT", "FINGERPRINT", "KEY"], &rows);
    format!("{}\n{}\n", shown.service, table.trim_end())
}
