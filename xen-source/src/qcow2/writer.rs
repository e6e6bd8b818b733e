//! Writes a qcow2, version 3, in one go: which segments there are is known before their data come.
//!
//! ```text
//! header, L1 table, L2 tables, refcount table, refcount blocks, clusters in the disk's order
//! ```

use std::io::{self, ErrorKind};

use super::MAGIC;
use crate::raw::RawWriter;

/// Bytes of a cluster.
const CLUSTER_LEN: u64 = 1 << CLUSTER_BITS;
const CLUSTER_BITS: u32 = 16;
/// Clusters that an L2 table covers.
const L2_ENTRIES: u64 = CLUSTER_LEN / 8;
/// Clusters whose refcounts, of 16 bits, a block holds.
const REFCOUNTS: u64 = CLUSTER_LEN / 2;
/// Says that nobody else uses a cluster.
const COPIED: u64 = 1 << 63;
/// Bytes of the header that is written.
const HEADER_LEN: u32 = 104;

/// Writes all that is known beforehand, then clusters.
pub struct Qcow2Writer<'a> {
    out: RawWriter<'a>,
    /// The segments to come, in rising order, the next one last.
    numbers: Vec<u64>,
    segment_len: u64,
    /// Where the next cluster goes.
    offset_bytes: u64,
}

/// How many clusters there are of each kind.
struct Shape {
    size_bytes: u64,
    /// Of the whole disk, holes included.
    disk_clusters: u64,
    l1_entries: u64,
    l1: u64,
    /// Places in L1 of the L2 tables that there are.
    l2_places: Vec<u64>,
    refcount_table: u64,
    refcount_blocks: u64,
    total: u64,
}

impl<'a> Qcow2Writer<'a> {
    /// Begins a disk of `size_bytes`, of which only the segments `numbers`, each `segment_len`
    /// bytes, hold data.
    pub fn begin(
        mut out: RawWriter<'a>,
        size_bytes: u64,
        (numbers, segment_len): (&[u64], u64),
    ) -> io::Result<Self> {
        let shape = Shape::of(size_bytes, numbers, segment_len);
        let mut numbers: Vec<u64> = numbers.to_vec();
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            let from = at;
            at += bytes.len() as u64;
            out.segment(from, bytes)
        };
        put(&clustered(shape.header()))?;
        let l2_first = 1 + shape.l1;
        let mut l1 = vec![0; (shape.l1 * CLUSTER_LEN) as usize]; // 8 bytes for 512 MiB of disk
        for (place, table) in (0..).zip(&shape.l2_places) {
            put_entry(&mut l1, *table, COPIED | ((l2_first + place) * CLUSTER_LEN));
        }
        put(&l1)?;
        let mut next = shape.total - shape.data_clusters(&numbers, segment_len);
        let data_offset = next * CLUSTER_LEN;
        let mut segments = numbers.iter().peekable();
        for table in &shape.l2_places {
            let mut l2 = vec![0; CLUSTER_LEN as usize];
            let end = (table + 1) * L2_ENTRIES * CLUSTER_LEN;
            while let Some(number) = segments.next_if(|number| **number * segment_len < end) {
                for cluster in shape.clusters_of(*number, segment_len) {
                    put_entry(&mut l2, cluster % L2_ENTRIES, COPIED | (next * CLUSTER_LEN));
                    next += 1;
                }
            }
            put(&l2)?;
        }
        let blocks_first = l2_first + shape.l2_places.len() as u64 + shape.refcount_table;
        let mut table = vec![0; (shape.refcount_table * CLUSTER_LEN) as usize]; // 8 for 2 GiB
        for place in 0..shape.refcount_blocks {
            put_entry(&mut table, place, (blocks_first + place) * CLUSTER_LEN);
        }
        put(&table)?;
        for place in 0..shape.refcount_blocks {
            let used = (shape.total - place * REFCOUNTS).min(REFCOUNTS) as usize; // at most 32768
            let mut block = vec![0; CLUSTER_LEN as usize];
            block[..used * 2].chunks_exact_mut(2).for_each(|count| count[1] = 1);
            put(&block)?;
        }
        numbers.reverse();
        Ok(Self { out, numbers, segment_len, offset_bytes: data_offset })
    }

    /// Takes a segment. They must come as announced.
    pub fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        if self.numbers.pop() != Some(offset_bytes / self.segment_len) {
            return Err(not_announced());
        }
        self.out.segment(self.offset_bytes, bytes)?;
        self.offset_bytes += (bytes.len() as u64).next_multiple_of(CLUSTER_LEN);
        Ok(())
    }

    /// Ends the disk.
    pub fn end(self) -> io::Result<()> {
        match self.numbers.is_empty() {
            true => self.out.end(self.offset_bytes),
            false => Err(not_announced()),
        }
    }
}

impl Shape {
    fn of(size_bytes: u64, numbers: &[u64], segment_len: u64) -> Self {
        let size_bytes = size_bytes.next_multiple_of(512);
        let disk_clusters = size_bytes.div_ceil(CLUSTER_LEN);
        let l1_entries = disk_clusters.div_ceil(L2_ENTRIES);
        let l1 = (l1_entries * 8).div_ceil(CLUSTER_LEN);
        let l2_of = |number: &u64| number * segment_len / CLUSTER_LEN / L2_ENTRIES;
        let mut l2_places: Vec<u64> = numbers.iter().map(l2_of).collect();
        l2_places.dedup();
        let (refcount_table, refcount_blocks, total) = (0, 0, 0);
        let mut shape = Self {
            size_bytes,
            disk_clusters,
            l1_entries,
            l1,
            l2_places,
            refcount_table,
            refcount_blocks,
            total,
        };
        let data = shape.data_clusters(numbers, segment_len);
        let fixed = 1 + shape.l1 + shape.l2_places.len() as u64 + data;
        // Refcounts count themselves; this ends because a block counts many clusters.
        loop {
            let total = fixed + shape.refcount_table + shape.refcount_blocks;
            let blocks = total.div_ceil(REFCOUNTS);
            let table = (blocks * 8).div_ceil(CLUSTER_LEN);
            if (blocks, table) == (shape.refcount_blocks, shape.refcount_table) {
                shape.total = total;
                return shape;
            }
            (shape.refcount_blocks, shape.refcount_table) = (blocks, table);
        }
    }

    /// The clusters of a segment.
    fn clusters_of(&self, number: u64, segment_len: u64) -> std::ops::Range<u64> {
        let per_segment = segment_len / CLUSTER_LEN;
        number * per_segment..((number + 1) * per_segment).min(self.disk_clusters)
    }

    fn data_clusters(&self, numbers: &[u64], segment_len: u64) -> u64 {
        let count = |number: &u64| {
            let clusters = self.clusters_of(*number, segment_len);
            clusters.end.saturating_sub(clusters.start)
        };
        numbers.iter().map(count).sum()
    }

    fn header(&self) -> Vec<u8> {
        let refcount_table = (1 + self.l1 + self.l2_places.len() as u64) * CLUSTER_LEN;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(3u32.to_be_bytes());
        bytes.extend([0; 12]); // no backing file
        bytes.extend(CLUSTER_BITS.to_be_bytes());
        bytes.extend(self.size_bytes.to_be_bytes());
        bytes.extend(0u32.to_be_bytes()); // no encryption
        bytes.extend((self.l1_entries as u32).to_be_bytes()); // at most 2^21, for 1 PiB
        bytes.extend(CLUSTER_LEN.to_be_bytes()); // L1 follows the header
        bytes.extend(refcount_table.to_be_bytes());
        bytes.extend((self.refcount_table as u32).to_be_bytes());
        bytes.extend([0; 12]); // no snapshots
        bytes.extend([0; 24]); // no features
        bytes.extend(4u32.to_be_bytes()); // refcounts of 16 bits
        bytes.extend(HEADER_LEN.to_be_bytes());
        bytes
    }
}

fn put_entry(table: &mut [u8], place: u64, entry: u64) {
    let at = place as usize * 8;
    table[at..at + 8].copy_from_slice(&entry.to_be_bytes());
}

fn clustered(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(CLUSTER_LEN as usize, 0);
    bytes
}

fn not_announced() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the disk's segments are not those announced")
}
