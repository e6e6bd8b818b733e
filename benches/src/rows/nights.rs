//! Rows about many nights: what a night adds, and how often a restore opens frames after many nights.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use engine::reader::Reader;
use engine::source::SEGMENT_LEN;
use engine::storage::memory::MemoryStorage;
use engine::storage::{Creation, Storage, StorageError};
use engine::walk::Segments;
use engine::window::Window;
use repo_format::header::Kind;
use repo_format::object_name::{Directory, ObjectName};
use repo_format::snapshot::Snapshot;

use super::Measured;
use super::changed::{Scatter, change};
use crate::Scale;
use crate::disks::of_image;
use crate::repositories::{Bytes, Pools, create, store};
use crate::samples::{Look, Random, sample};
use crate::table::{Row, Verdict};

/// A disk in memory of which every night a tenth of the segments, drawn at random, changes by 1 %, half of them in one
/// place and half of them anywhere. Not the simulator of the budget's series, which comes with reuse.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let nights = scale.pick(6, 60);
    let storage = Arc::new(CountingStorage::default());
    let repository = create(Arc::<CountingStorage>::clone(&storage))?;
    let pools = Pools::start(2)?;
    let mut image = sample(Look::Compressible, 14, scale.pick(16, 256) * SEGMENT_LEN);
    let mut newest = store(&repository, &pools, &mut of_image(&image))?;
    let first = Bytes::on(&storage.inner)?;
    let mut random = Random::new(15);
    let mut changed_bytes = 0;
    for _ in 0..nights {
        changed_bytes += pass_night(&mut image, &mut random);
        newest = store(&repository, &pools, &mut of_image(&image))?;
    }
    let added = Bytes::on(&storage.inner)?.since(first).total();
    let reader = Reader::open(&repository)?;
    let mut rows = vec![Row {
        name: "bytes added per night",
        budget: "<= 1.05 x truth",
        measured: format!(
            "cut afresh, {nights} nights: {:.1} x the changed blocks",
            added as f64 / changed_bytes as f64
        ),
        verdict: Verdict::NotMeasured("reuse and the simulated series come later"),
    }];
    let windows = [
        ("frames opened / distinct, window of 64", "<= 1.15", 64, 1.15),
        ("frames opened / distinct, window of 32", "<= 1.30", 32, 1.30),
    ];
    for (name, budget, window, limit) in windows {
        let (opened, distinct) = frames_of(&reader, &pools, &newest, &storage, window)?;
        let ratio = opened as f64 / distinct as f64;
        rows.push(Row {
            name,
            budget,
            measured: format!("{ratio:.2} after {nights} nights: {opened} / {distinct}"),
            verdict: match ratio <= limit {
                true => Verdict::NotMeasured("within it, but reuse will scatter frames more"),
                false => Verdict::Misses,
            },
        });
    }
    Ok(rows)
}

/// Changes the image; how many bytes.
fn pass_night(image: &mut [u8], random: &mut Random) -> usize {
    let segments = image.len() / SEGMENT_LEN;
    let mut changed = 0;
    for _ in 0..segments.div_ceil(10) {
        let start = random.below(segments as u64) as usize * SEGMENT_LEN;
        let scatter = if random.below(2) == 0 { Scatter::Clustered } else { Scatter::Scattered };
        change(&mut image[start..start + SEGMENT_LEN], scatter, random);
        changed += SEGMENT_LEN / 100;
    }
    changed
}

/// How many frames of data packs are read to restore the disk in windows, and how many different ones.
fn frames_of<'r>(
    reader: &'r Reader<'r>,
    pools: &'r Pools,
    snapshot: &Snapshot,
    storage: &CountingStorage,
    window: usize,
) -> Measured<(usize, usize)> {
    let data_packs: HashSet<_> = reader.with_lookup(|lookup| {
        let packs = lookup.packs().filter(|(_, _, _, kind)| *kind == Kind::DataPack);
        packs.map(|(_, id, ..)| ObjectName::Pack(id)).collect()
    });
    storage.take_reads();
    let id = snapshot.disks[0].id;
    let mut walk = Segments::of(reader, id, &reader.disk(id)?)?;
    loop {
        let wanted = walk.next_window(window)?;
        if wanted.is_empty() {
            break;
        }
        let spare = &mut Vec::new();
        Window::start(reader, &pools.workers, wanted, spare)?.finish(spare)?;
    }
    // What begins at 0 is the header of a pack.
    let is_frame = |(name, start): &(ObjectName, u64)| *start > 0 && data_packs.contains(name);
    let opened: Vec<_> = storage.take_reads().into_iter().filter(is_frame).collect();
    let distinct: HashSet<_> =
        opened.iter().map(|(name, start)| (name.to_string(), start)).collect();
    Ok((opened.len(), distinct.len()))
}

/// A repository in memory that remembers which ranges were read.
#[derive(Default)]
struct CountingStorage {
    inner: MemoryStorage,
    reads: Mutex<Vec<(ObjectName, u64)>>,
}

impl CountingStorage {
    fn take_reads(&self) -> Vec<(ObjectName, u64)> {
        std::mem::take(&mut self.reads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Storage for CountingStorage {
    fn create(&self, name: ObjectName, bytes: &[u8]) -> Result<Creation, StorageError> {
        self.inner.create(name, bytes)
    }

    fn replace_session(&self, name: ObjectName, bytes: &[u8]) -> Result<(), StorageError> {
        self.inner.replace_session(name, bytes)
    }

    fn read(&self, name: ObjectName, limit_bytes: u64) -> Result<Vec<u8>, StorageError> {
        self.inner.read(name, limit_bytes)
    }

    fn read_range(&self, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push((name, range.start));
        self.inner.read_range(name, range)
    }

    fn list(&self, directory: Directory) -> Result<Vec<(ObjectName, u64)>, StorageError> {
        self.inner.list(directory)
    }

    fn delete(&self, name: ObjectName) -> Result<(), StorageError> {
        self.inner.delete(name)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
