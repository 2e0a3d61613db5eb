//! `scoregate run`: becomes the server.

use super::{
    Global,
    config_path::ConfigPath,
    exit::{Exit, Stop},
};
use crate::{config::fault::Faults, run};

pub(super) fn run(config: ConfigPath, global: &Global) -> Result<(), Stop> {
    let options = run::Options {
        config: config.find()?,
        log_level: global.log_level.map(Into::into),
        log_format: global.log_format,
    };
    run::run(options).map_err(|error| match error.downcast_ref::<Faults>() {
        Some(faults) => Stop::new(Exit::Config, faults),
        None => Stop::failed(format_args!("{error:#}")),
    })
}
