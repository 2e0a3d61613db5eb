//! `scoregate version`.

use serde_json::json;

use super::{exit::Stop, output};

pub(super) fn run(json: bool) -> Result<(), Stop> {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    if json {
        return output::print_json(&json!({ "name": name, "version": version }));
    }
    output::print(&format!("{name} {version}\n"))
}
