//! A disk: its virtual size and the root of its tree (SPEC 7.3).

use crate::error::FormatError;
use crate::id::{DiskId, NodeId};
use crate::keys::Keys;
use crate::limits::DISK_SIZE_MAX;
use crate::node::root_level;
use crate::wire::{Reader, Writer};

/// Bytes of a disk's entry.
pub const DISK_LEN: usize = 64;

/// A disk or stream as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    size_bytes: u64,
    root: Option<NodeId>,
}

impl Disk {
    /// A disk of `size_bytes` (at most 2^54); without a root it is all zero.
    pub fn new(size_bytes: u64, root: Option<NodeId>) -> Result<Self, FormatError> {
        if size_bytes > DISK_SIZE_MAX {
            let (claimed, limit) = (size_bytes, DISK_SIZE_MAX);
            return Err(FormatError::Limit { what: "virtual size", claimed, limit });
        }
        match size_bytes == 0 && root.is_some() {
            true => Err(FormatError::Invalid { what: "disk" }),
            false => Ok(Self { size_bytes, root }),
        }
    }

    /// Virtual size.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Root of its tree.
    #[must_use]
    pub const fn root(&self) -> Option<NodeId> {
        self.root
    }

    /// Level of the root.
    #[must_use]
    pub const fn level(&self) -> u8 {
        root_level(self.size_bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(DISK_LEN);
        w.u64(self.size_bytes).u8(self.level()).u8(u8::from(self.root.is_some())).zeros(22);
        w.bytes(self.root.map_or([0; 32], |id| *id.as_bytes()).as_slice());
        w.finish()
    }

    /// Reads a disk.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("disk", bytes);
        let (size_bytes, level, rooted) = (r.u64()?, r.u8()?, r.u8()?);
        r.zeros(22)?;
        let root: [u8; 32] = r.array()?;
        r.end()?;
        let root = match (rooted, root) {
            (0, [0, ..]) if root == [0; 32] => None,
            (1, root) => Some(NodeId::from_bytes(root)),
            _ => {
                return Err(FormatError::Invalid { what: "root of a disk" });
            }
        };
        let disk = Self::new(size_bytes, root)?;
        match disk.level() == level {
            true => Ok(disk),
            false => Err(FormatError::Invalid { what: "level of a disk" }),
        }
    }
}

/// The id of a disk's bytes.
#[must_use]
pub fn disk_id(keys: &Keys, bytes: &[u8]) -> DiskId {
    DiskId::from_bytes(*blake3::keyed_hash(keys.disk.expose(), bytes).as_bytes())
}
