//! What a configuration is read from besides its text: variables, files and the time.
//!
//! Passed in by `run` and `check`, faked by tests. The pure part of loading asks these and never the process.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::resolve::secret_of;
use crate::{digest::sha256, secret::Secret};

/// The surroundings that a file is read in.
pub trait Env {
    /// The variable of that name.
    fn var(&self, name: &str) -> Option<OsString>;
    /// Now, to tell which caller keys are past their time.
    fn now(&self) -> SystemTime;
}

/// The surroundings of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    #[expect(clippy::disallowed_methods, reason = "the seam that keeps the clock out of the rest of loading")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Files by path.
pub trait Files {
    /// The content of a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The content of a file that holds a secret.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_secret(&self, path: &Path) -> io::Result<SecretFile> {
        self.read(path).map(SecretFile::Current)
    }
}

/// What a file with a secret holds.
pub enum SecretFile {
    /// This.
    Current(Vec<u8>),
    /// Nothing at the moment, as while somebody writes it; this is what it held when it last held anything.
    LastGood(Secret),
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current(_) => "Current([redacted])",
            Self::LastGood(_) => "LastGood([redacted])",
        })
    }
}

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFiles;

impl RealFiles {
    /// More than a hundred thousand digests of keys; a mistyped path such as `/dev/zero` must not fill the memory.
    const LARGEST: u64 = 16 << 20;
}

/// What `read_to_end` wants free to see the end of a file without growing.
const READ_BEYOND: usize = 64;

impl Files for RealFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        // Room for all of it at once: a buffer that grows leaves parts of a secret in the memory that it had before.
        let length = file.metadata()?.len().min(Self::LARGEST);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + READ_BEYOND);
        let read = file.take(Self::LARGEST + 1).read_to_end(&mut bytes)?;
        if read as u64 > Self::LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        Ok(bytes)
    }
}

/// Files that remember, for reloads: a secret's file that is empty or half-written gives what it last held.
///
/// Whoever rotates a key by writing its file in place leaves it empty for a moment; a reload in that moment keeps the
/// old value. A file that is gone is still a fault.
#[derive(Debug, Default)]
pub struct LastGood<F = RealFiles> {
    files: F,
    remembered: Mutex<HashMap<PathBuf, Secret>>,
}

impl<F> LastGood<F> {
    /// Remembers what is read through it from `files`.
    pub fn new(files: F) -> Self {
        Self { files, remembered: Mutex::default() }
    }
}

impl<F: Files> Files for LastGood<F> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.read(path)
    }

    fn read_secret(&self, path: &Path) -> io::Result<SecretFile> {
        let bytes = self.files.read(path)?;
        // Each insert is whole, so a panic elsewhere leaves nothing half done.
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        match secret_of(bytes.clone()) {
            Ok(secret) => {
                remembered.insert(path.to_owned(), secret);
                Ok(SecretFile::Current(bytes))
            }
            Err(_) => Ok(match remembered.get(path) {
                Some(secret) => SecretFile::LastGood(secret.clone()),
                None => SecretFile::Current(bytes),
            }),
        }
    }
}

/// What a look at a file found, without what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Content with this SHA-256.
    Content([u8; 32]),
    /// Nothing that could be read.
    Unreadable(io::ErrorKind),
}

impl Sight {
    /// What reading it has brought.
    #[must_use]
    pub fn of(read: &io::Result<Vec<u8>>) -> Self {
        match read {
            Ok(bytes) => Self::Content(sha256(bytes)),
            Err(error) => Self::Unreadable(error.kind()),
        }
    }
}

/// Every file that a load has asked for, and what was there.
pub type Sightings = BTreeMap<PathBuf, Sight>;

/// Files that note what was read through them, so that a watcher can tell whether any of it is different now.
#[derive(Debug, Default)]
pub struct Noted<F = RealFiles> {
    files: F,
    seen: Mutex<Sightings>,
}

impl<F: Files> Noted<F> {
    /// Notes what is read through it from `files`.
    pub fn new(files: F) -> Self {
        Self { files, seen: Mutex::default() }
    }

    /// What was read since this was asked last.
    pub fn take(&self) -> Sightings {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: Files> Files for Noted<F> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.files.read(path);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a file that is read twice the earlier look counts: where the two differ, a watcher has all of it read again.
        seen.entry(path.to_owned()).or_insert_with(|| Sight::of(&read));
        read
    }
}

impl<F: Files> Files for Arc<F> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        (**self).read(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_keeps_what_it_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let files = LastGood::<RealFiles>::default();
        let write = |text: &str| std::fs::write(&path, text).unwrap();

        write("");
        assert!(matches!(files.read_secret(&path).unwrap(), SecretFile::Current(bytes) if bytes.is_empty()));
        write("one\n");
        assert!(matches!(files.read_secret(&path).unwrap(), SecretFile::Current(bytes) if bytes == b"one\n"));
        for unfinished in ["", "\n", "\0\0\0"] {
            write(unfinished);
            let SecretFile::LastGood(kept) = files.read_secret(&path).unwrap() else { panic!("not remembered") };
            assert_eq!(kept.expose_bytes(), b"one");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(files.read_secret(&path).is_err());
    }

    #[test]
    fn what_was_read_is_noted_by_digest_and_what_is_missing_too() {
        let folder = tempfile::tempdir().unwrap();
        let (there, missing) = (folder.path().join("there"), folder.path().join("missing"));
        std::fs::write(&there, "canary").unwrap();
        let files = Noted::new(RealFiles);
        files.read(&there).unwrap();
        files.read(&missing).unwrap_err();
        let seen = files.take();
        assert_eq!(seen[&there], Sight::Content(sha256(b"canary")));
        assert_eq!(seen[&missing], Sight::Unreadable(io::ErrorKind::NotFound));
        assert!(files.take().is_empty());
    }

    #[test]
    fn endless_files_are_refused() {
        assert_eq!(RealFiles.read(Path::new("/dev/zero")).unwrap_err().to_string(), "larger than 16 MiB");
    }
}
