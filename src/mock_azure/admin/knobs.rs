//! How services and the identity provider behave: read from an order, checked, and told back.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    mock_azure::state::{
        directory::EntraKnobs,
        service::{Action, Knobs, Outcome, SameKeyValue, Service},
    },
    service_auth::{Lifetimes, keys_body},
};

/// Longest duration: a year, seconds.
const MAX_SECONDS: u64 = 31_536_000;

/// The body of `PUT /services/N`, and what a fixture says of a service's behaviour. What is not there stays as it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::mock_azure) struct ServiceChange {
    pub(in crate::mock_azure) learn_lag: Option<Vec<f64>>,
    pub(in crate::mock_azure) stale_listkeys: Option<f64>,
    pub(in crate::mock_azure) operation: Option<f64>,
    pub(in crate::mock_azure) operation_state: Option<Outcome>,
    pub(in crate::mock_azure) same_key_value: Option<SameKeyValue>,
    pub(in crate::mock_azure) token_lifetime: Option<u64>,
    pub(in crate::mock_azure) refresh_after: Option<u64>,
    pub(in crate::mock_azure) deny: Option<Vec<Action>>,
}

impl ServiceChange {
    /// The knobs after the change.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(in crate::mock_azure) fn apply(
        self,
        knobs: &Knobs,
        lifetimes: Lifetimes,
        front_ends: usize,
    ) -> Result<(Knobs, Lifetimes), String> {
        let mut knobs = knobs.clone();
        if let Some(learn_lag) = self.learn_lag {
            if learn_lag.len() > front_ends {
                return Err(format!("learn_lag has {} lags for {front_ends} front ends", learn_lag.len()));
            }
            for lag in &learn_lag {
                in_range("learn_lag", *lag)?;
            }
            knobs.learn_lag = learn_lag;
        }
        if let Some(seconds) = self.stale_listkeys {
            knobs.stale_listkeys = in_range("stale_listkeys", seconds)?;
        }
        if let Some(seconds) = self.operation {
            knobs.operation = in_range("operation", seconds)?;
        }
        knobs.operation_state = self.operation_state.unwrap_or(knobs.operation_state);
        knobs.same_key_value = self.same_key_value.unwrap_or(knobs.same_key_value);
        knobs.deny = self.deny.unwrap_or(knobs.deny);
        // Of the two one alone keeps the other within it.
        let lifetime = self.token_lifetime.unwrap_or_else(|| lifetimes.lifetime.max(self.refresh_after.unwrap_or(0)));
        let refresh_after = self.refresh_after.unwrap_or_else(|| lifetimes.refresh_after.min(lifetime));
        if lifetime > MAX_SECONDS || refresh_after > lifetime {
            return Err("token_lifetime is at most a year, and refresh_after at most token_lifetime".to_owned());
        }
        Ok((knobs, Lifetimes { lifetime, refresh_after }))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a year in seconds is exact")]
fn in_range(name: &str, seconds: f64) -> Result<f64, String> {
    if (0.0..=MAX_SECONDS as f64).contains(&seconds) {
        return Ok(seconds);
    }
    Err(format!("{name} is in seconds, from 0 to a year"))
}

/// A service as `GET /services/N` tells of it. Its keys are there: nothing of the mock is secret.
pub(super) fn service_json(service: &Service) -> Value {
    let Knobs { learn_lag, stale_listkeys, operation, operation_state, same_key_value, deny } = &service.knobs;
    json!({
        "kind": service.setup.kind, "auth": service.auth.auth, "front_ends": service.setup.front_ends,
        "keys": keys_body(&service.auth.keys),
        "learn_lag": learn_lag, "stale_listkeys": stale_listkeys, "operation": operation,
        "operation_state": operation_state, "same_key_value": same_key_value,
        "token_lifetime": service.auth.lifetimes.lifetime, "refresh_after": service.auth.lifetimes.refresh_after,
        "deny": deny,
    })
}

/// The body of `PUT /entra`, and what a fixture says of the identity provider.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::mock_azure) struct EntraChange {
    token_lifetime: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    refresh_in: Option<Option<u64>>,
    device_interval: Option<u64>,
    device_lifetime: Option<u64>,
}

/// Tells null, which takes a value away, from nothing, which leaves it.
#[expect(clippy::option_option, reason = "the two kinds of nothing differ")]
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl EntraChange {
    /// The knobs after the change.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(in crate::mock_azure) fn apply(self, knobs: EntraKnobs) -> Result<EntraKnobs, String> {
        let knobs = EntraKnobs {
            token_lifetime: self.token_lifetime.unwrap_or(knobs.token_lifetime),
            refresh_in: self.refresh_in.unwrap_or(knobs.refresh_in),
            device_interval: self.device_interval.unwrap_or(knobs.device_interval),
            device_lifetime: self.device_lifetime.unwrap_or(knobs.device_lifetime),
        };
        let all = [knobs.token_lifetime, knobs.refresh_in.unwrap_or(0), knobs.device_interval, knobs.device_lifetime];
        if all.iter().any(|seconds| *seconds > MAX_SECONDS) {
            return Err("every duration is in seconds, at most a year".to_owned());
        }
        Ok(knobs)
    }
}

pub(super) fn entra_json(knobs: &EntraKnobs) -> Value {
    json!({
        "token_lifetime": knobs.token_lifetime, "refresh_in": knobs.refresh_in,
        "device_interval": knobs.device_interval, "device_lifetime": knobs.device_lifetime,
    })
}
