//! Why something that was asked for is not done. Nothing was touched: exit code 5.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::slot::Slot;

/// A rule of ours that stands against it. `Display` says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Refusal {
    /// Frozen.
    #[error("rotation of this service is frozen: `scoregate keys unfreeze` ends that")]
    Frozen,
    /// A slot was regenerated too short a time ago, by whomever.
    #[error(
        "the {} key was regenerated {} ago and `min_gap` is not over: ask again in {}, or use `--leaked` if a key is in wrong hands",
        slot.label(), spoken(*ago), spoken(*wait)
    )]
    MinGap {
        /// Which.
        slot: Slot,
        /// How long ago.
        #[serde(with = "seconds")]
        ago: Duration,
        /// How long it still takes.
        #[serde(with = "seconds")]
        wait: Duration,
    },
    /// The slot that must carry all traffic meanwhile is not known to be accepted.
    #[error(
        "the {} key, which would carry all requests meanwhile, is not accepted by the service: see `scoregate keys show`, and regenerate that key first if it stays so",
        slot.label()
    )]
    OtherNotAccepted {
        /// Which.
        slot: Slot,
    },
    /// The control plane answered 403.
    #[error(
        "the identity may not regenerate keys of this service: give it a role with the action `regenerateKeys/action`"
    )]
    RoleMissing,
    /// The service takes tokens, or nothing at all.
    #[error("this service has no keys: it takes tokens or nothing, so there is nothing to regenerate")]
    NoKeys,
    /// Another process rotates this service.
    #[error("another process holds the lock of this service: ask that one, or stop it first")]
    LockHeld,
    /// There is nowhere to keep a journal.
    #[error(
        "rotation needs a `state_dir` that can be written: without a journal a crash could leave both keys changed"
    )]
    NoStateDir,
    /// `set_key` is what one of the keys is already.
    #[error("that is the present value of the {} key: give a value that neither key has", slot.label())]
    SameValue {
        /// Which.
        slot: Slot,
    },
    /// Another operation is at work on this service.
    #[error("operation {operation} is at work on this service: wait for its end (`scoregate keys show`)")]
    Busy {
        /// Its number.
        operation: u64,
    },
    /// The probe is accepted with a wrong key.
    #[error(
        "the probe of this endpoint is not refused with a wrong key, so it cannot show that a new key works: configure `rotation.probe`"
    )]
    ProbeUseless,
    /// The keys were not read yet.
    #[error(
        "the keys of this service are not known yet: see `scoregate status`, and ask again when the endpoint is ready"
    )]
    NotReady,
    /// A key that leaked takes its new value from the service.
    #[error("`--leaked` regenerates both keys, so it takes no value: leave `--set-key-from` away")]
    LeakedTakesNoValue,
    /// The value that a key was to have was known to a process that is gone.
    #[error(
        "the value to be set was lost with the process that was given it, and the key has not changed: give it again"
    )]
    ValueLost,
    /// The window ended before the key was regenerated.
    #[error("the window ended before anything was regenerated: the rotation is made up in the next")]
    WindowOver,
    /// Nobody confirmed.
    #[error("not confirmed: answer the question, or give `--yes`")]
    NotConfirmed,
}

impl Refusal {
    /// Stable, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::MinGap { .. } => "min_gap",
            Self::OtherNotAccepted { .. } => "other_not_accepted",
            Self::RoleMissing => "role_missing",
            Self::NoKeys => "no_keys",
            Self::LockHeld => "lock_held",
            Self::NoStateDir => "no_state_dir",
            Self::SameValue { .. } => "same_value",
            Self::Busy { .. } => "busy",
            Self::ProbeUseless => "probe_useless",
            Self::NotReady => "not_ready",
            Self::LeakedTakesNoValue => "leaked_takes_no_value",
            Self::ValueLost => "value_lost",
            Self::WindowOver => "window_over",
            Self::NotConfirmed => "not_confirmed",
        }
    }
}

/// A duration as a person says it: two units at most.
#[must_use]
pub fn spoken(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = duration.as_secs();
    let mut words = Vec::new();
    for (length, unit) in UNITS {
        if rest >= length && words.len() < 2 {
            words.push(format!("{} {unit}", rest / length));
            rest %= length;
        } else if !words.is_empty() {
            break;
        }
    }
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

/// Durations in whole seconds.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::rotation) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_secs())
    }

    pub(in crate::rotation) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Refusal; 15] = [
        Refusal::Frozen,
        Refusal::MinGap { slot: Slot::Primary, ago: Duration::from_secs(61), wait: Duration::from_secs(3_539) },
        Refusal::OtherNotAccepted { slot: Slot::Secondary },
        Refusal::RoleMissing,
        Refusal::NoKeys,
        Refusal::LockHeld,
        Refusal::NoStateDir,
        Refusal::SameValue { slot: Slot::Primary },
        Refusal::Busy { operation: 7 },
        Refusal::ProbeUseless,
        Refusal::NotReady,
        Refusal::LeakedTakesNoValue,
        Refusal::ValueLost,
        Refusal::WindowOver,
        Refusal::NotConfirmed,
    ];

    #[test]
    fn codes_are_unique_and_what_the_journal_says() {
        let codes: std::collections::BTreeSet<&str> = ALL.iter().map(Refusal::code).collect();
        assert_eq!(codes.len(), ALL.len());
        for refusal in ALL {
            let json = serde_json::to_value(refusal).unwrap();
            assert_eq!(json["code"], refusal.code());
            assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), refusal);
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        assert_eq!(
            ALL[1].to_string(),
            "the primary key was regenerated 1 min 1 s ago and `min_gap` is not over: ask again in 58 min 59 s, or use \
             `--leaked` if a key is in wrong hands"
        );
        for refusal in ALL {
            assert!(refusal.to_string().contains(": "), "{refusal}");
        }
    }

    #[test]
    fn durations_are_spoken() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_601, "1 h"), (90_000, "1 d 1 h"), (86_400 * 30 + 59, "30 d")]
        {
            assert_eq!(spoken(Duration::from_secs(seconds)), text);
        }
    }
}
