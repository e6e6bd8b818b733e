//! The footer: size, type and identity of the disk. It stands at the end, and of dynamic disks
//! also at the beginning.

use super::{SECTOR_LEN, checksum};
use crate::disk::{be32, be64};

/// What a footer begins with.
pub const COOKIE: &[u8; 8] = b"conectix";
/// Where its checksum stands.
const CHECKSUM_AT: usize = 64;
/// Says that there is no header.
const NO_OFFSET: u64 = u64::MAX;
const VERSION: u32 = 0x0001_0000;
/// Offset of the header in disks that are written.
pub const HEADER_OFFSET: u64 = 512;

/// What kind of disk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskType {
    /// Data, then the footer.
    Fixed,
    /// Blocks where there is data.
    Dynamic,
    /// Blocks where it differs from its parent.
    Differencing,
}

/// A parsed footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Where the header is, unless the disk is fixed.
    pub header_offset: u64,
    /// Virtual size: the current size, not the geometry.
    pub size_bytes: u64,
    /// What kind of disk it is.
    pub disk_type: DiskType,
    /// What children know it by.
    pub id: [u8; 16],
}

impl Footer {
    /// Parses and checks; what is wrong otherwise.
    pub fn parse(bytes: &[u8; SECTOR_LEN]) -> Result<Self, String> {
        if !bytes.starts_with(COOKIE) {
            return Err("there is no VHD footer".to_owned());
        }
        if be32(bytes, CHECKSUM_AT) != checksum(bytes, CHECKSUM_AT) {
            return Err("its checksum is wrong".to_owned());
        }
        let version = be32(bytes, 12);
        if version >> 16 != VERSION >> 16 {
            return Err(format!("version {}.{} is not known", version >> 16, version & 0xffff));
        }
        let disk_type = match be32(bytes, 60) {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => DiskType::Differencing,
            other => return Err(format!("disk type {other} is not known")),
        };
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[68..84]);
        let (header_offset, size_bytes) = (be64(bytes, 16), be64(bytes, 48));
        Ok(Self { header_offset, size_bytes, disk_type, id })
    }

    /// The bytes; the same for the same disk.
    pub fn encode(&self) -> [u8; SECTOR_LEN] {
        let (offset, disk_type) = match self.disk_type {
            DiskType::Fixed => (NO_OFFSET, 2u32),
            DiskType::Dynamic => (self.header_offset, 3),
            DiskType::Differencing => (self.header_offset, 4),
        };
        let (cylinders, heads, sectors) = geometry(self.size_bytes / SECTOR_LEN as u64);
        let mut bytes = [0; SECTOR_LEN];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, COOKIE);
        put(8, &2u32.to_be_bytes()); // features: a bit that is always set
        put(12, &VERSION.to_be_bytes());
        put(16, &offset.to_be_bytes());
        put(28, b"xnth"); // creator
        put(32, &VERSION.to_be_bytes());
        put(40, &self.size_bytes.to_be_bytes()); // original size
        put(48, &self.size_bytes.to_be_bytes());
        put(56, &cylinders.to_be_bytes());
        put(58, &[heads, sectors]);
        put(60, &disk_type.to_be_bytes());
        put(68, &self.id);
        let sum = checksum(&bytes, CHECKSUM_AT);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// Cylinders, heads and sectors, by the appendix of the specification.
fn geometry(total_sectors: u64) -> (u16, u8, u8) {
    const SECTORS_MAX: u64 = 65535 * 16 * 255;
    let total = total_sectors.min(SECTORS_MAX);
    let (mut sectors, mut heads) = (17, total / 17);
    if total >= 65535 * 16 * 63 {
        return ((total / 255 / 16) as u16, 16, 255); // at most 65535
    }
    let mut found = heads.div_ceil(1024).max(4);
    if heads >= found * 1024 || found > 16 {
        (sectors, found) = (31, 16);
        heads = total / 31;
    }
    if heads >= found * 1024 {
        (sectors, found) = (63, 16);
        heads = total / 63;
    }
    ((heads / found) as u16, found as u8, sectors as u8) // at most 65535, 16, 63
}
