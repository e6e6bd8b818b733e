//! `restore --target`: a snapshot, or disks of it, become files.

use std::path::Path;
use std::time::{Duration, Instant};

use engine::reader::Reader;
use engine::restore::SnapshotContent;
use engine::snapshots::Filter;
use repo_format::snapshot::{DiskRole, Snapshot};
use serde::Serialize;
use xen_source::xapi::recovery::host_archive::FoundDatabase;
use xen_source::{Form as XvaForm, RawOutput};

use super::new_file::{self, Existing, NewFile};
use super::plan::{self, Content, PlannedFile, Target};
use crate::advice::{Doing as _, Failure, Fault};
use crate::args::RestoreArgs;
use crate::commands::database as stored;
use crate::commands::{dump, extraction};
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::progress::Progress;
use crate::report::{metadata_use, short_id, subject};
use crate::selection;
use crate::size;

/// What was restored, as JSON.
#[derive(Debug, Serialize)]
pub struct Restored {
    message_type: &'static str,
    snapshot: String,
    dry_run: bool,
    files: Vec<RestoredFile>,
    elapsed_ms: u64,
}

/// A file that was written.
#[derive(Debug, Serialize)]
pub struct RestoredFile {
    path: String,
    /// `xva`, `raw`, `vhd`, `qcow2` or `pool-db`.
    format: &'static str,
    /// The disk, or where a database was in the archive; `null` for an XVA.
    disk: Option<String>,
    /// Bytes, holes included; `null` before it is written.
    size: Option<u64>,
    /// Whether it holds byte by byte what was backed up; `null` before it is written.
    identical: Option<bool>,
    /// What the disk or stream is; `None` for an XVA or a database.
    #[serde(skip)]
    role: Option<DiskRole>,
}

/// Restores to files.
pub fn run(job: &Job, args: RestoreArgs, target: &Target) -> Result<Exit, Failure> {
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
    let elapsed = (!args.dry_run).then(|| begun.elapsed());
    Restored::tell(job, &snapshot, entries, elapsed)
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

impl Restored {
    /// Tells what was written in `elapsed`, or would be.
    pub fn tell(
        job: &Job,
        snapshot: &Snapshot,
        files: Vec<RestoredFile>,
        elapsed: Option<Duration>,
    ) -> Result<Exit, Failure> {
        let dry_run = elapsed.is_none();
        let mut text: String = files.iter().map(|file| file.text(dry_run)).collect();
        if let Some(elapsed) = elapsed {
            let total = files.iter().filter_map(|file| file.size).sum();
            let (total_text, rate) = (size::bytes(total), size::rate(total, elapsed));
            let (what, took) = (subject(snapshot), size::duration(elapsed));
            text += &format!("restored {what}: {total_text} in {took} ({rate})\n");
            let is_database = files.iter().any(|file| file.format == POOL_DB);
            let container = if is_database { POOL_DB } else { &snapshot.origin.container };
            let handling = metadata_use(container);
            text.extend(handling.map(|handling| format!("to use it: {handling}\n")));
        }
        let elapsed_ms = elapsed.unwrap_or_default().as_millis();
        let restored = Self {
            message_type: "restored",
            snapshot: snapshot.id.to_string(),
            dry_run,
            files,
            elapsed_ms: u64::try_from(elapsed_ms).unwrap_or(u64::MAX),
        };
        job.report.outcome(&text, &restored)?;
        Ok(Exit::Done)
    }
}

/// The database of a pool that was in the archive of a host.
const POOL_DB: &str = stored::CONTAINER;

impl RestoredFile {
    /// The database of a pool at `path`, if it is written.
    pub fn pool_db(path: &Path, found: Option<FoundDatabase>) -> Self {
        Self {
            path: path.display().to_string(),
            format: POOL_DB,
            size: found.as_ref().map(|found| found.size_bytes),
            identical: found.is_some().then_some(true),
            disk: found.map(|found| found.name),
            role: None,
        }
    }

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
            (Some(_), POOL_DB) => ", byte by byte as the host had saved it, in ",
            (Some(true), "xva") => ", byte by byte the export that was backed up",
            (Some(_), "xva") => ", a new XVA",
            (Some(_), _) if self.role == Some(DiskRole::File) => ", byte by byte as it went in",
            (Some(_), "raw") => ", zeros are holes",
            (Some(_), _) => ", the disk is identical, the container new",
        };
        let size = self.size.map(|size| format!("  {}", size::bytes(size))).unwrap_or_default();
        let verb = if dry_run { "would write" } else { "wrote" };
        let place = self.disk.as_deref().filter(|_| self.format == POOL_DB).unwrap_or_default();
        format!("{verb} {}{size}{how}{place}\n", self.path)
    }
}
