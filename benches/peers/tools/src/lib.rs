//! What `benches/peers/run` measures with: callers, a forwarder that does nothing else, and an upstream that reads everything and can be slow on purpose.
//!
//! Three programs share these modules: `null-forwarder`, `upstream` and `callers`. Each is one thread around one epoll, so
//! that what they take from the core they share with others is small and steady. A fault ends the program: a measurement in
//! which something failed is none.

pub mod answer;
pub mod arguments;
pub mod callers;
pub mod flow;
pub mod poll;
pub mod request;
pub mod wire;
