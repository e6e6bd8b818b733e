//! SPEC 13: the table of limits, and memory that hostile lengths cannot claim.

use repo_format::config::Config;
use repo_format::disk::Disk;
use repo_format::header::{Kind, SealedHeader};
use repo_format::index::IndexObject;
use repo_format::limits;
use repo_format::map::Map;
use repo_format::node::Node;
use repo_format::pack::Trailer;
use repo_format::print::StoredPrint;
use repo_format::slot::Slot;
use repo_format::snapshot::Snapshot;
use repo_tests::hostile::with_hash_repaired;
use repo_tests::memory::largest_allocation;

#[track_caller]
fn check_limit(row: &str, found: u64, wanted: u64) {
    assert_eq!(found, wanted, "{row}");
    let spec = include_str!("../../SPEC.md");
    assert!(spec.contains(row), "SPEC 13 has no row with `{row}`");
}

#[test]
fn s13_the_limits_are_those_of_the_table() {
    check_limit("| virtual size of a disk | 2^54 bytes |", limits::DISK_SIZE_MAX, 1 << 54);
    check_limit("(VM record, layout) | 64 MiB |", limits::WHOLE_STREAM_MAX, 64 << 20);
    check_limit("| chunk, plain frame | 1 MiB |", limits::CHUNK_MAX as u64, 1 << 20);
    check_limit("| chunk, plain frame | 1 MiB |", limits::FRAME_PLAIN_MAX as u64, 1 << 20);
    check_limit("| pack | 256 MiB |", limits::PACK_LEN_MAX, 256 << 20);
    check_limit("plain | 8 MiB |", limits::CONTENTS_PLAIN_MAX as u64, 8 << 20);
    check_limit("| index object | 256 MiB;", limits::INDEX_LEN_MAX, 256 << 20);
    check_limit("65,536 packs", limits::INDEX_PACKS_MAX as u64, 65_536);
    check_limit("4,194,304 records", limits::INDEX_RECORDS_MAX as u64, 4_194_304);
    check_limit("4,194,304 hooks", limits::INDEX_RECORDS_MAX as u64, 4_194_304);
    check_limit("| depth of a print | 32 |", limits::PRINT_DEPTH_MAX.into(), 32);
    check_limit("| object of kind 9, 10 or 11 | 64 MiB;", limits::CATALOG_LEN_MAX, 64 << 20);
    check_limit("of a snapshot | 1,024 |", limits::DISKS_MAX as u64, 1024);
    check_limit("| tags of a snapshot | 256;", limits::TAGS_MAX as u64, 256);
    check_limit("any text field of a snapshot 4,096 bytes", limits::TEXT_MAX as u64, 4096);
    check_limit("| key slots tried | the first 256 by id |", limits::SLOTS_MAX as u64, 256);
}

/// Bytes of which every length and count claims as much as it can.
#[track_caller]
fn check_memory(what: &str, parse: impl Fn(&[u8]) -> bool) {
    for len in [0, 1, 32, 96, 200, 1000] {
        for fill in [0x01, 0x5b, 0x9b, 0xbb, 0xff] {
            let bytes = vec![fill; len];
            let (accepted, largest) = largest_allocation(|| parse(&bytes));
            assert!(!accepted, "{what}: {len} x {fill:#x}");
            assert!(largest <= 16_384, "{what}: {largest} bytes at once for {len} x {fill:#x}");
        }
    }
}

#[test]
fn s13_lengths_are_checked_before_memory_is_allocated() {
    let hashed = |bytes: &[u8]| with_hash_repaired(&[bytes, &[0; 32]].concat());
    check_memory("map", |bytes| Map::parse(bytes).is_ok());
    check_memory("node", |bytes| Node::parse(bytes).is_ok());
    check_memory("disk", |bytes| Disk::parse(bytes).is_ok());
    check_memory("header", |bytes| SealedHeader::parse(bytes).is_ok());
    check_memory("trailer", |bytes| Trailer::parse(bytes, u64::MAX).is_ok());
    check_memory("segment index", |bytes| IndexObject::parse(Kind::SegmentIndex, bytes).is_ok());
    check_memory("chunk index", |bytes| IndexObject::parse(Kind::ChunkIndex, bytes).is_ok());
    check_memory("print index", |bytes| IndexObject::parse(Kind::PrintIndex, bytes).is_ok());
    check_memory("print", |bytes| StoredPrint::parse(bytes).is_ok());
    check_memory("snapshot", |bytes| Snapshot::parse(bytes).is_ok());
    check_memory("config", |bytes| Config::parse(&hashed(bytes)).is_ok());
    check_memory("slot", |bytes| Slot::parse(&hashed(bytes)).is_ok());
}

/// CBOR heads that announce 2^60 items or bytes, at every place where a snapshot has a value.
#[test]
fn s13_cbor_that_announces_much_gets_nothing() {
    let huge = |major: u8| [vec![major << 5 | 27], (1u64 << 60).to_be_bytes().to_vec()].concat();
    for key in 0..13u8 {
        for major in 2..=5 {
            let cbor = [&[0xa1, key][..], &huge(major)].concat();
            let (found, largest) = largest_allocation(|| Snapshot::parse(&cbor));
            assert!(found.is_err() && largest <= 16_384, "key {key}, type {major}: {largest}");
        }
    }
    let (found, largest) = largest_allocation(|| Snapshot::parse(&huge(5)));
    assert!(found.is_err() && largest <= 16_384, "{largest}");
    let deep = vec![0x81; 1_000_000];
    assert!(Snapshot::parse(&deep).is_err(), "deep nesting is no stack overflow");
    let deep = [&[0xa1, 0x18, 99][..], &deep].concat();
    assert!(Snapshot::parse(&deep).is_err(), "below an unknown key neither");
}
