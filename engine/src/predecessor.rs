//! The predecessor of a disk: the one of an earlier snapshot that probably has most of its bytes at the same places.

use std::sync::Arc;

use repo_format::id::{DiskId, NodeId, SegmentId};
use repo_format::node::Node;
use repo_format::snapshot::{DiskRole, Snapshot, SnapshotDisk};

use crate::entries::{ContentReadError, Entries};
use crate::lookup::Lookup;
use crate::walk::{Nodes, Segments};
use crate::window::NumberedSegment;

/// Reads nodes with one index.
#[derive(Clone)]
pub(crate) struct CountingNodes {
    pub(crate) entries: Arc<Entries>,
    pub(crate) lookup: Arc<Lookup>,
}

impl Nodes for CountingNodes {
    fn node(&self, id: NodeId) -> Result<Node, ContentReadError> {
        self.entries.node(&self.lookup, id)
    }
}

impl CountingNodes {
    fn segments(&self, id: DiskId) -> Result<Segments<Self>, ContentReadError> {
        let disk = self.entries.disk(&self.lookup, id)?;
        Segments::of(self.clone(), id, &disk)
    }
}

/// The segments of a predecessor, asked for in rising order.
pub(crate) struct Predecessor {
    walk: Segments<CountingNodes>,
    next: Option<NumberedSegment>,
}

impl Predecessor {
    /// `None`: it cannot be read, which only makes the backup larger.
    pub(crate) fn open(nodes: &CountingNodes, disk: DiskId) -> Option<Self> {
        let mut walk = nodes.segments(disk).ok()?;
        let next = walk.next_segment().ok()?;
        Some(Self { walk, next })
    }

    /// What stood at this place; `number` is above all before it.
    pub(crate) fn segment(&mut self, number: u64) -> Option<SegmentId> {
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

/// The disk of `snapshot` that is the one with this role, key and name: by key, else by name, else the only one.
pub(crate) fn same_disk<'s>(
    snapshot: &'s Snapshot,
    role: DiskRole,
    key: &str,
    name: &str,
) -> Option<&'s SnapshotDisk> {
    let of_role = || snapshot.disks.iter().filter(|disk| disk.role == role);
    let by_key = of_role().find(|disk| !key.is_empty() && disk.key == key);
    let by_name = || of_role().find(|disk| disk.name == name);
    let only = || of_role().next().filter(|_| of_role().count() == 1);
    by_key.or_else(by_name).or_else(only)
}
