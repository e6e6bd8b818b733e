//! What a window reads: which ranges of which frames go where in its segments, and which of them were held for it when
//! an earlier window opened their frame.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use repo_format::id::PackId;
use repo_format::map::{Fill, Map};

use crate::entries::missing;
use crate::lookup::{Location, Lookup, PackNumber};
use crate::reader::ContentReadError;

/// A frame by the number of its pack and its own. Says nothing beside another [`Lookup`].
pub type Frame = (PackNumber, u16);

/// Bytes of a plain frame that go to a place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    pub from: u32,
    pub len: u32,
    pub segment: u32,
    pub to: u32,
}

/// A range of a segment that is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zeros {
    pub segment: u32,
    pub to: u32,
    pub len: u32,
}

impl Copy {
    /// Places and extents were checked when they were parsed: both ranges exist.
    pub fn apply(self, plain: &[u8], segments: &[Mutex<Vec<u8>>]) {
        let (from, to, len) = (self.from as usize, self.to as usize, self.len as usize);
        let target = &mut lock(&segments[self.segment as usize])[to..to + len];
        target.copy_from_slice(&plain[from..from + len]);
    }
}

pub fn lock(segment: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    segment.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is held of a frame for a later window, so that it need not open the frame again.
#[derive(Debug)]
pub struct Held {
    /// Rising, not touching.
    ranges: Vec<HeldRange>,
    len: usize,
    /// Empty until the frame has been opened.
    bytes: OnceLock<Vec<u8>>,
}

#[derive(Debug)]
struct HeldRange {
    from: u32,
    len: u32,
    /// Where it begins in what is held.
    at: u32,
}

impl Held {
    /// What these copies take of their frame, every byte once; nothing is there yet.
    pub fn of(copies: &[Copy]) -> Self {
        let mut taken: Vec<_> = copies.iter().map(|copy| (copy.from, copy.len)).collect();
        taken.sort_unstable();
        let mut ranges: Vec<HeldRange> = Vec::new();
        for (from, len) in taken {
            match ranges.last_mut() {
                Some(last) if from <= last.from + last.len => {
                    last.len = last.len.max(from + len - last.from);
                }
                last => {
                    let at = last.map_or(0, |last| last.at + last.len);
                    ranges.push(HeldRange { from, len, at });
                }
            }
        }
        let len = ranges.iter().map(|range| range.len as usize).sum();
        Self { ranges, len, bytes: OnceLock::new() }
    }

    /// Bytes that are held.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Takes what is to be held.
    pub fn fill(&self, plain: &[u8]) {
        let copied = || {
            let mut bytes = Vec::with_capacity(self.len);
            for HeldRange { from, len, .. } in &self.ranges {
                bytes.extend_from_slice(&plain[*from as usize..(from + len) as usize]);
            }
            bytes
        };
        self.bytes.get_or_init(copied);
    }

    /// Copies to segments what `copies` would take of the frame; false if the frame was never opened.
    pub fn apply(&self, copies: &[Copy], segments: &[Mutex<Vec<u8>>]) -> bool {
        let Some(bytes) = self.bytes.get() else { return false };
        copies.iter().all(|copy| {
            let begun = self.ranges.partition_point(|range| range.from <= copy.from);
            let range = begun.checked_sub(1).and_then(|place| self.ranges.get(place));
            let from = range.map(|range| range.at + (copy.from - range.from));
            from.is_some_and(|from| {
                Copy { from, ..*copy }.apply(bytes, segments);
                true
            })
        })
    }
}

/// What a window reads, in the order of packs, and what is zero in it. Together they fill every segment.
#[derive(Debug, Default)]
pub struct Plan {
    /// What comes out of each frame.
    pub copies: BTreeMap<Frame, Vec<Copy>>,
    /// What comes out of none.
    pub zeros: Vec<Zeros>,
    /// Frames of `copies` that an earlier window opens for this one.
    pub held: BTreeMap<Frame, Arc<Held>>,
    /// What this window holds of the frames that it opens; it is given up when nobody waits for it any more.
    pub holds: BTreeMap<Frame, Vec<Weak<Held>>>,
}

impl Plan {
    /// Copies and ranges of zeros: what the plan takes in memory, but for a factor.
    pub fn len(&self) -> usize {
        self.zeros.len() + self.copies.values().map(Vec::len).sum::<usize>()
    }

    /// Frames that are opened.
    pub fn opened(&self) -> impl Iterator<Item = Frame> {
        self.copies.keys().filter(|frame| !self.held.contains_key(*frame)).copied()
    }
}

/// Decides what a window reads, without packs of `avoid`. Pure but for the index.
pub fn plan_window(
    lookup: &Lookup,
    maps: &[Map],
    avoid: &BTreeSet<PackId>,
) -> Result<Plan, ContentReadError> {
    let mut plan = Plan::default();
    for (segment, map) in (0..).zip(maps) {
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

fn plan_segment(segment: u32, map: &Map, locations: &[Location], plan: &mut Plan) {
    let mut to = 0;
    for extent in map.extents() {
        let len = extent.len;
        match extent.fill {
            Fill::Zeros => plan.zeros.push(Zeros { segment, to, len }),
            Fill::Chunk { index, offset } => {
                let location = &locations[usize::from(index)];
                let from = location.place.offset + offset;
                let frame = (location.pack, location.place.frame);
                plan.copies.entry(frame).or_default().push(Copy { from, len, segment, to });
            }
        }
        to += len;
    }
}
