//! What counts: the newest state, the committed snapshots, and the index objects that follow from them.

use std::collections::BTreeSet;

use repo_format::id::SnapshotId;
use repo_format::limits::CATALOG_LEN_MAX;
use repo_format::object_name::{Directory, IndexName, ObjectName};
use repo_format::state::State;
use repo_format::void::VOID_LEN;

use crate::lookup::{Lookup, LookupError};
use crate::repository::{ReadError, Repository};
use crate::storage::StorageError;

/// How often the state may move on while it is being read before that is an error.
const ATTEMPTS: usize = 100;

/// Who asks what counts (SPEC 12.2, rules 3 and 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Must not use retired index objects.
    Writer,
    /// Uses them too.
    Reader,
}

/// What counts at one moment.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The newest state.
    pub state: State,
    /// Committed snapshots, forgotten or not.
    pub snapshots: BTreeSet<SnapshotId>,
    /// Snapshots with a marker: forgotten.
    pub forgotten: BTreeSet<SnapshotId>,
    /// Index objects that count.
    pub counting: BTreeSet<IndexName>,
    /// Index objects of sessions that have not committed (rule 4).
    pub hints: BTreeSet<IndexName>,
}

/// Why the catalog or the index could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// An object could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The repository has no state.
    #[error("the repository has no state: `state/` is empty")]
    NoState,
    /// The state kept moving on.
    #[error("the repository changed {ATTEMPTS} times while its state was being read")]
    Unsteady,
    /// The local index failed.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl From<StorageError> for CatalogError {
    fn from(error: StorageError) -> Self {
        Self::Read(error.into())
    }
}

/// Rule 2: list the states, get the highest; if it is gone, list again.
pub fn newest_state(repository: &Repository) -> Result<State, CatalogError> {
    let storage = repository.storage();
    for _ in 0..ATTEMPTS {
        let numbers =
            storage.list(Directory::States)?.into_iter().filter_map(|(name, _)| match name {
                ObjectName::State(number) => Some(number),
                _ => None,
            });
        let number = numbers.max().ok_or(CatalogError::NoState)?;
        let name = ObjectName::State(number);
        let bytes = match storage.read(name, CATALOG_LEN_MAX) {
            Err(StorageError::NotFound { .. }) => continue,
            bytes => bytes?,
        };
        let state = State::open(repository.keys(), number, &bytes);
        return Ok(state.map_err(|source| ReadError::Damaged { name, source })?);
    }
    Err(CatalogError::Unsteady)
}

impl Catalog {
    /// Rule 3, in its order: state, snapshots, index.
    pub fn load(repository: &Repository, audience: Audience) -> Result<Self, CatalogError> {
        let state = newest_state(repository)?;
        let snapshots = repository.storage().list(Directory::Snapshots)?;
        let index = repository.storage().list(Directory::Index)?;
        Ok(Self::decide(audience, state, &snapshots, &index))
    }

    /// What counts, from what was listed. Pure.
    fn decide(
        audience: Audience,
        state: State,
        listed: &[(ObjectName, u64)],
        index: &[(ObjectName, u64)],
    ) -> Self {
        let mut snapshots = BTreeSet::new();
        let mut forgotten = BTreeSet::new();
        for (name, len) in listed {
            match name {
                ObjectName::Snapshot(id) if *len != VOID_LEN as u64 => drop(snapshots.insert(*id)),
                ObjectName::Marker(id) => drop(forgotten.insert(*id)),
                _ => {}
            }
        }
        let mut counting: BTreeSet<_> = state.live.iter().copied().collect();
        let mut hints = BTreeSet::new();
        let absorbed: BTreeSet<_> = state.absorbed.iter().copied().collect();
        for (name, _) in index {
            let ObjectName::Index(name) = name else { continue };
            let owner = name.owner;
            match (snapshots.contains(&owner), absorbed.contains(&owner)) {
                (true, false) => drop(counting.insert(*name)),
                (false, false) if !state.live.contains(name) => drop(hints.insert(*name)),
                _ => {}
            }
        }
        if audience == Audience::Reader {
            counting.extend(&state.retired);
        }
        for name in state.retired.iter().chain(&state.doomed_index) {
            hints.remove(name);
        }
        counting.retain(|name| !state.doomed_index.contains(name));
        Self { state, snapshots, forgotten, counting, hints }
    }
}

/// Loads catalog and index together: an object that the state names and that is gone means a newer state (rule 3).
pub fn load_index(
    repository: &Repository,
    audience: Audience,
) -> Result<(Catalog, Lookup), CatalogError> {
    for _ in 0..ATTEMPTS {
        let catalog = Catalog::load(repository, audience)?;
        match open_lookup(repository, &catalog.counting) {
            Err(LookupError::Fetch { source, .. }) if is_gone(&*source) => {}
            lookup => return Ok((catalog, lookup?)),
        }
        if newest_state(repository)?.number == catalog.state.number {
            return Ok((catalog.clone(), open_lookup(repository, &catalog.counting)?));
        }
    }
    Err(CatalogError::Unsteady)
}

/// The index made of exactly these objects.
pub fn open_lookup(
    repository: &Repository,
    names: &BTreeSet<IndexName>,
) -> Result<Lookup, LookupError> {
    let key = cache_key(repository);
    Lookup::open(names, repository.cache(), &key, &mut |name| repository.read_index(name))
}

/// The key of the checksums in the local cache; never leaves this machine, but need not be random.
pub(crate) fn cache_key(repository: &Repository) -> repo_format::keys::Secret {
    let catalog = repository.keys().epochs()[0].catalog.expose();
    repo_format::keys::derive("xenith v1 local index cache", &[catalog])
}

fn is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    let read = error.downcast_ref::<ReadError>();
    matches!(read, Some(ReadError::Storage(StorageError::NotFound { .. })))
}
