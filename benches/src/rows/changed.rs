//! Row "changed segment": unit values tell what changed, prints which blocks did, and the rest is cut.

use std::hint::black_box;

use engine::examine::Verdict as Examined;
use engine::source::SEGMENT_LEN;
use repo_format::segment::segment_id;

use super::Measured;
use crate::Scale;
use crate::disks::of_image;
use crate::harness::{Clock, Turns, compare};
use crate::repositories::{Pools, examiner, in_memory, place, store};
use crate::samples::{Look, Random, fill_noise, sample};
use crate::table::{Row, Verdict};

const BLOCK_LEN: usize = 4096;

/// `Examiner::whole` on stored segments in which 1 % of the blocks of 4 KiB have changed, against keyed BLAKE3
/// of the same buffers. Nothing is compressed or sealed. Time of the thread.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let row = |name, budget, scatter, least| -> Measured<Row> {
        let (turns, new_share) = recognise(scale, scatter)?;
        let speed = turns.speed();
        let measured = format!("{speed}, {new_share:.1} % of the bytes are new chunks");
        let verdict = Verdict::of(speed.median >= least);
        Ok(Row { name, budget, measured, verdict })
    };
    Ok(vec![
        row("changed segment, clustered", ">= 0.6 of plain BLAKE3", Scatter::Clustered, 0.6)?,
        row("changed segment, scattered", ">= 0.35 of plain BLAKE3", Scatter::Scattered, 0.35)?,
    ])
}

/// Where the changed blocks of a segment lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scatter {
    /// One after the other.
    Clustered,
    /// Anywhere.
    Scattered,
}

/// Changes 1 % of the blocks of a segment.
pub fn change(segment: &mut [u8], scatter: Scatter, random: &mut Random) {
    let blocks = segment.len() / BLOCK_LEN;
    let count = blocks.div_ceil(100);
    let first = random.below((blocks - count) as u64) as usize;
    for place in 0..count {
        let block = match scatter {
            Scatter::Clustered => first + place,
            Scatter::Scattered => random.below(blocks as u64) as usize,
        };
        fill_noise(random.next(), &mut segment[block * BLOCK_LEN..(block + 1) * BLOCK_LEN]);
    }
}

/// The turns, and how many per cent of the bytes are in chunks that do not count yet.
fn recognise(scale: Scale, scatter: Scatter) -> Measured<(Turns, f64)> {
    let mut image = sample(Look::Compressible, 4, scale.pick(8, 64) * SEGMENT_LEN);
    let (repository, _) = in_memory()?;
    store(&repository, &Pools::start(1)?, &mut of_image(&image))?;
    let examiner = examiner(&repository)?;
    let before: Vec<_> =
        image.chunks(SEGMENT_LEN).map(|bytes| segment_id(&examiner.keys, bytes)).collect();
    let mut random = Random::new(5);
    image.chunks_mut(SEGMENT_LEN).for_each(|segment| change(segment, scatter, &mut random));
    let mut buffers: Vec<Vec<u8>> = image.chunks(SEGMENT_LEN).map(<[u8]>::to_vec).collect();
    let mut new_bytes = 0;
    let examine = |buffers: &mut Vec<Vec<u8>>| {
        new_bytes = 0;
        for (buffer, before) in buffers.iter_mut().zip(&before) {
            let verdict = examiner.whole(place(Some(*before)), buffer);
            let Examined::New(_, cut) = verdict.expect("the index can be asked") else {
                panic!("the segment has changed")
            };
            new_bytes += cut.unknown.iter().map(|chunk| chunk.range.len()).sum::<usize>();
        }
    };
    let hash = |buffers: &mut Vec<Vec<u8>>| {
        for buffer in buffers {
            black_box(blake3::keyed_hash(examiner.keys.segment.expose(), buffer));
        }
    };
    let turns = compare(Clock::Thread, scale.pick(3, 9), &mut buffers, examine, hash);
    Ok((turns, 100.0 * new_bytes as f64 / image.len() as f64))
}
