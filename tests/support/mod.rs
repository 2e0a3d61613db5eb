//! What the tests are made of: a gate in this process, scripted upstreams, plain clients.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod client;
pub mod fault;
pub mod gate;
pub mod issuer;
pub mod pki;
pub mod raw;
pub mod upstream;

use std::{future::Future, time::Duration};

/// No step of a test takes longer than this: a hang is a failure with a place, not a silent CI.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits something that must happen.
#[track_caller]
pub fn in_time<T>(what: &'static str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not in time, at {caller}"))
    }
}

/// Asks until the answer is yes.
pub async fn eventually(what: &'static str, mut holds: impl FnMut() -> bool) {
    in_time(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
