//! The control plane: everything that is slow, may block or may fail, away from the threads that carry requests.
//!
//! `run` starts it; what it decides reaches the data plane as a published snapshot and in no other way.

pub mod admin;
pub mod attach;
pub mod azure;
pub mod build;
pub mod changes;
pub mod descriptors;
pub mod desk;
pub mod durable;
pub mod fingerprint;
pub mod gate;
pub mod issuers;
pub mod journals;
pub mod listening;
pub mod memory;
pub mod names;
pub mod notify;
pub mod nursery;
pub mod played;
pub mod publish;
pub mod quotas;
pub mod random_key;
pub mod state;
pub mod threads;
pub mod unix_socket;
pub mod watch;
