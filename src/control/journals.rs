//! Journals of services on the disk: one file per service in `state_dir`, and a lock that says which process may write it.
//!
//! The drivers of `control::azure` open, read and write them; everything here blocks, so it is called off the runtime's thread.
//! What a journal says is [`crate::rotation::journal`]'s affair. A file that cannot be understood is set aside and never overwritten.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::rotation::{
    digest::Salt,
    journal::{Journal, JournalError, service_name},
};

/// More than any journal: its lists are bounded.
const LARGEST: u64 = 4 << 20;
/// Files set aside of one service; the next one keeps the journal from being used at all.
const MOST_SET_ASIDE: u32 = 100;

/// Where journals are, and what the digests in them are made with.
#[derive(Debug, Clone)]
pub struct Journals {
    dir: Result<PathBuf, String>,
    salt: Salt,
}

/// A service's journal as it was found.
#[derive(Debug)]
pub enum Opened {
    /// This process may write it.
    Ours(Keeper, Option<Box<Journal>>),
    /// Another process may; what it has written so far.
    Theirs(Option<Box<Journal>>),
    /// It cannot be used, and why.
    Absent(String),
}

/// Leave to write the journal of one service. The lock goes when it is dropped.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    #[expect(dead_code, reason = "held for the lock that is on it")]
    lock: File,
}

impl Journals {
    /// Journals in this directory, with digests under the salt that lies there; or none, and why.
    #[must_use]
    pub const fn new(dir: Result<PathBuf, String>, salt: Salt) -> Self {
        Self { dir, salt }
    }

    /// What digests are made with.
    #[must_use]
    pub const fn salt(&self) -> &Salt {
        &self.salt
    }

    /// Takes the lock of a service, if it is free, and reads its journal. Blocks.
    #[must_use]
    pub fn open(&self, resource_id: &str, now_unix: u64) -> Opened {
        let dir = match &self.dir {
            Ok(dir) => dir,
            Err(why) => return Opened::Absent(format!("there is no state directory that can be used: {why}")),
        };
        let name = service_name(resource_id);
        let path = dir.join(format!("{name}.json"));
        let unusable = |path: &Path, error: io::Error| Opened::Absent(format!("{}: {error}", path.display()));
        let lock_path = dir.join(format!("{name}.lock"));
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) => return unusable(&lock_path, error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            // It may be half-way through a change; whatever it says is said again when the lock is ours.
            Err(TryLockError::WouldBlock) => return Opened::Theirs(read(&path).ok().flatten().and_then(Result::ok)),
            Err(TryLockError::Error(error)) => return unusable(&lock_path, error),
        }
        let journal = match read(&path) {
            Ok(None) => None,
            Ok(Some(Ok(journal))) => Some(journal),
            Ok(Some(Err(why @ JournalError::Version { .. }))) => {
                return Opened::Absent(format!("{}: {why}", path.display()));
            }
            Ok(Some(Err(why @ JournalError::Damaged(_)))) => match set_aside(&path, now_unix) {
                Ok(aside) => {
                    tracing::error!(journal = %path.display(), kept_as = %aside.display(), "{why}");
                    None
                }
                Err(error) => return Opened::Absent(format!("{}: {why}: {error}", path.display())),
            },
            Err(error) => return unusable(&path, error),
        };
        Opened::Ours(Keeper { path, lock }, journal)
    }
}

impl Keeper {
    /// Makes a journal durable: when this returns it is there after a loss of power. Blocks.
    ///
    /// # Errors
    /// Where that is not certain.
    pub fn write(&self, journal: &Journal) -> io::Result<()> {
        let bytes = journal.to_bytes()?;
        let unfinished = self.path.with_extension("json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        // The name is durable with its directory.
        let dir = self.path.parent().unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    }
}

/// What a file says; none where there is no file.
type Found = Option<Result<Box<Journal>, JournalError>>;

fn read(path: &Path) -> io::Result<Found> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Ok(Some(Err(JournalError::Damaged("it is larger than is ever written".to_owned()))));
    }
    Ok(Some(Journal::from_bytes(&bytes).map(Box::new)))
}

/// Gives a file a name that nothing else has, and that nobody writes to.
fn set_aside(path: &Path, now_unix: u64) -> io::Result<PathBuf> {
    for number in 0..MOST_SET_ASIDE {
        let aside = path.with_extension(format!("json.unreadable-{}", now_unix + u64::from(number)));
        // A link, not a rename, which would replace what was set aside before.
        match fs::hard_link(path, &aside) {
            Ok(()) => {
                fs::remove_file(path)?;
                return Ok(aside);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many were set aside already: remove some"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::rotation::{
        journal::{By, SlotRecord, Standing, VERSION},
        operation::OperationId,
        slot::{PerSlot, Slot},
    };

    const ID: &str = "/subscriptions/S/services/iris";

    fn journals(dir: &Path) -> Journals {
        Journals::new(Ok(dir.to_owned()), Salt::new(&[7; 32]))
    }

    fn journal(generation: u64) -> Journal {
        let record = |key: &[u8]| SlotRecord {
            digest: Salt::new(&[7; 32]).digest(key),
            standing: Standing::Settled,
            regenerated: 1,
            by: By::Unknown,
            retired: Vec::new(),
            replaced: Vec::new(),
        };
        Journal {
            version: VERSION,
            generation,
            active: Slot::Primary,
            slots: PerSlot { primary: record(b"canary-one"), secondary: record(b"canary-two") },
            frozen: false,
            open: None,
            owed: None,
            last_success: None,
            next_operation: OperationId(1),
            operations: Vec::new(),
        }
    }

    fn keeper(opened: Opened) -> (Keeper, Option<Box<Journal>>) {
        match opened {
            Opened::Ours(keeper, journal) => (keeper, journal),
            other => panic!("{other:?}"),
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_written_is_read_again_by_whatever_case_of_the_id() {
        let dir = tempfile::tempdir().unwrap();
        let (owner, none) = keeper(journals(dir.path()).open(ID, 1));
        assert_eq!(none, None);
        for generation in [100, 200] {
            owner.write(&journal(generation)).unwrap();
        }
        drop(owner);
        let (_keeper, again) = keeper(journals(dir.path()).open(&ID.to_uppercase(), 1));
        assert_eq!(*again.unwrap(), journal(200));
        let name = service_name(ID);
        assert_eq!(names(dir.path()), [format!("{name}.json"), format!("{name}.lock")]);
        for file in names(dir.path()) {
            let path = dir.path().join(file);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!fs::read_to_string(&path).unwrap().contains("canary"), "no key is on the disk");
        }
    }

    #[test]
    fn one_process_writes_and_the_others_read() {
        let dir = tempfile::tempdir().unwrap();
        let (owner, _) = keeper(journals(dir.path()).open(ID, 1));
        assert!(matches!(journals(dir.path()).open(ID, 1), Opened::Theirs(None)));
        owner.write(&journal(100)).unwrap();
        let Opened::Theirs(Some(seen)) = journals(dir.path()).open(ID, 1) else { panic!("it was ours") };
        assert_eq!(seen.generation, 100);
        assert!(matches!(journals(dir.path()).open("/another", 1), Opened::Ours(..)));
        drop(owner);
        assert!(matches!(journals(dir.path()).open(ID, 1), Opened::Ours(_, Some(_))));
    }

    #[test]
    fn what_cannot_be_read_is_set_aside_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{}.json", service_name(ID)));
        for (number, damage) in [&b"{"[..], b"", b"\xff\xfe", br#"{"version":1}"#].into_iter().enumerate() {
            fs::write(&path, damage).unwrap();
            let (owner, none) = keeper(journals(dir.path()).open(ID, 1_000));
            assert_eq!(none, None);
            let aside = path.with_extension(format!("json.unreadable-{}", 1_000 + number));
            assert_eq!(fs::read(aside).unwrap(), damage);
            owner.write(&journal(1)).unwrap();
        }
        // What somebody else holds is not ours to set aside.
        let (_keeper, _) = keeper(journals(dir.path()).open(ID, 1));
        fs::write(&path, b"{").unwrap();
        assert!(matches!(journals(dir.path()).open(ID, 1), Opened::Theirs(None)));
        assert_eq!(fs::read(&path).unwrap(), b"{");
    }

    #[test]
    fn a_journal_of_another_format_stays_and_keeps_us_from_writing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(format!("{}.json", service_name(ID)));
        fs::write(&path, br#"{"version":2,"more":[]}"#).unwrap();
        let Opened::Absent(why) = journals(dir.path()).open(ID, 1) else { panic!("it was opened") };
        assert!(why.contains("format 2") && why.contains(".json"), "{why}");
        assert_eq!(fs::read(&path).unwrap(), br#"{"version":2,"more":[]}"#);
    }

    #[test]
    fn where_there_is_no_place_it_says_why() {
        let nowhere = Journals::new(Err("/var/lib/scoregate: Permission denied".to_owned()), Salt::new(&[7; 32]));
        let Opened::Absent(why) = nowhere.open(ID, 1) else { panic!("it was opened") };
        assert!(why.contains("Permission denied"), "{why}");
        assert!(matches!(journals(Path::new("/proc/nowhere")).open(ID, 1), Opened::Absent(_)));
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(format!("{}.json", service_name(ID)))).unwrap();
        assert!(matches!(journals(dir.path()).open(ID, 1), Opened::Absent(_)), "a folder stands in the way");
    }

    #[test]
    fn a_write_that_fails_says_so_and_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let (owner, _) = keeper(journals(dir.path()).open(ID, 1));
        owner.write(&journal(100)).unwrap();
        let unfinished = owner.path.with_extension("json.new");
        fs::create_dir(&unfinished).unwrap();
        assert!(owner.write(&journal(200)).is_err());
        fs::remove_dir(&unfinished).unwrap();
        drop(owner);
        let (_keeper, kept) = keeper(journals(dir.path()).open(ID, 1));
        assert_eq!(kept.unwrap().generation, 100);
    }
}
