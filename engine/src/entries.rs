//! Entries of the catalog: id to place to frame to parsed bytes, and the keys of packs that this takes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

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

use crate::catalog::CatalogError;
use crate::lookup::{Location, Lookup, LookupError, PackFacts};
use crate::repository::Repository;
use crate::storage::{Storage, StorageError};

/// Pack keys kept open.
const SEALERS_MAX: usize = 1024;
/// Bytes of frames kept after decompression: enough for those of the nights from which the maps and prints of some
/// neighbouring segments come.
const FRAME_BYTES_MAX: usize = 32 << 20;

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

    /// Whether a file of the local cache was not what was written.
    pub(crate) const fn is_damaged_cache(&self) -> bool {
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
        EntryKind::Print => "print",
    }
}

/// A frame by pack and number.
type FrameName = (PackId, u16);

/// Frames after decompression, the latest up to [`FRAME_BYTES_MAX`].
#[derive(Default)]
struct KeptFrames {
    found: HashMap<FrameName, Arc<Vec<u8>>>,
    by_age: VecDeque<FrameName>,
    bytes: usize,
}

impl KeptFrames {
    fn insert(&mut self, name: FrameName, plain: Arc<Vec<u8>>) {
        self.bytes += plain.len();
        match self.found.insert(name, plain) {
            Some(before) => self.bytes -= before.len(),
            None => self.by_age.push_back(name),
        }
        while self.bytes > FRAME_BYTES_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.bytes -= self.found.remove(&oldest).map_or(0, |plain| plain.len());
        }
    }
}

/// Reads entries of map and print packs.
pub struct Entries {
    sealers: Arc<Sealers>,
    frames: Mutex<KeptFrames>,
}

impl Entries {
    /// Of this repository.
    #[must_use]
    pub fn of(repository: &Repository) -> Self {
        let sealers = Sealers {
            storage: Arc::clone(repository.storage()),
            keys: repository.keys().clone(),
            open: Mutex::new(HashMap::new()),
        };
        Self { sealers: Arc::new(sealers), frames: Mutex::default() }
    }

    /// What opens frames, for jobs on other threads.
    pub(crate) fn sealers(&self) -> Arc<Sealers> {
        Arc::clone(&self.sealers)
    }

    /// An entry, wherever `lookup` says that it can be had (rule 18).
    pub(crate) fn read<T>(
        &self,
        lookup: &Lookup,
        kind: EntryKind,
        id: &[u8; 32],
        parse: impl Fn(&[u8]) -> Result<T, FormatError>,
    ) -> Result<T, ContentReadError> {
        let mut failure = missing(kind_name(kind), id);
        for location in lookup.find_all(kind, id)? {
            let (pack, frame) = (lookup.pack_id(location.pack), location.place.frame);
            let damaged = |source| ContentReadError::Damaged { pack, frame, source };
            match self.frame(lookup, location) {
                Ok(plain) => match location.place.of(&plain).and_then(&parse) {
                    Ok(value) => return Ok(value),
                    Err(source) => failure = damaged(source),
                },
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// A disk, compared with its id.
    pub(crate) fn disk(&self, lookup: &Lookup, id: DiskId) -> Result<Disk, ContentReadError> {
        self.read(lookup, EntryKind::Disk, id.as_bytes(), |bytes| {
            match disk_id(&self.sealers.keys, bytes) == id {
                true => Disk::parse(bytes),
                false => Err(FormatError::Hash { what: "disk" }),
            }
        })
    }

    /// A node, compared with its id.
    pub(crate) fn node(&self, lookup: &Lookup, id: NodeId) -> Result<Node, ContentReadError> {
        self.read(lookup, EntryKind::Node, id.as_bytes(), |bytes| {
            match node_id(&self.sealers.keys, bytes) == id {
                true => Node::parse(bytes),
                false => Err(FormatError::Hash { what: "node" }),
            }
        })
    }

    /// The map of a segment. It is proved only by the segment that it rebuilds.
    pub(crate) fn map(&self, lookup: &Lookup, id: SegmentId) -> Result<Map, ContentReadError> {
        self.read(lookup, EntryKind::Map, id.as_bytes(), Map::parse)
    }

    /// The frame in which something lies; the index tells of the pack only if the frame is not kept.
    fn frame(&self, lookup: &Lookup, location: Location) -> Result<Arc<Vec<u8>>, ContentReadError> {
        let frame = location.place.frame;
        let key = (lookup.pack_id(location.pack), frame);
        let lock = || self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plain) = lock().found.get(&key) {
            return Ok(Arc::clone(plain));
        }
        let facts = lookup.pack(location.pack)?;
        let plain = Arc::new(self.sealers.with_frame(&facts, frame, <[u8]>::to_vec)?);
        lock().insert(key, Arc::clone(&plain));
        Ok(plain)
    }
}

/// Opens frames, keeping the keys of packs.
pub(crate) struct Sealers {
    storage: Arc<dyn Storage>,
    pub(crate) keys: Keys,
    open: Mutex<HashMap<PackId, Arc<Sealer>>>,
}

impl Sealers {
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
