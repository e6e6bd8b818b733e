//! Segments: what names 4 MiB of a disk, and recognises parts of them (SPEC 2, 7.4).

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::id::{ChunkId, Fingerprint, SegmentId};
use crate::keys::Keys;
use crate::limits::{BLOCK_LEN, SEGMENT_LEN, UNIT_LEN, UNITS};

/// One fingerprint in so many is a hook. Of the blocks that moved in the nights of a web server, one in 32 misses 5 to
/// 13 %, one in 16 half of that, for 0.03 % more of the new data; with one in 8, a second VM with the same files takes a sixth less
/// again, for twice the hooks.
const HOOK_ONE_IN: u8 = 16;

/// The unit values of a segment: the nodes of its BLAKE3 tree above 64 KiB each (SPEC 7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units([ChainingValue; UNITS]);

impl Units {
    /// Hashes a whole segment; `bytes` are [`SEGMENT_LEN`].
    #[must_use]
    pub fn of(keys: &Keys, bytes: &[u8]) -> Self {
        assert_eq!(
            bytes.len(),
            SEGMENT_LEN,
            "segments are extended with zeros before they are named"
        );
        let mut values = [ChainingValue::default(); UNITS];
        for (number, (value, unit)) in values.iter_mut().zip(bytes.chunks(UNIT_LEN)).enumerate() {
            *value = Self::value(keys, number, unit);
        }
        Self(values)
    }

    /// The value of unit `number` (0 to 63) with these 64 KiB: what was read again of a segment may replace it.
    #[must_use]
    pub fn value(keys: &Keys, number: usize, unit: &[u8]) -> ChainingValue {
        // A hasher for each subtree: one that has hashed before no longer knows where it stands.
        let mut hasher = blake3::Hasher::new_keyed(keys.segment.expose());
        hasher.set_input_offset((number * UNIT_LEN) as u64).update(unit).finalize_non_root()
    }

    /// Values that were stored.
    #[must_use]
    pub const fn from_values(values: [ChainingValue; UNITS]) -> Self {
        Self(values)
    }

    /// All 64 in order.
    #[must_use]
    pub const fn values(&self) -> &[ChainingValue; UNITS] {
        &self.0
    }

    /// The id of the segment: the root above them.
    #[must_use]
    pub fn segment_id(&self, keys: &Keys) -> SegmentId {
        let mode = Mode::KeyedHash(keys.segment.expose());
        let mut level = self.0;
        let mut len = UNITS;
        while len > 2 {
            len /= 2;
            for i in 0..len {
                level[i] = merge_subtrees_non_root(&level[2 * i], &level[2 * i + 1], mode);
            }
        }
        SegmentId::from_bytes(*merge_subtrees_root(&level[0], &level[1], mode).as_bytes())
    }
}

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

impl Fingerprint {
    /// That of a block of zeros.
    pub const ZERO: Self = Self::from_bytes([0; Self::LEN]);

    /// Recognises a block of [`BLOCK_LEN`] bytes (SPEC 7.4).
    #[must_use]
    pub fn of(keys: &Keys, block: &[u8]) -> Self {
        assert_eq!(block.len(), BLOCK_LEN, "blocks are whole");
        if is_zero(block) {
            return Self::ZERO;
        }
        let hash = blake3::keyed_hash(keys.fingerprint.expose(), block);
        let (cut, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        match Self::from_bytes(*cut) {
            // Once in 2^96 blocks.
            Self::ZERO => Self::from_bytes([0xff; Self::LEN]),
            fingerprint => fingerprint,
        }
    }

    /// Whether it is a hook (SPEC 7.4): one in 16 is, and never that of a block of zeros.
    #[must_use]
    pub fn is_hook(&self) -> bool {
        self.as_bytes()[0].is_multiple_of(HOOK_ONE_IN) && *self != Self::ZERO
    }
}

/// Whether all bytes are zero. Folds 4 KiB at a time, which compilers turn into wide ORs.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK_LEN).all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
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
