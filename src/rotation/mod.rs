//! Credentials that change under live traffic: what is attached to requests, and how a service's keys are regenerated.

pub mod digest;
pub mod event;
pub mod invariants;
pub mod journal;
pub mod keys;
pub mod ladder;
pub mod offer;
pub mod operation;
pub mod pace;
pub mod plan;
pub mod probe;
pub mod refusal;
pub mod renumber;
pub mod resume;
pub mod rules;
pub mod schedule;
pub mod service;
pub mod slot;
pub mod token;
pub mod transaction;
