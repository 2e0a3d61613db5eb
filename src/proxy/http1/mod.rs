//! HTTP/1.1 (RFC 9112), both sides: what callers speak to us and what we speak to upstreams.
//!
//! Our own: a request through hyper's server and client cost 28,000 instructions, more than nginx needs for all it does
//! (benches/README.md), and a proxy that refuses what two servers could read in two ways must see the bytes.
//! Sans-IO below (`parse`, `lines`, `chunked`, `write`), sockets above: [`link`] is a connection's stream with what was read ahead of it,
//! [`server`] reads requests from one and writes answers, [`client`] the other way round. All of it happens in the task of the
//! caller's connection: there is no task per upstream connection, and no channel between the two.

pub mod chunked;
pub mod client;
pub mod lines;
pub mod link;
pub mod output;
pub mod parse;
pub mod pipe;
pub mod server;
pub mod upload;
pub mod write;
