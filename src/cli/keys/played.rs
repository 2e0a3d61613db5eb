//! `scoregate keys show|regen` for a service that scoregate itself plays: asked of the running scoregate, over its admin socket alone.

use std::path::PathBuf;

use http::Method;
use serde_json::json;

use super::{
    super::{
        Output, OutputArgs,
        address::AdminAddress,
        azure,
        client::{self, Question},
        config_path::ConfigPath,
        exit::{Exit, Stop},
        output, table,
        wait::wait,
    },
    gate,
    regen::{self, RegenArgs},
    show::ShowArgs,
    word,
};
use crate::{
    config::model::{CallerKind, Config, Slot},
    control::played::owner::{ServiceKey, ServiceKeys},
    secret::Secret,
    telemetry::utc::Utc,
};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// Whether a name is that of a caller which is a service, and of no endpoint. What is wrong with a configuration is said by whoever
/// reads it next.
pub(super) fn is(config: &ConfigPath, name: &str) -> bool {
    let config = config.clone().find().and_then(|path| azure::load(&path));
    config.is_ok_and(|config| {
        let is_endpoint = config.endpoints.iter().any(|endpoint| endpoint.name == name);
        !is_endpoint
            && config.callers.iter().any(|caller| caller.name == name && matches!(caller.kind, CallerKind::Service(_)))
    })
}

pub(super) fn show(args: ShowArgs, admin: Option<&AdminAddress>) -> Result<(), Stop> {
    let config = azure::load(&args.config.find()?)?;
    let path = format!("/services/{}/keys{}", args.endpoint, if args.reveal { "?reveal" } else { "" });
    let question = Question { method: Method::GET, path: path.into(), body: None, patience: PATIENCE };
    print(&wait(client::ask(Some(&socket(&config, admin)?), question))?, &args.output)
}

pub(super) fn regen(args: RegenArgs, admin: Option<&AdminAddress>) -> Result<(), Stop> {
    let slot = args.slot.ok_or_else(|| Stop::new(Exit::Usage, "say which key: primary or secondary"))?;
    let slot = Slot::from(slot);
    let value = args.set_key_from.as_deref().map(regen::read_key).transpose()?;
    let config = azure::load(&args.config.find()?)?;
    if args.dry_run {
        let what = if value.is_some() { "the value in the file" } else { "a value that is made up" };
        return output::print(&format!("the {} key of {} would become {what}\n", word(slot), args.endpoint));
    }
    let (which, service) = (word(slot), &args.endpoint);
    gate::confirm(
        args.yes,
        &format!("regenerate the {which} key of {service}? Whoever uses it is refused from then on."),
    )?;
    let key = match slot {
        Slot::Primary => "Primary",
        Slot::Secondary => "Secondary",
    };
    let value = value.as_ref().map(|value| String::from_utf8_lossy(value.expose_bytes()));
    let body = Secret::new(json!({ "keyType": key, "keyValue": value }).to_string().into_bytes());
    let path = format!("/services/{}/regen_key", args.endpoint);
    let question = Question { method: Method::POST, path: path.into(), body: Some(body), patience: PATIENCE };
    print(&wait(client::ask(Some(&socket(&config, admin)?), question))?, &args.output)
}

/// Values of keys go over the socket alone.
fn socket(config: &Config, admin: Option<&AdminAddress>) -> Result<AdminAddress, Stop> {
    match admin {
        Some(AdminAddress::Tcp(_)) => Err(Stop::new(
            Exit::Refused,
            "keys of a service are told over the admin socket alone: name it with --admin",
        )),
        Some(AdminAddress::Socket(path)) => Ok(AdminAddress::Socket(path.clone())),
        None => Ok(AdminAddress::Socket(PathBuf::from(&config.admin.socket.path))),
    }
}

fn print(keys: &ServiceKeys, output: &OutputArgs) -> Result<(), Stop> {
    match output.output {
        Output::Json => output::print_json(keys),
        Output::Text => output::print(&text(keys)),
    }
}

fn text(keys: &ServiceKeys) -> String {
    let row = |key: &ServiceKey| {
        let value = key.key.clone().or_else(|| key.why_not.clone()).unwrap_or_default();
        [keys.service.clone(), key.slot.clone(), key.sha256.clone(), Utc(key.made_unix * 1_000).to_string(), value]
    };
    let rows: Vec<_> = keys.slots.iter().map(row).collect();
    table::render(["SERVICE", "SLOT", "SHA256", "MADE", "KEY"], &rows)
}
