//! Rows "zeros, holes": what is not there must cost nothing.

use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use engine::examine::Verdict as Examined;
use engine::source::SEGMENT_LEN;
use engine::storage::local::LocalStorage;

use super::Measured;
use crate::Scale;
use crate::harness::{Clock, compare};
use crate::repositories::{Bytes, Pools, create, examiner, forgetful, place, store};
use crate::table::{Row, Verdict};

/// Segments of zeros, and a file without any.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    Ok(vec![zeros(scale)?, empty_file()?])
}

/// `Examiner::whole` on segments of zeros, against adding up the same memory in words of 8 bytes. Time of the
/// thread.
fn zeros(scale: Scale) -> Measured<Row> {
    let examiner = examiner(&forgetful()?)?;
    // Written once, since untouched memory is one page of zeros over and over.
    let mut buffers: Vec<Vec<u8>> = vec![vec![1; SEGMENT_LEN]; scale.pick(16, 64)];
    buffers.iter_mut().for_each(|buffer| buffer.fill(0));
    let len = buffers.len() * SEGMENT_LEN;
    let examine = |buffers: &mut Vec<Vec<u8>>| {
        for buffer in buffers {
            let verdict = examiner.whole(place(None), buffer).expect("the index is not asked");
            assert!(matches!(verdict, Examined::Zero), "it is zero");
        }
    };
    let scan = |buffers: &mut Vec<Vec<u8>>| {
        for buffer in buffers {
            black_box(scan(buffer));
        }
    };
    let turns = compare(Clock::Thread, scale.pick(11, 21), &mut buffers, examine, scan);
    let speed = turns.speed();
    Ok(Row {
        name: "zeros",
        budget: ">= 0.8 x a read-only scan of memory",
        measured: format!("{speed}; {}", turns.rates(len)),
        verdict: Verdict::of(speed.median >= 0.8),
    })
}

/// Reads all of it and does as little as can be done with it.
fn scan(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// A first backup of an empty raw file of 2 TiB into a new repository on the disk: clock on the wall, and bytes added.
fn empty_file() -> Measured<Row> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("empty.raw");
    File::create(&path)?.set_len(2 << 40)?;
    let local = LocalStorage::new(directory.path().join("repository"));
    local.prepare()?;
    let storage = Arc::new(local);
    let repository = create(Arc::<LocalStorage>::clone(&storage))?;
    let before = Bytes::on(&*storage)?;
    let pools = Pools::start(2)?;
    let begun = Instant::now();
    let mut source = xen_source::open_disks(&[path], None, Some("empty"))?;
    let snapshot = store(&repository, &pools, &mut *source)?;
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(snapshot.statistics.virtual_bytes, 2 << 40, "the file has 2 TiB");
    let added = Bytes::on(&*storage)?.since(before).total();
    Ok(Row {
        name: "holes: empty raw file of 2 TiB",
        budget: "< 2 s, < 64 KiB",
        measured: format!("{seconds:.2} s on the wall, {added} bytes"),
        verdict: Verdict::of(seconds < 2.0 && added < 64 << 10),
    })
}
