//! Another document than the configuration, such as a fixture: YAML, and so JSON too, read by types of its own.
//!
//! Here because `serde_yaml` is touched in this module and nowhere else.

use serde::de::DeserializeOwned;

/// Reads a document.
///
/// # Errors
/// The first thing that does not fit, with its line and column.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    Ok(super::raw::read_document(text)?)
}
