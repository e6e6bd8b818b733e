//! How a command can end. The numbers are restic's, and are promised.

use std::process::ExitCode;

/// The exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for was done; what was backed up can be restored.
    Done = 0,
    /// It was not done; or `check` has found damage.
    Failed = 1,
    /// Some inputs were backed up and others not; or an input is cut or damaged.
    Partly = 3,
    /// There is no repository.
    NoRepository = 10,
    /// The password opens no key slot.
    WrongPassword = 12,
    /// Ctrl-C, or another signal to end. (11, restic's code for a locked repository, is
    /// reserved: nothing locks.)
    Interrupted = 130,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Prints what clap has to say: help and version succeed, everything else does not.
pub fn of_usage(error: &clap::Error) -> Exit {
    // Nobody is left to be told when the terminal is gone.
    let _ = error.print();
    match error.use_stderr() {
        true => Exit::Failed,
        false => Exit::Done,
    }
}
