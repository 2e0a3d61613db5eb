//! `scoregate status`: listeners, endpoints with their keys, workers, and how the last reload ended.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use http::Method;

use super::{
    Output, StatusArgs,
    address::AdminAddress,
    client::{self, Question},
    exit::Stop,
    output, table,
    wait::wait,
};
use crate::{
    control::admin::report::{EndpointStatus, ReloadResult, ServiceStatus, SlotStatus, Status},
    telemetry::utc::Utc,
};

const AGAIN_AFTER: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(15);
/// Cursor home, and clear what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

pub(super) fn run(args: &StatusArgs, admin: Option<&AdminAddress>) -> Result<(), Stop> {
    let clear = args.watch && args.output.output == Output::Text && io::stdout().is_terminal();
    wait(async {
        let mut tick = tokio::time::interval(AGAIN_AFTER);
        loop {
            tick.tick().await;
            let question = Question { method: Method::GET, path: "/status".into(), body: None, patience: PATIENCE };
            let status: Status = client::ask(admin, question).await?;
            match args.output.output {
                Output::Json => output::print_json(&status)?,
                Output::Text if clear => output::print(&format!("{CLEAR}{}", text(&status)))?,
                Output::Text => output::print(&text(&status))?,
            }
            if !args.watch {
                return Ok(());
            }
        }
    })
}

fn text(status: &Status) -> String {
    let Status { version, pid, generation, .. } = status;
    let draining = if status.draining { ", draining" } else { "" };
    let up = age(status.uptime_seconds);
    let head = format!("scoregate {version}, pid {pid}, up {up}, generation {generation}{draining}\n");
    let parts =
        [head, last_reload(status), listeners(status), endpoints(status), services(status), workers(status)].concat();
    format!("{}\n", parts.trim_end())
}

fn last_reload(status: &Status) -> String {
    let Some(last) = &status.last_reload else { return "\n".to_owned() };
    let result = match last.result {
        ReloadResult::Ok => "taken",
        ReloadResult::Refused => "refused",
    };
    let moment = Utc(last.at_unix.saturating_mul(1000));
    format!("last reload {moment}: {result}: {}\n\n", last.message)
}

fn listeners(status: &Status) -> String {
    let rows: Vec<_> = status
        .listeners
        .iter()
        .map(|one| [one.name.clone(), one.address.clone(), yes(one.tls), one.connections.to_string()])
        .collect();
    table::render(["LISTENER", "ADDRESS", "TLS", "CONNECTIONS"], &rows)
}

/// A row for each key; an endpoint that attaches nothing has one row too.
fn endpoints(status: &Status) -> String {
    let rows: Vec<_> = status.endpoints.iter().flat_map(endpoint).collect();
    let table = table::render(
        ["ENDPOINT", "READY", "IN FLIGHT", "SLOT", "ACTIVE", "FINGERPRINT", "AGE", "GENERATION", "UPSTREAMS"],
        &rows,
    );
    let reasons = status.endpoints.iter().filter_map(|one| Some((one, one.reason.as_ref()?)));
    let reasons: String = reasons.map(|(one, reason)| format!("{} is not ready: {reason}\n", one.name)).collect();
    if reasons.is_empty() { table } else { format!("{table}{reasons}\n") }
}

fn endpoint(one: &EndpointStatus) -> Vec<[String; 9]> {
    let row = |slot: [String; 5]| {
        let [slot, active, fingerprint, age, generation] = slot;
        let (name, ready, in_flight) = (one.name.clone(), yes(one.ready), one.in_flight.to_string());
        let upstreams = if one.upstreams.is_empty() { "-".to_owned() } else { one.upstreams.join(" ") };
        [name, ready, in_flight, slot, active, fingerprint, age, generation, upstreams]
    };
    if one.slots.is_empty() {
        return vec![row([const { "-" }; 5].map(str::to_owned))];
    }
    one.slots.iter().map(|slot| row(cells(slot))).collect()
}

/// A row for each service of Azure's: how its credential is kept valid.
fn services(status: &Status) -> String {
    let rows: Vec<_> =
        status.endpoints.iter().filter_map(|one| Some(service(&one.name, one.service.as_ref()?))).collect();
    table::render(["SERVICE OF", "AUTH", "GENERATION", "ROTATION", "NEXT", "LAST", "NOTE"], &rows)
}

fn service(name: &str, service: &ServiceStatus) -> [String; 7] {
    let none = || "-".to_owned();
    let at = |unix: Option<u64>| unix.map_or_else(none, |unix| Utc(unix.saturating_mul(1000)).to_string());
    let mut notes = Vec::new();
    if service.locked {
        notes.push("locked: every credential is refused".to_owned());
    }
    if let Some(expires) = service.expires_unix {
        notes.push(format!("expires {}", at(Some(expires))));
    }
    let (mut step, mut next, mut last) = (none(), none(), none());
    if let Some(rotation) = &service.rotation {
        step = match rotation.parked {
            Some(parked) => format!("{}, waits ({})", rotation.step.label(), parked.label()),
            None => rotation.step.label().to_owned(),
        };
        (next, last) = (at(rotation.next_unix), at(rotation.last_success_unix));
        if rotation.frozen {
            notes.push("frozen".to_owned());
        }
        notes.extend(rotation.follows.clone());
    }
    let notes = if notes.is_empty() { none() } else { notes.join("; ") };
    [name.to_owned(), service.auth.clone(), service.generation.to_string(), step, next, last, notes]
}

fn cells(slot: &SlotStatus) -> [String; 5] {
    let fingerprint = slot.fingerprint.clone().unwrap_or_else(|| "no value".to_owned());
    [slot.slot.clone(), yes(slot.active), fingerprint, age(slot.age_seconds), slot.generation.to_string()]
}

fn workers(status: &Status) -> String {
    let rows: Vec<_> = status
        .workers
        .iter()
        .map(|one| [u64::from(one.index), one.generation, one.connections, one.in_flight].map(|n| n.to_string()))
        .collect();
    table::render(["WORKER", "GENERATION", "CONNECTIONS", "IN FLIGHT"], &rows)
}

fn yes(answer: bool) -> String {
    if answer { "yes" } else { "no" }.to_owned()
}

/// The two largest units: `3d 4h`, `5m 6s`, `7s`.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::admin::report::{LastReload, ListenerStatus, RotationStatus, WorkerStatus},
        rotation::operation::{Parked, Step},
    };

    #[test]
    fn ages_have_two_units() {
        let ages = [0, 59, 61, 3660, 90_000].map(age);
        assert_eq!(ages, ["0s", "59s", "1m 1s", "1h 1m", "1d 1h"]);
    }

    #[test]
    fn a_status_reads_from_top_to_bottom() {
        let slot = |slot: &str, active, fingerprint: Option<&str>| SlotStatus {
            slot: slot.into(),
            active,
            fingerprint: fingerprint.map(str::to_owned),
            age_seconds: 61,
            generation: 2,
        };
        let endpoint = |name: &str, slots| EndpointStatus {
            name: name.into(),
            ready: true,
            reason: None,
            upstreams: vec!["http://up/score".into()],
            slots,
            service: None,
            in_flight: 3,
        };
        let status = Status {
            version: "1.2.3".into(),
            pid: 7,
            uptime_seconds: 5,
            generation: 9,
            draining: true,
            listeners: vec![ListenerStatus {
                name: "public".into(),
                address: "127.0.0.1:1".into(),
                tls: true,
                connections: 4,
            }],
            endpoints: vec![
                EndpointStatus {
                    service: Some(ServiceStatus {
                        service: "AKS service iris".into(),
                        auth: "key".into(),
                        generation: 12,
                        locked: false,
                        expires_unix: None,
                        rotation: Some(RotationStatus {
                            slots: vec![],
                            step: Step::Prechecked,
                            parked: Some(Parked::Drain),
                            frozen: true,
                            follows: None,
                            next_unix: None,
                            last_success_unix: Some(0),
                            operations: vec![],
                        }),
                    }),
                    ..endpoint("iris", vec![slot("primary", true, Some("ab12")), slot("secondary", false, None)])
                },
                endpoint("open", vec![]),
                EndpointStatus {
                    ready: false,
                    reason: Some("cannot read the keys".into()),
                    upstreams: vec![],
                    ..endpoint("aks", vec![])
                },
            ],
            workers: vec![WorkerStatus { index: 0, generation: 9, connections: 4, in_flight: 3 }],
            last_reload: Some(LastReload {
                at_unix: 0,
                result: ReloadResult::Refused,
                message: "two faults".into(),
                changed: vec![],
            }),
        };
        let expected = "\
scoregate 1.2.3, pid 7, up 5s, generation 9, draining
last reload 1970-01-01T00:00:00.000Z: refused: two faults

LISTENER  ADDRESS      TLS  CONNECTIONS
public    127.0.0.1:1  yes  4

ENDPOINT  READY  IN FLIGHT  SLOT       ACTIVE  FINGERPRINT  AGE    GENERATION  UPSTREAMS
iris      yes    3          primary    yes     ab12         1m 1s  2           http://up/score
iris      yes    3          secondary  no      no value     1m 1s  2           http://up/score
open      yes    3          -          -       -            -      -           http://up/score
aks       no     3          -          -       -            -      -           -

aks is not ready: cannot read the keys

SERVICE OF  AUTH  GENERATION  ROTATION                   NEXT  LAST                      NOTE
iris        key   12          prechecked, waits (drain)  -     1970-01-01T00:00:00.000Z  frozen

WORKER  GENERATION  CONNECTIONS  IN FLIGHT
0       9           4            3
";
        assert_eq!(text(&status), expected);
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    }
}
