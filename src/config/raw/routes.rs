//! `routes` as typed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, OnOff, limits::CallLimits};
use crate::config::{
    text::{CanonicalPath, HostPattern, Name, PlainHeader, Text},
    units::{Size, Span},
};

/// What leads where.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["endpoint"] }, { "required": ["deny"] }]))]
pub(crate) struct Route {
    /// Label of metrics. Default: host and path, as in `*/iris*`.
    pub(crate) name: Option<Text<Name>>,
    /// Which requests.
    #[schemars(required)]
    pub(crate) r#match: Option<Match>,
    /// Changes the path before it is appended to the upstream's.
    pub(crate) rewrite: Option<Rewrite>,
    /// Names of the callers that may use it; the first that accepts wins. Demanded unless `deny`.
    #[schemars(length(min = 1))]
    pub(crate) callers: Option<List<String>>,
    /// Name of the endpoint that answers.
    pub(crate) endpoint: Option<String>,
    /// `none`: the endpoint's credential is not attached.
    pub(crate) attach: Option<AttachNone>,
    /// Header field in which the upstream learns who was let in: the caller's name, and behind a `/` what its credential says of it (a
    /// key's name, the `oid` or `sub` of a token, a certificate's name), where it says anything. Default: none.
    pub(crate) identity_header: Option<Text<PlainHeader>>,
    /// Header fields in which callers may show their key. Default `authorization` alone.
    #[schemars(length(min = 1))]
    pub(crate) caller_headers: Option<List<CallerHeaderWord>>,
    /// How much it is asked, by all callers together; each of them is sure of an equal share of `rate`. Default: any amount.
    pub(crate) limits: Option<CallLimits>,
    /// Whole request, up to the response head. Default `timeouts.request`.
    pub(crate) timeout: Option<Text<Span>>,
    /// Largest request body. Default `limits.body`.
    pub(crate) body: Option<Text<Size>>,
    /// Largest request body that is held to be sent again; 0 = none is. Default `limits.replay_body`.
    pub(crate) replay_body: Option<Text<Size>>,
    /// Request trailers that are passed on. Default: none.
    pub(crate) trailers: Option<List<Text<PlainHeader>>>,
    /// `on`: connections may become WebSockets, over HTTP/1.1 and HTTP/2. Default `off`.
    pub(crate) websocket: Option<OnOff>,
    /// Characters that are refused in paths unless listed here. Default: none.
    pub(crate) path_chars: Option<List<PathChar>>,
    /// `true`: 403 to everyone.
    #[schemars(extend("const" = true))]
    pub(crate) deny: Option<bool>,
}

/// Which requests a route takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["path"] }, { "required": ["path_prefix"] }]))]
pub(crate) struct Match {
    /// `*`, `*.example.com` or an exact host, without a port. Default `*`.
    pub(crate) host: Option<Text<HostPattern>>,
    /// This path alone.
    pub(crate) path: Option<Text<CanonicalPath>>,
    /// This path and what is below it, on segment borders; `/` is every path.
    pub(crate) path_prefix: Option<Text<CanonicalPath>>,
    /// Methods; others get 405. Default: all but CONNECT and TRACE, which are never forwarded.
    #[schemars(length(min = 1))]
    pub(crate) methods: Option<List<Text<http::Method>>>,
    /// Names of listeners. Default: all.
    #[schemars(length(min = 1))]
    pub(crate) listeners: Option<List<String>>,
}

/// Changes the path.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rewrite {
    /// Stands in place of what `match.path_prefix` matched.
    #[schemars(required)]
    pub(crate) path_prefix: Option<Text<CanonicalPath>>,
}

/// `none`
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AttachNone {
    None,
}

/// A header field in which callers may show their key.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CallerHeaderWord {
    Authorization,
    XApiKey,
    ApiKey,
}

/// A character that is refused in paths unless listed.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum PathChar {
    #[serde(rename = ";")]
    Semicolon,
    #[serde(rename = "\\")]
    Backslash,
    #[serde(rename = "%2F")]
    EncodedSlash,
    #[serde(rename = "%5C")]
    EncodedBackslash,
}
