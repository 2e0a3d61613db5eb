//! `scoregate token ENDPOINT`: fetches a service's token, as the SDK's `get_token` does, and says how long it is good for.

use clap::Args;
use serde::Serialize;

use super::{
    Global, Output, OutputArgs, azure,
    config_path::ConfigPath,
    exit::{Exit, Stop},
    output,
    wait::wait,
};
use crate::{
    azure::{
        calls::Calls,
        service::{Auth, ServiceToken},
        token::{claims, their_now},
    },
    clock::Clock,
    telemetry::utc::Utc,
};

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Which endpoint of the configuration
    endpoint: String,
    #[command(flatten)]
    config: ConfigPath,
    /// Show what the token says; its signature is not verified
    #[arg(long)]
    claims: bool,
    /// Show the token itself
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Report {
    endpoint: String,
    service: String,
    auth: &'static str,
    expires_unix: i64,
    refresh_by_unix: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
}

pub(super) fn run(args: TokenArgs, global: &Global) -> Result<(), Stop> {
    let _log = azure::log(global);
    let mut clients = azure::clients();
    let chosen = azure::choose(args.config, &args.endpoint, &mut clients)?;
    let mut calls = Calls::default();
    let (auth, token) = wait(async {
        let stop = |error| azure::stop(&error);
        let description = chosen.plane.describe(&mut calls).await.map_err(stop)?;
        let (_, auth) = description.usable(&chosen.service.name, chosen.service.auth).map_err(stop)?;
        match auth {
            Auth::Token | Auth::Entra => Ok((auth, chosen.plane.token(auth, None, &mut calls).await.map_err(stop)?)),
            Auth::Key | Auth::Open => {
                let has = if auth == Auth::Key { "keys: `scoregate keys show`" } else { "nothing: it is open" };
                let message = format!("{} has no tokens; it has {has}", chosen.service.name);
                Err(Stop::new(Exit::Refused, message))
            }
        }
    })?;
    let report = Report {
        endpoint: args.endpoint,
        service: chosen.service.name.to_string(),
        auth: auth.word(),
        expires_unix: token.expires_unix,
        refresh_by_unix: token.refresh_unix,
        claims: args.claims.then(|| claims(&token.value).unwrap_or_default()),
        access_token: args.reveal.then(|| String::from_utf8_lossy(token.value.expose_bytes()).into_owned()),
    };
    match args.output.output {
        Output::Json => output::print_json(&report),
        Output::Text => output::print(&text(&report, &token, Clock::system().unix_seconds())),
    }
}

fn text(report: &Report, token: &ServiceToken, now_unix: u64) -> String {
    let moment = |unix: i64| {
        let left = unix.saturating_sub(their_now(now_unix, token.ahead));
        let moment = Utc(u64::try_from(unix).unwrap_or(0).saturating_mul(1000));
        if left > 0 {
            format!("{moment} (in {})", super::status::age(left.unsigned_abs()))
        } else {
            format!("{moment} (past)")
        }
    };
    let mut text = format!(
        "endpoint:   {} ({}, auth {})\nexpires:    {}\nrefresh_by: {}\n",
        report.endpoint,
        report.service,
        report.auth,
        moment(report.expires_unix),
        moment(report.refresh_by_unix)
    );
    if let Some(claims) = &report.claims {
        let claims = serde_json::to_string_pretty(claims).unwrap_or_default();
        text.push_str(&format!("claims, not verified:\n{claims}\n"));
    }
    match &report.access_token {
        Some(token) => text.push_str(&format!("token:      {token}\n")),
        None => text.push_str("token:      shown with --reveal\n"),
    }
    text
}
