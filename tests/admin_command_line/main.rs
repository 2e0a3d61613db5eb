//! The command line against a running admin side.
//!
//! A binary of its own because it starts processes: see `tests/admin/main.rs`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail by panicking")]

mod commands;
#[path = "../admin/support.rs"]
#[expect(dead_code, reason = "shared with tests/admin, which uses all of it")]
mod support;
