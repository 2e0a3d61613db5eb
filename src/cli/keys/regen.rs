//! `scoregate keys regen`: through the scoregate that serves the endpoint, where one runs; else one regenerate, locked against every
//! other process with this state directory, and read back until it shows.
//!
//! Alone it changes no key under traffic: where a gate that it cannot reach runs with this state directory it refuses.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    super::{
        Output, OutputArgs,
        address::AdminAddress,
        azure::{self, Chosen, Progress},
        config_path::ConfigPath,
        exit::{Exit, Stop},
        output,
        wait::wait,
    },
    gate, has_keys, salt, word,
};
use crate::{
    azure::{
        calls::Calls,
        error::Error,
        service::{KeyPair, Regenerated, operation, slot_word},
    },
    clock::Clock,
    config::{
        model::{Config, Slot},
        secret_of,
        sources::{Files, RealFiles},
    },
    control::{
        admin::places::Fallbacks,
        state::{Busy, Leave},
    },
    secret::Secret,
};

/// Between two looks at an operation, where the service asks for none. Its SDKs wait 5 s and 30 s.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// How long an operation may go on before this gives up waiting for it.
const OPERATION_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Between two reads of keys that do not show the change yet, and how long they may not.
const READ_EVERY: Duration = Duration::from_secs(5);
const READ_PATIENCE: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Args)]
pub(in crate::cli) struct RegenArgs {
    /// Which endpoint of the configuration, or which caller that is a `service`
    pub(super) endpoint: String,
    /// Which of its keys; through a running scoregate the one that requests do not get, unless it is named
    #[arg(ignore_case = true)]
    pub(super) slot: Option<SlotWord>,
    #[command(flatten)]
    pub(super) config: ConfigPath,
    /// Give it the value in this file; without it the service makes one
    #[arg(long, value_name = "FILE")]
    pub(super) set_key_from: Option<PathBuf>,
    /// Both keys, one after the other, whatever `min_gap` and the window say: one is in wrong hands
    #[arg(long, conflicts_with_all = ["slot", "set_key_from"])]
    leaked: bool,
    /// Wait until all requests use the new key, and show each step; without a running scoregate, until it shows
    #[arg(long)]
    pub(super) wait: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// `primary` or `secondary`, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SlotWord {
    /// The first key.
    Primary,
    /// The second key.
    Secondary,
}

impl From<SlotWord> for Slot {
    fn from(word: SlotWord) -> Self {
        match word {
            SlotWord::Primary => Self::Primary,
            SlotWord::Secondary => Self::Secondary,
        }
    }
}

#[derive(Serialize)]
struct Done {
    endpoint: String,
    service: String,
    slot: &'static str,
    before: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    dry_run: bool,
}

pub(super) fn run(args: RegenArgs, admin: Option<&AdminAddress>) -> Result<(), Stop> {
    let value = args.set_key_from.as_deref().map(read_key).transpose()?;
    if let Some(known) = wait(gate::find(admin, &args.endpoint))? {
        let wanted = gate::Regen {
            endpoint: &args.endpoint,
            slot: args.slot.map(Slot::from),
            value,
            leaked: args.leaked,
            dry_run: args.dry_run,
            wait: args.wait,
            yes: args.yes,
            output: args.output.output,
        };
        return gate::regen(admin, &known, wanted);
    }
    alone(args, value.as_ref())
}

/// Where no gate serves the endpoint.
fn alone(args: RegenArgs, value: Option<&Secret>) -> Result<(), Stop> {
    if args.leaked {
        let message = "nothing was touched: --leaked changes both keys under traffic, and no scoregate that runs here has this endpoint";
        return Err(Stop::new(Exit::Refused, message));
    }
    let Some(slot) = args.slot.map(Slot::from) else {
        let message = "which key? No scoregate that runs here has this endpoint, so none is known to be free: name primary or secondary";
        return Err(Stop::new(Exit::Usage, message));
    };
    let mut clients = azure::clients();
    let chosen = azure::choose(args.config, &args.endpoint, &mut clients)?;
    let salt = salt(&chosen.config)?;
    let mut calls = Calls::default();
    let sent = AtomicBool::new(false);
    let outcome = wait(async {
        has_keys(&chosen, &mut calls).await?;
        let id = chosen.plane.resource_id(&mut calls).await.map_err(|error| azure::stop(&error))?;
        let _leave = leave(&chosen.config, &id)?;
        let before = chosen.plane.list_keys(&mut calls).await.map_err(|error| azure::stop(&error))?;
        refuse_known(&before, slot, value)?;
        let mut done = Done {
            endpoint: args.endpoint.clone(),
            service: chosen.service.name.to_string(),
            slot: word(slot),
            before: salt.digest(before.of(slot).expose_bytes()).fingerprint(),
            after: None,
            dry_run: args.dry_run,
        };
        if args.dry_run {
            return Ok(done);
        }
        confirm(&done, args.yes)?;
        sent.store(true, Relaxed);
        let after = Box::pin(change(&chosen, slot, value, &before, &mut calls)).await?;
        done.after = Some(salt.digest(after.of(slot).expose_bytes()).fingerprint());
        Ok(done)
    });
    let done = match outcome {
        Err(Stop { exit: Exit::Interrupted, .. }) if sent.load(Relaxed) => {
            let message =
                "interrupted after the request was sent: the key changes or has changed; `scoregate keys show` tells";
            return Err(Stop::new(Exit::Interrupted, message));
        }
        outcome => outcome?,
    };
    match args.output.output {
        Output::Json => output::print_json(&done),
        Output::Text => output::print(&told(&done)),
    }
}

fn told(done: &Done) -> String {
    let Done { endpoint, service, slot, before, after, .. } = done;
    match after {
        None => format!(
            "would regenerate the {slot} key of {service} (endpoint {endpoint}), now {before}; nothing was done\n"
        ),
        Some(after) => format!(
            "regenerated the {slot} key of {service} (endpoint {endpoint}): {before} is now {after}, the other key is as it was\n\
             front ends may take the old key for a while, and learn the new one at different times\n"
        ),
    }
}

/// The new key that somebody chose.
pub(super) fn read_key(path: &Path) -> Result<Secret, Stop> {
    let content =
        RealFiles.read(path).map_err(|error| Stop::new(Exit::Usage, format_args!("{}: {error}", path.display())))?;
    secret_of(content).map_err(|_why| {
        let what = "holds no key: one line of visible characters is expected";
        Stop::new(Exit::Usage, format_args!("{} {what}", path.display()))
    })
}

fn leave(config: &Config, id: &str) -> Result<Leave, Stop> {
    let dirs = Fallbacks::from_env().state_dirs(&config.state_dir);
    Leave::ask(&dirs, id).map_err(|busy| {
        let advice = match busy {
            Busy::Gate(_) => {
                ": keys are changed through the scoregate that serves them; name its socket or URL with --admin, or stop it"
            }
            Busy::Service(_) => ": wait until it has ended",
            Busy::Unknown(..) | Busy::NoDirectory(_) => ": name one that can be used in `state_dir`",
        };
        Stop::new(Exit::Refused, format_args!("nothing was touched: {busy}{advice}"))
    })
}

/// A value that is there already would change nothing, or leave two slots with one key.
fn refuse_known(before: &KeyPair, slot: Slot, value: Option<&Secret>) -> Result<(), Stop> {
    let Some(value) = value else { return Ok(()) };
    for known in [Slot::Primary, Slot::Secondary] {
        if before.of(known) == value {
            let message = format!(
                "nothing was touched: the {} key has that value already, and {} would get it",
                word(known),
                word(slot)
            );
            return Err(Stop::new(Exit::Refused, message));
        }
    }
    Ok(())
}

fn confirm(done: &Done, yes: bool) -> Result<(), Stop> {
    let Done { slot, service, before, .. } = done;
    gate::confirm(
        yes,
        &format!("regenerate the {slot} key of {service}? Whoever uses {before} is refused from then on."),
    )
}

/// Regenerates, waits for the operation, and reads until the change shows.
async fn change(
    chosen: &Chosen,
    slot: Slot,
    value: Option<&Secret>,
    before: &KeyPair,
    calls: &mut Calls,
) -> Result<KeyPair, Stop> {
    match chosen.plane.regenerate(slot, value, calls).await {
        Ok(Regenerated::Started(operation, pause)) => {
            if let Some(error) = finish(chosen, operation, pause, calls).await? {
                return read_once(chosen, slot, before, calls, &error).await;
            }
        }
        Ok(Regenerated::Done | Regenerated::Untracked) => {}
        Err(error) if error.may_have_happened() => return read_once(chosen, slot, before, calls, &error).await,
        Err(error) => return Err(azure::stop(&error)),
    }
    read_back(chosen, slot, before, calls).await
}

/// Waits for an operation's end. An error where that cannot be seen.
async fn finish(
    chosen: &Chosen,
    mut operation: operation::Operation,
    mut pause: Option<Duration>,
    calls: &mut Calls,
) -> Result<Option<Error>, Stop> {
    let clock = Clock::system();
    let began = clock.now();
    let mut progress = Progress::new();
    loop {
        let took = clock.now().since(began);
        progress.show(&format!("regenerating a key of {}", chosen.service.name), took);
        if took > OPERATION_PATIENCE {
            let message =
                format!("the operation goes on after {} minutes: {operation}", OPERATION_PATIENCE.as_secs() / 60);
            return Err(Stop::failed(message));
        }
        clock.sleep(pause.unwrap_or(POLL_EVERY).min(OPERATION_PATIENCE)).await;
        match chosen.plane.poll(&operation, calls).await {
            Ok(operation::Progress::Running(next, asked)) => (operation, pause) = (next, asked),
            Ok(operation::Progress::Succeeded) => return Ok(None),
            Ok(operation::Progress::Failed(why)) => {
                return Err(Stop::failed(format_args!(
                    "the service says that it failed: {why}; `scoregate keys show` tells what it did"
                )));
            }
            Err(error) => return Ok(Some(error)),
        }
    }
}

async fn read_back(chosen: &Chosen, slot: Slot, before: &KeyPair, calls: &mut Calls) -> Result<KeyPair, Stop> {
    let clock = Clock::system();
    let began = clock.now();
    let mut progress = Progress::new();
    loop {
        let after = chosen.plane.list_keys(calls).await.map_err(|error| after_sending(&error))?;
        if after.of(slot) != before.of(slot) {
            return only_this_one(slot, before, after);
        }
        let took = clock.now().since(began);
        progress.show("waiting until the new key shows", took);
        if took > READ_PATIENCE {
            let message = format!(
                "the service says that it is done, and its {} key is as it was after {} s",
                word(slot),
                took.as_secs()
            );
            return Err(Stop::failed(message));
        }
        clock.sleep(READ_EVERY).await;
    }
}

/// What can be said where nothing can be read any more.
fn after_sending(error: &Error) -> Stop {
    // Not `Refused`, which says that nothing was touched.
    let exit = if error.is_unreachable() { Exit::Unreachable } else { Exit::Failed };
    Stop::new(
        exit,
        format_args!("{error}; the request was sent: the key changes or has changed, `scoregate keys show` tells"),
    )
}

/// Whether it was done all the same is told by the keys themselves.
async fn read_once(
    chosen: &Chosen,
    slot: Slot,
    before: &KeyPair,
    calls: &mut Calls,
    error: &Error,
) -> Result<KeyPair, Stop> {
    output::complain(&format!("{error}; reading back whether it was done all the same"));
    let after = chosen.plane.list_keys(calls).await.map_err(|error| after_sending(&error))?;
    if after.of(slot) != before.of(slot) {
        return only_this_one(slot, before, after);
    }
    let Stop { exit, .. } = azure::stop(error);
    let message = format!(
        "the {} key is as it was; it may still change: wait a quarter of an hour and look again before you repeat this",
        slot_word(slot)
    );
    Err(Stop::new(exit, message))
}

fn only_this_one(slot: Slot, before: &KeyPair, after: KeyPair) -> Result<KeyPair, Stop> {
    let other = match slot {
        Slot::Primary => Slot::Secondary,
        Slot::Secondary => Slot::Primary,
    };
    if before.of(other) == after.of(other) {
        return Ok(after);
    }
    let message = format!(
        "the {} key has changed, and so has the {}: somebody else regenerated it meanwhile",
        word(slot),
        word(other)
    );
    Err(Stop::failed(message))
}
