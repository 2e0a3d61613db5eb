//! Standard output and standard error, as every command writes them: no panic when the reader has gone.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::exit::{Exit, Stop};

/// Prints the text as it is. A pipe that was closed, as by `head`, ends the command in peace.
pub(super) fn print(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Stop::silent(Exit::Ok)),
        Err(error) => Err(Stop::failed(format_args!("cannot write to standard output: {error}"))),
    }
}

/// Prints one JSON document on one line.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Stop> {
    let json = serde_json::to_string(value).map_err(Stop::failed)?;
    print(&format!("{json}\n"))
}

/// Tells a person what went wrong, or what goes on. Nobody is left to tell when this fails.
pub(super) fn complain(message: &str) {
    if !message.is_empty() {
        drop(writeln!(io::stderr().lock(), "scoregate: {message}"));
    }
}
