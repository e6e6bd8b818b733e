//! The predecessor of a disk: the one of an earlier snapshot that probably has most of its bytes at the same places.

use std::sync::{Arc, PoisonError, RwLock};

use repo_format::disk::Disk;
use repo_format::id::{DiskId, NodeId, SegmentId};
use repo_format::node::Node;
use repo_format::snapshot::{DiskRole, Snapshot, SnapshotDisk};

use crate::entries::{ContentReadError, Entries};
use crate::lookup::Lookup;
use crate::walk::{Nodes, Segments};
use crate::window::NumberedSegment;

/// Segments that have come when a predecessor is first looked for by content, and when for the last time.
const SEEN_MIN: usize = 8;
const SEEN_MAX: usize = 64;
/// Segments that a predecessor shares with them at least.
const SHARED_MIN: usize = 4;
/// Disks that are looked at.
const DISKS_COMPARED_MAX: usize = 64;

/// Reads nodes with the index of what counts, which may be exchanged.
#[derive(Clone)]
pub(crate) struct CountingNodes {
    entries: Arc<Entries>,
    lookup: Arc<RwLock<Arc<Lookup>>>,
}

impl Nodes for CountingNodes {
    fn node(&self, id: NodeId) -> Result<Node, ContentReadError> {
        self.entries.node(&self.lookup(), id)
    }
}

impl CountingNodes {
    pub(crate) fn new(entries: Arc<Entries>, lookup: Arc<Lookup>) -> Self {
        Self { entries, lookup: Arc::new(RwLock::new(lookup)) }
    }

    /// Uses a newer index from now on; nothing holds the old one.
    pub(crate) fn renew(&self, lookup: Arc<Lookup>) {
        *self.lookup.write().unwrap_or_else(PoisonError::into_inner) = lookup;
    }

    fn lookup(&self) -> Arc<Lookup> {
        Arc::clone(&self.lookup.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn disk(&self, id: DiskId) -> Result<Disk, ContentReadError> {
        self.entries.disk(&self.lookup(), id)
    }

    fn segments(&self, id: DiskId) -> Result<Segments<Self>, ContentReadError> {
        Segments::of(self.clone(), id, &self.disk(id)?)
    }
}

/// The segments of a predecessor, asked for in rising order.
struct Predecessor {
    walk: Segments<CountingNodes>,
    next: Option<NumberedSegment>,
}

impl Predecessor {
    /// `None`: it cannot be read, which only makes the backup larger.
    fn open(nodes: &CountingNodes, disk: DiskId) -> Option<Self> {
        let mut walk = nodes.segments(disk).ok()?;
        let next = walk.next_segment().ok()?;
        Some(Self { walk, next })
    }

    /// What stood at this place; `number` is above all before it.
    fn segment(&mut self, number: u64) -> Option<SegmentId> {
        while let Some((found, id)) = self.next
            && found <= number
        {
            self.next = self.walk.next_segment().ok().flatten();
            if found == number {
                return Some(id);
            }
        }
        None
    }
}

/// Earlier snapshots, in which a predecessor is looked for.
#[derive(Clone)]
pub(crate) struct Earlier<'w> {
    /// Oldest first.
    pub(crate) snapshots: &'w [Snapshot],
    pub(crate) nodes: CountingNodes,
}

/// What a disk is compared with while it is read.
pub(crate) struct Comparison<'w> {
    earlier: Earlier<'w>,
    role: DiskRole,
    /// And from which segment on it is asked, counted as they come.
    predecessor: Option<(Predecessor, usize)>,
    /// The first segments of the disk, as long as it has no predecessor.
    seen: Vec<NumberedSegment>,
}

impl<'w> Comparison<'w> {
    /// Begins with the disk that `named` says, if it can be read; else the segments that come decide.
    pub(crate) fn new(earlier: Earlier<'w>, role: DiskRole, named: Option<DiskId>) -> Self {
        let open = |disk| Some((Predecessor::open(&earlier.nodes, disk)?, 0));
        let predecessor = named.and_then(open);
        Self { earlier, role, predecessor, seen: Vec::new() }
    }

    /// What stood at this place before. `number` is above all before it; so many segments have come before this one.
    pub(crate) fn before(&mut self, number: u64, come: usize) -> Option<SegmentId> {
        let (predecessor, from) = self.predecessor.as_mut()?;
        if come < *from { None } else { predecessor.segment(number) }
    }

    /// Takes a segment that was examined; when enough have come, the disk that shares most of them is the predecessor of
    /// those from `from` on: of segments that are surely not under way, so that no race decides.
    pub(crate) fn saw(&mut self, number: u64, id: SegmentId, from: usize) {
        if self.predecessor.is_some() || self.seen.len() == SEEN_MAX {
            return;
        }
        self.seen.push((number, id));
        if self.seen.len() >= SEEN_MIN && self.seen.len().is_power_of_two() {
            let found = self.earlier.by_content(self.role, &self.seen);
            let open = |disk| Some((Predecessor::open(&self.earlier.nodes, disk)?, from));
            self.predecessor = found.and_then(open);
        }
    }
}

impl Earlier<'_> {
    /// Of the newest disks with this role, the one that has most of these segments at the same places.
    fn by_content(&self, role: DiskRole, seen: &[NumberedSegment]) -> Option<DiskId> {
        let mut ids = Vec::new();
        for disk in self.snapshots.iter().rev().flat_map(|snapshot| &snapshot.disks) {
            if disk.role == role && ids.len() < DISKS_COMPARED_MAX && !ids.contains(&disk.id) {
                ids.push(disk.id);
            }
        }
        let shared = |id: &DiskId| {
            let mut disk = Predecessor::open(&self.nodes, *id)?;
            Some(seen.iter().filter(|(number, id)| disk.segment(*number) == Some(*id)).count())
        };
        let counted = ids.into_iter().filter_map(|id| Some((shared(&id)?, id)));
        let good = counted.filter(|(count, _)| *count >= SHARED_MIN);
        // Of equals the first, which is the newest.
        good.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, id)| id)
    }
}

/// The disk of these snapshots, the newest first, that is the one with this role, key and name: the newest with this key;
/// else, of the newest snapshot that has such disks, the one with this name; else its only one.
pub(crate) fn same_disk<'s>(
    snapshots: &[&'s Snapshot],
    role: DiskRole,
    key: &str,
    name: &str,
) -> Option<&'s SnapshotDisk> {
    let of_role = |snapshot: &&'s Snapshot| snapshot.disks.iter().filter(move |d| d.role == role);
    let has_key = |disk: &&SnapshotDisk| !key.is_empty() && disk.key == key;
    let by_key = || snapshots.iter().flat_map(of_role).find(has_key);
    let newest = || snapshots.iter().find(|snapshot| of_role(snapshot).next().is_some());
    let by_name = || of_role(newest()?).find(|disk| disk.name == name);
    let only = || Some(of_role(newest()?)).filter(|disks| disks.clone().count() == 1)?.next();
    by_key().or_else(by_name).or_else(only)
}
