//! A configuration as it is typed, key by key: the one source of the schema.
//!
//! `shape` checks a file against [`schema()`] and [`read`] turns what passed into these structs for `resolve`. Doc
//! comments here become the schema's descriptions, with unit and default. Nothing here decides anything, and nothing
//! else touches `serde_yaml`.
//!
//! Every field is an `Option`, required ones too (the schema says which): what is faulty is left out, so that the rest
//! can be looked at all the same.

mod access;
mod azure;
mod endpoints;
mod limits;
mod listeners;
mod played;
mod rotation;
mod routes;
mod settings;
mod tokens;

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::{JsonSchema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::Deserialize;

pub(crate) use self::{
    access::{Caller, CallerKey, CallerTable, RevokeWord, Secret},
    azure::{
        AppCertificate, Cloud, CloudWord, Identity, ManagedIdentity, SdkAuth, ServicePrincipal, TokenEndpointWord,
        WorkloadIdentity, Workspace,
    },
    endpoints::{
        Active, AuthWord, Endpoint, OnOff, Plaintext, ReplayWord, Service, ServiceKindWord, UpstreamOptions,
        UpstreamProtocolWord, UpstreamTls,
    },
    limits::CallLimits,
    listeners::{Admin, AdminTls, ClientAuthWord, Listener, ListenerTls, Protocol},
    played::{PlayedAuth, PlayedKind, PlayedService},
    rotation::{PolicyWord, Probe, Rotation},
    routes::{CallerHeaderWord, Match, PathChar, Route},
    settings::{Access, Health, Level, Limits, Log, LogFormat, Readiness, ReadinessWord, Timeouts, Workers},
    tokens::{AlgorithmWord, ClaimValue, Jwt, OneOrMore, Required},
};

/// A list; an item that is faulty is `None`, so that the others keep their index.
pub(crate) type List<T> = Vec<Option<T>>;
/// A mapping of names; an entry that is faulty is `None`, so that its name is still known.
pub(crate) type Map<T> = BTreeMap<String, Option<T>>;

/// What `shape` builds for [`read`].
pub(crate) type Value = serde_yaml::Value;
/// A mapping in a [`Value`].
pub(crate) type Mapping = serde_yaml::Mapping;

/// Configuration of scoregate.
///
/// Durations are written `250ms`, `30s`, `5m`, `1h`, `30d`; sizes `64KiB`, `10MiB`, `1GiB` or as a number of bytes. Relative
/// paths start at the folder of this file. In values, `${NAME}` and `${NAME:-default}` stand for environment
/// variables; `$${` stands for the two characters `${`. Inside `{…}` and `[…]` such a value needs quotes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Version of this format.
    #[schemars(required, extend("const" = 1))]
    #[expect(dead_code, reason = "the schema allows one value")]
    pub(crate) version: Option<u32>,
    /// Data-plane threads; `auto` = one per core that the process may use. Default `auto`.
    pub(crate) workers: Option<Workers>,
    /// Folder for journals, the admin token and the salt. Default `/var/lib/scoregate`; where that cannot be made,
    /// `$XDG_STATE_HOME/scoregate`.
    #[schemars(length(min = 1))]
    pub(crate) state_dir: Option<String>,
    /// `on`: this file, and every file that it names, is watched, and a change takes effect by itself. `off`: only SIGHUP and
    /// the admin API have it read again. Default `on`.
    pub(crate) watch: Option<OnOff>,
    /// Where traffic comes in.
    #[schemars(required, length(min = 1))]
    pub(crate) listeners: Option<List<Listener>>,
    /// `/livez`, `/readyz` and `/metrics` for kubelet and Prometheus, without a token. Default: not served apart from
    /// the admin side.
    pub(crate) health: Option<Health>,
    /// The admin side.
    pub(crate) admin: Option<Admin>,
    /// Who scoregate is, to Azure, by name.
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    pub(crate) identities: Option<Map<Identity>>,
    /// Workspaces of Azure Machine Learning, by name.
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    pub(crate) workspaces: Option<Map<Workspace>>,
    /// Scoring services, by name.
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    pub(crate) endpoints: Option<Map<Endpoint>>,
    /// Who may come in, by name.
    #[schemars(extend("propertyNames" = { "format": "name" }))]
    pub(crate) callers: Option<Map<Caller>>,
    /// What leads where. Order does not matter: the most specific host wins, then the most specific path.
    pub(crate) routes: Option<List<Route>>,
    /// Endpoints that must be usable for `/readyz` to answer 200: `all`, `any` (at least one) or a list of names.
    /// Default `all`.
    pub(crate) readiness: Option<Readiness>,
    /// Caps.
    pub(crate) limits: Option<Limits>,
    /// Deadlines.
    pub(crate) timeouts: Option<Timeouts>,
    /// Log output.
    pub(crate) log: Option<Log>,
}

/// Reads what passed `shape`.
///
/// # Errors
/// Only when `shape` let something through that does not fit; the text of serde's error is left out, since it quotes
/// values.
pub(crate) fn read(value: Value) -> Result<Config, DoesNotFit> {
    serde_yaml::from_value(value).map_err(|_quotes_values| DoesNotFit)
}

/// Reads a document that is not the configuration.
///
/// # Errors
/// The first thing that does not fit, with its line and column.
pub(crate) fn read_document<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    serde_yaml::from_str(text)
}

/// The schema and the structs disagree, which is a fault of this program.
#[derive(Debug)]
pub(crate) struct DoesNotFit;

/// The JSON Schema (draft 2020-12) of the configuration file.
///
/// Besides what JSON Schema defines it uses `x-later`, keys that later versions bring, and formats of its own, which
/// other validators pass over.
#[must_use]
pub fn schema() -> serde_json::Value {
    shared_schema().clone()
}

/// The same, made once.
pub(crate) fn shared_schema() -> &'static serde_json::Value {
    static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(|| {
        SchemaSettings::draft2020_12()
            .with_transform(RecursiveTransform(without_null))
            .into_generator()
            .into_root_schema_for::<Config>()
            .to_value()
    });
    &SCHEMA
}

/// Takes out the `null` that schemars allows for every `Option`: a key without a value is a mistake, not a default.
fn without_null(schema: &mut schemars::Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(serde_json::Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(serde_json::Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(serde_json::Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
        if let [serde_json::Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            // A description beside the reference says more than the one of what it refers to.
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}
