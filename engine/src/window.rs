//! A window of segments, rebuilt together: every frame is opened once, in the order of packs, and each segment is
//! compared with its id before it is handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use repo_format::id::{PackId, SegmentId};
use repo_format::keys::Role;
use repo_format::limits::SEGMENT_LEN;
use repo_format::map::{Fill, Map};
use repo_format::segment::segment_id;

use crate::entries::missing;
use crate::lookup::{Location, Lookup, PackNumber};
use crate::parallel::{Ordered, Workers};
use crate::reader::{ContentReadError, Reader};

/// A segment of a disk: its number and id.
pub type NumberedSegment = (u64, SegmentId);

/// A segment that was compared with its id: its number and 4 MiB.
pub type VerifiedSegment = (u64, Vec<u8>);

/// A window that is being rebuilt by jobs on worker threads.
pub struct Window<'r> {
    reader: &'r Reader<'r>,
    workers: &'r Workers,
    wanted: Vec<NumberedSegment>,
    segments: Arc<Vec<Mutex<Vec<u8>>>>,
    rebuilding: Ordered<'r, Result<(), ContentReadError>>,
}

impl<'r> Window<'r> {
    /// Looks up what these segments need, and begins to rebuild them in buffers of `spare`; give them back there.
    pub fn start(
        reader: &'r Reader<'r>,
        workers: &'r Workers,
        wanted: Vec<NumberedSegment>,
        spare: &mut Vec<Vec<u8>>,
    ) -> Result<Self, ContentReadError> {
        if reader.repository().keys().role() == Role::Backup {
            return Err(ContentReadError::BackupRole);
        }
        match Self::begin(reader, workers, wanted.clone(), &BTreeSet::new(), spare) {
            Err(error) if error.may_heal() && reader.reload(&error)? => {
                Self::begin(reader, workers, wanted, &BTreeSet::new(), spare)
            }
            window => window,
        }
    }

    /// Waits until all is there, and verifies it.
    pub fn finish(
        self,
        spare: &mut Vec<Vec<u8>>,
    ) -> Result<Vec<VerifiedSegment>, ContentReadError> {
        let (reader, workers, wanted) = (self.reader, self.workers, self.wanted.clone());
        let mut failure = match self.complete() {
            Err(error) => error,
            rebuilt => return rebuilt,
        };
        // Rule 18: a pack that cannot be read is no answer while another has the same chunks.
        let mut avoid = BTreeSet::new();
        while let Some(pack) = failure.unusable_pack()
            && avoid.insert(pack)
        {
            let again = Self::begin(reader, workers, wanted.clone(), &avoid, spare);
            match again.and_then(Self::complete) {
                Err(ContentReadError::Missing { .. }) => break,
                Err(error) => failure = error,
                rebuilt => return rebuilt,
            }
        }
        // Rule 17: what is missing is damage only if nothing has changed.
        match failure.may_heal() && reader.reload(&failure)? {
            true => Self::begin(reader, workers, wanted, &BTreeSet::new(), spare)?.complete(),
            false => Err(failure),
        }
    }

    /// Plans the window, without packs of `avoid`, and starts a job for each frame.
    fn begin(
        reader: &'r Reader<'r>,
        workers: &'r Workers,
        wanted: Vec<NumberedSegment>,
        avoid: &BTreeSet<PackId>,
        spare: &mut Vec<Vec<u8>>,
    ) -> Result<Self, ContentReadError> {
        let mut maps = Vec::with_capacity(wanted.len());
        for (_, id) in &wanted {
            maps.push(reader.map(*id)?);
        }
        let loaded = reader.loaded();
        let Plan { copies, zeros } = plan_window(&loaded.lookup, &maps, avoid)?;
        let buffer = |_| spare.pop().unwrap_or_else(|| vec![0; SEGMENT_LEN]);
        let mut segments: Vec<Vec<u8>> = (0..wanted.len()).map(buffer).collect();
        for zeros in &zeros {
            segments[zeros.segment][zeros.to..zeros.to + zeros.len].fill(0);
        }
        let segments = Arc::new(segments.into_iter().map(Mutex::new).collect::<Vec<_>>());
        let mut rebuilding = workers.ordered(copies.len());
        for ((number, frame), copies) in copies {
            let facts = loaded.lookup.pack(number)?;
            let (sealers, segments) = (reader.sealers(), Arc::clone(&segments));
            rebuilding.submit(move || {
                sealers.with_frame(&facts, frame, |plain| {
                    copies.iter().for_each(|copy| copy.apply(plain, &segments));
                })
            });
        }
        Ok(Self { reader, workers, wanted, segments, rebuilding })
    }

    /// Waits for all frames, and verifies.
    fn complete(mut self) -> Result<Vec<VerifiedSegment>, ContentReadError> {
        while let Some(rebuilt) = self.rebuilding.next() {
            rebuilt?;
        }
        let mut hashing = self.workers.ordered(self.wanted.len());
        for segment in self.segments.iter() {
            let bytes = std::mem::take(&mut *lock(segment));
            let sealers = self.reader.sealers();
            hashing.submit(move || (segment_id(&sealers.keys, &bytes), bytes));
        }
        let mut verified = Vec::with_capacity(self.wanted.len());
        for (number, id) in self.wanted {
            let Some((found, bytes)) = hashing.next() else { break };
            if found != id {
                return Err(ContentReadError::Segment { id });
            }
            verified.push((number, bytes));
        }
        Ok(verified)
    }
}

fn lock(segment: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    segment.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of a plain frame that go to a place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Copy {
    from: usize,
    len: usize,
    segment: usize,
    to: usize,
}

/// A range of a segment that is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Zeros {
    segment: usize,
    to: usize,
    len: usize,
}

impl Copy {
    /// Places and extents were checked when they were parsed: both ranges exist.
    fn apply(self, plain: &[u8], segments: &[Mutex<Vec<u8>>]) {
        let target = &mut lock(&segments[self.segment])[self.to..self.to + self.len];
        target.copy_from_slice(&plain[self.from..self.from + self.len]);
    }
}

/// What a window reads, in the order of packs, and what is zero in it. Together they fill every segment.
#[derive(Default)]
struct Plan {
    copies: BTreeMap<(PackNumber, u16), Vec<Copy>>,
    zeros: Vec<Zeros>,
}

/// Decides what a window reads. Pure but for the index.
fn plan_window(
    lookup: &Lookup,
    maps: &[Map],
    avoid: &BTreeSet<PackId>,
) -> Result<Plan, ContentReadError> {
    let mut plan = Plan::default();
    for (segment, map) in maps.iter().enumerate() {
        let mut locations = Vec::with_capacity(map.chunks().len());
        for chunk in map.chunks() {
            let usable = |location: &Location| {
                location.place.len == chunk.len && !avoid.contains(&lookup.pack_id(location.pack))
            };
            let mut found = lookup.find_chunk(&chunk.id)?.filter(usable);
            if found.is_none() {
                found = lookup.find_all_chunks(&chunk.id)?.into_iter().find(usable);
            }
            locations.push(found.ok_or_else(|| missing("chunk", chunk.id.as_bytes()))?);
        }
        plan_segment(segment, map, &locations, &mut plan);
    }
    Ok(plan)
}

fn plan_segment(segment: usize, map: &Map, locations: &[Location], plan: &mut Plan) {
    let mut to = 0;
    for extent in map.extents() {
        let len = extent.len as usize;
        match extent.fill {
            Fill::Zeros => plan.zeros.push(Zeros { segment, to, len }),
            Fill::Chunk { index, offset } => {
                let location = &locations[usize::from(index)];
                let from = (location.place.offset + offset) as usize;
                let frame = (location.pack, location.place.frame);
                plan.copies.entry(frame).or_default().push(Copy { from, len, segment, to });
            }
        }
        to += len;
    }
}
