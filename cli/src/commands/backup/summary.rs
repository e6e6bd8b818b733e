//! What a run has saved and lost.

use std::time::Duration;

use engine::backup::BackupRequest;
use serde::Serialize;

use super::run_table;
use super::saved::{Lost, Outcome, SavedEntry};
use crate::exit::Exit;
use crate::job::Writes;
use crate::size;

/// The result of a run, as JSON.
#[derive(Debug, Serialize)]
pub struct Summary {
    message_type: &'static str,
    run: String,
    run_id: String,
    dry_run: bool,
    snapshots: Vec<SavedEntry>,
    failed: Vec<Lost>,
    skipped: Vec<String>,
    #[serde(skip)]
    exits: Vec<Exit>,
    #[serde(skip)]
    rows: Vec<run_table::Row>,
}

impl Summary {
    /// Of a run that begins.
    pub fn new(request: &BackupRequest, writes: Writes) -> Self {
        Self {
            message_type: "summary",
            run: request.run_name.clone(),
            run_id: request.run.to_string(),
            dry_run: writes == Writes::Discarded,
            snapshots: Vec::new(),
            failed: Vec::new(),
            skipped: Vec::new(),
            exits: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// What became of an input.
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Saved(saved) => {
                if saved.course.leaves_undone() {
                    self.exits.push(Exit::Partly);
                }
                self.rows.push(run_table::Row::of_saved(&saved));
                self.snapshots.push(saved.entry());
            }
            Outcome::Lost(lost) => {
                self.exits.push(lost.exit);
                self.rows.push(run_table::Row::of_lost(&lost.path, &lost.cause));
                self.failed.push(lost);
            }
            Outcome::Skipped(path) => {
                self.rows.push(run_table::Row::of_skipped(&path));
                self.skipped.push(path);
            }
        }
    }

    /// What was not saved.
    pub fn failed(&self) -> &[Lost] {
        &self.failed
    }

    /// The last line, if there was more than one input.
    pub fn text(&self) -> String {
        match self.rows.len() {
            0 | 1 => String::new(),
            all => format!("{}: {}\n", size::plural(all as u64, "input"), self.counts()),
        }
    }

    /// All of it as a table, if there was more than one VM, and a line that took so long.
    pub fn table(&self, elapsed: Duration) -> String {
        match self.rows.len() {
            0 | 1 => String::new(),
            _ => format!("\n{}", run_table::text(&self.rows, &self.counts(), elapsed)),
        }
    }

    fn counts(&self) -> String {
        let (saved, lost) = (self.snapshots.len(), self.failed.len());
        let skipped = match self.skipped.len() {
            0 => String::new(),
            skipped => format!(", {skipped} not begun"),
        };
        format!("{saved} saved, {lost} failed{skipped}")
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        self.exit_if(!self.snapshots.is_empty())
    }

    /// How it ends if something was, or would have been, saved.
    pub fn exit_if(&self, any_saved: bool) -> Exit {
        exit_of(any_saved, &self.exits)
    }
}

/// Some saved and some not is [`Exit::Partly`]; so is any input that is cut or damaged, and any
/// that was saved and left something undone.
fn exit_of(any_saved: bool, exits: &[Exit]) -> Exit {
    match exits {
        [] => Exit::Done,
        _ if any_saved || exits.contains(&Exit::Partly) => Exit::Partly,
        [first, ..] => *first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_tells_all_from_some_from_none() {
        assert_eq!(exit_of(true, &[]), Exit::Done);
        assert_eq!(exit_of(true, &[Exit::Failed]), Exit::Partly);
        assert_eq!(exit_of(false, &[Exit::Failed]), Exit::Failed);
        assert_eq!(exit_of(false, &[Exit::Failed, Exit::Partly]), Exit::Partly);
    }
}
