//! `scoregate check`: every fault of a configuration at once, and warnings when there is none.

use super::{
    CheckArgs, Global, azure, check_online,
    exit::{Exit, Stop},
    output,
};
use crate::config::{
    self,
    sources::{ProcessEnv, RealFiles},
};

pub(super) fn run(args: CheckArgs, global: &Global) -> Result<(), Stop> {
    let path = args.config.find()?;
    let loaded = config::load(&path, &ProcessEnv, &RealFiles).map_err(|faults| Stop::new(Exit::Config, faults))?;
    loaded.warnings.iter().for_each(|warning| output::complain(&warning.to_string()));
    output::print(&format!("{}: ok\n", path.display()))?;
    if !args.online {
        return Ok(());
    }
    let _log = azure::log(global);
    check_online::run(&loaded.config)
}
