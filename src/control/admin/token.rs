//! The admin token: from the configuration, else from `admin.token` in the state directory, else made there.
//!
//! `serve` asks for it once; the command line reads the same file. The process keeps only its digest, and no token ever
//! stands in a message.

use std::{
    fmt,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use subtle::ConstantTimeEq;

use super::places::TOKEN_FILE;
use crate::{control::random_key, digest::sha256, secret::Secret};

/// What a shown token is compared with: its SHA-256, so that the comparison has one length and memory no token.
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(token: &Secret) -> Self {
        Self(sha256(token.expose_bytes()))
    }

    /// Takes the same time whatever was shown.
    pub(super) fn matches(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(&sha256(shown)).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

/// The token's file in the first of these directories that can be used: read, or made when there is none.
pub(super) fn read_or_make(state_dirs: &[PathBuf]) -> anyhow::Result<Token> {
    let mut why_not = Vec::new();
    for dir in state_dirs {
        match read_or_make_in(dir) {
            Ok(token) => return Ok(Token::new(&token)),
            Err(error) => why_not.push(format!("{error:#}")),
        }
    }
    bail!("{}", why_not.join("; "))
}

fn read_or_make_in(dir: &Path) -> anyhow::Result<Secret> {
    let path = dir.join(TOKEN_FILE);
    if let Some(token) = read(&path)? {
        return Ok(token);
    }
    let mut private = DirBuilder::new();
    private.recursive(true).mode(0o700).create(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let token = random_key::new()?;
    write_whole(&path, &token).with_context(|| format!("cannot write {}", path.display()))?;
    tracing::info!(path = %path.display(), "made an admin token");
    Ok(token)
}

/// The token in this file, without one trailing newline; `None` when there is no such file.
///
/// # Errors
/// When it cannot be read, or what is in it could not be sent in a header.
pub fn read(path: &Path) -> anyhow::Result<Option<Secret>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => Secret::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let token = bytes.expose_bytes();
    let token = token.strip_suffix(b"\n").map_or(token, |line| line.strip_suffix(b"\r").unwrap_or(line));
    ensure!(
        !token.is_empty() && token.iter().all(u8::is_ascii_graphic),
        "{} holds no token: it wants one line of visible ASCII; delete it, and the next start makes a new one",
        path.display()
    );
    Ok(Some(Secret::new(token.to_vec())))
}

/// Under another name first, so that nobody ever reads half of it. One process owns a state directory, so a rename that
/// replaces is enough, and unlike a hard link it works on every file system.
fn write_whole(path: &Path, token: &Secret) -> io::Result<()> {
    let unfinished = path.with_extension("token.new");
    // What a crash left behind may have any mode.
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(token.expose_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_matches_itself_alone() {
        let token = Token::new(&Secret::new(b"canary".to_vec()));
        assert!(token.matches(b"canary"));
        for wrong in ["", "canar", "canary ", "Canary", "canarycanary"] {
            assert!(!token.matches(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(!format!("{token:?}").contains("canary"));
    }

    #[test]
    fn it_is_made_once_for_the_owner_alone_and_read_ever_after() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("deep/state");
        let made = read_or_make_in(&state).unwrap();
        let path = state.join(TOKEN_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(read_or_make_in(&state).unwrap(), made);
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1, "no unfinished file is left");
    }

    #[test]
    fn what_a_crash_left_behind_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("admin.token.new"), "half").unwrap();
        let made = read_or_make_in(dir.path()).unwrap();
        assert_ne!(made.expose_bytes(), b"half");
    }

    #[test]
    fn a_file_without_a_token_is_refused_and_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TOKEN_FILE);
        for wrong in ["", "\n", "a b\n", "a\nb\n", "t\u{e9}\n"] {
            std::fs::write(&path, wrong).unwrap();
            let message = format!("{:#}", read(&path).unwrap_err());
            assert!(message.contains("delete it"), "{message}");
        }
        std::fs::write(&path, "good\r\n").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().expose_bytes(), b"good");
    }

    #[test]
    fn the_next_directory_is_tried_and_all_reasons_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("file");
        std::fs::write(&blocked, "").unwrap();
        assert!(read_or_make(&[blocked.join("state"), dir.path().join("state")]).is_ok());
        let message = read_or_make(&[blocked.join("a"), blocked.join("b")]).unwrap_err().to_string();
        assert!(message.contains("file/a") && message.contains("file/b"), "{message}");
    }
}
