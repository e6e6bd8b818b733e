//! What a worker finds out about one segment: whether it is known, which of its blocks are, and where to cut the rest.

use std::ops::Range;
use std::sync::Arc;

use repo_format::chunker::Chunker;
use repo_format::id::{ChunkId, Fingerprint, SegmentId};
use repo_format::keys::Keys;
use repo_format::limits::{BLOCK_LEN, PRINT_DEPTH_MAX, UNIT_BLOCKS, UNIT_LEN};
use repo_format::map::{ChunkRef, Extent, Fill, Map};
use repo_format::pack::EntryKind;
use repo_format::print::Print;
use repo_format::segment::{Run, Units, chunk_id, is_zero, runs};

use crate::hints::{Hint, Hints};
use crate::lookup::{Lookup, LookupError};
use crate::prints::{Known, Prints};
use crate::reuse::{Origin, Plan, kept, origins};

/// Times the bytes of a full print that the deltas above it may take.
const DELTAS_PER_FULL_MAX: usize = 4;

/// All that a worker needs; it changes nothing.
pub struct Examiner {
    /// Names things.
    pub keys: Keys,
    /// Cuts.
    pub chunker: Chunker,
    /// What counts.
    pub lookup: Arc<Lookup>,
    /// What unfinished sessions have left.
    pub hints: Option<Arc<Hints>>,
    /// What recognises blocks.
    pub prints: Arc<Prints>,
}

/// What has come of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// All of it.
    Whole,
    /// All of it, and it should be what stood there before.
    Sample,
    /// Of what stood there before, the units that have changed: bit n for unit n.
    Units(u64),
    /// Nothing: it is what stood there before.
    Nothing,
    /// Nothing that helps: it must be read.
    Unread,
}

/// Where a segment comes from.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its number in its disk.
    pub number: u64,
    /// What stood there before.
    pub before: Option<SegmentId>,
    /// How many of the segments that this session has stored may be used.
    pub stored_before: u64,
    /// Whether its blocks shall be found again; not worth it in small streams.
    pub with_print: bool,
}

/// A segment after examination.
pub struct Examined {
    /// Where it comes from.
    pub place: Place,
    /// Its bytes; for a new segment those that were cut, put together at the front.
    pub buffer: Vec<u8>,
    /// What was found out.
    pub outcome: Outcome,
}

/// What an examination has led to.
pub enum Outcome {
    /// It is known what the segment is.
    Is(Verdict),
    /// What the repository has of what stood there before is not enough: the segment must be read whole.
    Wanted,
    /// The sample is not what stood there before.
    Unlike,
}

/// What a segment is.
pub enum Verdict {
    /// All zero: a hole.
    Zero,
    /// Its id counts: nothing is to be done.
    Known(SegmentId),
    /// It must be mapped.
    New(SegmentId, Box<Cut>),
}

/// A segment that was cut.
pub struct Cut {
    /// How to rebuild it.
    pub map: Map,
    /// Its chunks that do not count yet.
    pub unknown: Vec<UnknownChunk>,
    /// What will recognise it.
    pub trace: Option<Trace>,
}

/// What recognises a new segment later.
pub struct Trace {
    /// Its print and map.
    pub known: Arc<Known>,
    /// Its print as it is stored.
    pub stored: Vec<u8>,
    /// Fingerprints that shall lead to it.
    pub hooks: Vec<Fingerprint>,
}

/// A chunk that does not count yet.
pub struct UnknownChunk {
    /// Its id.
    pub id: ChunkId,
    /// Its bytes in the buffer.
    pub range: Range<usize>,
    /// Where an unfinished session has stored it.
    pub hint: Option<Hint>,
}

/// A map, and its chunks that do not count yet.
type Built = (Map, Vec<UnknownChunk>);

/// A new segment, compared with what is stored.
struct Recognised {
    id: SegmentId,
    print: Print,
    before: Option<Arc<Known>>,
    /// Segments in which its blocks are found.
    candidates: Vec<Arc<Known>>,
    origins: Vec<Origin>,
}

impl Examiner {
    /// The same, with a newer index.
    #[must_use]
    pub fn with_lookup(&self, lookup: Arc<Lookup>) -> Self {
        Self {
            keys: self.keys.clone(),
            chunker: self.chunker.clone(),
            lookup,
            hints: self.hints.clone(),
            prints: Arc::clone(&self.prints),
        }
    }

    /// Examines one segment; `buffer` holds what was given of it.
    pub fn examine(
        &self,
        place: Place,
        given: Given,
        mut buffer: Vec<u8>,
    ) -> Result<Examined, LookupError> {
        let outcome = match given {
            Given::Whole | Given::Units(u64::MAX) => Outcome::Is(self.whole(place, &mut buffer)?),
            Given::Sample => self.sample(place, &mut buffer)?,
            Given::Units(units) => self.changed(place, units, &mut buffer)?,
            Given::Nothing => self.unchanged(place)?,
            Given::Unread => Outcome::Wanted,
        };
        Ok(Examined { place, buffer, outcome })
    }

    /// What a segment is whose bytes are all there. For a new one, those that were cut are put together at the front then.
    pub fn whole(&self, place: Place, bytes: &mut [u8]) -> Result<Verdict, LookupError> {
        if is_zero(bytes) {
            return Ok(Verdict::Zero);
        }
        let units = Units::of(&self.keys, bytes);
        let id = units.segment_id(&self.keys);
        if self.counts(id)? {
            return Ok(Verdict::Known(id));
        }
        if !place.with_print {
            let (map, unknown) = self.cut_afresh(bytes)?;
            return Ok(Verdict::New(id, Box::new(Cut { map, unknown, trace: None })));
        }
        let before = place.before.filter(|before| *before != id);
        let before = before.and_then(|before| self.known(before, place));
        let segment = self.recognise(id, units, before, place, bytes);
        let built = match self.reuse(&segment, bytes)? {
            Some(reused) => reused,
            None => self.cut_afresh(bytes)?,
        };
        Ok(self.new_segment(segment, built))
    }

    fn sample(&self, place: Place, bytes: &mut [u8]) -> Result<Outcome, LookupError> {
        let verdict = self.whole(place, bytes)?;
        let id = match &verdict {
            Verdict::Zero => None,
            Verdict::Known(id) | Verdict::New(id, _) => Some(*id),
        };
        Ok(if id == place.before { Outcome::Is(verdict) } else { Outcome::Unlike })
    }

    /// `given` units of a segment; the others are those of what stood there before, whose print tells their values.
    fn changed(&self, place: Place, given: u64, bytes: &mut [u8]) -> Result<Outcome, LookupError> {
        let known = match place.before {
            None => None,
            Some(before) => match self.known(before, place) {
                Some(known) if place.with_print => Some(known),
                _ => return Ok(Outcome::Wanted),
            },
        };
        let zeros = self.prints.zeros();
        let mut values = *known.as_ref().map_or(zeros, |known| &known.print).units().values();
        let mut is_whole = true;
        for (unit, bytes) in bytes.chunks_mut(UNIT_LEN).enumerate() {
            if given & 1 << unit != 0 {
                values[unit] = Units::value(&self.keys, unit, bytes);
            } else if values[unit] == zeros.units().values()[unit] {
                bytes.fill(0);
            } else {
                is_whole = false;
            }
        }
        let Some(known) = known.filter(|_| !is_whole) else {
            return Ok(Outcome::Is(self.whole(place, bytes)?));
        };
        let units = Units::from_values(values);
        let id = units.segment_id(&self.keys);
        if self.counts(id)? {
            return Ok(Outcome::Is(Verdict::Known(id)));
        }
        if id == known.id {
            return Ok(Outcome::Wanted);
        }
        // Blocks that are to be cut are never among those that were not given: they are found in what stood there.
        let segment = self.recognise(id, units, Some(known), place, bytes);
        Ok(match self.reuse(&segment, bytes)? {
            Some(reused) => Outcome::Is(self.new_segment(segment, reused)),
            None => Outcome::Wanted,
        })
    }

    fn unchanged(&self, place: Place) -> Result<Outcome, LookupError> {
        Ok(match place.before {
            None => Outcome::Is(Verdict::Zero),
            Some(before) if self.counts(before)? => Outcome::Is(Verdict::Known(before)),
            Some(_) => Outcome::Wanted,
        })
    }

    fn counts(&self, id: SegmentId) -> Result<bool, LookupError> {
        Ok(self.lookup.find(EntryKind::Map, id.as_bytes())?.is_some())
    }

    /// Finds the blocks that are stored already.
    fn recognise(
        &self,
        id: SegmentId,
        units: Units,
        before: Option<Arc<Known>>,
        place: Place,
        bytes: &[u8],
    ) -> Recognised {
        let print = self.print(units, bytes, before.as_deref().map(|known| &known.print));
        let candidates = self.candidates(&print, before.as_ref(), place);
        let prints: Vec<&Print> = candidates.iter().map(|known| &known.print).collect();
        let origins = origins(&print, &prints, before.is_some());
        Recognised { id, print, before, candidates, origins }
    }

    /// What is stored of a segment, and what will recognise it.
    fn new_segment(&self, segment: Recognised, (map, unknown): Built) -> Verdict {
        let Recognised { id, print, before, origins, .. } = segment;
        let (stored, depth, delta_bytes) = self.stored_print(&print, before.as_deref());
        let hooks = new_hooks(&print, &origins);
        let known = Known { id, print, map: map.clone(), depth, delta_bytes, is_fresh: true };
        let trace = Trace { known: Arc::new(known), stored, hooks };
        Verdict::New(id, Box::new(Cut { map, unknown, trace: Some(trace) }))
    }

    /// What is known of a stored segment, when the one at `place` comes.
    fn known(&self, segment: SegmentId, place: Place) -> Option<Arc<Known>> {
        self.prints.known(&self.lookup, segment, place.stored_before)
    }

    /// The print of a segment: fingerprints of units that are as they were before are taken over.
    fn print(&self, units: Units, bytes: &[u8], before: Option<&Print>) -> Print {
        let mut fingerprints = Vec::with_capacity(bytes.len() / BLOCK_LEN);
        for (number, unit) in bytes.chunks(UNIT_LEN).enumerate() {
            let same = before.filter(|b| b.units().values()[number] == units.values()[number]);
            match same {
                Some(before) => {
                    let blocks = number * UNIT_BLOCKS..(number + 1) * UNIT_BLOCKS;
                    fingerprints.extend_from_slice(&before.fingerprints()[blocks]);
                }
                None => {
                    let blocks = unit.chunks(BLOCK_LEN);
                    fingerprints.extend(blocks.map(|block| Fingerprint::of(&self.keys, block)));
                }
            }
        }
        Print::new(units, fingerprints)
    }

    /// What the segment is compared with: what stood at its place, and what hooks lead to.
    fn candidates(
        &self,
        print: &Print,
        before: Option<&Arc<Known>>,
        place: Place,
    ) -> Vec<Arc<Known>> {
        let before_print = before.map(|known| &known.print);
        let changed = print.fingerprints().iter().zip(kept(print, before_print));
        let changed = changed.filter(|(_, kept)| !kept).map(|(fingerprint, _)| *fingerprint);
        let mut candidates: Vec<Arc<Known>> = before.cloned().into_iter().collect();
        for segment in self.prints.candidates(changed, place.stored_before) {
            if before.is_none_or(|known| known.id != segment) {
                candidates.extend(self.known(segment, place));
            }
        }
        candidates
    }

    /// A map that points where the bytes lie already. `None`: the segment is better cut afresh.
    fn reuse(&self, segment: &Recognised, bytes: &mut [u8]) -> Result<Option<Built>, LookupError> {
        let Recognised { print, origins, candidates, .. } = segment;
        let maps: Vec<&Map> = candidates.iter().map(|known| &known.map).collect();
        let plan = Plan::new(origins, &maps);
        let fingerprints = print.fingerprints().iter();
        let blocks = fingerprints.filter(|found| **found != Fingerprint::ZERO).count();
        if plan.is_too_scattered(blocks) || !self.all_are_stored(&plan, candidates)? {
            return Ok(None);
        }
        let mut new = Vec::with_capacity(plan.new_blocks.len() * BLOCK_LEN);
        for block in &plan.new_blocks {
            let start = usize::from(*block) * BLOCK_LEN;
            new.extend_from_slice(&bytes[start..start + BLOCK_LEN]);
        }
        let (chunks, unknown) = self.chunks(&new)?;
        let map = plan.map(&chunks);
        if map.is_some() {
            bytes[..new.len()].copy_from_slice(&new);
        }
        Ok(map.map(|map| (map, unknown)))
    }

    /// Whether every chunk that the plan points at is in the index, or was stored by this session.
    fn all_are_stored(&self, plan: &Plan, candidates: &[Arc<Known>]) -> Result<bool, LookupError> {
        let fresh = || candidates.iter().filter(|known| known.is_fresh);
        for chunk in &plan.stored_chunks {
            if self.lookup.find_chunk(&chunk.id)?.is_none()
                && !fresh().any(|known| known.map.chunks().contains(chunk))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Zero units become zero extents, the rest is put together and cut (SPEC 6).
    fn cut_afresh(&self, buffer: &mut [u8]) -> Result<Built, LookupError> {
        let runs = runs(buffer);
        let len = compact(buffer, &runs);
        let (chunks, unknown) = self.chunks(&buffer[..len])?;
        let map = Map::new(chunks.clone(), extents(&runs, &chunks));
        Ok((map.expect("runs fill a segment and chunks fill its data"), unknown))
    }

    /// Cuts bytes into chunks, and tells which do not count yet.
    fn chunks(&self, bytes: &[u8]) -> Result<(Vec<ChunkRef>, Vec<UnknownChunk>), LookupError> {
        let (mut chunks, mut unknown, mut start) = (Vec::new(), Vec::new(), 0);
        for bytes in self.chunker.chunks(bytes) {
            let id = chunk_id(&self.keys, bytes);
            chunks.push(ChunkRef { id, len: bytes.len() as u32 });
            if self.lookup.find_chunk(&id)?.is_none() {
                let hint = match &self.hints {
                    Some(hints) => hints.find(&id)?,
                    None => None,
                };
                unknown.push(UnknownChunk { id, range: start..start + bytes.len(), hint });
            }
            start += bytes.len();
        }
        Ok((chunks, unknown))
    }

    /// The print as it is stored, with its depth and the bytes of its deltas: a delta to what stood there before, unless
    /// deltas have outgrown a full print.
    fn stored_print(&self, print: &Print, before: Option<&Known>) -> (Vec<u8>, u8, usize) {
        let full = || (print.encode(self.prints.zeros()), 0, 0);
        let Some(before) = before.filter(|before| before.depth < PRINT_DEPTH_MAX) else {
            return full();
        };
        let depth = before.depth + 1;
        let delta = print.encode_delta(before.id, &before.print, depth);
        let delta_bytes = before.delta_bytes + delta.len();
        match full() {
            (stored, ..)
                if delta.len() >= stored.len()
                    || delta_bytes > stored.len() * DELTAS_PER_FULL_MAX =>
            {
                (stored, 0, 0)
            }
            _ => (delta, depth, delta_bytes),
        }
    }
}

/// Hooks of blocks that were found nowhere, each once.
fn new_hooks(print: &Print, origins: &[Origin]) -> Vec<Fingerprint> {
    let found = print.fingerprints().iter().zip(origins);
    let new = found.filter(|(_, origin)| matches!(origin, Origin::New(_)));
    let mut hooks: Vec<_> = new.map(|(found, _)| *found).filter(Fingerprint::is_hook).collect();
    hooks.sort_unstable();
    hooks.dedup();
    hooks
}

/// Moves the runs that hold data to the front; returns their bytes.
fn compact(buffer: &mut [u8], runs: &[Run]) -> usize {
    let mut len = 0;
    for run in runs.iter().filter(|run| !run.zero) {
        if run.start != len {
            buffer.copy_within(run.start..run.start + run.len, len);
        }
        len += run.len;
    }
    len
}

/// The extents of a fresh cut: runs of zeros, and chunks laid over the runs of data in order.
fn extents(runs: &[Run], chunks: &[ChunkRef]) -> Vec<Extent> {
    let mut extents = Vec::with_capacity(runs.len() + chunks.len());
    let (mut index, mut offset) = (0, 0);
    for run in runs {
        let mut left = run.len as u32;
        if run.zero {
            extents.push(Extent { len: left, fill: Fill::Zeros });
            continue;
        }
        while left > 0 {
            let len = left.min(chunks[index].len - offset);
            extents.push(Extent { len, fill: Fill::Chunk { index: index as u8, offset } });
            left -= len;
            offset += len;
            if offset == chunks[index].len {
                (index, offset) = (index + 1, 0);
            }
        }
    }
    extents
}
