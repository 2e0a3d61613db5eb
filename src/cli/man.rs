//! `scoregate man`: the page of scoregate, then that of each command.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;

use super::{Cli, exit::Stop, output};

pub(super) fn run() -> Result<(), Stop> {
    let pages = pages().map_err(|error| Stop::failed(format_args!("cannot write the manual: {error}")))?;
    output::print(&String::from_utf8_lossy(&pages))
}

fn pages() -> io::Result<Vec<u8>> {
    let mut scoregate = Cli::command();
    scoregate.build();
    let mut pages = Vec::new();
    Man::new(scoregate.clone()).render(&mut pages)?;
    for command in scoregate.get_subcommands().filter(|command| command.get_name() != "help") {
        Man::new(command.clone()).render(&mut pages)?;
    }
    Ok(pages)
}
