//! `scoregate demo`: becomes the demo.

use super::exit::Stop;
use crate::demo;

pub(super) fn run() -> Result<(), Stop> {
    demo::demo().map_err(|error| Stop::failed(format_args!("{error:#}")))
}
