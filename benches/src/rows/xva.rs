//! Rows "XVA reading and writing": the container against the checksum that it carries.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::sync::Arc;

use engine::source::{NextSegment, SEGMENT_LEN};
use sha1::{Digest, Sha1};
use xen_source::{ChecksumKind, Input, Kind, Macs, XvaOptions, open, write_xva};
use xxhash_rust::xxh64::xxh64;

use super::Measured;
use crate::Scale;
use crate::disks::ChunkContent;
use crate::harness::{Clock, Turns, compare};
use crate::samples::{Look, sample};
use crate::table::{Row, Verdict};

const CHUNK_LEN: usize = 1 << 20;

/// Computes a checksum and forgets it.
type Checksum = fn(&[u8]);

/// Reading: an XVA through `xen_source::open`, segment by segment. Writing: `write_xva` to where bytes vanish. Both
/// against the checksum of the same bytes, a MiB at a time. Time of the thread.
///
/// All chunks of the disk are one MiB in memory, so that both sides find it near the processor, as a pipe's bytes or
/// a rebuilt segment are; else the slowness of memory would hide what the container costs.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let chunk: Arc<[u8]> = sample(Look::Incompressible, 8, CHUNK_LEN).into();
    let (count, turns) = (scale.pick(32, 256), scale.pick(7, 15));
    let disk = ChunkContent::new(&chunk, count);
    let kinds: [(ChecksumKind, Checksum, f64); 2] =
        [(ChecksumKind::Xxh64, hash_xxh64, 0.3), (ChecksumKind::Sha1, hash_sha1, 0.85)];
    let mut rows = Vec::new();
    for (kind, checksum, floor) in kinds {
        let [read, write] = names(kind);
        let hash = |(): &mut ()| (0..count).for_each(|_| checksum(&chunk));
        let archive = written(&disk, kind, Pieces::new(&chunk))?;
        let mut buffer = vec![0; SEGMENT_LEN];
        let read_all = |(): &mut ()| read_all(&archive, &mut buffer);
        let reading = compare(Clock::Thread, turns, &mut (), read_all, hash);
        rows.push(row(read, &reading, count * CHUNK_LEN, floor));
        let write_all = |(): &mut ()| {
            written(&disk, kind, io::sink()).expect("the sink takes everything");
        };
        let writing = compare(Clock::Thread, turns, &mut (), write_all, hash);
        rows.push(row(write, &writing, count * CHUNK_LEN, floor));
    }
    Ok(rows)
}

fn hash_xxh64(chunk: &[u8]) {
    black_box(xxh64(chunk, 0));
}

fn hash_sha1(chunk: &[u8]) {
    black_box(Sha1::digest(chunk));
}

const fn names(kind: ChecksumKind) -> [(&'static str, &'static str); 2] {
    match kind {
        ChecksumKind::Xxh64 => {
            [("XVA reading, .xxhash", ">= 0.3 x xxh64"), ("XVA writing, .xxhash", ">= 0.3 x xxh64")]
        }
        ChecksumKind::Sha1 => [
            ("XVA reading, .checksum", ">= 0.85 x SHA-1"),
            ("XVA writing, .checksum", ">= 0.85 x SHA-1"),
        ],
    }
}

fn row((name, budget): (&'static str, &'static str), turns: &Turns, len: usize, floor: f64) -> Row {
    let speed = turns.speed();
    let measured = format!("{speed}; {}", turns.rates(len));
    Row { name, budget, measured, verdict: Verdict::of(speed.median >= floor) }
}

/// Writes a new XVA of one disk to `out`.
fn written<W: Write>(disk: &ChunkContent, kind: ChecksumKind, mut out: W) -> Measured<W> {
    let options = XvaOptions {
        checksum: Some(kind),
        name: None,
        macs: Macs::Keep,
        disks: None,
        seed: [9; 32],
    };
    write_xva(disk, &mut out, &options)?;
    Ok(out)
}

fn read_all(archive: &Pieces, buffer: &mut [u8]) {
    let input = Input::Stream { name: "bench".to_owned(), bytes: Box::new(archive.clone()) };
    let mut source = open(input, Some(Kind::Xva)).expect("it was written as an XVA");
    while let Some(_disk) = source.next_disk().expect("it is sound") {
        while let NextSegment::Filled { .. } = source.next_segment(buffer).expect("it is sound") {
            black_box(&buffer);
        }
    }
    let verified = source.facts().checksums_verified;
    assert_eq!(verified, archive.chunks as u64, "every chunk was verified");
}

/// An archive in which every chunk is the same: what stands between the chunks, and the one in memory.
#[derive(Clone)]
struct Pieces {
    chunk: Arc<[u8]>,
    chunks: usize,
    /// Bytes that stand before a chunk or at the end.
    between: Vec<Arc<[u8]>>,
    collected: Vec<u8>,
    /// Where reading goes on: the piece (chunks are the odd ones) and the byte in it.
    at: (usize, usize),
}

impl Pieces {
    fn new(chunk: &Arc<[u8]>) -> Self {
        let (between, collected) = (Vec::new(), Vec::new());
        Self { chunk: Arc::clone(chunk), chunks: 0, between, collected, at: (0, 0) }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes.len() == CHUNK_LEN {
            true => {
                self.between.push(std::mem::take(&mut self.collected).into());
                self.chunks += 1;
            }
            false => self.collected.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.between.push(std::mem::take(&mut self.collected).into());
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let (number, start) = self.at;
            let piece = match (number % 2, self.between.get(number / 2)) {
                (_, None) => return Ok(0),
                (0, Some(between)) => between,
                (_, Some(_)) if number / 2 == self.chunks => return Ok(0),
                (_, Some(_)) => &self.chunk,
            };
            let len = buffer.len().min(piece.len() - start);
            buffer[..len].copy_from_slice(&piece[start..start + len]);
            self.at = (number, start + len);
            if start + len == piece.len() {
                self.at = (number + 1, 0);
            }
            if len > 0 || buffer.is_empty() {
                return Ok(len);
            }
        }
    }
}
