//! An answer: read whole by `http`, judged by whoever asked. It never shows its body.

use std::{fmt, time::Duration};

use http::HeaderMap;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::{
    azure::{
        error::{Error, Fault},
        refusal::{Refusal, one_line},
    },
    secret::Secret,
};

/// An answer.
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    /// What was asked, for what is said about it.
    pub(super) asked: Asked,
    /// Seconds by which its server's clock is ahead of ours; `None` where it does not say, or nothing proves who it is.
    pub(super) ahead: Option<i64>,
    /// How long it asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// What an answer is the answer to.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) doing: String,
    pub(super) host: String,
    pub(super) correlation: String,
    pub(super) secrets: Vec<Secret>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    /// Whether the status is one of success.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// Seconds by which the server's clock is ahead of ours, where it proved who it is.
    #[must_use]
    pub const fn ahead(&self) -> Option<i64> {
        self.ahead
    }

    /// A text of its body as it may be shown: one line, not too long, and none of the secrets that were sent.
    pub(in crate::azure) fn shown(&self, text: &str) -> String {
        one_line(text, &self.asked.secrets)
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// A field of the answer as text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }

    /// How long it asks to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The refusal that this answer is.
    #[must_use]
    pub fn refusal(&self) -> Error {
        let host = self.asked.host.clone();
        let fault = match self.status {
            300..400 => Fault::Redirected { host, status: self.status },
            _ => Fault::Refused { host, refusal: Refusal::read(self.status, &self.body, &self.asked.secrets) },
        };
        let pause = self.retry_after;
        let error = self.asked.error(fault).with_retry_after(pause);
        match (self.status, pause) {
            (429, Some(pause)) => error.advise(format!("it asks for {} s without calls", pause.as_secs().max(1))),
            (407, _) => error.advise("a proxy wants a user and password: HTTP_PROXY=http://USER:PASSWORD@HOST"),
            _ => error,
        }
    }

    /// This answer, if it is a success.
    ///
    /// # Errors
    /// The refusal that it is instead.
    pub fn success(self) -> Result<Self, Error> {
        if self.is_success() { Ok(self) } else { Err(self.refusal()) }
    }

    /// What stands in its body. Nothing of a body that cannot be read is quoted.
    ///
    /// # Errors
    /// What it is instead.
    pub fn json<T: DeserializeOwned>(&self, expected: &'static str) -> Result<T, Error> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Err(self.malformed("an empty body", expected));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let found = match error.classify() {
                serde_json::error::Category::Data => "JSON of another shape",
                serde_json::error::Category::Eof => "JSON that breaks off",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => "what is no JSON",
            };
            self.malformed(format!("{found} (line {}, column {})", error.line(), error.column()), expected)
        })
    }

    /// A success that is none.
    pub(in crate::azure) fn malformed(&self, found: impl Into<String>, expected: &'static str) -> Error {
        let (host, status) = (self.asked.host.clone(), self.status);
        let fault = Fault::Malformed { host, status, found: found.into(), expected };
        self.asked.error(fault).advise("is something else answering there, such as a proxy's login page?")
    }

    /// What stands at the other side and cannot be used; whoever answered may have put into it what was sent.
    pub(in crate::azure) fn unusable(&self, what: impl fmt::Display) -> Error {
        self.asked.error(Fault::Unusable(self.shown(&what.to_string())))
    }
}

impl Asked {
    pub(super) fn error(&self, fault: Fault) -> Error {
        Error::new(self.doing.clone(), fault).with_correlation(&self.correlation)
    }
}
