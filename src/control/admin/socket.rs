//! The Unix socket of the admin side: for its owner alone, at the path that is written, else at the first default that can be made.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, path::Path};

use anyhow::Context;
use tokio::net::UnixListener;

use super::places::Fallbacks;
use crate::{
    config::model::StateDir,
    control::unix_socket::{self, SocketError, SocketFile},
};

/// A socket that is listened on.
#[derive(Debug)]
pub(super) struct BoundSocket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// Listens. `None`: no default can be made, which was said; the process works without.
///
/// # Errors
/// Why the path that is written cannot be used, or that another process answers at a default.
pub(super) fn bind(socket: &StateDir, fallbacks: &Fallbacks) -> anyhow::Result<Option<BoundSocket>> {
    let mut why_not: Vec<String> = Vec::new();
    for path in fallbacks.sockets(socket) {
        match bind_at(&path, !socket.written) {
            Ok(bound) => {
                if let Some(reason) = why_not.pop() {
                    tracing::warn!(socket = %path.display(), reason, "the admin socket is at its second place");
                }
                return Ok(Some(bound));
            }
            Err(error @ SocketError::NotMakeable { .. }) if !socket.written => why_not.push(error.to_string()),
            Err(error) => return Err(error).context("admin.socket"),
        }
    }
    tracing::warn!(
        reason = why_not.join("; "),
        "there is no admin socket: write admin.socket or admin.address to have one"
    );
    Ok(None)
}

fn bind_at(path: &Path, make_parent: bool) -> Result<BoundSocket, SocketError> {
    let not_makeable = |source: io::Error| SocketError::NotMakeable { path: path.to_owned(), source };
    if make_parent && let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(not_makeable)?;
    }
    let (listener, file) = unix_socket::bind(path, 0o600)?;
    listener.set_nonblocking(true).map_err(not_makeable)?;
    Ok(BoundSocket { listener: UnixListener::from_std(listener).map_err(not_makeable)?, file })
}
