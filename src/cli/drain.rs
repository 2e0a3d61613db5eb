//! `scoregate drain`: the same as SIGTERM, for whoever may not send signals.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::{
    address::AdminAddress,
    client::{self, Question},
    exit::Stop,
    output,
    wait::wait,
};

pub(super) fn run(admin: Option<&AdminAddress>) -> Result<(), Stop> {
    let question =
        Question { method: Method::POST, path: "/drain".into(), body: None, patience: Duration::from_secs(15) };
    let _begun: Value = wait(client::ask(admin, question))?;
    output::print("scoregate drains: it is not ready any more, and ends when its requests have\n")
}
