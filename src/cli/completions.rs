//! `scoregate completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, exit::Stop, output};

pub(super) fn run(shell: Shell) -> Result<(), Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "scoregate", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
