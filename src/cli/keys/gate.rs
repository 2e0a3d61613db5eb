//! Changes of keys through the running scoregate that serves them: it drains, regenerates, proves and settles; this asks and watches.

use std::{
    borrow::Cow,
    io::{self, BufRead, IsTerminal},
    time::Duration,
};

use clap::Args;
use http::Method;
use serde::Serialize;

use super::super::{
    Output, OutputArgs,
    address::AdminAddress,
    azure::Progress,
    client::{self, Question},
    exit::{Exit, Stop},
    output,
    wait::wait,
};
use crate::{
    clock::Clock,
    config::model::Slot,
    control::admin::report::{EndpointStatus, Granted, OperationReport, RegenKey, SetKey, Status},
    rotation::{
        operation::State,
        refusal::{Refusal, spoken},
    },
    secret::Secret,
};

const PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks at an operation.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is asked of a running gate.
#[derive(Debug)]
pub(super) struct Regen<'a> {
    pub(super) endpoint: &'a str,
    pub(super) slot: Option<Slot>,
    pub(super) value: Option<Secret>,
    pub(super) leaked: bool,
    pub(super) dry_run: bool,
    pub(super) wait: bool,
    pub(super) yes: bool,
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EndpointArgs {
    /// Which endpoint of the running scoregate
    endpoint: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RollbackArgs {
    /// Which endpoint of the running scoregate
    endpoint: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// The endpoint of a gate that runs. None: no gate runs here, or the one that does has no such endpoint; where one was named that is
/// a fault.
pub(super) async fn find(admin: Option<&AdminAddress>, endpoint: &str) -> Result<Option<EndpointStatus>, Stop> {
    let question = Question { method: Method::GET, path: "/status".into(), body: None, patience: PATIENCE };
    let status: Status = match client::ask(admin, question).await {
        Err(Stop { exit: Exit::Unreachable, .. }) if admin.is_none() => return Ok(None),
        status => status?,
    };
    let found = status.endpoints.into_iter().find(|one| one.name == endpoint);
    match found {
        Some(found) => Ok(Some(found)),
        None if admin.is_none() => Ok(None),
        None => Err(Stop::new(
            Exit::Refused,
            format_args!("that scoregate has no endpoint `{endpoint}`: `scoregate status` lists them"),
        )),
    }
}

/// `keys regen` through a gate.
pub(super) fn regen(admin: Option<&AdminAddress>, known: &EndpointStatus, wanted: Regen<'_>) -> Result<(), Stop> {
    let Regen { endpoint, slot, value, leaked, dry_run, wait: watch, yes, output } = wanted;
    let service = service_of(known)?;
    let set_key = value.map(|value| match std::str::from_utf8(value.expose_bytes()) {
        Ok(text) => Ok(SetKey(text.to_owned())),
        Err(_) => Err(Stop::new(Exit::Usage, "the new key is not UTF-8")),
    });
    let order = RegenKey {
        key: slot.map(|slot| slot.label().to_owned()),
        set_key: set_key.transpose()?,
        dry_run: true,
        leaked,
    };
    let path = format!("/endpoints/{endpoint}/regen_key");
    let planned: Granted = wait(post(admin, path.clone(), Some(&order)))?;
    let plan = planned.plan.ok_or_else(|| Stop::failed("it was asked for a plan, and gave none"))?;
    if dry_run {
        return match output {
            Output::Json => output::print_json(&plan),
            Output::Text => output::print(&format!("{service} (endpoint {endpoint}):\n{plan}\n")),
        };
    }
    let what = match plan.steps.first() {
        Some(first) if !leaked => format!("the {} key", first.slot.label()),
        _ => "both keys, one after the other,".to_owned(),
    };
    confirm(
        yes,
        &format!("regenerate {what} of {service} under traffic? It takes at least {}.", spoken(plan.at_least)),
    )?;
    let order = RegenKey { dry_run: false, ..order };
    let begun: Granted = wait(post(admin, path, Some(&order)))?;
    let id = begun.operation.ok_or_else(|| Stop::failed("it was told to begin, and names no operation"))?;
    if !watch {
        return match output {
            Output::Json => output::print_json(&Begun { operation: &id }),
            Output::Text => output::print(&format!(
                "operation {id} has begun; `scoregate status` shows how far it is, and so does --wait\n"
            )),
        };
    }
    let mut ended = vec![wait(follow(admin, id.clone()))?];
    if let (true, Some(next)) = (leaked && ended.iter().all(is_done), following(&id)) {
        ended.push(wait(follow(admin, next))?);
    }
    match output {
        Output::Json => ended.iter().try_for_each(output::print_json)?,
        Output::Text => ended.iter().try_for_each(|one| output::print(&format!("{}\n", told(one))))?,
    }
    ended.iter().find_map(fault).map_or(Ok(()), Err)
}

#[derive(Serialize)]
struct Begun<'a> {
    operation: &'a str,
}

/// `keys rollback`
pub(super) fn rollback(args: RollbackArgs, admin: Option<&AdminAddress>) -> Result<(), Stop> {
    let RollbackArgs { endpoint, yes, output } = args;
    let known = running(admin, &endpoint)?;
    let service = service_of(&known)?;
    confirm(yes, &format!("give new requests the other key of {service}?"))?;
    let path = format!("/endpoints/{endpoint}/rollback");
    let begun: Granted = wait(post::<RegenKey>(admin, path, None))?;
    match output.output {
        Output::Json => output::print_json(&begun),
        Output::Text => output::print(&format!("new requests to {endpoint} get the other key\n")),
    }
}

/// `keys freeze` and `keys unfreeze`
pub(super) fn freeze(args: EndpointArgs, admin: Option<&AdminAddress>, frozen: bool) -> Result<(), Stop> {
    let EndpointArgs { endpoint, output } = args;
    running(admin, &endpoint)?;
    let path = format!("/endpoints/{endpoint}/{}", if frozen { "freeze" } else { "unfreeze" });
    let done: Granted = wait(post::<RegenKey>(admin, path, None))?;
    match (output.output, frozen) {
        (Output::Json, _) => output::print_json(&done),
        (Output::Text, true) => {
            output::print(&format!("no key of {endpoint} is regenerated until `scoregate keys unfreeze {endpoint}`\n"))
        }
        (Output::Text, false) => output::print(&format!("keys of {endpoint} may be regenerated\n")),
    }
}

/// The endpoint of a gate that must run: what it is told has to outlive this command.
fn running(admin: Option<&AdminAddress>, endpoint: &str) -> Result<EndpointStatus, Stop> {
    wait(find(admin, endpoint))?.ok_or_else(|| {
        let message = format!(
            "nothing was touched: no scoregate that runs here has an endpoint `{endpoint}`; name its socket or URL with --admin"
        );
        Stop::new(Exit::Refused, message)
    })
}

fn service_of(known: &EndpointStatus) -> Result<String, Stop> {
    match &known.service {
        Some(service) if service.rotation.is_some() => Ok(service.service.clone()),
        Some(service) if service.auth == "key" => Err(refused(Refusal::NotReady)),
        // Not found yet, which may be a service with keys.
        None if known.upstreams.is_empty() => Err(refused(Refusal::NotReady)),
        Some(_) | None => Err(refused(Refusal::NoKeys)),
    }
}

fn refused(refusal: Refusal) -> Stop {
    Stop::new(Exit::Refused, format_args!("nothing was touched: {refusal}"))
}

async fn post<T: Serialize>(admin: Option<&AdminAddress>, path: String, order: Option<&T>) -> Result<Granted, Stop> {
    let body = order.map(serde_json::to_vec).transpose().map_err(Stop::failed)?.map(Secret::new);
    let question = Question { method: Method::POST, path: Cow::Owned(path), body, patience: PATIENCE };
    client::ask(admin, question).await
}

/// Watches an operation to its end, and shows each step.
async fn follow(admin: Option<&AdminAddress>, id: String) -> Result<OperationReport, Stop> {
    let clock = Clock::system();
    let began = clock.now();
    let mut progress = Progress::new();
    let mut last = None;
    loop {
        let path = Cow::Owned(format!("/operations/{id}"));
        let question = Question { method: Method::GET, path, body: None, patience: PATIENCE };
        let report: OperationReport = client::ask(admin, question).await?;
        if report.is_over() {
            return Ok(report);
        }
        let at = step(&report);
        if last.as_ref() != Some(&at) {
            if !io::stderr().is_terminal() {
                output::complain(&format!("{id}: {at}"));
            }
            last = Some(at.clone());
        }
        progress.show(&format!("{id}: {at}"), clock.now().since(began));
        clock.sleep(LOOK_EVERY).await;
    }
}

/// What goes on, in words.
fn step(report: &OperationReport) -> String {
    match report.state {
        State::Running { step, parked: None } => format!("{} key: {}", report.slot.label(), step.label()),
        State::Running { step, parked: Some(why) } => {
            format!("{} key: {}, waits ({})", report.slot.label(), step.label(), why.label())
        }
        _ => format!("{} key: its turn comes", report.slot.label()),
    }
}

fn told(report: &OperationReport) -> String {
    let (id, slot) = (&report.id, report.slot.label());
    match report.state {
        State::Done => format!("{id}: the {slot} key was regenerated, and all requests use it"),
        State::Refused { refusal } => format!("{id}: nothing was touched: {refusal}"),
        State::Failed { status } => format!("{id}: the service answered {status}; the {slot} key is as it was"),
        State::Unchanged => format!("{id}: call after call changed nothing; the {slot} key is as it was"),
        State::Cancelled => format!("{id}: frozen before anything was touched"),
        State::Queued | State::Running { .. } => format!("{id}: {}", step(report)),
    }
}

fn is_done(report: &OperationReport) -> bool {
    report.state == State::Done
}

/// The exit code of an operation that did not do what was asked.
fn fault(report: &OperationReport) -> Option<Stop> {
    match report.state {
        State::Done => None,
        State::Refused { .. } | State::Cancelled => Some(Stop::silent(Exit::Refused)),
        State::Failed { .. } | State::Unchanged | State::Queued | State::Running { .. } => {
            Some(Stop::silent(Exit::Failed))
        }
    }
}

fn following(id: &str) -> Option<String> {
    let (endpoint, number) = id.rsplit_once('-')?;
    let number: u64 = number.parse().ok()?;
    Some(format!("{endpoint}-{}", number + 1))
}

/// Asks a person.
pub(super) fn confirm(yes: bool, question: &str) -> Result<(), Stop> {
    if yes {
        return Ok(());
    }
    let refused = |why: &str| Stop::new(Exit::Refused, format_args!("nothing was touched: {why}"));
    if !io::stdin().is_terminal() {
        return Err(refused("not confirmed; --yes does it where nobody can be asked"));
    }
    output::complain(&format!("{question} [y/N]"));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Stop::failed)?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(refused("not confirmed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::operation::{Kind, Origin, Parked, Step};

    fn report(state: State) -> OperationReport {
        OperationReport {
            id: "iris-7".to_owned(),
            kind: Kind::Regenerate,
            slot: Slot::Secondary,
            origin: Origin::Asked,
            began_unix: 1,
            ended_unix: None,
            state,
        }
    }

    #[test]
    fn a_person_reads_what_goes_on_and_how_it_ended() {
        assert_eq!(step(&report(State::Running { step: Step::Probed, parked: None })), "secondary key: probed");
        assert_eq!(
            step(&report(State::Running { step: Step::Prechecked, parked: Some(Parked::Drain) })),
            "secondary key: prechecked, waits (drain)"
        );
        assert!(told(&report(State::Done)).starts_with("iris-7: the secondary key was regenerated"));
        assert_eq!(following("a-b-7").as_deref(), Some("a-b-8"));
    }

    #[test]
    fn every_end_has_its_exit_code() {
        for (state, exit) in [
            (State::Refused { refusal: Refusal::Frozen }, Exit::Refused),
            (State::Cancelled, Exit::Refused),
            (State::Failed { status: 400 }, Exit::Failed),
            (State::Unchanged, Exit::Failed),
        ] {
            assert_eq!(fault(&report(state)).unwrap().exit, exit, "{state:?}");
        }
        assert!(fault(&report(State::Done)).is_none());
    }

    #[test]
    fn an_operation_is_read_as_it_was_written() {
        for state in [
            State::Queued,
            State::Running { step: Step::Trial, parked: Some(Parked::Unconverged) },
            State::Done,
            State::Refused { refusal: Refusal::MinGap { slot: Slot::Primary, ago: PATIENCE, wait: PATIENCE } },
            State::Failed { status: 403 },
        ] {
            let written = serde_json::to_string(&report(state)).unwrap();
            assert_eq!(serde_json::from_str::<OperationReport>(&written).unwrap(), report(state), "{written}");
        }
    }
}
