//! Rows "XVA reading and writing": the container against the checksum that it carries.

use std::hint::black_box;
use std::io::{self, Cursor};
use std::sync::Arc;

use engine::source::{NextSegment, SEGMENT_LEN};
use sha1::{Digest, Sha1};
use xen_source::{ChecksumKind, Input, Kind, Macs, XvaOptions, open, write_xva};
use xxhash_rust::xxh64::xxh64;

use super::Measured;
use crate::Scale;
use crate::disks::ImageContent;
use crate::harness::{Clock, Turns, compare};
use crate::samples::{Look, sample};
use crate::table::{Row, Verdict};

const CHUNK_LEN: usize = 1 << 20;

/// Reading: an XVA in memory through `xen_source::open`, segment by segment. Writing: `write_xva` of an image in
/// memory to where bytes vanish. Both against the checksum of the same bytes, a MiB at a time. Time of the thread.
///
/// The disk has 4 MiB and is taken many times, so that both sides find it near the processor, as a host's pipe or a
/// rebuilt segment would be; otherwise the slowness of memory would hide what the container costs.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let image = sample(Look::Incompressible, 8, SEGMENT_LEN);
    let (times, turns) = (scale.pick(8, 64), scale.pick(7, 15));
    let kinds: [(_, fn(&[u8]), _); 2] =
        [(ChecksumKind::Xxh64, hash_xxh64, 0.3), (ChecksumKind::Sha1, hash_sha1, 0.85)];
    let mut rows = Vec::new();
    for (kind, checksum, floor) in kinds {
        let [read, write] = names(kind);
        let against = |ours: &dyn Fn()| {
            let ours = |(): &mut ()| (0..times).for_each(|_| ours());
            let hash = |(): &mut ()| {
                (0..times).for_each(|_| image.chunks(CHUNK_LEN).for_each(checksum));
            };
            compare(Clock::Thread, turns, &mut (), ours, hash)
        };
        let archive: Arc<[u8]> = written(&image, kind, Vec::new())?.into();
        let reading = against(&|| read_all(&archive));
        rows.push(row(read, &reading, times * image.len(), floor));
        let writing = against(&|| {
            written(&image, kind, io::sink()).expect("the sink takes everything");
        });
        rows.push(row(write, &writing, times * image.len(), floor));
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
fn written<W: io::Write>(image: &[u8], kind: ChecksumKind, mut out: W) -> Measured<W> {
    let options = XvaOptions {
        checksum: Some(kind),
        name: None,
        macs: Macs::Keep,
        disks: None,
        seed: [9; 32],
    };
    write_xva(&ImageContent::new(image), &mut out, &options)?;
    Ok(out)
}

fn read_all(archive: &Arc<[u8]>) {
    let bytes = Box::new(Cursor::new(Arc::clone(archive)));
    let input = Input::Stream { name: "bench".to_owned(), bytes };
    let mut source = open(input, Some(Kind::Xva)).expect("it was written as an XVA");
    let mut buffer = vec![0; SEGMENT_LEN];
    while let Some(_disk) = source.next_disk().expect("it is sound") {
        while let NextSegment::Filled { .. } = source.next_segment(&mut buffer).expect("sound") {
            black_box(&buffer);
        }
    }
}
