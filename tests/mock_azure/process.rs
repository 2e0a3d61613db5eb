//! The process: what it prints and writes, how it ends, and what it refuses.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use scoregate::clock::Clock;

const DEADLINE: Duration = Duration::from_secs(20);

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_scoregate"))
        .arg("mock-azure")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Asks until there is an answer.
async fn until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::system();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(clock.now().as_micros() < DEADLINE.as_micros() as u64, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn ended(child: &mut Child) -> ExitStatus {
    until("the end of the process", || child.try_wait().unwrap()).await
}

fn read(from: &mut Option<impl Read>) -> String {
    let mut text = String::new();
    from.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn it_says_where_it_is_and_ends_in_peace() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ports.json");
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let _ = std::fs::remove_file(&file);
        let mut child = start(&["--tls", "--port-file", file.to_str().unwrap()]);
        let ports: serde_json::Value =
            until("the port file", || std::fs::read(&file).ok()).await.as_slice().pipe(serde_json::from_slice).unwrap();
        for name in [
            "entra",
            "entra_tls",
            "arm",
            "arm_tls",
            "mms",
            "imds",
            "admin",
            "ca_file",
            "tenant",
            "client_id",
            "client_secret",
            "public_client_id",
            "federated_token",
            "identity_header",
            "msi_secret",
            "app_service_path",
            "msi_path",
            "subscription",
            "resource_group",
            "workspace",
        ] {
            assert!(ports[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        }
        assert_eq!(ports["mms"], ports["arm"]);
        for path in [&ports["ca_file"], &ports["certificate"]["cert"], &ports["certificate"]["key"]] {
            assert!(Path::new(path.as_str().unwrap()).exists());
        }
        assert!(ports["user"]["name"].is_string() && ports["user"]["password"].is_string());
        assert_eq!(ports["services"]["aks-token"], serde_json::json!({ "kind": "aks", "auth": "token" }));
        assert_eq!(ports["scoring"]["aks-token"].as_array().unwrap().len(), 4);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(ended(&mut child).await.code(), Some(0));
        let said = read(&mut child.stdout);
        assert!(said.contains("listkeys") && said.contains(ports["admin"].as_str().unwrap()), "{said}");
        assert!(!Path::new(ports["ca_file"].as_str().unwrap()).exists(), "its files go with it");
    }
}

trait Pipe: Sized {
    fn pipe<T>(self, next: impl FnOnce(Self) -> T) -> T {
        next(self)
    }
}
impl<T> Pipe for T {}

#[tokio::test]
async fn the_first_port_and_the_admin_s_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ports.json");
    // A port that is free now may be taken when it is asked for: another is tried then.
    for _ in 0..20 {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (listen, admin) = (free(), free());
        let mut child = start(&["--listen", &listen, "--admin", &admin, "--port-file", file.to_str().unwrap()]);
        let ports = until("the port file, or the end", || match std::fs::read_to_string(&file) {
            Ok(ports) => Some(Some(ports)),
            Err(_) => child.try_wait().unwrap().map(|_| None),
        });
        let Some(ports) = ports.await else {
            assert!(read(&mut child.stderr).contains("cannot listen on"));
            continue;
        };
        // Not killed: its files go with it.
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
        ended(&mut child).await;
        assert!(ports.contains(&format!("\"entra\": \"http://{listen}\"")), "{ports}");
        assert!(ports.contains(&format!("\"admin\": \"http://{admin}\"")), "{ports}");
        assert!(!ports.contains("_tls") && !ports.contains("ca_file"));
        return;
    }
    panic!("no port was free");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = folder.path().join("fixture.yaml");
    std::fs::write(&fixture, "services:\n  svc: { kind: aks, auth: key, colour: red }\n").unwrap();
    for (arguments, code, said) in [
        (&["--listen", "0.0.0.0:0"][..], 2, "--listen-anywhere"),
        (&["--admin", "0.0.0.0:1"], 2, "--listen-anywhere"),
        (&["--admin", "/run/x.sock"], 2, "address to listen on"),
        (&["--backend", "svc"], 2, "NAME=URL"),
        (&["--backend", "svc=http://127.0.0.1:1/score"], 1, "there is no service of this name: aci-key"),
        (&["--backend", "aks-key=https://x"], 1, "expected the scoring URI of a container"),
        (&["--fixture", fixture.to_str().unwrap()], 3, "unknown field `colour`"),
        (&["--fixture", "/nowhere/at/all"], 3, "cannot read the fixture"),
        (&["--port-file", "/nowhere/at/all"], 1, "cannot write the port file"),
    ] {
        let mut child = start(arguments);
        assert_eq!(ended(&mut child).await.code(), Some(code), "{arguments:?}");
        let complaint = read(&mut child.stderr);
        assert!(complaint.contains(said), "{arguments:?}: {complaint}");
    }
}
