//! Row "one changed block in a 16 TiB disk".

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::source::{SEGMENT_LEN, Source};

use super::Measured;
use crate::Scale;
use crate::disks::MadeDisk;
use crate::repositories::{Bytes, Pools, in_memory, store};
use crate::samples::{Look, fill_noise, sample};
use crate::table::{Row, Verdict};

const DISK_LEN: u64 = 16 << 40;
/// The segment that changes: in the first GiB, all of which is data.
const CHANGED: u64 = 100;

/// Backs a disk up, changes 4 KiB of noise in it, and backs it up again: what the second backup adds. The disk has
/// 200 GiB (tiny: 1 GiB) of data, made of 1 GiB (tiny: 64 MiB) that repeats. The changed block lies where the tree is
/// largest: every node above it is as full as it can be in a disk of 16 TiB.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let segments = scale.pick(1_u64 << 30, 200 << 30) / SEGMENT_LEN as u64;
    let distinct = sample(Look::Compressible, 10, scale.pick(64 << 20, 1 << 30));
    let distinct: Arc<[u8]> = distinct.into();
    let numbers = places(segments);
    let (repository, storage) = in_memory()?;
    let pools = Pools::start(2)?;
    store(&repository, &pools, &mut disk(&numbers, &distinct, Night::First))?;
    let before = Bytes::on(&*storage)?;
    store(&repository, &pools, &mut disk(&numbers, &distinct, Night::Second))?;
    let added = Bytes::on(&*storage)?.since(before);
    Ok(vec![Row {
        name: "one changed block in a 16 TiB disk",
        budget: "< 64 KiB added",
        measured: format!(
            "{:.1} KiB: {:.1} KiB of metadata, {:.1} KiB of data ({segments} segments)",
            kib(added.total()),
            kib(added.metadata()),
            kib(added.data)
        ),
        verdict: Verdict::of(added.total() < 64 << 10),
    }])
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Night {
    First,
    Second,
}

/// Where the data lies: the first GiB, one segment in each of the first 256 GiB, one in each 256 GiB, and the rest
/// evenly over the disk.
fn places(count: u64) -> BTreeSet<u64> {
    let mut places: BTreeSet<u64> = (0..256).collect();
    places.extend((0..256).map(|number| number << 8));
    places.extend((0..64).map(|number| number << 16));
    let all = DISK_LEN / SEGMENT_LEN as u64;
    let missing = count.saturating_sub(places.len() as u64);
    places.extend((0..missing).map(|number| number * (all / missing) + 1));
    places
}

fn disk(numbers: &BTreeSet<u64>, distinct: &Arc<[u8]>, night: Night) -> impl Source {
    let (numbers, distinct) = (numbers.clone(), Arc::clone(distinct));
    MadeDisk::new(DISK_LEN, numbers, move |number, buffer: &mut [u8]| {
        let start = number as usize * SEGMENT_LEN % distinct.len();
        buffer.copy_from_slice(&distinct[start..start + SEGMENT_LEN]);
        if number == CHANGED && night == Night::Second {
            fill_noise(11, &mut buffer[1 << 20..(1 << 20) + 4096]);
        }
    })
}
