//! Configuration: what was typed becomes what it means, with every fault at once.
//!
//! `run`, `check` and the reload call [`load`]; nothing here starts anything, writes anything or keeps global state.
//! In reading order:
//!
//! 1. `marked`: the text as a tree that knows the line and column of every key and value;
//! 2. `expand`: `${NAME}` in its scalars;
//! 3. `shape`: the tree against the [JSON Schema](schema()) of `raw`, which finds unknown keys, wrong types, missing
//!    keys and malformed scalars (`typed`, `text`, `units`), and yields what was typed with the faulty parts left out;
//! 4. `resolve`: what it means ([`model`]): files read, names looked up, rules that span keys checked.
//!
//! Faults of all four are collected in a `fault::Report` and given back together.

pub(crate) mod document;
mod expand;
pub mod fault;
mod marked;
pub mod model;
mod path;
mod raw;
mod redacted;
mod resolve;
mod shape;
pub mod sources;
mod text;
mod typed;
mod units;

pub use raw::schema;
pub use redacted::redacted;
pub use resolve::{Loaded, load, parse};
