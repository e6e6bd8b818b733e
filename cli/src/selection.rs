//! Which snapshots are meant.

use engine::catalog::{Audience, Catalog};
use engine::repository::Repository;
use engine::snapshots::{self, Filter};
use repo_format::id::SnapshotId;
use repo_format::snapshot::Snapshot;

use crate::advice::{Doing as _, Failure};
use crate::args::FilterArgs;

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Self {
        Self { vms: args.vms, tags: args.tags, run: args.run }
    }
}

/// Every snapshot that is not forgotten, oldest first.
pub fn all(repository: &Repository) -> Result<Vec<Snapshot>, Failure> {
    Catalog::load(repository, Audience::Reader)
        .and_then(|catalog| snapshots::list(repository, &catalog))
        .doing(|| format!("cannot list the snapshots of {}", repository.storage().location()))
}

/// The snapshot that `text` means: an id, the beginning of one, or `latest`.
pub fn one(repository: &Repository, text: &str, filter: &Filter) -> Result<Snapshot, Failure> {
    match (all(repository), SnapshotId::parse_hex(text)) {
        (Ok(all), _) => among(&all, text, filter).cloned(),
        // The list fails if any snapshot is damaged; one whose whole id is known need not suffer for it.
        (Err(failure), Ok(id)) => snapshots::read_snapshot(repository, id).map_err(|_| failure),
        (Err(failure), Err(_)) => Err(failure),
    }
}

/// The snapshot that `text` means among `snapshots`, which are sorted by time.
pub fn among<'s>(
    snapshots: &'s [Snapshot],
    text: &str,
    filter: &Filter,
) -> Result<&'s Snapshot, Failure> {
    snapshots::find(snapshots, text, filter).doing(|| format!("cannot find snapshot {text}"))
}
