//! Writes a dynamic VHD in one go: which segments there are is known before their data come.

use std::io::{self, ErrorKind};

use super::bat::UNUSED;
use super::footer::{DiskType, Footer, HEADER_OFFSET};
use super::header::{HEADER_LEN, Header};
use super::{BLOCK_LEN, DISK_LEN_MAX, SECTOR_LEN};
use crate::raw::RawWriter;

/// Where the BAT begins: after footer copy, header, and a sector for a parent's name.
const BAT_OFFSET: u64 = 2048;
/// Bytes of a bitmap.
const BITMAP_LEN: usize = BLOCK_LEN / SECTOR_LEN / 8;
/// Bytes of a block with its bitmap.
const STRIDE: u64 = (BITMAP_LEN + BLOCK_LEN) as u64;

const _: () = assert!(BITMAP_LEN == SECTOR_LEN);

/// Writes footer copy, header, BAT, blocks and footer.
pub struct VhdWriter<'a> {
    out: RawWriter<'a>,
    footer: [u8; SECTOR_LEN],
    /// The blocks to come, in rising order, the next one last.
    blocks: Vec<u64>,
    /// Where the next block goes.
    offset_bytes: u64,
}

/// Why a disk cannot be a VHD; `None` if it can.
pub fn refusal(size_bytes: u64) -> Option<String> {
    (size_bytes > DISK_LEN_MAX).then(|| {
        format!(
            "the disk has {size_bytes} bytes, and a VHD holds at most 2040 GiB ({DISK_LEN_MAX}); \
             raw, qcow2 and XVA hold more"
        )
    })
}

/// Bytes of the VHD of a disk of which only the segments `numbers` hold data.
pub fn length(size_bytes: u64, numbers: &[u64], segment_len: u64) -> u64 {
    let entries = size_bytes.div_ceil(BLOCK_LEN as u64);
    let per_segment = segment_len / BLOCK_LEN as u64;
    let in_disk = |number: &u64| entries.saturating_sub(number * per_segment).min(per_segment);
    let blocks: u64 = numbers.iter().map(in_disk).sum();
    let bat_len = (entries * 4).next_multiple_of(SECTOR_LEN as u64);
    BAT_OFFSET + bat_len + blocks * STRIDE + SECTOR_LEN as u64
}

impl<'a> VhdWriter<'a> {
    /// Begins a disk of `size_bytes`, of which only the segments `numbers`, each `segment_len`
    /// bytes, hold data. `id` tells it from other disks.
    pub fn begin(
        mut out: RawWriter<'a>,
        size_bytes: u64,
        (numbers, segment_len): (&[u64], u64),
        id: [u8; 16],
    ) -> io::Result<Self> {
        if let Some(what) = refusal(size_bytes) {
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        let size_bytes = size_bytes.next_multiple_of(SECTOR_LEN as u64);
        let disk_type = DiskType::Dynamic;
        let footer = Footer { header_offset: HEADER_OFFSET, size_bytes, disk_type, id }.encode();
        let entries = size_bytes.div_ceil(BLOCK_LEN as u64);
        let per_segment = segment_len / BLOCK_LEN as u64;
        let of_segment = |number: &u64| number * per_segment..(number + 1) * per_segment;
        let mut blocks: Vec<u64> = numbers.iter().flat_map(of_segment).collect();
        blocks.retain(|block| *block < entries);
        let entries = entries as usize; // at most 1_044_480
        let bat_len = (entries * 4).next_multiple_of(SECTOR_LEN);
        let data_offset = BAT_OFFSET + bat_len as u64;
        let mut head = vec![0; BAT_OFFSET as usize];
        head[..SECTOR_LEN].copy_from_slice(&footer);
        let header = Header::encode(BAT_OFFSET, entries as u32);
        head[HEADER_OFFSET as usize..][..HEADER_LEN].copy_from_slice(&header);
        head.resize(BAT_OFFSET as usize + bat_len, UNUSED as u8);
        for (place, block) in (0u64..).zip(&blocks) {
            let sector = (data_offset + place * STRIDE) / SECTOR_LEN as u64;
            let at = BAT_OFFSET as usize + *block as usize * 4;
            // Below 2^32: 2040 GiB and their bitmaps.
            head[at..at + 4].copy_from_slice(&(sector as u32).to_be_bytes());
        }
        out.segment(0, &head)?;
        blocks.reverse();
        Ok(Self { out, footer, blocks, offset_bytes: data_offset })
    }

    /// Takes a segment. They must come as announced.
    pub fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let first = offset_bytes / BLOCK_LEN as u64;
        for (number, block) in (first..).zip(bytes.chunks(BLOCK_LEN)) {
            if self.blocks.pop() != Some(number) {
                return Err(not_announced());
            }
            self.out.segment(self.offset_bytes, &[0xff; BITMAP_LEN])?;
            self.out.segment(self.offset_bytes + BITMAP_LEN as u64, block)?;
            self.offset_bytes += STRIDE;
        }
        Ok(())
    }

    /// Ends the disk.
    pub fn end(mut self) -> io::Result<()> {
        if !self.blocks.is_empty() {
            return Err(not_announced());
        }
        self.out.segment(self.offset_bytes, &self.footer)?;
        self.out.end(self.offset_bytes + SECTOR_LEN as u64)
    }
}

fn not_announced() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the disk's segments are not those announced")
}
