//! How fast it is: `XENITH_RECORDS=100000000 cargo test --release -p engine -- --ignored --nocapture lookup::speed`.

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use repo_format::frame::Codec;
use repo_format::id::{IndexHash, SnapshotId};
use repo_format::index::{ChunkRecord, IndexedPack, Records};

use super::*;

/// Records of one index object, of one pack, and frames of one pack: as a writer makes them.
const OBJECT_RECORDS: u64 = 1 << 20;
const PACK_RECORDS: u64 = 400;
const PACK_FRAMES: usize = 100;
const QUERIES: u64 = 2_000_000;

fn name(number: u64) -> IndexName {
    let mut owner = [0; 16];
    owner[..8].copy_from_slice(&number.to_be_bytes());
    IndexName { owner: SnapshotId::from_bytes(owner), hash: IndexHash::from_bytes([0; 20]) }
}

fn ids(seed: u64) -> impl Iterator<Item = ChunkId> {
    let mut output = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    std::iter::repeat_with(move || {
        let mut id = [0; 16];
        output.fill(&mut id);
        ChunkId::from_bytes(id)
    })
}

fn object(number: u64, count: u64) -> IndexObject {
    let frame = FrameInfo { sealed_len: 600_000, plain_len: 1 << 20, codec: Codec::Zstd };
    let packs = (0..count.div_ceil(PACK_RECORDS)).map(|i| IndexedPack {
        id: PackId::of(&(number << 32 | i).to_le_bytes()),
        len: 64 << 20,
        kind: Kind::DataPack,
        frames: vec![frame; PACK_FRAMES],
    });
    let records = (0..count).zip(ids(number)).map(|(i, id)| ChunkRecord {
        id,
        pack: (i / PACK_RECORDS) as u32,
        place: Place { frame: (i % PACK_FRAMES as u64) as u16, offset: 4096, len: 250_000 },
    });
    let mut records: Vec<_> = records.collect();
    records.sort_unstable_by_key(|record| record.id);
    IndexObject { packs: packs.collect(), records: Records::Chunks(records) }
}

fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Time by the clock and on the processor: the second is what counts on a busy machine.
struct Start(Instant, f64);

impl Start {
    fn now() -> Self {
        Self(Instant::now(), Self::cpu_seconds())
    }

    fn cpu_seconds() -> f64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
    }

    fn print(&self, what: &str, count: u64) {
        let (clock, cpu) = (self.0.elapsed().as_secs_f64(), Self::cpu_seconds() - self.1);
        let (rate, now, peak) = (count as f64 / cpu / 1e6, resident("VmRSS"), resident("VmHWM"));
        println!(
            "{what:10} {clock:6.2} s, cpu {cpu:6.2} s, {rate:7.2} M/s, {now} MiB, peak {peak}"
        );
    }
}

#[test]
#[ignore = "takes a minute and gigabytes"]
fn figures() {
    let total = std::env::var("XENITH_RECORDS").map_or(10_000_000, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let place = match std::env::var_os("XENITH_CACHE") {
        Some(path) => CachePlace::Directory(path.into()),
        None => CachePlace::Directory(directory.path().to_owned()),
    };
    let key = Secret::from_bytes([3; 32]);
    let objects = u64::div_ceil(total, OBJECT_RECORDS);
    let count_of = |number: u64| OBJECT_RECORDS.min(total - number * OBJECT_RECORDS);
    let mut names: BTreeSet<_> = (0..objects).map(name).collect();
    let mut fetch = |name: IndexName| {
        let number = u64::from_be_bytes(*name.owner.as_bytes().first_chunk().unwrap());
        let count = if number < objects { count_of(number) } else { 2000 };
        Ok::<_, io::Error>(object(number, count))
    };
    let open = |names: &BTreeSet<IndexName>, fetch: &mut dyn FnMut(_) -> _| {
        let start = Start::now();
        let lookup = Lookup::open(names, &place, &key, fetch).unwrap();
        start.print("open", lookup.chunk_count());
        println!("          {} layers, {} packs", lookup.layers.len(), lookup.packs.len());
        lookup
    };
    drop(open(&names, &mut fetch));
    drop(open(&names, &mut |_| Err(io::Error::other("all is cached"))));
    for night in 0..10 {
        names.insert(name(1 << 30 | night));
        drop(open(&names, &mut fetch));
    }
    let lookup = open(&names, &mut fetch);
    measure(&lookup, objects, count_of);
}

fn measure(lookup: &Lookup, objects: u64, count_of: impl Fn(u64) -> u64) {
    let start = Start::now();
    let found = ids(u64::MAX).take(QUERIES as usize);
    assert_eq!(found.filter(|id| lookup.find_chunk(id).unwrap().is_some()).count(), 0);
    start.print("misses", QUERIES);
    let each = QUERIES.div_ceil(objects).min(count_of(0)) as usize;
    let known: Vec<_> = (0..objects)
        .flat_map(|number| ids(number).take(each.min(count_of(number) as usize)))
        .collect();
    // From object to object, as if at random.
    let known: Vec<_> = (0..known.len()).map(|i| known[i * 7919 % known.len()]).collect();
    for round in ["hits", "hits again"] {
        let start = Start::now();
        assert!(known.iter().all(|id| lookup.find_chunk(id).unwrap().is_some()));
        start.print(round, known.len() as u64);
    }
    let start = Start::now();
    let chunks = lookup.chunks().map(Result::unwrap);
    assert_eq!(chunks.count() as u64, lookup.chunk_count());
    start.print("all", lookup.chunk_count());
    let start = Start::now();
    for (number, ..) in lookup.packs() {
        assert_eq!(lookup.pack(number).unwrap().frames.len(), PACK_FRAMES);
    }
    start.print("packs", lookup.packs.len() as u64);
}
