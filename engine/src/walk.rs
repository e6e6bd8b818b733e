//! Walks the tree of a disk: its segments in order, holding one node per level.

use repo_format::FormatError;
use repo_format::disk::Disk;
use repo_format::id::{DiskId, NodeId, SegmentId};
use repo_format::limits::SEGMENT_LEN;
use repo_format::node::{Node, child_span};

use crate::reader::{ContentReadError, Reader};
use crate::window::NumberedSegment;

/// Where the walk stands in one node.
struct Level {
    level: u8,
    /// Number of the first child among all children of this level of the disk.
    first: u64,
    children: std::vec::IntoIter<(u8, [u8; 32])>,
}

/// Reads nodes, each compared with its id.
pub trait Nodes {
    /// The node with this id.
    fn node(&self, id: NodeId) -> Result<Node, ContentReadError>;
}

impl Nodes for &Reader<'_> {
    fn node(&self, id: NodeId) -> Result<Node, ContentReadError> {
        Reader::node(self, id)
    }
}

/// The segments of a disk that are not holes, in rising order.
pub struct Segments<N> {
    nodes: N,
    disk: DiskId,
    size_bytes: u64,
    stack: Vec<Level>,
}

impl<N: Nodes> Segments<N> {
    /// Begins at the disk's root.
    pub fn of(nodes: N, id: DiskId, disk: &Disk) -> Result<Self, ContentReadError> {
        let mut walk = Self { nodes, disk: id, size_bytes: disk.size_bytes(), stack: Vec::new() };
        if let Some(root) = disk.root() {
            walk.enter(root, disk.level(), 0)?;
        }
        Ok(walk)
    }

    /// Up to `limit` segments; empty at the end.
    pub fn next_window(&mut self, limit: usize) -> Result<Vec<NumberedSegment>, ContentReadError> {
        let mut window = Vec::with_capacity(limit);
        while window.len() < limit {
            match self.next_segment()? {
                Some(segment) => window.push(segment),
                None => break,
            }
        }
        Ok(window)
    }

    /// The next segment; `None` at the end.
    pub fn next_segment(&mut self) -> Result<Option<NumberedSegment>, ContentReadError> {
        while let Some(top) = self.stack.last_mut() {
            let (level, first) = (top.level, top.first);
            let Some((place, id)) = top.children.next() else {
                self.stack.pop();
                continue;
            };
            let number = first + u64::from(place);
            if number.saturating_mul(child_span(level)) >= self.size_bytes {
                return Err(self.invalid("a node has children behind the end of its disk"));
            }
            match level {
                1 => return Ok(Some((number, SegmentId::from_bytes(id)))),
                _ => self.enter(NodeId::from_bytes(id), level - 1, number)?,
            }
        }
        Ok(None)
    }

    /// Goes down to the node with this number on `level`.
    fn enter(&mut self, id: NodeId, level: u8, number: u64) -> Result<(), ContentReadError> {
        let node = self.nodes.node(id)?;
        if node.level() != level {
            return Err(self.invalid("a node stands on the wrong level"));
        }
        let children = node.children().to_vec().into_iter();
        self.stack.push(Level { level, first: number << 8, children });
        Ok(())
    }

    fn invalid(&self, what: &'static str) -> ContentReadError {
        ContentReadError::Tree { disk: self.disk, source: FormatError::Invalid { what } }
    }
}

/// Bytes of segment `number` that belong to a disk of `size_bytes`.
#[must_use]
pub fn segment_bytes(number: u64, size_bytes: u64) -> usize {
    let start = number.saturating_mul(SEGMENT_LEN as u64);
    usize::try_from(size_bytes.saturating_sub(start)).unwrap_or(usize::MAX).min(SEGMENT_LEN)
}
