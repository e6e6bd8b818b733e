//! Objects that repeat ids, and a model of what a lookup knows of them: maps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use repo_format::frame::{Codec, FrameInfo, Place};
use repo_format::header::Kind;
use repo_format::id::{ChunkId, Fingerprint, IndexHash, PackId, SegmentId, SnapshotId};
use repo_format::index::{
    ChunkRecord, HookRecord, IndexObject, IndexedPack, Records, SegmentRecord,
};
use repo_format::object_name::IndexName;
use repo_format::pack::EntryKind;

use crate::lookup::{Location, Lookup, LookupError};

pub type Objects = BTreeMap<IndexName, IndexObject>;
type Places = BTreeSet<(PackId, Place)>;

fn hash(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

pub fn name(number: usize) -> IndexName {
    let bytes = hash(&format!("name {number}"));
    IndexName {
        owner: SnapshotId::from_bytes(*bytes.first_chunk().unwrap()),
        hash: IndexHash::from_bytes(*bytes.last_chunk().unwrap()),
    }
}

/// Few different ids, so that they repeat in and between objects; some differ only behind their first bytes.
fn id(number: u16) -> [u8; 32] {
    let mut id = hash(&format!("id {}", number / 4));
    id[if number & 1 == 0 { 9 } else { 31 }] = number as u8 & 3;
    id
}

fn chunk_id_of(number: u16) -> ChunkId {
    ChunkId::from_bytes(*id(number).first_chunk().unwrap())
}

/// Sixteen of them share their first bytes.
pub fn fingerprint(number: u16) -> Fingerprint {
    let mut bytes: [u8; 12] = *hash(&format!("block {}", number / 16)).first_chunk().unwrap();
    bytes[10] = number as u8 & 15;
    Fingerprint::from_bytes(bytes)
}

fn pack(number: u8, kind: Kind) -> IndexedPack {
    let frame = FrameInfo { sealed_len: 1000, plain_len: 1 << 20, codec: Codec::Zstd };
    IndexedPack {
        id: PackId::from_bytes(hash(&format!("pack {number} {kind:?}"))),
        len: 1000 * u32::from(number) + 5000,
        kind,
        frames: vec![frame; 1 + usize::from(number) * 3],
    }
}

/// The three kinds of index objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Segments,
    Chunks,
    Prints,
}

/// An object with records of `ids`; its packs are those with the numbers `first_pack` to `first_pack + 2`.
pub fn object(first_pack: u8, sort: Sort, ids: &[u16]) -> IndexObject {
    let kind = match sort {
        Sort::Segments => Kind::MapPack,
        Sort::Chunks => Kind::DataPack,
        Sort::Prints => Kind::PrintPack,
    };
    let packs = (0..3).map(|i| pack(first_pack.wrapping_add(i), kind));
    let place = |i: usize| Place { frame: 0, offset: i as u32, len: 9 };
    let numbered = ids.iter().copied().enumerate();
    let records = match sort {
        Sort::Chunks => Records::Chunks(
            numbered
                .map(|(i, number)| ChunkRecord {
                    id: chunk_id_of(number),
                    pack: i as u32 % 3,
                    place: place(i),
                })
                .collect(),
        ),
        Sort::Segments => Records::Segments(
            numbered
                .map(|(i, number)| SegmentRecord {
                    id: id(number),
                    kind: [EntryKind::Map, EntryKind::Node][i % 2],
                    pack: i as u32 % 3,
                    place: place(i),
                })
                .collect(),
        ),
        Sort::Prints => {
            let segments: BTreeSet<_> = ids.iter().map(|number| id(*number)).collect();
            prints(segments.into_iter().collect(), ids)
        }
    };
    let mut object = IndexObject { packs: packs.collect(), records };
    let text = object.encode();
    IndexObject::parse(object.kind(), &text).unwrap()
}

/// Prints of `segments`, and a hook for each of `numbers`: few fingerprints, that lead to many segments.
fn prints(segments: Vec<[u8; 32]>, numbers: &[u16]) -> Records {
    let hook = |(i, number): (usize, &u16)| HookRecord {
        fingerprint: fingerprint(number % 48),
        segment: (i % segments.len()) as u32,
    };
    let hooks = numbers.iter().enumerate().map(hook).collect();
    let print = |(i, id): (usize, &[u8; 32])| SegmentRecord {
        id: *id,
        kind: EntryKind::Print,
        pack: i as u32 % 3,
        place: Place { frame: 0, offset: i as u32, len: 9 },
    };
    Records::Prints(segments.iter().enumerate().map(print).collect(), hooks)
}

pub fn objects() -> impl Strategy<Value = Objects> {
    let one = (any::<u8>(), 0..3_usize, vec(0_u16..400, 0..300));
    vec(one, 1..12).prop_map(|list| {
        let object = |(i, (first_pack, sort, ids)): (usize, (u8, usize, Vec<u16>))| {
            let sort = [Sort::Segments, Sort::Chunks, Sort::Prints][sort];
            (name(i), object(first_pack, sort, &ids))
        };
        list.into_iter().enumerate().map(object).collect()
    })
}

/// A few objects of all kinds.
pub fn sample() -> Objects {
    let ids =
        |n: usize| -> Vec<u16> { (0..250).map(|i| ((i * 7 + n * 31) % 400) as u16).collect() };
    let sort = |n: usize| [Sort::Chunks, Sort::Segments, Sort::Prints][n % 3];
    (0..9).map(|n| (name(n), object(n as u8 * 2, sort(n), &ids(n)))).collect()
}

#[derive(Default)]
pub struct Model {
    segments: BTreeMap<([u8; 32], EntryKind), Places>,
    chunks: BTreeMap<ChunkId, Places>,
    hooks: BTreeMap<Fingerprint, BTreeSet<SegmentId>>,
    packs: BTreeMap<PackId, IndexedPack>,
    segment_count: u64,
    chunk_count: u64,
    hook_count: u64,
}

impl Model {
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a IndexObject>) -> Self {
        let mut model = Self::default();
        objects.into_iter().for_each(|object| model.add(object));
        model
    }

    fn add(&mut self, object: &IndexObject) {
        let id_of = |pack: u32| object.packs[pack as usize].id;
        self.packs.extend(object.packs.iter().map(|pack| (pack.id, pack.clone())));
        if let Records::Segments(records) | Records::Prints(records, _) = &object.records {
            self.segment_count += records.len() as u64;
            for record in records {
                let places = self.segments.entry((record.id, record.kind)).or_default();
                places.insert((id_of(record.pack), record.place));
            }
        }
        if let Records::Chunks(records) = &object.records {
            self.chunk_count += records.len() as u64;
            for record in records {
                let places = self.chunks.entry(record.id).or_default();
                places.insert((id_of(record.pack), record.place));
            }
        }
        if let Records::Prints(prints, hooks) = &object.records {
            self.hook_count += hooks.len() as u64;
            for hook in hooks {
                let segment = SegmentId::from_bytes(prints[hook.segment as usize].id);
                self.hooks.entry(hook.fingerprint).or_default().insert(segment);
            }
        }
    }

    /// Asks for everything that is there and for much that is not. `Err`: the cache is damaged; never a wrong answer.
    #[track_caller]
    pub fn compare(&self, lookup: &Lookup) -> Result<(), LookupError> {
        let ids = self.compare_ids(lookup);
        ids.and_then(|()| self.compare_hooks(lookup)).and_then(|()| self.compare_whole(lookup))
    }

    #[track_caller]
    fn compare_ids(&self, lookup: &Lookup) -> Result<(), LookupError> {
        let named = |location: Location| (lookup.pack_id(location.pack), location.place);
        let none = Places::new();
        for number in 0..420 {
            for kind in [EntryKind::Map, EntryKind::Node, EntryKind::Disk, EntryKind::Print] {
                let expected = self.segments.get(&(id(number), kind)).unwrap_or(&none);
                let all = lookup.find_all(kind, &id(number))?;
                assert_eq!(&all.into_iter().map(named).collect::<Places>(), expected);
                let one = lookup.find(kind, &id(number))?.map(named);
                assert_eq!(one.is_some(), !expected.is_empty());
                assert!(one.is_none_or(|place| expected.contains(&place)));
            }
            let expected = self.chunks.get(&chunk_id_of(number)).unwrap_or(&none);
            let all = lookup.find_all_chunks(&chunk_id_of(number))?;
            assert_eq!(&all.into_iter().map(named).collect::<Places>(), expected);
            let one = lookup.find_chunk(&chunk_id_of(number))?.map(named);
            assert_eq!(one.is_some(), !expected.is_empty());
            assert!(one.is_none_or(|place| expected.contains(&place)));
        }
        Ok(())
    }

    #[track_caller]
    fn compare_hooks(&self, lookup: &Lookup) -> Result<(), LookupError> {
        let none = BTreeSet::new();
        let absent = (0..64).map(fingerprint).filter(|number| !self.hooks.contains_key(number));
        for fingerprint in self.hooks.keys().copied().chain(absent) {
            let expected = self.hooks.get(&fingerprint).unwrap_or(&none);
            for limit in [0, 1, 5, usize::MAX] {
                let found = lookup.find_hooks(&fingerprint, limit)?;
                assert_eq!(found.len(), expected.len().min(limit), "as many as there are");
                let found: BTreeSet<_> = found.into_iter().collect();
                assert_eq!(found.len(), expected.len().min(limit), "each once");
                assert!(found.is_subset(expected));
            }
        }
        Ok(())
    }

    #[track_caller]
    fn compare_whole(&self, lookup: &Lookup) -> Result<(), LookupError> {
        let named = |location: Location| (lookup.pack_id(location.pack), location.place);
        let (mut segments, mut chunks) =
            (BTreeMap::<_, Places>::new(), BTreeMap::<_, Places>::new());
        for record in lookup.segments() {
            let (kind, id, location) = record?;
            segments.entry((id, kind)).or_default().insert(named(location));
        }
        for record in lookup.chunks() {
            let (id, location) = record?;
            chunks.entry(id).or_default().insert(named(location));
        }
        assert!(segments == self.segments && chunks == self.chunks);
        assert_eq!(lookup.segment_count(), self.segment_count);
        assert_eq!(lookup.chunk_count(), self.chunk_count);
        let distinct: usize = self.hooks.values().map(BTreeSet::len).sum();
        assert!((distinct as u64..=self.hook_count).contains(&lookup.hook_count()));
        let packs: Vec<_> = lookup.packs().collect();
        assert_eq!(packs.len(), self.packs.len(), "each pack once");
        for (number, id, len, kind) in packs {
            let (facts, expected) = (lookup.pack(number)?, &self.packs[&id]);
            assert_eq!((facts.id, facts.len, facts.kind), (id, len, kind));
            assert_eq!((len, kind), (u64::from(expected.len), expected.kind));
            assert_eq!(facts.frames, expected.frames);
        }
        Ok(())
    }
}
