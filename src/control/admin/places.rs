//! Where the admin socket and the state directory are when the configuration does not say.
//!
//! The server binds there and the command line looks there: one rule, so that they meet. Nothing here touches a file.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::config::model::StateDir;

/// The socket, when none is written.
pub const SOCKET: &str = "/run/scoregate/admin.sock";
/// The state directory, when none is written.
pub const STATE_DIR: &str = "/var/lib/scoregate";
/// The token's file in the state directory.
pub const TOKEN_FILE: &str = "admin.token";

/// Where a user who may not write to the system's directories keeps such things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `$XDG_STATE_HOME`, else `$HOME/.local/state`.
    pub state_home: Option<PathBuf>,
}

impl Fallbacks {
    /// Those of this process.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// A relative path is ignored, as the XDG base directory specification demands.
    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
            state_home: absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state"))),
        }
    }

    /// Sockets to try, in order. One that was written is the only one.
    #[must_use]
    pub fn sockets(&self, socket: &StateDir) -> Vec<PathBuf> {
        in_order(socket, self.runtime_dir.as_deref(), "scoregate/admin.sock")
    }

    /// State directories to try, in order. One that was written is the only one.
    #[must_use]
    pub fn state_dirs(&self, state_dir: &StateDir) -> Vec<PathBuf> {
        in_order(state_dir, self.state_home.as_deref(), "scoregate")
    }
}

fn in_order(first: &StateDir, base: Option<&Path>, below: &str) -> Vec<PathBuf> {
    let fallback = base.filter(|_| !first.written).map(|base| base.join(below));
    std::iter::once(first.path.clone()).chain(fallback).collect()
}

/// A path that nobody wrote.
#[must_use]
pub fn unwritten(path: &str) -> StateDir {
    StateDir { path: PathBuf::from(path), written: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fallbacks(variables: &[(&str, &str)]) -> Fallbacks {
        Fallbacks::from_variables(|wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn an_unwritten_path_has_a_fallback_and_a_written_one_has_none() {
        let fallbacks = fallbacks(&[("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/home/u")]);
        assert_eq!(
            fallbacks.sockets(&unwritten(SOCKET)),
            [Path::new(SOCKET), Path::new("/run/user/7/scoregate/admin.sock")]
        );
        assert_eq!(
            fallbacks.state_dirs(&unwritten(STATE_DIR)),
            [Path::new(STATE_DIR), Path::new("/home/u/.local/state/scoregate")]
        );
        assert_eq!(fallbacks.sockets(&StateDir { path: "/s".into(), written: true }), [Path::new("/s")]);
    }

    #[test]
    fn relative_and_missing_directories_are_no_fallback() {
        let fallbacks = fallbacks(&[("XDG_RUNTIME_DIR", "here"), ("XDG_STATE_HOME", "")]);
        assert_eq!(fallbacks, Fallbacks::default());
    }
}
