//! `scoregate man`: the page of scoregate, then that of each command; or all of them as files, as a package wants them.

use std::{fs, io, path::Path, path::PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use super::{Cli, exit::Stop, output};

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this folder, which is made, instead of printing them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<(), Stop> {
    let done = match &args.dir {
        Some(dir) => return write(dir).map_err(|error| Stop::failed(format_args!("{}: {error}", dir.display()))),
        None => pages(),
    };
    let pages = done.map_err(|error| Stop::failed(format_args!("cannot write the manual: {error}")))?;
    output::print(&String::from_utf8_lossy(&pages))
}

/// `scoregate.1`, `scoregate-run.1` and so on.
fn write(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
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
