//! Opening: layers of the cache, what they lack from the repository, and merges, until they are exactly the set.

use std::collections::BTreeSet;
use std::io;
use std::mem::size_of;

use repo_format::index::{
    ChunkRecord, HookRecord, IndexObject, IndexedPack, Records, SegmentRecord,
};
use repo_format::object_name::{IndexName, ObjectName};

use super::block::CacheDamaged;
use super::layer::{CacheKeys, Counts, Layer, LayerBuilder, merge};
use super::merge::{Merge, merge_count};
use super::nest::Nest;
use super::pack_table::{FRAME, PackFace, encode_frame};
use super::record;
use super::shelf::Shelf;
use super::table::BuildError;

/// Why the index could not be opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// An index object could not be fetched.
    #[error("{object} could not be fetched")]
    Fetch {
        /// The object.
        object: ObjectName,
        /// What `fetch` says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An index object has a record that points outside of its packs, or a hook that points outside of its prints.
    /// Parsed objects have none.
    #[error("{object} has a record that points outside of it")]
    Object {
        /// The object.
        object: ObjectName,
    },
    /// Files for the index could be written nowhere, not even in the directory for temporary files.
    #[error("the index cannot be written to temporary files")]
    CacheIo(#[from] io::Error),
    /// The local cache does not hold what was written to it. Nothing in the repository is damaged:
    /// [`Lookup::discard`](super::Lookup::discard) the cache and open it again.
    #[error(transparent)]
    CacheDamaged(#[from] CacheDamaged),
}

impl From<BuildError> for LookupError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Damaged(damaged) => Self::CacheDamaged(damaged),
            BuildError::Write(error) => Self::CacheIo(error),
        }
    }
}

/// Reads an index object from the repository.
pub type Fetch<'a, E> = dyn FnMut(IndexName) -> Result<IndexObject, E> + 'a;

/// Limits of memory, open files and time for a lookup.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of records, as parsed, that are collected before a layer is written; one object more may be in memory.
    pub batch_bytes: usize,
    /// Layers that are merged at once.
    pub runs_max: usize,
    /// Layers that are asked for an id.
    pub layers_max: usize,
}

impl Bounds {
    /// What everybody but a test uses.
    pub const DEFAULT: Self = Self { batch_bytes: 64 << 20, runs_max: 64, layers_max: 8 };
}

/// Layers whose sets are disjoint and together exactly `names`.
pub fn assemble<E: std::error::Error + Send + Sync + 'static>(
    names: &BTreeSet<IndexName>,
    shelf: &Shelf,
    keys: &CacheKeys,
    bounds: Bounds,
    fetch: &mut Fetch<'_, E>,
) -> Result<Vec<Layer>, LookupError> {
    let mut layers = shelf.layers(names, keys);
    let mut missing = names.clone();
    for layer in &layers {
        missing.retain(|name| !layer.names.contains(name));
    }
    while !missing.is_empty() {
        layers.push(fetch_layer(&mut missing, shelf.nest()?, keys, bounds, fetch)?);
        if layers.len() >= bounds.runs_max {
            merge_small(&mut layers, shelf, keys, bounds)?;
        }
    }
    merge_small(&mut layers, shelf, keys, bounds)?;
    Ok(layers)
}

/// Merges the smallest layers if there are more than [`Bounds::layers_max`].
fn merge_small(
    layers: &mut Vec<Layer>,
    shelf: &Shelf,
    keys: &CacheKeys,
    bounds: Bounds,
) -> Result<(), BuildError> {
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.size()));
    let sizes: Vec<u64> = layers.iter().map(Layer::size).collect();
    let count = merge_count(&sizes, bounds.layers_max);
    if count > 0 {
        let parts = layers.split_off(layers.len() - count);
        layers.push(merge(&parts, shelf.nest()?, keys)?);
        parts.iter().for_each(|part| shelf.retire(part.id));
    }
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.size()));
    Ok(())
}

/// Fetches some of the `missing` objects and writes them as one layer.
fn fetch_layer<E: std::error::Error + Send + Sync + 'static>(
    missing: &mut BTreeSet<IndexName>,
    nest: Nest,
    keys: &CacheKeys,
    bounds: Bounds,
    fetch: &mut Fetch<'_, E>,
) -> Result<Layer, LookupError> {
    let mut batch = Batch::new(nest, keys)?;
    while batch.bytes < bounds.batch_bytes
        && let Some(name) = missing.pop_first()
    {
        let object_name = ObjectName::Index(name);
        let object = fetch(name).map_err(|source| LookupError::Fetch {
            object: object_name,
            source: Box::new(source),
        })?;
        if !is_sound(&object) {
            return Err(LookupError::Object { object: object_name });
        }
        batch.add(name, object, keys)?;
    }
    Ok(batch.finish(keys)?)
}

/// Every record names a pack of the object, and every hook a print. (Where in the pack was checked by who parsed it.)
fn is_sound(object: &IndexObject) -> bool {
    let known = |pack: u32| (pack as usize) < object.packs.len();
    let all_known = |records: &[SegmentRecord]| {
        records.iter().all(|record| known(record.pack) && record::fits(&record.place))
    };
    match &object.records {
        Records::Segments(records) => all_known(records),
        Records::Prints(prints, hooks) => {
            all_known(prints) && hooks.iter().all(|hook| (hook.segment as usize) < prints.len())
        }
        Records::Chunks(records) => {
            records.iter().all(|record| known(record.pack) && record::fits(&record.place))
        }
    }
}

/// Objects that become one layer. Their records stay as they came, one sorted run each, and are merged while they
/// are written; packs and frames are written at once.
struct Batch {
    builder: LayerBuilder,
    names: BTreeSet<IndexName>,
    segments: Vec<Vec<SegmentRecord>>,
    chunks: Vec<Vec<ChunkRecord>>,
    hooks: Vec<HookRun>,
    bytes: usize,
}

/// The hooks of one object.
struct HookRun {
    hooks: Vec<HookRecord>,
    /// Which of the runs of segments has the prints that they name by place.
    prints: usize,
}

impl Batch {
    fn new(nest: Nest, keys: &CacheKeys) -> io::Result<Self> {
        Ok(Self {
            builder: LayerBuilder::new(nest, keys)?,
            names: BTreeSet::new(),
            segments: Vec::new(),
            chunks: Vec::new(),
            hooks: Vec::new(),
            bytes: 0,
        })
    }

    fn add(
        &mut self,
        name: IndexName,
        object: IndexObject,
        keys: &CacheKeys,
    ) -> Result<(), BuildError> {
        let number = |pack: &IndexedPack| self.builder.add_indexed_pack(pack, keys);
        let numbers: Vec<u32> = object.packs.iter().map(number).collect::<Result<_, _>>()?;
        drop(object.packs);
        match object.records {
            Records::Segments(records) => self.add_segments(records, &numbers),
            Records::Prints(prints, mut hooks) => {
                // Both orders are by id, so hooks that are sorted by place are sorted by segment.
                if !hooks.is_sorted() {
                    hooks.sort_unstable();
                }
                self.bytes += hooks.len() * size_of::<HookRecord>();
                self.hooks.push(HookRun { hooks, prints: self.segments.len() });
                self.add_segments(prints, &numbers);
            }
            Records::Chunks(mut records) => {
                for record in &mut records {
                    record.pack = numbers[record.pack as usize];
                }
                if !records.is_sorted_by_key(|record| record.id) {
                    records.sort_unstable_by_key(|record| record.id);
                }
                self.bytes += records.len() * size_of::<ChunkRecord>();
                self.chunks.push(records);
            }
        }
        self.names.insert(name);
        Ok(())
    }

    fn add_segments(&mut self, mut records: Vec<SegmentRecord>, numbers: &[u32]) {
        for record in &mut records {
            record.pack = numbers[record.pack as usize];
        }
        if !records.is_sorted_by_key(|record| (record.id, record.kind)) {
            records.sort_unstable_by_key(|record| (record.id, record.kind));
        }
        self.bytes += records.len() * size_of::<SegmentRecord>();
        self.segments.push(records);
    }

    fn finish(self, keys: &CacheKeys) -> Result<Layer, BuildError> {
        let counts = Counts {
            segments: self.segments.iter().map(|run| run.len() as u64).sum(),
            chunks: self.chunks.iter().map(|run| run.len() as u64).sum(),
            hooks: self.hooks.iter().map(|run| run.hooks.len() as u64).sum(),
        };
        let segments = self.segments.iter();
        let segments = segments.map(|run| run.iter().map(|record| Ok(record::of_segment(record))));
        let chunks = self.chunks.iter();
        let chunks = chunks.map(|run| run.iter().map(|record| Ok(record::of_chunk(record))));
        let hooks = self.hooks.iter().map(|HookRun { hooks, prints }| {
            let id_of = |hook: &HookRecord| &self.segments[*prints][hook.segment as usize].id;
            hooks.iter().map(move |hook| Ok(record::of_hook(&hook.fingerprint, id_of(hook))))
        });
        let (segments, chunks) = (Merge::new(segments), Merge::new(chunks));
        self.builder.finish(keys, self.names, counts, segments, chunks, Merge::new(hooks))
    }
}

impl LayerBuilder {
    fn add_indexed_pack(
        &mut self,
        pack: &IndexedPack,
        keys: &CacheKeys,
    ) -> Result<u32, BuildError> {
        let frames: Vec<[u8; FRAME]> = pack.frames.iter().map(encode_frame).collect();
        let face = PackFace {
            id: pack.id,
            len: pack.len,
            kind: pack.kind,
            frames: frames.len() as u32,
            digest: PackFace::digest(&keys.packs, &frames),
        };
        self.add_pack(face, frames.into_iter().map(Ok))
    }
}
