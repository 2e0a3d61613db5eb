//! Credentials that change under traffic: a real gate with its drivers, the embedded Azure, and requests that go on meanwhile.
//!
//! Times are short by configuration; nothing else differs from a gate that serves.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    clippy::large_futures,
    reason = "test code"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../azure/world.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod world;

mod adoption;
mod command;
mod crash;
mod refusals;
mod rig;
mod tokens;
