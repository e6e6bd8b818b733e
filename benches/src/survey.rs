//! A survey of a repository: how finely segments are pieced together, and how much of it is used.

use std::collections::{HashMap, HashSet};

use engine::reader::Reader;
use engine::walk::Segments;
use repo_format::id::{ChunkId, SegmentId};
use repo_format::map::{Fill, Map};
use repo_format::snapshot::Snapshot;

use crate::rows::Measured;

/// Mean, the value that 95 % do not exceed, and the highest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Distribution {
    /// The mean.
    pub mean: f64,
    /// 95 % are at most this.
    pub p95: usize,
    /// The highest.
    pub max: usize,
}

impl Distribution {
    fn of(mut values: Vec<usize>) -> Self {
        values.sort_unstable();
        let Some(max) = values.last().copied() else { return Self::default() };
        let mean = values.iter().sum::<usize>() as f64 / values.len() as f64;
        Self { mean, p95: values[(values.len() * 95).div_ceil(100) - 1], max }
    }
}

/// What some maps are like.
#[derive(Debug, Clone, Copy)]
pub struct Maps {
    /// How many.
    pub count: usize,
    /// Extents of one.
    pub extents: Distribution,
    /// Chunks of one.
    pub chunks: Distribution,
}

/// What share of the stored bytes of chunks is used.
#[derive(Debug, Clone, Copy)]
pub struct Alive {
    /// By one night.
    pub last: f64,
    /// By all nights of which snapshots would be kept.
    pub kept: f64,
}

/// Ids of the segments of the snapshot's first disk that are not holes, in order.
pub fn segments(reader: &Reader<'_>, snapshot: &Snapshot) -> Measured<Vec<SegmentId>> {
    let id = snapshot.disks[0].id;
    let mut walk = Segments::of(reader, id, &reader.disk(id)?)?;
    let mut all = Vec::new();
    loop {
        let window = walk.next_window(1024)?;
        if window.is_empty() {
            return Ok(all);
        }
        all.extend(window.into_iter().map(|(_, segment)| segment));
    }
}

/// The maps of these segments.
pub fn maps(reader: &Reader<'_>, segments: &[SegmentId]) -> Measured<Maps> {
    let maps = read(reader, segments)?;
    let of = |count: fn(&Map) -> usize| Distribution::of(maps.iter().map(count).collect());
    let (extents, chunks) = (of(|map| map.extents().len()), of(|map| map.chunks().len()));
    Ok(Maps { count: maps.len(), extents, chunks })
}

/// The share of the stored bytes of all chunks that these segments use.
pub fn alive(reader: &Reader<'_>, segments: &HashSet<SegmentId>) -> Measured<f64> {
    let mut used: HashMap<ChunkId, Vec<(u32, u32)>> = HashMap::new();
    for segment in segments {
        let map = reader.map(*segment)?;
        for extent in map.extents() {
            if let Fill::Chunk { index, offset } = extent.fill {
                let chunk = map.chunks()[usize::from(index)].id;
                used.entry(chunk).or_default().push((offset, offset + extent.len));
            }
        }
    }
    let alive: u64 = used.into_values().map(covered).sum();
    let stored = reader.with_lookup(|lookup| {
        lookup.chunks().try_fold(0, |sum, chunk| {
            chunk.map(|(_, location)| sum + u64::from(location.place.len))
        })
    })?;
    Ok(alive as f64 / stored as f64)
}

/// Bytes that lie in at least one of the ranges.
fn covered(mut ranges: Vec<(u32, u32)>) -> u64 {
    ranges.sort_unstable();
    let (mut bytes, mut reached) = (0, 0);
    for (start, end) in ranges {
        bytes += u64::from(end.saturating_sub(start.max(reached)));
        reached = reached.max(end);
    }
    bytes
}

fn read(reader: &Reader<'_>, segments: &[SegmentId]) -> Measured<Vec<Map>> {
    segments.iter().map(|segment| Ok(reader.map(*segment)?)).collect()
}
