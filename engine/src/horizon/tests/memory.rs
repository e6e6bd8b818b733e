//! A stream keeps to its share: counted at every step of a restore of a disk of which everything is worth holding.

use std::num::NonZeroUsize;
use std::sync::Arc;

use repo_format::frame::Compression;
use repo_format::id::RunId;
use repo_format::object_name::ObjectName;
use repo_format::slot::KdfCost;
use repo_format::snapshot::Snapshot;

use super::*;
use crate::backup::{BackupRequest, backup};
use crate::observer::Silent;
use crate::packer::{Packing, Threads};
use crate::repository::{OpenOptions, Repository};
use crate::session::Who;
use crate::source::{DiskInfo, NextSegment, SEGMENT_LEN, Source, SourceError, SourceFacts};
use crate::storage::memory::MemoryStorage;
use crate::surroundings::RealSurroundings;

/// Segments of the disk; the second half begins as the first does, in another order.
const SEGMENTS: u64 = 28;
/// Bytes of noise at the front of each.
const NOISE: usize = 512 << 10;

/// The disk as a source: the number of the next segment.
struct Shuffled(u64);

impl Source for Shuffled {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        Ok((self.0 == 0).then(DiskInfo::default))
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        let number = self.0;
        if number == SEGMENTS {
            return Ok(NextSegment::End { size_bytes: SEGMENTS * SEGMENT_LEN as u64 });
        }
        let half = SEGMENTS / 2;
        let noise = if number < half { number } else { number * 5 % half };
        buffer.fill(0);
        let mut stream = blake3::Hasher::new().update(&noise.to_le_bytes()).finalize_xof();
        stream.fill(&mut buffer[..NOISE]);
        self.0 += 1;
        Ok(NextSegment::Filled { number })
    }

    fn facts(&self) -> SourceFacts {
        SourceFacts::default()
    }
}

/// A repository in memory that holds the disk.
struct Stored {
    storage: Arc<MemoryStorage>,
    repository: Repository,
    workers: Workers,
    snapshot: Snapshot,
}

fn stored() -> Stored {
    let storage = Arc::new(MemoryStorage::new());
    let options = OpenOptions {
        storage: storage.clone(),
        surroundings: Arc::new(RealSurroundings),
        cache: None,
    };
    let repository =
        Repository::create(options, b"a password", KdfCost::CHEAPEST, "first").unwrap();
    let workers = Workers::start(NonZeroUsize::new(2).unwrap()).unwrap();
    let packing = Packing::new(Compression::Zstd(1));
    let request = BackupRequest {
        who: Who { host: String::new(), process: 1, program: String::new() },
        run: RunId::from_bytes([7; 16]),
        run_name: String::new(),
        tags: Vec::new(),
        path: "-".to_owned(),
        selection: None,
        vm_name: None,
        time: None,
        utc_offset: 0,
        packing,
    };
    let threads = Threads { workers: &workers, uploaders: &workers };
    let snapshot = backup(&repository, threads, &mut Shuffled(0), &request, &Silent).unwrap();
    Stored { storage, repository, workers, snapshot }
}

impl Horizon<'_> {
    /// Bytes that are held, for windows to come and for those under way.
    fn held(&self) -> usize {
        let under_way = self.under_way.iter().filter_map(Weak::upgrade);
        let to_come = self.ahead.iter().filter_map(|ahead| match ahead {
            Ahead::Planned(prepared) => Some(prepared.plan.held.values().cloned()),
            Ahead::Unplanned(_) => None,
        });
        under_way.chain(to_come.flatten()).map(|held| held.len()).sum()
    }
}

/// What a restore with this share had in memory at most: buffers of segments, and bytes held.
fn peak(stored: &Stored, share: Share) -> (usize, usize) {
    let reader = Reader::open(&stored.repository).unwrap();
    let id = stored.snapshot.disks[0].id;
    let walk = Segments::of(&reader, id, &reader.disk(id).unwrap()).unwrap();
    let mut horizon = Horizon::over(&reader, &stored.workers, walk, share);
    let (mut buffers, mut held) = (0, 0);
    let mut window = horizon.next_window().unwrap();
    while let Some(ready) = window {
        held = held.max(horizon.held());
        window = horizon.next_window().unwrap();
        held = held.max(horizon.held());
        let open = |window: &Window<'_>| window.segments.len();
        buffers = buffers.max(horizon.spare.len() + open(&ready) + window.as_ref().map_or(0, open));
        for (_, buffer) in horizon.finish(ready).unwrap() {
            horizon.give_back(buffer);
        }
    }
    (buffers, held)
}

#[test]
fn a_stream_keeps_to_its_share() {
    let stored = stored();
    let copies = usize::MAX;
    for (window, held) in [(2, 1 << 20), (4, 3 << 20), (16, 5 << 20)] {
        let (buffers_most, held_most) = peak(&stored, Share { window, held, copies });
        assert_eq!(buffers_most, 2 * window.min(SEGMENTS as usize / 2));
        // It would hold more, and chunks are smaller than a quarter of a MiB each.
        assert!((held - (256 << 10)..=held).contains(&held_most), "{held_most} of {held}");
    }
}

/// What fails is tried again in the buffers that it had, and a window that was given up leaves none behind.
#[test]
fn failures_take_no_more() {
    let stored = stored();
    let reader = Reader::open(&stored.repository).unwrap();
    let id = stored.snapshot.disks[0].id;
    let walk = Segments::of(&reader, id, &reader.disk(id).unwrap()).unwrap();
    let share = Share { window: 4, held: 0, copies: usize::MAX };
    let mut horizon = Horizon::over(&reader, &stored.workers, walk, share);
    // Planned with maps that can be read.
    horizon.look_ahead();
    stored.storage.objects().retain(|name, _| !matches!(name, ObjectName::Pack(_)));
    let first = horizon.next_window().unwrap().unwrap();
    assert!(horizon.finish(first).is_err(), "the pack is gone");
    assert_eq!(horizon.spare.len(), 4);
    // Nobody works, so that its jobs wait in line.
    let (go_on, wait) = crossbeam_channel::bounded::<()>(0);
    let mut busy = stored.workers.ordered(2);
    (0..2).for_each(|_| {
        busy.submit({
            let wait = wait.clone();
            move || wait.recv().is_err()
        })
    });
    let second = horizon.next_window().unwrap().unwrap();
    let buffers = Arc::downgrade(&second.segments);
    drop(second);
    assert!(buffers.upgrade().is_none());
    drop(go_on);
    while busy.next().is_some() {}
}
