//! One scoring service: its keys and tokens, what each front end knows of them, its operations, and what it has seen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Tick,
    counters::{Count, Counters},
};
use crate::{
    clock::Moment,
    mock_azure::setup::ServiceSetup,
    service_auth::{
        Accepted, EntraTokens, Issued, KeyValue, Keys, Lifetimes, Presented, Refusal, Regenerate, ServiceAuth, Sight,
        Slot, TokenKeys,
    },
};

/// Values of a slot whose age is still told.
const MAX_HISTORY: usize = 256;
/// Ages from here on are counted as one.
const MAX_AGE: usize = 9;
/// Operations that can still be asked for.
const MAX_OPERATIONS: usize = 1_000;

/// How a service behaves: what `PUT /services/N` sets, all in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::mock_azure) struct Knobs {
    /// Per front end: how long after a change it takes the old value.
    pub(in crate::mock_azure) learn_lag: Vec<f64>,
    /// How long after a change `listKeys` tells the old value.
    pub(in crate::mock_azure) stale_listkeys: f64,
    /// How long a regeneration runs; the key changes at its end.
    pub(in crate::mock_azure) operation: f64,
    /// How regenerations end.
    pub(in crate::mock_azure) operation_state: Outcome,
    /// Online endpoints: what a `keyValue` that is the present one does.
    pub(in crate::mock_azure) same_key_value: SameKeyValue,
    /// What is answered 403.
    pub(in crate::mock_azure) deny: Vec<Action>,
}

/// How an operation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::mock_azure) enum Outcome {
    Succeeded,
    Failed,
    Cancelled,
    TimedOut,
}

/// What an online endpoint does with the present key as `keyValue`, which is what Microsoft's v2 SDK sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::mock_azure) enum SameKeyValue {
    /// Makes a new key, as users of that SDK expect.
    Replace,
    /// Takes it at its word: nothing changes.
    Keep,
}

/// What can be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::mock_azure) enum Action {
    Read,
    #[serde(alias = "listKeys")]
    Listkeys,
    #[serde(alias = "regenerateKeys")]
    Regeneratekeys,
    Token,
    Score,
}

/// A regeneration that was asked for.
#[derive(Debug, Clone)]
pub(in crate::mock_azure) struct Operation {
    pub(in crate::mock_azure) id: String,
    pub(in crate::mock_azure) created: u64,
    /// Unix seconds of its end, once it has ended.
    pub(in crate::mock_azure) ended: Option<u64>,
    pub(in crate::mock_azure) outcome: Outcome,
    due: Moment,
    slot: Slot,
    value: KeyValue,
}

/// Another operation runs.
#[derive(Debug)]
pub(in crate::mock_azure) struct Busy;

/// One scoring service.
#[derive(Debug)]
pub(in crate::mock_azure) struct Service {
    pub(in crate::mock_azure) setup: ServiceSetup,
    pub(in crate::mock_azure) auth: ServiceAuth,
    pub(in crate::mock_azure) knobs: Knobs,
    pub(in crate::mock_azure) created: u64,
    pub(in crate::mock_azure) seen: Counters,
    sights: Vec<Sight>,
    /// What `listKeys` tells.
    listing: Sight,
    /// Every value of each slot, newest last.
    history: [Vec<KeyValue>; 2],
    operations: Vec<Operation>,
}

impl Service {
    /// As the setup says. `tick` makes what the setup leaves open; `seal` is what tokens are signed with.
    pub(in crate::mock_azure) fn new(setup: ServiceSetup, tick: &Tick, other: &[u8; 32], seal: &[u8; 32]) -> Self {
        let primary = setup.primary_key.clone().unwrap_or_else(|| KeyValue::made_of(&tick.random));
        let secondary = setup.secondary_key.clone().unwrap_or_else(|| KeyValue::made_of(other));
        let keys = Keys { primary, secondary };
        let history = Slot::BOTH.map(|slot| vec![keys.value(slot).clone()]);
        let auth = ServiceAuth {
            name: setup.name.clone(),
            auth: setup.auth,
            keys,
            tokens: TokenKeys::new(seal),
            lifetimes: setup.lifetimes,
        };
        Self {
            knobs: setup.knobs.clone(),
            created: tick.unix,
            seen: Counters::default(),
            sights: vec![Sight::new(&auth.keys); setup.front_ends],
            listing: Sight::new(&auth.keys),
            history,
            operations: Vec::new(),
            setup,
            auth,
        }
    }

    /// Lets what is due happen. Every other method that looks at keys expects it to have been called.
    pub(in crate::mock_azure) fn settle(&mut self, tick: &Tick) {
        let due = |operation: &Operation| operation.ended.is_none() && operation.due <= tick.now;
        while let Some(operation) = self.operations.iter_mut().find(|operation| due(operation)) {
            operation.ended = Some(tick.unix);
            if operation.outcome == Outcome::Succeeded {
                let (slot, value, at) = (operation.slot, operation.value.clone(), operation.due);
                self.change(slot, value, at);
            }
        }
        for sight in self.sights.iter_mut().chain([&mut self.listing]) {
            sight.settle(tick.now);
        }
    }

    fn change(&mut self, slot: Slot, value: KeyValue, at: Moment) {
        self.auth.keys.replace(slot, value.clone());
        for (index, sight) in self.sights.iter_mut().enumerate() {
            let lag = self.knobs.learn_lag.get(index).copied().unwrap_or_default();
            sight.learn(slot, value.clone(), at + seconds(lag));
        }
        self.listing.learn(slot, value.clone(), at + seconds(self.knobs.stale_listkeys));
        let [primary, secondary] = &mut self.history;
        let history = if slot == Slot::Primary { primary } else { secondary };
        if history.len() == MAX_HISTORY {
            history.remove(0);
        }
        history.push(value);
    }

    /// The keys as `listKeys` tells them.
    pub(in crate::mock_azure) fn list_keys(&self, now: Moment) -> Keys {
        let [primary, secondary] = Slot::BOTH.map(|slot| self.listing.value(slot, now).clone());
        Keys { primary, secondary }
    }

    /// Begins a regeneration and gives its id.
    ///
    /// # Errors
    /// Where another runs.
    pub(in crate::mock_azure) fn regenerate(&mut self, asked: Regenerate, tick: &Tick) -> Result<String, Busy> {
        if self.operations.iter().any(|operation| operation.ended.is_none()) {
            return Err(Busy);
        }
        let Regenerate { slot, value } = asked;
        let replaces_same = self.setup.kind == crate::service_auth::ServiceKind::Online
            && self.knobs.same_key_value == SameKeyValue::Replace;
        let is_present = |value: &KeyValue| self.auth.keys.value(slot).is(value.expose_text().as_bytes());
        let value = value.filter(|value| !(replaces_same && is_present(value)));
        let id = tick.guid(7);
        if self.operations.len() == MAX_OPERATIONS {
            self.operations.remove(0);
        }
        self.operations.push(Operation {
            id: id.clone(),
            created: tick.unix,
            ended: None,
            outcome: self.knobs.operation_state,
            due: tick.now + seconds(self.knobs.operation),
            slot,
            value: value.unwrap_or_else(|| KeyValue::made_of(&tick.random)),
        });
        self.settle(tick);
        Ok(id)
    }

    /// Somebody else regenerates a key: at once, whatever runs.
    pub(in crate::mock_azure) fn regenerate_outside(
        &mut self,
        slot: Slot,
        value: Option<KeyValue>,
        tick: &Tick,
        at: u64,
    ) {
        self.change(slot, value.unwrap_or_else(|| KeyValue::made_of(&tick.random)), tick.now);
        self.seen.add(at, [Count::OutsideRegenerations]);
    }

    pub(in crate::mock_azure) fn operation(&self, id: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.id.eq_ignore_ascii_case(id))
    }

    pub(in crate::mock_azure) fn issue(&self, tick: &Tick) -> Issued {
        self.auth.issue(tick.unix, &tick.random)
    }

    pub(in crate::mock_azure) fn denies(&self, action: Action) -> bool {
        self.knobs.deny.contains(&action)
    }

    /// A front end's verdict on a request, counted. `at`: Unix milliseconds.
    pub(in crate::mock_azure) fn judge(
        &mut self,
        front_end: usize,
        presented: &Presented<'_>,
        tick: &Tick,
        at: u64,
        entra: &dyn EntraTokens,
    ) -> Result<Accepted, Refusal> {
        self.settle(tick);
        let Some(sight) = self.sights.get(front_end) else { return Err(Refusal::UnknownKey) };
        let verdict = self.auth.judge(sight, presented, tick.when(), entra);
        let accepted = verdict.is_ok();
        let mut counts = vec![Count::Requests, Count::FrontEndRequests(front_end)];
        match verdict {
            Ok(_) => counts.push(Count::Accepted),
            Err(reason) => {
                counts.extend([Count::Refused, Count::FrontEndRefused(front_end), Count::Reason(reason.label())]);
            }
        }
        if self.auth.auth == crate::service_auth::AuthMode::Key
            && let Ok(value) = presented.value()
        {
            let (slot, age) = self.age(value);
            counts.push(Count::Value { slot, age: age.min(MAX_AGE), accepted });
        }
        match verdict {
            Ok(Accepted::Token(claims)) if tick.unix < claims.refresh_by => counts.push(Count::Token("fresh")),
            Ok(Accepted::Token(_)) => counts.push(Count::Token("past_refresh_by")),
            Ok(Accepted::Entra) => counts.push(Count::Token("entra")),
            Err(reason) if reason.label() == "expired_token" => counts.push(Count::Token("expired")),
            _ => {}
        }
        self.seen.add(at, counts);
        verdict
    }

    /// Whose value it is or was, and how many newer ones that slot has had.
    fn age(&self, value: &[u8]) -> (Option<Slot>, usize) {
        let ages = Slot::BOTH.into_iter().zip(&self.history).filter_map(|(slot, values)| {
            let age = values.iter().rev().position(|one| one.is(value))?;
            Some((age, slot))
        });
        ages.min().map_or((None, 0), |(age, slot)| (Some(slot), age))
    }
}

/// Seconds that may have a fraction; nonsense is none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            learn_lag: Vec::new(),
            stale_listkeys: 0.0,
            operation: 0.0,
            operation_state: Outcome::Succeeded,
            same_key_value: SameKeyValue::Replace,
            deny: Vec::new(),
        }
    }
}

/// How long a service's tokens live unless told otherwise: version 1 tokens are taken 12 hours past `refreshAfter` (a comment in
/// azureml-core), those of online endpoints live an hour.
pub(in crate::mock_azure) const fn usual_lifetimes(kind: crate::service_auth::ServiceKind) -> Lifetimes {
    match kind {
        crate::service_auth::ServiceKind::Online => Lifetimes { lifetime: 3_600, refresh_after: 1_800 },
        crate::service_auth::ServiceKind::Aci | crate::service_auth::ServiceKind::Aks => {
            Lifetimes { lifetime: 86_400, refresh_after: 43_200 }
        }
    }
}
