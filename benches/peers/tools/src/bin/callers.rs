//! Callers of a proxy: `callers idle|handshakes|bodies|paced --address A --key K [--ca FILE] …`.

use std::process::ExitCode;

use peers_tools::{
    arguments::Arguments,
    callers::{bodies, handshakes, idle, paced},
};

fn main() -> ExitCode {
    let done = Arguments::read().and_then(|arguments| match arguments.command.as_str() {
        "idle" => idle::run(&arguments),
        "handshakes" => handshakes::run(&arguments),
        "bodies" => bodies::run(&arguments),
        "paced" => paced::run(&arguments),
        other => Err(std::io::Error::other(format!("`{other}` is none of idle, handshakes, bodies, paced"))),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("callers: {error}");
            ExitCode::FAILURE
        }
    }
}
