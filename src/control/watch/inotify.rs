//! inotify(7) for `watch`: told which [`Places`] matter, it says when one of them changed, and nothing more.
//!
//! What changed is for the digests to say. Without inotify, or for a directory that cannot be watched, `watch` looks by itself.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::PathBuf,
};

use rustix::{
    fs::inotify::{CreateFlags, Event, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch},
    io::Errno,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::places::Places;

/// Room for a dozen events of one read; there may be many reads.
const BUFFER: usize = 4 << 10;

/// What happened to an entry that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    /// It was written to, and whoever writes has it open still.
    Writing,
    /// Anything else: it is there, gone, or written to its end.
    Changed,
}

/// Something that happened.
#[derive(Debug)]
pub(super) struct Noticed {
    pub(super) what: Happening,
    /// The entry; of a directory itself, the directory.
    pub(super) entry: PathBuf,
}

/// What came of watching other places.
#[derive(Debug)]
pub(super) struct Set {
    /// They are not those of before.
    pub(super) moved: bool,
    /// Directories that cannot be watched, and why.
    pub(super) missed: Vec<(PathBuf, io::Error)>,
}

/// Watches of directories.
#[derive(Debug)]
pub(super) struct Inotify {
    fd: AsyncFd<OwnedFd>,
    /// By watch descriptor: one directory may have two names (bind mounts).
    watched: HashMap<i32, Vec<PathBuf>>,
    places: Places,
}

impl Inotify {
    pub(super) fn new() -> io::Result<Self> {
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { fd: register(fd)?, watched: HashMap::new(), places: Places::default() })
    }

    /// Watches these places and no others.
    pub(super) fn set(&mut self, places: Places) -> Set {
        let mut fresh: HashMap<i32, Vec<PathBuf>> = HashMap::new();
        let mut missed = Vec::new();
        // Those with names last: of two names of one directory the richer mask is to stay.
        let (moves, entries): (Vec<_>, Vec<_>) = places.iter().partition(|(_, names)| names.is_empty());
        for (directory, names) in moves.into_iter().chain(entries) {
            match add_watch(self.fd.get_ref(), directory, mask(!names.is_empty())) {
                Ok(watch) => fresh.entry(watch).or_default().push(directory.to_owned()),
                // Gone since it was looked at: its parent says so.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                // Whether a directory that may not be read is moved can be done without.
                Err(Errno::ACCESS) if names.is_empty() => {}
                Err(error) => missed.push((directory.to_owned(), error.into())),
            }
        }
        let kept: HashSet<i32> = fresh.keys().copied().collect();
        for gone in self.watched.keys().filter(|watch| !kept.contains(watch)) {
            // Fails where the directory is gone, and its watch with it.
            let _ = remove_watch(self.fd.get_ref(), *gone);
        }
        let moved = self.watched != fresh || self.places != places;
        (self.watched, self.places) = (fresh, places);
        Set { moved, missed }
    }

    /// The next things that happened to what matters; at least one.
    pub(super) async fn next(&mut self) -> io::Result<Vec<Noticed>> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut noticed = Vec::new();
            let mut buffer = [const { MaybeUninit::uninit() }; BUFFER];
            let mut reader = Reader::new(self.fd.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => self.sort(&event, &mut noticed),
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            if !noticed.is_empty() {
                return Ok(noticed);
            }
        }
    }

    fn sort(&self, event: &Event<'_>, noticed: &mut Vec<Noticed>) {
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            noticed.push(Noticed { what: Happening::Changed, entry: PathBuf::from("/") });
            return;
        }
        let name: Option<OsString> = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
        let what = if event.events().contains(ReadFlags::MODIFY) { Happening::Writing } else { Happening::Changed };
        for directory in self.watched.get(&event.wd()).into_iter().flatten() {
            match &name {
                Some(name) if self.places.names(directory, name) => {
                    noticed.push(Noticed { what, entry: directory.join(name) });
                }
                Some(_) => {}
                None => noticed.push(Noticed { what: Happening::Changed, entry: directory.clone() }),
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio wants a promise that the descriptor stays open while it is registered")]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open until it is dropped; this one is never taken out again.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

fn mask(entries: bool) -> WatchFlags {
    let itself = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR;
    if !entries {
        return itself;
    }
    itself
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVE
        | WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        // Permission to read it may have been given.
        | WatchFlags::ATTRIB
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::symlink, path::Path, time::Duration};

    use super::{super::places::RealTree, *};

    async fn next(inotify: &mut Inotify) -> Vec<(Happening, PathBuf)> {
        let noticed = tokio::time::timeout(Duration::from_secs(10), inotify.next()).await.expect("nothing was noticed");
        noticed.unwrap().into_iter().map(|noticed| (noticed.what, noticed.entry)).collect()
    }

    fn watching(file: &Path) -> Inotify {
        let mut inotify = Inotify::new().unwrap();
        assert!(inotify.set(Places::of([file], &RealTree)).missed.is_empty());
        inotify
    }

    /// Folders for tests may lie behind links.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[tokio::test]
    async fn writing_and_its_end_are_told_apart() {
        let (_keep, folder) = folder();
        let file = folder.join("key");
        fs::write(&file, "one").unwrap();
        let mut inotify = watching(&file);
        let mut open = fs::OpenOptions::new().append(true).open(&file).unwrap();
        open.write_all(b"two").unwrap();
        assert_eq!(next(&mut inotify).await, [(Happening::Writing, file.clone())]);
        drop(open);
        assert_eq!(next(&mut inotify).await, [(Happening::Changed, file)]);
    }

    #[tokio::test]
    async fn neighbours_do_not_matter_and_a_rename_over_the_file_does() {
        let (_keep, folder) = folder();
        let (file, beside) = (folder.join("key"), folder.join("key.new"));
        fs::write(&file, "one").unwrap();
        let mut inotify = watching(&file);
        fs::write(&beside, "two").unwrap();
        fs::rename(&beside, &file).unwrap();
        assert_eq!(next(&mut inotify).await, [(Happening::Changed, file)]);
    }

    #[tokio::test]
    async fn a_swapped_link_a_moved_folder_and_a_file_that_appears() {
        let (_keep, folder) = folder();
        let keys = folder.join("keys");
        fs::create_dir_all(keys.join("v1")).unwrap();
        fs::create_dir_all(keys.join("v2")).unwrap();
        symlink("v1", keys.join("..data")).unwrap();
        symlink("..data/key", keys.join("key")).unwrap();
        let file = keys.join("key");
        let mut inotify = watching(&file);

        fs::write(keys.join("v1/key"), "one").unwrap();
        assert!(next(&mut inotify).await.contains(&(Happening::Changed, keys.join("v1/key"))), "it appears");

        symlink("v2", keys.join("..data_tmp")).unwrap();
        fs::rename(keys.join("..data_tmp"), keys.join("..data")).unwrap();
        assert_eq!(next(&mut inotify).await, [(Happening::Changed, keys.join("..data"))]);

        inotify.set(Places::of([file.as_path()], &RealTree));
        fs::rename(&keys, folder.join("old")).unwrap();
        assert!(next(&mut inotify).await.iter().any(|(_, entry)| *entry == keys), "the folder itself");

        inotify.set(Places::of([file.as_path()], &RealTree));
        fs::create_dir(&keys).unwrap();
        assert!(next(&mut inotify).await.contains(&(Happening::Changed, keys)), "it is there again");
    }
}
