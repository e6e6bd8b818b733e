//! A sorted region with its fences: finds all records of a key with at most one read, nearly always.

use std::io;
use std::ops::{ControlFlow, Range};

use super::block::{BLOCK, BlockFile, Blocks, CacheDamaged, Region, Tag};
use super::fence::{FenceReader, Fences};
use super::record::{key_of, key_start};

/// Records of `W` bytes, sorted by key.
pub struct Table<const W: usize> {
    region: Region<W>,
    fences: Fences<W>,
}

impl<const W: usize> Table<W> {
    /// Reads the fences of a region that was written sorted; only right when [`FenceReader::finish`] says so.
    pub fn read(region: Region<W>, from: &mut FenceReader) -> io::Result<Self> {
        Ok(Self { region, fences: Fences::read(region.count(), from)? })
    }

    /// Where its records stand.
    pub const fn region(&self) -> &Region<W> {
        &self.region
    }

    /// Its fences.
    pub const fn fences(&self) -> &Fences<W> {
        &self.fences
    }

    /// Shows the records of `key`, until told to stop.
    pub fn find<B>(
        &self,
        blocks: &Blocks,
        key: &[u8],
        mut visit: impl FnMut(&[u8; W]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, CacheDamaged> {
        let start = key_start(key);
        let around = self.narrowed(blocks, key)?;
        for number in around.filter(|number| self.fences.passes(*number, key)) {
            let mut block = [0; BLOCK];
            let records = blocks.read(&self.region, number, &mut block)?;
            let start_of = |record: &[u8; W]| key_start(key_of(record));
            let first = records.partition_point(|record| start_of(record) < start);
            let near = records[first..].iter();
            let near = near.take_while(|record| start_of(record) == start);
            for record in near.filter(|record| key_of(record) == key) {
                if let ControlFlow::Break(found) = visit(record) {
                    return Ok(ControlFlow::Break(found));
                }
            }
            if records.last().is_some_and(|record| key_of(record) > key) {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Blocks from the first that can hold `key`, or the one before. Fences nearly always leave one or two; where
    /// many blocks begin alike, which can be somebody's wish, this is a binary search in the file.
    fn narrowed(&self, blocks: &Blocks, key: &[u8]) -> Result<Range<u64>, CacheDamaged> {
        let around = self.fences.blocks_around(key_start(key));
        let (mut low, mut high) = (around.start, around.end);
        while high - low > 2 {
            let middle = low.midpoint(high);
            let mut block = [0; BLOCK];
            let records = blocks.read(&self.region, middle, &mut block)?;
            match records.first().is_some_and(|record| key_of(record) < key) {
                true => low = middle,
                false => high = middle,
            }
        }
        Ok(low..around.end)
    }
}

/// Why a layer could not be built: one of its sources, or the place where it was to go.
#[derive(Debug)]
pub enum BuildError {
    /// A layer that it was to be merged from.
    Damaged(CacheDamaged),
    /// Writing failed.
    Write(io::Error),
}

impl From<CacheDamaged> for BuildError {
    fn from(damaged: CacheDamaged) -> Self {
        Self::Damaged(damaged)
    }
}

impl From<io::Error> for BuildError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Appends a table of `records`, which are sorted and at most `count`, to a file of blocks.
pub fn write<const W: usize>(
    file: BlockFile,
    tag: Tag,
    count: u64,
    records: impl Iterator<Item = Result<[u8; W], CacheDamaged>>,
) -> Result<(BlockFile, Table<W>), BuildError> {
    let mut fences = Fences::with_capacity(count)?;
    let mut region = file.begin(tag);
    for record in records {
        let record = record?;
        fences.push(&record);
        region.push(&record)?;
    }
    let (file, region) = region.finish()?;
    Ok((file, Table { region, fences }))
}
