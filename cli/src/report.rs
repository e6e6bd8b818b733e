//! Results: as text for people, or as JSON with field names that stay (see JSON.md).

mod container;
mod note;
mod snapshot;
mod vm;

use std::io::{self, Write as _};

use serde::Serialize;

use crate::advice::{Doing as _, Failure, Fault};
use crate::text::{Form, printable};

pub use container::{metadata_noun, metadata_use};
pub use note::Note;
pub use snapshot::{
    DiskEntry, SnapshotEntry, Way, consistency_name, disk_order, role_name, short_id, size_bytes,
    subject,
};
pub use vm::{VmEntry, power_name, vm_table};

/// How results are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// To whom.
    pub form: Form,
    /// How much.
    pub volume: Volume,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    /// Errors, and what was asked for.
    Quiet,
    /// What was done, too.
    Normal,
    /// Every detail.
    Verbose,
}

impl Report {
    /// Prints what was asked for.
    pub fn answer(&self, text: &str, json: &impl Serialize) -> Result<(), Failure> {
        match self.form {
            Form::Text => print(&printable(text)),
            Form::Json => {
                let mut json = serde_json::to_string(json).expect("results are JSON");
                json.push('\n');
                print(&json)
            }
        }
    }

    /// Prints what was done; -q hides the text.
    pub fn outcome(&self, text: &str, json: &impl Serialize) -> Result<(), Failure> {
        match (self.form, self.volume) {
            (Form::Text, Volume::Quiet) => Ok(()),
            _ => self.answer(text, json),
        }
    }

    /// Prints a step of what is being done; -q hides it, and JSON has no place for it.
    pub fn step(&self, text: &str) -> Result<(), Failure> {
        match (self.form, self.volume) {
            (Form::Text, Volume::Normal | Volume::Verbose) => print(&printable(text)),
            _ => Ok(()),
        }
    }

    /// Prints a step that only -v asks for, on standard error.
    pub fn detail(&self, text: &str) {
        if self.volume == Volume::Verbose {
            self.remark(text);
        }
    }

    /// Says what somebody has to look at, on standard error. JSON has it among the results.
    pub fn warning(&self, text: &str) {
        if self.form == Form::Text {
            // The exit code tells of it, too.
            let _ = io::stderr().write_all(printable(text).as_bytes());
        }
    }

    /// Says something beside the results, on standard error; -q hides it, and so does JSON.
    pub fn remark(&self, text: &str) {
        if self.form == Form::Text && self.volume > Volume::Quiet {
            // A remark that nobody hears changes nothing.
            let _ = io::stderr().write_all(printable(text).as_bytes());
        }
    }
}

/// Prints on standard output. Whoever stops reading has seen enough: that is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(Fault::Print).doing(|| "cannot print the results".to_owned()),
    }
}
