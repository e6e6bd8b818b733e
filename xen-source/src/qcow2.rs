//! qcow2, versions 2 and 3, without backing file, encryption and external data.
//!
//! ```text
//! header; L1 table -> L2 tables -> clusters; refcount table -> refcount blocks
//! ```
//!
//! All numbers are big-endian; everything is aligned to clusters.

pub mod reader;
pub mod writer;

/// What a header begins with.
pub const MAGIC: &[u8; 4] = b"QFI\xfb";
/// Where data lies, in an entry of an L1 or L2 table.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

#[cfg(test)]
mod tests;
