//! SPEC 11: index objects.

use proptest::collection::vec;
use proptest::prelude::*;
use repo_format::FormatError;
use repo_format::frame::{Codec, FrameInfo, Place};
use repo_format::header::Kind;
use repo_format::id::{ChunkId, Fingerprint, PackId};
use repo_format::index::{
    ChunkRecord, HookRecord, IndexObject, IndexedPack, Records, SegmentRecord,
};
use repo_format::pack::EntryKind;
use repo_format::padding::padded_len;
use repo_format::seal::{open_object, seal_object};
use repo_tests::fixed::{backup_keys, full_keys, secret};
use repo_tests::hostile::{Verdict, check_codec};
use repo_tests::memory::largest_allocation;

const fn frame(plain_len: u32, codec: Codec) -> FrameInfo {
    FrameInfo { sealed_len: plain_len + 24, plain_len, codec }
}

fn pack(number: u8, kind: Kind, frames: &[FrameInfo]) -> IndexedPack {
    let id = PackId::from_bytes([number; 32]);
    IndexedPack { id, len: 5000, kind, frames: frames.to_vec() }
}

const fn place(frame: u16, offset: u32, len: u32) -> Place {
    Place { frame, offset, len }
}

fn segments() -> IndexObject {
    let record = |number: u8, kind, place| SegmentRecord { id: [number; 32], kind, pack: 1, place };
    IndexObject {
        packs: vec![
            pack(1, Kind::MapPack, &[]),
            pack(
                2,
                Kind::MapPack,
                &[frame(300, Codec::Zstd), frame(400, Codec::Raw), frame(9, Codec::Padding)],
            ),
        ],
        records: Records::Segments(vec![
            record(5, EntryKind::Map, place(0, 0, 300)),
            record(5, EntryKind::Node, place(1, 390, 10)),
            record(6, EntryKind::Disk, place(1, 0, 64)),
        ]),
    }
}

fn chunks() -> IndexObject {
    let record =
        |number: u8, place| ChunkRecord { id: ChunkId::from_bytes([number; 16]), pack: 0, place };
    IndexObject {
        packs: vec![pack(
            1,
            Kind::DataPack,
            &[frame(1 << 20, Codec::Zstd), frame(70_000, Codec::Raw)],
        )],
        records: Records::Chunks(vec![
            record(1, place(1, 0, 70_000)),
            record(1, place(0, 65_536, 70_000)),
            record(9, place(0, 0, 65_536)),
        ]),
    }
}

const fn print_record(number: u8, place: Place) -> SegmentRecord {
    SegmentRecord { id: [number; 32], kind: EntryKind::Print, pack: 0, place }
}

const fn hook(number: u8, segment: u32) -> HookRecord {
    HookRecord { fingerprint: Fingerprint::from_bytes([number; 12]), segment }
}

fn prints() -> IndexObject {
    let frames = [frame(9000, Codec::Raw), frame(400, Codec::Zstd)];
    let records = vec![
        print_record(3, place(1, 0, 400)),
        print_record(5, place(0, 3000, 6000)),
        print_record(6, place(0, 0, 3000)),
    ];
    let hooks = vec![hook(0x20, 2), hook(0x40, 0), hook(0x40, 1), hook(0xe0, 0)];
    IndexObject {
        packs: vec![pack(1, Kind::PrintPack, &frames)],
        records: Records::Prints(records, hooks),
    }
}

fn verdict(kind: Kind) -> impl Fn(&[u8]) -> Verdict {
    move |text| IndexObject::parse(kind, text).ok().map(|mut index| index.encode())
}

fn line(frame: &FrameInfo) -> Vec<u8> {
    let mut w = repo_format::wire::Writer::default();
    frame.write(&mut w);
    w.finish()
}

#[track_caller]
fn check_layout(mut index: IndexObject, kind: Kind, parts: &[&[u8]]) {
    let mut wanted = parts.concat();
    wanted.resize(padded_len(wanted.len()), 0);
    assert_eq!(index.encode(), wanted);
    assert_eq!(index.kind(), kind);
    assert_eq!(IndexObject::parse(kind, &wanted), Ok(index));
}

#[test]
fn s11_a_segment_index_is_laid_out_as_specified() {
    check_layout(
        segments(),
        Kind::SegmentIndex,
        &[
            &[2, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0],
            &[0; 20],
            &[1; 32],
            &[0x88, 0x13, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0],
            &[2; 32],
            &[0x88, 0x13, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0],
            &line(&frame(300, Codec::Zstd)),
            &line(&frame(400, Codec::Raw)),
            &line(&frame(9, Codec::Padding)),
            &[5; 32],
            &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 44, 1, 0],
            &[5; 32],
            &[2, 0, 1, 0, 1, 0, 0, 0, 134, 1, 0, 10, 0, 0],
            &[6; 32],
            &[3, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 64, 0, 0],
        ],
    );
}

#[test]
fn s11_a_chunk_index_is_laid_out_as_specified() {
    check_layout(
        chunks(),
        Kind::ChunkIndex,
        &[
            &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],
            &[0; 20],
            &[1; 32],
            &[0x88, 0x13, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
            &line(&frame(1 << 20, Codec::Zstd)),
            &line(&frame(70_000, Codec::Raw)),
            &[1; 16],
            &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0x70, 0x11, 1],
            &[1; 16],
            &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0x70, 0x11, 1],
            &[9; 16],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ],
    );
}

#[test]
fn s11_a_print_index_is_laid_out_as_specified() {
    check_layout(
        prints(),
        Kind::PrintIndex,
        &[
            &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0],
            &[0; 16],
            &[1; 32],
            &[0x88, 0x13, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
            &line(&frame(9000, Codec::Raw)),
            &line(&frame(400, Codec::Zstd)),
            &[3; 32],
            &[5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x90, 1, 0],
            &[5; 32],
            &[5, 0, 0, 0, 0, 0, 0, 0, 0xb8, 0x0b, 0, 0x70, 0x17, 0],
            &[6; 32],
            &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xb8, 0x0b, 0],
            &[0x20; 12],
            &[2, 0, 0, 0],
            &[0x40; 12],
            &[0, 0, 0, 0],
            &[0x40; 12],
            &[1, 0, 0, 0],
            &[0xe0; 12],
            &[0, 0, 0, 0],
        ],
    );
}

#[test]
fn s11_records_are_sorted_by_id_and_kind() {
    let reversed = |mut index: IndexObject| {
        match &mut index.records {
            Records::Segments(records) => records.reverse(),
            Records::Chunks(records) => records.reverse(),
            Records::Prints(_, hooks) => hooks.reverse(),
        }
        index
    };
    assert_eq!(reversed(segments()).encode(), segments().encode());
    assert_eq!(reversed(prints()).encode(), prints().encode());
    let mut text = segments().encode();
    let start = 32 + 2 * 48 + 3 * 8;
    let (first, second) = text[start..].split_at_mut(46);
    first.swap_with_slice(&mut second[..46]);
    assert!(IndexObject::parse(Kind::SegmentIndex, &text).is_err());
    let mut text = chunks().encode();
    text[32 + 48 + 2 * 8 + 2 * 28] = 0;
    assert!(IndexObject::parse(Kind::ChunkIndex, &text).is_err());
}

#[test]
fn s11_one_id_may_have_several_records() {
    let text = chunks().encode();
    assert!(IndexObject::parse(Kind::ChunkIndex, &text).is_ok());
}

/// Where the records of [`prints`] begin, and where its hooks.
const PRINTS_AT: usize = 32 + 48 + 2 * 8;
const HOOKS_AT: usize = PRINTS_AT + 3 * 46;

/// The text of a print index with these bytes from `place` on.
#[track_caller]
fn check_prints(place: usize, new: &[u8], sound: bool) {
    let mut text = prints().encode();
    text[place..place + new.len()].copy_from_slice(new);
    assert_eq!(IndexObject::parse(Kind::PrintIndex, &text).is_ok(), sound, "{new:?} at {place}");
}

#[test]
fn s11_a_print_index_has_each_id_once_in_order() {
    check_prints(PRINTS_AT + 46, &[4; 32], true);
    check_prints(PRINTS_AT + 46, &[3; 32], false);
    check_prints(PRINTS_AT + 46, &[2; 32], false);
    check_prints(PRINTS_AT + 46, &[6; 32], false);
}

#[test]
#[should_panic(expected = "by place")]
fn s11_prints_are_sorted_before_hooks_name_them() {
    let mut index = prints();
    if let Records::Prints(records, _) = &mut index.records {
        records.reverse();
    }
    let _ = index.encode();
}

#[test]
#[should_panic(expected = "by place")]
fn s11_no_print_is_listed_twice() {
    let mut index = prints();
    if let Records::Prints(records, _) = &mut index.records {
        records[1] = records[0];
    }
    let _ = index.encode();
}

#[test]
fn s11_hooks_are_sorted_by_fingerprint_and_record() {
    check_prints(HOOKS_AT, &[0x3f; 12], true);
    check_prints(HOOKS_AT, &[0x41; 12], false);
    check_prints(HOOKS_AT, &[0x40; 12], false);
    check_prints(HOOKS_AT + 16, &[0x1f; 12], false);
    check_prints(HOOKS_AT + 28, &[2], false);
}

#[test]
fn s11_a_hook_leads_to_a_record_of_its_object() {
    for (record, sound) in
        [(0u32, true), (2, true), (3, false), (1 << 24, false), (u32::MAX, false)]
    {
        check_prints(HOOKS_AT + 12, &record.to_le_bytes(), sound);
    }
    let mut index = prints();
    index.records = Records::Prints(Vec::new(), vec![hook(0x20, 0)]);
    assert!(IndexObject::parse(Kind::PrintIndex, &index.encode()).is_err());
    index.records = Records::Prints(vec![print_record(1, place(0, 0, 1))], Vec::new());
    assert!(IndexObject::parse(Kind::PrintIndex, &index.encode()).is_ok());
}

#[test]
fn s11_only_a_print_index_has_hooks() {
    for mut index in [segments(), chunks()] {
        let (kind, mut text) = (index.kind(), index.encode());
        text[12] = 1;
        assert!(IndexObject::parse(kind, &text).is_err(), "hooks in the padding");
        text = [&[0; 12][..], &[1, 0, 0, 0], &[0; 16], &[0x20; 12], &[0; 4]].concat();
        text.resize(padded_len(text.len()), 0);
        let wanted = FormatError::Invalid { what: "hooks of an index" };
        assert_eq!(IndexObject::parse(kind, &text), Err(wanted));
    }
}

#[test]
fn s11_indexes_withstand_hostile_bytes() {
    for mut index in [segments(), chunks(), prints()] {
        check_codec(&index.encode(), verdict(index.kind()));
    }
}

/// A chunk record that points somewhere else.
#[track_caller]
fn check_record(pack: u32, place: Place, sound: bool) {
    let mut index = chunks();
    index.records =
        Records::Chunks(vec![ChunkRecord { id: ChunkId::from_bytes([1; 16]), pack, place }]);
    let text = index.encode();
    assert_eq!(IndexObject::parse(Kind::ChunkIndex, &text).is_ok(), sound);
}

#[test]
fn s11_every_record_lies_within_its_pack() {
    check_record(0, place(0, 0, 1 << 20), true);
    check_record(0, place(1, 0, 70_000), true);
    check_record(0, place(1, 1, 70_000), false);
    check_record(0, place(1, 0, 0), false);
    check_record(0, place(2, 0, 1), false);
    check_record(1, place(0, 0, 1), false);
    check_record(u32::MAX, place(0, 0, 1), false);
    check_record(0, place(0, (1 << 24) - 1, (1 << 24) - 1), false);
}

#[test]
fn s11_records_do_not_lie_in_padding() {
    let mut index = segments();
    let record =
        SegmentRecord { id: [1; 32], kind: EntryKind::Map, pack: 1, place: place(2, 0, 1) };
    index.records = Records::Segments(vec![record]);
    assert!(IndexObject::parse(Kind::SegmentIndex, &index.encode()).is_err());
}

#[test]
fn s11_a_segment_index_holds_maps_nodes_and_disks() {
    for kind in 0..=255u8 {
        let mut text = segments().encode();
        let second = 32 + 2 * 48 + 3 * 8 + 46;
        text[second + 32] = kind;
        let found = IndexObject::parse(Kind::SegmentIndex, &text);
        assert_eq!(found.is_ok(), (1..=3).contains(&kind), "{kind}");
    }
}

#[test]
fn s11_a_print_index_holds_prints() {
    for kind in 0..=255u8 {
        check_prints(PRINTS_AT + 32, &[kind], kind == 5);
        check_prints(PRINTS_AT + 46 + 32, &[kind], kind == 5);
    }
}

#[test]
fn s11_each_index_names_packs_of_its_kind_of_up_to_256_mib() {
    let parse = |mut index: IndexObject, kind: u8, len: u32| {
        let mut text = index.encode();
        text[32 + 32..32 + 36].copy_from_slice(&len.to_le_bytes());
        text[32 + 40] = kind;
        IndexObject::parse(index.kind(), &text).is_ok()
    };
    for kind in 0..=255u8 {
        assert_eq!(parse(chunks(), kind, 5000), kind == 3, "{kind}");
        assert_eq!(parse(segments(), kind, 5000), kind == 4, "{kind}");
        assert_eq!(parse(prints(), kind, 5000), kind == 5, "{kind}");
    }
    assert!(parse(chunks(), 3, 256 << 20));
    assert!(!parse(chunks(), 3, (256 << 20) + 1));
}

#[test]
fn s11_only_kinds_6_to_8_are_such_objects() {
    let text = chunks().encode();
    for kind in [Kind::PrintPack, Kind::Snapshot, Kind::MapPack] {
        assert!(IndexObject::parse(kind, &text).is_err());
    }
}

#[track_caller]
fn check_counts(packs: u32, frames: u32, records: u32, wanted: &str) {
    for kind in [Kind::SegmentIndex, Kind::ChunkIndex, Kind::PrintIndex] {
        check_counts_of(kind, [packs, frames, records, 0], wanted);
    }
}

#[track_caller]
fn check_counts_of(kind: Kind, counts: [u32; 4], wanted: &str) {
    let text = [&counts.map(u32::to_le_bytes).concat()[..], &[0; 16]].concat();
    let (error, largest) =
        largest_allocation(|| IndexObject::parse(kind, &text).expect_err("refused"));
    assert!(format!("{error:?}").starts_with(wanted), "{error:?}");
    assert!(largest < 4096, "{largest} bytes at once");
}

#[test]
fn s13_an_index_names_up_to_65536_packs_and_4194304_records() {
    check_counts(65_536, 0, 0, "Truncated");
    check_counts(65_537, 0, 0, "Limit");
    check_counts(u32::MAX, 0, 0, "Limit");
    check_counts(0, u32::MAX, 0, "Limit");
    check_counts(0, 0, 4_194_304, "Truncated");
    check_counts(0, 0, 4_194_305, "Limit");
    check_counts(0, 0, u32::MAX, "Limit");
    check_counts(0, 1, 0, "Invalid");
}

#[test]
fn s13_a_print_index_has_up_to_4194304_hooks() {
    check_counts_of(Kind::PrintIndex, [0, 0, 0, 4_194_304], "Truncated");
    check_counts_of(Kind::PrintIndex, [0, 0, 0, 4_194_305], "Limit");
    check_counts_of(Kind::PrintIndex, [0, 0, 0, u32::MAX], "Limit");
    check_counts_of(Kind::SegmentIndex, [0, 0, 0, 1], "Invalid");
    check_counts_of(Kind::ChunkIndex, [0, 0, 0, 4_194_304], "Invalid");
}

fn any_packs(kind: Kind) -> impl Strategy<Value = Vec<IndexedPack>> {
    let frame = (1..=1u32 << 20, any::<Option<u32>>()).prop_map(|(plain_len, saved)| match saved {
        None => frame(plain_len, Codec::Raw),
        Some(saved) => {
            let sealed_len = plain_len + 24 - saved % plain_len;
            FrameInfo { sealed_len, plain_len, codec: Codec::Zstd }
        }
    });
    let pack = (any::<[u8; 32]>(), 0..=256u32 << 20, vec(frame, 1..5)).prop_map(
        move |(id, len, frames)| IndexedPack { id: PackId::from_bytes(id), len, kind, frames },
    );
    vec(pack, 1..6)
}

/// Turns three numbers into a pack and a place that lies within one of its frames.
fn aim(packs: &[IndexedPack], [a, b, c]: [u32; 3]) -> (u32, Place) {
    let pack = a as usize % packs.len();
    let frame = b as usize % packs[pack].frames.len();
    let plain_len = packs[pack].frames[frame].plain_len;
    let offset = c % plain_len;
    (pack as u32, place(frame as u16, offset, 1 + b % (plain_len - offset)))
}

proptest! {
    #[test]
    fn s11_every_chunk_index_is_read_back(
        packs in any_packs(Kind::DataPack), aims in vec((any::<[u8; 16]>(), any::<[u32; 3]>()), 0..40),
    ) {
        let record = |&(id, numbers): &([u8; 16], [u32; 3])| {
            let (pack, place) = aim(&packs, numbers);
            ChunkRecord { id: ChunkId::from_bytes(id), pack, place }
        };
        let records = Records::Chunks(aims.iter().map(record).collect());
        let mut index = IndexObject { packs, records };
        let text = index.encode();
        prop_assert_eq!(text.len(), padded_len(text.len()));
        prop_assert_eq!(IndexObject::parse(Kind::ChunkIndex, &text), Ok(index));
    }

    #[test]
    fn s11_every_segment_index_is_read_back(
        packs in any_packs(Kind::MapPack), aims in vec((any::<[u8; 32]>(), any::<[u32; 3]>(), 0..3usize), 0..40),
    ) {
        let record = |&(id, numbers, kind): &([u8; 32], [u32; 3], usize)| {
            let (pack, place) = aim(&packs, numbers);
            let kind = [EntryKind::Map, EntryKind::Node, EntryKind::Disk][kind];
            SegmentRecord { id, kind, pack, place }
        };
        let records = Records::Segments(aims.iter().map(record).collect());
        let mut index = IndexObject { packs, records };
        let text = index.encode();
        prop_assert_eq!(IndexObject::parse(Kind::SegmentIndex, &text), Ok(index));
    }

    #[test]
    fn s11_every_print_index_is_read_back(
        packs in any_packs(Kind::PrintPack),
        aims in prop::collection::btree_map(any::<[u8; 32]>(), any::<[u32; 3]>(), 1..40),
        hooks in vec((any::<[u8; 12]>(), any::<prop::sample::Index>()), 0..60),
    ) {
        let record = |(id, numbers): (&[u8; 32], &[u32; 3])| {
            let (pack, place) = aim(&packs, *numbers);
            SegmentRecord { id: *id, kind: EntryKind::Print, pack, place }
        };
        let hook = |(bytes, which): &([u8; 12], prop::sample::Index)| {
            let fingerprint = Fingerprint::from_bytes(*bytes);
            HookRecord { fingerprint, segment: which.index(aims.len()) as u32 }
        };
        let records = aims.iter().map(record).collect();
        let records = Records::Prints(records, hooks.iter().map(hook).collect());
        let mut index = IndexObject { packs, records };
        let text = index.encode();
        prop_assert_eq!(IndexObject::parse(Kind::PrintIndex, &text), Ok(index));
    }
}

#[test]
fn s11_an_index_object_is_sealed_under_its_kind() {
    let mut index = segments();
    let object = seal_object(&backup_keys(), index.kind(), &secret("seed"), &index.encode());
    let text = open_object(&full_keys(), Kind::SegmentIndex, "index", &object).unwrap();
    assert_eq!(IndexObject::parse(Kind::SegmentIndex, &text), Ok(index));
    for other in [Kind::ChunkIndex, Kind::PrintIndex] {
        assert!(open_object(&full_keys(), other, "index", &object).is_err());
    }
}
