//! Behaviour of the whole gate, in process: a real listener, real workers, scripted upstreams.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod callers;
mod certificates;
mod credentials;
mod drain;
mod eviction;
mod expecting;
mod frames;
mod headers;
mod leaving;
mod limits;
mod listeners;
mod names;
mod pipes;
mod played;
mod pools;
mod rates;
mod regress;
mod reload;
mod resends;
mod routing;
mod secrets;
mod streaming;
mod tidy;
mod timeouts;
mod timing;
mod tls;
mod tokens;
mod uploads;
mod watching;
mod websockets;
