//! Fences and filters: which block could hold a key, from memory alone.
//!
//! A fence is the first eight bytes of the first key of a block. A filter is a Bloom filter over the keys of one
//! block; hooks have none ([`has_filter`]). Both are read whole when a layer is opened, verified once, and kept in
//! memory (1.4 bytes a record; 0.2 bytes a hook): a file that changes behind our back can then neither change an answer
//! nor end the process, as a mapped one could. The memory asks for large pages, which an allocator would not: a lookup
//! touches three places far from each other.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;

use memmap2::{Advice, MmapMut};
use repo_format::keys::Secret;

use super::block::Region;
use super::record::{has_filter, key_bits, key_of, key_start};

/// Bits of the filter for each record, at least, and how many of them a key sets, all in half a line of the
/// processor's cache: 1 % of misses pass.
const BITS_PER_RECORD: usize = 9;
const BITS_PER_KEY: usize = 6;
const LINE_BITS: usize = 256;
/// Fences around the guess that are looked at first; doubled until the key lies between.
const GALLOP: usize = 2;
/// Bytes that are read and hashed at once: few enough to stay near the processor.
const PIECE: usize = 256 << 10;

/// Fences and filters of the records of one region.
pub struct Fences<const W: usize> {
    /// A little-endian word for each block.
    starts: MmapMut,
    /// Lines of each block.
    filters: MmapMut,
    /// Records so far.
    count: u64,
}

impl<const W: usize> Fences<W> {
    /// Lines of one block's filter, its bytes, and bits of it that a key sets. Zero: every key passes.
    const LINES: usize = match has_filter(W) {
        true => (Region::<W>::PER_BLOCK * BITS_PER_RECORD).div_ceil(LINE_BITS),
        false => 0,
    };
    const FILTER: usize = Self::LINES * LINE_BITS / 8;
    const KEY_BITS: usize = if Self::LINES > 0 { BITS_PER_KEY } else { 0 };

    /// No fences yet, with room for those of `capacity` records.
    pub fn with_capacity(capacity: u64) -> io::Result<Self> {
        let blocks = Self::blocks(capacity);
        Ok(Self {
            starts: allocate(blocks * 8)?,
            filters: allocate(blocks * Self::FILTER)?,
            count: 0,
        })
    }

    /// Adds the next record of the region, within the capacity.
    pub fn push(&mut self, record: &[u8; W]) {
        let key = key_of(record);
        let block = (self.count / Region::<W>::PER_BLOCK as u64) as usize;
        if self.count.is_multiple_of(Region::<W>::PER_BLOCK as u64) {
            self.starts[block * 8..][..8].copy_from_slice(&key_start(key).to_le_bytes());
        }
        self.count += 1;
        for (byte, bit) in Self::positions(key) {
            self.filters[block * Self::FILTER + byte] |= bit;
        }
    }

    /// Blocks in which a key that begins with `start` can lie: from the last one that begins below it,
    /// to the last one that does not begin above it.
    pub fn blocks_around(&self, start: u64) -> Range<u64> {
        let below = self.count_below(start);
        let same = &self.starts()[below..];
        let is_start = |found: &[u8; 8]| u64::from_le_bytes(*found) == start;
        let same = match same.first().is_some_and(is_start) {
            true => same.partition_point(is_start),
            false => 0,
        };
        below.saturating_sub(1) as u64..(below + same) as u64
    }

    /// Whether `block` may hold `key`, as its filter says.
    pub fn passes(&self, block: u64, key: &[u8]) -> bool {
        let filter = &self.filters[block as usize * Self::FILTER..][..Self::FILTER];
        Self::positions(key).all(|(byte, bit)| filter[byte] & bit != 0)
    }

    /// Bytes of the file for the fences of `count` records.
    pub fn file_len(count: u64) -> u64 {
        count.div_ceil(Region::<W>::PER_BLOCK as u64) * (8 + Self::FILTER as u64)
    }

    /// Appends them to a file.
    pub fn write(&self, out: &mut FenceWriter) -> io::Result<()> {
        let blocks = Self::blocks(self.count);
        out.bytes(&self.starts[..blocks * 8])?;
        out.bytes(&self.filters[..blocks * Self::FILTER])
    }

    /// Reads the fences of `count` records; only right when [`FenceReader::finish`] says so.
    pub fn read(count: u64, from: &mut FenceReader) -> io::Result<Self> {
        let (blocks, mut fences) = (Self::blocks(count), Self::with_capacity(count)?);
        from.bytes(&mut fences.starts[..blocks * 8])?;
        from.bytes(&mut fences.filters[..blocks * Self::FILTER])?;
        fences.count = count;
        Ok(fences)
    }

    fn blocks(count: u64) -> usize {
        count.div_ceil(Region::<W>::PER_BLOCK as u64) as usize
    }

    fn starts(&self) -> &[[u8; 8]] {
        self.starts[..Self::blocks(self.count) * 8].as_chunks().0
    }

    /// Where `key` stands in a filter: its bits, read as a fraction, give a line and then places in it digit by digit.
    /// So they are independent of each other, and of the bytes that chose the block.
    fn positions(key: &[u8]) -> impl Iterator<Item = (usize, u8)> {
        let (line, mut rest) = match Self::LINES {
            0 => (0, 0),
            lines => digit(key_bits(key), lines),
        };
        (0..Self::KEY_BITS).map(move |_| {
            let position;
            (position, rest) = digit(rest, LINE_BITS);
            ((line * LINE_BITS + position) / 8, 1 << (position % 8))
        })
    }

    /// How many blocks begin below `start`. Keys are spread evenly, so two guesses are near; where they are not, this
    /// is still a binary search.
    fn count_below(&self, start: u64) -> usize {
        let starts = self.starts();
        let len = starts.len();
        let start_of = |block: usize| u64::from_le_bytes(starts[block]);
        let blocks_in = |distance: u64| digit(distance, len).0;
        let far = blocks_in(start);
        let near = match far < len {
            true if start_of(far) < start => far + blocks_in(start - start_of(far)),
            true => far.saturating_sub(blocks_in(start_of(far) - start)),
            false => far,
        };
        let (mut low, mut high) = (near.saturating_sub(GALLOP).min(len), (near + GALLOP).min(len));
        let mut step = GALLOP;
        while low > 0 && start_of(low - 1) >= start {
            step *= 2;
            high = low;
            low = low.saturating_sub(step);
        }
        while high < len && start_of(high) < start {
            step *= 2;
            low = high;
            high = (high + step).min(len);
        }
        low + starts[low..high].partition_point(|found| u64::from_le_bytes(*found) < start)
    }
}

fn allocate(len: usize) -> io::Result<MmapMut> {
    let memory = MmapMut::map_anon(len.max(1))?;
    // A wish for speed: small pages hold the same bytes.
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

/// The first digit of the fraction `bits` / 2^64 to the base `base`, and the rest as a fraction again.
fn digit(bits: u64, base: usize) -> (usize, u64) {
    let wide = u128::from(bits) * base as u128;
    ((wide >> 64) as usize, wide as u64)
}

/// Writes a file of fences, which ends with its keyed hash.
pub struct FenceWriter {
    out: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl FenceWriter {
    /// Begins a file.
    pub fn new(file: File, key: &Secret) -> Self {
        Self { out: BufWriter::new(file), hasher: blake3::Hasher::new_keyed(key.expose()) }
    }

    /// Ends it.
    pub fn finish(mut self) -> io::Result<File> {
        self.out.write_all(self.hasher.finalize().as_bytes())?;
        self.out.into_inner().map_err(|error| error.into_error())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Reads a file of fences.
pub struct FenceReader {
    file: File,
    hasher: blake3::Hasher,
}

impl FenceReader {
    /// Reads `file` from where it stands.
    pub fn new(file: File, key: &Secret) -> Self {
        Self { file, hasher: blake3::Hasher::new_keyed(key.expose()) }
    }

    /// Whether everything that was read is what was written.
    pub fn finish(mut self) -> io::Result<()> {
        let mut found = [0; 32];
        self.file.read_exact(&mut found)?;
        match self.hasher.finalize() == blake3::Hash::from_bytes(found) {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn bytes(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        for piece in bytes.chunks_mut(PIECE) {
            self.file.read_exact(piece)?;
            self.hasher.update(piece);
        }
        Ok(())
    }
}
