//! Watches every file that the configuration was read from, and reloads when one of them is different.
//!
//! `run` spawns [`Watcher::watch`] once. The configuration's own resolving says which files those are ([`LastRead`]), `places` where
//! to look for changes of them, `inotify` when to look, `settling` how long to wait for the rest of a change, and digests whether
//! there was one. A slow look all by itself catches what no event told: network file systems, mounts, an exhausted inotify. Nothing
//! here knows what a file means, and nothing here ever holds its content for longer than its digest takes.

mod inotify;
pub mod mounts;
mod places;
mod settling;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use self::{
    inotify::{Inotify, Noticed, Set},
    places::{Places, RealTree},
    settling::Settling,
};
use super::gate::Gate;
use crate::config::sources::{Files, RealFiles, Sight, Sightings};

/// The look that needs no event.
pub const SLOW: Duration = Duration::from_secs(30);
/// The same where a directory cannot be watched.
const ALONE: Duration = Duration::from_secs(2);

/// What the last load has read, kept by whoever loads.
#[derive(Debug, Default)]
pub struct LastRead {
    seen: Mutex<Sightings>,
    again: Notify,
}

impl LastRead {
    /// Notes what a load has read. One that failed may not have got to every file: what it did not reach is still watched.
    pub fn note(&self, read: Sightings, whole: bool) {
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if whole {
                *seen = read;
            } else {
                seen.extend(read);
            }
        }
        self.again.notify_one();
    }

    /// What was read last of each file.
    #[must_use]
    pub fn sightings(&self) -> Sightings {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Watches for one gate.
#[derive(Debug)]
pub struct Watcher {
    gate: Arc<Gate>,
    read: Arc<LastRead>,
    inotify: Option<Inotify>,
    settling: Settling,
    /// How long to wait for an event before looking all the same.
    patience: Duration,
    slow: Duration,
    /// Said once each.
    told: BTreeMap<PathBuf, io::ErrorKind>,
}

impl Watcher {
    /// A watcher of what `read` says. `slow` is the time between two looks that no event asked for; `run` gives [`SLOW`].
    #[must_use]
    pub fn new(gate: Arc<Gate>, read: Arc<LastRead>, slow: Duration) -> Self {
        let inotify = Inotify::new()
            .inspect_err(|error| {
                tracing::warn!(%error, "no inotify (fs.inotify.max_user_instances?): files are looked at every {ALONE:?}");
            })
            .ok();
        Self { gate, read, inotify, settling: Settling::default(), patience: slow, slow, told: BTreeMap::new() }
    }

    /// Watches for ever. Reloads report themselves.
    pub async fn watch(mut self) -> Infallible {
        loop {
            let seen = self.read.sightings();
            if self.follow(&seen).await {
                // What changed between that reading and this watching is told by no event.
                self.settling.stir(self.gate.clock().now());
            }
            if self.wait().await == Awaited::OtherFiles {
                continue;
            }
            self.settling = Settling::default();
            if !self.gate.in_force().watch {
                continue;
            }
            let changed = different(seen).await;
            if !changed.is_empty() {
                let files: Vec<_> = changed.iter().map(|path| path.display().to_string()).collect();
                tracing::info!(?files, "changed: the configuration is read again");
                drop(self.gate.reload(false).await);
                self.settling.stir(self.gate.clock().now());
            }
        }
    }

    /// Watches where these files are now; whether that is elsewhere than before.
    async fn follow(&mut self, seen: &Sightings) -> bool {
        let Some(inotify) = &mut self.inotify else {
            self.patience = self.slow.min(ALONE);
            return false;
        };
        let files: Vec<PathBuf> = seen.keys().filter_map(|path| std::path::absolute(path).ok()).collect();
        let places =
            tokio::task::spawn_blocking(move || Places::of(files.iter().map(PathBuf::as_path), &RealTree)).await;
        let Ok(places) = places else { return false };
        let Set { moved, missed } = inotify.set(places);
        self.patience = if missed.is_empty() { self.slow } else { self.slow.min(ALONE) };
        for (directory, error) in missed {
            if self.told.insert(directory.clone(), error.kind()) != Some(error.kind()) {
                tracing::warn!(directory = %directory.display(), %error, "cannot be watched: files are looked at every {ALONE:?}");
            }
        }
        moved
    }

    /// Until something has happened and settled, or it is time to look all the same; or until there are other files to watch.
    async fn wait(&mut self) -> Awaited {
        let clock = self.gate.clock().clone();
        let start = clock.now();
        loop {
            let due = self.settling.due().unwrap_or(start + self.patience);
            let pause = due.since(clock.now());
            tokio::select! {
                noticed = happened(&mut self.inotify) => match noticed {
                    Ok(noticed) => self.settling.note(noticed, clock.now()),
                    Err(error) => {
                        tracing::warn!(%error, "inotify failed: files are looked at every {ALONE:?}");
                        self.inotify = None;
                        return Awaited::Look;
                    }
                },
                () = clock.sleep(pause) => return Awaited::Look,
                () = self.read.again.notified() => return Awaited::OtherFiles,
            }
        }
    }
}

/// What a watcher has waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// It is time to look.
    Look,
    /// Somebody has loaded: the files may be others.
    OtherFiles,
}

async fn happened(inotify: &mut Option<Inotify>) -> io::Result<Vec<Noticed>> {
    match inotify {
        Some(inotify) => inotify.next().await,
        None => std::future::pending().await,
    }
}

/// Which of these files are no longer what they were.
async fn different(seen: Sightings) -> Vec<PathBuf> {
    let look = move || {
        let changed = |path: &Path, was: Sight| Sight::of(&RealFiles.read(path)) != was;
        seen.into_iter().filter(|(path, was)| changed(path, *was)).map(|(path, _)| path).collect()
    };
    // A look that panics has found nothing; the next one may.
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}
