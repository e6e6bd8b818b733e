//! The read side: id to place to frame to verified bytes. The only way in which content comes back.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use repo_format::FormatError;
use repo_format::disk::{Disk, disk_id};
use repo_format::frame::Decompressor;
use repo_format::header::{Kind, SEALED_HEADER_LEN, SealedHeader};
use repo_format::id::{DiskId, NodeId, PackId, SegmentId};
use repo_format::keys::Keys;
use repo_format::map::Map;
use repo_format::node::{Node, node_id};
use repo_format::object_name::ObjectName;
use repo_format::pack::{EntryKind, frame_offset};
use repo_format::seal::Sealer;

use crate::catalog::{Audience, Catalog, CatalogError, load_index};
use crate::lookup::{Lookup, LookupError, PackFacts};
use crate::repository::Repository;
use crate::storage::{Storage, StorageError};

/// Pack keys kept open.
const SEALERS_MAX: usize = 1024;
/// Catalog frames kept after decompression.
const CATALOG_FRAMES_MAX: usize = 64;

/// Why content could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentReadError {
    /// An id is in no index object that counts.
    #[error("{what} {id} is in no index object")]
    Missing {
        /// Segment, node, disk or chunk.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A pack that the index names is gone or cannot be read.
    #[error("pack {pack} is named by the index and cannot be read")]
    Pack {
        /// Which pack.
        pack: PackId,
        /// What storage said.
        source: StorageError,
    },
    /// Bytes of a pack are not what was stored.
    #[error("pack {pack} is damaged in frame {frame}")]
    Damaged {
        /// Which pack.
        pack: PackId,
        /// Which frame.
        frame: u16,
        /// What is wrong.
        source: FormatError,
    },
    /// A segment was rebuilt, and is not the one that was stored.
    #[error("segment {id} does not match its id after it was rebuilt")]
    Segment {
        /// Its id.
        id: SegmentId,
    },
    /// A disk's tree is not one.
    #[error("disk {disk} has a damaged tree")]
    Tree {
        /// Its id.
        disk: DiskId,
        /// What is wrong.
        source: FormatError,
    },
    /// The password opens the backup role.
    #[error("this password opens the backup role, which cannot read disks")]
    BackupRole,
    /// The index could not be loaded.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A local index file failed.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

/// The index that a reader uses, exchanged as a whole when it is loaded again (rule 17).
pub(crate) struct Loaded {
    pub(crate) catalog: Catalog,
    pub(crate) lookup: Lookup,
}

/// A catalog frame after decompression, by pack and number.
type KeptFrame = ((PackId, u16), Arc<Vec<u8>>);

/// Reads content of one repository.
pub struct Reader<'r> {
    repository: &'r Repository,
    loaded: RwLock<Arc<Loaded>>,
    sealers: Arc<Sealers>,
    catalog_frames: Mutex<VecDeque<KeptFrame>>,
}

impl<'r> Reader<'r> {
    /// Loads the index as a reader does (rule 16).
    pub fn open(repository: &'r Repository) -> Result<Self, CatalogError> {
        let (catalog, lookup) = load_index(repository, Audience::Reader)?;
        Ok(Self {
            repository,
            loaded: RwLock::new(Arc::new(Loaded { catalog, lookup })),
            sealers: Arc::new(Sealers {
                storage: Arc::clone(repository.storage()),
                keys: repository.keys().clone(),
                open: Mutex::new(HashMap::new()),
            }),
            catalog_frames: Mutex::new(VecDeque::new()),
        })
    }

    /// The repository.
    #[must_use]
    pub const fn repository(&self) -> &'r Repository {
        self.repository
    }

    /// What opens frames, for jobs on other threads.
    pub(crate) fn sealers(&self) -> Arc<Sealers> {
        Arc::clone(&self.sealers)
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
        self.entry(EntryKind::Disk, *id.as_bytes(), |bytes| {
            match disk_id(self.repository.keys(), bytes) == id {
                true => Disk::parse(bytes),
                false => Err(FormatError::Hash { what: "disk" }),
            }
        })
    }

    /// A node, compared with its id.
    pub fn node(&self, id: NodeId) -> Result<Node, ContentReadError> {
        self.entry(EntryKind::Node, *id.as_bytes(), |bytes| {
            match node_id(self.repository.keys(), bytes) == id {
                true => Node::parse(bytes),
                false => Err(FormatError::Hash { what: "node" }),
            }
        })
    }

    /// The map of a segment. It is proved only by the segment that it rebuilds.
    pub fn map(&self, id: SegmentId) -> Result<Map, ContentReadError> {
        self.entry(EntryKind::Map, *id.as_bytes(), Map::parse)
    }

    /// An entry of a map pack, wherever it can be had (rule 18), else after loading the index again (rule 17).
    fn entry<T>(
        &self,
        kind: EntryKind,
        id: [u8; 32],
        parse: impl Fn(&[u8]) -> Result<T, FormatError>,
    ) -> Result<T, ContentReadError> {
        match self.entry_once(kind, id, &parse) {
            Err(error) if error.may_heal() && self.reload(&error)? => {
                self.entry_once(kind, id, &parse)
            }
            entry => entry,
        }
    }

    fn entry_once<T>(
        &self,
        kind: EntryKind,
        id: [u8; 32],
        parse: impl Fn(&[u8]) -> Result<T, FormatError>,
    ) -> Result<T, ContentReadError> {
        let loaded = self.loaded();
        let mut failure = missing(kind_name(kind), &id);
        for location in loaded.lookup.find_all(kind, &id)? {
            let facts = loaded.lookup.pack(location.pack)?;
            let frame = location.place.frame;
            let damaged = |source| ContentReadError::Damaged { pack: facts.id, frame, source };
            match self.catalog_frame(&facts, frame) {
                Ok(plain) => match location.place.of(&plain).and_then(&parse) {
                    Ok(value) => return Ok(value),
                    Err(source) => failure = damaged(source),
                },
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn catalog_frame(
        &self,
        facts: &PackFacts,
        frame: u16,
    ) -> Result<Arc<Vec<u8>>, ContentReadError> {
        let key = (facts.id, frame);
        let lock = || self.catalog_frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plain)) = lock().iter().find(|(found, _)| *found == key) {
            return Ok(Arc::clone(plain));
        }
        let plain = Arc::new(self.sealers.read_frame(facts, frame)?);
        let mut kept = lock();
        if kept.len() >= CATALOG_FRAMES_MAX {
            kept.pop_front();
        }
        kept.push_back((key, Arc::clone(&plain)));
        Ok(plain)
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

impl ContentReadError {
    /// Whether loading the index again may help.
    pub(crate) const fn may_heal(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Pack { .. }) || self.is_damaged_cache()
    }

    /// The pack whose bytes cannot be had or are not what was stored.
    pub(crate) const fn unusable_pack(&self) -> Option<PackId> {
        match self {
            Self::Pack { pack, .. } | Self::Damaged { pack, .. } => Some(*pack),
            _ => None,
        }
    }

    const fn is_damaged_cache(&self) -> bool {
        matches!(self, Self::Lookup(LookupError::CacheDamaged(_)))
    }
}

pub(crate) fn missing(what: &'static str, id: &[u8]) -> ContentReadError {
    ContentReadError::Missing { what, id: repo_format::id::to_hex(id) }
}

/// What an entry is called in messages.
#[must_use]
pub const fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Map => "segment",
        EntryKind::Node => "node",
        EntryKind::Disk => "disk",
        EntryKind::Snapshot => "copy of snapshot",
    }
}

/// Opens frames, keeping the keys of packs.
pub(crate) struct Sealers {
    storage: Arc<dyn Storage>,
    pub(crate) keys: Keys,
    open: Mutex<HashMap<PackId, Arc<Sealer>>>,
}

impl Sealers {
    /// Reads, opens and decompresses one frame.
    fn read_frame(&self, facts: &PackFacts, frame: u16) -> Result<Vec<u8>, ContentReadError> {
        self.with_frame(facts, frame, <[u8]>::to_vec)
    }

    /// Hands the plain bytes of one frame to `take`, out of a buffer that each thread keeps.
    pub(crate) fn with_frame<T>(
        &self,
        facts: &PackFacts,
        frame: u16,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, ContentReadError> {
        thread_local! {
            static DECOMPRESSOR: RefCell<Decompressor> = RefCell::default();
        }
        let damaged = |source| ContentReadError::Damaged { pack: facts.id, frame, source };
        let facts_invalid = || damaged(FormatError::Invalid { what: "number of a frame" });
        let info = facts.frames.get(usize::from(frame)).ok_or_else(facts_invalid)?;
        let start = frame_offset(&facts.frames, frame);
        let range = start..start + u64::from(info.sealed_len);
        let unread = |source| ContentReadError::Pack { pack: facts.id, source };
        let name = ObjectName::Pack(facts.id);
        let mut sealed = self.storage.read_range(name, range).map_err(unread)?;
        let sealer = self.sealer(facts.id, facts.kind, frame)?;
        let opened = sealer.open_in_place("frame", u32::from(frame), &mut sealed);
        let stored = opened.map_err(damaged)?;
        DECOMPRESSOR.with_borrow_mut(|decompressor| {
            decompressor.decompress(info, stored).map(take).map_err(damaged)
        })
    }

    fn sealer(
        &self,
        pack: PackId,
        kind: Kind,
        frame: u16,
    ) -> Result<Arc<Sealer>, ContentReadError> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealer) = lock().get(&pack) {
            return Ok(Arc::clone(sealer));
        }
        let name = ObjectName::Pack(pack);
        let unread = |source| ContentReadError::Pack { pack, source };
        let range = 0..SEALED_HEADER_LEN as u64;
        let header = self.storage.read_range(name, range).map_err(unread)?;
        let damaged = |source| ContentReadError::Damaged { pack, frame, source };
        let key = SealedHeader::parse_as(&header, kind, self.keys.repository())
            .and_then(|parsed| self.keys.open_header(&parsed))
            .map_err(damaged)?;
        let sealer = Arc::new(Sealer::new(&key, &header));
        let mut open = lock();
        if open.len() >= SEALERS_MAX {
            open.clear();
        }
        open.insert(pack, Arc::clone(&sealer));
        Ok(sealer)
    }
}
