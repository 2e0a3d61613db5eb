//! What is typed becomes what is meant, and what is not known is refused with code 2.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_interface_is_read() {
    for line in [
        "scoregate run",
        "scoregate run -c gate.yaml",
        "scoregate run --config gate.yaml --log-level debug --log-format json",
        "scoregate --log-level trace run",
        "scoregate check -c gate.yaml",
        "scoregate check --online",
        "scoregate schema",
        "scoregate keygen",
        "scoregate keygen --output json",
        "scoregate status --watch",
        "scoregate status -o json --admin http://localhost:9901",
        "scoregate --admin /run/a.sock status",
        "scoregate reload --drained",
        "scoregate drain",
        "scoregate mock-azure",
        "scoregate mock-azure --listen 127.0.0.1:8443 --admin 127.0.0.1:9901 --tls --fixture f.yaml --port-file p.json",
        "scoregate mock-azure --backend a=http://h/score --backend b=http://h/score --listen-anywhere",
        "scoregate version --json",
        "scoregate completions bash",
        "scoregate man",
        "scoregate man --dir share/man/man1",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_is_unknown_is_a_usage_error() {
    for line in [
        "scoregate",
        "scoregate serve",
        "scoregate run gate.yaml",
        "scoregate run --log-level loud",
        "scoregate run --log-format xml",
        "scoregate status --output yaml",
        "scoregate status --admin http://host/status",
        "scoregate completions tcl",
        "scoregate drain --now",
        "scoregate mock-azure --listen here",
        "scoregate mock-azure --backend name",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn options_reach_their_command() {
    let cli = parse("scoregate reload --drained --output json --log-level warn --admin unix:/a.sock").unwrap();
    assert_eq!(cli.global.log_level, Some(LogLevel::Warn));
    assert_eq!(cli.global.admin, Some(AdminAddress::Socket("/a.sock".into())));
    let Command::Reload(args) = cli.command else { panic!("{:?}", cli.command) };
    assert!(args.drained);
    assert_eq!(args.output.output, Output::Json);
}
