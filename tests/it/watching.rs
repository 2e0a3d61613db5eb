//! A file that changes takes effect by itself, however it was changed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use scoregate::{
    clock::Clock,
    config::sources::{Files, Noted},
    control::watch::{LastRead, Watcher},
};

use crate::support::{
    eventually,
    gate::{self, TestGate},
    upstream::Upstream,
};

/// No look but those that events ask for.
const NEVER: Duration = Duration::from_secs(1 << 20);

/// A gate whose `limits.fields` is the number in a file.
struct Watched {
    gate: TestGate,
    task: tokio::task::JoinHandle<std::convert::Infallible>,
}

impl Watched {
    async fn start(file: &Path, slow: Duration) -> Self {
        Self::start_by(file, slow, Clock::system()).await
    }

    async fn start_by(file: &Path, slow: Duration, clock: Clock) -> Self {
        let upstream = Upstream::echo().await;
        let (noted, read) = (<Noted>::default(), Arc::<LastRead>::default());
        let (file, theirs) = (file.to_owned(), Arc::clone(&read));
        let mut config = gate::config(upstream.address);
        config.watch = true;
        let start = config.clone();
        let load = move || {
            let content = noted.read(&file);
            let number = content.ok().and_then(|content| String::from_utf8(content).ok()?.trim().parse().ok());
            theirs.note(noted.take(), number.is_some());
            let mut config = start.clone();
            config.limits.fields = number.ok_or_else(|| vec!["no number".to_owned()])?;
            Ok((config, Vec::new()))
        };
        let _as_at_the_start: Result<_, Vec<String>> = load();
        let gate = TestGate::start_from(config, clock, Box::new(load));
        let watcher = Watcher::new(Arc::clone(&gate.gate), read, slow);
        Self { gate, task: tokio::spawn(watcher.watch()) }
    }

    async fn becomes(&self, number: usize) {
        eventually("the change is in force", || self.gate.gate.in_force().limits.fields == number).await;
    }

    /// Nothing is still to be looked at: a change after this is told by an event of its own.
    async fn follows(&self, file: &Path) {
        for number in 901..904 {
            replace(file, number);
            self.becomes(number).await;
        }
    }

    fn generation(&self) -> f64 {
        self.gate.metric("config_generation")
    }

    fn refused(&self) -> f64 {
        self.gate.metric("config_reload_total{result=\"refused\"}")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As editors do it.
fn replace(file: &Path, number: usize) {
    let beside = file.with_extension("new");
    fs::write(&beside, number.to_string()).unwrap();
    fs::rename(beside, file).unwrap();
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fields");
    (folder, file)
}

#[tokio::test]
async fn every_way_to_change_a_file_is_seen() {
    let (folder, file) = folder();
    fs::write(&file, "100").unwrap();
    let watched = Watched::start(&file, NEVER).await;
    watched.becomes(100).await;
    watched.follows(&file).await;
    // In place, by rename, gone and back, through a link, in a folder that was exchanged.
    fs::write(&file, "101").unwrap();
    watched.becomes(101).await;
    replace(&file, 102);
    watched.becomes(102).await;
    fs::remove_file(&file).unwrap();
    eventually("refused", || watched.refused() >= 1.0).await;
    fs::write(&file, "103").unwrap();
    watched.becomes(103).await;
    fs::write(folder.path().join("elsewhere"), "104").unwrap();
    fs::remove_file(&file).unwrap();
    symlink("elsewhere", &file).unwrap();
    watched.becomes(104).await;
    fs::write(folder.path().join("elsewhere"), "105").unwrap();
    watched.becomes(105).await;
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_awaited_and_so_is_its_folder() {
    let (folder, _) = folder();
    let file = folder.path().join("deep/er/fields");
    let watched = Watched::start(&file, NEVER).await;
    fs::create_dir(folder.path().join("deep")).unwrap();
    fs::create_dir(folder.path().join("deep/er")).unwrap();
    fs::write(&file, "100").unwrap();
    watched.becomes(100).await;
    let other = folder.path().join("other");
    fs::create_dir_all(other.join("er")).unwrap();
    fs::write(other.join("er/fields"), "101").unwrap();
    fs::rename(folder.path().join("deep"), folder.path().join("old")).unwrap();
    fs::rename(&other, folder.path().join("deep")).unwrap();
    watched.becomes(101).await;
    replace(&file, 102);
    watched.becomes(102).await;
}

#[tokio::test]
async fn half_a_file_is_waited_for() {
    use std::io::Write;
    let (_folder, file) = folder();
    fs::write(&file, "100").unwrap();
    let watched = Watched::start(&file, NEVER).await;
    watched.follows(&file).await;
    let before = watched.generation();
    let mut open = fs::OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
    open.write_all(b"1").unwrap();
    // Three times as long as quiet has to last: `1` alone is a number too.
    tokio::time::sleep(Duration::from_millis(300)).await;
    open.write_all(b"07").unwrap();
    drop(open);
    watched.becomes(107).await;
    assert_eq!((watched.generation(), watched.refused()), (before + 1.0, 0.0));
}

#[tokio::test]
async fn what_is_the_same_by_content_is_no_change() {
    let (_folder, file) = folder();
    fs::write(&file, "100").unwrap();
    let watched = Watched::start(&file, NEVER).await;
    watched.follows(&file).await;
    let before = watched.generation();
    for _ in 0..5 {
        replace(&file, 903);
        fs::write(&file, "903").unwrap();
    }
    replace(&file, 108);
    watched.becomes(108).await;
    assert!(watched.generation() <= before + 2.0, "{} reloads", watched.generation() - before);
}

#[tokio::test]
async fn what_no_event_tells_is_found_by_the_slow_look() {
    let (folder, file) = folder();
    fs::write(&file, "100").unwrap();
    fs::create_dir(folder.path().join("aside")).unwrap();
    let aside = folder.path().join("aside/same-file");
    fs::hard_link(&file, &aside).unwrap();
    let clock = Clock::manual(1_800_000_000);
    let watched = Watched::start_by(&file, Duration::from_secs(30), clock.clone()).await;
    // Through its other name, which nobody watches.
    fs::write(&aside, "109").unwrap();
    eventually("the slow look", || {
        clock.advance(Duration::from_secs(31));
        watched.gate.gate.in_force().limits.fields == 109
    })
    .await;
}

#[tokio::test]
async fn what_a_reload_by_hand_has_read_is_not_read_again() {
    let (_folder, file) = folder();
    fs::write(&file, "100").unwrap();
    let watched = Watched::start(&file, NEVER).await;
    watched.follows(&file).await;
    fs::write(&file, "110").unwrap();
    let _either_was_first = watched.gate.gate.reload(false).await.unwrap();
    watched.becomes(110).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = watched.generation();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(watched.generation(), before);
}
