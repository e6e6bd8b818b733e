//! What became of an input, as it is told.

use std::time::Duration;

use repo_format::snapshot::{DiskRole, Snapshot, SnapshotDisk};
use serde::Serialize;

use super::course::{Course, Note};
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
    /// Its path.
    pub path: String,
    #[serde(flatten)]
    error: ErrorMessage,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Note>,
    /// Why, in a few words.
    #[serde(skip)]
    pub cause: String,
    /// How the program ends if this was all.
    #[serde(skip)]
    pub exit: Exit,
}

/// A snapshot and how its input was read, as JSON.
#[derive(Debug, Serialize)]
pub struct SavedEntry {
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

    /// As JSON.
    pub fn entry(&self) -> SavedEntry {
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
