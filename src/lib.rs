//! scoregate: an authenticating reverse proxy for deployed machine-learning web services.

pub mod clock;
pub mod config;
pub mod control;
pub mod ids;
pub mod proxy;
pub mod secret;
pub mod snapshot;
pub mod telemetry;
