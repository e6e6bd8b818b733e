//! The layout stream: encoding, hostile bytes, size.

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::expect::MemberClass;
use super::recorder::Recorder;
use super::*;
use crate::xva::members::Member;
use crate::xva::tar::{BLOCK_LEN, Block, v7_header};

fn member(header: Block, size_bytes: u64) -> Member {
    let (name, prelude) = (Vec::new(), Vec::new());
    Member { name, size_bytes, offset_bytes: 0, header, prelude }
}

fn recorder() -> Recorder {
    Recorder::new(&member(v7_header(b"ova.xml", 9), 9), Vec::new())
}

/// Records a pair as xapi writes it.
fn record_pair(recorder: &mut Recorder, number: u64, len: u64) {
    let name = expect::chunk_name("Ref:1", number);
    let chunk = member(v7_header(name.as_bytes(), len), len);
    recorder.member(MemberClass::Chunk, &name, &chunk, Vec::new(), None);
    let name = name + ".xxhash";
    let checksum = member(v7_header(name.as_bytes(), 16), 16);
    let kind = Some(ChecksumKind::Xxh64);
    recorder.member(MemberClass::Checksum, &name, &checksum, Vec::new(), kind);
}

#[track_caller]
fn check_length(mut recorder: Recorder, len_max: usize) {
    recorder.disk_end();
    let encoded = recorder.finish(Tail::Zeros(0)).expect("a layout");
    assert!(encoded.len() <= len_max, "{} bytes", encoded.len());
    assert_eq!(Layout::decode(&encoded).expect("decodes").encode(), Some(encoded));
}

#[test]
fn full_disk_costs_next_to_nothing() {
    let mut recorder = recorder();
    recorder.disk("Ref:1");
    for number in 0..100_000 {
        record_pair(&mut recorder, number, 1 << 20);
        recorder.chunk(number % 7 == 0, number == 99_999); // zeros that are allocated
    }
    check_length(recorder, 50_000);
    let mut recorder = self::recorder();
    recorder.disk("Ref:1");
    for number in 0..100_000 {
        record_pair(&mut recorder, number, 1 << 20);
        recorder.chunk(false, number == 99_999);
    }
    check_length(recorder, 30);
}

#[test]
fn sparse_disk_of_3_tib_costs_next_to_nothing() {
    let mut recorder = recorder();
    recorder.disk("Ref:1");
    record_pair(&mut recorder, 0, 1 << 20);
    recorder.chunk(true, false);
    recorder.absent((3 << 20) - 2);
    record_pair(&mut recorder, (3 << 20) - 1, 1 << 20);
    recorder.chunk(true, true);
    check_length(recorder, 30);
}

#[test]
fn too_much_to_remember_is_not_remembered() {
    let mut recorder = recorder();
    recorder.disk("Ref:1");
    let mut chunk = member(v7_header(b"Ref:1/00000000", 0), 0);
    chunk.prelude = vec![1; 60 << 10];
    for _ in 0..1200 {
        recorder.member(MemberClass::Chunk, "Ref:1/00000000", &chunk, Vec::new(), None);
        recorder.chunk(false, false);
    }
    recorder.disk_end();
    assert_eq!(recorder.finish(Tail::Zeros(0)), None);
}

#[test]
fn encoding_is_the_documented_one() {
    let mut layout = Layout::canonical(["Ref:1".to_owned()], ChecksumKind::Sha1);
    layout.disks[0].zero_runs = vec![0, 1];
    layout.disks[0].keep_alives = vec![KeepAlives { chunks_since: 24, count: 1 }];
    let changes = Changes { padding: vec![7], ..Changes::default() };
    layout.disks[0].exceptions.push(3, &changes);
    layout.tail = Tail::Bytes(b"x".to_vec());
    let encoded = layout.encode().expect("encodes");
    let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
    let documented = concat!(
        "85",
        "01",
        "1a00100000",
        "a10301", // version, chunk length, record: SHA-1
        "81",
        "84",
        "455265663a31", // one disk, its id
        "820001",
        "81",
        "82181801", // zero runs, keep-alives
        "81",
        "82",
        "03",
        "a1024107", // exceptions
        "4178",     // tail
    );
    assert_eq!(hex, documented);
    assert_eq!(Layout::decode(&encoded).expect("decodes"), layout);
}

#[test]
fn impossible_layouts_are_refused() {
    let encode = |edit: &dyn Fn(&mut Layout)| {
        let mut layout = Layout::canonical(["Ref:1".to_owned()], ChecksumKind::Xxh64);
        edit(&mut layout);
        layout.encode().expect("encodes")
    };
    assert!(Layout::decode(&encode(&|_| {})).is_ok());
    let wrong = [
        encode(&|layout| layout.chunk_len = 0),
        encode(&|layout| layout.chunk_len = 3 << 20),
        encode(&|layout| layout.chunk_len = 1 << 40),
        encode(&|layout| layout.disks[0].id.clear()),
        encode(&|layout| layout.disks[0].id = "x".repeat(ID_LEN_MAX + 1)),
        encode(&|layout| layout.record.prelude = vec![0; 100]),
        encode(&|layout| layout.record.padding = vec![0; BLOCK_LEN]),
        encode(&|layout| layout.tail = Tail::Zeros(u64::MAX)),
        encode(&|layout| layout.tail = Tail::Bytes(vec![0; TAIL_LEN_MAX + 1])),
        encode(&|layout| {
            layout.disks[0].keep_alives.push(KeepAlives { chunks_since: 0, count: u64::MAX });
        }),
    ];
    for encoded in wrong {
        assert!(Layout::decode(&encoded).is_err());
    }
    assert!(
        Layout::decode(b"\x85\x01\x1a\0\x10\0\0\xa0\x9b\xff\xff\xff\xff\xff\xff\xff\xff").is_err()
    );
}

proptest! {
    #[test]
    fn any_bytes_get_a_verdict(bytes: Vec<u8>) {
        let _verdict = Layout::decode(&bytes);
    }

    #[test]
    fn changed_encodings_get_a_verdict(at: proptest::sample::Index, byte: u8) {
        let mut layout = Layout::canonical(["Ref:1".to_owned()], ChecksumKind::Sha1);
        let patches = Changes::patches_between(&[0; BLOCK_LEN], &[1; BLOCK_LEN]);
        layout.disks[0].exceptions.push(3, &Changes { patches, ..Changes::default() });
        let mut encoded = layout.encode().expect("encodes");
        let at = at.index(encoded.len());
        encoded[at] = byte;
        if let Ok(layout) = Layout::decode(&encoded) {
            for disk in layout.disks {
                let mut cursor = disk.exceptions.into_cursor();
                while let Some((_, changes)) = cursor.next_exception() {
                    let _header = changes.header(&[0; BLOCK_LEN]);
                }
            }
        }
    }

    #[test]
    fn patches_make_any_header_of_any_other(expected: Vec<u8>, found: Vec<u8>) {
        let block = |bytes: &[u8]| {
            let mut block = v7_header(b"Ref:1/00000000", 512);
            bytes.iter().zip(&mut block[90..]).for_each(|(byte, slot)| *slot = *byte);
            block
        };
        let (expected, found) = (block(&expected), block(&found));
        let patches = Changes::patches_between(&expected, &found);
        prop_assert_eq!(patches.is_empty(), expected == found);
        let changes = Changes { patches, ..Changes::default() };
        prop_assert!(changes.header(&expected) == found);
    }
}
