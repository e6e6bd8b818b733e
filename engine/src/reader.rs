//! The read side: id to place to frame to verified bytes. The only way in which content comes back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use repo_format::FormatError;
use repo_format::disk::{Disk, disk_id};
use repo_format::frame::decompress;
use repo_format::header::{Kind, SEALED_HEADER_LEN, SealedHeader};
use repo_format::id::{DiskId, NodeId, PackId, SegmentId};
use repo_format::keys::{Keys, Role};
use repo_format::limits::SEGMENT_LEN;
use repo_format::map::{Fill, Map};
use repo_format::node::{Node, node_id};
use repo_format::object_name::ObjectName;
use repo_format::pack::{EntryKind, frame_offset};
use repo_format::seal::Sealer;
use repo_format::segment::segment_id;

use crate::catalog::{Audience, Catalog, CatalogError, load_index};
use crate::lookup::{Location, Lookup, LookupError, PackFacts, PackNumber};
use crate::parallel::Workers;
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
    #[error("{what} {id} is named by the index, but its pack cannot be read")]
    Pack {
        /// Segment, node, disk or chunk.
        what: &'static str,
        /// Its id.
        id: String,
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
struct Loaded {
    catalog: Catalog,
    lookup: Lookup,
}

/// Reads content of one repository.
pub struct Reader<'r> {
    repository: &'r Repository,
    loaded: RwLock<Arc<Loaded>>,
    sealers: Arc<Sealers>,
    catalog_frames: Mutex<VecDeque<((PackId, u16), Arc<Vec<u8>>)>>,
}

/// A segment of a disk: its number and id.
pub type NumberedSegment = (u64, SegmentId);

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

    /// Rebuilds segments: every frame is opened once, in the order of packs. Each segment is compared
    /// with its id before it is handed out. Memory: 4 MiB a segment, and 1 MiB for each job.
    pub fn segments(
        &self,
        workers: &Workers,
        wanted: &[NumberedSegment],
    ) -> Result<Vec<(u64, Vec<u8>)>, ContentReadError> {
        if self.repository.keys().role() == Role::Backup {
            return Err(ContentReadError::BackupRole);
        }
        match self.rebuild(workers, wanted) {
            Err(error) if error.may_heal() && self.reload()? => self.rebuild(workers, wanted),
            rebuilt => rebuilt,
        }
    }

    fn rebuild(
        &self,
        workers: &Workers,
        wanted: &[NumberedSegment],
    ) -> Result<Vec<(u64, Vec<u8>)>, ContentReadError> {
        let mut maps = Vec::with_capacity(wanted.len());
        for (_, id) in wanted {
            maps.push(self.map(*id)?);
        }
        let loaded = self.loaded();
        let plan = plan_window(&loaded.lookup, &maps)?;
        let mut window: Vec<Vec<u8>> = wanted.iter().map(|_| vec![0; SEGMENT_LEN]).collect();
        let mut reading = workers.ordered(2 * workers.count());
        let mut copies = plan.into_iter();
        let mut under_way = VecDeque::new();
        loop {
            while !reading.is_full() {
                let Some(((number, frame), copy)) = copies.next() else { break };
                let facts = loaded.lookup.pack(number)?;
                under_way.push_back(copy);
                let sealers = Arc::clone(&self.sealers);
                reading.submit(move || sealers.read_frame(&facts, frame));
            }
            let (Some(plain), Some(copies)) = (reading.next(), under_way.pop_front()) else {
                break;
            };
            let plain = plain?;
            for copy in copies {
                copy.apply(&plain, &mut window);
            }
        }
        self.verify(workers, wanted, window)
    }

    fn verify(
        &self,
        workers: &Workers,
        wanted: &[NumberedSegment],
        window: Vec<Vec<u8>>,
    ) -> Result<Vec<(u64, Vec<u8>)>, ContentReadError> {
        let mut hashing = workers.ordered(window.len());
        for bytes in window {
            let sealers = Arc::clone(&self.sealers);
            hashing.submit(move || (segment_id(&sealers.keys, &bytes), bytes));
        }
        let mut verified = Vec::with_capacity(wanted.len());
        for (number, id) in wanted {
            let Some((found, bytes)) = hashing.next() else { break };
            if found != *id {
                return Err(ContentReadError::Segment { id: *id });
            }
            verified.push((*number, bytes));
        }
        Ok(verified)
    }

    /// An entry of a map pack, wherever it can be had (rule 18), else after loading the index again (rule 17).
    fn entry<T>(
        &self,
        kind: EntryKind,
        id: [u8; 32],
        parse: impl Fn(&[u8]) -> Result<T, FormatError>,
    ) -> Result<T, ContentReadError> {
        match self.entry_once(kind, id, &parse) {
            Err(error) if error.may_heal() && self.reload()? => self.entry_once(kind, id, &parse),
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
                Err(error) => failure = error.naming(kind_name(kind), &id),
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

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Loads the index again; false when nothing has changed, so that what is missing is damage (rule 17).
    fn reload(&self) -> Result<bool, ContentReadError> {
        let before = self.loaded();
        let (catalog, lookup) = load_index(self.repository, Audience::Reader)?;
        let changed = catalog.state.number != before.catalog.state.number
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
    const fn may_heal(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Pack { .. })
    }

    /// Says for what a pack was read.
    fn naming(self, what: &'static str, id: &[u8]) -> Self {
        match self {
            Self::Pack { source, .. } => {
                Self::Pack { what, id: repo_format::id::to_hex(id), source }
            }
            other => other,
        }
    }
}

fn missing(what: &'static str, id: &[u8]) -> ContentReadError {
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

/// Bytes of a plain frame that go to a place in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Copy {
    from: usize,
    len: usize,
    segment: usize,
    to: usize,
}

impl Copy {
    /// Places and extents were checked when they were parsed: both ranges exist.
    fn apply(self, plain: &[u8], window: &mut [Vec<u8>]) {
        let target = &mut window[self.segment][self.to..self.to + self.len];
        target.copy_from_slice(&plain[self.from..self.from + self.len]);
    }
}

/// For each frame that the maps need, in the order of packs, what is copied out of it.
type WindowPlan = BTreeMap<(PackNumber, u16), Vec<Copy>>;

/// Decides what a window of segments reads. Pure but for the index.
fn plan_window(lookup: &Lookup, maps: &[Map]) -> Result<WindowPlan, ContentReadError> {
    let mut plan = WindowPlan::new();
    for (segment, map) in maps.iter().enumerate() {
        let mut locations = Vec::with_capacity(map.chunks().len());
        for chunk in map.chunks() {
            let found = lookup.find_chunk(&chunk.id)?;
            let location = found.filter(|location| location.place.len == chunk.len);
            let location = location.ok_or_else(|| missing("chunk", chunk.id.as_bytes()))?;
            locations.push(location);
        }
        plan_segment(segment, map, &locations, &mut plan);
    }
    Ok(plan)
}

fn plan_segment(segment: usize, map: &Map, locations: &[Location], plan: &mut WindowPlan) {
    let mut to = 0;
    for extent in map.extents() {
        let len = extent.len as usize;
        if let Fill::Chunk { index, offset } = extent.fill {
            let location = &locations[usize::from(index)];
            let from = (location.place.offset + offset) as usize;
            let frame = (location.pack, location.place.frame);
            plan.entry(frame).or_default().push(Copy { from, len, segment, to });
        }
        to += len;
    }
}

/// Opens frames, keeping the keys of packs.
struct Sealers {
    storage: Arc<dyn Storage>,
    keys: Keys,
    open: Mutex<HashMap<PackId, Arc<Sealer>>>,
}

impl Sealers {
    /// Reads, opens and decompresses one frame.
    fn read_frame(&self, facts: &PackFacts, frame: u16) -> Result<Vec<u8>, ContentReadError> {
        let damaged = |source| ContentReadError::Damaged { pack: facts.id, frame, source };
        let facts_invalid = || damaged(FormatError::Invalid { what: "number of a frame" });
        let info = facts.frames.get(usize::from(frame)).ok_or_else(facts_invalid)?;
        let start = frame_offset(&facts.frames, frame);
        let range = start..start + u64::from(info.sealed_len);
        let unread =
            |source| ContentReadError::Pack { what: "pack", id: facts.id.to_string(), source };
        let sealed = self.storage.read_range(ObjectName::Pack(facts.id), range).map_err(unread)?;
        let sealer = self.sealer(facts.id, facts.kind, frame)?;
        let stored = sealer.open("frame", u32::from(frame), &sealed).map_err(damaged)?;
        decompress(info, stored).map_err(damaged)
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
        let unread = |source| ContentReadError::Pack { what: "pack", id: pack.to_string(), source };
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
