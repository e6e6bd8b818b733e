//! `cleanup`: removes what backups left behind on a pool.

use serde::Serialize;
use xen_source::xapi::Leftover;

use crate::advice::{Doing as _, ErrorMessage, Failure};
use crate::args::CleanupArgs;
use crate::connection;
use crate::exit::Exit;
use crate::job::Job;
use crate::size;

/// What became of what was found, as JSON.
#[derive(Debug, Serialize)]
struct Cleaned {
    message_type: &'static str,
    dry_run: bool,
    removed: Vec<LeftoverEntry>,
    in_use: Vec<LeftoverEntry>,
    failed: Vec<Stayed>,
}

/// A snapshot of a VM or of a disk.
#[derive(Debug, Serialize)]
struct LeftoverEntry {
    kind: &'static str,
    uuid: String,
    name: String,
}

/// One that could not be removed.
#[derive(Debug, Serialize)]
struct Stayed {
    #[serde(flatten)]
    entry: LeftoverEntry,
    #[serde(flatten)]
    error: ErrorMessage,
}

/// Removes what carries our mark. What cannot be removed does not stop the rest.
pub fn run(job: &Job, args: CleanupArgs) -> Result<Exit, Failure> {
    let pool = connection::open(args.pool, args.login)?;
    let found = pool.leftovers().doing(|| "cannot look for snapshots on the pool".to_owned())?;
    let mut cleaned = Cleaned {
        message_type: "cleanup",
        dry_run: args.dry_run,
        removed: Vec::new(),
        in_use: Vec::new(),
        failed: Vec::new(),
    };
    for leftover in &found {
        let entry = LeftoverEntry::of(leftover);
        if is_in_use(leftover) {
            job.report.step(&format!("in use, left alone: {}\n", entry.text()))?;
            cleaned.in_use.push(entry);
            continue;
        }
        let doing = || format!("cannot remove the {}", entry.text());
        let removed = if args.dry_run { Ok(()) } else { pool.remove(leftover).doing(doing) };
        match removed {
            Ok(()) => {
                let done = if args.dry_run { "would remove" } else { "removed" };
                job.report.step(&format!("{done} the {}\n", entry.text()))?;
                cleaned.removed.push(entry);
            }
            Err(failure) => {
                cleaned.failed.push(Stayed { entry, error: failure.message() });
                failure.tell(job.report.form);
            }
        }
    }
    job.report.outcome(&cleaned.text(), &cleaned)?;
    Ok(cleaned.exit())
}

/// Whether a backup reads it now.
fn is_in_use(leftover: &Leftover) -> bool {
    matches!(leftover, Leftover::Snapshot(vm) if !vm.current_operations.is_empty())
}

impl LeftoverEntry {
    fn of(leftover: &Leftover) -> Self {
        let (kind, uuid, name) = match leftover {
            Leftover::Snapshot(vm) => ("vm", &vm.uuid, &vm.name),
            Leftover::Disk(disk) => ("disk", &disk.uuid, &disk.name),
        };
        Self { kind, uuid: uuid.clone(), name: name.clone() }
    }

    fn text(&self) -> String {
        let what = if self.kind == "vm" { "VM" } else { "disk" };
        format!("snapshot {} of {what} {}", self.uuid, self.name)
    }
}

impl Cleaned {
    fn text(&self) -> String {
        let count = |entries: usize| size::plural(entries as u64, "snapshot");
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        let mut text = format!("{} {verb}", count(self.removed.len()));
        if !self.in_use.is_empty() {
            text += &format!(", {} in use", self.in_use.len());
        }
        if !self.failed.is_empty() {
            text += &format!(", {} not removed", self.failed.len());
        }
        text + "\n"
    }

    fn exit(&self) -> Exit {
        match (self.removed.is_empty(), self.failed.is_empty()) {
            (_, true) => Exit::Done,
            (true, false) => Exit::Failed,
            (false, false) => Exit::Partly,
        }
    }
}
