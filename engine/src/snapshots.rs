//! Snapshots: list them, and find the one that a user means.

use std::collections::HashMap;

use repo_format::id::SnapshotId;
use repo_format::limits::CATALOG_LEN_MAX;
use repo_format::object_name::ObjectName;
use repo_format::snapshot::{Snapshot, SnapshotDisk};

use crate::catalog::Catalog;
use crate::repository::{ReadError, Repository};
use crate::source::StoredVersion;
use crate::storage::StorageError;

/// Why the snapshot that a user named was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// None matches.
    #[error("no snapshot matches `{text}`")]
    None {
        /// What was asked for.
        text: String,
    },
    /// Several match.
    #[error("`{text}` matches {count} snapshots")]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// How many match.
        count: usize,
    },
}

/// Which snapshots a user means.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// VM names or uuids; empty: any.
    pub vms: Vec<String>,
    /// Tags that must all be there.
    pub tags: Vec<String>,
    /// Name of the run.
    pub run: Option<String>,
    /// Seconds since 1970 that none may be newer than.
    pub until: Option<u64>,
}

impl Filter {
    /// Whether a snapshot passes.
    #[must_use]
    pub fn accepts(&self, snapshot: &Snapshot) -> bool {
        let origin = &snapshot.origin;
        let names = [&origin.vm_name, &origin.vm_uuid];
        let is_vm = |wanted: &String| names.iter().any(|name| name.as_ref() == Some(wanted));
        let run = self.run.as_ref().is_none_or(|run| *run == snapshot.run_name);
        let is_old = self.until.is_none_or(|until| snapshot.time <= until);
        (self.vms.is_empty() || self.vms.iter().any(is_vm))
            && self.tags.iter().all(|tag| snapshot.tags.contains(tag))
            && run
            && is_old
    }
}

/// Reads one snapshot.
pub fn read_snapshot(repository: &Repository, id: SnapshotId) -> Result<Snapshot, ReadError> {
    let name = ObjectName::Snapshot(id);
    let bytes = repository.storage().read(name, CATALOG_LEN_MAX)?;
    Snapshot::open(repository.keys(), id, &bytes)
        .map_err(|source| ReadError::Damaged { name, source })
}

/// The snapshots of a repository.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those that are not forgotten, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Those that cannot be read; the others do not suffer from it.
    pub damaged: Vec<ReadError>,
}

/// Every snapshot of `catalog` that is not forgotten. One that vanishes meanwhile is left out.
pub fn list(repository: &Repository, catalog: &Catalog) -> Result<Listing, StorageError> {
    let mut listing = Listing::default();
    for id in catalog.snapshots.difference(&catalog.forgotten) {
        match read_snapshot(repository, *id) {
            Ok(snapshot) => listing.snapshots.push(snapshot),
            Err(ReadError::Storage(StorageError::NotFound { .. })) => {}
            Err(ReadError::Storage(error @ StorageError::Io { .. })) => return Err(error),
            Err(error) => listing.damaged.push(error),
        }
    }
    sort_by_age(&mut listing.snapshots);
    Ok(listing)
}

/// Sorts by time; of the same second, a predecessor comes before its successors.
fn sort_by_age(snapshots: &mut [Snapshot]) {
    let predecessors: HashMap<_, _> = snapshots
        .iter()
        .map(|snapshot| (snapshot.id, (snapshot.time, snapshot.predecessor)))
        .collect();
    let ancestors_in_the_same_second = |snapshot: &Snapshot| {
        let mut count = 0;
        let mut earlier = snapshot.predecessor;
        // A ring cannot arise, but could be forged.
        while let Some((time, next)) = earlier.and_then(|id| predecessors.get(&id))
            && *time == snapshot.time
            && count < predecessors.len()
        {
            count += 1;
            earlier = *next;
        }
        count
    };
    snapshots.sort_by_cached_key(|s| (s.time, ancestors_in_the_same_second(s), s.id));
}

/// The snapshot that `text` means among `snapshots` (oldest first): `latest`, or a unique prefix of an id.
pub fn find<'s>(
    snapshots: impl IntoIterator<Item = &'s Snapshot>,
    text: &str,
    filter: &Filter,
) -> Result<&'s Snapshot, FindError> {
    let text = text.to_ascii_lowercase();
    let accepted = snapshots.into_iter().filter(|snapshot| filter.accepts(snapshot));
    if text == "latest" {
        return accepted.last().ok_or(FindError::None { text });
    }
    let found: Vec<_> =
        accepted.filter(|snapshot| snapshot.id.to_string().starts_with(&text)).collect();
    match found.as_slice() {
        [] => Err(FindError::None { text }),
        [snapshot] => Ok(snapshot),
        several => Err(FindError::Ambiguous { count: several.len(), text }),
    }
}

/// The states of the disks of a VM that snapshots (oldest first) hold, the newest first.
#[must_use]
pub fn versions(snapshots: &[Snapshot], vm_uuid: &str) -> Vec<StoredVersion> {
    let of_vm = snapshots.iter().rev().filter(|s| s.origin.vm_uuid.as_deref() == Some(vm_uuid));
    let version = |disk: &SnapshotDisk| {
        Some(StoredVersion {
            key: disk.key.clone(),
            version: disk.version.clone()?,
            size_bytes: disk.size_bytes,
            id: *disk.id.as_bytes(),
        })
    };
    of_vm.flat_map(|snapshot| &snapshot.disks).filter_map(version).collect()
}

/// The snapshots of the same VM, the newest first: those with its uuid, else those with its name.
#[must_use]
pub fn of_vm<'s>(
    snapshots: &'s [Snapshot],
    vm_uuid: Option<&str>,
    vm_name: Option<&str>,
) -> Vec<&'s Snapshot> {
    let same = |wanted: Option<&str>, found: fn(&Snapshot) -> Option<&str>| -> Vec<&'s Snapshot> {
        let is_same = |s: &&Snapshot| wanted.is_some() && found(s) == wanted;
        snapshots.iter().rev().filter(is_same).collect()
    };
    let by_uuid = same(vm_uuid, |snapshot| snapshot.origin.vm_uuid.as_deref());
    match by_uuid.is_empty() {
        true => same(vm_name, |snapshot| snapshot.origin.vm_name.as_deref()),
        false => by_uuid,
    }
}
