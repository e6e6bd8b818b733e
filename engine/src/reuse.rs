//! Reuse: which blocks of a new segment lie in the repository already, and the map that points there.
//!
//! Decisions only, no storage. Nothing here is believed later: a restored segment is compared with its id.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use repo_format::id::{ChunkId, Fingerprint};
use repo_format::limits::{BLOCK_LEN, CHUNK_MIN, MAP_CHUNKS_MAX, MAP_EXTENTS_MAX};
use repo_format::map::{ChunkRef, Extent, Fill, Map};
use repo_format::print::Print;

/// Of the blocks that are not zero, the share that may be found nowhere, in 1/32; with more, pointing at the rest opens
/// old frames for next to nothing. Half, 7/8 and 31/32 store 1.075, 1.019 and 1.017 of the truth in nights 1 to 4 of three VMs, and
/// the last two 1.051 and 1.046 in nights 31 to 60 of the simulated ones; frames opened in a restore are the same.
const NEW_SHARE_MAX: usize = 31;

/// What a block of a new segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Zeros.
    Zeros,
    /// A block of a stored segment: number of the segment among the candidates, and of the block.
    Stored(u16, u16),
    /// Found nowhere: its number among such blocks of this segment. Equal blocks have one number.
    New(u16),
}

/// Fingerprints are keyed hashes: their first bytes are as good as another hash.
#[derive(Default)]
pub struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(start) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*start);
        }
    }
}

/// A map keyed by fingerprints.
pub type ByFingerprint<T> = HashMap<Fingerprint, T, BuildHasherDefault<FingerprintHasher>>;

/// Whether each block is what `before` has at the same place; always false without it.
pub fn kept<'p>(print: &'p Print, before: Option<&'p Print>) -> impl Iterator<Item = bool> + 'p {
    print.fingerprints().iter().enumerate().map(move |(block, fingerprint)| {
        before.is_some_and(|before| before.fingerprints()[block] == *fingerprint)
    })
}

/// Finds every block of `print`. `candidates` are prints of stored segments, the most promising first;
/// `has_before` says that the first of them is what stood at this place before.
#[must_use]
pub fn origins(print: &Print, candidates: &[&Print], has_before: bool) -> Vec<Origin> {
    let mut places: ByFingerprint<(u16, u16)> = ByFingerprint::default();
    for (candidate, other) in (0..).zip(candidates) {
        for (block, fingerprint) in (0..).zip(other.fingerprints()) {
            places.entry(*fingerprint).or_insert((candidate, block));
        }
    }
    let holds = |(candidate, block): (u16, u16), fingerprint: &Fingerprint| {
        let found = candidates[usize::from(candidate)].fingerprints().get(usize::from(block));
        found == Some(fingerprint)
    };
    let before = has_before.then(|| candidates[0]);
    let mut new: ByFingerprint<u16> = ByFingerprint::default();
    let mut origins = Vec::with_capacity(print.fingerprints().len());
    // Where the next block is if it goes on as the last one did.
    let mut next = None;
    for ((block, fingerprint), kept) in (0..).zip(print.fingerprints()).zip(kept(print, before)) {
        let going_on = next.filter(|place| holds(*place, fingerprint));
        let stored = match kept {
            true => Some((0, block)),
            false if *fingerprint == Fingerprint::ZERO => None,
            false => going_on.or_else(|| places.get(fingerprint).copied()),
        };
        next = stored.map(|(candidate, block)| (candidate, block + 1));
        origins.push(match stored {
            Some((candidate, block)) => Origin::Stored(candidate, block),
            None if *fingerprint == Fingerprint::ZERO => Origin::Zeros,
            None => {
                let number = new.len() as u16;
                Origin::New(*new.entry(*fingerprint).or_insert(number))
            }
        });
    }
    origins
}

/// A range of the segment and where its bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Zeros,
    /// Of a stored chunk, from this byte on.
    Stored(ChunkRef, u32),
    /// Of the new bytes, from this one on.
    New(u32),
}

/// How to build a segment from what is stored and what is new.
#[derive(Debug)]
pub struct Plan {
    pieces: Vec<(u32, Piece)>,
    /// Blocks whose bytes are new, in the order in which they are put together.
    pub new_blocks: Vec<u16>,
    /// Chunks that it points at.
    pub stored_chunks: Vec<ChunkRef>,
}

impl Plan {
    /// Follows `origins`; `maps` are those of the candidates.
    #[must_use]
    pub fn new(origins: &[Origin], maps: &[&Map]) -> Self {
        let starts: Vec<Vec<u32>> = maps.iter().map(|map| starts(map)).collect();
        let mut plan =
            Self { pieces: Vec::new(), new_blocks: Vec::new(), stored_chunks: Vec::new() };
        for (block, origin) in (0..).zip(origins) {
            match *origin {
                Origin::Zeros => plan.push(BLOCK_LEN as u32, Piece::Zeros),
                Origin::New(number) => {
                    if usize::from(number) == plan.new_blocks.len() {
                        plan.new_blocks.push(block);
                    }
                    let start = u32::from(number) * BLOCK_LEN as u32;
                    plan.push(BLOCK_LEN as u32, Piece::New(start));
                }
                Origin::Stored(candidate, block) => {
                    let candidate = usize::from(candidate);
                    let start = u32::from(block) * BLOCK_LEN as u32;
                    let range = start..start + BLOCK_LEN as u32;
                    plan.push_stored(maps[candidate], &starts[candidate], range);
                }
            }
        }
        let mut stored_chunks: Vec<ChunkRef> = plan
            .pieces
            .iter()
            .filter_map(|(_, piece)| match piece {
                Piece::Stored(chunk, _) => Some(*chunk),
                Piece::Zeros | Piece::New(_) => None,
            })
            .collect();
        stored_chunks.sort_unstable_by_key(|chunk| (chunk.id, chunk.len));
        stored_chunks.dedup();
        plan.stored_chunks = stored_chunks;
        plan
    }

    /// Appends what `map` has in `range`.
    fn push_stored(&mut self, map: &Map, starts: &[u32], range: Range<u32>) {
        let mut at = range.start;
        let first = starts.partition_point(|start| *start <= at) - 1;
        for (extent, start) in map.extents()[first..].iter().zip(&starts[first..]) {
            if at == range.end {
                break;
            }
            let skipped = at - start;
            let len = (extent.len - skipped).min(range.end - at);
            let piece = match extent.fill {
                Fill::Zeros => Piece::Zeros,
                Fill::Chunk { index, offset } => {
                    Piece::Stored(map.chunks()[usize::from(index)], offset + skipped)
                }
            };
            self.push(len, piece);
            at += len;
        }
    }

    /// Appends a piece, or lengthens the last one if this goes on where that ends.
    fn push(&mut self, len: u32, piece: Piece) {
        if let Some((last_len, last)) = self.pieces.last_mut() {
            let goes_on = match (*last, piece) {
                (Piece::Zeros, Piece::Zeros) => true,
                (Piece::Stored(a, from), Piece::Stored(b, to)) => a == b && from + *last_len == to,
                (Piece::New(from), Piece::New(to)) => from + *last_len == to,
                _ => false,
            };
            if goes_on {
                *last_len += len;
                return;
            }
        }
        self.pieces.push((len, piece));
    }

    /// Whether the segment should be cut afresh instead, given how many of its blocks are not zero (SPEC 6).
    #[must_use]
    pub fn is_too_scattered(&self, blocks: usize) -> bool {
        // Cutting the new bytes makes at most this many chunks, and splits a piece at each of their ends.
        let cuts = (self.new_blocks.len() * BLOCK_LEN).div_ceil(CHUNK_MIN);
        self.new_blocks.len() * 32 > blocks * NEW_SHARE_MAX
            || self.stored_chunks.len() + cuts > MAP_CHUNKS_MAX
            || self.pieces.len() + cuts > MAP_EXTENTS_MAX
    }

    /// The map, when the new bytes have been cut into `new_chunks`. `None`: a block that is cut in two repeats so often
    /// that the extents are too many after all, or the candidates' maps cannot be right.
    #[must_use]
    pub fn map(&self, new_chunks: &[ChunkRef]) -> Option<Map> {
        let mut table = ChunkTable::default();
        let mut extents = Vec::with_capacity(self.pieces.len() + new_chunks.len());
        let ends: Vec<u32> = new_chunks
            .iter()
            .scan(0, |end, chunk| {
                *end += chunk.len;
                Some(*end)
            })
            .collect();
        for (len, piece) in &self.pieces {
            match *piece {
                Piece::Zeros => extents.push(Extent { len: *len, fill: Fill::Zeros }),
                Piece::Stored(chunk, offset) => {
                    let fill = Fill::Chunk { index: table.index(chunk)?, offset };
                    extents.push(Extent { len: *len, fill });
                }
                Piece::New(start) => {
                    let mut at = start;
                    while at < start + len {
                        let number = ends.partition_point(|end| *end <= at);
                        let (chunk, end) = (*new_chunks.get(number)?, ends[number]);
                        let part = end.min(start + len) - at;
                        let offset = at - (end - chunk.len);
                        let fill = Fill::Chunk { index: table.index(chunk)?, offset };
                        extents.push(Extent { len: part, fill });
                        at += part;
                    }
                }
            }
        }
        Map::new(table.chunks, extents).ok()
    }
}

/// The chunks of a map in the order in which they are used.
#[derive(Default)]
struct ChunkTable {
    chunks: Vec<ChunkRef>,
    places: HashMap<(ChunkId, u32), u8>,
}

impl ChunkTable {
    fn index(&mut self, chunk: ChunkRef) -> Option<u8> {
        if let Some(place) = self.places.get(&(chunk.id, chunk.len)) {
            return Some(*place);
        }
        let place = u8::try_from(self.chunks.len()).ok()?;
        self.chunks.push(chunk);
        self.places.insert((chunk.id, chunk.len), place);
        Some(place)
    }
}

/// Where each extent of a map begins in its segment.
fn starts(map: &Map) -> Vec<u32> {
    let add = |end: &mut u32, extent: &Extent| {
        let start = *end;
        *end += extent.len;
        Some(start)
    };
    map.extents().iter().scan(0, add).collect()
}

#[cfg(test)]
mod tests;
