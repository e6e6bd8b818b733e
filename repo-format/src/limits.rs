//! Every constant of the format (SPEC 13), and what must hold between them.

/// Bytes of a segment (SPEC 2).
pub const SEGMENT_LEN: usize = 4 << 20;
/// Bytes of a unit: the grain of zero detection and of changed-block tracking.
pub const UNIT_LEN: usize = 64 << 10;
/// Units of a segment.
pub const UNITS: usize = SEGMENT_LEN / UNIT_LEN;
/// Bytes of a block: the grain of reuse.
pub const BLOCK_LEN: usize = 4 << 10;
/// Blocks of a segment.
pub const BLOCKS: usize = SEGMENT_LEN / BLOCK_LEN;
/// Blocks of a unit.
pub const UNIT_BLOCKS: usize = UNIT_LEN / BLOCK_LEN;
/// Children of a node (SPEC 7.2).
pub const FAN_OUT: usize = 256;
/// Largest virtual size in bytes (SPEC 7.3).
pub const DISK_SIZE_MAX: u64 = 1 << 54;
/// Levels of nodes: 1 GiB, 256 GiB, 64 TiB, 16 PiB.
pub const LEVEL_MAX: u8 = 4;

/// Smallest chunk that the chunker cuts, bytes; the last of a segment may be shorter.
pub const CHUNK_MIN: usize = 64 << 10;
/// Average chunk, bytes.
pub const CHUNK_AVERAGE: usize = 256 << 10;
/// Largest chunk, bytes.
pub const CHUNK_MAX: usize = 1 << 20;

/// Chunks in one map.
pub const MAP_CHUNKS_MAX: usize = 192;
/// Extents in one map.
pub const MAP_EXTENTS_MAX: usize = 1023;

/// Deltas below which a full print lies at most (SPEC 7.4).
pub const PRINT_DEPTH_MAX: u8 = 32;

/// Bytes of a frame before compression (SPEC 8).
pub const FRAME_PLAIN_MAX: usize = 1 << 20;
/// Bytes that sealing adds: tail 8, tag 16 (SPEC 5.1).
pub const SEAL_OVERHEAD: usize = 24;
/// Bytes of a sealed frame. Writers store raw what does not shrink.
pub const FRAME_SEALED_MAX: usize = FRAME_PLAIN_MAX + SEAL_OVERHEAD;

/// Bytes at which a writer closes a pack.
pub const PACK_LEN_TARGET: usize = 64 << 20;
/// Bytes of the largest pack that a reader accepts.
pub const PACK_LEN_MAX: u64 = 256 << 20;
/// Frames in a pack.
pub const PACK_FRAMES_MAX: usize = 16_384;
/// Frames at which a writer closes a pack; leaves room for padding frames.
pub const PACK_FRAMES_TARGET: usize = 16_000;
/// Entries in a pack.
pub const PACK_ENTRIES_MAX: usize = 65_536;
/// Entries at which a writer closes a pack. One frame can add no more than the difference.
pub const PACK_ENTRIES_TARGET: usize = 40_000;
/// Bytes of a pack's contents before sealing.
pub const CONTENTS_PLAIN_MAX: usize = 8 << 20;

/// Bytes of an index object.
pub const INDEX_LEN_MAX: u64 = 256 << 20;
/// Packs that one index object names.
pub const INDEX_PACKS_MAX: usize = 65_536;
/// Records of one index object; of a print index, also its hooks.
pub const INDEX_RECORDS_MAX: usize = 4 << 20;

/// Bytes of a snapshot, session or state.
pub const CATALOG_LEN_MAX: u64 = 64 << 20;
/// Bytes of a config or key slot.
pub const ROOT_LEN_MAX: u64 = 192 << 10;
/// Bytes of a sealed bundle or info in a slot.
pub const SLOT_PART_MAX: usize = 64 << 10;
/// Slots that are tried with one password.
pub const SLOTS_MAX: usize = 256;

/// Disks and streams of one snapshot.
pub const DISKS_MAX: usize = 1024;
/// Tags of one snapshot.
pub const TAGS_MAX: usize = 256;
/// Bytes of any text field.
pub const TEXT_MAX: usize = 4096;
/// Bytes of a stream that is read whole.
pub const WHOLE_STREAM_MAX: u64 = 64 << 20;

const _: () = assert!(SEGMENT_LEN.is_multiple_of(UNIT_LEN));
const _: () = assert!(UNITS == 64 && UNIT_BLOCKS == 16, "prints have masks of 64 and 16 bits");
const _: () = assert!(CHUNK_MAX <= FRAME_PLAIN_MAX, "a chunk must fit into a frame");
const _: () = assert!(SEGMENT_LEN / CHUNK_MIN < MAP_CHUNKS_MAX, "a fresh cut must fit into a map");
const _: () = assert!(MAP_CHUNKS_MAX < 255, "255 means zeros");
const _: () = assert!(FRAME_SEALED_MAX < 1 << 24, "frame lengths are u24");
const _: () = assert!(PACK_LEN_TARGET as u64 * 2 < PACK_LEN_MAX);
const _: () = assert!(
    16 + 8 * PACK_FRAMES_MAX + 44 * PACK_ENTRIES_MAX <= CONTENTS_PLAIN_MAX,
    "full contents must fit"
);
const _: () = assert!((SEGMENT_LEN as u64) << (8 * LEVEL_MAX) >= DISK_SIZE_MAX);
