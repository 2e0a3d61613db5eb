//! Answers that come from a script in the place of the network, for fuzzing: what reads them is the client as it is. Compiled under
//! `--cfg fuzzing` alone.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

use super::{Answer, Attempts, Http, Parts, Proxies, Request};
use crate::{azure::error::Fault, clock::Clock};

/// What answers a request: head and body, or nothing.
#[derive(Clone)]
pub(super) struct Script(Arc<dyn Fn(&Request) -> Option<http::Response<Vec<u8>>> + Send + Sync>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    pub(super) fn answer(&self, request: &Request) -> Result<Answer, Fault> {
        match self.0(request) {
            Some(answer) => {
                let (head, body) = answer.into_parts();
                Ok((head, Zeroizing::new(body)))
            }
            None => Err(Fault::NoAnswer { host: request.url.authority().to_owned(), why: "the script is over".into() }),
        }
    }
}

impl Http {
    /// A client whose requests are answered by `script`, each once.
    #[must_use]
    pub fn scripted(
        clock: Clock,
        script: impl Fn(&Request) -> Option<http::Response<Vec<u8>>> + Send + Sync + 'static,
    ) -> Self {
        let Self(parts) = Self::new(Proxies::none(), clock, Attempts::ONE);
        #[expect(clippy::expect_used, reason = "made in the line above")]
        let parts = Arc::into_inner(parts).expect("nobody else has it");
        Self(Arc::new(Parts { script: Some(Script(Arc::new(script))), ..parts }))
    }
}
