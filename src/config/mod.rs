//! Configuration: what was typed becomes what it means, with every fault at once.

pub mod model;
mod redacted;

pub use redacted::redacted;
