//! Field blocks (RFC 7541): read with both tables and Huffman's code, written with the table that everybody knows and nothing
//! else, so that an answer's head depends on no other and nothing that is secret stays in a table.

mod huffman;
mod read;
mod table;
mod write;

pub use self::{
    read::{Decoder, Field},
    write::{BlockWriter, NO_TABLE},
};

/// A block that is none: the connection ends (RFC 9113 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the field block is broken")]
pub struct Broken;
