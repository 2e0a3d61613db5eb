//! `callers.*.service` as typed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, Secret, tokens::OneOrMore};
use crate::config::{model::UpstreamUrl, text::Text, units::Span};

/// A version 1 web service of Azure ML's that scoregate itself plays, in front of any container. Its name is the caller's.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("writeOnly" = false))]
pub(crate) struct PlayedService {
    /// What it is: decides what is allowed and what is the default.
    #[schemars(required)]
    pub(crate) kind: Option<PlayedKind>,
    /// What it asks of callers: one of its two keys, a token that it hands out (`aks` alone), or nothing. Default as Azure's: `key`
    /// for `aks`, `none` for `aci`.
    pub(crate) auth: Option<PlayedAuth>,
    /// What values of keys are sealed with in `state_dir` (AES-256-GCM), so that they can be listed. Default: only digests are kept,
    /// and nobody can list the keys.
    pub(crate) seal_key: Option<Secret>,
    /// Object ids (`oid`) of the principals that may list and regenerate keys and fetch tokens, at the SDK's paths of the admin
    /// address. Default: nobody.
    #[schemars(length(min = 1))]
    pub(crate) managers: Option<List<String>>,
    /// Whose tokens managers show.
    pub(crate) trust: Option<Trust>,
    /// How long tokens live; `refresh_by` is at half of it. Default 1h.
    pub(crate) token_lifetime: Option<Text<Span>>,
    /// Where it is called: the SDK's `run` goes there. Default: not told.
    pub(crate) scoring_uri: Option<Text<UpstreamUrl>>,
}

/// `kind`
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlayedKind {
    Aci,
    Aks,
}

/// `auth`
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlayedAuth {
    Key,
    Token,
    None,
}

/// Whose tokens managers show.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["jwks_uri"] }, { "required": ["jwks_file"] }]))]
pub(crate) struct Trust {
    /// `iss` of the token; of several, one.
    #[schemars(required)]
    pub(crate) issuer: Option<OneOrMore>,
    /// `aud` of the token, one of these: for Microsoft's SDK the resource manager, `https://management.core.windows.net/` and
    /// `https://management.azure.com/`.
    #[schemars(required, length(min = 1))]
    pub(crate) audiences: Option<List<String>>,
    /// Where the issuer publishes its keys.
    pub(crate) jwks_uri: Option<Text<crate::azure::url::Url>>,
    /// File with the issuer's keys.
    #[schemars(length(min = 1))]
    pub(crate) jwks_file: Option<String>,
    /// PEM file of the authorities that are believed at `jwks_uri`. Default: the platform's.
    #[schemars(length(min = 1))]
    pub(crate) ca: Option<String>,
}
