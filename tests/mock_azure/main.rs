//! The embedded Azure over the wire, in process: what Microsoft's libraries do not show, and everything it can be told to do wrong.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod support;

mod control;
mod entra;
mod faults;
mod identity;
mod process;
mod rotation;
mod scoring;
mod streams;
