//! Reads a qcow2 file.

use std::fs::File;
use std::io::Read;

use super::{MAGIC, OFFSET_MASK};
use crate::disk::{DiskError, DiskReader, Input, be32, be64, damaged, unsupported};
use crate::raw::RawSegment;
use crate::xva::DISK_LEN_MAX;

/// Bytes of a header that are looked at.
const HEADER_LEN: usize = 112;
/// Most entries of an L1 table: 32 MiB, as in QEMU.
const L1_ENTRIES_MAX: u64 = 4 << 20;
/// Largest window of a zstd cluster, as a power of two: 8 MiB.
const WINDOW_LOG_MAX: u32 = 23;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// Reads a disk from a qcow2 file.
pub struct Qcow2Reader {
    input: Input,
    header: Header,
    l1: Vec<u64>,
    /// The L2 table that was read last, by its place in L1.
    l2: Option<(u64, Vec<u64>)>,
    /// Where reading goes on.
    offset_bytes: u64,
    bytes_read: u64,
}

/// A parsed header.
#[derive(Debug, Clone, Copy)]
struct Header {
    version: u32,
    cluster_bits: u32,
    size_bytes: u64,
    l1_entries: u64,
    l1_offset: u64,
    is_zstd: bool,
}

/// Where a cluster is.
enum Cluster {
    Zero,
    Plain(u64),
    Compressed(u64),
}

impl Qcow2Reader {
    /// Reads header and L1 table.
    pub fn of_file(file: File) -> Result<Self, DiskError> {
        let mut input = Input::of_file(file).map_err(DiskError::Io)?;
        let mut bytes = [0; HEADER_LEN];
        let len = input.len_bytes().unwrap_or_default().min(HEADER_LEN as u64) as usize;
        input.read_at(0, &mut bytes[..len], "the header")?;
        let header = Header::parse(&bytes)?;
        let wanted = header.size_bytes.div_ceil(header.cluster_len() * header.l2_entries());
        if wanted > header.l1_entries {
            return Err(damaged("the header", "the L1 table is too small for the disk"));
        }
        if wanted > L1_ENTRIES_MAX {
            return Err(unsupported("its L1 table has more than 32 MiB"));
        }
        let l1 = read_table(&mut input, header.l1_offset, wanted as usize, "the L1 table")?;
        Ok(Self { input, header, l1, l2: None, offset_bytes: 0, bytes_read: 0 })
    }

    /// Where data may begin at or after `from`.
    fn next_data(&mut self, from: u64) -> Result<Option<u64>, DiskError> {
        let (cluster_len, l2_entries) = (self.header.cluster_len(), self.header.l2_entries());
        let mut cluster = from / cluster_len;
        while cluster * cluster_len < self.header.size_bytes {
            let table = cluster / l2_entries;
            if self.load(table)?
                && let Some((_, l2)) = &self.l2
            {
                let start = (cluster % l2_entries) as usize; // below the table's length
                let is_there = |entry: &u64| !matches!(self.header.locate(*entry), Cluster::Zero);
                if let Some(found) = l2[start..].iter().position(is_there) {
                    return Ok(Some(from.max((cluster + found as u64) * cluster_len)));
                }
            }
            cluster = (table + 1) * l2_entries;
        }
        Ok(None)
    }

    /// Has the L2 table of this place at hand; `false` if there is none.
    fn load(&mut self, table: u64) -> Result<bool, DiskError> {
        let entry = self.l1.get(table as usize).copied().unwrap_or_default(); // below 2^22
        let offset = entry & OFFSET_MASK;
        if offset == 0 {
            return Ok(false);
        }
        if self.l2.as_ref().is_none_or(|(known, _)| *known != table) {
            let place = format!("L2 table {table}");
            let entries = self.header.l2_entries() as usize; // at most 2^18
            if !offset.is_multiple_of(self.header.cluster_len()) {
                return Err(damaged(place, "it is not aligned"));
            }
            let read = read_table(&mut self.input, offset, entries, &place)?;
            self.bytes_read += self.header.cluster_len();
            self.l2 = Some((table, read));
        }
        Ok(true)
    }

    /// Fills `part` with a cluster, or with its beginning at the end of the disk.
    fn fill(&mut self, cluster: u64, part: &mut [u8]) -> Result<(), DiskError> {
        let l2_entries = self.header.l2_entries();
        if !self.load(cluster / l2_entries)? {
            return Ok(());
        }
        let Some((_, l2)) = &self.l2 else { return Ok(()) };
        let entry = l2[(cluster % l2_entries) as usize]; // below the table's length
        let place = format!("cluster {cluster}");
        match self.header.locate(entry) {
            Cluster::Zero => return Ok(()),
            Cluster::Plain(offset) => {
                if !offset.is_multiple_of(self.header.cluster_len()) {
                    return Err(damaged(place, "it is not aligned"));
                }
                self.input.read_at(offset, part, &place)?;
                self.bytes_read += part.len() as u64;
            }
            Cluster::Compressed(entry) => self.unpack(entry, part, &place)?,
        }
        Ok(())
    }

    /// Fills `part` with a compressed cluster.
    fn unpack(&mut self, entry: u64, part: &mut [u8], place: &str) -> Result<(), DiskError> {
        let shift = 62 - (self.header.cluster_bits - 8);
        let offset = entry & ((1 << shift) - 1);
        let sectors = ((entry & (COMPRESSED - 1)) >> shift) + 1;
        let end = (offset / 512 + sectors) * 512;
        let end = end.min(self.input.len_bytes().unwrap_or_default());
        let Some(len) = end.checked_sub(offset) else {
            return Err(DiskError::Cut { place: place.to_owned() });
        };
        let mut packed = vec![0; len as usize]; // at most a cluster and a sector
        self.input.read_at(offset, &mut packed, place)?;
        self.bytes_read += len;
        let unpacked = if self.header.is_zstd {
            zstd::stream::read::Decoder::with_buffer(&packed[..]).and_then(|mut decoder| {
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                decoder.read_exact(part)
            })
        } else {
            flate2::bufread::DeflateDecoder::new(&packed[..]).read_exact(part)
        };
        unpacked.map_err(|error| damaged(place, format!("it does not unpack: {error}")))
    }
}

impl DiskReader for Qcow2Reader {
    fn size_bytes(&self) -> Option<u64> {
        Some(self.header.size_bytes)
    }

    fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<RawSegment, DiskError> {
        let segment_len = buffer.len() as u64;
        let size_bytes = self.header.size_bytes;
        let Some(data) = self.next_data(self.offset_bytes)?.filter(|data| *data < size_bytes)
        else {
            return Ok(RawSegment::End(size_bytes));
        };
        let number = data / segment_len;
        let start = number * segment_len;
        let len = (size_bytes - start).min(segment_len) as usize; // at most the buffer's
        buffer.fill(0);
        let cluster_len = self.header.cluster_len();
        let clusters = buffer[..len].chunks_mut(cluster_len as usize); // at most 2 MiB
        for (cluster, part) in (start / cluster_len..).zip(clusters) {
            self.fill(cluster, part)?;
        }
        self.offset_bytes = start + segment_len;
        Ok(RawSegment::Filled(number))
    }
}

impl Header {
    fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, DiskError> {
        let place = "the header";
        if !bytes.starts_with(MAGIC) {
            return Err(unsupported("it is no qcow2"));
        }
        let (version, cluster_bits) = (be32(bytes, 4), be32(bytes, 20));
        if !matches!(version, 2 | 3) {
            return Err(unsupported(format!("qcow version {version} is not read, only 2 and 3")));
        }
        if be64(bytes, 8) != 0 {
            return Err(unsupported(
                "it has a backing file; `qemu-img convert -O qcow2` makes one disk of both",
            ));
        }
        if !(9..=21).contains(&cluster_bits) {
            return Err(damaged(place, format!("clusters cannot have 2^{cluster_bits} bytes")));
        }
        if be32(bytes, 32) != 0 {
            return Err(unsupported("it is encrypted; `qemu-img convert` decrypts it"));
        }
        let features = if version == 3 { be64(bytes, 72) } else { 0 };
        let compression = if features & 8 != 0 { bytes[104] } else { 0 };
        let named = [(2, "it is marked as corrupt"), (4, "its data lies in another file")];
        let known = 0b1111;
        if let Some((_, what)) = named.iter().find(|(bit, _)| features & bit != 0) {
            return Err(unsupported(*what));
        }
        if features & !known != 0 {
            let what = format!("it needs features that are not read ({:#x})", features & !known);
            return Err(unsupported(what));
        }
        if compression > 1 {
            return Err(unsupported(format!("compression {compression} is not read")));
        }
        let size_bytes = be64(bytes, 24);
        if size_bytes > DISK_LEN_MAX {
            return Err(damaged(place, format!("a disk of {size_bytes} bytes is too large")));
        }
        let (l1_entries, l1_offset) = (u64::from(be32(bytes, 36)), be64(bytes, 40));
        let is_zstd = compression == 1;
        Ok(Self { version, cluster_bits, size_bytes, l1_entries, l1_offset, is_zstd })
    }

    const fn cluster_len(&self) -> u64 {
        1 << self.cluster_bits
    }

    const fn l2_entries(&self) -> u64 {
        self.cluster_len() / 8
    }

    /// What an entry of an L2 table says.
    const fn locate(&self, entry: u64) -> Cluster {
        match entry & OFFSET_MASK {
            _ if entry & COMPRESSED != 0 => Cluster::Compressed(entry),
            _ if self.version == 3 && entry & ZERO != 0 => Cluster::Zero,
            0 => Cluster::Zero,
            offset => Cluster::Plain(offset),
        }
    }
}

/// Reads a table of `entries` numbers, which must lie within the file.
fn read_table(
    input: &mut Input,
    offset: u64,
    entries: usize,
    place: &str,
) -> Result<Vec<u64>, DiskError> {
    let len = entries * 8; // at most 32 MiB
    let end = offset.checked_add(len as u64);
    if end.is_none_or(|end| end > input.len_bytes().unwrap_or_default()) {
        return Err(DiskError::Cut { place: place.to_owned() });
    }
    let mut bytes = vec![0; len];
    input.read_at(offset, &mut bytes, place)?;
    Ok((0..entries).map(|entry| be64(&bytes, entry * 8)).collect())
}
