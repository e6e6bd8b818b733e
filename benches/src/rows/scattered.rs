//! Rows about a night of scattered writes.

use std::collections::HashSet;

use repo_format::limits::SEGMENT_LEN;

use super::Measured;
use crate::Scale;
use crate::disks::of_vm_image;
use crate::repositories::{Bytes, Pools, in_memory, store_night};
use crate::samples::{BLOCK_LEN, Random, fill_block};
use crate::table::{Row, Verdict};

/// To what share of their size zstd -3 shrinks blocks: those of a database, with some that do not shrink.
const SHARES: [f64; 8] = [0.25, 0.33, 0.40, 0.45, 0.50, 0.55, 0.62, 1.0];

/// A disk of 256 MiB (tiny: 16 MiB) full of data is backed up, so many of its blocks, anywhere, get content that it
/// never had, and it is backed up again: all that the second backup adds, against zstd -3 of the changed blocks.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let segments = scale.pick(4, 64);
    let row = |name, budget, per_mille: usize, limit: f64| -> Measured<Row> {
        let Night { added, truth_bytes, changed_blocks } = night(segments, per_mille)?;
        let ratio = added.total() as f64 / truth_bytes as f64;
        let measured = format!(
            "{ratio:.2}: {:.1} / {:.1} KiB for {changed_blocks} blocks; data {:.1}, maps {:.1}, prints {:.1}, \
             index {:.1}, other {:.1} KiB",
            kib(added.total()),
            kib(truth_bytes),
            kib(added.data),
            kib(added.maps),
            kib(added.prints),
            kib(added.index),
            kib(added.other)
        );
        Ok(Row { name, budget, measured, verdict: Verdict::of(ratio <= limit) })
    };
    Ok(vec![
        row("scattered writes, 0.1 % of the blocks", "<= 1.35 x the blocks, compressed", 1, 1.35)?,
        row("scattered writes, 1 % of the blocks", "<= 1.15 x the blocks, compressed", 10, 1.15)?,
        row("scattered writes, 5 % of the blocks", "<= 1.10 x the blocks, compressed", 50, 1.10)?,
    ])
}

struct Night {
    added: Bytes,
    truth_bytes: u64,
    changed_blocks: usize,
}

fn night(segments: usize, per_mille: usize) -> Measured<Night> {
    let mut image = vec![0; segments * SEGMENT_LEN];
    for (number, block) in (1..).zip(image.chunks_exact_mut(BLOCK_LEN)) {
        fill_block(number, &SHARES, block);
    }
    let (repository, storage) = in_memory()?;
    let pools = Pools::start(2)?;
    store_night(&repository, &pools, &mut of_vm_image(&image), 0)?;
    let before = Bytes::on(&*storage)?;
    let changed = change(&mut image, per_mille);
    store_night(&repository, &pools, &mut of_vm_image(&image), 1)?;
    let added = Bytes::on(&*storage)?.since(before);
    let truth_bytes = zstd::encode_all(&*changed, 3)?.len() as u64;
    Ok(Night { added, truth_bytes, changed_blocks: changed.len() / BLOCK_LEN })
}

/// Changes so many of a thousand blocks; the changed ones, in order.
fn change(image: &mut [u8], per_mille: usize) -> Vec<u8> {
    let blocks = image.len() / BLOCK_LEN;
    let mut random = Random::new(16);
    let mut places = HashSet::new();
    while places.len() < (blocks * per_mille).div_ceil(1000) {
        places.insert(random.below(blocks as u64) as usize);
    }
    let mut changed = Vec::with_capacity(places.len() * BLOCK_LEN);
    for (number, block) in image.chunks_exact_mut(BLOCK_LEN).enumerate() {
        if places.contains(&number) {
            fill_block((blocks + 1 + number) as u64, &SHARES, block);
            changed.extend_from_slice(block);
        }
    }
    changed
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
