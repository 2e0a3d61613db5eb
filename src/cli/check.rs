//! `scoregate check`: every fault of a configuration at once, and warnings when there is none.

use super::{
    CheckArgs,
    exit::{Exit, Stop},
    output,
};
use crate::config::{
    self,
    sources::{ProcessEnv, RealFiles},
};

pub(super) fn run(args: CheckArgs) -> Result<(), Stop> {
    if args.online {
        return Err(Stop::new(Exit::Usage, "check --online is not supported by this version: leave --online out"));
    }
    let path = args.config.find()?;
    let loaded = config::load(&path, &ProcessEnv, &RealFiles).map_err(|faults| Stop::new(Exit::Config, faults))?;
    loaded.warnings.iter().for_each(|warning| output::complain(&warning.to_string()));
    output::print(&format!("{}: ok\n", path.display()))
}
