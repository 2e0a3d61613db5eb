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

/// Every `unsafe` of the repository, by file. One more is a decision: it is argued where it stands and in SECURITY.md, and counted here.
const UNSAFE: [(&str, usize); 3] =
    [("src/control/watch/inotify.rs", 1), ("src/proxy/memory.rs", 1), ("src/proxy/stream.rs", 1)];

#[test]
fn every_unsafe_is_argued_and_counted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut counted = Vec::new();
    let mut open: Vec<PathBuf> = ["src", "benches", "fuzz", "tests"].map(|folder| root.join(folder)).into();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            if !path.ends_with("target") {
                open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let unargued = unargued(&text);
            assert!(unargued.is_empty(), "{}: no `// SAFETY:` above line {unargued:?}", path.display());
            let count = text.lines().filter(|line| is_unsafe(line)).count();
            if count > 0 {
                counted.push((path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), count));
            }
        }
    }
    counted.sort();
    let agreed: Vec<(String, usize)> = UNSAFE.map(|(path, count)| (path.to_owned(), count)).into();
    assert_eq!(counted, agreed);
}

/// Whether a line of code has the keyword; of strings and comments it is not asked.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let words: Vec<&str> = code.split_whitespace().collect();
    let opens = |word: &&str| word.ends_with("unsafe") && !word.contains('"');
    let follows = |word: &&str| ["{", "fn", "impl", "trait", "extern"].contains(word);
    let attribute = ["#[", "unsafe("].concat();
    code.contains(&attribute) || words.windows(2).any(|pair| opens(&pair[0]) && follows(&pair[1]))
}

/// Lines with `unsafe` above which no comment argues it, numbered from 1.
fn unargued(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_argued = |at: usize| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("//") || line.starts_with("#["));
        above.into_iter().any(|line| line.starts_with("// SAFETY: "))
    };
    (0..lines.len()).filter(|at| is_unsafe(lines[*at]) && !is_argued(*at)).map(|at| at + 1).collect()
}

#[test]
fn what_is_unsafe_is_seen() {
    let word = "unsafe";
    for (line, seen) in [
        (format!("let x = {word} {{ y() }};"), true),
        (format!("Ok({word} {{ y() }})"), true),
        (format!("pub {word} fn y() {{}}"), true),
        (format!("{word} impl Send for X {{}}"), true),
        (format!("#[{word}(no_mangle)]"), true),
        (format!("// {word} {{ y() }}"), false),
        (format!("let x = \"{word} {{\";"), false),
        (format!("#[expect({word}_code)]"), false),
    ] {
        assert_eq!(is_unsafe(&line), seen, "{line}");
    }
    let block = format!("    {word} {{ y() }}");
    assert_eq!(unargued(&block), [1]);
    assert_eq!(unargued(&format!("// SAFETY: so it is.\n#[expect(x)]\n{block}")), [0; 0]);
    assert_eq!(unargued(&format!("// SAFETY: so it is.\n\n{block}")), [3]);
}

#[test]
fn files_stay_readable() {
    for (path, code) in sources("proxy") {
        assert!(code.lines().count() <= 600, "{}: {} lines", path.display(), code.lines().count());
    }
}
