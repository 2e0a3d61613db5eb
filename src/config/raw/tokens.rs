//! `callers.*.jwt` as typed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, Map};
use crate::config::{
    text::Text,
    units::{Pause, Span},
};

/// Tokens (JWT) that let a caller in: signed by an issuer, for us, in time, and saying what is required.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("writeOnly" = false, "oneOf" = [{ "required": ["jwks_uri"] }, { "required": ["jwks_file"] }]))]
pub(crate) struct Jwt {
    /// `iss` of the token, letter by letter; of several, one. `{tenantid}` stands for the token's `tid`, which must then be
    /// listed in `require.tid`: Entra's issuers are `https://sts.windows.net/{tenantid}/` (version 1) and
    /// `https://login.microsoftonline.com/{tenantid}/v2.0`.
    #[schemars(required)]
    pub(crate) issuer: Option<OneOrMore>,
    /// `aud` of the token; of several, one.
    #[schemars(required)]
    pub(crate) audience: Option<OneOrMore>,
    /// Where the issuer publishes its keys (a JSON Web Key Set). Asked in the background; the last good answer is kept in
    /// `state_dir`.
    pub(crate) jwks_uri: Option<Text<crate::azure::url::Url>>,
    /// File with the issuer's keys (a JSON Web Key Set).
    #[schemars(length(min = 1))]
    pub(crate) jwks_file: Option<String>,
    /// PEM file of the authorities that are believed at `jwks_uri`. Default: the platform's.
    #[schemars(length(min = 1))]
    pub(crate) ca: Option<String>,
    /// How often `jwks_uri` is asked. Default 10m.
    pub(crate) refresh: Option<Text<Span>>,
    /// A token with a `kid` that is not known has it asked again, but no more often than this. Default 30s.
    pub(crate) least_refresh: Option<Text<Span>>,
    /// Algorithms that are taken. Default: all of these.
    #[schemars(length(min = 1))]
    pub(crate) algorithms: Option<List<AlgorithmWord>>,
    /// How far clocks may differ: `exp` and `nbf` are taken so much later and earlier. At most 10m. Default 60s.
    pub(crate) skew: Option<Text<Pause>>,
    /// What the token must say besides.
    pub(crate) require: Option<Required>,
}

/// A text or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    /// One.
    One(#[schemars(length(min = 1))] String),
    /// Several.
    More(#[schemars(length(min = 1))] List<String>),
}

impl OneOrMore {
    /// The same once more.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::One(one) => Self::One(one.clone()),
            Self::More(more) => Self::More(more.clone()),
        }
    }
}

/// What a token must say. Everything that is written must hold.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Required {
    /// Tenants, one of which `tid` must be.
    #[schemars(length(min = 1))]
    pub(crate) tid: Option<List<String>>,
    /// Principals, one of which `oid` must be.
    #[schemars(length(min = 1))]
    pub(crate) oid: Option<List<String>>,
    /// Roles, all of which must be in `roles`.
    #[schemars(length(min = 1))]
    pub(crate) roles: Option<List<String>>,
    /// Scopes, all of which must be in `scp` or `scope`.
    #[schemars(length(min = 1))]
    pub(crate) scopes: Option<List<String>>,
    /// Other claims: each must be there with this value, or one of these values.
    pub(crate) claims: Option<Map<ClaimValue>>,
}

/// What a claim must be.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ClaimValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Truth(bool),
    /// One of these texts.
    OneOf(#[schemars(length(min = 1))] List<String>),
}

/// An algorithm of a signature.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum AlgorithmWord {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "PS384")]
    Ps384,
    #[serde(rename = "PS512")]
    Ps512,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}
