//! Credentials that change under live traffic: what is attached to requests, and how a service's keys are regenerated.

pub mod digest;
pub mod slot;
