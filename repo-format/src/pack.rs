//! Packs: many frames in one object (SPEC 8).
//!
//! ```text
//! header 96 | frame 0 | frame 1 | ... | contents | trailer 64
//! ```
//!
//! Contents come last so that a pack is written in one pass; a reader without an index starts at the end.

use crate::error::FormatError;
use crate::frame::{Codec, FrameInfo, Place, StoredFrame};
use crate::header::{Kind, SEALED_HEADER_LEN, SealedHeader};
use crate::id::{ChunkId, PackId};
use crate::keys::{Keys, Secret, commitment};
use crate::limits::{
    CONTENTS_PLAIN_MAX, FRAME_PLAIN_MAX, PACK_ENTRIES_MAX, PACK_ENTRIES_TARGET, PACK_FRAMES_MAX,
    PACK_FRAMES_TARGET, PACK_LEN_TARGET, SEAL_OVERHEAD,
};
use crate::padding::{padded, padded_len};
use crate::seal::Sealer;
use crate::wire::{Reader, Writer};

/// Bytes of a trailer.
pub const TRAILER_LEN: usize = 64;

const TRAILER_MAGIC: [u8; 8] = *b"XNTHTAIL";
const CONTENTS_NUMBER: u32 = u32::MAX;

/// What an entry of a map or print pack is (SPEC 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// A map; its id is the segment's.
    Map = 1,
    /// A node.
    Node = 2,
    /// A disk.
    Disk = 3,
    /// The body of a snapshot.
    Snapshot = 4,
    /// A print; its id is the segment's.
    Print = 5,
}

impl EntryKind {
    /// The kind with this number.
    pub fn parse(number: u8) -> Result<Self, FormatError> {
        match number {
            1 => Ok(Self::Map),
            2 => Ok(Self::Node),
            3 => Ok(Self::Disk),
            4 => Ok(Self::Snapshot),
            5 => Ok(Self::Print),
            _ => Err(FormatError::Invalid { what: "kind of an entry" }),
        }
    }

    /// The kind with this number, which must belong into packs of kind `pack`.
    pub fn parse_in(pack: Kind, number: u8) -> Result<Self, FormatError> {
        let kind = Self::parse(number)?;
        match kind.pack() == pack {
            true => Ok(kind),
            false => Err(FormatError::Invalid { what: "kind of an entry" }),
        }
    }

    /// The kind of pack that it belongs into.
    #[must_use]
    pub const fn pack(self) -> Kind {
        match self {
            Self::Print => Kind::PrintPack,
            Self::Map | Self::Node | Self::Disk | Self::Snapshot => Kind::MapPack,
        }
    }
}

/// A chunk in a data pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Its id.
    pub id: ChunkId,
    /// Where it lies.
    pub place: Place,
}

/// An entry of a map or print pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Its id: of a segment, node, disk or snapshot.
    pub id: [u8; 32],
    /// What it is.
    pub kind: EntryKind,
    /// Where it lies.
    pub place: Place,
}

/// The entries of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entries {
    /// Of a data pack.
    Chunks(Vec<ChunkEntry>),
    /// Of a map or print pack.
    Catalog(Vec<CatalogEntry>),
}

impl Entries {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Chunks(entries) => entries.len(),
            Self::Catalog(entries) => entries.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a pack holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its frames in order.
    pub frames: Vec<FrameInfo>,
    /// Its entries in the order of their places.
    pub entries: Entries,
}

/// Bytes from the start of the pack to frame `number`.
#[must_use]
pub fn frame_offset(frames: &[FrameInfo], number: u16) -> u64 {
    let before = &frames[..usize::from(number).min(frames.len())];
    let lens: u64 = before.iter().map(|frame| u64::from(frame.sealed_len)).sum();
    SEALED_HEADER_LEN as u64 + lens
}

/// How a pack is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// It reached its target; its length tells nothing.
    Full,
    /// It is the last of its session: filled up to a padded length.
    Padded,
}

/// A complete pack.
pub struct Pack {
    /// Its name.
    pub id: PackId,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it holds, for the index.
    pub contents: Contents,
}

/// Fills one pack. Holds the only copy of its key, which seals and is dropped with it.
pub struct PackBuilder {
    sealer: Sealer,
    contents_key: Secret,
    bytes: Vec<u8>,
    contents: Contents,
}

impl PackBuilder {
    /// An empty pack; `seed` is 32 fresh random bytes.
    #[must_use]
    pub fn new(keys: &Keys, kind: Kind, seed: &Secret) -> Self {
        Self::in_buffer(keys, kind, seed, Vec::new())
    }

    /// [`Self::new`] in a buffer that another pack has left, whatever is in it.
    #[must_use]
    pub fn in_buffer(keys: &Keys, kind: Kind, seed: &Secret, mut bytes: Vec<u8>) -> Self {
        let (header, key) = keys.seal_header(kind, seed);
        let contents_key = keys.contents_key(&header).expect("made with the current epoch");
        bytes.clear();
        bytes.extend_from_slice(&header.encode());
        let entries = match kind {
            Kind::DataPack => Entries::Chunks(Vec::new()),
            _ => Entries::Catalog(Vec::new()),
        };
        let contents = Contents { frames: Vec::new(), entries };
        Self { sealer: Sealer::new(&key, &bytes), contents_key, bytes, contents }
    }

    /// Seals a frame of chunks: ids and lengths of what it holds, one behind the other.
    pub fn append_chunks(&mut self, frame: &StoredFrame, chunks: &[(ChunkId, u32)]) {
        let number = self.append(frame);
        let Entries::Chunks(entries) = &mut self.contents.entries else {
            panic!("chunks go into data packs");
        };
        let mut offset = 0;
        for &(id, len) in chunks {
            entries.push(ChunkEntry { id, place: Place { frame: number, offset, len } });
            offset += len;
        }
        assert_eq!(offset, frame.plain_len, "entries fill their frame");
    }

    /// Seals a frame of catalog entries.
    pub fn append_catalog(&mut self, frame: &StoredFrame, list: &[([u8; 32], EntryKind, u32)]) {
        let number = self.append(frame);
        let Entries::Catalog(entries) = &mut self.contents.entries else {
            panic!("catalog entries go into map and print packs");
        };
        let mut offset = 0;
        for &(id, kind, len) in list {
            let place = Place { frame: number, offset, len };
            entries.push(CatalogEntry { id, kind, place });
            offset += len;
        }
        assert_eq!(offset, frame.plain_len, "entries fill their frame");
    }

    /// Whether the writer should close it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() + FRAME_PLAIN_MAX > PACK_LEN_TARGET
            || self.contents.frames.len() >= PACK_FRAMES_TARGET
            || self.contents.entries.len() >= PACK_ENTRIES_TARGET
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contents.frames.is_empty()
    }

    /// Bytes so far, without contents and trailer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The complete pack.
    #[must_use]
    pub fn finish(mut self, close: Close) -> Pack {
        if close == Close::Padded {
            for plain_len in self.padding() {
                let stored = vec![0; plain_len];
                let plain_len = plain_len as u32;
                self.append(&StoredFrame { codec: Codec::Padding, plain_len, stored });
            }
        }
        let offset = self.bytes.len();
        let sealer = Sealer::new(&self.contents_key, &self.bytes[..SEALED_HEADER_LEN]);
        let mut bytes = std::mem::take(&mut self.bytes);
        sealer.seal_into(CONTENTS_NUMBER, &encode_contents(&self.contents), &mut bytes);
        let mut w = Writer::with_capacity(TRAILER_LEN);
        w.bytes(&commitment(&self.contents_key)).length(offset).length(bytes.len() - offset);
        w.zeros(16).bytes(&TRAILER_MAGIC);
        bytes.extend_from_slice(&w.finish());
        Pack { id: PackId::of(&bytes), bytes, contents: self.contents }
    }

    fn append(&mut self, frame: &StoredFrame) -> u16 {
        let number = self.contents.frames.len();
        assert!(number < PACK_FRAMES_MAX, "is_full is asked before each frame");
        self.sealer.seal_into(number as u32, &frame.stored, &mut self.bytes);
        self.contents.frames.push(FrameInfo {
            sealed_len: (frame.stored.len() + SEAL_OVERHEAD) as u32,
            plain_len: frame.plain_len,
            codec: frame.codec,
        });
        number as u16
    }

    /// Plain lengths of the padding frames that make the pack's length a padded one (SPEC 5.3).
    fn padding(&self) -> Vec<usize> {
        let len_with = |frames: usize| {
            let contents =
                contents_len(self.contents.frames.len() + frames, &self.contents.entries);
            self.bytes.len() + padded_len(contents) + SEAL_OVERHEAD + TRAILER_LEN
        };
        if padded(len_with(0) as u64) == len_with(0) as u64 {
            return Vec::new();
        }
        let fits = |frames: usize| {
            let least = len_with(frames) + frames * (SEAL_OVERHEAD + 1);
            let gap = padded_len(least) - len_with(frames);
            let text = gap - frames * SEAL_OVERHEAD;
            (text <= frames * FRAME_PLAIN_MAX).then_some((frames, text))
        };
        let (frames, text) =
            (1..64).find_map(fits).expect("padding is at most 3.2 % of a pack above 64 KiB");
        (0..frames).map(|i| text / frames + usize::from(i < text % frames)).collect()
    }
}

/// The last bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    commitment: [u8; 32],
    /// Where the sealed contents begin.
    pub contents_offset: u32,
    /// Bytes of the sealed contents.
    pub contents_len: u32,
}

impl Trailer {
    /// Reads the last [`TRAILER_LEN`] bytes of a pack of `pack_len` bytes.
    pub fn parse(bytes: &[u8], pack_len: u64) -> Result<Self, FormatError> {
        let mut r = Reader::new("pack trailer", bytes);
        let commitment = r.array()?;
        let (contents_offset, contents_len) = (r.u32()?, r.u32()?);
        r.zeros(16)?;
        let magic: [u8; 8] = r.array()?;
        r.end()?;
        let end = u64::from(contents_offset) + u64::from(contents_len) + TRAILER_LEN as u64;
        let sound = magic == TRAILER_MAGIC
            && end == pack_len
            && contents_offset as usize >= SEALED_HEADER_LEN
            && contents_len as usize <= CONTENTS_PLAIN_MAX + SEAL_OVERHEAD;
        match sound {
            true => Ok(Self { commitment, contents_offset, contents_len }),
            false => Err(FormatError::Invalid { what: "pack trailer" }),
        }
    }

    /// Opens the contents of a pack with this trailer and `header` (its first 96 bytes).
    pub fn open_contents(
        &self,
        keys: &Keys,
        header: &[u8],
        sealed: &[u8],
    ) -> Result<Contents, FormatError> {
        let parsed = SealedHeader::parse(header)?;
        let key = keys.contents_key(&parsed)?;
        if commitment(&key) != self.commitment || parsed.repository != keys.repository() {
            return Err(FormatError::Seal { what: "pack contents" });
        }
        let header = &header[..SEALED_HEADER_LEN];
        let text = Sealer::new(&key, header).open("pack contents", CONTENTS_NUMBER, sealed)?;
        let contents = parse_contents(parsed.kind, &text)?;
        let frames_end = frame_offset(&contents.frames, u16::MAX);
        match frames_end == u64::from(self.contents_offset) {
            true => Ok(contents),
            false => Err(FormatError::Invalid { what: "frames of a pack" }),
        }
    }
}

const fn entry_len(kind_is_data: bool) -> usize {
    if kind_is_data { 24 } else { 44 }
}

fn contents_len(frames: usize, entries: &Entries) -> usize {
    let width = entry_len(matches!(entries, Entries::Chunks(_)));
    16 + 8 * frames + width * entries.len()
}

fn encode_contents(contents: &Contents) -> Vec<u8> {
    let mut w = Writer::default();
    w.length(contents.frames.len()).length(contents.entries.len()).zeros(8);
    for frame in &contents.frames {
        frame.write(&mut w);
    }
    let write_place = |w: &mut Writer, place: &Place| {
        w.u16(place.frame).u24(place.offset).u24(place.len);
    };
    match &contents.entries {
        Entries::Chunks(entries) => {
            for entry in entries {
                w.bytes(entry.id.as_bytes());
                write_place(&mut w, &entry.place);
            }
        }
        Entries::Catalog(entries) => {
            for entry in entries {
                w.bytes(&entry.id).u8(entry.kind as u8).u8(0);
                write_place(&mut w, &entry.place);
                w.u16(0);
            }
        }
    }
    let missing = padded_len(w.len()) - w.len();
    w.zeros(missing);
    w.finish()
}

fn parse_contents(pack: Kind, text: &[u8]) -> Result<Contents, FormatError> {
    let mut r = Reader::new("pack contents", text);
    let frame_count = r.length("frames of a pack", PACK_FRAMES_MAX)?;
    let entry_count = r.length("entries of a pack", PACK_ENTRIES_MAX)?;
    r.zeros(8)?;
    let frames: Vec<_> =
        (0..frame_count).map(|_| FrameInfo::read(&mut r)).collect::<Result<_, _>>()?;
    let entries = match pack {
        Kind::DataPack => {
            let chunk = |_| {
                let id = ChunkId::from_bytes(r.array()?);
                Ok(ChunkEntry { id, place: read_place(&mut r, &frames)? })
            };
            Entries::Chunks((0..entry_count).map(chunk).collect::<Result<_, FormatError>>()?)
        }
        _ => {
            let entry = |_| {
                let (id, kind) = (r.array()?, EntryKind::parse_in(pack, r.u8()?)?);
                r.zeros(1)?;
                let place = read_place(&mut r, &frames)?;
                r.zeros(2)?;
                Ok(CatalogEntry { id, kind, place })
            };
            Entries::Catalog((0..entry_count).map(entry).collect::<Result<_, FormatError>>()?)
        }
    };
    let rest = r.rest().len();
    if padded_len(text.len() - rest) != text.len() {
        return Err(FormatError::Invalid { what: "padding" });
    }
    r.zeros(rest)?;
    Ok(Contents { frames, entries })
}

/// Reads a place and checks that it lies within its frame; shared with the index.
pub(crate) fn read_place(r: &mut Reader<'_>, frames: &[FrameInfo]) -> Result<Place, FormatError> {
    let place = Place { frame: r.u16()?, offset: r.u24()?, len: r.u24()? };
    check_place(&place, frames)?;
    Ok(place)
}

/// A place lies within a frame that holds entries.
pub(crate) fn check_place(place: &Place, frames: &[FrameInfo]) -> Result<(), FormatError> {
    let within = frames.get(usize::from(place.frame)).is_some_and(|frame| {
        frame.codec != Codec::Padding
            && place.len > 0
            && place.offset + place.len <= frame.plain_len
    });
    match within {
        true => Ok(()),
        false => Err(FormatError::Invalid { what: "place of an entry" }),
    }
}
