//! How a command ends: the exit codes that scripts rely on, and what is said with them.

use std::{fmt::Display, process::ExitCode};

/// Exit code of the process. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Done.
    Ok = 0,
    /// Failed while running.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// `check --online` found problems.
    Online = 4,
    /// Refused by a rule of ours; nothing was touched.
    Refused = 5,
    /// A remote side could not be reached.
    Unreachable = 6,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) exit: Exit,
    /// What a person is told; empty when there is nothing to say.
    pub(super) message: String,
}

impl Stop {
    pub(super) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    pub(super) fn silent(exit: Exit) -> Self {
        Self { exit, message: String::new() }
    }

    pub(super) fn failed(message: impl Display) -> Self {
        Self::new(Exit::Failed, message)
    }
}
