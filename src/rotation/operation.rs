//! Operations: what was asked of a service's keys, how far it came, and how it ended.

use serde::{Deserialize, Serialize};

use super::{digest::Digest, refusal::Refusal, slot::Slot};

/// Numbers the operations of one service; grows across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub u64);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Regenerate one slot; none: the one that is not active.
    Regenerate {
        /// Which.
        slot: Option<Slot>,
        /// Digest of the value it is to have.
        set_key: Option<Digest>,
    },
    /// Both slots, one after the other, whatever `min_gap` and the window say. Confirmed.
    Leaked,
    /// The slot that is not active becomes active.
    Rollback,
    /// What the schedule asks for.
    Scheduled {
        /// One slot, or both.
        policy: Policy,
        /// Unix seconds at which the window ends: nothing is submitted later.
        until: Option<u64>,
    },
}

/// Which slots a scheduled rotation regenerates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The one that is not active, which then becomes active.
    #[default]
    Alternate,
    /// That one, then the other, in the same window if `min_gap` allows, else in the next.
    Full,
}

/// Who wanted an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A person.
    Asked,
    /// A person, since a key is in wrong hands.
    Leaked,
    /// The schedule.
    Scheduled,
    /// Somebody else changed a key.
    Outside,
}

/// An operation, for those who poll it and for the history.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Which.
    pub id: OperationId,
    /// What.
    pub kind: Kind,
    /// Of which slot.
    pub slot: Slot,
    /// For whom.
    pub origin: Origin,
    /// Unix seconds.
    pub began: u64,
    /// Unix seconds; none while it goes on.
    pub ended: Option<u64>,
    /// How far it is, or how it ended.
    pub state: State,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Regenerates a slot.
    Regenerate,
    /// Makes the other slot active.
    Rollback,
    /// Takes over what somebody else changed.
    Adoption,
}

/// How an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// Its turn comes when the one before it is done.
    Queued,
    /// At work.
    Running {
        /// On what.
        step: Step,
        /// Why it waits, if it does.
        parked: Option<Parked>,
    },
    /// Done as asked.
    Done,
    /// Not done; nothing was touched.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// Not done; the service did not want it, and nothing changed.
    Failed {
        /// The control plane's status.
        status: u16,
    },
    /// Not done: call after call changed nothing.
    Unchanged,
    /// Ended by a freeze before anything was submitted.
    Cancelled,
}

/// What a transaction works at: each step names what must hold before the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Nothing.
    Idle,
    /// The other slot is accepted, nothing stands against it.
    Prechecked,
    /// No request can be sent with the slot's value any more.
    Drained,
    /// The intent is on the disk.
    Intent,
    /// The call is made, and its operation ended.
    Submitted,
    /// The new key was read twice.
    ReadBack,
    /// Every front end accepts it.
    Probed,
    /// Requests that are held use it.
    Trial,
    /// All requests use it.
    Settled,
}

impl Step {
    /// As the label of `rotation_step`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Prechecked => "prechecked",
            Self::Drained => "drained",
            Self::Intent => "intent",
            Self::Submitted => "submitted",
            Self::ReadBack => "read_back",
            Self::Probed => "probed",
            Self::Trial => "trial",
            Self::Settled => "settled",
        }
    }
}

/// Why a transaction waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parked {
    /// Requests with the old value did not end in time.
    Drain,
    /// A key was changed by somebody else, or the other slot was refused.
    Drift,
    /// The journal could not be written.
    Journal,
    /// The control plane asks for patience.
    Throttled,
    /// The key is still what it was before the call.
    Unchanged,
    /// Front ends keep refusing the new key.
    Unconverged,
}

impl Parked {
    /// As the label of `rotation_parked`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Drift => "drift",
            Self::Journal => "journal",
            Self::Throttled => "throttled",
            Self::Unchanged => "unchanged",
            Self::Unconverged => "unconverged",
        }
    }
}
