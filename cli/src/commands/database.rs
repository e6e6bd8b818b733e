//! The database of a pool that a snapshot holds.

use std::io;

use engine::reader::Reader;
use engine::repository::Repository;
use engine::restore::SnapshotContent;
use engine::source::{Content as _, DiskSink};
use repo_format::snapshot::{DiskRole, Snapshot};
use xen_source::xapi::metadata::dump::{DumpError, DumpReader, PoolDump};

use crate::advice::{Doing as _, Failure, refused};
use crate::job::Job;
use crate::progress::Progress;
use crate::report::short_id;

/// What snapshots of a database are called.
pub const CONTAINER: &str = "pool-db";

/// The place of the file of a snapshot of metadata among its disks.
pub fn place(snapshot: &Snapshot) -> Result<usize, Failure> {
    let place = snapshot.disks.iter().position(|disk| disk.role == DiskRole::File);
    place.map_or_else(
        || {
            let doing = format!("cannot restore snapshot {}", short_id(&snapshot.id));
            refused(doing, "there is no file of metadata in it", "`xenith show` says what it is")
        },
        Ok,
    )
}

/// Reads it as it passes.
pub fn read(job: &Job, repository: &Repository, snapshot: &Snapshot) -> Result<PoolDump, Failure> {
    let doing = || format!("cannot read the database in snapshot {}", short_id(&snapshot.id));
    let place = place(snapshot)?;
    let reader = Reader::open(repository).doing(doing)?;
    let workers = job.workers()?;
    let progress = Progress::new(&job.report);
    let content = SnapshotContent::new(&reader, &workers, snapshot, &progress);
    let mut passing = Passing::default();
    let wrong = |error: &DumpError| {
        let hint = "nothing in the repository is damaged; restore another snapshot, or this one \
                    with --target to look at it";
        Failure::refusal(doing(), error.to_string(), hint)
    };
    if let Err(error) = content.read_disk(place, &mut passing) {
        return match error.of_output() {
            Ok(error) => Err(wrong(&error)),
            Err(error) => Err(error).doing(doing),
        };
    }
    passing.reader.end().map_err(|error| wrong(&error))
}

/// A database that passes.
#[derive(Default)]
struct Passing {
    reader: DumpReader,
    end: u64,
}

impl DiskSink for Passing {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        if offset_bytes != self.end {
            let what = "there are only zeros";
            return Err(io::Error::other(DumpError { offset: self.end, what }));
        }
        self.end += bytes.len() as u64;
        self.reader.take(bytes).map_err(io::Error::other)
    }
}
