//! Golden repositories (SPEC 16): whole repositories made from fixed secrets, with the hashes of what they restore to.
//!
//! They are what the independent reader in `tests/reader` must restore. Here they are made again and compared object by
//! object, so that no change of the format goes unnoticed; `XENITH_BLESS=1` writes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::backup::{BackupRequest, backup};
use engine::key_slots;
use engine::observer::Silent;
use engine::reader::Reader;
use engine::repository::{OpenOptions, Repository};
use engine::restore::SnapshotContent;
use engine::snapshots;
use engine::source::{Content, DiskSink, SEGMENT_LEN, Source};
use engine::storage::memory::MemoryStorage;
use engine::storage::{Storage, local::LocalStorage};
use repo_format::header::Kind;
use repo_format::id::{SnapshotId, to_hex};
use repo_format::keys::Role;
use repo_format::object_name::{Directory, ObjectName};
use repo_format::slot::KdfCost;
use repo_format::snapshot::Snapshot;
use repo_format::void;
use repo_tests::repo::{PASSWORD, SeededSurroundings, request, threads};
use repo_tests::sample::{Fill, Sample, SampleDisk};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use xen_source::{Input, XvaOptions};

#[path = "../../xen-source/tests/kit/mod.rs"]
#[allow(dead_code, missing_docs, reason = "a kit of another package; not all of it is used here")]
mod kit;

use kit::maker::{Archive, Chunk, Disk, Headers};

type Objects = BTreeMap<ObjectName, Vec<u8>>;

/// A repository in memory and what its snapshots must restore to.
struct Golden {
    storage: Arc<MemoryStorage>,
    repository: Repository,
    expected: Vec<Value>,
}

impl Golden {
    fn new(seed: u64) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let shared: Arc<dyn Storage> = storage.clone();
        let surroundings = Arc::new(SeededSurroundings::new(seed));
        let options = OpenOptions { storage: shared, surroundings, cache: None };
        let made = Repository::create(options, PASSWORD, KdfCost::CHEAPEST, "golden");
        Self { storage, repository: made.expect("a new repository"), expected: Vec::new() }
    }

    fn back_up(&mut self, source: &mut dyn Source) -> Snapshot {
        let request = BackupRequest { selection: Some("name:sample".to_owned()), ..request() };
        backup(&self.repository, threads(), source, &request, &Silent).expect("a sound source")
    }

    fn add_xva(&mut self, archive: &Archive) {
        let bytes = archive.make();
        let input = Input::Stream {
            name: "golden.xva".to_owned(),
            bytes: Box::new(Cursor::new(bytes.clone())),
        };
        let mut source = xen_source::open(input, None).expect("an XVA");
        let snapshot = self.back_up(&mut *source);
        let expected = self.describe(&snapshot, Some(&bytes));
        self.expected.push(expected);
    }

    fn add_sample(&mut self, sample: &Sample) -> SnapshotId {
        let snapshot = self.back_up(&mut sample.source());
        let expected = self.describe(&snapshot, None);
        self.expected.push(expected);
        snapshot.id
    }

    fn describe(&self, snapshot: &Snapshot, xva: Option<&[u8]>) -> Value {
        let reader = Reader::open(&self.repository).expect("a sound index");
        let content = SnapshotContent::new(&reader, threads().workers, snapshot, &Silent);
        let disks: Vec<_> = (0..content.disks().len())
            .map(|number| {
                let disk = &snapshot.disks[number];
                let mut hash = SparseHash { hasher: Sha256::new(), at: 0 };
                content.read_disk(number, &mut hash).expect("a sound disk");
                hash.zeros_to(disk.size_bytes);
                let sha256 = to_hex(&hash.hasher.finalize());
                json!({"name": disk.name, "role": disk.role as u8, "size": disk.size_bytes, "sha256": sha256})
            })
            .collect();
        let xva_sha256 = xva.map(|bytes| to_hex(&Sha256::digest(bytes)));
        json!({"id": snapshot.id.to_string(), "disks": disks, "xva_sha256": xva_sha256})
    }

    fn check(self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        let description = json!({
            "password": String::from_utf8_lossy(PASSWORD),
            "snapshots": self.expected,
        });
        let description = serde_json::to_string_pretty(&description).expect("JSON") + "\n";
        let objects = self.storage.objects();
        let repository = folder.join(format!("{name}.repo"));
        let file = folder.join(format!("{name}.json"));
        if std::env::var_os("XENITH_BLESS").is_some() {
            bless(&repository, &objects);
            fs::write(&file, &description).expect("the description is written");
        }
        assert!(read_all(&repository) == *objects, "{name}: objects differ from the golden ones");
        let golden = fs::read_to_string(&file).expect("the description is there");
        assert_eq!(golden, description, "{name}");
    }
}

/// Hashes a disk, holes as zeros.
struct SparseHash {
    hasher: Sha256,
    at: u64,
}

impl SparseHash {
    fn zeros_to(&mut self, offset: u64) {
        let zeros = vec![0; SEGMENT_LEN];
        while self.at < offset {
            let len = (offset - self.at).min(SEGMENT_LEN as u64);
            self.hasher.update(&zeros[..len as usize]);
            self.at += len;
        }
    }
}

impl DiskSink for SparseHash {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.zeros_to(offset_bytes);
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }
}

fn bless(folder: &Path, objects: &Objects) {
    let _ = fs::remove_dir_all(folder);
    let storage = LocalStorage::new(folder);
    for (name, bytes) in objects {
        let path = folder.join(name.to_string());
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders are made");
        storage.create(*name, bytes).expect("objects are written");
    }
}

fn read_all(folder: &PathBuf) -> Objects {
    let storage = LocalStorage::new(folder);
    let listed = Directory::ALL.into_iter().flat_map(|each| storage.list(each).expect("a list"));
    listed.map(|(name, _)| (name, storage.read(name, u64::MAX).expect("an object"))).collect()
}

fn disk(size_bytes: usize, fills: &[u8]) -> Disk {
    let chunk = |fill: &u8| Chunk { fill: *fill, allocated: *fill == 255, keep_alives: 0 };
    let mut chunks: Vec<_> = fills.iter().map(chunk).collect();
    chunks.iter_mut().filter(|chunk| chunk.fill == 255).for_each(|chunk| chunk.fill = 0);
    Disk { size_bytes, suspend: false, chunks }
}

#[test]
fn s16_golden_exports_of_a_vm() {
    let mut golden = Golden::new(1);
    let mut night = Archive {
        headers: Headers::V7,
        sha1: false,
        first_ref: 41,
        disks: vec![disk(6 << 20, &[1, 0, 2, 255, 0, 3]), disk((2 << 20) + 1536, &[0, 9, 4])],
        tail: Vec::new(),
    };
    golden.add_xva(&night);
    night.first_ref = 98;
    night.disks[0].chunks[2].fill = 77;
    night.disks[0].chunks[4].keep_alives = 2;
    golden.add_xva(&night);
    let old = Archive { sha1: true, headers: Headers::Ustar, tail: vec![0; 512], ..night };
    golden.add_xva(&old);
    golden.check("exports");
}

#[test]
fn s16_golden_disks_streams_and_leftovers() {
    let mut golden = Golden::new(2);
    key_slots::add(&golden.repository, Role::Backup, b"mover", KdfCost::CHEAPEST, "mover")
        .expect("a slot");
    // More than 1 GiB: two levels of nodes. Holes, and a last segment that is cut.
    let sparse = SampleDisk::empty("xvda", (1 << 30) + (9 << 20) + 512)
        .with(5_000..70_000, Fill::Text(1))
        .with((1 << 30) - 4096..(1 << 30) + 4096, Fill::Noise(2))
        .with((1 << 30) + (9 << 20)..(1 << 30) + (9 << 20) + 512, Fill::Noise(3));
    let sparse = SampleDisk { version: "the first night".to_owned(), ..sparse };
    let empty = SampleDisk::empty("xvdb", 0);
    let file = SampleDisk::stream(engine::source::Role::File, "pool.db", b"<pool/>");
    golden.add_sample(&Sample::of([sparse.clone(), empty, file]));
    let forgotten = golden.add_sample(&Sample::of([sparse.resized(2 << 30)]));
    golden.expected.pop();
    // A forgotten snapshot, a fenced session and an unfinished one.
    let repository = golden.repository.keys().repository();
    let put = |name, bytes: Vec<u8>| golden.storage.create(name, &bytes).expect("an object");
    put(
        ObjectName::Marker(forgotten),
        void::encode(Kind::Marker, repository, forgotten, 1_767_225_600),
    );
    let fenced = SnapshotId::from_bytes([0xfe; 16]);
    put(ObjectName::Snapshot(fenced), void::encode(Kind::Tombstone, repository, fenced, 0));
    let reader = Reader::open(&golden.repository).expect("a sound index");
    let listed = snapshots::list(&golden.repository, &reader.catalog()).expect("a list").snapshots;
    assert_eq!(listed.len(), 1);
    drop(reader);
    golden.check("disks");
}

#[test]
fn s16_golden_exports_come_out_as_they_went_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let text = fs::read_to_string(folder.join("exports.json")).expect("the description is there");
    let description: Value = serde_json::from_str(&text).expect("JSON");
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::new(folder.join("exports.repo")));
    let surroundings = Arc::new(SeededSurroundings::new(9));
    let options = OpenOptions { storage, surroundings, cache: None };
    let repository = Repository::open(options, PASSWORD).expect("it opens");
    let reader = Reader::open(&repository).expect("a sound index");
    let listed = snapshots::list(&repository, &reader.catalog()).expect("a list").snapshots;
    assert_eq!(listed.len(), 3);
    for expected in description["snapshots"].as_array().expect("an array") {
        let id = expected["id"].as_str().expect("an id");
        let snapshot = listed.iter().find(|snapshot| snapshot.id.to_string() == id);
        let workers = threads().workers;
        let content =
            SnapshotContent::new(&reader, workers, snapshot.expect("it is listed"), &Silent);
        let mut bytes = Vec::new();
        let options = XvaOptions {
            checksum: None,
            name: None,
            macs: xen_source::Macs::Keep,
            disks: None,
            seed: [0; 32],
        };
        xen_source::write_xva(&content, &mut bytes, &options).expect("it is written");
        assert_eq!(to_hex(&Sha256::digest(&bytes)), expected["xva_sha256"]);
    }
}
