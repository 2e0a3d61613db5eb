//! `scoregate azure-token`: a token for Azure's REST API, as `curl -H "Authorization: Bearer $(scoregate azure-token)"` wants it.

use std::io::{self, IsTerminal};

use clap::Args;
use serde::Serialize;

use super::{Global, Output, OutputArgs, azure, exit::Stop, output, wait::wait};
use crate::{
    azure::{calls::Calls, cloud::Audience, token::Wanted},
    telemetry::utc::Utc,
};

#[derive(Debug, Args)]
pub(super) struct AzureTokenArgs {
    #[command(flatten)]
    who: azure::WhoArgs,
    /// What the token is for: a resource, or a scope that ends in /.default [default: the resource manager]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Show the token on a terminal too; whoever looks over your shoulder can use it
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Report<'a> {
    who: String,
    audience: String,
    expires_unix: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
}

pub(super) fn run(args: AzureTokenArgs, global: &Global) -> Result<(), Stop> {
    let _log = azure::log(global);
    let config = azure::load_if_any(args.who.config)?;
    let identity = azure::identity(config.as_ref(), args.who.identity.as_deref())?;
    let audience = args.scope.as_deref().map_or_else(|| identity.cloud.audience.clone(), Audience::new);
    let tokens = azure::clients().tokens(&identity);
    let mut calls = Calls::default();
    let bearer =
        wait(async { tokens.token(&audience, Wanted::Valid, &mut calls).await.map_err(|error| azure::stop(&error)) })?;
    let token =
        std::str::from_utf8(bearer.value.expose_bytes()).map_err(|_not_text| Stop::failed("the token is no text"))?;
    // A program that reads this asked for nothing else; on a screen it would stay.
    let shown = (args.reveal || !io::stdout().is_terminal()).then_some(token);
    let report = Report {
        who: identity.who(),
        audience: audience.to_string(),
        expires_unix: bearer.expires_unix,
        access_token: shown,
    };
    match (args.output.output, shown) {
        (Output::Json, _) => output::print_json(&report),
        (Output::Text, Some(token)) => output::print(&format!("{token}\n")),
        (Output::Text, None) => output::print(&format!(
            "a token for {} as {}, until {}\nit is shown with --reveal, and without where this goes into a pipe or $(…)\n",
            report.audience,
            report.who,
            Utc(report.expires_unix.saturating_mul(1000))
        )),
    }
}
