//! Hints: chunks that sessions without a snapshot have stored (SPEC 12.2, rule 4).
//!
//! An interrupted backup wastes nothing: the next one finds its chunks here. Only chunks are taken
//! over, since a chunk needs nothing else; maps and nodes are made again.

use std::collections::BTreeSet;

use repo_format::id::{ChunkId, PackId};
use repo_format::index::IndexedPack;
use repo_format::object_name::{Directory, ObjectName};
use repo_format::pack::ChunkEntry;

use crate::catalog::{Catalog, CatalogError};
use crate::lookup::{CachePlace, Lookup, LookupError};
use crate::repository::{ReadError, Repository};
use crate::surroundings::random_secret;

/// A chunk that may be used if it is named again in the user's own index.
#[derive(Debug, Clone)]
pub struct Hint {
    /// The pack that holds it.
    pub pack: IndexedPack,
    /// Where it lies in it.
    pub chunk: ChunkEntry,
}

/// The hints of one moment, checked by rule 4.
pub struct Hints {
    lookup: Lookup,
    usable: BTreeSet<PackId>,
}

impl Hints {
    /// Loads what `catalog` (rule 2's state) allows; `None` when there is nothing.
    pub fn load(repository: &Repository, catalog: &Catalog) -> Result<Option<Self>, CatalogError> {
        let mut names = BTreeSet::new();
        for name in &catalog.hints {
            match repository.read_index(*name) {
                Ok(_) => drop(names.insert(*name)),
                // A hint is a gift: one that cannot be had, or is damaged, is left alone.
                Err(ReadError::Damaged { .. } | ReadError::Storage(_)) => {}
            }
        }
        if names.is_empty() {
            return Ok(None);
        }
        let key = random_secret(repository.surroundings());
        let fetch = &mut |name| repository.read_index(name);
        let lookup = Lookup::open(&names, &CachePlace::Temporary, &key, fetch)?;
        // Rule 4b: seen to exist after the state was read.
        let packs = repository.storage().list(Directory::Packs)?;
        let mut usable: BTreeSet<_> = packs
            .into_iter()
            .filter_map(|(name, _)| match name {
                ObjectName::Pack(id) => Some(id),
                _ => None,
            })
            .collect();
        // Rule 4a.
        for id in catalog.state.condemned.iter().chain(&catalog.state.doomed_packs) {
            usable.remove(id);
        }
        Ok(Some(Self { lookup, usable }))
    }

    /// A chunk in a pack that may be used.
    pub fn find(&self, id: &ChunkId) -> Result<Option<Hint>, LookupError> {
        for location in self.lookup.find_all_chunks(id)? {
            if !self.usable.contains(&self.lookup.pack_id(location.pack)) {
                continue;
            }
            let facts = self.lookup.pack(location.pack)?;
            let Ok(len) = u32::try_from(facts.len) else { continue };
            let pack = IndexedPack { id: facts.id, len, kind: facts.kind, frames: facts.frames };
            return Ok(Some(Hint { pack, chunk: ChunkEntry { id: *id, place: location.place } }));
        }
        Ok(None)
    }
}
