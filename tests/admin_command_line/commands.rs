//! The binary as a script meets it: what it prints, and its exit codes.

use std::process::{Command, Output};

use scoregate::control::admin::report::{ReloadError, ReloadErrorKind};
use tokio::task::spawn_blocking;

use crate::support::{CANARY, Running, setting};

fn scoregate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scoregate"));
    command.args(arguments).env_clear();
    command
}

async fn run(arguments: &[&str]) -> Said {
    said(scoregate(arguments)).await
}

/// The server that is asked lives on this thread, so another one waits.
async fn said(mut command: Command) -> Said {
    let output = spawn_blocking(move || command.output().unwrap()).await.unwrap();
    Said::new(&output)
}

async fn ask(running: &Running, arguments: &[&str]) -> Said {
    let socket = running.socket();
    run(&[arguments, &["--admin", socket.to_str().unwrap()]].concat()).await
}

#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[tokio::test]
async fn usage_is_2_and_help_is_0() {
    assert_eq!(run(&["serve"]).await.code, 2);
    assert_eq!(run(&["status", "--admin", "ftp://x"]).await.code, 2);
    let help = run(&["--help"]).await;
    assert_eq!(help.code, 0);
    assert!(help.out.contains("keygen") && help.err.is_empty(), "{help:?}");
}

#[tokio::test]
async fn what_is_printed_for_shells_and_readers_is_there() {
    for shell in ["bash", "zsh", "fish"] {
        let completions = run(&["completions", shell]).await;
        assert!(completions.code == 0 && completions.out.contains("keygen"), "{shell}");
    }
    let man = run(&["man"]).await;
    assert!(man.code == 0 && man.out.contains(".TH scoregate") && man.out.contains("scoregate\\-reload"), "{man:?}");
    assert_eq!(run(&["version"]).await.out, format!("scoregate {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(run(&["version", "--json"]).await.json()["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_key_comes_with_its_digest() {
    let json = run(&["keygen", "--output", "json"]).await.json();
    let key = json["key"].as_str().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(json["sha256"], digest.as_str());

    let text = run(&["keygen"]).await.out;
    let snippet: serde_yaml::Value = serde_yaml::from_str(&text[text.find("callers:").unwrap()..]).unwrap();
    let digest = snippet["callers"]["team-a"]["keys"][0]["sha256"].as_str().unwrap();
    assert_eq!(text.matches(digest).count(), 2, "{text}");
}

#[tokio::test]
async fn a_closed_pipe_ends_a_command_in_peace() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut man = scoregate(&["man"]);
    man.stdout(writer);
    assert_eq!(said(man).await, Said { code: 0, out: String::new(), err: String::new() });
}

#[tokio::test]
async fn status_is_read_over_the_socket() {
    let running = setting().start().await;
    let text = ask(&running, &["status"]).await;
    assert!(text.out.starts_with("scoregate 1.2.3, pid 7, up 5s, generation 9\n"), "{}", text.out);
    let row: Vec<&str> = text.out.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(row, ["iris", "yes", "0", "primary", "yes", "0011aabb", "3s", "2", "-"]);
    assert_eq!(ask(&running, &["status", "--output", "json"]).await.json()["generation"], 9);
}

#[tokio::test]
async fn a_reload_says_what_changed_and_its_failure_has_its_code() {
    let running = setting().start().await;
    let done = ask(&running, &["reload", "--drained"]).await;
    assert_eq!((done.code, done.out.lines().last()), (0, Some("  routes")), "{done:?}");
    for (kind, code) in [(ReloadErrorKind::Config, 3), (ReloadErrorKind::NotDrained, 1), (ReloadErrorKind::Internal, 1)]
    {
        let faults = vec!["gate.yaml:3:1: found x".to_owned(), "gate.yaml:9:2: found z".to_owned()];
        *running.fake.reload.lock().unwrap() = Some(ReloadError { kind, faults });
        let failed = ask(&running, &["reload"]).await;
        assert_eq!(failed.code, code, "{failed:?}");
        assert!(failed.err.contains("gate.yaml:3:1") && failed.err.contains("gate.yaml:9:2"), "{failed:?}");
    }
}

#[tokio::test]
async fn a_drain_is_passed_on() {
    let running = setting().start().await;
    assert_eq!(ask(&running, &["drain"]).await.code, 0);
    assert_eq!(running.fake.calls(), ["drain"]);
}

#[tokio::test]
async fn nobody_there_is_6_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let socket = socket.to_str().unwrap();
    for command in ["status", "reload", "drain"] {
        let nobody = run(&[command, "--admin", socket]).await;
        assert_eq!(nobody.code, 6, "{nobody:?}");
        assert!(nobody.err.contains(socket) && nobody.err.contains("--admin"), "{nobody:?}");
    }
    assert_eq!(run(&["status", "--admin", "http://127.0.0.1:1"]).await.code, 6);
}

#[tokio::test]
async fn over_tcp_the_token_comes_from_the_environment_and_its_lack_is_explained() {
    let running = setting().start().await;
    let url = format!("http://{}", running.handle.address.unwrap());
    let arguments = ["drain", "--admin", &url];
    let refused = run(&arguments).await;
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("SCOREGATE_ADMIN_TOKEN"), "{refused:?}");
    let mut with_token = scoregate(&arguments);
    with_token.env("SCOREGATE_ADMIN_TOKEN", CANARY);
    assert_eq!(said(with_token).await.code, 0);
    assert_eq!(running.fake.calls(), ["drain"]);
}

#[tokio::test]
async fn the_default_places_are_found_without_being_named() {
    let mut setting = setting();
    setting.admin.token = None;
    let home = setting.dir.path().join("home");
    let runtime = home.join("run/scoregate");
    std::fs::create_dir_all(&runtime).unwrap();
    setting.admin.socket.path = runtime.join("admin.sock");
    setting.state_dir.path = home.join(".local/state/scoregate");
    let running = setting.start().await;
    let mut over_socket = scoregate(&["drain"]);
    over_socket.env("XDG_RUNTIME_DIR", home.join("run"));
    let done = said(over_socket).await;
    assert_eq!(done.code, 0, "{done:?}");
    let url = format!("http://{}", running.handle.address.unwrap());
    let mut over_tcp = scoregate(&["drain", "--admin", &url]);
    over_tcp.env("HOME", &home);
    let done = said(over_tcp).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(running.fake.calls(), ["drain", "drain"]);
}

#[tokio::test]
async fn the_token_is_never_sent_in_plain_text_off_this_machine_nor_shown() {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    // 0.0.0.0 leads here and is not a loopback address.
    let url = format!("http://0.0.0.0:{}", listener.local_addr().unwrap().port());
    let mut with_token = scoregate(&["drain", "--admin", &url]);
    with_token.env("SCOREGATE_ADMIN_TOKEN", CANARY);
    let refused = said(with_token).await;
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("https") && !refused.err.contains(CANARY), "{refused:?}");
}
