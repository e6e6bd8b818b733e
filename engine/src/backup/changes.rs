//! Changes to a stored disk: what its source leaves out is as it was, and stands between what the source delivers.

use repo_format::disk::Disk;
use repo_format::id::{DiskId, SegmentId};
use repo_format::limits::SEGMENT_LEN;

use crate::entries::ContentReadError;
use crate::examine::Given;
use crate::predecessor::CountingNodes;
use crate::source::DiskInfo;
use crate::walk::{Nodes, Segments};
use crate::window::NumberedSegment;

/// What has come of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Number of the segment.
    pub(super) number: u64,
    /// What stood there before.
    pub(super) before: Option<SegmentId>,
    /// What has come.
    pub(super) given: Given,
}

/// The stored disk to which the changes come. Asked in rising order.
pub(super) struct Base<N = CountingNodes> {
    walk: Segments<N>,
    next: Option<NumberedSegment>,
    /// The segment that ends elsewhere than it did: what it holds up to there does not tell what it is.
    resized: Option<u64>,
    /// Segments of the disk as it is now.
    end: u64,
}

impl Base {
    /// The base of `info`. `None`: it has none, or not the one that its source thinks, or it cannot be read.
    pub(super) fn of(nodes: &CountingNodes, info: &DiskInfo) -> Option<Self> {
        let version = info.base.as_ref()?;
        let id = DiskId::from_bytes(version.id);
        let disk = nodes.disk(id).ok()?;
        (disk.size_bytes() == version.size_bytes).then_some(())?;
        Self::begin(Segments::of(nodes.clone(), id, &disk).ok()?, &disk, info.size_bytes?).ok()
    }
}

impl<N: Nodes> Base<N> {
    fn begin(
        mut walk: Segments<N>,
        disk: &Disk,
        size_bytes: u64,
    ) -> Result<Self, ContentReadError> {
        let next = walk.next_segment()?;
        let resized = resized(disk.size_bytes(), size_bytes);
        Ok(Self { walk, next, resized, end: size_bytes.div_ceil(SEGMENT_LEN as u64) })
    }

    /// The next segment below `limit` that the source has left out and that is no hole.
    pub(super) fn left_out(&mut self, limit: u64) -> Result<Option<Step>, ContentReadError> {
        let limit = limit.min(self.end);
        let stored = self.next.map(|(number, _)| number);
        let numbers = stored.into_iter().chain(self.resized);
        let Some(number) = numbers.min().filter(|number| *number < limit) else { return Ok(None) };
        let (before, is_resized) = self.pass(number)?;
        let given = if is_resized { Given::Unread } else { Given::Nothing };
        Ok(Some(Step { number, before, given }))
    }

    /// What the source delivers, when what it has left out before that has passed.
    pub(super) fn delivered(
        &mut self,
        number: u64,
        given: Given,
    ) -> Result<Step, ContentReadError> {
        let (before, is_resized) = self.pass(number)?;
        let given = match (is_resized, given) {
            (true, Given::Sample) => Given::Whole,
            (true, Given::Units(_)) => Given::Unread,
            (_, given) => given,
        };
        Ok(Step { number, before, given })
    }

    /// What stood at `number`, and whether that is the segment that ends elsewhere; nothing lies before it.
    fn pass(&mut self, number: u64) -> Result<(Option<SegmentId>, bool), ContentReadError> {
        let is_resized = self.resized.take_if(|resized| *resized == number).is_some();
        let before = self.next.filter(|(stored, _)| *stored == number).map(|(_, id)| id);
        if before.is_some() {
            self.next = self.walk.next_segment()?;
        }
        Ok((before, is_resized))
    }
}

/// Of a disk that had another size, the segment in which the smaller one ends, unless that is at a segment's end.
fn resized(before_bytes: u64, bytes: u64) -> Option<u64> {
    let end = before_bytes.min(bytes);
    let is_cut = before_bytes != bytes && !end.is_multiple_of(SEGMENT_LEN as u64);
    is_cut.then_some(end / SEGMENT_LEN as u64)
}
