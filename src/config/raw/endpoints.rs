//! `endpoints` as typed.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::{List, Rotation, Secret};
use crate::config::{
    model::UpstreamUrl,
    text::{AttachHeader, AttachPrefix, Text, TlsName},
    units::Span,
};

/// A scoring service: one of Azure's by its name, or where it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [{ "required": ["service"] }, { "required": ["upstreams"] }],
))]
pub(crate) struct Endpoint {
    /// A service of a workspace: where it is, how it authenticates and its keys are asked of Azure.
    pub(crate) service: Option<Service>,
    /// How the service authenticates: `key`, `token` (of Azure ML), `entra` (of the identity provider) or `none`. Default: what
    /// it reports.
    pub(crate) auth: Option<AuthWord>,
    /// Where it is: one or more `https://` or `http://` URLs, the path being the scoring path.
    #[schemars(length(min = 1))]
    pub(crate) upstreams: Option<List<Text<UpstreamUrl>>>,
    /// The two keys of the service, of which one is attached to requests. Default: nothing is attached.
    pub(crate) keys: Option<Keys>,
    /// Which key is attached. `auto`: of keys under `keys` the primary; of a service the one in use last, else the first that is
    /// accepted. Default `auto`.
    pub(crate) active: Option<Active>,
    /// Whether a request that is refused for its credential is sent again with another, while it is held. `auto`: for `aks` and
    /// `online`, whose front ends refuse before the model runs; not for `aci` and `upstreams`, where the model may have said it.
    /// Default `auto`.
    pub(crate) replay: Option<ReplayWord>,
    /// Between two looks at a service's keys, which somebody else may have changed. Default 5m.
    pub(crate) look: Option<Text<Span>>,
    /// Refused requests alone cause three looks at a service's keys, and one more each time this has passed. Default 30s.
    pub(crate) listkeys_interval: Option<Text<Span>>,
    /// Refused requests alone cause no more than one renewal of a service's token each. Default 30s.
    pub(crate) refresh_interval: Option<Text<Span>>,
    /// How a service's keys are regenerated, and how new ones are taken into use.
    pub(crate) rotation: Option<Rotation>,
    /// `on`: what a reused HTTP/1.1 connection lost with no byte of answer is sent again, POST too. Default `off`.
    pub(crate) retry_unanswered: Option<OnOff>,
    /// How a key is attached.
    pub(crate) attach: Option<Attach>,
    /// How to connect.
    pub(crate) upstream: Option<UpstreamOptions>,
    /// Requests in flight at once. Default 512.
    #[schemars(range(min = 1))]
    pub(crate) concurrency: Option<usize>,
    /// Requests that may wait for a place. Default 1024.
    pub(crate) queue: Option<usize>,
    /// `allow`: send the credential over `http://` to other machines as well. Default `refuse`.
    pub(crate) plaintext: Option<Plaintext>,
}

/// A service of a workspace.
#[derive(PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// Name of the workspace, as written in `workspaces`.
    #[schemars(required)]
    pub(crate) workspace: Option<String>,
    /// The service's name in the workspace.
    #[schemars(required, length(min = 1))]
    pub(crate) name: Option<String>,
    /// `aci` and `aks`: web services (v1). `online`: online endpoints (v2).
    #[schemars(required)]
    pub(crate) kind: Option<ServiceKindWord>,
}

/// `service.kind`
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServiceKindWord {
    Aci,
    Aks,
    Online,
}

/// `auth`
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AuthWord {
    Key,
    Token,
    Entra,
    None,
}

/// The two keys of a service.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("writeOnly" = true))]
pub(crate) struct Keys {
    /// The first key.
    pub(crate) primary: Option<Secret>,
    /// The second key.
    pub(crate) secondary: Option<Secret>,
}

/// `active`
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Active {
    Auto,
    Primary,
    Secondary,
}

/// `replay`: as [`OnOff`], or `auto`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplayWord {
    Auto,
    On,
    Off,
}

impl<'de> Deserialize<'de> for ReplayWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, rename_all = "lowercase")]
        enum Written {
            Switch(OnOff),
            Word(Word),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            Auto,
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Word(Word::Auto) => Self::Auto,
            Written::Switch(OnOff::On) => Self::On,
            Written::Switch(OnOff::Off) => Self::Off,
        })
    }
}

impl JsonSchema for ReplayWord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Replay".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["auto", "on", "off", true, false] })
    }
}

/// `on` or `off`. Tools that write YAML 1.1 turn these into booleans, so booleans are read as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnOff {
    On,
    Off,
}

impl<'de> Deserialize<'de> for OnOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, rename_all = "lowercase")]
        enum Written {
            Boolean(bool),
            Word(Word),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            On,
            Off,
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Boolean(true) | Written::Word(Word::On) => Self::On,
            Written::Boolean(false) | Written::Word(Word::Off) => Self::Off,
        })
    }
}

impl JsonSchema for OnOff {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OnOff".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["on", "off", true, false] })
    }
}

/// `plaintext`
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Plaintext {
    Refuse,
    Allow,
}

/// How a key is attached to a request.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attach {
    /// Header field that carries it. Default `authorization`.
    pub(crate) header: Option<Text<AttachHeader>>,
    /// What stands before it; `""` for nothing. Default `Bearer `.
    #[schemars(extend("writeOnly" = true))]
    pub(crate) prefix: Option<Text<AttachPrefix>>,
}

/// How to connect to upstreams.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamOptions {
    /// `auto`: HTTP/2 where TLS negotiates it, else HTTP/1.1. `h2c`: HTTP/2 with prior knowledge over `http://`. Default
    /// `auto`.
    pub(crate) protocol: Option<UpstreamProtocolWord>,
    /// TLS of `https://` upstreams.
    pub(crate) tls: Option<UpstreamTls>,
    /// A connection with nothing in flight is closed after this. Default 30s.
    pub(crate) idle: Option<Text<Span>>,
    /// Connections per upstream at once. Default 1024.
    #[schemars(range(min = 1))]
    pub(crate) max_connections: Option<usize>,
    /// A connection takes no new request after this. Default 10m.
    pub(crate) max_age: Option<Text<Span>>,
}

/// `protocol` of an upstream
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UpstreamProtocolWord {
    Auto,
    H1,
    H2,
    H2c,
}

/// TLS to upstreams.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamTls {
    /// PEM file of the CAs that are trusted. Default: the platform's.
    #[schemars(length(min = 1))]
    pub(crate) ca: Option<String>,
    /// Name that is sent and verified. Default: the host of the URL.
    pub(crate) server_name: Option<Text<TlsName>>,
    /// PEM file of a client certificate's chain. Default: none is shown.
    #[schemars(length(min = 1))]
    pub(crate) client_cert: Option<String>,
    /// PEM file of its key, not encrypted.
    #[schemars(length(min = 1))]
    pub(crate) client_key: Option<String>,
}
