//! Which snapshots are meant.

use engine::catalog::{Audience, Catalog};
use engine::repository::Repository;
use engine::snapshots::{self, Filter};
use repo_format::snapshot::Snapshot;

use crate::advice::{Doing as _, Failure};
use crate::args::FilterArgs;

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Self {
        Self { vms: args.vms, tags: args.tags, run: args.run }
    }
}

/// Every snapshot that is not forgotten, oldest first. Those that are damaged are told of and left out.
pub fn all(repository: &Repository) -> Result<Vec<Snapshot>, Failure> {
    let doing = || format!("cannot list the snapshots of {}", repository.storage().location());
    let catalog = Catalog::load(repository, Audience::Reader).doing(doing)?;
    let listing = snapshots::list(repository, &catalog).doing(doing)?;
    for damaged in listing.damaged {
        eprintln!(
            "warning: {damaged} and is left out; the others can be restored, see `xenith check`"
        );
    }
    Ok(listing.snapshots)
}

/// The snapshot that `text` means: an id, the beginning of one, or `latest`.
pub fn one(repository: &Repository, text: &str, filter: &Filter) -> Result<Snapshot, Failure> {
    among(&all(repository)?, text, filter).cloned()
}

/// The snapshot that `text` means among `snapshots`, which are sorted by time. The latest one is a
/// whole one: records without disks are not what somebody means who wants a VM back.
pub fn among<'s>(
    snapshots: &'s [Snapshot],
    text: &str,
    filter: &Filter,
) -> Result<&'s Snapshot, Failure> {
    let is_whole =
        |snapshot: &&Snapshot| filter.accepts(snapshot) && snapshot.origin.container != "metadata";
    let newest = snapshots.iter().rev().find(is_whole);
    match newest.filter(|_| text.eq_ignore_ascii_case("latest")) {
        Some(newest) => Ok(newest),
        None => snapshots::find(snapshots, text, filter)
            .doing(|| format!("cannot find snapshot {text}")),
    }
}
