//! The block allocation table: where each block lies.

use super::SECTOR_LEN;
use crate::disk::be32;

/// The entry of a block that is not here.
pub const UNUSED: u32 = u32::MAX;

/// A parsed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bat {
    sectors: Vec<u32>,
    /// Bytes of a block with its bitmap.
    stride: u64,
    bitmap_len: usize,
    block_len: u64,
}

impl Bat {
    /// Parses the entries of blocks of `block_len` bytes.
    pub fn parse(bytes: &[u8], block_len: u32) -> Self {
        let sectors = (0..bytes.len() / 4).map(|place| be32(bytes, place * 4)).collect();
        let bits = block_len as usize / SECTOR_LEN;
        let bitmap_len = bits.div_ceil(8).next_multiple_of(SECTOR_LEN);
        let block_len = u64::from(block_len);
        Self { sectors, stride: bitmap_len as u64 + block_len, bitmap_len, block_len }
    }

    /// Bytes of a block.
    pub const fn block_len(&self) -> u64 {
        self.block_len
    }

    /// Bytes of a bitmap, filled up to whole sectors.
    pub const fn bitmap_len(&self) -> usize {
        self.bitmap_len
    }

    /// Where the bitmap of a block lies; `None` if the block is not here.
    pub fn offset(&self, block: u64) -> Option<u64> {
        let sector = *self.sectors.get(usize::try_from(block).ok()?)?;
        (sector != UNUSED).then(|| u64::from(sector) * SECTOR_LEN as u64)
    }

    /// The first block from `block` on that is here.
    pub fn next_present(&self, block: u64) -> Option<u64> {
        let start = usize::try_from(block).ok()?;
        let found = self.sectors.get(start..)?.iter().position(|sector| *sector != UNUSED)?;
        Some((start + found) as u64)
    }

    /// Whether blocks lie in the order of the disk.
    pub fn is_rising(&self) -> bool {
        self.sectors.iter().filter(|sector| **sector != UNUSED).is_sorted()
    }

    /// Checks that blocks overlap neither each other nor `taken` (offset and end), and end at
    /// `end`, if it is known. What is wrong otherwise.
    pub fn check(&self, taken: &[(u64, u64)], end: Option<u64>) -> Result<(), String> {
        let blocks = (0..self.sectors.len() as u64).filter_map(|block| self.offset(block));
        let mut regions: Vec<(u64, u64)> = blocks.map(|at| (at, at + self.stride)).collect();
        if let (Some(end), Some(last)) = (end, regions.iter().map(|region| region.1).max())
            && last > end
        {
            return Err(format!("a block ends at byte {last}, the blocks at byte {end}"));
        }
        regions.extend_from_slice(taken);
        regions.sort_unstable();
        match regions.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            Some(pair) => Err(format!("what lies at byte {} overlaps what is before", pair[1].0)),
            None => Ok(()),
        }
    }
}
