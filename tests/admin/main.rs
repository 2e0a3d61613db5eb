//! The admin side as its users meet it: over its socket, over TCP and on the health address.
//!
//! Nothing here may start a process: between its fork and its exec a child holds a copy of every socket, so one that was
//! closed would still answer. What starts processes is in `tests/admin_command_line`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail by panicking")]

mod access;
mod listeners;
mod routes;
mod secrets;
mod support;
