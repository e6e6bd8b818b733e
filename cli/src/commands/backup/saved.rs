//! What a backup has saved and lost, as it is told.

use std::time::Duration;

use engine::backup::BackupRequest;
use repo_format::snapshot::{DiskRole, Snapshot, SnapshotDisk};
use serde::Serialize;

use super::course::{Course, Note};
use super::run_table;
use crate::advice::{ErrorMessage, Failure};
use crate::exit::Exit;
use crate::job::Writes;
use crate::report::{SnapshotEntry, Way, consistency_name, disk_order, short_id};
use crate::size;
use crate::text::{Align, Table};

/// What became of an input.
pub enum Outcome {
    /// There is a snapshot.
    Saved(Box<Saved>),
    /// There is none.
    Lost(Lost),
    /// It was not begun: the program was asked to end.
    Skipped(String),
}

/// A snapshot that was made.
pub struct Saved {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Bytes of new chunks of each of its disks.
    pub new_bytes: Vec<u64>,
    /// How it was read.
    pub course: Course,
}

/// An input of which there is no snapshot.
#[derive(Debug, Serialize)]
pub struct Lost {
    path: String,
    #[serde(flatten)]
    error: ErrorMessage,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Note>,
    #[serde(skip)]
    cause: String,
    #[serde(skip)]
    exit: Exit,
}

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

/// A snapshot and how its input was read, as JSON.
#[derive(Debug, Serialize)]
struct SavedEntry {
    #[serde(flatten)]
    snapshot: SnapshotEntry,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    /// Bytes a second that were read.
    rate: u64,
    notes: Vec<Note>,
}

impl Saved {
    /// A line for each disk, and one for the whole.
    pub fn text(&self, writes: Writes) -> String {
        let Snapshot { statistics, disks, .. } = &self.snapshot;
        let columns = [Align::Left, Align::Right, Align::Left, Align::Right, Align::Left];
        let mut table = Table::new(&columns.map(|align| ("", align)));
        for place in disk_order(&self.snapshot) {
            let (disk, new) = (&disks[place], self.new_bytes.get(place).copied().unwrap_or(0));
            let (size, new) = (size::bytes(disk.size_bytes), size::bytes(new));
            let way = self.way(disk).map(Way::text).unwrap_or_default();
            table.row([disk.name.clone(), size, "new".to_owned(), new, way]);
        }
        let mut text = table.lines("  ");
        if statistics.checksums_verified > 0 {
            text += &format!(
                "checked {}, 0 bad\n",
                size::plural(statistics.checksums_verified, "block checksum"),
            );
        }
        if self.is_without_layout() {
            text += "note: this archive departs from what hosts write in too many places to keep them all;\n\
                     the VM is kept whole, and comes out in an archive that is not byte for byte this one\n";
        }
        let end = match writes {
            Writes::Kept => format!("snapshot {} saved", short_id(&self.snapshot.id)),
            Writes::Discarded => "dry run, nothing saved".to_owned(),
        };
        let elapsed = self.elapsed();
        text + &format!(
            "{end}{}: read {} in {} ({}), new {}, added {}\n",
            self.mode_text(),
            size::bytes(statistics.input_bytes),
            size::duration(elapsed),
            size::rate(statistics.input_bytes, elapsed),
            size::bytes(statistics.new_bytes),
            size::bytes(statistics.stored_bytes),
        )
    }

    /// How the disk came, if it came from a pool.
    pub fn way(&self, disk: &SnapshotDisk) -> Option<&Way> {
        self.course.ways.iter().find(|way| way.uuid == disk.key)
    }

    /// From the session's begin to the snapshot.
    pub const fn elapsed(&self) -> Duration {
        Duration::from_millis(self.snapshot.statistics.elapsed_ms)
    }

    /// ` (hot, consistency crash)`.
    fn mode_text(&self) -> String {
        match self.course.mode {
            "" => String::new(),
            mode => {
                format!(" ({mode}, consistency {})", consistency_name(self.snapshot.consistency))
            }
        }
    }

    /// An XVA that cannot be written again byte by byte (SPEC 10).
    fn is_without_layout(&self) -> bool {
        let Snapshot { origin, disks, .. } = &self.snapshot;
        origin.container == "xva"
            && self.course.mode.is_empty()
            && !disks.iter().any(|disk| disk.role == DiskRole::Layout)
    }

    fn entry(&self) -> SavedEntry {
        let Self { snapshot, new_bytes, course } = self;
        let read = snapshot.statistics.input_bytes as f64;
        SavedEntry {
            snapshot: SnapshotEntry::of_backup(snapshot, new_bytes, &course.ways),
            mode: Some(course.mode).filter(|mode| !mode.is_empty()),
            rate: (read / self.elapsed().as_secs_f64().max(0.001)) as u64,
            notes: course.notes.clone(),
        }
    }
}

impl Lost {
    /// Of the input at `path`, for this reason.
    pub fn new(path: String, failure: &Failure, notes: Vec<Note>) -> Self {
        let (error, exit) = (failure.message(), failure.exit());
        Self { path, error, notes, cause: failure.cause(), exit }
    }
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
