//! A layer: the records of a set of index objects, in three files.
//!
//! ```text
//! names    magic 8, nonce 16, numbers of frames, packs, segments, chunks, hooks (u64 each), names | keyed hash 32
//! blocks   frames | packs | segments, sorted | chunks, sorted | hooks, sorted, each once
//! fences   of segments | of chunks | of hooks | keyed hash 32
//! ```
//!
//! The nonce makes the key of the other two files. So files of two builds of the same layer, which a reader could
//! meet while one replaces the other, never pass for one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use repo_format::FormatError;
use repo_format::id::{IndexHash, SnapshotId};
use repo_format::keys::{Secret, derive};
use repo_format::object_name::IndexName;
use repo_format::wire::{Reader, Writer};

use super::block::{BLOCK, BlockFile, Blocks, CacheDamaged, LayerId, Region, RegionWriter, Tag};
use super::fence::{FenceReader, FenceWriter, Fences};
use super::merge::{Merge, distinct};
use super::nest::{self, Nest};
use super::pack_table::{FRAME, PACK, PackEntry, PackFace, PackTable};
use super::record::{CHUNK, HOOK, SEGMENT, tail, with_pack};
use super::table::{self, BuildError, Table};

const MAGIC: [u8; 8] = *b"XNTHLKP2";
const HASH: usize = 32;
/// Bytes of the largest file of names that is read: a million index objects.
const NAMES_LEN_MAX: u64 = 64 << 20;

/// The keys of a cache.
pub struct CacheKeys {
    root: Secret,
    names: Secret,
    /// Of the hashes that tell packs apart.
    pub packs: Secret,
}

impl CacheKeys {
    /// Derives them from the key of the cache.
    pub fn new(key: &Secret) -> Self {
        Self {
            root: key.clone(),
            names: derive("xenith v1 index cache names", &[key.expose()]),
            packs: derive("xenith v1 index cache packs", &[key.expose()]),
        }
    }

    fn of_layer(&self, nonce: &[u8; 16]) -> Secret {
        derive("xenith v1 index cache layer", &[self.root.expose(), nonce])
    }
}

/// A layer whose set of names is known to be right; its blocks and fences are verified when they are read.
pub struct Layer {
    /// Hash of the names.
    pub id: LayerId,
    /// The index objects that it was made from.
    pub names: BTreeSet<IndexName>,
    /// Its records.
    pub blocks: Blocks,
    /// Frames of its packs.
    pub frames: Region<FRAME>,
    /// Its packs.
    pub packs: Region<PACK>,
    /// Its maps, nodes, disks and prints.
    pub segments: Region<SEGMENT>,
    /// Its chunks.
    pub chunks: Region<CHUNK>,
    /// Its hooks.
    pub hooks: Region<HOOK>,
    fences: File,
    key: Secret,
}

impl Layer {
    /// The directory of the layer with this id.
    pub fn directory_name(id: LayerId) -> String {
        format!("layer-{id}")
    }

    /// Opens the layer in `path`. `None`: it is damaged, being removed, or of another key or version.
    pub fn open(path: &Path, keys: &CacheKeys) -> Option<Self> {
        let names = File::open(path.join(nest::NAMES)).ok()?;
        let mut text = Vec::new();
        names.take(NAMES_LEN_MAX).read_to_end(&mut text).ok()?;
        let (body, hash) = text.split_last_chunk::<HASH>()?;
        if blake3::keyed_hash(keys.names.expose(), body) != blake3::Hash::from_bytes(*hash) {
            return None;
        }
        let (nonce, counts, names) = parse_names(body).ok()?;
        let id = layer_id(keys, &names);
        if path.file_name()?.to_str()? != Self::directory_name(id) {
            return None;
        }
        let key = keys.of_layer(&nonce);
        let blocks = File::open(path.join(nest::BLOCKS)).ok()?;
        let fences = File::open(path.join(nest::FENCES)).ok()?;
        let frames = Region::new(Tag::Frames, 0, counts[0]);
        let packs = Region::new(Tag::Packs, frames.end(), counts[1]);
        let segments = Region::new(Tag::Segments, packs.end(), counts[2]);
        let chunks = Region::new(Tag::Chunks, segments.end(), counts[3]);
        let hooks = Region::new(Tag::Hooks, chunks.end(), counts[4]);
        let fences_len = Fences::<SEGMENT>::file_len(counts[2])
            + Fences::<CHUNK>::file_len(counts[3])
            + Fences::<HOOK>::file_len(counts[4])
            + HASH as u64;
        let whole = blocks.metadata().ok()?.len() == hooks.end() * BLOCK as u64
            && fences.metadata().ok()?.len() == fences_len;
        whole.then(|| Self {
            id,
            names,
            blocks: Blocks::new(blocks, key.clone(), id),
            frames,
            packs,
            segments,
            chunks,
            hooks,
            fences,
            key,
        })
    }

    /// How much there is to copy when it is merged.
    pub const fn size(&self) -> u64 {
        self.hooks.end()
    }

    /// Its packs in the order of their numbers.
    pub fn scan_packs(&self) -> impl Iterator<Item = Result<PackEntry, CacheDamaged>> {
        self.blocks.scan_all(&self.packs).map(|bytes| {
            let entry = PackEntry::parse(&bytes?);
            entry.map_err(|_| self.blocks.damaged("a pack"))
        })
    }

    /// Reads fences and filters; from then on the layer answers.
    pub fn load(self) -> Result<LoadedLayer, CacheDamaged> {
        let unreadable = |source| CacheDamaged {
            layer: self.id,
            what: "fences and filters",
            source: Some(source),
        };
        let mut reader = FenceReader::new(self.fences, &self.key);
        let segments = Table::read(self.segments, &mut reader).map_err(unreadable)?;
        let chunks = Table::read(self.chunks, &mut reader).map_err(unreadable)?;
        let hooks = Table::read(self.hooks, &mut reader).map_err(unreadable)?;
        reader.finish().map_err(unreadable)?;
        Ok(LoadedLayer { blocks: self.blocks, frames: self.frames, segments, chunks, hooks })
    }
}

/// A layer that answers.
pub struct LoadedLayer {
    /// Its records.
    pub blocks: Blocks,
    /// Frames of its packs.
    pub frames: Region<FRAME>,
    /// Its maps, nodes, disks and prints.
    pub segments: Table<SEGMENT>,
    /// Its chunks.
    pub chunks: Table<CHUNK>,
    /// Its hooks.
    pub hooks: Table<HOOK>,
}

/// How many records of each sort a layer has, or at most gets.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Maps, nodes, disks and prints.
    pub segments: u64,
    /// Chunks.
    pub chunks: u64,
    /// Hooks.
    pub hooks: u64,
}

/// Builds a layer: first packs with their frames, then all records at once.
pub struct LayerBuilder {
    nest: Nest,
    nonce: [u8; 16],
    key: Secret,
    frames: RegionWriter<FRAME>,
    packs: PackTable,
}

impl LayerBuilder {
    /// Begins a layer in `nest`.
    pub fn new(nest: Nest, keys: &CacheKeys) -> io::Result<Self> {
        let nonce = nest::random()?;
        let key = keys.of_layer(&nonce);
        let blocks = BlockFile::new(nest.create(nest::BLOCKS)?, key.clone());
        Ok(Self {
            nest,
            nonce,
            key,
            frames: blocks.begin(Tag::Frames),
            packs: PackTable::default(),
        })
    }

    /// The number of a pack; its frames are kept if it is new.
    pub fn add_pack(
        &mut self,
        face: PackFace,
        frames: impl Iterator<Item = Result<[u8; FRAME], CacheDamaged>>,
    ) -> Result<u32, BuildError> {
        let packs_before = self.packs.len();
        let number = self.packs.number(face, || self.frames.count());
        if self.packs.len() > packs_before {
            for frame in frames {
                self.frames.push(&frame?)?;
            }
        }
        Ok(number)
    }

    /// Writes sorted records, at most `counts` of each sort, and publishes the layer. Hooks are written once each.
    pub fn finish(
        self,
        keys: &CacheKeys,
        names: BTreeSet<IndexName>,
        counts: Counts,
        segments: impl Iterator<Item = Result<[u8; SEGMENT], CacheDamaged>>,
        chunks: impl Iterator<Item = Result<[u8; CHUNK], CacheDamaged>>,
        hooks: impl Iterator<Item = Result<[u8; HOOK], CacheDamaged>>,
    ) -> Result<Layer, BuildError> {
        let id = layer_id(keys, &names);
        let (file, frames) = self.frames.finish()?;
        let mut packs = file.begin(Tag::Packs);
        for entry in self.packs.into_entries() {
            packs.push(&entry.encode())?;
        }
        let (file, packs) = packs.finish()?;
        let mut fences = FenceWriter::new(self.nest.create(nest::FENCES)?, &self.key);
        // Each table is dropped once written: fences of large layers are not held twice.
        let (file, segments) = table::write(file, Tag::Segments, counts.segments, segments)?;
        segments.fences().write(&mut fences)?;
        let segments = *segments.region();
        let (file, chunks) = table::write(file, Tag::Chunks, counts.chunks, chunks)?;
        chunks.fences().write(&mut fences)?;
        let chunks = *chunks.region();
        let (file, hooks) = table::write(file, Tag::Hooks, counts.hooks, distinct(hooks))?;
        hooks.fences().write(&mut fences)?;
        let hooks = *hooks.region();
        let mut fences = fences.finish()?;
        fences.rewind()?;
        let layer = Layer {
            id,
            names,
            blocks: file.finish(id)?,
            frames,
            packs,
            segments,
            chunks,
            hooks,
            fences,
            key: self.key,
        };
        if self.nest.is_directory() {
            let text = encode_names(&layer, &self.nonce, keys);
            self.nest.create(nest::NAMES)?.write_all(&text)?;
            self.nest.publish(&Layer::directory_name(id));
        }
        Ok(layer)
    }
}

/// One layer with the records of `layers`, whose sets are disjoint.
pub fn merge(layers: &[Layer], nest: Nest, keys: &CacheKeys) -> Result<Layer, BuildError> {
    let mut builder = LayerBuilder::new(nest, keys)?;
    let mut numbers = Vec::new();
    for layer in layers {
        let add = |entry: Result<PackEntry, CacheDamaged>| {
            let entry = entry?;
            let frames = layer.blocks.scan(&layer.frames, entry.frames());
            builder.add_pack(entry.face, frames)
        };
        let of_layer: Vec<u32> = layer.scan_packs().map(add).collect::<Result<_, _>>()?;
        numbers.push(of_layer);
    }
    let names = layers.iter().flat_map(|layer| &layer.names).copied();
    let counts = Counts {
        segments: layers.iter().map(|layer| layer.segments.count()).sum(),
        chunks: layers.iter().map(|layer| layer.chunks.count()).sum(),
        hooks: layers.iter().map(|layer| layer.hooks.count()).sum(),
    };
    let runs = || layers.iter().zip(&numbers);
    let segments =
        runs().map(|(layer, numbers)| renumbered(&layer.blocks, &layer.segments, numbers));
    let chunks = runs().map(|(layer, numbers)| renumbered(&layer.blocks, &layer.chunks, numbers));
    let hooks = layers.iter().map(|layer| layer.blocks.scan_all(&layer.hooks));
    let (segments, chunks) = (Merge::new(segments), Merge::new(chunks));
    builder.finish(keys, names.collect(), counts, segments, chunks, Merge::new(hooks))
}

/// The records of a region, with packs under the numbers that `numbers` gives them.
pub fn renumbered<const W: usize>(
    blocks: &Blocks,
    region: &Region<W>,
    numbers: &[u32],
) -> impl Iterator<Item = Result<[u8; W], CacheDamaged>> {
    blocks.scan_all(region).map(|record| {
        let record = record?;
        let (pack, _) = tail(&record);
        let number = numbers.get(pack as usize);
        let number = number.ok_or_else(|| blocks.damaged("the pack of a record"))?;
        Ok(with_pack(record, *number))
    })
}

fn layer_id(keys: &CacheKeys, names: &BTreeSet<IndexName>) -> LayerId {
    let mut hasher = blake3::Hasher::new_keyed(keys.names.expose());
    for name in names {
        hasher.update(name.owner.as_bytes());
        hasher.update(name.hash.as_bytes());
    }
    let cut = *hasher.finalize().as_bytes();
    let cut = cut.first_chunk();
    LayerId::from_bytes(*cut.expect("a hash is longer than sixteen bytes"))
}

fn encode_names(layer: &Layer, nonce: &[u8; 16], keys: &CacheKeys) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes(&MAGIC).bytes(nonce);
    w.u64(layer.frames.count()).u64(layer.packs.count());
    w.u64(layer.segments.count()).u64(layer.chunks.count()).u64(layer.hooks.count());
    for name in &layer.names {
        w.bytes(name.owner.as_bytes()).bytes(name.hash.as_bytes());
    }
    let mut text = w.finish();
    let hash = blake3::keyed_hash(keys.names.expose(), &text);
    text.extend_from_slice(hash.as_bytes());
    text
}

type Names = ([u8; 16], [u64; 5], BTreeSet<IndexName>);

fn parse_names(body: &[u8]) -> Result<Names, FormatError> {
    let what = "names of a layer";
    let mut r = Reader::new(what, body);
    if r.array()? != MAGIC {
        return Err(FormatError::Invalid { what });
    }
    let nonce = r.array()?;
    let counts = [r.u64()?, r.u64()?, r.u64()?, r.u64()?, r.u64()?];
    let mut names = BTreeSet::new();
    while !r.rest().is_empty() {
        let owner = SnapshotId::from_bytes(r.array()?);
        let hash = IndexHash::from_bytes(r.array()?);
        names.insert(IndexName { owner, hash });
    }
    Ok((nonce, counts, names))
}
