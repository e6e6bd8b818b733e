//! VHD: fixed, dynamic and differencing disks.
//!
//! ```text
//! fixed:    data, footer
//! dynamic:  footer copy, header, block allocation table (BAT), { bitmap, block }, footer
//! ```
//!
//! All numbers are big-endian. A BAT entry is the sector of a block's bitmap. A bit of a bitmap
//! (highest first) tells whether a sector is here; if not it is the parent's, or zero.

pub mod bat;
pub mod footer;
pub mod header;
pub mod piped;
pub mod reader;
pub mod writer;

/// Bytes of a sector, of the footer, and of what everything is aligned to.
pub const SECTOR_LEN: usize = 512;
/// Bytes of a block as everybody writes it.
pub const BLOCK_LEN: usize = 2 << 20;
/// Largest disk that is written, in bytes: what XenServer and Windows take, 2040 GiB.
pub const DISK_LEN_MAX: u64 = 2040 << 30;

/// One's complement of the sum of all bytes but the four at `at`.
fn checksum(bytes: &[u8], at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, b| sum.wrapping_add(u32::from(*b)));
    !sum(&bytes[..at]).wrapping_add(sum(&bytes[at + 4..]))
}

#[cfg(test)]
mod tests;
