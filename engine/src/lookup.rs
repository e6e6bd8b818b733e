//! Lookup: where ids lie (SPEC 11), from local files that are made from the index objects that count.
//!
//! ```text
//! Lookup = layers, at most 8, disjoint, together exactly the set (SPEC 12.2, rule 19)
//! layer  = packs | sorted records and hooks in blocks of 2 KiB, read by pread | fences and filters in memory
//! ```
//!
//! A new index object becomes a small layer; small layers are merged as they become many (the logarithmic method), so
//! opening costs what is new, not what is there. The files are a cache: never trusted, deleted at any time, shared by
//! processes. Everything read from them is under a keyed checksum.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use repo_format::frame::{FrameInfo, Place};
use repo_format::header::Kind;
use repo_format::id::{ChunkId, Fingerprint, PackId, SegmentId};
use repo_format::index::IndexObject;
use repo_format::keys::Secret;
use repo_format::object_name::IndexName;
use repo_format::pack::EntryKind;
use repo_format::wire::Reader;

mod record;

mod block;

mod fence;

mod table;

mod merge;

mod pack_table;

mod nest;

mod layer;

mod shelf;

mod assemble;

#[cfg(test)]
mod speed;

#[cfg(test)]
mod tests;

pub use assemble::LookupError;
pub use block::{CacheDamaged, LayerId};

use assemble::{Bounds, Fetch, assemble};
use layer::{CacheKeys, LoadedLayer, renumbered};
use merge::Merge;
use pack_table::{PackEntry, PackTable};
use shelf::{Shelf, Usage};
use table::Table;

/// Times that a damaged cache is repaired before it is left alone.
const REPAIRS_MAX: usize = 3;

/// Where the local files of a lookup are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A directory for this repository alone, such as `~/.cache/xenith/<repository id>/`. Made if it is absent.
    Directory(PathBuf),
    /// Files without a name in the directory for temporary files; nothing is left of them, even after a kill.
    Temporary,
}

/// A pack by its number within one [`Lookup`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackNumber(pub(crate) u32);

/// Where an id lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The pack.
    pub pack: PackNumber,
    /// Place in the pack.
    pub place: Place,
}

/// What the index knows of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFacts {
    /// Its name.
    pub id: PackId,
    /// Bytes on storage.
    pub len: u64,
    /// Data, map or print pack.
    pub kind: Kind,
    /// Its frames.
    pub frames: Vec<FrameInfo>,
}

/// Where ids lie, for one set of index objects. Never changes; shared between threads.
pub struct Lookup {
    layers: Vec<OpenLayer>,
    packs: Vec<OpenPack>,
}

struct OpenLayer {
    layer: LoadedLayer,
    /// Numbers of its packs within the lookup.
    numbers: Vec<u32>,
}

struct OpenPack {
    entry: PackEntry,
    /// The layer that keeps its frames.
    layer: u32,
}

impl Lookup {
    /// Opens the index that `names` are the objects of. `key` keys the checksums of the cache, and is always the same
    /// for one place. `fetch` reads, verifies, opens and parses an object; it is asked for what the cache does
    /// not know, rarely for an object twice.
    ///
    /// What `fetch` refuses is [`LookupError::Fetch`]; what is wrong with the cache is repaired or gone around.
    pub fn open<E: std::error::Error + Send + Sync + 'static>(
        names: &BTreeSet<IndexName>,
        place: &CachePlace,
        key: &Secret,
        fetch: &mut dyn FnMut(IndexName) -> Result<IndexObject, E>,
    ) -> Result<Self, LookupError> {
        Self::open_within(Bounds::DEFAULT, names, place, key, fetch)
    }

    fn open_within<E: std::error::Error + Send + Sync + 'static>(
        bounds: Bounds,
        names: &BTreeSet<IndexName>,
        place: &CachePlace,
        key: &Secret,
        fetch: &mut Fetch<'_, E>,
    ) -> Result<Self, LookupError> {
        let keys = CacheKeys::new(key);
        let (directory, mut usage) = match place {
            CachePlace::Directory(path) => (path.clone(), Usage::ReadWrite),
            CachePlace::Temporary => (PathBuf::new(), Usage::Ignore),
        };
        let mut repairs = 0;
        loop {
            let shelf = Shelf::new(directory.clone(), usage);
            let opened = assemble(names, &shelf, &keys, bounds, fetch)
                .and_then(|layers| Ok(Self::of(layers)?));
            match (opened, usage) {
                (Err(LookupError::CacheDamaged(damaged)), Usage::ReadWrite | Usage::Read) => {
                    shelf.retire(damaged.layer);
                    repairs += 1;
                    if repairs == REPAIRS_MAX {
                        usage = Usage::Ignore;
                    }
                }
                (Err(LookupError::CacheIo(_)), Usage::ReadWrite) => usage = Usage::Read,
                (Err(LookupError::CacheIo(_)), Usage::Read) => usage = Usage::Ignore,
                (opened, _) => return opened,
            }
        }
    }

    fn of(layers: Vec<layer::Layer>) -> Result<Self, CacheDamaged> {
        let mut table = PackTable::default();
        let (mut open, mut owners) = (Vec::new(), Vec::new());
        for (owner, layer) in (0..).zip(layers) {
            let mut numbers = Vec::with_capacity(layer.packs.count() as usize);
            for entry in layer.scan_packs() {
                let entry = entry?;
                numbers.push(table.number(entry.face, || entry.first_frame));
            }
            owners.resize(table.len(), owner);
            let layer = layer.load()?;
            open.push(OpenLayer { layer, numbers });
        }
        let entries = table.into_entries().into_iter().zip(owners);
        let packs = entries.map(|(entry, layer)| OpenPack { entry, layer });
        Ok(Self { layers: open, packs: packs.collect() })
    }

    /// Deletes the cache, so that the next [`Lookup::open`] begins anew. Lookups that are open stay open.
    /// If this fails, open with [`CachePlace::Temporary`].
    pub fn discard(place: &CachePlace) -> io::Result<()> {
        match place {
            CachePlace::Directory(path) => Shelf::new(path.clone(), Usage::ReadWrite).discard(),
            CachePlace::Temporary => Ok(()),
        }
    }

    /// One place of a map, node, disk or print; `None` = not known.
    pub fn find(&self, kind: EntryKind, id: &[u8; 32]) -> Result<Option<Location>, LookupError> {
        let key = record::segment_key(kind, id);
        self.first(|layer| &layer.segments, &key)
    }

    /// One place of a chunk; `None` = not known.
    pub fn find_chunk(&self, id: &ChunkId) -> Result<Option<Location>, LookupError> {
        self.first(|layer| &layer.chunks, id.as_bytes())
    }

    /// Every place of a map, node, disk or print, each once, in no promised order (SPEC 11, and rule 18).
    pub fn find_all(&self, kind: EntryKind, id: &[u8; 32]) -> Result<Vec<Location>, LookupError> {
        let key = record::segment_key(kind, id);
        self.all(|layer| &layer.segments, &key)
    }

    /// Every place of a chunk, each once, in no promised order.
    pub fn find_all_chunks(&self, id: &ChunkId) -> Result<Vec<Location>, LookupError> {
        self.all(|layer| &layer.chunks, id.as_bytes())
    }

    /// Segments that `fingerprint` leads to, each once, in no promised order. If there are more than `limit`, then
    /// some `limit` of them, without reading the rest.
    pub fn find_hooks(
        &self,
        fingerprint: &Fingerprint,
        limit: usize,
    ) -> Result<Vec<SegmentId>, LookupError> {
        let mut segments = BTreeSet::new();
        for open in &self.layers {
            let LoadedLayer { blocks, hooks, .. } = &open.layer;
            let visited = hooks.find(blocks, fingerprint.as_bytes(), |record| {
                if segments.len() == limit {
                    return ControlFlow::Break(());
                }
                segments.insert(record::hook_segment(record));
                ControlFlow::Continue(())
            });
            if visited?.is_break() {
                break;
            }
        }
        Ok(segments.into_iter().collect())
    }

    /// What is known of a pack; `number` comes from this lookup.
    pub fn pack(&self, number: PackNumber) -> Result<PackFacts, LookupError> {
        let OpenPack { entry, layer } = &self.packs[number.0 as usize];
        let LoadedLayer { blocks, frames, .. } = &self.layers[*layer as usize].layer;
        let parse = |bytes: Result<_, CacheDamaged>| {
            let bytes: [u8; pack_table::FRAME] = bytes?;
            let frame = FrameInfo::read(&mut Reader::new("frame of the cache", &bytes));
            frame.map_err(|_| blocks.damaged("a frame"))
        };
        Ok(PackFacts {
            id: entry.face.id,
            len: u64::from(entry.face.len),
            kind: entry.face.kind,
            frames: blocks.scan(frames, entry.frames()).map(parse).collect::<Result<_, _>>()?,
        })
    }

    /// The name of a pack; `number` comes from this lookup.
    #[must_use]
    pub fn pack_id(&self, number: PackNumber) -> PackId {
        self.packs[number.0 as usize].entry.face.id
    }

    /// All packs: number, name, bytes on storage, and kind. A pack that several index objects name is there once,
    /// unless they disagree about it.
    pub fn packs(&self) -> impl Iterator<Item = (PackNumber, PackId, u64, Kind)> {
        (0..).zip(&self.packs).map(|(number, OpenPack { entry, .. })| {
            let face = &entry.face;
            (PackNumber(number), face.id, u64::from(face.len), face.kind)
        })
    }

    /// How many records of maps, nodes, disks and prints the index objects have, duplicates included.
    #[must_use]
    pub fn segment_count(&self) -> u64 {
        let counts = self.layers.iter();
        counts.map(|open| open.layer.segments.region().count()).sum()
    }

    /// How many records of chunks the index objects have, duplicates included.
    #[must_use]
    pub fn chunk_count(&self) -> u64 {
        let counts = self.layers.iter();
        counts.map(|open| open.layer.chunks.region().count()).sum()
    }

    /// How many hooks the index objects have. One that several of them have is counted once or more often.
    #[must_use]
    pub fn hook_count(&self) -> u64 {
        let counts = self.layers.iter();
        counts.map(|open| open.layer.hooks.region().count()).sum()
    }

    /// All records of maps, nodes, disks and prints, sorted by id, then kind. Reads the files once, with little memory;
    /// ends after an error.
    pub fn segments(
        &self,
    ) -> impl Iterator<Item = Result<(EntryKind, [u8; 32], Location), LookupError>> {
        self.merged(|layer| &layer.segments).map(|record| {
            let record = record?;
            // Whichever layer it came from: the cache is discarded as a whole.
            let (kind, id) = record::segment_id(&record)
                .map_err(|_| self.layers[0].layer.blocks.damaged("the kind of a record"))?;
            Ok((kind, id, location(&record)))
        })
    }

    /// All records of chunks, sorted by id. Reads the files once, with little memory; ends after an error.
    pub fn chunks(&self) -> impl Iterator<Item = Result<(ChunkId, Location), LookupError>> {
        self.merged(|layer| &layer.chunks).map(|record| {
            let record = record?;
            Ok((record::chunk_id(&record), location(&record)))
        })
    }

    fn first<const W: usize>(
        &self,
        table: impl Fn(&LoadedLayer) -> &Table<W>,
        key: &[u8],
    ) -> Result<Option<Location>, LookupError> {
        for open in &self.layers {
            let found = table(&open.layer).find(&open.layer.blocks, key, |record| {
                ControlFlow::Break(open.location(record))
            })?;
            if let ControlFlow::Break(location) = found {
                return Ok(Some(location?));
            }
        }
        Ok(None)
    }

    fn all<const W: usize>(
        &self,
        table: impl Fn(&LoadedLayer) -> &Table<W>,
        key: &[u8],
    ) -> Result<Vec<Location>, LookupError> {
        let mut locations = Vec::new();
        for open in &self.layers {
            let found = table(&open.layer).find(&open.layer.blocks, key, |record| {
                match open.location(record) {
                    Ok(location) => locations.push(location),
                    Err(damaged) => return ControlFlow::Break(damaged),
                }
                ControlFlow::Continue(())
            })?;
            if let ControlFlow::Break(damaged) = found {
                return Err(damaged.into());
            }
        }
        locations.sort_unstable();
        locations.dedup();
        Ok(locations)
    }

    fn merged<'a, const W: usize>(
        &'a self,
        table: impl Fn(&LoadedLayer) -> &Table<W>,
    ) -> impl Iterator<Item = Result<[u8; W], CacheDamaged>> {
        let run = |open: &'a OpenLayer| {
            let OpenLayer { layer, numbers } = open;
            renumbered(&layer.blocks, table(layer).region(), numbers)
        };
        Merge::new(self.layers.iter().map(run))
    }
}

impl OpenLayer {
    /// Where a record of this layer says that its key lies.
    fn location<const W: usize>(&self, record: &[u8; W]) -> Result<Location, CacheDamaged> {
        let (pack, place) = record::tail(record);
        let number = self.numbers.get(pack as usize).copied();
        let number = number.ok_or_else(|| self.layer.blocks.damaged("the pack of a record"))?;
        let pack = PackNumber(number);
        Ok(Location { pack, place })
    }
}

/// Where a record says that its key lies, with a pack that is numbered within the lookup.
fn location<const W: usize>(record: &[u8; W]) -> Location {
    let (pack, place) = record::tail(record);
    let pack = PackNumber(pack);
    Location { pack, place }
}
