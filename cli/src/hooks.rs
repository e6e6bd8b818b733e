//! Commands of the user around the snapshot of a VM: what runs in it can flush before, and go on after.

use std::io;
use std::process::{Command, ExitStatus, Stdio};

/// What a hook is told of nobody else's business.
const SECRETS: [&str; 2] = ["XENITH_PASSWORD", "XENITH_XAPI_PASSWORD"];

/// Shell commands, if there are any.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// Before the snapshot is taken.
    pub before: Option<String>,
    /// When it was, or will not be.
    pub after: Option<String>,
}

/// What a hook finds in its environment.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// XENITH_VM_NAME.
    pub vm_name: String,
    /// XENITH_VM_UUID.
    pub vm_uuid: String,
    /// XENITH_RUN: the name of the run, or its id if it has none.
    pub run: String,
    /// XENITH_MODE: `hot`, `warm` or `cold`.
    pub mode: &'static str,
}

/// A hook did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It could not be started.
    #[error("{flag} cannot be started")]
    Start {
        /// The flag that named it.
        flag: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// It failed.
    #[error("{flag} ended with {status}")]
    Status {
        /// The flag that named it.
        flag: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
}

impl Hooks {
    /// Runs the command before the snapshot. Whether there was one: then what it told to flush has.
    pub fn run_before(&self, occasion: &Occasion) -> Result<bool, HookError> {
        let Some(command) = &self.before else { return Ok(false) };
        run("--pre-snapshot", command, occasion).map(|()| true)
    }

    /// Runs the command after it.
    pub fn run_after(&self, occasion: &Occasion) -> Result<(), HookError> {
        let Some(command) = &self.after else { return Ok(()) };
        run("--post-snapshot", command, occasion)
    }
}

/// Runs `command`. What it prints goes to standard error: standard output is for results.
fn run(flag: &'static str, command: &str, occasion: &Occasion) -> Result<(), HookError> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(io::stderr());
    SECRETS.iter().for_each(|name| {
        shell.env_remove(name);
    });
    let status = shell
        .env("XENITH_VM_NAME", &occasion.vm_name)
        .env("XENITH_VM_UUID", &occasion.vm_uuid)
        .env("XENITH_RUN", &occasion.run)
        .env("XENITH_MODE", occasion.mode)
        .status()
        .map_err(|source| HookError::Start { flag, source })?;
    if status.success() { Ok(()) } else { Err(HookError::Status { flag, status }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occasion() -> Occasion {
        Occasion {
            vm_name: "web 01".to_owned(),
            vm_uuid: "u1".to_owned(),
            run: "nightly".to_owned(),
            mode: "hot",
        }
    }

    #[test]
    fn a_hook_knows_the_vm_the_run_and_the_mode() {
        let told = r#"test "$XENITH_VM_NAME/$XENITH_VM_UUID/$XENITH_RUN/$XENITH_MODE" = "#;
        let hooks = |words: &str| Hooks { before: Some(format!("{told}'{words}'")), after: None };
        assert!(hooks("web 01/u1/nightly/hot").run_before(&occasion()).expect("they are equal"));
        assert!(hooks("web 02/u1/nightly/hot").run_before(&occasion()).is_err());
    }

    #[test]
    fn a_hook_that_fails_says_with_which_code() {
        let hooks = Hooks { before: Some("exit 7".into()), after: Some("exit 8".into()) };
        let before = hooks.run_before(&occasion()).expect_err("it fails").to_string();
        assert_eq!(before, "--pre-snapshot ended with exit status: 7");
        let after = hooks.run_after(&occasion()).expect_err("it fails").to_string();
        assert_eq!(after, "--post-snapshot ended with exit status: 8");
    }

    #[test]
    fn without_hooks_nothing_is_told_to_flush() {
        assert!(!Hooks::default().run_before(&occasion()).expect("there is none"));
        assert!(Hooks::default().run_after(&occasion()).is_ok());
    }
}
