//! Fences and filters: which block could hold a key, from memory alone.
//!
//! A fence is the first eight bytes of the first key of a block. A filter is a Bloom filter over the keys of one
//! block. Both are read whole when a layer is opened, verified once, and kept in memory (about 1.2 bytes a record):
//! a file that changes behind our back can then neither change an answer nor end the process, as a mapped one could.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;

use repo_format::keys::Secret;

use super::block::Region;
use super::record::{key_bits, key_of, key_start};

/// Bits of the filter for each record, and how many of them a key sets: 1.3 % of misses pass.
const BITS_PER_RECORD: usize = 9;
const BITS_PER_KEY: usize = 6;
/// Fences around the guess that are looked at first; doubled until the key lies between.
const GALLOP: usize = 16;
const PIECE: usize = 64 << 10;

/// Fences and filters of the records of one region.
#[derive(Default)]
pub struct Fences<const W: usize> {
    starts: Vec<u64>,
    filters: Vec<u64>,
    count: u64,
}

impl<const W: usize> Fences<W> {
    /// Words of one block's filter.
    const WORDS: usize = (Region::<W>::PER_BLOCK * BITS_PER_RECORD).div_ceil(64);

    /// No fences yet, with room for those of `count` records.
    pub fn with_capacity(count: u64) -> Self {
        let blocks = Self::blocks(count);
        Self {
            starts: Vec::with_capacity(blocks),
            filters: Vec::with_capacity(blocks * Self::WORDS),
            count: 0,
        }
    }

    /// Adds the next record of the region.
    pub fn push(&mut self, record: &[u8; W]) {
        let key = key_of(record);
        if self.count.is_multiple_of(Region::<W>::PER_BLOCK as u64) {
            self.starts.push(key_start(key));
            self.filters.resize(self.filters.len() + Self::WORDS, 0);
        }
        self.count += 1;
        let last = self.filters.len() - Self::WORDS;
        for (word, bit) in Self::positions(key) {
            self.filters[last + word] |= bit;
        }
    }

    /// Blocks that may hold `key`: nearly always none or one.
    pub fn candidates(&self, key: &[u8]) -> impl Iterator<Item = u64> {
        let blocks = self.blocks_around(key_start(key));
        let passes = |block: &usize| {
            let filter = &self.filters[block * Self::WORDS..][..Self::WORDS];
            Self::positions(key).all(|(word, bit)| filter[word] & bit != 0)
        };
        blocks.filter(passes).map(|block| block as u64)
    }

    /// Bytes of the file for the fences of `count` records.
    pub fn file_len(count: u64) -> u64 {
        count.div_ceil(Region::<W>::PER_BLOCK as u64) * (1 + Self::WORDS as u64) * 8
    }

    /// Appends them to a file.
    pub fn write(&self, out: &mut FenceWriter) -> io::Result<()> {
        out.words(&self.starts)?;
        out.words(&self.filters)
    }

    /// Reads the fences of `count` records; only right when [`FenceReader::finish`] says so.
    pub fn read(count: u64, from: &mut FenceReader) -> io::Result<Self> {
        let blocks = Self::blocks(count);
        Ok(Self { starts: from.words(blocks)?, filters: from.words(blocks * Self::WORDS)?, count })
    }

    fn blocks(count: u64) -> usize {
        count.div_ceil(Region::<W>::PER_BLOCK as u64) as usize
    }

    /// Where `key` stands in a filter: the first digits of its bits, read as a fraction to the base of the filter's
    /// length. Independent of each other, and of the bytes that chose the block.
    fn positions(key: &[u8]) -> impl Iterator<Item = (usize, u64)> {
        let mut rest = key_bits(key);
        (0..BITS_PER_KEY).map(move |_| {
            let wide = u128::from(rest) * (Self::WORDS * 64) as u128;
            rest = wide as u64;
            let position = (wide >> 64) as usize;
            (position / 64, 1 << (position % 64))
        })
    }

    /// Blocks in which a key that begins with `start` can lie: from the last one that begins below it,
    /// to the last one that does not begin above it.
    fn blocks_around(&self, start: u64) -> Range<usize> {
        let below = self.count_below(start);
        let same = self.starts[below..].iter();
        let same = same.take_while(|found| **found == start).count();
        below.saturating_sub(1)..below + same
    }

    /// How many blocks begin below `start`. Keys are spread evenly, so the guess is near; where they are not, this is
    /// still a binary search.
    fn count_below(&self, start: u64) -> usize {
        let len = self.starts.len();
        let guess = ((u128::from(start) * len as u128) >> 64) as usize;
        let (mut low, mut high) = (guess.saturating_sub(GALLOP), (guess + GALLOP).min(len));
        let mut step = GALLOP;
        while low > 0 && self.starts[low - 1] >= start {
            step *= 2;
            high = low;
            low = low.saturating_sub(step);
        }
        while high < len && self.starts[high] < start {
            step *= 2;
            low = high;
            high = (high + step).min(len);
        }
        low + self.starts[low..high].partition_point(|found| *found < start)
    }
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

    fn words(&mut self, words: &[u64]) -> io::Result<()> {
        let mut piece = Vec::with_capacity(PIECE);
        for words in words.chunks(PIECE / 8) {
            piece.clear();
            piece.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            self.hasher.update(&piece);
            self.out.write_all(&piece)?;
        }
        Ok(())
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

    fn words(&mut self, count: usize) -> io::Result<Vec<u64>> {
        let mut words = Vec::with_capacity(count);
        let mut piece = vec![0; PIECE];
        while words.len() < count {
            let piece = &mut piece[..PIECE.min((count - words.len()) * 8)];
            self.file.read_exact(piece)?;
            self.hasher.update(piece);
            let parts = piece.as_chunks().0.iter();
            words.extend(parts.map(|bytes| u64::from_le_bytes(*bytes)));
        }
        Ok(words)
    }
}
