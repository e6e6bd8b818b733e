//! A node: the ids of up to 256 children (SPEC 7.2).

use crate::error::FormatError;
use crate::id::NodeId;
use crate::keys::Keys;
use crate::limits::{DISK_SIZE_MAX, FAN_OUT, LEVEL_MAX, SEGMENT_LEN};
use crate::wire::{Reader, Writer};

/// Bytes that one child of a node of `level` covers: a segment for level 1.
#[must_use]
pub const fn child_span(level: u8) -> u64 {
    (SEGMENT_LEN as u64) << (8 * (level - 1))
}

/// The lowest level whose node covers `size_bytes`; 0 for an empty disk. At most 2^54 bytes.
#[must_use]
pub const fn root_level(size_bytes: u64) -> u8 {
    assert!(size_bytes <= DISK_SIZE_MAX);
    let mut level = 0;
    while level < LEVEL_MAX && size_bytes > covered(level) {
        level += 1;
    }
    level
}

const fn covered(level: u8) -> u64 {
    match level {
        0 => 0,
        level => child_span(level) * FAN_OUT as u64,
    }
}

/// A node: level 1-4, and for each of its 256 places an id or nothing (all zero).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    level: u8,
    children: Vec<(u8, [u8; 32])>,
}

impl Node {
    /// A node of `level` with children in rising order of their places; at least one.
    pub fn new(level: u8, children: Vec<(u8, [u8; 32])>) -> Result<Self, FormatError> {
        let rising = children.windows(2).all(|pair| pair[0].0 < pair[1].0);
        match (1..=LEVEL_MAX).contains(&level) && rising && !children.is_empty() {
            true => Ok(Self { level, children }),
            false => Err(FormatError::Invalid { what: "node" }),
        }
    }

    /// 1: children are segments; above: nodes of the level below.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// Place and id of each child, rising.
    #[must_use]
    pub fn children(&self) -> &[(u8, [u8; 32])] {
        &self.children
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut presence = [0u8; 32];
        for (place, _) in &self.children {
            presence[usize::from(place / 8)] |= 1 << (place % 8);
        }
        let mut w = Writer::with_capacity(40 + 32 * self.children.len());
        w.u8(self.level).zeros(7).bytes(&presence);
        for (_, id) in &self.children {
            w.bytes(id);
        }
        w.finish()
    }

    /// Reads a node.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("node", bytes);
        let level = r.u8()?;
        r.zeros(7)?;
        let presence: [u8; 32] = r.array()?;
        let mut children = Vec::new();
        for place in 0..=u8::MAX {
            if presence[usize::from(place / 8)] >> (place % 8) & 1 == 1 {
                children.push((place, r.array()?));
            }
        }
        r.end()?;
        Self::new(level, children)
    }
}

/// The id of a node's bytes.
#[must_use]
pub fn node_id(keys: &Keys, bytes: &[u8]) -> NodeId {
    NodeId::from_bytes(*blake3::keyed_hash(keys.node.expose(), bytes).as_bytes())
}
