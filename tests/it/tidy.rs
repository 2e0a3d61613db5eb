//! Rules of the source that the compiler does not know.

use std::path::{Path, PathBuf};

fn sources(under: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(under);
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(path) = open.pop() {
        if path.ends_with("tests") {
            // A module's tests, where they fill a folder.
        } else if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests stand at the end of a file, behind this line.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            found.push((path, code));
        }
    }
    assert!(!found.is_empty());
    found
}

fn named(path: &Path, name: &str) -> bool {
    path.ends_with(name)
}

#[test]
fn the_data_plane_knows_neither_files_nor_configuration_nor_control_plane() {
    for (path, code) in sources("proxy") {
        for forbidden in [
            "crate::control",
            "crate::config",
            "crate::azure",
            "serde",
            "std::fs",
            "tokio::fs",
            "    control::",
            "    config::",
        ] {
            assert!(!code.contains(forbidden), "{} has {forbidden}", path.display());
        }
    }
}

#[test]
fn a_service_s_own_side_of_the_scheme_knows_neither_mock_nor_configuration_nor_io() {
    for (path, code) in sources("service_auth") {
        for forbidden in ["crate::control", "crate::config", "mock_azure", "std::fs", "tokio", "std::net", "Clock"] {
            assert!(!code.contains(forbidden), "{} has {forbidden}", path.display());
        }
    }
}

#[test]
fn the_embedded_azure_s_memory_is_pure() {
    for (path, code) in sources("mock_azure/state") {
        for forbidden in ["std::fs", "tokio", "std::net", "Clock", "random::"] {
            assert!(!code.contains(forbidden), "{} has {forbidden}", path.display());
        }
    }
}

#[test]
fn only_the_publisher_stores_a_snapshot() {
    for (path, code) in sources("") {
        let stores =
            code.contains("cell.store(") || code.contains("cell().store(") || code.contains("snapshots.store(");
        assert!(!stores || named(&path, "control/publish.rs"), "{}", path.display());
        assert!(!code.contains("ArcSwap::") || named(&path, "snapshot.rs"), "{}", path.display());
    }
}

#[test]
fn only_respond_builds_an_answer_of_our_own() {
    for (path, code) in sources("proxy") {
        let builds = code.contains("is_ours: true") || code.contains("ResponseBody::full(");
        assert!(!builds || named(&path, "respond.rs"), "{}", path.display());
        let converts = code.contains("Response::new(") || code.contains("Response::builder(");
        let parses = named(&path, "http1/parse.rs");
        assert!(!converts || parses || named(&path, "answer.rs"), "{}", path.display());
    }
}

#[test]
fn only_attach_writes_a_credential() {
    for (path, code) in sources("proxy") {
        let writes = code.contains(".secret(") || code.contains("found.value") || code.contains("shared.value");
        assert!(!writes || named(&path, "credential.rs"), "{}", path.display());
    }
}

#[test]
fn nothing_gives_up_by_panicking() {
    for (path, code) in sources("") {
        for forbidden in [".unwrap()", "todo!(", "unimplemented!(", "panic!(", "dbg!("] {
            assert!(!code.contains(forbidden), "{} has {forbidden}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    for (path, code) in sources("proxy") {
        assert!(code.lines().count() <= 600, "{}: {} lines", path.display(), code.lines().count());
    }
}
