//! SPEC 7: maps, nodes and disks.

use proptest::collection::vec;
use proptest::prelude::*;
use repo_format::disk::{DISK_LEN, Disk, disk_id};
use repo_format::id::{ChunkId, NodeId};
use repo_format::map::{ChunkRef, Extent, Fill, Map};
use repo_format::node::{Node, child_span, node_id, root_level};
use repo_format::segment::chunk_id;
use repo_tests::fixed::{array, full_keys, noise};
use repo_tests::hostile::{Verdict, check_codec};

const SEGMENT: u32 = 4 << 20;
const MIB: u32 = 1 << 20;

// 7.1 Map

fn chunk(number: usize, len: u32) -> ChunkRef {
    let id = ChunkId::from_bytes(array(&format!("chunk {number}")));
    ChunkRef { id, len }
}

const fn zeros(len: u32) -> Extent {
    Extent { len, fill: Fill::Zeros }
}

const fn of(index: u8, offset: u32, len: u32) -> Extent {
    Extent { len, fill: Fill::Chunk { index, offset } }
}

fn map_verdict(bytes: &[u8]) -> Verdict {
    Map::parse(bytes).ok().map(|map| map.encode())
}

fn sample_map() -> Map {
    let extents =
        vec![of(0, 0, 65_536), zeros(SEGMENT - MIB - 65_536 - 10), of(1, 0, MIB), of(0, 3, 10)];
    Map::new(vec![chunk(0, 65_536), chunk(1, MIB)], extents).expect("a sound map")
}

#[test]
fn s7_1_a_map_is_laid_out_as_specified() {
    let wanted = [
        &[2, 0, 4, 0, 0, 0, 0, 0][..],
        &array::<16>("chunk 0"),
        &[0, 0, 1, 0],
        &array::<16>("chunk 1"),
        &[0, 0, 16, 0],
        &[0, 0, 1, 0, 0, 0, 0, 0],
        &[0xf6, 0xff, 0x2e, 255, 0, 0, 0, 0],
        &[0, 0, 16, 1, 0, 0, 0, 0],
        &[10, 0, 0, 0, 3, 0, 0, 0],
    ];
    assert_eq!(sample_map().encode(), wanted.concat());
    assert_eq!(Map::parse(&wanted.concat()), Ok(sample_map()));
}

#[test]
fn s7_1_maps_withstand_hostile_bytes() {
    check_codec(&sample_map().encode(), map_verdict);
}

/// Made by `Map::new` and read from bytes, the verdict is the same.
#[track_caller]
fn check_map(chunks: &[ChunkRef], extents: &[Extent], sound: bool) {
    let made = Map::new(chunks.to_vec(), extents.to_vec());
    assert_eq!(made.is_ok(), sound, "made");
    if let Ok(map) = made {
        assert_eq!(Map::parse(&map.encode()), Ok(map.clone()));
        assert_eq!((map.chunks(), map.extents()), (chunks, extents));
    }
    assert_eq!(Map::parse(&map_bytes(chunks, extents)).is_ok(), sound, "read");
}

/// SPEC 7.1 written down once more, without any check.
fn map_bytes(chunks: &[ChunkRef], extents: &[Extent]) -> Vec<u8> {
    let count = |len: usize| u16::try_from(len).expect("tests stay below 65,536").to_le_bytes();
    let u24 = |value: u32| [value as u8, (value >> 8) as u8, (value >> 16) as u8];
    let mut bytes = [count(chunks.len()), count(extents.len()), [0; 2], [0; 2]].concat();
    for chunk in chunks {
        bytes.extend([chunk.id.as_bytes(), &u24(chunk.len)[..], &[0]].concat());
    }
    for extent in extents {
        let (source, offset) = match extent.fill {
            Fill::Zeros => (255, 0),
            Fill::Chunk { index, offset } => (index, offset),
        };
        bytes.extend([&u24(extent.len)[..], &[source], &u24(offset), &[0]].concat());
    }
    bytes
}

#[test]
fn s7_1_extents_fill_exactly_a_segment() {
    check_map(&[chunk(0, 1)], &[zeros(SEGMENT)], true);
    check_map(&[chunk(0, 1)], &[zeros(SEGMENT - 1)], false);
    check_map(&[chunk(0, 1)], &[zeros(SEGMENT + 1)], false);
    check_map(&[chunk(0, 1)], &[zeros(1), zeros(SEGMENT - 1)], true);
    check_map(&[chunk(0, 1)], &[zeros(0), zeros(SEGMENT)], false);
    check_map(&[chunk(0, 1)], &[], false);
    check_map(&[chunk(0, 1)], &[of(0, 0, 1), zeros(SEGMENT - 1)], true);
    check_map(&[chunk(0, 1)], &[zeros((1 << 24) - 1); 257], false);
}

#[test]
fn s7_1_extents_stay_within_their_chunks() {
    let rest = zeros(SEGMENT - 100);
    check_map(&[chunk(0, 100)], &[of(0, 0, 100), rest], true);
    check_map(&[chunk(0, 101)], &[of(0, 1, 100), rest], true);
    check_map(&[chunk(0, 100)], &[of(0, 1, 100), rest], false);
    check_map(&[chunk(0, 99)], &[of(0, 0, 100), rest], false);
    check_map(&[chunk(0, 100)], &[of(1, 0, 100), rest], false);
    check_map(&[chunk(0, 100)], &[of(0, (1 << 24) - 1, 100), rest], false);
    check_map(&[], &[of(0, 0, 100), rest], false);
    check_map(&[], &[of(254, 0, 100), rest], false);
}

#[test]
fn s7_1_chunks_have_1_byte_to_1_mib() {
    check_map(&[chunk(0, 1)], &[zeros(SEGMENT)], true);
    check_map(&[chunk(0, MIB)], &[zeros(SEGMENT)], true);
    check_map(&[chunk(0, 0)], &[zeros(SEGMENT)], false);
    check_map(&[chunk(0, MIB + 1)], &[zeros(SEGMENT)], false);
}

#[test]
fn s7_1_a_map_has_1_to_192_chunks_and_1_to_1023_extents() {
    let chunks = |count| (0..count).map(|number| chunk(number, 9)).collect::<Vec<_>>();
    let extents = |count: u32| {
        let mut extents = vec![zeros(1); count as usize];
        extents[0] = zeros(SEGMENT - count + 1);
        extents
    };
    check_map(&chunks(0), &extents(1), false);
    check_map(&chunks(1), &extents(1), true);
    check_map(&chunks(192), &extents(1023), true);
    check_map(&chunks(193), &extents(1), false);
    check_map(&chunks(256), &extents(1), false);
    check_map(&chunks(1), &extents(1024), false);
    let mut last = extents(2);
    last[1] = of(191, 8, 1);
    check_map(&chunks(192), &last, true);
}

fn any_map() -> impl Strategy<Value = Map> {
    let chunks = vec((any::<[u8; 16]>(), 1..=MIB), 1..=192);
    let pieces =
        vec((any::<prop::sample::Index>(), any::<u32>(), 1..60_000u32, any::<bool>()), 0..60);
    (chunks, pieces).prop_map(|(chunks, pieces)| {
        let chunks: Vec<ChunkRef> = chunks
            .into_iter()
            .map(|(id, len)| ChunkRef { id: ChunkId::from_bytes(id), len })
            .collect();
        let mut extents = Vec::new();
        let mut left = SEGMENT;
        for (which, offset, len, zero) in pieces {
            let index = which.index(chunks.len());
            let offset = offset % chunks[index].len;
            let len = len.min(chunks[index].len - offset).min(left - 1);
            left -= len;
            let fill = Fill::Chunk { index: index as u8, offset };
            extents.push(if zero { zeros(len) } else { Extent { len, fill } });
        }
        extents.push(zeros(left));
        Map::new(chunks, extents).expect("made to fit")
    })
}

proptest! {
    #[test]
    fn s7_1_every_map_is_read_back(map in any_map()) {
        let bytes = map.encode();
        prop_assert_eq!(&bytes, &map_bytes(map.chunks(), map.extents()));
        prop_assert_eq!(bytes.len(), 8 + 20 * map.chunks().len() + 8 * map.extents().len());
        prop_assert_eq!(Map::parse(&bytes), Ok(map));
    }
}

#[test]
fn s7_1_a_chunk_id_is_16_bytes_of_a_keyed_hash() {
    let (keys, bytes) = (full_keys(), noise("chunk", 1000));
    let hash = blake3::keyed_hash(keys.chunk.expose(), &bytes);
    assert_eq!(chunk_id(&keys, &bytes).as_bytes(), &hash.as_bytes()[..16]);
}

// 7.2 Node

fn node_verdict(bytes: &[u8]) -> Verdict {
    Node::parse(bytes).ok().map(|node| node.encode())
}

fn child(place: u8) -> (u8, [u8; 32]) {
    (place, array(&format!("child {place}")))
}

#[test]
fn s7_2_a_node_is_laid_out_as_specified() {
    let node = Node::new(2, vec![child(0), child(9), child(255)]).unwrap();
    let mut wanted = vec![2, 0, 0, 0, 0, 0, 0, 0];
    wanted.extend([0x01, 0x02]);
    wanted.extend([0; 29]);
    wanted.push(0x80);
    for (_, id) in [child(0), child(9), child(255)] {
        wanted.extend(id);
    }
    assert_eq!(node.encode(), wanted);
    assert_eq!(Node::parse(&wanted), Ok(node));
}

#[test]
fn s7_2_nodes_withstand_hostile_bytes() {
    let few = Node::new(1, vec![child(3), child(4), child(200)]).unwrap();
    check_codec(&few.encode(), node_verdict);
    let one = Node::new(4, vec![child(255)]).unwrap();
    check_codec(&one.encode(), node_verdict);
}

#[track_caller]
fn check_node(level: u8, places: impl IntoIterator<Item = u8>, sound: bool) {
    let node = Node::new(level, places.into_iter().map(child).collect());
    assert_eq!(node.is_ok(), sound);
    if let Ok(node) = node {
        assert_eq!(node.encode().len(), 40 + 32 * node.children().len());
        assert_eq!(Node::parse(&node.encode()), Ok(node));
    }
}

#[test]
fn s7_2_a_node_has_level_1_to_4_and_1_to_256_children_in_order() {
    check_node(0, [1], false);
    check_node(1, [1], true);
    check_node(4, [1], true);
    check_node(5, [1], false);
    check_node(1, [], false);
    check_node(1, 0..=255, true);
    check_node(1, [1, 1], false);
    check_node(1, [2, 1], false);
}

#[test]
fn s7_2_a_node_without_children_or_of_another_level_is_refused() {
    let node = |level: u8, children: usize| {
        let mut bytes = vec![0; 40 + 32 * children];
        bytes[0] = level;
        bytes[8] = children as u8;
        Node::parse(&bytes).is_ok()
    };
    assert!(node(1, 1) && node(4, 1));
    assert!(!node(1, 0) && !node(0, 1) && !node(5, 1) && !node(255, 1));
}

#[test]
fn s7_2_levels_cover_1_gib_256_gib_64_tib_16_pib() {
    assert_eq!(
        [1, 2, 3, 4].map(|level| child_span(level) * 256),
        [1 << 30, 1 << 38, 1 << 46, 1 << 54]
    );
}

proptest! {
    #[test]
    fn s7_2_every_node_is_read_back(
        level in 1..=4u8,
        children in prop::collection::btree_map(any::<u8>(), any::<[u8; 32]>(), 1..=256),
    ) {
        let node = Node::new(level, children.into_iter().collect()).unwrap();
        prop_assert_eq!(Node::parse(&node.encode()), Ok(node));
    }
}

#[test]
fn s7_2_a_node_id_is_the_keyed_hash_of_its_bytes() {
    let keys = full_keys();
    let wanted = blake3::keyed_hash(keys.node.expose(), b"bytes");
    assert_eq!(node_id(&keys, b"bytes").as_bytes(), wanted.as_bytes());
}

// 7.3 Disk

fn disk_verdict(bytes: &[u8]) -> Verdict {
    Disk::parse(bytes).ok().map(|disk| disk.encode())
}

fn root() -> NodeId {
    NodeId::from_bytes(array("root"))
}

#[test]
fn s7_3_a_disk_is_64_bytes() {
    let disk = Disk::new(0x01_2345_6789, Some(root())).unwrap();
    let wanted =
        [&[0x89, 0x67, 0x45, 0x23, 0x01, 0, 0, 0][..], &[2, 1], &[0; 22], root().as_bytes()]
            .concat();
    assert_eq!(disk.encode(), wanted);
    assert_eq!(disk.encode().len(), DISK_LEN);
    assert_eq!(Disk::new(5, None).unwrap().encode()[..10], [5, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
}

#[test]
fn s7_3_disks_withstand_hostile_bytes() {
    for (size, root) in [(0, None), (1, None), (1 << 30, Some(root())), (1 << 54, Some(root()))] {
        check_codec(&Disk::new(size, root).unwrap().encode(), disk_verdict);
    }
}

#[track_caller]
fn check_level(size_bytes: u64, level: u8) {
    assert_eq!(root_level(size_bytes), level);
    let disk = Disk::new(size_bytes, None).expect("a size within the limit");
    assert_eq!(disk.level(), level);
    for claimed in 0..=255u8 {
        let mut bytes = disk.encode();
        bytes[8] = claimed;
        assert_eq!(Disk::parse(&bytes).is_ok(), claimed == level, "{claimed}");
    }
}

#[test]
fn s7_3_the_root_has_the_lowest_level_that_covers_the_size() {
    check_level(0, 0);
    check_level(1, 1);
    check_level(1 << 30, 1);
    check_level((1 << 30) + 1, 2);
    check_level(1 << 38, 2);
    check_level((1 << 38) + 1, 3);
    check_level(1 << 46, 3);
    check_level((1 << 46) + 1, 4);
    check_level(1 << 54, 4);
}

#[test]
fn s7_3_a_disk_has_up_to_2_to_the_54_bytes() {
    assert!(Disk::new(1 << 54, None).is_ok());
    assert!(Disk::new((1 << 54) + 1, None).is_err());
    assert!(Disk::new(u64::MAX, None).is_err());
    let mut bytes = Disk::new(1 << 54, None).unwrap().encode();
    bytes[0] = 1;
    assert!(Disk::parse(&bytes).is_err());
    bytes[..8].fill(0xff);
    assert!(Disk::parse(&bytes).is_err());
}

#[track_caller]
fn check_root(size: u64, flag: u8, id: [u8; 32], sound: bool) {
    let level = root_level(size);
    let bytes = [&size.to_le_bytes()[..], &[level, flag], &[0; 22], &id].concat();
    assert_eq!(Disk::parse(&bytes).is_ok(), sound);
}

#[test]
fn s7_3_a_disk_that_is_all_zero_has_no_root() {
    check_root(9, 0, [0; 32], true);
    check_root(9, 1, *root().as_bytes(), true);
    check_root(9, 0, *root().as_bytes(), false);
    check_root(9, 2, *root().as_bytes(), false);
    check_root(0, 0, [0; 32], true);
    check_root(0, 1, *root().as_bytes(), false);
}

proptest! {
    #[test]
    fn s7_3_every_disk_is_read_back(size in 1..=1u64 << 54, shift in 0..54u32, root: Option<[u8; 32]>) {
        let size = (size >> shift).max(1);
        let disk = Disk::new(size, root.map(NodeId::from_bytes)).unwrap();
        prop_assert_eq!(Disk::parse(&disk.encode()), Ok(disk));
    }
}

#[test]
fn s7_3_a_disk_id_is_the_keyed_hash_of_its_64_bytes() {
    let keys = full_keys();
    let bytes = Disk::new(77, None).unwrap().encode();
    let wanted = blake3::keyed_hash(keys.disk.expose(), &bytes);
    assert_eq!(disk_id(&keys, &bytes).as_bytes(), wanted.as_bytes());
}
