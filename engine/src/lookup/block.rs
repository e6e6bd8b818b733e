//! The file of blocks: records of one width in regions, in blocks that each carry a checksum.
//!
//! ```text
//! block:  records ... zeros | checksum 8
//! ```
//!
//! The checksum is keyed, and covers the region and the number of the block: a block that stands
//! elsewhere, or comes from another layer or another build of the same layer, does not pass.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use repo_format::id::to_hex;
use repo_format::keys::Secret;

/// Bytes of a block. Half a page: hashing and copying more of it would be half the time of a lookup, and with less,
/// fences and filters would take more memory.
pub const BLOCK: usize = 2048;
const PAYLOAD: usize = BLOCK - 8;
/// Blocks that a scan reads at once.
const SCAN_BLOCKS: u64 = 32;

/// Names a layer: the keyed hash of the names of the index objects that it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId([u8; 16]);

impl LayerId {
    /// Takes bytes that are this id.
    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

/// The local cache of the index does not hold what was written to it. Nothing in the repository is damaged:
/// [`Lookup::discard`](super::Lookup::discard) the cache and open it again.
#[derive(Debug, thiserror::Error)]
#[error("layer {layer} of the local index cache is damaged: {what}")]
pub struct CacheDamaged {
    /// The layer.
    pub layer: LayerId,
    /// What of it.
    pub what: &'static str,
    /// The system's word, if it could not be read.
    #[source]
    pub source: Option<io::Error>,
}

/// What the records of a region are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// Frames of packs.
    Frames = 1,
    /// Packs.
    Packs = 2,
    /// Maps, nodes, disks and prints by id.
    Segments = 3,
    /// Chunks by id.
    Chunks = 4,
    /// Hooks by fingerprint.
    Hooks = 5,
}

/// Records of `W` bytes, in blocks that follow each other. Every block but the last is full.
#[derive(Debug, Clone, Copy)]
pub struct Region<const W: usize> {
    tag: Tag,
    first: u64,
    count: u64,
}

impl<const W: usize> Region<W> {
    /// Records in a full block.
    pub const PER_BLOCK: usize = PAYLOAD / W;

    /// `count` records from block `first` of the file.
    pub const fn new(tag: Tag, first: u64, count: u64) -> Self {
        Self { tag, first, count }
    }

    /// How many records.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many blocks.
    pub const fn blocks(&self) -> u64 {
        self.count.div_ceil(Self::PER_BLOCK as u64)
    }

    /// The block of the file behind the last one.
    pub const fn end(&self) -> u64 {
        self.first + self.blocks()
    }

    fn records_in(&self, block: u64) -> usize {
        let before = block.saturating_mul(Self::PER_BLOCK as u64);
        let rest = self.count.saturating_sub(before);
        rest.min(Self::PER_BLOCK as u64) as usize
    }
}

/// A file of blocks that is being written.
pub struct BlockFile {
    out: BufWriter<File>,
    key: Secret,
    blocks: u64,
}

impl BlockFile {
    /// Begins an empty file.
    pub fn new(file: File, key: Secret) -> Self {
        let out = BufWriter::with_capacity(128 * BLOCK, file);
        Self { out, key, blocks: 0 }
    }

    /// Begins a region.
    pub const fn begin<const W: usize>(self, tag: Tag) -> RegionWriter<W> {
        RegionWriter {
            region: Region::new(tag, self.blocks, 0),
            file: self,
            block: [0; BLOCK],
            filled: 0,
        }
    }

    /// Ends the file, ready to be read.
    pub fn finish(self, layer: LayerId) -> io::Result<Blocks> {
        let file = self.out.into_inner().map_err(|error| error.into_error())?;
        Ok(Blocks::new(file, self.key, layer))
    }
}

/// Writes one region of a [`BlockFile`].
pub struct RegionWriter<const W: usize> {
    file: BlockFile,
    region: Region<W>,
    block: [u8; BLOCK],
    filled: usize,
}

impl<const W: usize> RegionWriter<W> {
    /// Appends a record.
    pub fn push(&mut self, record: &[u8; W]) -> io::Result<()> {
        self.block[self.filled..self.filled + W].copy_from_slice(record);
        self.filled += W;
        self.region.count += 1;
        match self.filled + W > PAYLOAD {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// How many records so far.
    pub const fn count(&self) -> u64 {
        self.region.count
    }

    /// Ends the region.
    pub fn finish(mut self) -> io::Result<(BlockFile, Region<W>)> {
        if self.filled > 0 {
            self.flush()?;
        }
        Ok((self.file, self.region))
    }

    fn flush(&mut self) -> io::Result<()> {
        let number = self.file.blocks - self.region.first;
        let checksum = checksum(&self.file.key, self.region.tag, number, &mut self.block);
        self.block[PAYLOAD..].copy_from_slice(&checksum);
        self.file.out.write_all(&self.block)?;
        self.file.blocks += 1;
        self.block = [0; BLOCK];
        self.filled = 0;
        Ok(())
    }
}

/// A complete file of blocks.
pub struct Blocks {
    file: File,
    key: Secret,
    layer: LayerId,
}

impl Blocks {
    /// Reads blocks that were written with `key`.
    pub fn new(file: File, key: Secret, layer: LayerId) -> Self {
        // A wish for speed: where it is refused, cold lookups read a little more than they need.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random);
        Self { file, key, layer }
    }

    /// Something of this layer is not as it was written.
    pub const fn damaged(&self, what: &'static str) -> CacheDamaged {
        CacheDamaged { layer: self.layer, what, source: None }
    }

    /// Records of block `number` of `region`.
    pub fn read<'b, const W: usize>(
        &self,
        region: &Region<W>,
        number: u64,
        block: &'b mut [u8; BLOCK],
    ) -> Result<&'b [[u8; W]], CacheDamaged> {
        self.read_raw(region.first + number, block)?;
        self.verify(region.tag, number, block)?;
        Ok(block[..region.records_in(number) * W].as_chunks().0)
    }

    /// The records of `region` with these numbers, in order.
    pub fn scan<const W: usize>(&self, region: &Region<W>, records: Range<u64>) -> Scan<'_, W> {
        Scan {
            blocks: self,
            region: *region,
            pending: records.start..records.end.min(region.count),
            ready: 0..0,
            buffer: Vec::new(),
            buffered: 0,
        }
    }

    /// All records of `region` in order.
    pub fn scan_all<const W: usize>(&self, region: &Region<W>) -> Scan<'_, W> {
        self.scan(region, 0..region.count)
    }

    fn read_raw(&self, block: u64, bytes: &mut [u8]) -> Result<(), CacheDamaged> {
        let read = self.file.read_exact_at(bytes, block * BLOCK as u64);
        read.map_err(|source| CacheDamaged {
            layer: self.layer,
            what: "a block cannot be read",
            source: Some(source),
        })
    }

    fn verify(&self, tag: Tag, number: u64, block: &mut [u8; BLOCK]) -> Result<(), CacheDamaged> {
        let mut found = [0; 8];
        found.copy_from_slice(&block[PAYLOAD..]);
        match checksum(&self.key, tag, number, block) == found {
            true => Ok(()),
            false => Err(self.damaged("the checksum of a block")),
        }
    }
}

/// The checksum of `block`; leaves the place of the checksum changed.
/// Number and region stand there while it is computed: a block is two whole BLAKE3 chunks.
fn checksum(key: &Secret, tag: Tag, number: u64, block: &mut [u8; BLOCK]) -> [u8; 8] {
    let position = u64::from(tag as u8) << 56 | number;
    block[PAYLOAD..].copy_from_slice(&position.to_le_bytes());
    let hash = blake3::keyed_hash(key.expose(), block);
    let cut = hash.as_bytes().first_chunk();
    *cut.expect("a hash is longer than eight bytes")
}

/// Reads records in order with a small buffer; after an error it ends.
pub struct Scan<'a, const W: usize> {
    blocks: &'a Blocks,
    region: Region<W>,
    /// Records that were not handed out yet.
    pending: Range<u64>,
    /// Bytes of the buffer that hold the next of them, verified.
    ready: Range<usize>,
    buffer: Vec<u8>,
    /// Block of the region at the start of the buffer.
    buffered: u64,
}

impl<const W: usize> Scan<'_, W> {
    fn next_block(&mut self) -> Result<(), CacheDamaged> {
        let per_block = Region::<W>::PER_BLOCK as u64;
        let (number, skipped) = (self.pending.start / per_block, self.pending.start % per_block);
        let buffered = self.buffered..self.buffered + (self.buffer.len() / BLOCK) as u64;
        if !buffered.contains(&number) {
            let wanted = (self.pending.end.div_ceil(per_block) - number).min(SCAN_BLOCKS);
            self.buffer.resize(wanted as usize * BLOCK, 0);
            self.buffered = number;
            self.blocks.read_raw(self.region.first + number, &mut self.buffer)?;
        }
        let start = (number - self.buffered) as usize * BLOCK;
        let block = self.buffer[start..].first_chunk_mut();
        let block = block.expect("the buffer holds whole blocks");
        self.blocks.verify(self.region.tag, number, block)?;
        self.ready = start + skipped as usize * W..start + self.region.records_in(number) * W;
        Ok(())
    }
}

impl<const W: usize> Iterator for Scan<'_, W> {
    type Item = Result<[u8; W], CacheDamaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.pending.is_empty() {
            return None;
        }
        if self.ready.is_empty()
            && let Err(damaged) = self.next_block()
        {
            self.pending = 0..0;
            return Some(Err(damaged));
        }
        let record = self.buffer[self.ready.clone()].first_chunk();
        let record = *record.expect("ready bytes are whole records");
        self.ready.start += W;
        self.pending.start += 1;
        Some(Ok(record))
    }
}
