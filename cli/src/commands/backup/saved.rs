//! What a backup has saved and lost, as it is told.

use std::time::Duration;

use engine::backup::BackupRequest;
use repo_format::snapshot::{DiskRole, Snapshot};
use serde::Serialize;

use crate::advice::{ErrorMessage, Failure};
use crate::exit::Exit;
use crate::job::Writes;
use crate::report::{SnapshotEntry, disk_order, short_id};
use crate::size;
use crate::text::{Align, Table};

/// A snapshot that was made.
pub struct Saved {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Bytes of new chunks of each of its disks.
    pub new_bytes: Vec<u64>,
}

/// An input of which there is no snapshot.
#[derive(Debug, Serialize)]
pub struct Lost {
    path: String,
    #[serde(flatten)]
    error: ErrorMessage,
}

/// The result of a run, as JSON.
#[derive(Debug, Serialize)]
pub struct Summary {
    message_type: &'static str,
    run: String,
    run_id: String,
    dry_run: bool,
    snapshots: Vec<SnapshotEntry>,
    failed: Vec<Lost>,
    #[serde(skip)]
    exits: Vec<Exit>,
}

impl Saved {
    /// A line for each disk, and one for the whole.
    pub fn text(&self, writes: Writes) -> String {
        let Snapshot { statistics, disks, .. } = &self.snapshot;
        let columns =
            [Align::Left, Align::Right, Align::Left, Align::Right].map(|align| ("", align));
        let mut table = Table::new(&columns);
        for place in disk_order(&self.snapshot) {
            let (disk, new) = (&disks[place], self.new_bytes.get(place).copied().unwrap_or(0));
            let (size, new) = (size::bytes(disk.size_bytes), size::bytes(new));
            table.row([disk.name.clone(), size, "new".to_owned(), new]);
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
        let elapsed = Duration::from_millis(statistics.elapsed_ms);
        let end = match writes {
            Writes::Kept => format!("snapshot {} saved", short_id(&self.snapshot.id)),
            Writes::Discarded => "dry run, nothing saved".to_owned(),
        };
        text + &format!(
            "{end}: read {} in {} ({}), new {}, added {}\n",
            size::bytes(statistics.input_bytes),
            size::duration(elapsed),
            size::rate(statistics.input_bytes, elapsed),
            size::bytes(statistics.new_bytes),
            size::bytes(statistics.stored_bytes),
        )
    }

    /// An XVA that cannot be written again byte by byte (SPEC 10).
    fn is_without_layout(&self) -> bool {
        let Snapshot { origin, disks, .. } = &self.snapshot;
        origin.container == "xva" && !disks.iter().any(|disk| disk.role == DiskRole::Layout)
    }
}

impl Lost {
    /// Of the input at `path`, for this reason.
    pub fn new(path: String, failure: &Failure) -> Self {
        Self { path, error: failure.message() }
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
            exits: Vec::new(),
        }
    }

    /// What becomes of what is stored.
    pub const fn writes(&self) -> Writes {
        if self.dry_run { Writes::Discarded } else { Writes::Kept }
    }

    /// A snapshot was made.
    pub fn saved(&mut self, saved: &Saved) {
        self.snapshots.push(SnapshotEntry::with_new_bytes(&saved.snapshot, &saved.new_bytes));
    }

    /// None was made, which alone would end the program with `exit`.
    pub fn lost(&mut self, lost: Lost, exit: Exit) {
        self.failed.push(lost);
        self.exits.push(exit);
    }

    /// What was not saved.
    pub fn failed(&self) -> &[Lost] {
        &self.failed
    }

    /// The last line, if there was more than one input.
    pub fn text(&self) -> String {
        let (saved, lost) = (self.snapshots.len(), self.failed.len());
        match saved + lost {
            0 | 1 => String::new(),
            all => format!("{}: {saved} saved, {lost} failed\n", size::plural(all as u64, "input")),
        }
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

/// Some saved and some not is [`Exit::Partly`]; so is any input that is cut or damaged.
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
