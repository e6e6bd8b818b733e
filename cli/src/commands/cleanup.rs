//! `cleanup`: removes what backups, restores and tests left behind on a pool.

use std::time::Duration;

use serde::Serialize;
use xen_source::xapi::{Fate, Kind, Leftover, Mercy};

use crate::advice::{Doing as _, ErrorMessage, Failure};
use crate::args::CleanupArgs;
use crate::connection;
use crate::exit::Exit;
use crate::job::Job;

/// What became of what was found, as JSON.
#[derive(Debug, Serialize)]
struct Cleaned {
    message_type: &'static str,
    dry_run: bool,
    removed: Vec<LeftoverEntry>,
    started: Vec<LeftoverEntry>,
    in_use: Vec<LeftoverEntry>,
    young: Vec<LeftoverEntry>,
    needed: Vec<LeftoverEntry>,
    failed: Vec<Stayed>,
}

/// Something of ours.
#[derive(Debug, Serialize)]
struct LeftoverEntry {
    kind: &'static str,
    uuid: String,
    name: String,
    by: Option<String>,
    age_seconds: Option<u64>,
}

/// One that could not be removed or started.
#[derive(Debug, Serialize)]
struct Stayed {
    #[serde(flatten)]
    entry: LeftoverEntry,
    #[serde(flatten)]
    error: ErrorMessage,
}

/// Removes what carries our mark. What cannot be removed does not stop the rest.
pub fn run(job: &Job, args: CleanupArgs) -> Result<Exit, Failure> {
    let pool = connection::open(job, args.pool)?;
    let found = pool.leftovers().doing(|| "cannot look for leftovers on the pool".to_owned())?;
    let younger_than = Duration::from_secs(u64::from(args.older_than) * 3600);
    let mercy = Mercy { younger_than, keep_tracking: !args.all };
    let mut cleaned = Cleaned::new(args.dry_run);
    for leftover in &found {
        let (entry, fate) = (LeftoverEntry::of(leftover), leftover.fate(mercy));
        let (verb, done) = words(fate, args.dry_run);
        let is_touched = matches!(fate, Fate::Remove | Fate::Start) && !args.dry_run;
        let doing = || format!("cannot {verb} the {}", entry.text(leftover.kind));
        let touched = if is_touched { pool.remove(leftover).doing(doing) } else { Ok(()) };
        match touched {
            Ok(()) => {
                job.report.step(&format!("{done} the {}\n", entry.text(leftover.kind)))?;
                cleaned.list(fate).push(entry);
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

/// What is done, and what was.
const fn words(fate: Fate, dry_run: bool) -> (&'static str, &'static str) {
    match (fate, dry_run) {
        (Fate::Remove, false) => ("remove", "removed"),
        (Fate::Remove, true) => ("remove", "would remove"),
        (Fate::Start, false) => ("start", "started"),
        (Fate::Start, true) => ("start", "would start"),
        (Fate::InUse, _) => ("touch", "in use, left alone:"),
        (Fate::Young, _) => ("touch", "too young, left alone:"),
        (Fate::Needed, _) => ("touch", "needed, left alone:"),
    }
}

impl LeftoverEntry {
    fn of(leftover: &Leftover) -> Self {
        let kind = match leftover.kind {
            Kind::Snapshot => "vm",
            Kind::Disk => "disk",
            Kind::Tracking => "tracking",
            Kind::Stopped => "stopped",
            Kind::Mark => "mark",
            Kind::RestoredVm => "restored-vm",
            Kind::RestoredDisk => "restored-disk",
            Kind::TriedVm => "tested-vm",
            Kind::Network => "network",
            Kind::Task => "task",
        };
        Self {
            kind,
            uuid: leftover.uuid.clone(),
            name: leftover.name.clone(),
            by: Some(leftover.by.clone()).filter(|by| !by.is_empty()),
            age_seconds: leftover.age.map(|age| age.as_secs()),
        }
    }

    fn text(&self, kind: Kind) -> String {
        let Self { uuid, name, .. } = self;
        let text = match kind {
            Kind::Snapshot => format!("snapshot {uuid} of VM {name}"),
            Kind::Disk => format!("snapshot {uuid} of disk {name}"),
            Kind::Tracking => format!("changes {uuid} of disk {name}"),
            Kind::Stopped => format!("VM {name} ({uuid}), which a backup had stopped"),
            Kind::Mark => format!("mark of VM {name} ({uuid})"),
            Kind::RestoredVm => format!("VM {name} ({uuid}) of a restore that was not finished"),
            Kind::RestoredDisk => {
                format!("disk {name} ({uuid}) of a restore that was not finished")
            }
            Kind::TriedVm => format!("VM {name} ({uuid}) of a test"),
            Kind::Network => format!("network {name} ({uuid}) of a test"),
            Kind::Task => format!("task {uuid} ({name})"),
        };
        match &self.by {
            Some(by) => format!("{text}, by {by}"),
            None => text,
        }
    }
}

impl Cleaned {
    const fn new(dry_run: bool) -> Self {
        Self {
            message_type: "cleanup",
            dry_run,
            removed: Vec::new(),
            started: Vec::new(),
            in_use: Vec::new(),
            young: Vec::new(),
            needed: Vec::new(),
            failed: Vec::new(),
        }
    }

    const fn list(&mut self, fate: Fate) -> &mut Vec<LeftoverEntry> {
        match fate {
            Fate::Remove => &mut self.removed,
            Fate::Start => &mut self.started,
            Fate::InUse => &mut self.in_use,
            Fate::Young => &mut self.young,
            Fate::Needed => &mut self.needed,
        }
    }

    fn text(&self) -> String {
        let would = if self.dry_run { "would be " } else { "" };
        let mut text = format!("{} {would}removed", self.removed.len());
        let others = [
            (self.started.len(), format!("{would}started")),
            (self.in_use.len(), "in use".to_owned()),
            (self.young.len(), "too young".to_owned()),
            (self.needed.len(), "needed".to_owned()),
            (self.failed.len(), "failed".to_owned()),
        ];
        for (count, what) in others.iter().filter(|(count, _)| *count > 0) {
            text += &format!(", {count} {what}");
        }
        text + "\n"
    }

    fn exit(&self) -> Exit {
        let is_anything_done = !self.removed.is_empty() || !self.started.is_empty();
        match (is_anything_done, self.failed.is_empty()) {
            (_, true) => Exit::Done,
            (false, false) => Exit::Failed,
            (true, false) => Exit::Partly,
        }
    }
}
