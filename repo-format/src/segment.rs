//! Segments: what names 4 MiB of a disk (SPEC 2).

use crate::id::{ChunkId, SegmentId};
use crate::keys::Keys;
use crate::limits::{SEGMENT_LEN, UNIT_LEN};

/// The id of a whole segment; `bytes` are [`SEGMENT_LEN`] and not all zero.
#[must_use]
pub fn segment_id(keys: &Keys, bytes: &[u8]) -> SegmentId {
    assert_eq!(bytes.len(), SEGMENT_LEN, "segments are extended with zeros before they are named");
    SegmentId::from_bytes(*blake3::keyed_hash(keys.segment.expose(), bytes).as_bytes())
}

/// The id of a chunk (SPEC 7.1).
#[must_use]
pub fn chunk_id(keys: &Keys, bytes: &[u8]) -> ChunkId {
    let hash = blake3::keyed_hash(keys.chunk.expose(), bytes);
    let (id, _) = hash.as_bytes().split_first_chunk::<16>().expect("a hash has 32 bytes");
    ChunkId::from_bytes(*id)
}

/// Whether all bytes are zero. Folds 4 KiB at a time, which compilers turn into wide ORs.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
}

/// A range of a segment in bytes that is all zero or holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Bytes from the segment's start.
    pub start: usize,
    /// Bytes.
    pub len: usize,
    /// Whether every unit of it is zero.
    pub zero: bool,
}

/// Divides a segment into runs of units that are zero and runs of units that are not (SPEC 6).
#[must_use]
pub fn runs(segment: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (number, unit) in segment.chunks(UNIT_LEN).enumerate() {
        let zero = is_zero(unit);
        match runs.last_mut() {
            Some(last) if last.zero == zero => last.len += unit.len(),
            _ => runs.push(Run { start: number * UNIT_LEN, len: unit.len(), zero }),
        }
    }
    runs
}
