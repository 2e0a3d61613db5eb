//! `GET /seen`: what was counted, per service and per side.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    mock_azure::{
        state::counters::{Count, Counters, Values},
        world::{Side, World},
    },
    service_auth::Slot,
};

/// Everything since a moment, Unix seconds. `at` of the answer is the moment to ask with the next time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "Unix milliseconds fit a double, and the cast back saturates"
)]
pub(super) fn report(world: &World, since: Option<f64>) -> Value {
    let at = world.look();
    let moment = since.map(|seconds| (seconds * 1e3).round() as u64);
    let look = |counters: &mut Counters| {
        let values = counters.since(moment);
        counters.mark(at);
        values
    };
    let services: Map<String, Value> = world
        .services()
        .map(|deployed| {
            let mut service = deployed.lock();
            let front_ends = service.setup.front_ends;
            (deployed.name.clone(), service_json(&look(&mut service.seen), front_ends))
        })
        .collect();
    let mut sides = world.calls();
    let mut calls = Map::new();
    for (side, name) in [(Side::Entra, "entra"), (Side::Arm, "arm"), (Side::Mms, "mms"), (Side::Imds, "imds")] {
        let values = look(sides.entry(side).or_default());
        calls.insert(name.to_owned(), calls_json(&values));
    }
    json!({ "at": at as f64 / 1e3, "since": since, "services": services, "calls": calls })
}

fn calls_json(values: &Values) -> Value {
    let calls = values.iter().filter_map(|(count, value)| match count {
        Count::Call(name) => Some(((*name).to_owned(), json!(value))),
        _ => None,
    });
    Value::Object(calls.collect())
}

fn service_json(values: &Values, front_ends: usize) -> Value {
    let of = |count: Count| values.get(&count).copied().unwrap_or_default();
    let mut by_value: BTreeMap<(Option<Slot>, usize), [u64; 2]> = BTreeMap::new();
    let (mut reasons, mut tokens) = (Map::new(), Map::new());
    for (count, value) in values {
        match count {
            Count::Value { slot, age, accepted } => {
                let [taken, refused] = by_value.entry((*slot, *age)).or_default();
                *(if *accepted { taken } else { refused }) += value;
            }
            Count::Reason(name) => drop(reasons.insert((*name).to_owned(), json!(value))),
            Count::Token(name) => drop(tokens.insert((*name).to_owned(), json!(value))),
            _ => {}
        }
    }
    let by_value: Vec<Value> = by_value
        .into_iter()
        .map(|((slot, age), [accepted, refused])| json!({ "slot": slot, "age": age, "accepted": accepted, "refused": refused }))
        .collect();
    let front_ends: Vec<Value> = (0..front_ends)
        .map(|index| {
            json!({
                "connections": of(Count::FrontEndConnections(index)), "requests": of(Count::FrontEndRequests(index)),
                "refused": of(Count::FrontEndRefused(index)),
            })
        })
        .collect();
    json!({
        "connections": of(Count::Connections), "requests": of(Count::Requests), "accepted": of(Count::Accepted),
        "refused": of(Count::Refused), "reasons": reasons, "by_value": by_value, "tokens": tokens,
        "expired_tokens": of(Count::Token("expired")), "front_ends": front_ends,
        "outside_regenerations": of(Count::OutsideRegenerations), "calls": calls_json(values),
    })
}
