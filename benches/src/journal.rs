//! A journal: what was seen in each night of a series.

use std::fmt;
use std::iter;

use crate::counting::Frames;
use crate::repositories::Bytes;
use crate::samples::BLOCK_LEN;
use crate::series::Truth;
use crate::survey::{Alive, Maps};

/// One night.
#[derive(Debug, Clone, Copy)]
pub struct Night {
    /// What changed.
    pub truth: Truth,
    /// What the repository grew by.
    pub added: Bytes,
    /// Maps of segments that no earlier night had.
    pub maps: Maps,
    /// What the backup took.
    pub process: Process,
    /// What a restore of this night opened, and how much of the repository is used, if that was looked at.
    pub looked_at: Option<(Frames, Alive)>,
}

/// What a backup took.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    /// Seconds of processor time.
    pub cpu: f64,
    /// Seconds on the wall.
    pub wall: f64,
    /// MiB of memory at the peak.
    pub peak_mib: f64,
}

/// All nights of one profile.
#[derive(Debug)]
pub struct Journal {
    /// Name of the profile.
    pub profile: &'static str,
    /// From night 1 on.
    pub nights: Vec<Night>,
}

/// What several nights added.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    truth: u64,
    added: u64,
    metadata: u64,
}

impl Sum {
    /// Added / truth.
    pub fn ratio(self) -> f64 {
        self.added as f64 / self.truth as f64
    }
}

impl iter::Sum for Sum {
    fn sum<I: Iterator<Item = Self>>(sums: I) -> Self {
        sums.fold(Self::default(), |sum, next| Self {
            truth: sum.truth + next.truth,
            added: sum.added + next.added,
            metadata: sum.metadata + next.metadata,
        })
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata = 100.0 * self.metadata as f64 / self.added as f64;
        let (added, truth) = (mb(self.added), mb(self.truth));
        write!(f, "{added:.1} / {truth:.1} MB, {metadata:.1} % metadata")
    }
}

impl Night {
    const fn sum(&self) -> Sum {
        let (added, metadata) = (self.added.total(), self.added.metadata());
        Sum { truth: self.truth.bytes, added, metadata }
    }
}

impl Journal {
    /// The first night of the second half.
    pub const fn first_late(&self) -> usize {
        self.nights.len() / 2 + 1
    }

    /// What the second half of the nights added.
    pub fn late(&self) -> Sum {
        self.nights.iter().skip(self.first_late() - 1).map(Night::sum).sum()
    }

    /// The night that added most in times of its truth, and those times.
    pub fn worst(&self) -> (usize, f64) {
        let ratios = (1..).zip(self.nights.iter().map(|night| night.sum().ratio()));
        ratios.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
    }
}

/// Printed as a table of Markdown.
impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = [
            self.profile,
            "changed MB",
            "truth MB",
            "added MB",
            "added / truth",
            "metadata %: maps + prints + index + other",
            "new maps",
            "extents: mean, p95, max",
            "chunks: mean, p95, max",
            "CPU s",
            "wall s",
            "peak MiB",
            "opened / distinct",
            "alive / stored: last, last 14",
        ];
        writeln!(f, "| {} |\n|{}", columns.join(" | "), " --- |".repeat(columns.len()))?;
        (1..).zip(&self.nights).try_for_each(|(number, night)| line(f, number, night))
    }
}

fn line(f: &mut fmt::Formatter<'_>, number: usize, night: &Night) -> fmt::Result {
    let Night { truth, added, maps, process, looked_at } = night;
    let sum = night.sum();
    let share = |bytes: u64| 100.0 * bytes as f64 / sum.added as f64;
    let changed = mb(truth.changed_blocks * BLOCK_LEN as u64);
    write!(f, "| {number} | {changed:.1} | {:.2} | {:.2} ", mb(sum.truth), mb(sum.added))?;
    let (all, of_maps, prints) = (share(sum.metadata), share(added.maps), share(added.prints));
    let (index, other) = (share(added.index), share(added.other));
    write!(f, "| {:.3} | {all:.1}: {of_maps:.1} + {prints:.1} ", sum.ratio())?;
    write!(f, "+ {index:.1} + {other:.1} | {} ", maps.count)?;
    for of in [maps.extents, maps.chunks] {
        write!(f, "| {:.0}, {}, {} ", of.mean, of.p95, of.max)?;
    }
    write!(f, "| {:.2} | {:.2} | {:.0} ", process.cpu, process.wall, process.peak_mib)?;
    match looked_at {
        None => writeln!(f, "| | |"),
        Some((frames, alive)) => {
            writeln!(f, "| {:.2} | {:.2}, {:.2} |", frames.ratio(), alive.last, alive.kept)
        }
    }
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
