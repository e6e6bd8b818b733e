//! `codec.json`: padding, maps, nodes, disks, prints, ids, CBOR objects, packs and index texts (SPEC 3, 5.2, 5.3, 7 to 11).

use repo_format::config::Config;
use repo_format::disk::{Disk, disk_id};
use repo_format::frame::{Codec, FrameInfo, Place, StoredFrame};
use repo_format::header::{Kind, SealedHeader};
use repo_format::id::{
    ChunkId, Digest, DiskId, Fingerprint, IndexHash, NodeId, PackId, RunId, SnapshotId,
};
use repo_format::index::{
    ChunkRecord, HookRecord, IndexObject, IndexedPack, Records, SegmentRecord,
};
use repo_format::limits::{BLOCK_LEN, SEGMENT_LEN};
use repo_format::map::{ChunkRef, Extent, Fill, Map};
use repo_format::node::{Node, node_id};
use repo_format::object_name::{IndexName, ObjectName};
use repo_format::pack::{Close, Entries, EntryKind, Pack, PackBuilder, Trailer, frame_offset};
use repo_format::padding::padded;
use repo_format::print::{Print, StoredPrint};
use repo_format::seal::{Sealer, open_catalog, open_object, seal_object};
use repo_format::segment::{Units, chunk_id, segment_id};
use repo_format::session::SessionRecord;
use repo_format::snapshot::{Consistency, DiskRole, Origin, Snapshot, SnapshotDisk, Statistics};
use repo_format::state::{Phase, State};
use repo_format::void;
use repo_tests::fixed::{array, full_keys, noise, repository, secret};
use serde_json::{Value, json};

use super::{hex, unhex};

const PADDED: [u64; 20] = [
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    15,
    16,
    17,
    100,
    1000,
    4096,
    65_535,
    65_536,
    65_537,
    1_048_577,
    67_108_864,
    67_108_865,
    123_456_789_012,
];

/// The file, made anew.
pub fn made() -> Value {
    let [data, catalog, prints] = [data_pack(), map_pack(), print_pack()];
    json!({
        "pad": PADDED.map(|len| (len, padded(len))),
        "map": [map(chunk_table()[2..].to_vec(), vec![(1, Some((0, 0))), (SEGMENT_LEN as u32 - 1, None)]), map(chunk_table(), extents())],
        "node": [node(1, &[0, 1, 7, 8, 255]), node(4, &[3])],
        "disk": [disk(0, false), disk(1, true), disk((1 << 30) + 1, true), disk(1 << 54, false)],
        "ids": ids(),
        "segment": [segment()],
        "fingerprint": FINGERPRINTED.map(fingerprint),
        "print": [print(&FULL, None), print(&CHANGED, Some(&FULL))],
        "objects": objects(),
        "clear": clear_objects(),
        "pack": [
            pack(&data, "data pack seed"), pack(&catalog, "map pack seed"), pack(&prints, "print pack seed"),
        ],
        "index": [index(chunk_index(&data)), index(segment_index(&catalog)), index(print_index(&prints))],
    })
}

/// Reads what the committed file holds, each thing by its own parser.
#[track_caller]
pub fn check_read(file: &Value) {
    let list = |name: &str| file[name].as_array().expect("a list").clone();
    for entry in list("map") {
        assert!(Map::parse(&unhex(&entry["bytes"])).is_ok());
    }
    for entry in list("node") {
        assert!(Node::parse(&unhex(&entry["bytes"])).is_ok());
    }
    for entry in list("disk") {
        assert!(Disk::parse(&unhex(&entry["bytes"])).is_ok());
    }
    for entry in list("print") {
        assert!(StoredPrint::parse(&unhex(&entry["bytes"])).is_ok());
    }
    let keys = full_keys();
    let opened = list("objects").iter().map(|entry| unhex(&entry["object"])).collect::<Vec<_>>();
    assert_eq!(Snapshot::open(&keys, snapshot().id, &opened[0]), Ok(snapshot()));
    assert_eq!(SessionRecord::open(&keys, &opened[1]), Ok(session()));
    assert_eq!(State::open(&keys, state().number, &opened[2]), Ok(state()));
    for entry in list("pack") {
        assert_eq!(hex(PackId::of(&unhex(&entry["object"])).as_bytes()), entry["id"]);
    }
    for entry in list("index") {
        let kind = Kind::parse(entry["kind"].as_u64().expect("a number") as u8).expect("a kind");
        let text = open_object(&keys, kind, "index", &unhex(&entry["object"])).expect("it opens");
        assert_eq!(hex(&text), entry["text"]);
        assert!(IndexObject::parse(kind, &text).is_ok());
    }
}

// 7

fn chunk_table() -> Vec<ChunkRef> {
    let chunk = |(number, len)| ChunkRef {
        id: ChunkId::from_bytes(array(&format!("chunk {number}"))),
        len,
    };
    [(0, 1 << 20), (1, 65_536), (2, 1)].map(chunk).to_vec()
}

fn extents() -> Vec<(u32, Option<(u8, u32)>)> {
    let tail = SEGMENT_LEN as u32 - (1 << 20) - 65_536 - 1 - 1000;
    vec![
        (1 << 20, Some((0, 0))),
        (65_536, None),
        (1, Some((2, 0))),
        (1000, Some((1, 64_000))),
        (tail, None),
    ]
}

fn map(chunks: Vec<ChunkRef>, extents: Vec<(u32, Option<(u8, u32)>)>) -> Value {
    let fill = |fill: Option<(u8, u32)>| match fill {
        None => Fill::Zeros,
        Some((index, offset)) => Fill::Chunk { index, offset },
    };
    let made = extents.iter().map(|&(len, from)| Extent { len, fill: fill(from) }).collect();
    let listed = chunks.iter().map(|chunk| json!([hex(chunk.id.as_bytes()), chunk.len]));
    let listed: Vec<_> = listed.collect();
    let source = |&(len, from): &(u32, Option<(u8, u32)>)| {
        let (source, offset) = from.unwrap_or((255, 0));
        json!([len, source, offset])
    };
    let sources: Vec<_> = extents.iter().map(source).collect();
    let map = Map::new(chunks, made).expect("a sound map");
    json!({ "bytes": hex(map.encode()), "chunks": listed, "extents": sources })
}

fn node(level: u8, places: &[u8]) -> Value {
    let keys = full_keys();
    let children: Vec<_> =
        places.iter().map(|place| (*place, array(&format!("child {place}")))).collect();
    let listed: Vec<_> = children.iter().map(|(place, id)| json!([place, hex(id)])).collect();
    let bytes = Node::new(level, children).expect("a sound node").encode();
    let id = node_id(&keys, &bytes);
    json!({
        "level": level, "children": listed, "bytes": hex(&bytes),
        "key": hex(keys.node.expose()), "id": hex(id.as_bytes()),
    })
}

fn disk(size: u64, rooted: bool) -> Value {
    let keys = full_keys();
    let root = rooted.then(|| NodeId::from_bytes(array("root")));
    let disk = Disk::new(size, root).expect("a sound disk");
    let bytes = disk.encode();
    json!({
        "size": size, "level": disk.level(), "root": root.map(|root| hex(root.as_bytes())),
        "bytes": hex(&bytes), "key": hex(keys.disk.expose()), "id": hex(disk_id(&keys, &bytes).as_bytes()),
    })
}

fn ids() -> Value {
    let keys = full_keys();
    let node = node_id(&keys, &[0]);
    json!([
        { "of": "chunk", "key": hex(keys.chunk.expose()), "data": hex(b"xenith"),
          "id": hex(chunk_id(&keys, b"xenith").as_bytes()) },
        { "of": "node", "key": hex(keys.node.expose()), "data": "00", "id": hex(node.as_bytes()) },
    ])
}

fn segment() -> Value {
    let keys = full_keys();
    let mut segment = vec![0; SEGMENT_LEN];
    segment[..6].copy_from_slice(b"xenith");
    let id = segment_id(&keys, &segment);
    let units = Units::of(&keys, &segment);
    json!({
        "key": hex(keys.segment.expose()), "data": hex(b"xenith"), "id": hex(id.as_bytes()),
        "units": units.values().map(hex).to_vec(),
    })
}

// 7.4

/// Beginnings of blocks: the last two make hooks.
const FINGERPRINTED: [&str; 5] = ["", "xenith", "x", "hook 53", "hook 56"];

fn fingerprint(data: &str) -> Value {
    let keys = full_keys();
    let mut block = data.as_bytes().to_vec();
    block.resize(BLOCK_LEN, 0);
    let fingerprint = Fingerprint::of(&keys, &block);
    json!({
        "key": hex(keys.fingerprint.expose()), "data": hex(data),
        "fingerprint": hex(fingerprint.as_bytes()), "hook": fingerprint.is_hook(),
    })
}

/// Texts in a segment of zeros, by their offsets.
type Written = [(usize, &'static str)];

const FULL: [(usize, &str); 4] =
    [(0, "xenith"), (4096 * 17 + 5, "block 17"), (4096 * 30, "gone"), (4_194_303, "!")];
const CHANGED: [(usize, &str); 4] =
    [(0, "xenith"), (4096 * 17 + 5, "block xvii"), (4096 * 600, "new"), (4_194_303, "!")];

fn whole_print(written: &Written) -> Print {
    let keys = full_keys();
    let mut segment = vec![0; SEGMENT_LEN];
    for (at, text) in written {
        segment[*at..*at + text.len()].copy_from_slice(text.as_bytes());
    }
    let blocks = segment.chunks(BLOCK_LEN).map(|block| Fingerprint::of(&keys, block)).collect();
    Print::new(Units::of(&keys, &segment), blocks)
}

fn print_entry(written: &Written, base: Option<&Written>) -> Vec<u8> {
    let print = whole_print(written);
    match base.map(whole_print) {
        None => print.encode(&Print::of_zeros(&full_keys())),
        Some(base) => print.encode_delta(base.units().segment_id(&full_keys()), &base, 1),
    }
}

fn print(written: &Written, base: Option<&Written>) -> Value {
    let keys = full_keys();
    let print = whole_print(written);
    let bytes = print_entry(written, base);
    let stored = StoredPrint::parse(&bytes).expect("a sound print");
    let given = (0..).zip(print.fingerprints()).filter(|(_, found)| **found != Fingerprint::ZERO);
    let block = |(block, found): (u32, &Fingerprint)| json!([block, hex(found.as_bytes())]);
    json!({
        "written": written, "bytes": hex(bytes),
        "depth": stored.depth(), "base": stored.base().map(|base| hex(base.as_bytes())),
        "key": hex(keys.segment.expose()), "id": hex(print.units().segment_id(&keys).as_bytes()),
        "units": print.units().values().map(hex).to_vec(), "blocks": given.map(block).collect::<Vec<_>>(),
    })
}

// 9

fn snapshot() -> Snapshot {
    let disk = |(role, name, number): (DiskRole, &str, u8)| SnapshotDisk {
        role,
        name: name.to_owned(),
        key: format!("key {number}"),
        size_bytes: u64::from(number) << 40,
        id: DiskId::from_bytes(array(name)),
        version: (number > 0).then(|| format!("version {number}")),
    };
    Snapshot {
        id: SnapshotId::from_bytes(array("snapshot")),
        time: 1_700_000_000,
        utc_offset: -90,
        run: RunId::from_bytes(array("run")),
        run_name: "nightly".to_owned(),
        host: "mover".to_owned(),
        program: "xenith 1.0".to_owned(),
        tags: vec!["prod".to_owned(), "web".to_owned()],
        origin: Origin {
            container: "xva".to_owned(),
            compression: "zstd".to_owned(),
            vm_uuid: Some("11111111-2222-3333-4444-555555555555".to_owned()),
            vm_name: Some("w\u{e9}b".to_owned()),
            host_name: None,
            path: "-".to_owned(),
            selection: Some("tag:prod power:running".to_owned()),
        },
        disks: [(DiskRole::Disk, "xvda", 1), (DiskRole::Record, "ova.xml", 0)].map(disk).to_vec(),
        consistency: Consistency::Quiesced,
        statistics: Statistics { input_bytes: 1 << 33, elapsed_ms: 23, ..Statistics::default() },
        predecessor: Some(SnapshotId::from_bytes(array("predecessor"))),
    }
}

fn session() -> SessionRecord {
    SessionRecord {
        id: SnapshotId::from_bytes(array("snapshot")),
        started: 1_700_000_000,
        host: "mover".to_owned(),
        process: 4711,
        program: "xenith 1.0".to_owned(),
        alive: 1_700_000_300,
    }
}

fn state() -> State {
    let hash = IndexHash::from_bytes(array("index hash"));
    let name = |owner: &str| IndexName { owner: SnapshotId::from_bytes(array(owner)), hash };
    State {
        number: 7,
        previous: Digest::from_bytes(array("state 6")),
        phase: Phase::Condemned,
        live: vec![name("owner 1"), name("owner 2")],
        absorbed: vec![SnapshotId::from_bytes(array("absorbed"))],
        condemned: vec![PackId::from_bytes(array("condemned"))],
        ..State::initial()
    }
}

fn objects() -> Value {
    let keys = full_keys();
    let object = |kind: Kind, name: ObjectName, seed: &str, object: Vec<u8>| {
        let header = SealedHeader::parse(&object).expect("a sound header");
        let cbor = open_catalog(&keys, kind, "object", &object).expect("it opens");
        json!({
            "kind": kind as u8, "name": name.to_string(), "salt": hex(secret(seed).expose()),
            "key": hex(keys.open_header(&header).expect("our key").expose()),
            "cbor": hex(cbor), "object": hex(object),
        })
    };
    let id = snapshot().id;
    json!([
        object(Kind::Snapshot, ObjectName::Snapshot(id), "a", snapshot().seal(&keys, &secret("a"))),
        object(Kind::Session, ObjectName::Session(id), "b", session().seal(&keys, &secret("b"))),
        object(Kind::State, ObjectName::State(7), "c", state().seal(&keys, &secret("c"))),
        object(Kind::State, ObjectName::State(0), "d", State::initial().seal(&keys, &secret("d"))),
    ])
}

fn clear_objects() -> Value {
    let id = SnapshotId::from_bytes(array("snapshot"));
    let object = |kind: Kind, name: ObjectName, object: Vec<u8>| json!({ "kind": kind as u8, "name": name.to_string(), "object": hex(object) });
    let void = |kind| void::encode(kind, repository(), id, 1_700_000_000);
    let config = Config::new(repository(), 1_700_000_000).encode();
    json!([
        object(Kind::Config, ObjectName::Config { copy: 1, number: 0 }, config),
        object(Kind::Tombstone, ObjectName::Snapshot(id), void(Kind::Tombstone)),
        object(Kind::Marker, ObjectName::Marker(id), void(Kind::Marker)),
    ])
}

// 8

/// 1000 times `x`, compressed by hand (RFC 8878): one run of one byte. No version of zstd writes it differently.
fn compressed() -> StoredFrame {
    let stored = vec![0x28, 0xb5, 0x2f, 0xfd, 0x60, 0xe8, 0x02, 0x43, 0x1f, 0x00, b'x'];
    StoredFrame { codec: Codec::Zstd, plain_len: 1000, stored }
}

fn raw(plain: Vec<u8>) -> StoredFrame {
    StoredFrame { codec: Codec::Raw, plain_len: plain.len() as u32, stored: plain }
}

fn data_pack() -> Pack {
    let keys = full_keys();
    let mut builder = PackBuilder::new(&keys, Kind::DataPack, &secret("data pack seed"));
    let plain = noise("chunks", 300);
    let chunk = |bytes: &[u8]| (chunk_id(&keys, bytes), bytes.len() as u32);
    builder.append_chunks(&raw(plain.clone()), &[chunk(&plain[..200]), chunk(&plain[200..])]);
    builder.append_chunks(&compressed(), &[chunk(&[b'x'; 1000])]);
    builder.finish(Close::Padded)
}

fn map_pack() -> Pack {
    let keys = full_keys();
    let mut builder = PackBuilder::new(&keys, Kind::MapPack, &secret("map pack seed"));
    let disk = Disk::new(1, None).expect("a sound disk").encode();
    let node = Node::new(1, vec![(0, array("segment"))]).expect("a sound node").encode();
    let snapshot = snapshot();
    let snapshot_key =
        [&snapshot.id.as_bytes()[..], &[0; 16]].concat().try_into().expect("32 bytes");
    let entries: [([u8; 32], EntryKind, Vec<u8>); 3] = [
        (*node_id(&keys, &node).as_bytes(), EntryKind::Node, node),
        (*disk_id(&keys, &disk).as_bytes(), EntryKind::Disk, disk),
        (snapshot_key, EntryKind::Snapshot, snapshot.encode()),
    ];
    let plain = entries.iter().flat_map(|entry| entry.2.clone()).collect();
    let lens: Vec<_> =
        entries.iter().map(|(id, kind, bytes)| (*id, *kind, bytes.len() as u32)).collect();
    builder.append_catalog(&raw(plain), &lens);
    builder.finish(Close::Padded)
}

fn print_pack() -> Pack {
    let keys = full_keys();
    let mut builder = PackBuilder::new(&keys, Kind::PrintPack, &secret("print pack seed"));
    for (written, base) in [(&FULL, None), (&CHANGED, Some(&FULL[..]))] {
        let id = *whole_print(written).units().segment_id(&keys).as_bytes();
        let entry = print_entry(written, base);
        let len = entry.len() as u32;
        builder.append_catalog(&raw(entry), &[(id, EntryKind::Print, len)]);
    }
    builder.finish(Close::Padded)
}

fn pack(pack: &Pack, seed: &str) -> Value {
    let keys = full_keys();
    let bytes = &pack.bytes;
    let (header, start) = (SealedHeader::parse(bytes).expect("a header"), bytes.len() - 64);
    let (key, contents_key) = (keys.open_header(&header), keys.contents_key(&header));
    let (key, contents_key) = (key.expect("our key"), contents_key.expect("our epoch"));
    let trailer = Trailer::parse(&bytes[start..], bytes.len() as u64).expect("a trailer");
    let open = |key, number, range: std::ops::Range<usize>| {
        Sealer::new(key, &bytes[..96]).open("frame", number, &bytes[range]).expect("it opens")
    };
    let stored = |(number, info): (u16, &FrameInfo)| {
        let at = frame_offset(&pack.contents.frames, number) as usize;
        hex(open(&key, u32::from(number), at..at + info.sealed_len as usize))
    };
    let frames = pack.contents.frames.iter();
    let line = |info: &FrameInfo| json!([info.sealed_len, info.plain_len, info.codec as u8]);
    json!({
        "kind": header.kind as u8,
        "seed": hex(secret(seed).expose()),
        "id": hex(pack.id.as_bytes()),
        "name": ObjectName::Pack(pack.id).to_string(),
        "key": hex(key.expose()),
        "contents_key": hex(contents_key.expose()),
        "contents": hex(open(&contents_key, u32::MAX, trailer.contents_offset as usize..start)),
        "frames": frames.clone().map(line).collect::<Vec<_>>(),
        "stored": (0..).zip(frames).map(stored).collect::<Vec<_>>(),
        "entries": entries(&pack.contents.entries),
        "object": hex(bytes),
    })
}

fn entries(entries: &Entries) -> Vec<Value> {
    let place = |place: &Place| (place.frame, place.offset, place.len);
    let line =
        |id: &[u8], kind: u8, (frame, offset, len)| json!([hex(id), kind, frame, offset, len]);
    match entries {
        Entries::Chunks(entries) => {
            entries.iter().map(|e| line(e.id.as_bytes(), 0, place(&e.place))).collect()
        }
        Entries::Catalog(entries) => {
            entries.iter().map(|e| line(&e.id, e.kind as u8, place(&e.place))).collect()
        }
    }
}

// 11

fn indexed(pack: &Pack, kind: Kind) -> Vec<IndexedPack> {
    let (id, frames) = (pack.id, pack.contents.frames.clone());
    vec![IndexedPack { id, len: pack.bytes.len() as u32, kind, frames }]
}

fn chunk_index(pack: &Pack) -> IndexObject {
    let Entries::Chunks(entries) = &pack.contents.entries else {
        panic!("a data pack");
    };
    let record =
        entries.iter().map(|entry| ChunkRecord { id: entry.id, pack: 0, place: entry.place });
    IndexObject { packs: indexed(pack, Kind::DataPack), records: Records::Chunks(record.collect()) }
}

fn segment_index(pack: &Pack) -> IndexObject {
    let records = Records::Segments(catalog_records(pack));
    IndexObject { packs: indexed(pack, Kind::MapPack), records }
}

fn print_index(pack: &Pack) -> IndexObject {
    let mut records = catalog_records(pack);
    records.sort_by_key(|record| record.id);
    let fingerprint = |at: usize| Fingerprint::from_bytes([[0x20; 12], [0x40; 12]][at]);
    let hook = |(at, segment)| HookRecord { fingerprint: fingerprint(at), segment };
    let hooks = [(0, 1), (1, 0), (1, 1)].map(hook).to_vec();
    let records = Records::Prints(records, hooks);
    IndexObject { packs: indexed(pack, Kind::PrintPack), records }
}

fn catalog_records(pack: &Pack) -> Vec<SegmentRecord> {
    let Entries::Catalog(entries) = &pack.contents.entries else {
        panic!("a map or print pack");
    };
    let named = entries.iter().filter(|entry| entry.kind != EntryKind::Snapshot);
    let record = |e: &repo_format::pack::CatalogEntry| SegmentRecord {
        id: e.id,
        kind: e.kind,
        pack: 0,
        place: e.place,
    };
    named.map(record).collect()
}

fn index(mut index: IndexObject) -> Value {
    let keys = full_keys();
    let text = index.encode();
    let object = seal_object(&keys, index.kind(), &secret("index seed"), &text);
    let owner = SnapshotId::from_bytes(array("snapshot"));
    let name = IndexName { owner, hash: IndexHash::of(&object) };
    let name = match index.kind() {
        Kind::PrintIndex => ObjectName::Prints(name),
        _ => ObjectName::Index(name),
    };
    json!({
        "kind": index.kind() as u8,
        "name": name.to_string(),
        "salt": hex(secret("index seed").expose()),
        "text": hex(text),
        "object": hex(object),
    })
}
