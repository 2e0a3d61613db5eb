//! What the driver tells the machine, and what the machine asks of it.
//!
//! Every call that an [`Action`] begins has a [`Ticket`] and is answered once, by the [`Event`] named beside it, with a failure
//! if need be: the driver gives each call a deadline. An answer with a ticket that is not awaited is ignored, so that a late or
//! doubled one does nothing.

use std::time::Duration;

use super::{
    digest::Digest,
    journal::Journal,
    offer::Offer,
    operation::{Operation, Parked, Step},
    probe::{Target, Verdict},
    slot::{PerSlot, Slot},
};
use crate::ids::Generation;

/// One call of the machine's to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ticket(pub u64);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time passed: due at [`Service::next_wake`](super::keys::Keys::next_wake), harmless at any other moment.
    Tick,
    /// The data plane: a front end answered 401 about a value of ours. Each, or one for many with the same generation and value.
    Rejected {
        /// Of the offer by which the request was handed the value.
        generation: Generation,
        /// The value.
        value: Digest,
    },
    /// The data plane: a request with this value was not refused for it. At most one per value and second is enough.
    Accepted {
        /// The value.
        value: Digest,
    },
    /// The data plane: a held request has tried every value of an offer and waits for a read.
    Exhausted {
        /// Of that offer.
        generation: Generation,
    },
    /// Answers [`Action::ReadKeys`].
    Read {
        /// Whose answer.
        ticket: Ticket,
        /// Both keys, or how long to wait before another attempt where the other side said so.
        keys: Result<PerSlot<Digest>, Option<Duration>>,
    },
    /// Answers [`Action::Probe`].
    Probed {
        /// Whose answer.
        ticket: Ticket,
        /// What the front end thought of the value.
        verdict: Verdict,
    },
    /// Answers [`Action::AwaitDrained`]; never sent where that does not come true.
    Drained {
        /// The generation that was waited for.
        generation: Generation,
    },
    /// Answers [`Action::Write`].
    Written {
        /// Whose answer.
        ticket: Ticket,
        /// Whether the journal is on the disk for good.
        outcome: WriteOutcome,
    },
    /// Answers [`Action::Regenerate`].
    Regenerated {
        /// Whose answer.
        ticket: Ticket,
        /// What is known of the call.
        outcome: CallOutcome,
    },
    /// Answers [`Action::Poll`].
    Polled {
        /// Whose answer.
        ticket: Ticket,
        /// How the operation stands.
        outcome: PollOutcome,
    },
    /// A person: no regeneration until unfrozen. What has been submitted is brought to its end.
    Freeze,
    /// A person: regenerations may be asked for again.
    Unfreeze,
    /// A person, or a reload: the keys are read now, and not only at the next periodic look.
    Look,
}

/// Whether a journal is durable: written, fsynced, renamed, and its directory fsynced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// It is.
    Durable,
    /// It may be, or not.
    Failed,
}

/// What is known of a call to regenerate a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// 200 or 202 without an operation: it took effect, or will.
    Done,
    /// A long-running operation.
    Begun {
        /// Where it is polled.
        address: Box<str>,
        /// `Retry-After`.
        poll_after: Option<Duration>,
    },
    /// 403: a role is missing. Nothing was done.
    Denied,
    /// Another 4xx: nothing was done, and the same call would be refused again.
    Refused {
        /// The status.
        status: u16,
    },
    /// 429: nothing was done; later.
    Throttled {
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// 409: another operation runs on the service, perhaps an earlier one of ours.
    Conflict,
    /// Time-out, 5xx, 408, broken connection: it may have taken effect, or may yet.
    Unknown,
}

/// How a long-running operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PollOutcome {
    /// It goes on.
    Running {
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// It ended well.
    Succeeded,
    /// It ended otherwise (`Failed`, `Cancelled`, `Canceled`, `TimedOut`), or is no longer known (404).
    Failed,
    /// No answer that says anything.
    Unknown {
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Build this into the next snapshot, and publish that. No answer.
    Publish(Offer<Digest>),
    /// Read both keys of the service. Answered by [`Event::Read`].
    ReadKeys {
        /// Goes into the answer.
        ticket: Ticket,
        /// Label of `listkeys_total`.
        why: Why,
    },
    /// Send a probe on a fresh connection. Answered by [`Event::Probed`].
    Probe {
        /// Goes into the answer.
        ticket: Ticket,
        /// What it carries.
        target: Target,
    },
    /// Wait until every worker holds the snapshot with this generation or a later one, and no request that was handed a value
    /// which that offer does not name is without a response head. Answered by [`Event::Drained`]. A later one replaces it.
    AwaitDrained {
        /// The generation.
        generation: Generation,
    },
    /// Make this journal durable. Answered by [`Event::Written`].
    Write {
        /// Goes into the answer.
        ticket: Ticket,
        /// All of it.
        journal: Box<Journal>,
    },
    /// Regenerate a key, once, without any retry of its own. Answered by [`Event::Regenerated`].
    Regenerate {
        /// Goes into the answer.
        ticket: Ticket,
        /// Which key.
        slot: Slot,
        /// Digest of the value it is to have, which the driver holds; none: the service makes one.
        set_key: Option<Digest>,
    },
    /// Ask how a long-running operation stands. Answered by [`Event::Polled`].
    Poll {
        /// Goes into the answer.
        ticket: Ticket,
        /// Where.
        address: Box<str>,
    },
    /// Log and count this. No answer.
    Tell(Notice),
}

/// Why keys are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// None are known yet.
    Start,
    /// A request's refusal asked for it.
    Rejected,
    /// A change is to be seen twice.
    Confirm,
    /// The service is locked.
    Locked,
    /// A transaction wants to know.
    Rotation,
    /// The periodic look.
    Look,
}

impl Why {
    /// As the label of `listkeys_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Rejected => "rejected",
            Self::Confirm => "confirm",
            Self::Locked => "locked",
            Self::Rotation => "rotation",
            Self::Look => "look",
        }
    }
}

/// Something worth a line in the log and a metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Notice {
    /// A slot was refused or changed at the service, and new requests take the other one.
    Suspect(Slot),
    /// The active slot is another one.
    Active(Slot),
    /// A read brought a value that was replaced before: it was stale.
    StaleRead(Slot),
    /// Somebody else changed this key, and the new value is in use. `adoptions_total`.
    Adopted(Slot),
    /// A value was accepted by every front end for long enough.
    Settled(Slot),
    /// Every value is refused, and a read brought no other. `credential_locked`.
    Locked,
    /// Requests are let through again.
    Unlocked,
    /// A transaction came to this step. `rotation_step`.
    Step(Slot, Step),
    /// A transaction waits. `rotation_parked`.
    Parked(Slot, Parked),
    /// An operation ended.
    Ended(Operation),
    /// The probe is not refused with a wrong key: it shows nothing for this service.
    ProbeUseless,
    /// A journal could not be written; it is tried again.
    NotDurable,
}
