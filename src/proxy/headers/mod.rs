//! What happens to header fields on their way through: one file per rule.
//!
//! `framing` refuses what has two meanings, `strip` removes what must not pass, `forwarded` and `trace` say where a request
//! came from and which it is. Called by `decide` (refusals) and `forward` (changes). Only `credential::attach` adds a secret.

pub mod forwarded;
pub mod framing;
pub mod strip;
pub mod survey;
pub mod trace;
