//! `restore --only-pool-db`: the database in the archive of a host becomes a file.

use std::path::Path;
use std::time::Instant;

use engine::reader::Reader;
use engine::repository::Repository;
use engine::restore::SnapshotContent;
use engine::snapshots::Filter;
use engine::source::Content as _;
use repo_format::snapshot::Snapshot;
use xen_source::xapi::recovery::host_archive::{ArchiveError, FoundDatabase, HostArchive};

use super::meant::{self, Becomes};
use super::new_file::{self, Existing, NewFile};
use super::plan::Target;
use super::to_files::{Restored, RestoredFile};
use crate::advice::{Doing as _, Failure, Fault, in_words, refused};
use crate::args::RestoreArgs;
use crate::commands::database as stored;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::progress::Progress;
use crate::report::short_id;
use crate::selection;

/// Writes it to `target`. `latest` is the newest system of a host here.
pub fn run(job: &Job, args: RestoreArgs, target: &Target) -> Result<Exit, Failure> {
    let Target::File(path) = target else {
        return refused(
            "cannot restore the database of a pool",
            "it is one file, which only its owner may read",
            "name that file with --target; nothing was done",
        );
    };
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    let repository = job.open(Writes::Kept)?;
    let is_latest = args.snapshot.eq_ignore_ascii_case("latest");
    let text = if is_latest { "host:latest" } else { &args.snapshot };
    let snapshots = selection::all(&repository)?;
    let (snapshot, becomes) = meant::find(snapshots, text, &Filter::from(args.filter), false)?;
    if becomes != Some(Becomes::Host) {
        return refused(
            format!("cannot restore a database of snapshot {}", short_id(&snapshot.id)),
            "it is not the system of a host",
            "`xenith snapshots` lists what there is; one of a pool-db is restored without \
             --only-pool-db",
        );
    }
    new_file::check_free(path, existing).doing(|| format!("cannot write {}", path.display()))?;
    let begun = Instant::now();
    let found = match args.dry_run {
        true => None,
        false => Some(write(job, &repository, &snapshot, path, existing)?),
    };
    let elapsed = found.is_some().then(|| begun.elapsed());
    Restored::tell(job, &snapshot, vec![RestoredFile::pool_db(path, found)], elapsed)
}

/// What was found, and is written.
fn write(
    job: &Job,
    repository: &Repository,
    snapshot: &Snapshot,
    path: &Path,
    existing: Existing,
) -> Result<FoundDatabase, Failure> {
    let doing = || format!("cannot write {}", path.display());
    let place = stored::place(snapshot)?;
    let reader = Reader::open(repository).doing(doing)?;
    let workers = job.workers()?;
    let progress = Progress::new(&job.report);
    let content = SnapshotContent::new(&reader, &workers, snapshot, &progress);
    let file = NewFile::beside(path).map_err(Fault::File).doing(doing)?;
    let mut archive = HostArchive::new(file.file());
    let read = content.read_disk(place, &mut archive);
    let read = read.map_err(|error| error.of_output().map_or_else(Fault::from, refusal));
    let end = || archive.end(snapshot.disks[place].size_bytes).map_err(refusal);
    let found = read.and_then(|()| end()).doing(doing)?;
    file.sync().map_err(Fault::File).doing(doing)?;
    file.rename(path, existing).doing(doing)?;
    Ok(found)
}

fn refusal(error: ArchiveError) -> Fault {
    let hint = match error {
        ArchiveError::Output(error) => return Fault::File(error),
        ArchiveError::NoDatabase => {
            "nothing was written; try the system of another host, or a snapshot of the database \
             itself (`xenith snapshots`)"
        }
        ArchiveError::Archive(_) | ArchiveError::Database { .. } => {
            "nothing was written, and nothing in the repository is damaged: it was saved so. \
             Restore another snapshot, or all of this one to look at it"
        }
    };
    Fault::Refused { what: in_words(&error), hint: hint.to_owned() }
}
