//! What the admin API says, as JSON: the process writes these types, `scoregate status` and its kin read them back.
//!
//! Nothing here may hold a secret: of a key there is its fingerprint.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rotation::{
    journal::{By, Standing},
    operation::{Kind, Operation, Origin, Parked, State, Step},
    plan::Plan,
    slot::Slot,
};

/// `GET /status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the process that answers.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Generation of the snapshot that was published last.
    pub generation: u64,
    /// Whether it takes leave.
    pub draining: bool,
    /// Where traffic comes in.
    pub listeners: Vec<ListenerStatus>,
    /// Scoring services.
    pub endpoints: Vec<EndpointStatus>,
    /// Data-plane threads.
    pub workers: Vec<WorkerStatus>,
    /// How the last reload ended; `None` before the first.
    pub last_reload: Option<LastReload>,
}

/// One listener of [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The address it has.
    pub address: String,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Connections that are open.
    pub connections: u64,
}

/// One endpoint of [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Whether requests can be sent to it.
    pub ready: bool,
    /// Why not, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its base URLs; empty while they are not known.
    pub upstreams: Vec<String>,
    /// What it attaches; empty when it attaches nothing.
    pub slots: Vec<SlotStatus>,
    /// How its credential is kept valid, where it is a service of Azure's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceStatus>,
    /// Requests that are with it now.
    pub in_flight: u64,
}

/// One key of an [`EndpointStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// `primary`, `secondary` or `token`.
    pub slot: String,
    /// Whether requests get this one.
    pub active: bool,
    /// What tells one value from another without showing it; `None` when there is no value.
    pub fingerprint: Option<String>,
    /// Seconds since this value was first seen.
    pub age_seconds: u64,
    /// Counts the values this slot has had.
    pub generation: u64,
}

/// `GET /endpoints/{endpoint}/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointKeys {
    /// Which endpoint.
    pub endpoint: String,
    /// Generation of the snapshot that attaches them.
    pub generation: u64,
    /// Its keys; empty when it attaches nothing.
    pub slots: Vec<SlotStatus>,
    /// How they are kept valid, where it is a service of Azure's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceStatus>,
}

/// One data-plane thread of [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Counts from 0.
    pub index: u32,
    /// The newest snapshot it has seen.
    pub generation: u64,
    /// Client connections it holds.
    pub connections: u64,
    /// Requests it works on.
    pub in_flight: u64,
}

/// How the last reload ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// When, in Unix seconds.
    pub at_unix: u64,
    /// Whether the file is what is served now.
    pub result: ReloadResult,
    /// One sentence; of a refused file its faults, a line each.
    pub message: String,
    /// What became different.
    pub changed: Vec<String>,
}

/// Whether a reload took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    /// The new configuration is served.
    Ok,
    /// The old one still is.
    Refused,
}

/// `GET /readyz`: 200 when ready, else 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyReport {
    /// Whether requests should be sent here.
    pub ready: bool,
    /// Whether the process takes leave, and is not ready for that reason.
    pub draining: bool,
    /// What was asked, one by one; left out unless `?verbose`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointReady>,
}

/// One endpoint of a [`ReadyReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointReady {
    /// Its name.
    pub name: String,
    /// Whether requests can be sent to it.
    pub ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /reload`, when the new configuration is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Generation of the snapshot that was published; the old one when nothing changed.
    pub generation: u64,
    /// What became different, a line each.
    pub changed: Vec<String>,
    /// What is allowed but probably not meant, a line each.
    pub warnings: Vec<String>,
    /// Whether the old snapshot was waited for.
    pub drained: bool,
}

/// Why a reload did not do what was asked; the kind says which configuration is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadError {
    /// Whose fault it is.
    pub kind: ReloadErrorKind,
    /// What is wrong, a line each.
    pub faults: Vec<String>,
}

/// Whose fault a [`ReloadError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadErrorKind {
    /// The configuration is wrong: 422 `config_invalid`.
    Config,
    /// The new configuration is served, but requests that hold an earlier key are still without an answer: 409
    /// `reload_not_drained`.
    NotDrained,
    /// Something of ours: 500 `internal`.
    Internal,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ReloadErrorKind::Config => "the configuration is wrong; the old one is still served",
            ReloadErrorKind::NotDrained => "the new configuration is served, but earlier keys are still in use",
            ReloadErrorKind::Internal => "the reload failed; the old configuration is still served",
        })?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

impl std::error::Error for ReloadError {}

/// Body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What stands in an [`ErrorReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs; never changes its meaning.
    pub code: String,
    /// For people.
    pub message: String,
    /// Finds the request in the log.
    pub request_id: String,
    /// Faults of a configuration, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// Body of `PUT /log-level`, and of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// How the credential of a service of Azure's stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Which service, in words.
    pub service: String,
    /// How it authenticates: `key`, `token`, `entra` or `none`.
    pub auth: String,
    /// Grows by one each time what requests get changes; 0 before the first time.
    pub generation: u64,
    /// Every value was refused and a read brought no other: requests are answered 503, but for one a second.
    pub locked: bool,
    /// Until when the token is attached, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix: Option<u64>,
    /// Of a service with keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,
}

/// How the rotation of a service's keys stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationStatus {
    /// Both keys.
    pub slots: Vec<RotationSlot>,
    /// What is being worked at.
    pub step: Step,
    /// Why it waits, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Parked>,
    /// No regeneration until somebody unfreezes.
    pub frozen: bool,
    /// Why this process does not regenerate keys of this service at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// When the next rotation begins by itself, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_unix: Option<u64>,
    /// When a key was last regenerated by us and taken into use, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_unix: Option<u64>,
    /// The operation that is open and those that ended, newest first.
    pub operations: Vec<OperationReport>,
}

/// What is known of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationSlot {
    /// Which.
    pub slot: Slot,
    /// Tells one value from another; none: not read yet.
    pub fingerprint: Option<String>,
    /// Whether new requests get it.
    pub active: bool,
    /// How far it is trusted.
    pub standing: Standing,
    /// Whether it was refused, or is no longer what the service says.
    pub suspect: bool,
    /// When it was last regenerated, Unix seconds; where that is not known, when it was first seen.
    pub regenerated_unix: u64,
    /// By whom.
    pub by: By,
}

/// `GET /operations/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationReport {
    /// `ENDPOINT-NUMBER`.
    pub id: String,
    /// What is done.
    pub kind: Kind,
    /// With which key.
    pub slot: Slot,
    /// For whom.
    pub origin: Origin,
    /// Unix seconds.
    pub began_unix: u64,
    /// Unix seconds; none while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix: Option<u64>,
    /// How far it is, or how it ended.
    #[serde(flatten)]
    pub state: State,
}

impl OperationReport {
    /// An operation of the service that an endpoint is.
    #[must_use]
    pub fn new(endpoint: &str, operation: &Operation) -> Self {
        Self {
            id: format!("{endpoint}-{}", operation.id.0),
            kind: operation.kind,
            slot: operation.slot,
            origin: operation.origin,
            began_unix: operation.began,
            ended_unix: operation.ended,
            state: operation.state,
        }
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !matches!(self.state, State::Queued | State::Running { .. })
    }
}

/// Body of `POST /endpoints/{endpoint}/regen_key`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegenKey {
    /// `Primary` or `Secondary`, in any case; none: the one that requests do not get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The value it is to have; none: the service makes one. Over the socket or TLS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_key: Option<SetKey>,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Both keys, one after the other, whatever `min_gap` and the window say.
    #[serde(default)]
    pub leaked: bool,
}

/// A key on its way in. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetKey(pub String);

impl fmt::Debug for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Drop for SetKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Answer to what asks for a change of a service's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The operation, at `/operations/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// What would be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}
