//! The tree of nodes over a disk's segments, built from left to right (SPEC 7.2).

use repo_format::id::NodeId;
use repo_format::keys::Keys;
use repo_format::limits::LEVEL_MAX;
use repo_format::node::{Node, node_id};

/// A node that is complete: its id and bytes.
pub type Finished = (NodeId, Vec<u8>);

/// Children collected for one node.
struct OpenNode {
    number: u64,
    children: Vec<(u8, [u8; 32])>,
}

/// Takes the ids of segments in rising order and yields nodes as they fill.
#[derive(Default)]
pub struct TreeBuilder {
    open: [Option<OpenNode>; LEVEL_MAX as usize],
    finished: Vec<Finished>,
}

impl TreeBuilder {
    /// Adds segment `number`, which is above all before it.
    pub fn push(&mut self, keys: &Keys, number: u64, id: [u8; 32]) {
        self.push_child(keys, 1, number, id);
    }

    /// Nodes that were completed since the last call, children before parents.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// Completes the tree up to a root of `root_level`; `None` if no segment came.
    pub fn finish(&mut self, keys: &Keys, root_level: u8) -> Option<NodeId> {
        for level in 1..root_level {
            if let Some((number, id)) = self.close(keys, level) {
                self.push_child(keys, level + 1, number, *id.as_bytes());
            }
        }
        if root_level == 0 {
            return None;
        }
        self.close(keys, root_level).map(|(_, id)| id)
    }

    fn push_child(&mut self, keys: &Keys, level: u8, child: u64, id: [u8; 32]) {
        let (number, place) = (child >> 8, (child & 255) as u8);
        let open = self.open[usize::from(level) - 1].as_ref();
        if open.is_some_and(|node| node.number != number)
            && let Some((closed, node)) = self.close(keys, level)
        {
            self.push_child(keys, level + 1, closed, *node.as_bytes());
        }
        let slot = &mut self.open[usize::from(level) - 1];
        let node = slot.get_or_insert_with(|| OpenNode { number, children: Vec::new() });
        node.children.push((place, id));
    }

    fn close(&mut self, keys: &Keys, level: u8) -> Option<(u64, NodeId)> {
        let open = self.open[usize::from(level) - 1].take()?;
        let node = Node::new(level, open.children).expect("segments come in rising order");
        let bytes = node.encode();
        let id = node_id(keys, &bytes);
        self.finished.push((id, bytes));
        Some((open.number, id))
    }
}
