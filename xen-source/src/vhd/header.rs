//! The header of dynamic and differencing disks: where the BAT is, and who the parent is.

use super::{BLOCK_LEN, checksum};
use crate::disk::{be32, be64};

/// Bytes of a header.
pub const HEADER_LEN: usize = 1024;
/// What it begins with.
pub const COOKIE: &[u8; 8] = b"cxsparse";
const CHECKSUM_AT: usize = 36;
const VERSION: u32 = 0x0001_0000;
/// Most entries of a BAT: 16 MiB. A disk of 2 TiB in blocks of 2 MiB has a quarter of them.
pub const ENTRIES_MAX: u32 = 1 << 22;
/// Blocks that are read, in bytes.
const BLOCK_LENS: std::ops::RangeInclusive<u32> = 4096..=256 << 20;

/// A parsed header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where the BAT is.
    pub bat_offset: u64,
    /// How many entries it has.
    pub entries: u32,
    /// Bytes of a block: a power of two.
    pub block_len: u32,
    /// The parent's id; zeros if there is none.
    pub parent_id: [u8; 16],
    /// What the parent was called; empty if there is none.
    pub parent_name: String,
}

impl Header {
    /// Parses and checks; what is wrong otherwise.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, String> {
        if !bytes.starts_with(COOKIE) {
            return Err("there is no VHD header".to_owned());
        }
        if be32(bytes, CHECKSUM_AT) != checksum(bytes, CHECKSUM_AT) {
            return Err("its checksum is wrong".to_owned());
        }
        let (version, entries, block_len) = (be32(bytes, 24), be32(bytes, 28), be32(bytes, 32));
        if version >> 16 != VERSION >> 16 {
            return Err(format!("version {}.{} is not known", version >> 16, version & 0xffff));
        }
        if entries > ENTRIES_MAX {
            return Err(format!("{entries} blocks are too many"));
        }
        if !block_len.is_power_of_two() || !BLOCK_LENS.contains(&block_len) {
            return Err(format!("blocks cannot have {block_len} bytes"));
        }
        let mut parent_id = [0; 16];
        parent_id.copy_from_slice(&bytes[40..56]);
        let units = bytes[64..576].chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]]));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        let parent_name = String::from_utf16_lossy(&units);
        Ok(Self { bat_offset: be64(bytes, 16), entries, block_len, parent_id, parent_name })
    }

    /// The bytes of the header of a disk without a parent.
    pub fn encode(bat_offset: u64, entries: u32) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, COOKIE);
        put(8, &u64::MAX.to_be_bytes()); // nothing follows
        put(16, &bat_offset.to_be_bytes());
        put(24, &VERSION.to_be_bytes());
        put(28, &entries.to_be_bytes());
        put(32, &(BLOCK_LEN as u32).to_be_bytes());
        let sum = checksum(&bytes, CHECKSUM_AT);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}
