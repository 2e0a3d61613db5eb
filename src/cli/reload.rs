//! `scoregate reload`: makes a running scoregate read its configuration again, and says what became different.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal},
    time::Duration,
};

use http::Method;

use super::{
    Output, ReloadArgs,
    address::AdminAddress,
    client::{self, Question},
    exit::Stop,
    output,
    wait::wait,
};
use crate::control::admin::report::ReloadReport;

/// Longer than the server's own limit of 10 minutes, so that it is the server who says what happened.
const PATIENCE: Duration = Duration::from_secs(630);

pub(super) fn run(args: &ReloadArgs, admin: Option<&AdminAddress>) -> Result<(), Stop> {
    let path = if args.drained { "/reload?drained" } else { "/reload" };
    let question = Question { method: Method::POST, path: path.into(), body: None, patience: PATIENCE };
    if args.drained && io::stderr().is_terminal() {
        output::complain("waiting until no request holds what is no longer active (10 minutes at most) …");
    }
    let report: ReloadReport = wait(client::ask(admin, question))?;
    match args.output.output {
        Output::Json => output::print_json(&report),
        Output::Text => {
            report.warnings.iter().for_each(|warning| output::complain(warning));
            output::print(&text(&report))
        }
    }
}

fn text(report: &ReloadReport) -> String {
    let drained = if report.drained { ", and nothing holds the old one" } else { "" };
    let mut text = match report.changed.len() {
        0 => format!("nothing changed; generation {} is served{drained}\n", report.generation),
        _ => format!("generation {} is served{drained}; changed:\n", report.generation),
    };
    for change in &report.changed {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {change}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_changed() {
        let mut report = ReloadReport { generation: 7, changed: vec![], warnings: vec![], drained: false };
        assert_eq!(text(&report), "nothing changed; generation 7 is served\n");
        report.changed = vec!["endpoints.iris".into()];
        report.drained = true;
        assert_eq!(
            text(&report),
            "generation 7 is served, and nothing holds the old one; changed:\n  endpoints.iris\n"
        );
    }
}
