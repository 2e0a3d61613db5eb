//! What the process says about itself: its log and its access log, and its metrics.
//!
//! `run` starts both logs before anything else and stops them last. Nothing here may block a caller: a queue that is full
//! drops the line and counts it (`log_dropped_total`), because a slow terminal must not slow a request.

pub mod access_log;
pub mod logs;
pub mod metrics;
pub mod utc;
