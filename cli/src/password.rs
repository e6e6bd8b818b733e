//! Passwords: from a file, a command, the environment or the terminal. Never from an argument,
//! never printed.

use std::fs::Metadata;
use std::io::{self, IsTerminal};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

/// A password; it leaves memory when it is dropped.
pub type Password = Zeroizing<Vec<u8>>;

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// The content of a file, without the line end.
    File(PathBuf),
    /// What a shell command prints, without the line end.
    Command(String),
    /// The value of this environment variable.
    Variable(&'static str),
    /// Whoever sits at the terminal.
    Terminal,
}

/// Whether a typed password is asked for a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// It opens something: a typing error does no harm.
    Once,
    /// It will be needed again: a typing error would be fatal.
    Twice,
}

/// Whose password it is: of each, other options say where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// It opens the repository.
    Repository,
    /// It will open the repository.
    New,
    /// The user of a pool has it.
    PoolUser,
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file could not be read.
    #[error("cannot read the password file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Whose password was looked for.
        whose: Whose,
        /// The system's answer.
        source: io::Error,
    },
    /// The command could not be started.
    #[error("cannot run the password command")]
    Command(#[source] io::Error),
    /// The command failed.
    #[error("the password command failed: {status}")]
    Status {
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// Nobody can be asked.
    #[error("no password was given, and there is no terminal to ask at")]
    NoTerminal {
        /// Whose password was looked for.
        whose: Whose,
    },
    /// The terminal could not be read.
    #[error("cannot read the password from the terminal")]
    Terminal {
        /// Whose password was looked for.
        whose: Whose,
        /// The system's answer.
        source: io::Error,
    },
    /// It was typed in two ways.
    #[error("the two passwords differ")]
    Differ,
    /// It is empty.
    #[error("the password is empty")]
    Empty,
}

impl PasswordSource {
    /// Where the password of the repository comes from: what was typed goes before the environment,
    /// and that before what is `configured`.
    pub fn of_repository(
        file: Option<PathBuf>,
        command: Option<String>,
        configured: Option<Self>,
    ) -> Self {
        let set = in_environment("XENITH_PASSWORD_FILE", "XENITH_PASSWORD");
        typed_source(file, command).or(set).or(configured).unwrap_or(Self::Terminal)
    }

    /// Where the password of a pool's user comes from, in the same order.
    pub fn of_pool(
        file: Option<PathBuf>,
        command: Option<String>,
        configured: Option<Self>,
    ) -> Self {
        let set = in_environment("XENITH_XAPI_PASSWORD_FILE", "XENITH_XAPI_PASSWORD");
        typed_source(file, command).or(set).or(configured).unwrap_or(Self::Terminal)
    }

    /// Where a new password comes from.
    pub fn of_new(file: Option<PathBuf>, command: Option<String>) -> Self {
        typed_source(file, command).unwrap_or(Self::Terminal)
    }

    /// What is wrong with how it is kept: nothing, if it is no file or its owner's alone.
    pub fn exposure(&self) -> Option<String> {
        let Self::File(path) = self else {
            return None;
        };
        let mode = path.metadata().ok().filter(Metadata::is_file)?.permissions().mode();
        (mode & 0o006 != 0).then(|| {
            format!(
                "warning: everyone on this machine may read or change {}; `chmod 600` it\n",
                path.display()
            )
        })
    }

    /// Gets it. `prompt` is what a person is asked.
    pub fn get(&self, whose: Whose, prompt: &str, ask: Ask) -> Result<Password, PasswordError> {
        let password = match self {
            Self::File(path) => {
                let failed = |source| PasswordError::File { path: path.clone(), whose, source };
                without_line_end(Zeroizing::new(std::fs::read(path).map_err(failed)?))
            }
            Self::Command(command) => without_line_end(output_of(command)?),
            Self::Variable(name) => {
                let value = std::env::var_os(name).unwrap_or_default();
                Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value))
            }
            Self::Terminal => typed(whose, prompt, ask)?,
        };
        match password.is_empty() {
            true => Err(PasswordError::Empty),
            false => Ok(password),
        }
    }
}

fn typed_source(file: Option<PathBuf>, command: Option<String>) -> Option<PasswordSource> {
    file.map(PasswordSource::File).or(command.map(PasswordSource::Command))
}

/// What the environment says: where the password is, or the password itself.
fn in_environment(file: &str, password: &'static str) -> Option<PasswordSource> {
    let file = std::env::var_os(file).filter(|value| !value.is_empty());
    let password = std::env::var_os(password).map(|_| PasswordSource::Variable(password));
    file.map(|file| PasswordSource::File(file.into())).or(password)
}

fn output_of(command: &str) -> Result<Password, PasswordError> {
    let mut shell = Command::new("sh");
    let shell = shell.arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = shell.output().map_err(PasswordError::Command)?;
    let printed = Zeroizing::new(output.stdout);
    match output.status.success() {
        true => Ok(printed),
        false => Err(PasswordError::Status { status: output.status }),
    }
}

fn typed(whose: Whose, prompt: &str, ask: Ask) -> Result<Password, PasswordError> {
    // The question goes to the terminal itself, so standard input may be a pipe.
    if !io::stderr().is_terminal() && !io::stdin().is_terminal() {
        return Err(PasswordError::NoTerminal { whose });
    }
    let read = |prompt: String| match rpassword::prompt_password(prompt) {
        Ok(text) => Ok(Zeroizing::new(text.into_bytes())),
        Err(source) => Err(PasswordError::Terminal { whose, source }),
    };
    let password = read(format!("{prompt}: "))?;
    if ask == Ask::Twice && *password != *read(format!("{prompt} again: "))? {
        return Err(PasswordError::Differ);
    }
    Ok(password)
}

/// Takes off exactly one line feed, and a carriage return before it.
fn without_line_end(mut text: Password) -> Password {
    if text.last() == Some(&b'\n') {
        text.pop();
        if text.last() == Some(&b'\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line_end(text: &str, expected: &str) {
        let stripped = without_line_end(Zeroizing::new(text.as_bytes().to_vec()));
        assert_eq!(*stripped, expected.as_bytes());
    }

    #[test]
    fn exactly_one_line_end_is_taken_off() {
        check_line_end("secret\n", "secret");
        check_line_end("secret\r\n", "secret");
        check_line_end("secret\n\n", "secret\n");
        check_line_end(" secret \r", " secret \r");
        check_line_end("\n", "");
    }

    #[test]
    fn commands_give_what_they_print_or_fail() {
        let source = |command: &str| PasswordSource::Command(command.into());
        let get = |command: &str| source(command).get(Whose::Repository, "", Ask::Once);
        assert_eq!(*get("echo a b").expect("it prints"), b"a b");
        assert!(matches!(get("exit 3"), Err(PasswordError::Status { .. })));
        assert!(matches!(get("true"), Err(PasswordError::Empty)));
    }
}
