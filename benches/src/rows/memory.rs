//! Row "peak memory": a first backup, a nightly and a restore, each in a process of its own.

use std::path::Path;
use std::sync::Arc;

use engine::observer::Silent;
use engine::reader::Reader;
use engine::restore::SnapshotContent;
use engine::snapshots;
use engine::source::{Content, SEGMENT_LEN, Source};
use engine::storage::local::LocalStorage;

use super::Measured;
use crate::Scale;
use crate::child;
use crate::disks::{BlackHole, MadeDisk};
use crate::repositories::{Pools, create, open, store};
use crate::samples::{Look, sample};
use crate::table::{Row, Verdict};

const BUDGET_MIB: f64 = 512.0;
/// Bytes of the sample that the disk is made of; each child has it in memory.
const POOL_LEN: usize = 32 << 20;

/// `VmHWM` of a child that backs 8 GiB (tiny: 256 MiB) of distinct data up to a repository on disk, of one that
/// backs it up again with one block in a hundred changed, and of one that restores it to where bytes vanish. Two
/// workers each; the 32 MiB that the data is made of and the password hash are in the figure.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().to_str().ok_or("a strange directory for temporary files")?;
    let bytes = scale.pick(256_u64 << 20, 8 << 30).to_string();
    let mut rows = Vec::new();
    let jobs = [
        ("first", "peak memory, first backup"),
        ("nightly", "peak memory, nightly"),
        ("restore", "peak memory, restore"),
    ];
    for (job, name) in jobs {
        let seen = child::start(&["memory", job, path, &bytes])?;
        rows.push(Row {
            name,
            budget: "<= 512 MiB",
            measured: format!("{:.0} MiB", seen["peak"]),
            verdict: Verdict::of(seen["peak"] <= BUDGET_MIB),
        });
    }
    Ok(rows)
}

/// A child: does `job` on the repository in `directory`.
pub fn run(job: &str, directory: &str, bytes: u64) -> Measured<()> {
    let storage = LocalStorage::new(Path::new(directory));
    let pools = Pools::start(2)?;
    let repository = match job {
        "first" => {
            storage.prepare()?;
            create(Arc::new(storage))?
        }
        _ => open(Arc::new(storage))?,
    };
    match job {
        "first" => drop(store(&repository, &pools, &mut disk(bytes, 0))?),
        "nightly" => drop(store(&repository, &pools, &mut disk(bytes, 1))?),
        _ => {
            let reader = Reader::open(&repository)?;
            let all = snapshots::list(&repository, &reader.catalog())?.snapshots;
            let newest = all.last().ok_or("nothing was stored")?;
            let content = SnapshotContent::new(&reader, &pools.workers, newest, &Silent);
            let mut sink = BlackHole::default();
            content.read_disk(0, &mut sink)?;
            assert_eq!(sink.0, bytes, "all of it comes back");
        }
    }
    println!("peak {}", child::resident_mib("VmHWM")?);
    Ok(())
}

/// A disk of distinct blocks: each is one of the sample with its number in front, and every hundredth also with that
/// of the night.
fn disk(bytes: u64, night: u64) -> impl Source {
    let pool = sample(Look::Compressible, 12, POOL_LEN);
    MadeDisk::new(bytes, 0..bytes / SEGMENT_LEN as u64, move |number, buffer: &mut [u8]| {
        let start = number as usize * SEGMENT_LEN % POOL_LEN;
        buffer.copy_from_slice(&pool[start..start + SEGMENT_LEN]);
        let first = number * (SEGMENT_LEN / 4096) as u64;
        for (block, bytes) in (first..).zip(buffer.chunks_mut(4096)) {
            bytes[..8].copy_from_slice(&block.to_le_bytes());
            if block % 100 == 0 {
                bytes[8..16].copy_from_slice(&night.to_le_bytes());
            }
        }
    })
}
