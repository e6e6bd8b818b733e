//! Row "open + unzstd + verify": the whole of a restore but for the writing.

use std::hint::black_box;

use engine::observer::Silent;
use engine::reader::Reader;
use engine::restore::SnapshotContent;
use engine::source::{Content, SEGMENT_LEN};
use repo_format::limits::FRAME_PLAIN_MAX;
use zstd::bulk::{Compressor, Decompressor};

use super::Measured;
use super::new_data::frames;
use crate::Scale;
use crate::disks::{BlackHole, of_image};
use crate::harness::{Clock, compare};
use crate::repositories::{Pools, in_memory, store};
use crate::samples::{Look, sample};
use crate::table::{Row, Verdict};

/// `Content::read_disk` from memory with one worker, against decompressing the same frames into a buffer that is
/// kept, and keyed BLAKE3 of the segments. Time of the whole process. The index is open before.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let image = sample(Look::Compressible, 6, scale.pick(8, 64) * SEGMENT_LEN);
    let (repository, _) = in_memory()?;
    let pools = Pools::start(1)?;
    let snapshot = store(&repository, &pools, &mut of_image(&image))?;
    let reader = Reader::open(&repository)?;
    let content = SnapshotContent::new(&reader, &pools.workers, &snapshot, &Silent);
    let mut compressor = Compressor::new(3)?;
    let compressed: Result<Vec<_>, _> =
        frames(&image)?.iter().map(|frame| compressor.compress(frame)).collect();
    let compressed = compressed?;
    let mut decompressor = Decompressor::new()?;
    let restore = |_: &mut Vec<u8>| {
        let mut sink = BlackHole::default();
        content.read_disk(0, &mut sink).expect("it was stored");
        assert_eq!(sink.0, image.len() as u64, "all of it comes back");
    };
    let primitives = |out: &mut Vec<u8>| {
        for frame in &compressed {
            let len = decompressor.decompress_to_buffer(frame, out.as_mut_slice());
            black_box(len.expect("it was compressed above"));
        }
        for segment in image.chunks(SEGMENT_LEN) {
            black_box(blake3::keyed_hash(&[7; 32], segment));
        }
    };
    let mut out = vec![0; FRAME_PLAIN_MAX];
    let turns = compare(Clock::Process, scale.pick(3, 11), &mut out, restore, primitives);
    let cost = turns.cost();
    Ok(vec![Row {
        name: "open + unzstd + verify",
        budget: "<= 1.3 x CPU of unzstd and BLAKE3",
        measured: format!("{cost}; {}", turns.rates(image.len())),
        verdict: Verdict::of(cost.median <= 1.3),
    }])
}
