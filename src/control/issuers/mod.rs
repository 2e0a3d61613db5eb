//! Keys that callers' issuers publish: asked in the background, again when a token is signed with one that is not known, and kept
//! where an answer cannot be used.
//!
//! One task per address, on the control plane's runtime: whoever else wants the keys waits for the same answer. What it finds is
//! published, and no request ever waits for it. The last good answer is kept in the state directory, so that an issuer that is down
//! when this process starts shuts nobody out.

mod kept;
pub mod known;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use super::gate::Gate;
use crate::{
    azure::{
        calls::{Calls, Why},
        http::{Http, Request, Trust},
    },
    clock::Clock,
    config::model::KeySource,
    jwt::key_set::KeySet,
};
pub use kept::Kept;

/// Between two attempts that failed: doubled each time, from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The issuers that are looked after.
pub struct Following {
    http: Http,
    kept: Kept,
    tasks: HashMap<KeySource, JoinHandle<()>>,
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").field("issuers", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Following {
    /// Looks after nobody yet. `state`: where good answers are kept, if anywhere.
    #[must_use]
    pub fn new(http: Http, state: Option<PathBuf>) -> Self {
        Self { http, kept: Kept::new(state), tasks: HashMap::new() }
    }

    /// What an issuer's last good answer was.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Looks after these issuers, and no others. What is found goes to `gate`.
    pub fn follow(&mut self, sources: Vec<(KeySource, Arc<Notify>)>, gate: &Weak<Gate>) {
        self.tasks.retain(|known, task| {
            let wanted = sources.iter().any(|(source, _)| source == known);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for (source, wanted) in sources {
            if self.tasks.contains_key(&source) {
                continue;
            }
            let http = match &source.ca {
                Some(ca) => self.http.trusting(Trust::Only(Arc::clone(&ca.roots))),
                None => self.http.clone(),
            };
            let issuer = Issuer { source: source.clone(), wanted, http, kept: self.kept.clone() };
            self.tasks.insert(source, tokio::spawn(issuer.attend(Weak::clone(gate))));
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

struct Issuer {
    source: KeySource,
    wanted: Arc<Notify>,
    http: Http,
    kept: Kept,
}

impl Issuer {
    async fn attend(self, gate: Weak<Gate>) {
        let clock = self.http.clock().clone();
        let mut failures = 0;
        loop {
            let asked = clock.now();
            let answer = self.ask().await;
            let Some(gate) = gate.upgrade() else { return };
            let result = if answer.is_ok() { "ok" } else { "failed" };
            gate.count_issuer_refresh(self.source.url.authority(), result);
            let pause = match answer {
                Ok((set, document)) => {
                    failures = 0;
                    let keys = set.len();
                    if gate.adopt_issuer_keys(&self.source, set).await {
                        tracing::info!(issuer = %self.source.url, keys, "keys of an issuer");
                        self.kept.keep(&self.source, document).await;
                    }
                    self.source.refresh
                }
                Err(why) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(
                            issuer = %self.source.url, why,
                            "the keys of an issuer cannot be had; those that are known stay in use"
                        );
                    }
                    retry_after(failures).min(self.source.refresh)
                }
            };
            drop(gate);
            tokio::select! {
                () = clock.sleep(pause) => {}
                () = self.missed(&clock, asked) => {}
            }
        }
    }

    /// Ends when somebody showed a token with a key that is not known, and the issuer may be asked again.
    async fn missed(&self, clock: &Clock, asked: crate::clock::Moment) {
        self.wanted.notified().await;
        let since = clock.now().since(asked);
        clock.sleep(self.source.least_refresh.saturating_sub(since)).await;
    }

    async fn ask(&self) -> Result<(KeySet, Vec<u8>), String> {
        let request = Request::get(Why::IssuerKeys, "read the keys of an issuer", self.source.url.clone());
        let reply = self.http.call(request, &mut Calls::default()).await.map_err(|error| error.to_string())?;
        let reply = reply.success().map_err(|error| error.to_string())?;
        let set = KeySet::read(reply.body()).map_err(|why| format!("what it answered cannot be used: {why}"))?;
        Ok((set, reply.body().to_vec()))
    }
}

fn retry_after(failures: u32) -> Duration {
    let (first, most) = RETRY;
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most)
}
