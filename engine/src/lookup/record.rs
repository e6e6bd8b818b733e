//! Records as the cache keeps them: a key, then where it lies or leads. Sorted as bytes they are sorted by key.
//! The three sorts differ in width, so the width says which it is.
//!
//! ```text
//! chunk    id 16          | pack u32, frame u16, offset u24, length u24
//! segment  id 32, kind u8 | pack u32, frame u16, offset u24, length u24
//! hook     fingerprint 12 | id 32
//! ```

use repo_format::FormatError;
use repo_format::frame::Place;
use repo_format::id::{ChunkId, Fingerprint, SegmentId};
use repo_format::index::{ChunkRecord, SegmentRecord};
use repo_format::pack::EntryKind;

/// Bytes that say where a key lies.
const TAIL: usize = 12;
/// Bytes of a fingerprint.
const FINGERPRINT: usize = 12;
/// Bytes of a chunk's record.
pub const CHUNK: usize = 16 + TAIL;
/// Bytes of the record of a map, node, disk or print.
pub const SEGMENT: usize = 33 + TAIL;
/// Bytes of a hook.
pub const HOOK: usize = FINGERPRINT + 32;

const U24_END: u32 = 1 << 24;

/// Whether records of this width have a filter, besides fences. Hooks do without: they are many, and asked for seldom.
pub const fn has_filter(width: usize) -> bool {
    width != HOOK
}

const fn key_len(width: usize) -> usize {
    match width {
        HOOK => FINGERPRINT,
        _ => width - TAIL,
    }
}

/// The key under which a map, node, disk or print is found.
pub fn segment_key(kind: EntryKind, id: &[u8; 32]) -> [u8; SEGMENT - TAIL] {
    let mut key = [0; SEGMENT - TAIL];
    key[..32].copy_from_slice(id);
    key[32] = kind as u8;
    key
}

/// The key of a record.
pub fn key_of<const W: usize>(record: &[u8; W]) -> &[u8] {
    &record[..key_len(W)]
}

/// The first eight bytes of a key, as a number that sorts like it.
pub fn key_start(key: &[u8]) -> u64 {
    u64::from_be_bytes(*key.first_chunk().expect("keys are longer than eight bytes"))
}

/// The next eight bytes of a key that has a filter. It is a keyed hash: these are as good as another hash.
pub fn key_bits(key: &[u8]) -> u64 {
    let bits = key[8..].first_chunk();
    u64::from_le_bytes(*bits.expect("keys with a filter have sixteen bytes"))
}

/// Whether the fields of `place` fit their widths.
pub const fn fits(place: &Place) -> bool {
    place.offset < U24_END && place.len < U24_END
}

/// The record of a chunk in pack `pack`.
pub fn of_chunk(record: &ChunkRecord) -> [u8; CHUNK] {
    join(record.id.as_bytes(), record.pack, &record.place)
}

/// The record of a map, node, disk or print.
pub fn of_segment(record: &SegmentRecord) -> [u8; SEGMENT] {
    let key = segment_key(record.kind, &record.id);
    join(&key, record.pack, &record.place)
}

/// A hook from `fingerprint` to the segment `id`.
pub fn of_hook(fingerprint: &Fingerprint, id: &[u8; 32]) -> [u8; HOOK] {
    let mut record = [0; HOOK];
    record[..FINGERPRINT].copy_from_slice(fingerprint.as_bytes());
    record[FINGERPRINT..].copy_from_slice(id);
    record
}

/// The chunk that a record is about.
pub fn chunk_id(record: &[u8; CHUNK]) -> ChunkId {
    let id = record.first_chunk();
    ChunkId::from_bytes(*id.expect("a record is longer than its id"))
}

/// The segment that a hook leads to.
pub fn hook_segment(record: &[u8; HOOK]) -> SegmentId {
    let id = record.last_chunk();
    SegmentId::from_bytes(*id.expect("a hook ends with an id"))
}

/// What a record is about: a map, node, disk or print.
pub fn segment_id(record: &[u8; SEGMENT]) -> Result<(EntryKind, [u8; 32]), FormatError> {
    let id = record.first_chunk();
    let id = *id.expect("a record is longer than its id");
    Ok((EntryKind::parse(record[32])?, id))
}

/// Pack and place of a record; hooks have none.
pub fn tail<const W: usize>(record: &[u8; W]) -> (u32, Place) {
    let tail: &[u8; TAIL] = record.last_chunk().expect("a record ends with its tail");
    let [p0, p1, p2, p3, f0, f1, o0, o1, o2, l0, l1, l2] = *tail;
    let place = Place {
        frame: u16::from_le_bytes([f0, f1]),
        offset: u32::from_le_bytes([o0, o1, o2, 0]),
        len: u32::from_le_bytes([l0, l1, l2, 0]),
    };
    (u32::from_le_bytes([p0, p1, p2, p3]), place)
}

/// The same record with its pack under another number.
pub fn with_pack<const W: usize>(mut record: [u8; W], pack: u32) -> [u8; W] {
    record[W - TAIL..W - TAIL + 4].copy_from_slice(&pack.to_le_bytes());
    record
}

fn join<const W: usize>(key: &[u8], pack: u32, place: &Place) -> [u8; W] {
    assert!(fits(place), "objects are checked when they come in");
    let [p0, p1, p2, p3] = pack.to_le_bytes();
    let [f0, f1] = place.frame.to_le_bytes();
    let [o0, o1, o2, _] = place.offset.to_le_bytes();
    let [l0, l1, l2, _] = place.len.to_le_bytes();
    let mut record = [0; W];
    record[..W - TAIL].copy_from_slice(key);
    record[W - TAIL..].copy_from_slice(&[p0, p1, p2, p3, f0, f1, o0, o1, o2, l0, l1, l2]);
    record
}
