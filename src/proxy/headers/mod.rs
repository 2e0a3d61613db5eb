//! What happens to header fields on their way through: one file per rule.
//!
//! `grammar` says what names and values are made of, `known` names what matters, `survey` looks at a head once, `framing` refuses what
//! has two meanings, `outgoing` decides what passes and writes it, with `forwarded` and `trace` for where a request came from and which
//! it is, and `websocket` for handshakes. Called by `decide` (refusals) and `forward` (the rest). Only `credential::attach` adds a
//! secret.

pub mod forwarded;
pub mod framing;
pub mod grammar;
pub mod known;
pub mod outgoing;
pub mod survey;
pub mod trace;
pub mod websocket;
