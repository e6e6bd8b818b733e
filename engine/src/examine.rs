//! What a worker finds out about one segment: whether it is known, and where to cut it if not.

use std::ops::Range;
use std::sync::Arc;

use repo_format::chunker::Chunker;
use repo_format::id::{ChunkId, SegmentId};
use repo_format::keys::Keys;
use repo_format::map::{ChunkRef, Extent, Fill, Map};
use repo_format::pack::EntryKind;
use repo_format::segment::{Run, chunk_id, is_zero, runs, segment_id};

use crate::hints::{Hint, Hints};
use crate::lookup::{Lookup, LookupError};

/// All that a worker needs; it changes nothing.
pub struct Examiner {
    /// Names things.
    pub keys: Keys,
    /// Cuts.
    pub chunker: Chunker,
    /// What counts.
    pub lookup: Lookup,
    /// What unfinished sessions have left.
    pub hints: Option<Arc<Hints>>,
}

/// A segment after examination.
pub struct Examined {
    /// Its number.
    pub number: u64,
    /// Its bytes; for a new segment those of its non-zero units, put together at the front.
    pub buffer: Vec<u8>,
    /// What it is.
    pub verdict: Verdict,
}

/// What a segment is.
pub enum Verdict {
    /// All zero: a hole.
    Zero,
    /// Its id counts: nothing is to be done.
    Known(SegmentId),
    /// It must be mapped.
    New(SegmentId, Cut),
}

/// A segment that was cut.
pub struct Cut {
    /// How to rebuild it.
    pub map: Map,
    /// Its chunks that do not count yet.
    pub unknown: Vec<UnknownChunk>,
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

impl Examiner {
    /// The same, with a newer index.
    #[must_use]
    pub fn with_lookup(&self, lookup: Lookup) -> Self {
        let (keys, chunker) = (self.keys.clone(), self.chunker.clone());
        Self { keys, chunker, lookup, hints: self.hints.clone() }
    }

    /// Examines one segment.
    pub fn examine(&self, number: u64, mut buffer: Vec<u8>) -> Result<Examined, LookupError> {
        if is_zero(&buffer) {
            return Ok(Examined { number, buffer, verdict: Verdict::Zero });
        }
        let id = segment_id(&self.keys, &buffer);
        let verdict = match self.lookup.find(EntryKind::Map, id.as_bytes())? {
            Some(_) => Verdict::Known(id),
            None => Verdict::New(id, self.cut(&mut buffer)?),
        };
        Ok(Examined { number, buffer, verdict })
    }

    /// Cuts afresh: zero units become zero extents, the rest is put together and cut (SPEC 6).
    fn cut(&self, buffer: &mut [u8]) -> Result<Cut, LookupError> {
        let runs = runs(buffer);
        let len = compact(buffer, &runs);
        let mut chunks: Vec<ChunkRef> = Vec::new();
        let mut unknown = Vec::new();
        let mut start = 0;
        for bytes in self.chunker.chunks(&buffer[..len]) {
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
        let map = Map::new(chunks.clone(), extents(&runs, &chunks));
        Ok(Cut { map: map.expect("runs fill a segment and chunks fill its data"), unknown })
    }
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
