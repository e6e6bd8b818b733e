//! Index objects: where ids lie (SPEC 11).

use crate::error::FormatError;
use crate::frame::{FrameInfo, Place};
use crate::header::Kind;
use crate::id::{ChunkId, Fingerprint, PackId};
use crate::limits::{INDEX_PACKS_MAX, INDEX_RECORDS_MAX, PACK_FRAMES_MAX, PACK_LEN_MAX};
use crate::pack::{EntryKind, check_place};
use crate::padding::padded_len;
use crate::wire::{Reader, Writer};

/// A pack that an index object names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// Its name.
    pub id: PackId,
    /// Bytes on storage.
    pub len: u32,
    /// Data, map or print pack.
    pub kind: Kind,
    /// Its frames.
    pub frames: Vec<FrameInfo>,
}

/// Where a map, node, disk or print lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Id of a segment, node or disk.
    pub id: [u8; 32],
    /// Which of them.
    pub kind: EntryKind,
    /// Place in the object's pack table.
    pub pack: u32,
    /// Place in the pack.
    pub place: Place,
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRecord {
    /// Its id.
    pub id: ChunkId,
    /// Place in the object's pack table.
    pub pack: u32,
    /// Place in the pack.
    pub place: Place,
}

/// A fingerprint that leads to a segment that has such a block (SPEC 7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HookRecord {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// Place of the segment among the object's print records, once they are sorted by id.
    pub segment: u32,
}

/// The records of an index object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// Of a segment index.
    Segments(Vec<SegmentRecord>),
    /// Of a chunk index.
    Chunks(Vec<ChunkRecord>),
    /// Of a print index: prints, each segment once and sorted by id, and hooks.
    Prints(Vec<SegmentRecord>, Vec<HookRecord>),
}

/// The text of an index object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexObject {
    /// The packs that it names.
    pub packs: Vec<IndexedPack>,
    /// Its records, sorted.
    pub records: Records,
}

impl IndexObject {
    /// The kind of object that it becomes.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.records {
            Records::Segments(_) => Kind::SegmentIndex,
            Records::Chunks(_) => Kind::ChunkIndex,
            Records::Prints(..) => Kind::PrintIndex,
        }
    }

    /// The text; sorts the records.
    #[must_use]
    pub fn encode(&mut self) -> Vec<u8> {
        let mut w = Writer::default();
        let frames = self.packs.iter().map(|pack| pack.frames.len()).sum();
        let (records, hooks) = match &self.records {
            Records::Segments(records) => (records.len(), 0),
            Records::Chunks(records) => (records.len(), 0),
            Records::Prints(records, hooks) => (records.len(), hooks.len()),
        };
        w.length(self.packs.len()).length(frames).length(records).length(hooks).zeros(16);
        for pack in &self.packs {
            w.bytes(pack.id.as_bytes()).u32(pack.len).length(pack.frames.len());
            w.u8(pack.kind as u8).zeros(7);
        }
        for frame in self.packs.iter().flat_map(|pack| &pack.frames) {
            frame.write(&mut w);
        }
        match &mut self.records {
            Records::Segments(records) => {
                records.sort_unstable_by_key(|record| (record.id, record.kind));
                records.iter().for_each(|record| write_segment(&mut w, record));
            }
            Records::Chunks(records) => {
                records.sort_unstable_by_key(|record| record.id);
                records.iter().for_each(|record| write_chunk(&mut w, record));
            }
            Records::Prints(records, hooks) => {
                assert!(records.is_sorted_by(|a, b| a.id < b.id), "hooks name prints by place");
                records.iter().for_each(|record| write_segment(&mut w, record));
                hooks.sort_unstable();
                hooks.iter().for_each(|hook| write_hook(&mut w, hook));
            }
        }
        let missing = padded_len(w.len()) - w.len();
        w.zeros(missing);
        w.finish()
    }

    /// Reads the text of an index object of `kind`; every record lies within its pack.
    pub fn parse(kind: Kind, text: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("index", text);
        let pack_count = r.length("packs of an index", INDEX_PACKS_MAX)?;
        let frame_count = r.length("frames of an index", text.len() / 8)?;
        let record_count = r.length("records of an index", INDEX_RECORDS_MAX)?;
        let hook_count = r.length("hooks of an index", INDEX_RECORDS_MAX)?;
        r.zeros(16)?;
        let named = match kind {
            Kind::SegmentIndex => Kind::MapPack,
            Kind::PrintIndex => Kind::PrintPack,
            _ => Kind::DataPack,
        };
        if hook_count > 0 && kind != Kind::PrintIndex {
            return Err(FormatError::Invalid { what: "hooks of an index" });
        }
        let packs = parse_packs(&mut r, named, pack_count, frame_count)?;
        let records = match kind {
            Kind::SegmentIndex => {
                let record = |_| parse_segment(&mut r, named, &packs);
                let records: Vec<_> = (0..record_count).map(record).collect::<Result<_, _>>()?;
                sorted(records.is_sorted_by_key(|record| (record.id, record.kind)))?;
                Records::Segments(records)
            }
            Kind::ChunkIndex => {
                let record = |_| parse_chunk(&mut r, &packs);
                let records: Vec<_> = (0..record_count).map(record).collect::<Result<_, _>>()?;
                sorted(records.is_sorted_by_key(|record| record.id))?;
                Records::Chunks(records)
            }
            Kind::PrintIndex => {
                let record = |_| parse_segment(&mut r, named, &packs);
                let prints: Vec<_> = (0..record_count).map(record).collect::<Result<_, _>>()?;
                sorted(prints.is_sorted_by(|a, b| a.id < b.id))?;
                let hook = |_| parse_hook(&mut r, record_count);
                let hooks: Vec<_> = (0..hook_count).map(hook).collect::<Result<_, _>>()?;
                sorted(hooks.is_sorted())?;
                Records::Prints(prints, hooks)
            }
            _ => {
                return Err(FormatError::Invalid { what: "kind of index" });
            }
        };
        let rest = r.rest().len();
        if padded_len(text.len() - rest) != text.len() {
            return Err(FormatError::Invalid { what: "padding" });
        }
        r.zeros(rest)?;
        Ok(Self { packs, records })
    }
}

fn sorted(sorted: bool) -> Result<(), FormatError> {
    match sorted {
        true => Ok(()),
        false => Err(FormatError::Invalid { what: "order of index records" }),
    }
}

fn parse_packs(
    r: &mut Reader<'_>,
    named: Kind,
    pack_count: usize,
    frame_count: usize,
) -> Result<Vec<IndexedPack>, FormatError> {
    let mut packs = Vec::new();
    let mut counts = Vec::new();
    for _ in 0..pack_count {
        let (id, len) = (PackId::from_bytes(r.array()?), r.u32()?);
        counts.push(r.length("frames of a pack", PACK_FRAMES_MAX)?);
        let kind = Kind::parse(r.u8()?)?;
        r.zeros(7)?;
        if u64::from(len) > PACK_LEN_MAX || kind != named {
            return Err(FormatError::Invalid { what: "pack of an index" });
        }
        packs.push(IndexedPack { id, len, kind, frames: Vec::new() });
    }
    if counts.iter().sum::<usize>() != frame_count {
        return Err(FormatError::Invalid { what: "frames of an index" });
    }
    for (pack, count) in packs.iter_mut().zip(counts) {
        pack.frames = (0..count).map(|_| FrameInfo::read(r)).collect::<Result<_, _>>()?;
    }
    Ok(packs)
}

fn frames_of(packs: &[IndexedPack], pack: u32) -> Result<&[FrameInfo], FormatError> {
    let found = usize::try_from(pack).ok().and_then(|number| packs.get(number));
    Ok(&found.ok_or(FormatError::Invalid { what: "pack of a record" })?.frames)
}

fn write_segment(w: &mut Writer, record: &SegmentRecord) {
    w.bytes(&record.id).u8(record.kind as u8).u8(0).u16(record.place.frame).u32(record.pack);
    w.u24(record.place.offset).u24(record.place.len);
}

fn parse_segment(
    r: &mut Reader<'_>,
    named: Kind,
    packs: &[IndexedPack],
) -> Result<SegmentRecord, FormatError> {
    let (id, kind) = (r.array()?, EntryKind::parse_in(named, r.u8()?)?);
    if kind == EntryKind::Snapshot {
        return Err(FormatError::Invalid { what: "kind of a record" });
    }
    r.zeros(1)?;
    let (frame, pack) = (r.u16()?, r.u32()?);
    let place = Place { frame, offset: r.u24()?, len: r.u24()? };
    check_place(&place, frames_of(packs, pack)?)?;
    Ok(SegmentRecord { id, kind, pack, place })
}

fn write_chunk(w: &mut Writer, record: &ChunkRecord) {
    w.bytes(record.id.as_bytes()).u32(record.pack).u16(record.place.frame);
    w.u24(record.place.offset).u24(record.place.len);
}

fn parse_chunk(r: &mut Reader<'_>, packs: &[IndexedPack]) -> Result<ChunkRecord, FormatError> {
    let (id, pack) = (ChunkId::from_bytes(r.array()?), r.u32()?);
    let place = Place { frame: r.u16()?, offset: r.u24()?, len: r.u24()? };
    check_place(&place, frames_of(packs, pack)?)?;
    Ok(ChunkRecord { id, pack, place })
}

fn write_hook(w: &mut Writer, hook: &HookRecord) {
    w.bytes(hook.fingerprint.as_bytes()).u32(hook.segment);
}

fn parse_hook(r: &mut Reader<'_>, segments: usize) -> Result<HookRecord, FormatError> {
    let hook = HookRecord { fingerprint: Fingerprint::from_bytes(r.array()?), segment: r.u32()? };
    match usize::try_from(hook.segment).is_ok_and(|segment| segment < segments) {
        true => Ok(hook),
        false => Err(FormatError::Invalid { what: "segment of a hook" }),
    }
}
