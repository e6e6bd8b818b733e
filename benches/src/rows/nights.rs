//! Rows about many nights: what a night adds to a repository after many others, and what a restore opens.
//!
//! Three simulated disks (see `profiles`) are backed up every night, each into a repository of its own on local storage
//! whose index cache stays. Every backup is a process of its own, so that its time and its peak memory are known.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::observer::Silent;
use engine::reader::Reader;
use engine::repository::Repository;
use engine::restore::SnapshotContent;
use engine::snapshots;
use engine::source::Content;
use engine::storage::local::LocalStorage;
use repo_format::id::SegmentId;

use super::Measured;
use crate::Scale;
use crate::child;
use crate::counting::{CountingStorage, Frames};
use crate::disks::{Compared, of_vm_file};
use crate::harness::Clock;
use crate::journal::{Journal, Night, Process, Sum};
use crate::profiles::{PROFILES, Profile};
use crate::repositories::{Bytes, Pools, create, open_with_cache, store_night};
use crate::series::SimulatedDisk;
use crate::survey::{self, Alive};
use crate::table::{Row, Verdict};

/// Nights of which a snapshot is kept, as far as *alive* goes.
const KEPT: usize = 14;
/// Times the truth that all three together may add in late nights.
const ALL_MAX: f64 = 1.05;

/// 60 nights (tiny: 8) of three disks that begin with 640 MiB (tiny: 32 MiB) of data. Prints a table of the nights of
/// each; the rows speak of the second half of the nights.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let nights = scale.pick(8, 60);
    let data_bytes = scale.pick(32 << 20, 640 << 20);
    let mut journals = Vec::new();
    for profile in &PROFILES {
        let journal = keep(profile, data_bytes, nights)?;
        println!("{journal}");
        journals.push(journal);
    }
    Ok(vec![
        row_of_each(&journals, "bytes added, late nights, each", "<= 1.08 x truth", 1.08, late),
        all_row(&journals),
        row_of_each(&journals, "bytes added, worst of all nights", "<= 1.3 x truth", 1.30, worst),
        row_of_each(&journals, "frames opened / distinct, restore", "<= 1.15", 1.15, opened),
        row_of_each(&journals, "CPU seconds of the last night", "<= 1.2 x night 4", 1.20, seconds),
        row_of_each(&journals, "peak memory of the last night", "<= 1.2 x night 4", 1.20, memory),
    ])
}

/// Where one series lives.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Backs one disk up for so many nights.
fn keep(profile: &'static Profile, data_bytes: u64, nights: usize) -> Measured<Journal> {
    let place = Place { directory: tempfile::tempdir()? };
    let storage = LocalStorage::new(place.path("repository"));
    storage.prepare()?;
    drop(create(Arc::new(storage))?);
    let storage = Arc::new(LocalStorage::new(place.path("repository")));
    let storage = Arc::new(CountingStorage::new(storage));
    // A cache of its own: that of the backups must find every night as the last backup left it.
    let repository = open_with_cache(storage.clone(), &place.path("cache of the survey"))?;
    let mut disk = SimulatedDisk::create(profile, data_bytes, &place.path("disk"))?;
    let mut surveyor = Surveyor::new(&repository);
    back_up(&place, 0)?;
    let mut before = Bytes::on(&**repository.storage())?;
    surveyor.look(Look::Glance)?;
    let mut journal = Journal { profile: profile.name, nights: Vec::new() };
    for night in 1..=nights {
        let truth = disk.pass_night(night)?;
        let process = back_up(&place, night)?;
        let now = Bytes::on(&**repository.storage())?;
        let is_looked_at = [10, 30, nights].contains(&night);
        let look = if is_looked_at { Look::Thorough } else { Look::Glance };
        let (maps, alive) = surveyor.look(look)?;
        let looked_at = match alive {
            Some(alive) => Some((compare(&repository, &storage, &place.path("disk"))?, alive)),
            None => None,
        };
        let added = now.since(before);
        journal.nights.push(Night { truth, added, maps, process, looked_at });
        before = now;
    }
    Ok(journal)
}

/// Restores the newest night, compares it with the disk in a file, and says what that opened.
fn compare(repository: &Repository, storage: &CountingStorage, disk: &Path) -> Measured<Frames> {
    let (reader, pools) = (Reader::open(repository)?, Pools::start(2)?);
    let all = snapshots::list(repository, &reader.catalog())?.snapshots;
    let newest = all.last().ok_or("nothing was stored")?;
    let mut compared = Compared::with(disk)?;
    storage.forget();
    SnapshotContent::new(&reader, &pools.workers, newest, &Silent).read_disk(0, &mut compared)?;
    compared.finish()?;
    Ok(storage.frames()?)
}

/// A child backs the disk up.
fn back_up(place: &Place, night: usize) -> Measured<Process> {
    let paths = ["repository", "cache", "disk"].map(|name| place.path(name));
    let mut arguments = vec!["night"];
    for path in &paths {
        arguments.push(path.to_str().ok_or("a strange directory for temporary files")?);
    }
    let night = night.to_string();
    arguments.push(&night);
    let seen = child::start(&arguments)?;
    Ok(Process { cpu: seen["cpu"], wall: seen["wall"], peak_mib: seen["peak"] })
}

/// The child: one backup with two workers, from opening the repository on.
pub fn run(repository: &str, cache: &str, disk: &str, night: u32) -> Measured<()> {
    let (mut cpu, mut outcome) = (0.0, Ok(()));
    let wall = Clock::Wall.time(|| {
        cpu = Clock::Process.time(|| outcome = back_up_file(repository, cache, disk, night));
    });
    outcome?;
    println!("cpu {cpu}\nwall {wall}");
    println!("peak {}", child::resident_mib("VmHWM")?);
    Ok(())
}

fn back_up_file(repository: &str, cache: &str, disk: &str, night: u32) -> Measured<()> {
    let storage = Arc::new(LocalStorage::new(repository));
    let repository = open_with_cache(storage, Path::new(cache))?;
    let mut source = of_vm_file(Path::new(disk))?;
    store_night(&repository, &Pools::start(2)?, &mut source, night).map(drop)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// At the maps of the night alone.
    Glance,
    /// At dead bytes too.
    Thorough,
}

/// Looks at the repository after each night.
struct Surveyor<'r> {
    repository: &'r Repository,
    known: HashSet<SegmentId>,
    kept: VecDeque<Vec<SegmentId>>,
}

impl<'r> Surveyor<'r> {
    fn new(repository: &'r Repository) -> Self {
        Self { repository, known: HashSet::new(), kept: VecDeque::new() }
    }

    fn look(&mut self, look: Look) -> Measured<(survey::Maps, Option<Alive>)> {
        let reader = Reader::open(self.repository)?;
        let all = snapshots::list(self.repository, &reader.catalog())?.snapshots;
        let segments = survey::segments(&reader, all.last().ok_or("nothing was stored")?)?;
        let is_new = |id: &&SegmentId| self.known.insert(**id);
        let new: Vec<_> = segments.iter().filter(is_new).copied().collect();
        let maps = survey::maps(&reader, &new)?;
        self.kept.push_back(segments.clone());
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        let alive = match look {
            Look::Glance => None,
            Look::Thorough => Some(Alive {
                last: survey::alive(&reader, &segments.into_iter().collect())?,
                kept: survey::alive(&reader, &self.kept.iter().flatten().copied().collect())?,
            }),
        };
        Ok((maps, alive))
    }
}

/// A row of which each profile has a share: a number, which is to be at most `limit`, and what it came from.
fn row_of_each(
    journals: &[Journal],
    name: &'static str,
    budget: &'static str,
    limit: f64,
    measure: fn(&Journal) -> Option<(f64, String)>,
) -> Row {
    let (mut texts, mut is_within) = (Vec::new(), true);
    for journal in journals {
        if let Some((ratio, detail)) = measure(journal) {
            texts.push(format!("{} {ratio:.2} ({detail})", journal.profile));
            is_within &= ratio <= limit;
        }
    }
    Row { name, budget, measured: texts.join(", "), verdict: Verdict::of(is_within) }
}

fn all_row(journals: &[Journal]) -> Row {
    let sum: Sum = journals.iter().map(Journal::late).sum();
    Row {
        name: "bytes added, late nights, all three",
        budget: "<= 1.05 x truth",
        measured: format!("{:.3} ({sum})", sum.ratio()),
        verdict: Verdict::of(sum.ratio() <= ALL_MAX),
    }
}

fn late(journal: &Journal) -> Option<(f64, String)> {
    let (sum, first, last) = (journal.late(), journal.first_late(), journal.nights.len());
    Some((sum.ratio(), format!("nights {first} to {last}: {sum}")))
}

fn worst(journal: &Journal) -> Option<(f64, String)> {
    let (night, ratio) = journal.worst();
    Some((ratio, format!("night {night}")))
}

fn opened(journal: &Journal) -> Option<(f64, String)> {
    let (frames, _) = journal.nights.last()?.looked_at?;
    Some((frames.ratio(), format!("{} / {}", frames.opened, frames.distinct)))
}

fn seconds(journal: &Journal) -> Option<(f64, String)> {
    let (fourth, last) = fourth_and_last(journal)?;
    Some((last.cpu / fourth.cpu, format!("{:.2} / {:.2} s", last.cpu, fourth.cpu)))
}

fn memory(journal: &Journal) -> Option<(f64, String)> {
    let (fourth, last) = fourth_and_last(journal)?;
    let (fourth, last) = (fourth.peak_mib, last.peak_mib);
    Some((last / fourth, format!("{last:.0} / {fourth:.0} MiB")))
}

/// Both are drawn from the same tables.
fn fourth_and_last(journal: &Journal) -> Option<(Process, Process)> {
    Some((journal.nights.get(3)?.process, journal.nights.last()?.process))
}
