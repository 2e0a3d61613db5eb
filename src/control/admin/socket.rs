//! The Unix socket of the admin side: for its owner alone, and never two processes on one path.
//!
//! `serve` binds it. It must never remove what is not a dead socket.

use std::{
    fs::{DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{fs::Mode, process::umask};
use tokio::net::{UnixListener, UnixStream};

use super::places::Fallbacks;
use crate::config::model::StateDir;

/// A socket that is listened on. Its file goes away with it, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct BoundSocket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if file_at(&self.path).is_ok_and(|file| file == self.file) {
            // What stays behind is a dead socket, which the next start replaces.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("another scoregate answers at {0} (admin.socket): stop it, or give this one a socket of its own")]
    Taken(PathBuf),
    #[error("{0} (admin.socket) is there and is not a socket: move it away, or choose another path")]
    NotASocket(PathBuf),
    #[error("cannot make the socket {path} (admin.socket): {source}")]
    NotMakeable { path: PathBuf, source: io::Error },
}

/// Listens on the path that is written, else on the first default that can be made. `None`: no default can be, which was
/// said; the process works without.
pub(super) async fn bind(socket: &StateDir, fallbacks: &Fallbacks) -> Result<Option<BoundSocket>, SocketError> {
    let mut why_not: Vec<String> = Vec::new();
    for path in fallbacks.sockets(socket) {
        match bind_at(&path, !socket.written).await {
            Ok(bound) => {
                if let Some(reason) = why_not.pop() {
                    tracing::warn!(socket = %path.display(), reason, "the admin socket is at its second place");
                }
                return Ok(Some(bound));
            }
            Err(error @ SocketError::NotMakeable { .. }) if !socket.written => why_not.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    tracing::warn!(
        reason = why_not.join("; "),
        "there is no admin socket: write admin.socket or admin.address to have one"
    );
    Ok(None)
}

async fn bind_at(path: &Path, make_parent: bool) -> Result<BoundSocket, SocketError> {
    let not_makeable = |source| SocketError::NotMakeable { path: path.to_owned(), source };
    if make_parent && let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(not_makeable)?;
    }
    clear(path).await?;
    let listener = bind_private(path).map_err(not_makeable)?;
    let file = file_at(path).map_err(not_makeable)?;
    Ok(BoundSocket { listener, path: path.to_owned(), file })
}

/// Removes a socket that nobody listens on any more.
async fn clear(path: &Path) -> Result<(), SocketError> {
    let not_makeable = |source| SocketError::NotMakeable { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(not_makeable(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        // A full backlog has somebody behind it too.
        Ok(_) => Err(SocketError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(not_makeable)
        }
        Err(error) => Err(not_makeable(error)),
    }
}

/// The umask is the process's own: who changes it takes turns, so that each restores what it found. A `chmod` alone
/// would leave a moment in which anyone may connect.
static UMASK: Mutex<()> = Mutex::new(());

fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let bound = {
        let _turn = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
        let before = umask(Mode::from_raw_mode(0o077));
        let bound = UnixListener::bind(path);
        umask(before);
        bound
    }?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(bound)
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
