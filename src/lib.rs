//! scoregate: an authenticating reverse proxy for deployed machine-learning web services.
#![forbid(unsafe_op_in_unsafe_fn)]

pub mod cli;
pub mod config;
pub mod control;
pub mod secret;
pub mod telemetry;
