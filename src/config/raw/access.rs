//! Secrets and `callers` as typed. None of these prints itself.
//!
//! `writeOnly` marks what holds a secret, and what a secret is easily put in by mistake: `shape` quotes nothing there.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, limits::CallLimits, played::PlayedService, tokens::Jwt};
use crate::{
    config::{
        text::{Name, Text},
        units::{Digest, Span, Timestamp},
    },
    san::SanPattern,
};

/// A secret, from one of three places. Of a file, one newline at its end is cut; control characters are refused.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "writeOnly" = true,
    "oneOf" = [{ "required": ["file"] }, { "required": ["env"] }, { "required": ["value"] }],
))]
pub(crate) struct Secret {
    /// Path of a file that holds it.
    #[schemars(length(min = 1))]
    pub(crate) file: Option<String>,
    /// Name of an environment variable that holds it.
    pub(crate) env: Option<String>,
    /// The secret itself, for trying things out: gives a warning.
    pub(crate) value: Option<String>,
}

/// Who may come in: `anonymous`, a mapping with `keys`, or `anonymous: { public: true }`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("writeOnly" = true))]
pub(crate) enum Caller {
    /// Anyone at all.
    Anonymous(AnonymousWord),
    /// As described.
    Table(Box<CallerTable>),
}

/// `anonymous`
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AnonymousWord {
    Anonymous,
}

/// A caller in full.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [{ "required": ["keys"] }, { "required": ["jwt"] }, { "required": ["mtls"] }, { "required": ["service"] }, { "required": ["anonymous"] }],
))]
pub(crate) struct CallerTable {
    /// Keys that it may show; each of them lets it in.
    #[schemars(length(min = 1))]
    pub(crate) keys: Option<List<CallerKey>>,
    /// Tokens of an issuer, which it shows as a bearer's.
    pub(crate) jwt: Option<Jwt>,
    /// Client certificates, on listeners that ask for them.
    pub(crate) mtls: Option<Mtls>,
    /// Keys or tokens of a service that scoregate plays.
    pub(crate) service: Option<PlayedService>,
    /// Anyone at all, with a word on how far.
    pub(crate) anonymous: Option<Anonymous>,
    /// How much it may ask, over all routes and however many keys or tokens it has. Default: any amount.
    pub(crate) limits: Option<CallLimits>,
    /// What becomes of what a key, token or certificate has let in once that is taken back, its time has passed, or the caller is no longer
    /// let in by it. `finish`: it goes on to its end. `evict`: it ends within `evict_after`. Either way the next request is refused.
    /// Default `finish`.
    #[schemars(extend("writeOnly" = false))]
    pub(crate) revoke: Option<RevokeWord>,
    /// With `revoke: evict`: how long streams, WebSockets and requests without an answer may go on. Default 30s.
    #[schemars(extend("writeOnly" = false))]
    pub(crate) evict_after: Option<Text<Span>>,
}

/// `revoke`
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RevokeWord {
    Finish,
    Evict,
}

/// Client certificates that let a caller in: of an authority that the listener believes, not revoked, with one of these names or
/// fingerprints.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("writeOnly" = false))]
pub(crate) struct Mtls {
    /// Subject alternative names: DNS names (`client.example`, `*.clients.example`), URIs, SPIFFE ids (`spiffe://domain/path/*`,
    /// where `*` is a segment and, at the end, any number of them).
    #[schemars(length(min = 1))]
    pub(crate) san: Option<List<Text<SanPattern>>>,
    /// SHA-256 of certificates in DER, in hex.
    #[schemars(length(min = 1))]
    pub(crate) fingerprints: Option<List<Text<Digest>>>,
}

/// Anyone at all.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Anonymous {
    /// Anyone who reaches a listener that is not loopback may use an endpoint's credential through a route with this
    /// caller. Default false: such a route is a fault.
    pub(crate) public: Option<bool>,
}

/// A key of a caller: its digest, or where the key is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "writeOnly" = true,
    "oneOf" = [
        { "required": ["sha256"] }, { "required": ["file"] }, { "required": ["env"] }, { "required": ["value"] },
        { "required": ["digests"] },
    ],
))]
pub(crate) struct CallerKey {
    /// SHA-256 of the key, in hex.
    pub(crate) sha256: Option<Text<Digest>>,
    /// Path of a file that holds the key.
    #[schemars(length(min = 1))]
    pub(crate) file: Option<String>,
    /// Name of an environment variable that holds the key.
    pub(crate) env: Option<String>,
    /// The key itself, for trying things out: gives a warning.
    pub(crate) value: Option<String>,
    /// Path of a file of many keys' digests, one in a line: SHA-256 in hex, then `name=`, `not_before=` and `expires=` as far as
    /// they are needed. Empty lines and what follows `#` mean nothing.
    #[schemars(length(min = 1))]
    pub(crate) digests: Option<String>,
    /// What the key is called in the access log and the identity header.
    #[schemars(extend("writeOnly" = false))]
    pub(crate) name: Option<Text<Name>>,
    /// The key is refused before then, RFC 3339. Default: never.
    #[schemars(extend("writeOnly" = false))]
    pub(crate) not_before: Option<Text<Timestamp>>,
    /// The key is refused from then on, RFC 3339. Default: never.
    #[schemars(extend("writeOnly" = false))]
    pub(crate) expires: Option<Text<Timestamp>>,
}
