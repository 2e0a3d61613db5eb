//! Files of the state directory that a power cut leaves whole: the old one or the new one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Writes a file for its owner alone. It and its name are on the disk when this returns. One process owns a state directory, and one
/// thread of it a file.
///
/// # Errors
/// What the operating system says; the old file is whole.
pub fn write(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}.new"));
    // What a crash left behind may have any mode.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// Reads a file that has at most so many bytes.
///
/// # Errors
/// What the operating system says, or that it has more.
pub fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(largest + 1).read_to_end(&mut content)?;
    if content.len() as u64 > largest {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {largest} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_replaces_what_was_there_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("it.new"), "left behind").unwrap();
        for content in ["one", "another"] {
            write(dir.path(), "it", content.as_bytes()).unwrap();
            assert_eq!(read(&dir.path().join("it"), 7).unwrap(), content.as_bytes());
        }
        assert!(read(&dir.path().join("it"), 6).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let mode = fs::metadata(dir.path().join("it")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write(&dir.path().join("nowhere"), "it", b"x").is_err());
    }
}
