//! `scoregate workspace show|list`: where workspaces are, and what their region's services are.

use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Global, Output, OutputArgs, azure,
    exit::{Exit, Stop},
    output, table,
    wait::wait,
};
use crate::{
    azure::{
        calls::Calls,
        config_json,
        control::Control,
        identity::Identity,
        workspace::{self, Facts, Place},
    },
    config::{
        model::Config,
        sources::{Files, RealFiles},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum WorkspaceCommand {
    /// Find workspaces: those of the configuration, the one that is named, or that of config.json, as the SDK looks for it
    Show(ShowArgs),
    /// List the workspaces that the identity sees
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    who: azure::WhoArgs,
    /// Subscription of the workspace
    #[arg(long, value_name = "ID", requires = "name")]
    subscription: Option<String>,
    /// Its resource group [default: looked up]
    #[arg(long, value_name = "NAME", requires = "subscription")]
    resource_group: Option<String>,
    /// Its name
    #[arg(long, value_name = "NAME", requires = "subscription")]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    who: azure::WhoArgs,
    /// Of this subscription alone [default: of every one that the identity sees]
    #[arg(long, value_name = "ID")]
    subscription: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A workspace, for programs.
#[derive(Serialize)]
struct Report {
    name: String,
    resource_group: String,
    subscription: String,
    region: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_management: Option<String>,
}

impl Report {
    fn of(facts: &Facts, subscription: &str) -> Self {
        Self {
            name: facts.name.clone(),
            resource_group: facts.resource_group.clone(),
            subscription: subscription.to_owned(),
            region: facts.region.clone(),
            id: facts.id.clone(),
            model_management: None,
        }
    }
}

pub(super) fn run(command: WorkspaceCommand, global: &Global) -> Result<(), Stop> {
    let _log = azure::log(global);
    match command {
        WorkspaceCommand::Show(args) => show(args),
        WorkspaceCommand::List(args) => list(args),
    }
}

fn show(args: ShowArgs) -> Result<(), Stop> {
    let config = azure::load_if_any(args.who.config)?;
    let named = args.subscription.zip(args.name);
    let named = named.map(|(subscription, name)| Place { subscription, resource_group: args.resource_group, name });
    let wanted = wanted(config.as_ref(), args.who.identity.as_deref(), named)?;
    let mut clients = azure::clients();
    let reports = wait(async {
        let mut reports = Vec::new();
        for (identity, place) in wanted {
            let workspace = clients.workspace(&identity, &place);
            let mut calls = Calls::default();
            let facts = workspace.facts(&mut calls).await.map_err(|error| azure::stop(&error))?;
            let base = workspace.model_management(&mut calls).await.map_err(|error| azure::stop(&error))?;
            let model_management = Some(base.origin());
            reports.push(Report { model_management, ..Report::of(&facts, &place.subscription) });
        }
        Ok(reports)
    })?;
    match args.output.output {
        Output::Json => output::print_json(&reports),
        Output::Text => output::print(&reports.iter().map(text).collect::<Vec<_>>().join("\n")),
    }
}

/// Whom to ask about which workspaces: what was named, else what is configured, else the SDK's file.
fn wanted(
    config: Option<&Config>,
    identity: Option<&str>,
    named: Option<Place>,
) -> Result<Vec<(Identity, Place)>, Stop> {
    if let Some(place) = named {
        return Ok(vec![(azure::identity(config, identity)?, place)]);
    }
    let configured = config.filter(|config| !config.workspaces.is_empty());
    if let Some(config) = configured {
        let of = |workspace: &crate::config::model::Workspace| {
            let own = identity.unwrap_or(&workspace.identity);
            Ok((azure::identity(Some(config), Some(own))?, workspace.place.clone()))
        };
        return config.workspaces.iter().map(of).collect();
    }
    let here = std::path::absolute(".").map_err(Stop::failed)?;
    let Some((path, content)) = find(&here) else {
        let message = "no workspace: name one with --subscription and --name, write `workspaces` into the configuration, or go \
                       where a config.json of the SDK is";
        return Err(Stop::new(Exit::Usage, message));
    };
    let place = config_json::parse(&content)
        .map_err(|why| Stop::new(Exit::Config, format_args!("{} is {why}", path.display())))?;
    Ok(vec![(azure::identity(config, identity)?, place)])
}

fn find(folder: &Path) -> Option<(std::path::PathBuf, Vec<u8>)> {
    config_json::candidates(folder).find_map(|path| RealFiles.read(&path).ok().map(|content| (path, content)))
}

fn text(report: &Report) -> String {
    let Report { name, resource_group, subscription, region, id, model_management } = report;
    format!(
        "workspace:        {name}\nresource group:   {resource_group}\nsubscription:     {subscription}\nregion:           {region}\n\
         model management: {}\nresource id:      {id}\n",
        model_management.as_deref().unwrap_or("-")
    )
}

fn list(args: ListArgs) -> Result<(), Stop> {
    let config = azure::load_if_any(args.who.config)?;
    let identity = azure::identity(config.as_ref(), args.who.identity.as_deref())?;
    let mut clients = azure::clients();
    let tokens = clients.tokens(&identity);
    let control = Control::new(clients.http(), tokens, identity.cloud.clone());
    let reports = wait(async {
        let mut calls = Calls::default();
        let stop = |error| azure::stop(&error);
        let subscriptions = match args.subscription {
            Some(one) => vec![one],
            None => {
                let all = workspace::subscriptions(&control, &mut calls).await.map_err(stop)?;
                all.into_iter().map(|subscription| subscription.id).collect()
            }
        };
        let mut reports = Vec::new();
        for subscription in &subscriptions {
            let found = workspace::list(&control, subscription, &mut calls).await.map_err(stop)?;
            reports.extend(found.iter().map(|facts| Report::of(facts, subscription)));
        }
        Ok(reports)
    })?;
    match args.output.output {
        Output::Json => output::print_json(&reports),
        Output::Text if reports.is_empty() => output::print(&format!("{} sees no workspace\n", identity.who())),
        Output::Text => {
            let rows: Vec<_> = reports
                .iter()
                .map(|one| [&one.name, &one.resource_group, &one.region, &one.subscription].map(Clone::clone))
                .collect();
            let text = table::render(["NAME", "RESOURCE GROUP", "REGION", "SUBSCRIPTION"], &rows);
            output::print(&format!("{}\n", text.trim_end()))
        }
    }
}
