//! What a driver tells people: the log, the metrics, and how its service stands. No value of a credential is among it.

use super::super::seat::Seat;
use crate::{
    azure::service::Auth,
    clock::Tick,
    control::{
        admin::report::{OperationReport, RotationSlot, RotationStatus, ServiceStatus},
        gate::Gate,
    },
    rotation::{
        event::{Notice, Why},
        invariants::Invariant,
        offer::Access,
        operation::{Parked, State, Step},
        rules::Rules,
        service::Service,
        slot::Slot,
        token::{TokenNotice, TokenOffer},
    },
};

const STEPS: [Step; 9] = [
    Step::Idle,
    Step::Prechecked,
    Step::Drained,
    Step::Intent,
    Step::Submitted,
    Step::ReadBack,
    Step::Probed,
    Step::Trial,
    Step::Settled,
];
const PARKED: [Parked; 6] =
    [Parked::Drain, Parked::Drift, Parked::Journal, Parked::Throttled, Parked::Unchanged, Parked::Unconverged];

/// How a service with keys stands. `follows`: why its keys are not regenerated from here; `next`: when they are by themselves.
pub(super) fn keys(
    seat: &Seat,
    service: &Service,
    tick: Tick,
    rules: &Rules,
    follows: Option<String>,
    next: Option<u64>,
) {
    let keys = service.keys();
    let (step, parked) = service.progress(tick.now, rules);
    let offer = keys.offer();
    let locked = offer.is_some_and(|offer| offer.access == Access::Locked);
    let metrics = seat.gate.telemetry();
    for (name, _) in &seat.subject.endpoints {
        let name = name.as_str();
        let on = |is: bool| i64::from(is);
        metrics.credential_generation.with_label_values(&[name]).set(signed(keys.generation()));
        metrics.credential_locked.with_label_values(&[name]).set(on(locked));
        for known in STEPS {
            metrics.rotation_step.with_label_values(&[name, known.label()]).set(on(known == step));
        }
        for known in PARKED {
            metrics.rotation_parked.with_label_values(&[name, known.label()]).set(on(Some(known) == parked));
        }
        if let Some(last) = service.last_success() {
            metrics.rotation_last_success.with_label_values(&[name]).set(seconds(last));
        }
    }
    let slots = Slot::BOTH.map(|slot| {
        let known = keys.slot(slot);
        RotationSlot {
            slot,
            fingerprint: known.value.map(|digest| digest.fingerprint()),
            active: keys.active() == Some(slot),
            standing: known.standing,
            suspect: known.suspect || known.incoming.is_some(),
            regenerated_unix: known.regenerated.unix(tick.now, tick.unix),
            by: known.by,
        }
    });
    let label = seat.label();
    let open = service.transaction().map(|transaction| transaction.open.operation);
    let following = service.transaction().and_then(|transaction| transaction.open.next.and(open));
    let following = following.map(|id| crate::rotation::operation::OperationId(id.0 + 1));
    let running = [following, open].into_iter().flatten().filter_map(|id| service.operation(id, tick.now, rules));
    let operations = running.chain(service.operations().iter().rev().cloned());
    publish(
        seat,
        Auth::Key,
        keys.generation(),
        locked,
        None,
        Some(RotationStatus {
            slots: slots.into(),
            step,
            parked,
            frozen: service.is_frozen(),
            follows,
            next_unix: next,
            last_success_unix: service.last_success(),
            operations: operations.map(|operation| OperationReport::new(label, &operation)).collect(),
        }),
    );
}

/// How a service with tokens stands.
pub(super) fn tokens(seat: &Seat, auth: Auth, offer: Option<&TokenOffer>) {
    let metrics = seat.gate.telemetry();
    let clock = seat.clock();
    let expires = offer.map(|offer| clock.unix_seconds() + offer.until.since(clock.now()).as_secs());
    let generation = offer.map_or(0, |offer| offer.offer.generation);
    let locked = offer.is_some_and(|offer| offer.offer.access == Access::Locked);
    for (name, _) in &seat.subject.endpoints {
        let name = name.as_str();
        metrics.credential_locked.with_label_values(&[name]).set(i64::from(locked));
        if let Some(expires) = expires {
            metrics.credential_generation.with_label_values(&[name]).set(signed(generation));
            // A second more or less each time it is counted would be another time series' worth of noise.
            let known = metrics.credential_expiry.with_label_values(&[name]);
            if (known.get() - seconds(expires)).abs() > 1.5 {
                known.set(seconds(expires));
            }
        }
    }
    publish(seat, auth, generation, locked, expires, None);
}

/// A service that wants nothing.
pub(super) fn open(seat: &Seat) {
    publish(seat, Auth::Open, 0, false, None, None);
}

fn publish(
    seat: &Seat,
    auth: Auth,
    generation: u64,
    locked: bool,
    expires_unix: Option<u64>,
    rotation: Option<RotationStatus>,
) {
    let service = seat.service().map(|service| service.name.to_string()).unwrap_or_default();
    let status = ServiceStatus { service, auth: auth.word().to_owned(), generation, locked, expires_unix, rotation };
    seat.status.send_if_modified(|known| {
        let is_new = known.as_ref() != Some(&status);
        if is_new {
            *known = Some(status);
        }
        is_new
    });
}

/// An endpoint is gone: its gauges would say what was.
pub(super) fn forget(gate: &Gate, endpoint: &str) {
    let metrics = gate.telemetry();
    for gauge in [&metrics.credential_generation, &metrics.credential_locked] {
        let _never_set = gauge.remove_label_values(&[endpoint]);
    }
    for gauge in [&metrics.credential_expiry, &metrics.rotation_last_success] {
        let _never_set = gauge.remove_label_values(&[endpoint]);
    }
    for step in STEPS {
        let _never_set = metrics.rotation_step.remove_label_values(&[endpoint, step.label()]);
    }
    for parked in PARKED {
        let _never_set = metrics.rotation_parked.remove_label_values(&[endpoint, parked.label()]);
    }
}

/// A read of the keys begins.
pub(super) fn read(seat: &Seat, why: Why) {
    seat.gate.telemetry().listkeys.with_label_values(&[seat.label(), why.label()]).inc();
}

/// What must always hold did not: a fault of ours.
pub(super) fn violation(seat: &Seat, broken: Invariant) {
    seat.gate.telemetry().invariant_violations.with_label_values(&[broken.label()]).inc();
    tracing::error!(
        endpoint = seat.label(),
        invariant = broken.label(),
        "an invariant of rotation is broken: please report this"
    );
}

/// Something that is worth a line.
pub(super) fn notice(seat: &Seat, notice: &Notice) {
    let endpoint = seat.label();
    match notice {
        Notice::Suspect(slot) => tracing::warn!(endpoint, slot = slot.label(), "a key was refused or changed"),
        Notice::Active(slot) => tracing::info!(endpoint, slot = slot.label(), "new requests get this key"),
        Notice::StaleRead(slot) => {
            tracing::info!(endpoint, slot = slot.label(), "a read brought a key that was replaced before: it is stale");
        }
        Notice::Adopted(slot) => {
            seat.gate.telemetry().adoptions.with_label_values(&[endpoint]).inc();
            tracing::warn!(endpoint, slot = slot.label(), "somebody else changed this key; the new one is in use");
        }
        Notice::Settled(slot) => tracing::info!(endpoint, slot = slot.label(), "every front end accepts this key"),
        Notice::Locked => {
            tracing::error!(
                endpoint,
                "every key is refused and a read brought no other: requests are refused, but for one a second"
            );
        }
        Notice::Unlocked => tracing::info!(endpoint, "requests are let through again"),
        Notice::Step(slot, step) => tracing::info!(endpoint, slot = slot.label(), step = step.label(), "rotation"),
        Notice::Parked(slot, reason) => {
            tracing::warn!(endpoint, slot = slot.label(), reason = reason.label(), "the rotation waits");
        }
        Notice::Ended(operation) => {
            let (id, slot) = (operation.id.0, operation.slot.label());
            match operation.state {
                State::Done => tracing::info!(endpoint, operation = id, slot, "the operation is done"),
                State::Refused { refusal } => {
                    tracing::warn!(endpoint, operation = id, slot, %refusal, "the operation was refused; nothing was touched");
                }
                state => {
                    tracing::warn!(endpoint, operation = id, slot, ?state, "the operation ended without the change")
                }
            }
        }
        Notice::ProbeUseless => {
            tracing::error!(
                endpoint,
                "a probe with a wrong key is accepted, so probes show nothing: configure `rotation.probe`; until then its keys are not rotated"
            );
        }
        Notice::NotDurable => tracing::error!(endpoint, "its journal could not be written; it is tried again"),
    }
}

/// Something of a token that is worth a line.
pub(super) fn token(seat: &Seat, notice: TokenNotice) {
    let endpoint = seat.label();
    let count = |result| seat.gate.telemetry().token_refreshes.with_label_values(&[endpoint, result]).inc();
    match notice {
        TokenNotice::Renewed => {
            count("ok");
            tracing::info!(endpoint, "a token was fetched");
        }
        TokenNotice::Failed => count("failed"),
        TokenNotice::ExpiredOnArrival => {
            count("expired");
            tracing::error!(endpoint, "a token came that has expired by this machine's clock: set the clock");
        }
        TokenNotice::Expired => {
            tracing::warn!(endpoint, "its token has expired and there is no newer one: requests are refused");
        }
        TokenNotice::Locked => {
            tracing::error!(endpoint, "its tokens are refused: requests are refused, but for one a second")
        }
        TokenNotice::Unlocked => tracing::info!(endpoint, "requests are let through again"),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "Unix seconds have 31 bits")]
fn seconds(unix: u64) -> f64 {
    unix as f64
}
