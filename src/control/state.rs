//! Files of the state directory that outlive a process: the salt of fingerprints, and the locks that keep two processes from
//! changing one service at a time.
//!
//! `run` announces itself here, `keys regen` asks. Nothing here holds a key, and no lock outlives its process.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    random,
    rotation::{digest::Salt, journal::service_name},
};

/// Whoever serves holds it shared; whoever regenerates without a gate holds it alone.
const GATE_LOCK: &str = "gate.lock";
const SALT: &str = "salt";

/// A salt of this process alone.
///
/// # Errors
/// Where the system gives no randomness.
pub fn fresh_salt() -> io::Result<Salt> {
    random::bytes().map(|bytes| Salt::new(&bytes))
}

/// The salt of a state directory, made when there is none: equal fingerprints mean equal keys wherever it is the same.
///
/// # Errors
/// Where it can neither be read nor made.
pub fn salt_of(dir: &Path) -> io::Result<Salt> {
    let path = dir.join(SALT);
    match read_salt(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let bytes = random::bytes()?;
    let unfinished = dir.join(format!("salt.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    // A link, not a rename: whoever made one meanwhile was first.
    let made = std::fs::hard_link(&unfinished, &path);
    let _ = std::fs::remove_file(&unfinished);
    match made {
        Ok(()) => Ok(Salt::new(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_salt(&path),
        Err(error) => Err(error),
    }
}

fn read_salt(path: &Path) -> io::Result<Salt> {
    let mut bytes = [0; 32];
    File::open(path)?.read_exact(&mut bytes)?;
    Ok(Salt::new(&bytes))
}

/// The first of these directories that can be used, made if need be for its owner alone.
///
/// # Errors
/// Why each of them cannot be used, in words.
pub fn first_usable(dirs: &[PathBuf]) -> Result<PathBuf, String> {
    let mut why_not = Vec::new();
    for dir in dirs {
        match DirBuilder::new().recursive(true).mode(0o700).create(dir).and_then(|()| lock_file(&dir.join(GATE_LOCK))) {
            Ok(_can_be_written) => return Ok(dir.clone()),
            Err(error) => why_not.push(format!("{}: {error}", dir.display())),
        }
    }
    Err(why_not.join("; "))
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The word of a process that it serves from this state directory. Gone when dropped.
#[derive(Debug)]
pub struct Presence(#[expect(dead_code, reason = "held for the lock that is on it")] File);

impl Presence {
    /// Announces a gate. Waits while somebody regenerates a key with this state directory.
    ///
    /// # Errors
    /// Where the file cannot be made or locked.
    pub fn announce(dir: &Path) -> io::Result<Self> {
        let file = lock_file(&dir.join(GATE_LOCK))?;
        file.lock_shared()?;
        Ok(Self(file))
    }
}

/// Why a service cannot be changed by this process.
#[derive(Debug, thiserror::Error)]
pub enum Busy {
    /// A gate runs, and whatever changes a key goes through it; or a key of another service is being changed.
    #[error("a scoregate runs with the state directory {0}, or changes a key with it")]
    Gate(PathBuf),
    /// Somebody else changes the same service.
    #[error("another process changes a key of this service ({0} is locked)")]
    Service(PathBuf),
    /// It cannot be told.
    #[error("whether a scoregate runs cannot be told: {0}: {1}")]
    Unknown(PathBuf, io::Error),
    /// There is no state directory to hold the lock in.
    #[error("there is no state directory that can be used: {0}")]
    NoDirectory(String),
}

/// Leave to change a service's keys: no gate runs with any of these state directories, and nobody else has leave. Gone when dropped.
#[derive(Debug)]
pub struct Leave(#[expect(dead_code, reason = "held for the locks that are on them")] Vec<File>);

impl Leave {
    /// Asks for leave to change the service with this resource id.
    ///
    /// # Errors
    /// Who is in the way.
    pub fn ask(dirs: &[PathBuf], resource_id: &str) -> Result<Self, Busy> {
        let usable = first_usable(dirs).map_err(Busy::NoDirectory)?;
        let mut held = Vec::new();
        for dir in dirs {
            let path = dir.join(GATE_LOCK);
            let opened = OpenOptions::new().write(true).open(&path);
            let file = match opened {
                Ok(file) => file,
                // Nobody ever served from there.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(error) => return Err(Busy::Unknown(path, error)),
            };
            match file.try_lock() {
                Ok(()) => held.push(file),
                Err(TryLockError::WouldBlock) => return Err(Busy::Gate(dir.clone())),
                Err(TryLockError::Error(error)) => return Err(Busy::Unknown(path, error)),
            }
        }
        let path = usable.join(format!("{}.lock", service_name(resource_id)));
        let file = lock_file(&path).map_err(|error| Busy::Unknown(path.clone(), error))?;
        match file.try_lock() {
            Ok(()) => held.push(file),
            Err(TryLockError::WouldBlock) => return Err(Busy::Service(path)),
            Err(TryLockError::Error(error)) => return Err(Busy::Unknown(path, error)),
        }
        Ok(Self(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let one = salt_of(dir.path()).unwrap().digest(b"k");
        assert_eq!(one, salt_of(dir.path()).unwrap().digest(b"k"));
        assert_ne!(one, fresh_salt().unwrap().digest(b"k"));
        std::fs::write(dir.path().join(SALT), "short").unwrap();
        assert!(salt_of(dir.path()).is_err(), "half a salt is never replaced: fingerprints would change");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn nobody_changes_a_key_while_a_gate_runs_and_one_at_a_time_else() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("state"), dir.path().join("fallback")];
        let usable = first_usable(&dirs).unwrap();
        assert_eq!(usable, dirs[0]);
        let (one, other) = (Presence::announce(&usable).unwrap(), Presence::announce(&usable).unwrap());
        assert!(matches!(Leave::ask(&dirs, "/A"), Err(Busy::Gate(_))));
        drop(one);
        assert!(matches!(Leave::ask(&dirs, "/A"), Err(Busy::Gate(_))));
        drop(other);
        let leave = Leave::ask(&dirs, "/A").unwrap();
        assert!(matches!(Leave::ask(&dirs, "/a"), Err(Busy::Gate(_) | Busy::Service(_))));
        drop(leave);
        Leave::ask(&dirs, "/a").unwrap();
    }

    #[test]
    fn a_gate_in_the_other_directory_counts_too() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("state"), dir.path().join("fallback")];
        first_usable(&dirs[1..]).unwrap();
        let _gate = Presence::announce(&dirs[1]).unwrap();
        assert!(matches!(Leave::ask(&dirs, "/a"), Err(Busy::Gate(found)) if found == dirs[1]));
    }

    #[test]
    fn where_there_is_no_directory_there_is_no_leave() {
        let error = Leave::ask(&[PathBuf::from("/proc/nowhere")], "/a").unwrap_err();
        assert!(matches!(error, Busy::NoDirectory(_)), "{error}");
    }
}
