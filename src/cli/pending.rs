//! `run`, `check` and `schema`, until the parts that they call are in this tree; then `run.rs`, `check.rs` and
//! `schema.rs` beside this file take its place.

use std::path::Path;

use super::{CheckArgs, Global, exit::Stop};

pub(super) fn run(_config: &Path, global: &Global) -> Result<(), Stop> {
    let _ = (global.log_level, global.log_format);
    Err(missing("run"))
}

pub(super) fn check(args: &CheckArgs) -> Result<(), Stop> {
    let _ = (&args.config, args.online);
    Err(missing("check"))
}

pub(super) fn schema() -> Result<(), Stop> {
    Err(missing("schema"))
}

fn missing(command: &str) -> Stop {
    Stop::failed(format_args!("`{command}` is not part of this build"))
}
