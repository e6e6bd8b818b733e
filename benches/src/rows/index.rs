//! Row "index of 100 M records": open, memory, and answers per second of one core.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use engine::lookup::{CachePlace, Lookup};
use repo_format::frame::{Codec, FrameInfo, Place};
use repo_format::header::Kind;
use repo_format::id::{ChunkId, IndexHash, PackId, SnapshotId};
use repo_format::index::{ChunkRecord, IndexObject, IndexedPack, Records};
use repo_format::keys::Secret;
use repo_format::object_name::IndexName;

use super::Measured;
use crate::Scale;
use crate::child;
use crate::harness::Clock;
use crate::samples::Random;
use crate::table::{Row, Verdict};

/// Records of one index object and of one pack, and frames of one pack: as a writer makes them.
const OBJECT_RECORDS: u64 = 1 << 20;
const PACK_RECORDS: u64 = 400;
const PACK_FRAMES: usize = 100;
const QUERIES: u64 = 1_000_000;

/// One child fills the local cache from made index objects of 100 M chunks (tiny: 1 M); another opens that cache and
/// asks it a million times for ids that are not there and for ids that are, in random order. Opening is by the clock
/// on the wall; answers are counted per second of the thread on the processor.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().to_str().ok_or("a strange directory for temporary files")?;
    let records = scale.pick(1_000_000_u64, 100_000_000).to_string();
    let built = child::start(&["index-build", path, &records])?;
    let seen = child::start(&["index-ask", path, &records])?;
    let (open, peak, misses, hits) = (seen["open"], seen["peak"], seen["misses"], seen["hits"]);
    let is_within = open < 1.0 && peak < 256.0 && misses >= 1e6 && hits >= 0.4e6;
    let row = Row {
        name: "index of 100 M records",
        budget: "opens < 1 s, < 256 MiB, >= 1 M misses/s, >= 0.4 M hits/s",
        measured: format!(
            "{records} records: opens in {open:.3} s, {:.0} MiB then, {peak:.0} MiB at its peak, {:.2} M misses/s, \
             {:.2} M hits/s (filling the cache took {:.1} s, {:.0} MiB)",
            seen["resident"],
            misses / 1e6,
            hits / 1e6,
            built["seconds"],
            built["peak"]
        ),
        verdict: match scale {
            Scale::Full => Verdict::of(is_within),
            Scale::Tiny if is_within => Verdict::NotMeasured("only with --full"),
            Scale::Tiny => Verdict::Misses,
        },
    };
    Ok(vec![row])
}

/// A child: fills the cache.
pub fn build(directory: &str, records: u64) -> Measured<()> {
    let seconds = Clock::Wall.time(|| drop(open(directory, records, Origin::Made)));
    println!("seconds {seconds}\npeak {}", child::resident_mib("VmHWM")?);
    Ok(())
}

/// A child: opens the cache and asks.
pub fn ask(directory: &str, records: u64) -> Measured<()> {
    let mut opened = None;
    let seconds = Clock::Wall.time(|| opened = Some(open(directory, records, Origin::Cached)));
    let lookup = opened.ok_or("it was opened")??;
    println!("open {seconds}\nresident {}", child::resident_mib("VmRSS")?);
    let mut random = Random::new(13);
    let objects = records.div_ceil(OBJECT_RECORDS);
    let absent: Vec<_> = (0..QUERIES).map(|_| chunk_id(u64::MAX, random.next())).collect();
    let present: Vec<_> = (0..QUERIES)
        .map(|_| {
            let object = random.below(objects);
            chunk_id(object, random.below(count(object, records)))
        })
        .collect();
    for (name, ids, expected) in [("misses", &absent, 0), ("hits", &present, QUERIES)] {
        let mut found = 0;
        let seconds = Clock::Thread.time(|| {
            let is_known = |id: &&ChunkId| lookup.find_chunk(id).is_ok_and(|place| place.is_some());
            found = ids.iter().filter(is_known).count() as u64;
        });
        if found != expected {
            return Err(format!("{name}: {found} found, not {expected}").into());
        }
        println!("{name} {}", QUERIES as f64 / seconds);
    }
    println!("peak {}", child::resident_mib("VmHWM")?);
    Ok(())
}

/// Where the index objects come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Made,
    /// From nowhere: the cache knows them all.
    Cached,
}

fn open(directory: &str, records: u64, origin: Origin) -> Measured<Lookup> {
    let names: BTreeSet<_> = (0..records.div_ceil(OBJECT_RECORDS)).map(index_name).collect();
    let place = CachePlace::Directory(Path::new(directory).to_owned());
    let mut fetch = |name: IndexName| {
        let number = u64::from_be_bytes(*name.owner.as_bytes().first_chunk().expect("16 bytes"));
        match origin {
            Origin::Made => Ok(object(number, count(number, records))),
            Origin::Cached => Err(io::Error::other("the cache does not know it")),
        }
    };
    Ok(Lookup::open(&names, &place, &Secret::from_bytes([3; 32]), &mut fetch)?)
}

fn count(object: u64, records: u64) -> u64 {
    OBJECT_RECORDS.min(records - object * OBJECT_RECORDS)
}

fn index_name(number: u64) -> IndexName {
    let mut owner = [0; 16];
    owner[..8].copy_from_slice(&number.to_be_bytes());
    IndexName { owner: SnapshotId::from_bytes(owner), hash: IndexHash::from_bytes([0; 20]) }
}

fn chunk_id(object: u64, place: u64) -> ChunkId {
    let mut random = Random::new(object << 24 ^ place);
    let (high, low) = (random.next(), random.next());
    ChunkId::from_bytes((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
}

fn object(number: u64, count: u64) -> IndexObject {
    let frame = FrameInfo { sealed_len: 600_000, plain_len: 1 << 20, codec: Codec::Zstd };
    let packs = (0..count.div_ceil(PACK_RECORDS)).map(|pack| IndexedPack {
        id: PackId::of(&(number << 32 | pack).to_le_bytes()),
        len: 64 << 20,
        kind: Kind::DataPack,
        frames: vec![frame; PACK_FRAMES],
    });
    let records = (0..count).map(|place| ChunkRecord {
        id: chunk_id(number, place),
        pack: (place / PACK_RECORDS) as u32,
        place: Place { frame: (place % PACK_FRAMES as u64) as u16, offset: 4096, len: 250_000 },
    });
    let mut records: Vec<_> = records.collect();
    records.sort_unstable_by_key(|record| record.id);
    IndexObject { packs: packs.collect(), records: Records::Chunks(records) }
}
