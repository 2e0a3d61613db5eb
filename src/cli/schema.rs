//! `scoregate schema`: the JSON Schema of the configuration, for editors.

use super::{exit::Stop, output};
use crate::config;

pub(super) fn run() -> Result<(), Stop> {
    let schema = serde_json::to_string_pretty(&config::schema()).map_err(Stop::failed)?;
    output::print(&format!("{schema}\n"))
}
