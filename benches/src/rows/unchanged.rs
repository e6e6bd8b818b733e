//! Row "unchanged segment": what a worker does with segments whose ids count.

use std::hint::black_box;

use engine::examine::Verdict as Examined;
use engine::source::SEGMENT_LEN;

use super::Measured;
use crate::Scale;
use crate::disks::of_image;
use crate::harness::{Clock, compare};
use crate::repositories::{Pools, examiner, in_memory, place, store};
use crate::samples::{Look, sample};
use crate::table::{Row, Verdict};

/// `Examiner::whole` on stored segments (zero test, keyed BLAKE3, lookup) against keyed BLAKE3 of the same
/// buffers of 4 MiB. Time of the thread; the buffers together are larger than the caches of a core.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let image = sample(Look::Compressible, 1, scale.pick(8, 64) * SEGMENT_LEN);
    let (repository, _) = in_memory()?;
    store(&repository, &Pools::start(1)?, &mut of_image(&image))?;
    let examiner = examiner(&repository)?;
    let mut buffers: Vec<Vec<u8>> = image.chunks(SEGMENT_LEN).map(<[u8]>::to_vec).collect();
    let examine = |buffers: &mut Vec<Vec<u8>>| {
        for buffer in buffers {
            let verdict = examiner.whole(place(None), buffer).expect("the index can be asked");
            assert!(matches!(verdict, Examined::Known(_)), "the segment was stored");
        }
    };
    let hash = |buffers: &mut Vec<Vec<u8>>| {
        for buffer in buffers {
            black_box(blake3::keyed_hash(examiner.keys.segment.expose(), buffer));
        }
    };
    let turns = compare(Clock::Thread, scale.pick(7, 15), &mut buffers, examine, hash);
    let speed = turns.speed();
    Ok(vec![Row {
        name: "unchanged segment",
        budget: ">= 0.85 of plain keyed BLAKE3",
        measured: format!("{speed}; {}", turns.rates(image.len())),
        verdict: Verdict::of(speed.median >= 0.85),
    }])
}
