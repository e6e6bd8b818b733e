//! `restore`: a snapshot, or disks of it, become files, or a VM of a pool.

mod course;
mod meant;
mod metadata;
mod new_file;
mod outcome;
mod plan;
mod stoppable;
mod to_pool;
mod wished;

use std::time::Instant;

use engine::reader::Reader;
use engine::restore::SnapshotContent;
use engine::snapshots::Filter;
use repo_format::snapshot::{DiskRole, Snapshot};
use serde::Serialize;
use xen_source::{Form as XvaForm, RawOutput};

use super::dump;
use super::extraction;
use crate::advice::{Doing as _, Failure, Fault, refused};
use crate::args::RestoreArgs;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::progress::Progress;
use crate::report::{metadata_use, short_id, subject};
use crate::selection;
use crate::size;
pub use course::{Course, notes_text};
use new_file::{Existing, NewFile};
use plan::{Content, PlannedFile, Target};
pub use stoppable::Stoppable;

/// What was restored, as JSON.
#[derive(Debug, Serialize)]
struct Restored {
    message_type: &'static str,
    snapshot: String,
    dry_run: bool,
    files: Vec<RestoredFile>,
    elapsed_ms: u64,
}

/// A file that was written.
#[derive(Debug, Serialize)]
struct RestoredFile {
    path: String,
    /// `xva`, `raw`, `vhd` or `qcow2`.
    format: &'static str,
    /// The disk; `null` for an XVA.
    disk: Option<String>,
    /// Bytes, holes included; `null` before it is written.
    size: Option<u64>,
    /// Whether it holds byte by byte what was backed up; `null` before it is written.
    identical: Option<bool>,
    /// What the disk or stream is; `None` for an XVA.
    #[serde(skip)]
    role: Option<DiskRole>,
}

/// Restores a snapshot.
pub fn run(job: &Job, mut args: RestoreArgs) -> Result<Exit, Failure> {
    // Were the target to exclude the pool by clap, what needs a pool would be taken without one.
    match (args.target.take(), args.to.pool.is_empty()) {
        (Some(target), true) => to_files(job, args, &Target::of(&target)),
        (None, _) => to_pool::run(job, args),
        (Some(target), false) => refused(
            "cannot restore to two places at once",
            format!("one is {target}, and the other is a pool"),
            "run it once for each; nothing was done",
        ),
    }
}

fn to_files(job: &Job, args: RestoreArgs, target: &Target) -> Result<Exit, Failure> {
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    let repository = job.open(Writes::Kept)?;
    let snapshot = selection::one(&repository, &args.snapshot, &Filter::from(args.filter))?;
    let extraction = extraction::resolve(args.extract, &snapshot, target.file_name())?;
    let files = match plan::files(target, &snapshot, extraction)? {
        plan::Plan::Files(files) => files,
        plan::Plan::Stdout(_) if args.dry_run => return Ok(Exit::Done),
        plan::Plan::Stdout(extraction) => {
            dump::to_stdout(job, &repository, &snapshot, &extraction)?;
            return Ok(Exit::Done);
        }
    };
    for file in &files {
        new_file::check_free(&file.path, existing).doing(|| file.doing())?;
    }
    let begun = Instant::now();
    let doing = || format!("cannot restore snapshot {}", short_id(&snapshot.id));
    let entries = if args.dry_run {
        files.iter().map(|file| RestoredFile::planned(file, &snapshot)).collect()
    } else {
        let reader = Reader::open(&repository).doing(doing)?;
        let workers = job.workers()?;
        let progress = Progress::new(&job.report);
        let content = SnapshotContent::new(&reader, &workers, &snapshot, &progress);
        target.prepare().doing(doing)?;
        write_all(&content, &snapshot, &files, existing)?
    };
    let elapsed = begun.elapsed();
    let restored = Restored {
        message_type: "restored",
        snapshot: snapshot.id.to_string(),
        dry_run: args.dry_run,
        files: entries,
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
    };
    let mut text: String = restored.files.iter().map(|file| file.text(args.dry_run)).collect();
    if !args.dry_run {
        let total = restored.files.iter().filter_map(|file| file.size).sum();
        let (total_text, rate) = (size::bytes(total), size::rate(total, elapsed));
        let what = subject(&snapshot);
        text += &format!("restored {what}: {total_text} in {} ({rate})\n", size::duration(elapsed));
        let handling = metadata_use(&snapshot.origin.container);
        text.extend(handling.map(|handling| format!("to use it: {handling}\n")));
    }
    job.report.outcome(&text, &restored)?;
    Ok(Exit::Done)
}

/// Writes every file under another name; when all are complete and synced, they get their own.
fn write_all(
    content: &SnapshotContent<'_>,
    snapshot: &Snapshot,
    files: &[PlannedFile],
    existing: Existing,
) -> Result<Vec<RestoredFile>, Failure> {
    let mut written = Vec::new();
    for planned in files {
        let doing = || planned.doing();
        let file = NewFile::beside(&planned.path).map_err(Fault::File).doing(doing)?;
        let form = match &planned.content {
            Content::Xva(options) => {
                Some(xen_source::write_xva(content, file.file(), options).doing(doing)?)
            }
            Content::Disk(disk) => {
                let out = RawOutput::NewFile(file.file());
                xen_source::write_disk(content, disk.place, disk.form, out).doing(doing)?;
                None
            }
        };
        let size = file.sync().map_err(Fault::File).doing(doing)?;
        let mut entry = RestoredFile::planned(planned, snapshot);
        entry.size = Some(size);
        entry.identical = Some(form.is_none_or(|form| form == XvaForm::Exact));
        written.push((file, planned, entry));
    }
    let mut entries = Vec::new();
    for (file, planned, entry) in written {
        file.rename(&planned.path, existing).doing(|| planned.doing())?;
        entries.push(entry);
    }
    Ok(entries)
}

impl RestoredFile {
    fn planned(file: &PlannedFile, snapshot: &Snapshot) -> Self {
        let (format, disk) = match file.content {
            Content::Xva(_) => ("xva", None),
            Content::Disk(disk) => (plan::form_name(disk.form), Some(&snapshot.disks[disk.place])),
        };
        Self {
            path: file.path.display().to_string(),
            format,
            size: disk.map(|disk| disk.size_bytes),
            disk: disk.map(|disk| disk.name.clone()),
            identical: None,
            role: disk.map(|disk| disk.role),
        }
    }

    fn text(&self, dry_run: bool) -> String {
        let how = match (self.identical, self.format) {
            (None, _) => "",
            (Some(true), "xva") => ", byte by byte the export that was backed up",
            (Some(_), "xva") => ", a new XVA",
            (Some(_), _) if self.role == Some(DiskRole::File) => ", byte by byte as it went in",
            (Some(_), "raw") => ", zeros are holes",
            (Some(_), _) => ", the disk is identical, the container new",
        };
        let size = self.size.map(|size| format!("  {}", size::bytes(size))).unwrap_or_default();
        let verb = if dry_run { "would write" } else { "wrote" };
        format!("{verb} {}{size}{how}\n", self.path)
    }
}
