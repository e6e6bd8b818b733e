//! The packs of a layer or of several: each once, by number.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::ops::Range;

use repo_format::FormatError;
use repo_format::frame::FrameInfo;
use repo_format::header::Kind;
use repo_format::id::PackId;
use repo_format::keys::Secret;
use repo_format::wire::{Reader, Writer};

/// Bytes of a pack in a file of blocks.
pub const PACK: usize = 57;
/// Bytes of a frame in a file of blocks.
pub const FRAME: usize = 8;

/// The 8 bytes of a frame.
pub fn encode_frame(frame: &FrameInfo) -> [u8; FRAME] {
    let mut w = Writer::with_capacity(FRAME);
    frame.write(&mut w);
    let bytes = w.finish();
    *bytes.first_chunk().expect("a frame has eight bytes")
}

/// What a pack is, apart from where its frames are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackFace {
    /// Its name.
    pub id: PackId,
    /// Bytes on storage.
    pub len: u32,
    /// Data, map or print pack.
    pub kind: Kind,
    /// How many frames it has.
    pub frames: u32,
    /// The hash of their infos: two index objects that disagree about a pack mean two packs.
    pub digest: [u8; 8],
}

impl PackFace {
    /// The hash of frames, under a key so that nobody can aim at it.
    pub fn digest(key: &Secret, frames: &[[u8; FRAME]]) -> [u8; 8] {
        let hash = blake3::keyed_hash(key.expose(), frames.as_flattened());
        let cut = hash.as_bytes().first_chunk();
        *cut.expect("a hash is longer than eight bytes")
    }
}

/// A pack of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    /// What it is.
    pub face: PackFace,
    /// Number of its first frame among those of the layer.
    pub first_frame: u64,
}

impl PackEntry {
    /// Numbers of its frames among those of the layer.
    pub const fn frames(&self) -> Range<u64> {
        self.first_frame..self.first_frame + self.face.frames as u64
    }

    /// The bytes for a file of blocks.
    pub fn encode(&self) -> [u8; PACK] {
        let mut w = Writer::with_capacity(PACK);
        w.bytes(self.face.id.as_bytes()).u32(self.face.len);
        w.u8(self.face.kind as u8).u32(self.face.frames);
        w.bytes(&self.face.digest).u64(self.first_frame);
        let bytes = w.finish();
        *bytes.first_chunk().expect("the widths add up to PACK")
    }

    /// Reads the bytes of a verified block.
    pub fn parse(bytes: &[u8; PACK]) -> Result<Self, FormatError> {
        let mut r = Reader::new("pack of the cache", bytes);
        let (id, len) = (PackId::from_bytes(r.array()?), r.u32()?);
        let (kind, frames) = (Kind::parse(r.u8()?)?, r.u32()?);
        let (digest, first_frame) = (r.array()?, r.u64()?);
        r.end()?;
        let face = PackFace { id, len, kind, frames, digest };
        Ok(Self { face, first_frame })
    }
}

/// Gives numbers to packs; equal packs get one number.
#[derive(Default)]
pub struct PackTable {
    entries: Vec<PackEntry>,
    /// Number by hash. On a collision the later pack is kept as one that nobody has seen.
    numbers: HashMap<u64, u32>,
    hasher: RandomState,
}

impl PackTable {
    /// The number of the pack that looks like `face`; a new one gets its frames from `first_frame`.
    pub fn number(&mut self, face: PackFace, first_frame: impl FnOnce() -> u64) -> u32 {
        let bytes: [u8; PACK] = PackEntry { face, first_frame: 0 }.encode();
        let slot = self.numbers.entry(self.hasher.hash_one(bytes));
        if let Entry::Occupied(slot) = &slot
            && self.entries[*slot.get() as usize].face == face
        {
            return *slot.get();
        }
        let number = u32::try_from(self.entries.len()).expect("packs are at least 64 KiB each");
        slot.insert_entry(number);
        let first_frame = first_frame();
        self.entries.push(PackEntry { face, first_frame });
        number
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them, in the order of their numbers.
    pub fn into_entries(self) -> Vec<PackEntry> {
        self.entries
    }
}
