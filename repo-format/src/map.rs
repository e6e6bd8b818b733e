//! A map: how to rebuild one segment, complete in itself (SPEC 7.1).

use crate::error::FormatError;
use crate::id::ChunkId;
use crate::limits::{CHUNK_MAX, MAP_CHUNKS_MAX, MAP_EXTENTS_MAX, SEGMENT_LEN};
use crate::wire::{Reader, Writer};

const ZEROS: u8 = 255;

/// A chunk that a map uses, and its length in bytes (1 to 1 MiB).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    /// Which.
    pub id: ChunkId,
    /// How long the whole chunk is.
    pub len: u32,
}

/// What fills a range of the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Zeros.
    Zeros,
    /// Bytes of a chunk.
    Chunk {
        /// Place in the map's chunk table.
        index: u8,
        /// Where in the chunk the bytes begin.
        offset: u32,
    },
}

/// One range of the segment; ranges follow each other without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes.
    pub len: u32,
    /// What fills it.
    pub fill: Fill,
}

/// The map of one segment. Checked: extents fill exactly a segment and stay within their chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    chunks: Vec<ChunkRef>,
    extents: Vec<Extent>,
}

impl Map {
    /// Checks chunk table and extents.
    pub fn new(chunks: Vec<ChunkRef>, extents: Vec<Extent>) -> Result<Self, FormatError> {
        limit("chunks of a map", chunks.len(), MAP_CHUNKS_MAX)?;
        limit("extents of a map", extents.len(), MAP_EXTENTS_MAX)?;
        let sound = |chunk: &ChunkRef| (1..=CHUNK_MAX as u32).contains(&chunk.len);
        let within = |extent: &Extent| match extent.fill {
            Fill::Zeros => true,
            Fill::Chunk { index, offset } => chunks.get(usize::from(index)).is_some_and(|chunk| {
                offset.checked_add(extent.len).is_some_and(|end| end <= chunk.len)
            }),
        };
        let total: u64 = extents.iter().map(|extent| u64::from(extent.len)).sum();
        let fills = total == SEGMENT_LEN as u64 && extents.iter().all(|extent| extent.len > 0);
        match fills && !chunks.is_empty() && chunks.iter().all(sound) && extents.iter().all(within)
        {
            true => Ok(Self { chunks, extents }),
            false => Err(FormatError::Invalid { what: "map" }),
        }
    }

    /// The chunks that it uses.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkRef] {
        &self.chunks
    }

    /// The ranges of the segment, in order.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(8 + 20 * self.chunks.len() + 8 * self.extents.len());
        w.u16(self.chunks.len() as u16).u16(self.extents.len() as u16).u32(0);
        for chunk in &self.chunks {
            w.bytes(chunk.id.as_bytes()).u24(chunk.len).u8(0);
        }
        for extent in &self.extents {
            let (source, offset) = match extent.fill {
                Fill::Zeros => (ZEROS, 0),
                Fill::Chunk { index, offset } => (index, offset),
            };
            w.u24(extent.len).u8(source).u24(offset).u8(0);
        }
        w.finish()
    }

    /// Reads a map.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("map", bytes);
        let (chunk_count, extent_count) = (usize::from(r.u16()?), usize::from(r.u16()?));
        limit("chunks of a map", chunk_count, MAP_CHUNKS_MAX)?;
        limit("extents of a map", extent_count, MAP_EXTENTS_MAX)?;
        r.zeros(4)?;
        let mut chunks = Vec::with_capacity(chunk_count);
        for _ in 0..chunk_count {
            let (id, len) = (ChunkId::from_bytes(r.array()?), r.u24()?);
            r.zeros(1)?;
            chunks.push(ChunkRef { id, len });
        }
        let mut extents = Vec::with_capacity(extent_count);
        for _ in 0..extent_count {
            extents.push(parse_extent(&mut r)?);
        }
        r.end()?;
        Self::new(chunks, extents)
    }
}

fn parse_extent(r: &mut Reader<'_>) -> Result<Extent, FormatError> {
    let (len, source, offset) = (r.u24()?, r.u8()?, r.u24()?);
    r.zeros(1)?;
    let fill = match (source, offset) {
        (ZEROS, 0) => Fill::Zeros,
        (ZEROS, _) => {
            return Err(FormatError::Invalid { what: "extent of zeros" });
        }
        (index, offset) => Fill::Chunk { index, offset },
    };
    Ok(Extent { len, fill })
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), FormatError> {
    match found <= limit {
        true => Ok(()),
        false => Err(FormatError::Limit { what, claimed: found as u64, limit: limit as u64 }),
    }
}
