//! scoregate: an authenticating reverse proxy for deployed machine-learning web services.
//!
//! # The life of a request
//! 1. `proxy::accept` takes the connection on a listener's own thread and hands the socket to the least loaded worker.
//! 2. `proxy::server` on that worker speaks TLS and HTTP/1.1 or HTTP/2, and calls
//! 3. `proxy::pipeline::handle` with each request, which reads the clock and the worker's view of the snapshot once, and asks
//! 4. `proxy::decide` what to do: framing, host, canonical path, route, caller, upstreams. Pure; no IO.
//! 5. `proxy::forward` does it: a place among the endpoint's requests (`upstream::admission`), a connection
//!    (`upstream::pool`), headers in order (`headers`), the credential (`credential`), and the request.
//! 6. The answer's head goes to the caller, the body follows frame by frame (`body`); a failure becomes an answer of our own
//!    (`reject`, `respond`).
//! 7. When the last byte is out, the exchange is counted and logged (`worker::Worker::finish`).
//!
//! Everything slow lives in `control`; it reaches the data plane as a new `snapshot::Snapshot` and in no other way.

pub mod cli;
pub mod demo;
pub mod mock_azure;
pub mod run;
// -- data plane: no files, no configuration, no control plane --
pub mod proxy;
// -- shared values --
mod child;
pub mod clock;
pub mod digest;
pub mod ids;
pub mod iris;
pub mod jwt;
pub mod random;
pub mod rotation;
pub mod san;
mod scratch;
pub mod secret;
pub mod service_auth;
pub mod snapshot;
pub mod telemetry;
// -- control plane --
pub mod azure;
pub mod config;
pub mod control;
