//! Unix sockets that are listened on: never two processes on one path, never open to more than was meant, gone with their process.
//!
//! The admin side and listeners bind them. Nothing here removes what is not a dead socket.

use std::{
    fs::Permissions,
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{fs::Mode, process::umask};
use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a socket that is listened on. It goes away with this, unless another process has put its own there.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    file: Identity,
}

impl SocketFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_at(&self.path).is_ok_and(|file| file == self.file) {
            // What stays behind is a dead socket, which the next start replaces.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Device, inode, and since when: an inode is soon used again.
type Identity = (u64, u64, (i64, i64));

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens there.
    #[error("another process answers at {0}: stop it, or give this one a socket of its own")]
    Taken(PathBuf),
    /// Something else is there.
    #[error("{0} is there and is not a socket: move it away, or choose another path")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot make the socket {path}: {source}")]
    NotMakeable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Listens on a path, which only users that `mode` (as of chmod(1)) lets in can connect to.
///
/// # Errors
/// See [`SocketError`].
pub fn bind(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), SocketError> {
    let not_makeable = |source| SocketError::NotMakeable { path: path.to_owned(), source };
    clear(path)?;
    let listener = bind_with(path, mode).map_err(not_makeable)?;
    let file = file_at(path).map_err(not_makeable)?;
    Ok((listener, SocketFile { path: path.to_owned(), file }))
}

/// Removes a socket that nobody listens on any more.
fn clear(path: &Path) -> Result<(), SocketError> {
    let not_makeable = |source| SocketError::NotMakeable { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(not_makeable(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match answers(path) {
        Ok(()) => Err(SocketError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(not_makeable)
        }
        Err(error) => Err(not_makeable(error)),
    }
}

/// Whether somebody listens; never waits.
fn answers(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        // A full backlog has somebody behind it too.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        answer => answer,
    }
}

/// The umask is the process's own: who changes it takes turns, so that each restores what it found. A `chmod` alone
/// would leave a moment in which anyone may connect. What the owner may is left alone: a directory that another thread makes
/// meanwhile must be one that can be entered.
static UMASK: Mutex<()> = Mutex::new(());

fn bind_with(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let bound = {
        let _turn = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
        let before = umask(Mode::from_raw_mode(0o077 & !mode));
        let bound = UnixListener::bind(path);
        umask(before);
        bound
    }?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(bound)
}

fn file_at(path: &Path) -> io::Result<Identity> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino(), (found.ctime(), found.ctime_nsec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_once_and_a_dead_socket_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.sock");
        let (listener, file) = bind(&path, 0o660).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind(&path, 0o660), Err(SocketError::Taken(_))));
        drop(listener);
        let (_second, second_file) = bind(&path, 0o600).unwrap();
        drop(file);
        assert!(path.exists(), "the file is another's by now");
        drop(second_file);
        assert!(!path.exists());
        std::fs::write(&path, "text").unwrap();
        assert!(matches!(bind(&path, 0o600), Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
        assert!(matches!(bind(&folder.path().join("no/gate.sock"), 0o600), Err(SocketError::NotMakeable { .. })));
    }
}
