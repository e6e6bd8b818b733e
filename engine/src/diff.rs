//! Which ranges of two disks differ.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Range;

use repo_format::id::{DiskId, SegmentId};
use repo_format::limits::SEGMENT_LEN;

use crate::observer::{Event, Observer};
use crate::parallel::Workers;
use crate::reader::{ContentReadError, Reader};
use crate::walk::{Segments, segment_bytes};
use crate::window::{NumberedSegment, VerifiedSegment, Window};

/// Bytes at which contents are compared.
const BLOCK_LEN: usize = 4096;
/// Pairs of segments that are compared together: 128 MiB.
const WINDOW: usize = 16;

/// A place where two disks have different segments; `None` is a hole.
type Pair = (u64, Option<SegmentId>, Option<SegmentId>);

/// Calls `differing` with each range, in bytes, in which the disks have different content: rising, not touching,
/// ends at multiples of 4 KiB or at the end of the larger disk. Bytes behind the end of the smaller one count as zeros.
pub fn diff<'r>(
    reader: &'r Reader<'r>,
    workers: &'r Workers,
    old: DiskId,
    new: DiskId,
    observer: &dyn Observer,
    differing: &mut dyn FnMut(Range<u64>),
) -> Result<(), ContentReadError> {
    if old == new {
        return Ok(());
    }
    let (old_disk, new_disk) = (reader.disk(old)?, reader.disk(new)?);
    let size_bytes = old_disk.size_bytes().max(new_disk.size_bytes());
    let mut left = Stream::of(Segments::of(reader, old, &old_disk)?);
    let mut right = Stream::of(Segments::of(reader, new, &new_disk)?);
    let mut joined: Option<Range<u64>> = None;
    loop {
        let pairs = next_pairs(&mut left, &mut right)?;
        if pairs.is_empty() {
            break;
        }
        for range in compare(reader, workers, &pairs, size_bytes)? {
            joined = match joined.take() {
                Some(open) if open.end == range.start => Some(open.start..range.end),
                Some(open) => {
                    differing(open);
                    Some(range)
                }
                None => Some(range),
            };
        }
        observer.event(Event::Advanced { by: pairs.len() as u64 });
    }
    joined.into_iter().for_each(differing);
    Ok(())
}

/// Segments one by one, taken from the walk in windows.
struct Stream<'r> {
    walk: Segments<&'r Reader<'r>>,
    window: Peekable<std::vec::IntoIter<NumberedSegment>>,
}

impl<'r> Stream<'r> {
    fn of(walk: Segments<&'r Reader<'r>>) -> Self {
        Self { walk, window: Vec::new().into_iter().peekable() }
    }

    fn peek(&mut self) -> Result<Option<NumberedSegment>, ContentReadError> {
        if self.window.peek().is_none() {
            self.window = self.walk.next_window(256)?.into_iter().peekable();
        }
        Ok(self.window.peek().copied())
    }

    fn take(&mut self) -> Option<SegmentId> {
        self.window.next().map(|(_, id)| id)
    }
}

/// The next places where the two differ.
fn next_pairs(
    left: &mut Stream<'_>,
    right: &mut Stream<'_>,
) -> Result<Vec<Pair>, ContentReadError> {
    let mut pairs = Vec::with_capacity(WINDOW);
    while pairs.len() < WINDOW {
        let (old, new) = (left.peek()?, right.peek()?);
        let (number, order) = match (old, new) {
            (None, None) => break,
            (Some((number, _)), None) => (number, Ordering::Less),
            (None, Some((number, _))) => (number, Ordering::Greater),
            (Some((a, _)), Some((b, _))) => (a.min(b), a.cmp(&b)),
        };
        let old = if order.is_le() { left.take() } else { None };
        let new = if order.is_ge() { right.take() } else { None };
        if old != new {
            pairs.push((number, old, new));
        }
    }
    Ok(pairs)
}

/// The ranges in which the segments of these pairs differ, rising.
fn compare<'r>(
    reader: &'r Reader<'r>,
    workers: &'r Workers,
    pairs: &[Pair],
    size_bytes: u64,
) -> Result<Vec<Range<u64>>, ContentReadError> {
    let old = side(reader, workers, pairs, |pair| pair.1)?;
    let new = side(reader, workers, pairs, |pair| pair.2)?;
    let zeros = vec![0; SEGMENT_LEN];
    let mut ranges = Vec::new();
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    for (number, _, _) in pairs {
        let old = old.next_if(|(found, _)| found == number);
        let new = new.next_if(|(found, _)| found == number);
        let old = old.as_ref().map_or(&zeros, |(_, bytes)| bytes);
        let new = new.as_ref().map_or(&zeros, |(_, bytes)| bytes);
        let len = segment_bytes(*number, size_bytes);
        let start = number * SEGMENT_LEN as u64;
        let blocks = old[..len].chunks(BLOCK_LEN).zip(new[..len].chunks(BLOCK_LEN));
        for (block, (old, new)) in (0..).zip(blocks) {
            if old != new {
                let from = start + block * BLOCK_LEN as u64;
                ranges.push(from..from + old.len() as u64);
            }
        }
    }
    Ok(ranges)
}

fn side<'r>(
    reader: &'r Reader<'r>,
    workers: &'r Workers,
    pairs: &[Pair],
    pick: impl Fn(&Pair) -> Option<SegmentId>,
) -> Result<Vec<VerifiedSegment>, ContentReadError> {
    let wanted: Vec<_> = pairs.iter().filter_map(|pair| Some((pair.0, pick(pair)?))).collect();
    let spare = &mut Vec::new();
    Window::start(reader, workers, wanted, spare)?.finish(spare)
}
