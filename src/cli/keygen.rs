//! `scoregate keygen`: a caller key, shown once, and the digest that the configuration holds in its place.

use serde::Serialize;

use super::{Output, exit::Stop, output};
use crate::{
    control::random_key,
    digest::{hex, sha256},
};

pub(super) fn run(output: Output) -> Result<(), Stop> {
    let key = random_key::new().map_err(|error| Stop::failed(format_args!("{error:#}")))?;
    let text = std::str::from_utf8(key.expose_bytes()).map_err(Stop::failed)?;
    let generated = Generated { key: text, sha256: hex(&sha256(key.expose_bytes())) };
    match output {
        Output::Text => output::print(&generated.to_text()),
        Output::Json => output::print_json(&generated),
    }
}

#[derive(Serialize)]
struct Generated<'a> {
    key: &'a str,
    sha256: String,
}

impl Generated<'_> {
    fn to_text(&self) -> String {
        let Self { key, sha256 } = self;
        format!(
            "key:    {key}\n\
             sha256: {sha256}\n\
             \n\
             # The key goes to the caller, as `Authorization: Bearer KEY`; it is not shown again. This goes here:\n\
             callers:\n  team-a: {{ keys: [ {{ sha256: \"{sha256}\" }} ] }}\n"
        )
    }
}
