//! `diff`: what differs between two snapshots.

use std::ops::Range;

use engine::diff::diff;
use engine::parallel::Workers;
use engine::reader::Reader;
use engine::restore::SnapshotContent;
use engine::snapshots::Filter;
use repo_format::snapshot::{DiskRole, Snapshot, SnapshotDisk};
use serde::Serialize;

use crate::advice::{Doing as _, Failure};
use crate::args::DiffArgs;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::progress::Progress;
use crate::record::{Change, VmRecord};
use crate::report::{Volume, short_id};
use crate::selection;
use crate::size;

/// The difference, as JSON.
#[derive(Debug, Serialize)]
struct Difference {
    old: String,
    new: String,
    disks: Vec<DiskDifference>,
    vm: Vec<Change>,
}

/// How a disk differs; one that came or went has no ranges.
#[derive(Debug, Serialize)]
struct DiskDifference {
    name: String,
    old_size: Option<u64>,
    new_size: Option<u64>,
    changed: u64,
    /// Offset and length, in bytes.
    ranges: Vec<(u64, u64)>,
}

/// A disk in the old snapshot, in the new one, or in both.
type Pair<'s> = (Option<&'s SnapshotDisk>, Option<&'s SnapshotDisk>);

/// Compares two snapshots.
pub fn run(job: &Job, args: DiffArgs) -> Result<Exit, Failure> {
    let repository = job.open(Writes::Kept)?;
    let filter = Filter::from(args.filter);
    let old = selection::one(&repository, &args.old, &filter)?;
    let new = selection::one(&repository, &args.new, &filter)?;
    let doing = || format!("cannot compare {} with {}", short_id(&old.id), short_id(&new.id));
    let reader = Reader::open(&repository).doing(doing)?;
    let workers = job.workers()?;
    let progress = Progress::beside_data(&job.report);
    let mut disks = Vec::new();
    for pair in pairs(&old, &new) {
        disks.push(compare(&reader, &workers, pair, &progress).doing(doing)?);
    }
    let record = |snapshot: &Snapshot| {
        let content = SnapshotContent::new(&reader, &workers, snapshot, &progress);
        VmRecord::of(&content, &snapshot.origin.container).doing(doing)
    };
    let vm = match (record(&old)?, record(&new)?) {
        (Some(old), Some(new)) => new.changes_since(&old),
        _ => Vec::new(),
    };
    drop(progress);
    let difference = Difference { old: old.id.to_string(), new: new.id.to_string(), disks, vm };
    job.report.answer(&difference.text(job.report.volume), &difference)?;
    Ok(Exit::Done)
}

/// Disks that are the same one: by key if both have one, else by name.
fn pairs<'s>(old: &'s Snapshot, new: &'s Snapshot) -> Vec<Pair<'s>> {
    let is_compared = |disk: &&SnapshotDisk| {
        matches!(disk.role, DiskRole::Disk | DiskRole::Memory | DiskRole::File)
    };
    let mut come: Vec<_> = new.disks.iter().filter(is_compared).collect();
    let mut pairs: Vec<Pair<'s>> = Vec::new();
    let mut left = Vec::new();
    for disk in old.disks.iter().filter(is_compared) {
        let same_key = |other: &&SnapshotDisk| !disk.key.is_empty() && other.key == disk.key;
        match come.iter().position(same_key) {
            Some(place) => pairs.push((Some(disk), Some(come.remove(place)))),
            None => left.push(disk),
        }
    }
    for disk in left {
        let same_name = |other: &&SnapshotDisk| {
            other.role == disk.role && (other.name == disk.name || disk.role == DiskRole::File)
        };
        let place = come.iter().position(same_name);
        pairs.push((Some(disk), place.map(|place| come.remove(place))));
    }
    pairs.extend(come.into_iter().map(|disk| (None, Some(disk))));
    pairs
}

fn compare(
    reader: &Reader<'_>,
    workers: &Workers,
    (old, new): Pair<'_>,
    progress: &Progress,
) -> Result<DiskDifference, engine::reader::ContentReadError> {
    let mut ranges = Vec::new();
    if let (Some(old), Some(new)) = (old, new) {
        let mut differing = |range: Range<u64>| ranges.push((range.start, range.end - range.start));
        diff(reader, workers, old.id, new.id, progress, &mut differing)?;
    }
    Ok(DiskDifference {
        name: new.or(old).map(|disk| disk.name.clone()).unwrap_or_default(),
        old_size: old.map(|disk| disk.size_bytes),
        new_size: new.map(|disk| disk.size_bytes),
        changed: ranges.iter().map(|(_, len)| len).sum(),
        ranges,
    })
}

impl Difference {
    fn text(&self, volume: Volume) -> String {
        let mut text = String::new();
        for disk in &self.disks {
            text += &disk.text();
            if volume == Volume::Verbose {
                let lines = disk.ranges.iter().map(|(start, len)| format!("  {start} +{len}\n"));
                text.extend(lines);
            }
        }
        text.extend(self.vm.iter().map(|change| change.text() + "\n"));
        match text.is_empty() {
            true => "no disks and no VM record to compare\n".to_owned(),
            false => text,
        }
    }
}

impl DiskDifference {
    /// `xvda  50.0 GiB  412 MiB in 1,903 ranges`.
    fn text(&self) -> String {
        let name = &self.name;
        let changed = match self.ranges.len() as u64 {
            0 => "unchanged".to_owned(),
            count => format!("{} in {}", size::bytes(self.changed), size::plural(count, "range")),
        };
        match (self.old_size, self.new_size) {
            (Some(old), Some(new)) if old == new => {
                format!("{name}  {}  {changed}\n", size::bytes(new))
            }
            (Some(old), Some(new)) => {
                format!("{name}  {} -> {}  {changed}\n", size::bytes(old), size::bytes(new))
            }
            (None, Some(new)) => format!("+ {name}  {}\n", size::bytes(new)),
            (Some(old), None) => format!("- {name}  {}\n", size::bytes(old)),
            (None, None) => String::new(),
        }
    }
}
