//! Scalars with a syntax of their own: addresses, paths, URLs, header names, durations, …
//!
//! A type that implements [`Syntax`] can stand in `raw` as `Text<T>`: the schema then names its format, `shape` checks
//! every scalar of that format by the same `parse` that serde uses to read it, and `resolve` gets the finished value.
//! Nothing here looks at more than one scalar.

mod http;
mod network;
mod url;

use std::{borrow::Cow, net::SocketAddr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

pub(crate) use self::{
    http::{AttachHeader, AttachPrefix, PlainHeader},
    network::{HostName, HostPattern, TlsName, TrustedProxy},
    url::{Audience, CanonicalPath},
};
use super::{
    model::{ListenAddress, UpstreamUrl},
    units::{Daily, Digest, Frequency, Pause, Size, Span, Timestamp},
};
use crate::{
    rotation::schedule::{Window, WindowError},
    san::SanPattern,
};

/// A scalar that is more than any text.
pub(crate) trait Syntax: Sized {
    /// Its name in the schema; unknown to JSON Schema, so that validators without it let it pass.
    const FORMAT: &'static str;
    /// What a message says was expected.
    const EXPECTED: &'static str;
    /// Whether a bare number is one as well.
    const OR_NUMBER: bool = false;

    /// Reads it.
    fn parse(text: &str) -> Result<Self, Complaint>;
}

/// What a message says besides what was expected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// What stands there, when it must not be quoted.
    pub(crate) found: Option<&'static str>,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// The hint has words of the text in it: not to be said of a text that a variable gave.
    pub(crate) quotes: bool,
}

impl Complaint {
    /// With a hint.
    pub(crate) fn hint(hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..Self::default() }
    }

    /// With a hint that has words of the text in it.
    pub(crate) fn quoting(hint: impl Into<String>) -> Self {
        Self { quotes: true, ..Self::hint(hint) }
    }
}

/// A scalar read by its [`Syntax`].
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T: Syntax> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The text stays out of the message: it may hold what nobody should see.
        T::parse(&text).map(Self).map_err(|_said_by_shape| de::Error::custom(format_args!("not {}", T::EXPECTED)))
    }
}

impl<T: Syntax> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        if T::OR_NUMBER {
            json_schema!({ "type": ["string", "integer"], "format": T::FORMAT })
        } else {
            json_schema!({ "type": "string", "format": T::FORMAT })
        }
    }
}

/// How scalars of one format are checked.
pub(crate) struct Check {
    format: &'static str,
    /// What a message says was expected.
    pub(crate) expected: &'static str,
    /// What is wrong with a text, if anything.
    pub(crate) complaint: fn(&str) -> Option<Complaint>,
}

/// The check of a format that the schema names.
pub(crate) fn check_of(format: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.format == format)
}

const fn check<T: Syntax>() -> Check {
    Check { format: T::FORMAT, expected: T::EXPECTED, complaint: |text| T::parse(text).err() }
}

const CHECKS: &[Check] = &[
    check::<Name>(),
    check::<SocketAddr>(),
    check::<ListenAddress>(),
    check::<TrustedProxy>(),
    check::<HostName>(),
    check::<HostPattern>(),
    check::<TlsName>(),
    check::<CanonicalPath>(),
    check::<UpstreamUrl>(),
    check::<crate::azure::url::Url>(),
    check::<Audience>(),
    check::<::http::Method>(),
    check::<AttachHeader>(),
    check::<AttachPrefix>(),
    check::<PlainHeader>(),
    check::<SanPattern>(),
    check::<Digest>(),
    check::<Timestamp>(),
    check::<Size>(),
    check::<Span>(),
    check::<Pause>(),
    check::<Window>(),
    check::<Frequency>(),
    check::<Daily>(),
];

/// When rotations begin.
impl Syntax for Window {
    const FORMAT: &'static str = "window";
    const EXPECTED: &'static str = "times of the week such as `Sun 02:00-04:00 UTC`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse().map_err(|why: WindowError| Complaint::quoting(why.to_string()))
    }
}

/// A name of client certificates.
impl Syntax for SanPattern {
    const FORMAT: &'static str = "san";
    const EXPECTED: &'static str = "a name such as `client.example`, `*.clients.example` or `spiffe://domain/path/*`";

    fn parse(text: &str) -> Result<Self, Complaint> {
        Self::parse(text)
            .ok_or_else(|| Complaint::hint("`*` stands for a whole label or segment, never in a trust domain"))
    }
}

/// What people call a listener, endpoint, caller or route. It stands in metrics, logs, URLs of the admin API and headers.
pub(crate) struct Name(pub(crate) String);

impl Syntax for Name {
    const FORMAT: &'static str = "name";
    const EXPECTED: &'static str = "a name of letters, digits, `-`, `_` and `.`, at most 63 long";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let fits = (1..=63).contains(&text.len());
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(Complaint::default()) }
    }
}
