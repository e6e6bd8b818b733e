//! A window of segments, rebuilt together: every frame is opened once, in the order of packs, and each segment is
//! compared with its id before it is handed out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};

use repo_format::id::{PackId, SegmentId};
use repo_format::keys::Role;
use repo_format::limits::SEGMENT_LEN;
use repo_format::segment::segment_id;

use crate::parallel::{Ordered, Workers};
use crate::reader::{ContentReadError, Loaded, Reader};

pub(crate) mod plan;

use plan::{Copy, Held, Plan, lock, plan_window};

/// A segment of a disk: its number and id.
pub type NumberedSegment = (u64, SegmentId);

/// A segment that was compared with its id: its number and 4 MiB.
pub type VerifiedSegment = (u64, Vec<u8>);

/// A window whose maps have been read: what it needs, and the index that says so.
pub(crate) struct Prepared {
    pub(crate) wanted: Vec<NumberedSegment>,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) plan: Plan,
}

impl Prepared {
    /// Plans a window in which nothing is held, without packs of `avoid`.
    pub(crate) fn new(
        reader: &Reader<'_>,
        wanted: Vec<NumberedSegment>,
        avoid: &BTreeSet<PackId>,
    ) -> Result<Self, ContentReadError> {
        if reader.repository().keys().role() == Role::Backup {
            return Err(ContentReadError::BackupRole);
        }
        let mut maps = Vec::with_capacity(wanted.len());
        for (_, id) in &wanted {
            maps.push(reader.map(*id)?);
        }
        let loaded = reader.loaded();
        let plan = plan_window(&loaded.lookup, &maps, avoid)?;
        Ok(Self { wanted, loaded, plan })
    }
}

/// A window that is being rebuilt by jobs on worker threads.
pub struct Window<'r> {
    reader: &'r Reader<'r>,
    workers: &'r Workers,
    wanted: Vec<NumberedSegment>,
    pub(crate) segments: Arc<Vec<Mutex<Vec<u8>>>>,
    held: Vec<(Arc<Held>, Vec<Copy>)>,
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
        let mut failure = match self.complete_with_held(spare) {
            Err(error) => error,
            rebuilt => return rebuilt,
        };
        // Rule 18: a pack that cannot be read is no answer while another has the same chunks.
        let mut avoid = BTreeSet::new();
        while let Some(pack) = failure.unusable_pack()
            && avoid.insert(pack)
        {
            let again = Self::begin(reader, workers, wanted.clone(), &avoid, spare);
            match again.and_then(|window| window.complete(spare)) {
                Err(ContentReadError::Missing { .. }) => break,
                Err(error) => failure = error,
                rebuilt => return rebuilt,
            }
        }
        // Rule 17: what is missing is damage only if nothing has changed.
        match failure.may_heal() && reader.reload(&failure)? {
            true => Self::begin(reader, workers, wanted, &BTreeSet::new(), spare)?.complete(spare),
            false => Err(failure),
        }
    }

    /// Plans the window for itself, without packs of `avoid`, and launches it.
    fn begin(
        reader: &'r Reader<'r>,
        workers: &'r Workers,
        wanted: Vec<NumberedSegment>,
        avoid: &BTreeSet<PackId>,
        spare: &mut Vec<Vec<u8>>,
    ) -> Result<Self, ContentReadError> {
        let prepared = Prepared::new(reader, wanted, avoid)?;
        Self::launch(reader, workers, prepared, spare)
    }

    /// Starts a job for each frame that is opened.
    pub(crate) fn launch(
        reader: &'r Reader<'r>,
        workers: &'r Workers,
        prepared: Prepared,
        spare: &mut Vec<Vec<u8>>,
    ) -> Result<Self, ContentReadError> {
        let Prepared { wanted, loaded, plan } = prepared;
        let Plan { copies, zeros, held: mut held_frames, mut holds } = plan;
        let buffer = |_| spare.pop().unwrap_or_else(|| vec![0; SEGMENT_LEN]);
        let mut segments: Vec<Vec<u8>> = (0..wanted.len()).map(buffer).collect();
        for zeros in &zeros {
            let (to, len) = (zeros.to as usize, zeros.len as usize);
            segments[zeros.segment as usize][to..to + len].fill(0);
        }
        let segments = Arc::new(segments.into_iter().map(Mutex::new).collect::<Vec<_>>());
        let mut rebuilding = workers.ordered(copies.len());
        let mut held = Vec::with_capacity(held_frames.len());
        for ((number, frame), copies) in copies {
            if let Some(bytes) = held_frames.remove(&(number, frame)) {
                held.push((bytes, copies));
                continue;
            }
            let facts = loaded.lookup.pack(number)?;
            let for_later = holds.remove(&(number, frame)).unwrap_or_default();
            let (sealers, segments) = (reader.sealers(), Arc::downgrade(&segments));
            rebuilding.submit(move || {
                // A window that was given up: what waits in line takes no more memory.
                let Some(segments) = segments.upgrade() else { return Ok(()) };
                sealers.with_frame(&facts, frame, |plain| {
                    copies.iter().for_each(|copy| copy.apply(plain, &segments));
                    for_later.iter().filter_map(Weak::upgrade).for_each(|held| held.fill(plain));
                })
            });
        }
        Ok(Self { reader, workers, wanted, segments, held, rebuilding })
    }

    /// Completes the window with what earlier ones have held for it, or without their help if one of them failed.
    fn complete_with_held(
        mut self,
        spare: &mut Vec<Vec<u8>>,
    ) -> Result<Vec<VerifiedSegment>, ContentReadError> {
        let mut held = std::mem::take(&mut self.held).into_iter();
        if !held.all(|(held, copies)| held.apply(&copies, &self.segments)) {
            let (reader, workers) = (self.reader, self.workers);
            let wanted = self.wanted.clone();
            self.give_up(spare);
            self = Self::begin(reader, workers, wanted, &BTreeSet::new(), spare)?;
        }
        self.complete(spare)
    }

    /// Waits for all frames, and verifies.
    fn complete(
        mut self,
        spare: &mut Vec<Vec<u8>>,
    ) -> Result<Vec<VerifiedSegment>, ContentReadError> {
        while let Some(rebuilt) = self.rebuilding.next() {
            if let Err(error) = rebuilt {
                self.give_up(spare);
                return Err(error);
            }
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

    /// Waits until no job has a buffer any more: those of another attempt come in their place, not on top.
    fn give_up(mut self, spare: &mut Vec<Vec<u8>>) {
        while self.rebuilding.next().is_some() {}
        spare.extend(self.segments.iter().map(|segment| std::mem::take(&mut *lock(segment))));
    }
}
