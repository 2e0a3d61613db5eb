//! The control plane: everything that is slow, may block or may fail, away from the threads that carry requests.
//!
//! `run` starts it; what it decides reaches the data plane as a published snapshot and in no other way.

pub mod admin;
pub mod random_key;
