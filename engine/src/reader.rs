//! The read side: id to place to frame to verified bytes. The only way in which content comes back.

use std::sync::{Arc, PoisonError, RwLock};

use repo_format::disk::Disk;
use repo_format::id::{DiskId, NodeId, SegmentId};
use repo_format::map::Map;
use repo_format::node::Node;

use crate::catalog::{Audience, Catalog, CatalogError, load_index};
pub use crate::entries::{ContentReadError, kind_name};
use crate::entries::{Entries, Sealers};
use crate::lookup::Lookup;
use crate::repository::Repository;

/// The index that a reader uses, exchanged as a whole when it is loaded again (rule 17).
pub(crate) struct Loaded {
    pub(crate) catalog: Catalog,
    pub(crate) lookup: Lookup,
}

/// Reads content of one repository.
pub struct Reader<'r> {
    repository: &'r Repository,
    loaded: RwLock<Arc<Loaded>>,
    entries: Entries,
}

impl<'r> Reader<'r> {
    /// Loads the index as a reader does (rule 16).
    pub fn open(repository: &'r Repository) -> Result<Self, CatalogError> {
        let (catalog, lookup) = load_index(repository, Audience::Reader)?;
        Ok(Self {
            repository,
            loaded: RwLock::new(Arc::new(Loaded { catalog, lookup })),
            entries: Entries::of(repository),
        })
    }

    /// The repository.
    #[must_use]
    pub const fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// What opens frames, for jobs on other threads.
    pub(crate) fn sealers(&self) -> Arc<Sealers> {
        self.entries.sealers()
    }

    /// What counted when the index was last loaded.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.loaded().catalog.clone()
    }

    /// Runs `ask` with the index.
    pub fn with_lookup<T>(&self, ask: impl FnOnce(&Lookup) -> T) -> T {
        ask(&self.loaded().lookup)
    }

    /// A disk, compared with its id.
    pub fn disk(&self, id: DiskId) -> Result<Disk, ContentReadError> {
        self.healing(|lookup| self.entries.disk(lookup, id))
    }

    /// A node, compared with its id.
    pub fn node(&self, id: NodeId) -> Result<Node, ContentReadError> {
        self.healing(|lookup| self.entries.node(lookup, id))
    }

    /// The map of a segment. It is proved only by the segment that it rebuilds.
    pub fn map(&self, id: SegmentId) -> Result<Map, ContentReadError> {
        self.healing(|lookup| self.entries.map(lookup, id))
    }

    /// Reads an entry with the index; with a newer one if that fails and there is one (rule 17).
    fn healing<T>(
        &self,
        read: impl Fn(&Lookup) -> Result<T, ContentReadError>,
    ) -> Result<T, ContentReadError> {
        match read(&self.loaded().lookup) {
            Err(error) if error.may_heal() && self.reload(&error)? => read(&self.loaded().lookup),
            entry => entry,
        }
    }

    /// The index of this moment.
    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads the index again after `failure`; false when nothing has changed, so that what is missing is damage
    /// (rule 17). A damaged local cache is thrown away first.
    pub(crate) fn reload(&self, failure: &ContentReadError) -> Result<bool, ContentReadError> {
        let damaged_cache = failure.is_damaged_cache();
        if damaged_cache {
            // What cannot be removed is noticed again when it is opened, and left alone then.
            let _ = Lookup::discard(self.repository.cache());
        }
        let before = self.loaded();
        let (catalog, lookup) = load_index(self.repository, Audience::Reader)?;
        let changed = damaged_cache
            || catalog.state.number != before.catalog.state.number
            || catalog.counting != before.catalog.counting;
        if changed {
            let loaded = Arc::new(Loaded { catalog, lookup });
            *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        }
        Ok(changed)
    }
}
