//! A folder of this process's own, for files that others are told of by their paths: its owner alone can read it, and it goes away
//! with the value.
//!
//! The embedded Azure and the demo keep theirs here. Nothing that must outlive the process belongs into it.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::random;

/// The folder. Dropping it removes it with everything in it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one in the folder for temporary files, under a name that nobody can know before.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(crate) fn make(purpose: &str) -> anyhow::Result<Self> {
        let unique = u64::from_le_bytes(random::bytes().context("the operating system gave no random bytes")?);
        let folder = std::env::temp_dir().join(format!("scoregate-{purpose}-{unique:016x}"));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a file of this name is or would be.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, for its owner alone, and says where it is.
    ///
    /// # Errors
    /// Where the disk fails.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.file(name);
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left lies in the folder for temporary files, and nobody else can read it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn its_owner_alone_can_read_it_and_it_goes_away() {
        let scratch = Scratch::make("test").unwrap();
        let path = scratch.write("file", "text").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(scratch.path()), mode(&path)), (0o700, 0o600));
        assert_eq!(fs::read_to_string(scratch.file("file")).unwrap(), "text");
        let folder = scratch.path().to_owned();
        drop(scratch);
        assert!(!folder.exists());
    }
}
