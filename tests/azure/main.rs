//! scoregate's own client of Azure against the embedded Azure, in this process, and against scripted servers where Azure itself would
//! have to be hostile: every kind of identity, every call, and what goes wrong with each.
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

mod bad_input;
mod clouds;
mod command_line;
mod gate;
mod identities;
mod roles;
mod services;
mod sign_in;
mod user;
mod wire;
mod workspaces;
mod world;
