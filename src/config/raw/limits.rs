//! `limits` of callers and routes as typed.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{
    text::Text,
    units::{Daily, Frequency},
};

/// How much may be asked. Whatever is above is answered 429. Each process counts for itself.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("writeOnly" = false))]
pub(crate) struct CallLimits {
    /// Requests in a time: `100/s`, `30/m`, `5/h`. Default: any number.
    pub(crate) rate: Option<Text<Frequency>>,
    /// Requests at once, where none came for a while. Default: those of a second of `rate`, at least 1.
    #[schemars(range(min = 1))]
    pub(crate) burst: Option<u32>,
    /// Requests in flight. Default: any number.
    #[schemars(range(min = 1))]
    pub(crate) concurrent: Option<u32>,
    /// Requests a day (UTC): `100000/d`. What is used is kept in `state_dir`. Default: any number.
    pub(crate) quota: Option<Text<Daily>>,
}
