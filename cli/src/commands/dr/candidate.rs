//! What the repository has to bring up: VMs and vApps.

use std::io;

use engine::observer::Silent;
use engine::parallel::Workers;
use engine::restore::SnapshotContent;
use engine::source::{Content as _, ContentError, DiskSink};
use repo_format::snapshot::Snapshot;
use xen_source::xapi::destination::StoredVm;
use xen_source::xapi::fail_over::{VApp, join};
use xen_source::xapi::metadata::dump::{DumpError, DumpReader};
use xen_source::xva::ova::StartFacts;

use super::choice::{Choice, Facts, Kind, Stored, newest_first};
use super::stock::Stock;
use crate::advice::{Doing as _, Failure, refused};
use crate::clock;
use crate::report::{short_id, subject};
use crate::size;

/// A VM that may be brought up.
pub struct Candidate {
    /// The place of the repository that it comes from.
    pub repository: usize,
    /// Those of others that have the same snapshot.
    pub copies: Vec<usize>,
    /// Its newest snapshot.
    pub snapshot: Snapshot,
    /// What it needs.
    pub vm: StoredVm,
    /// When it starts.
    pub start: StartFacts,
    /// The name of its vApp.
    pub app: Option<String>,
}

/// What a fail-over is about.
pub struct Found {
    /// Where each repository is.
    pub repositories: Vec<String>,
    /// By their names.
    pub candidates: Vec<Candidate>,
    /// All that are known.
    pub vapps: Vec<VApp>,
    /// VMs that may be meant, and of which no snapshot can be read, in words.
    pub lost: Vec<String>,
    /// Newest snapshots that cannot be read, and what is taken instead, in words.
    pub notes: Vec<String>,
}

impl Found {
    /// Where the repository is that a VM comes from.
    pub fn location(&self, candidate: &Candidate) -> &str {
        &self.repositories[candidate.repository]
    }

    /// How many VMs there are, and how many of them each repository has the newest snapshot of.
    pub fn sources_text(&self) -> String {
        let count = |place| self.candidates.iter().filter(|it| it.repository == place).count();
        let each = self.repositories.iter().enumerate();
        let each = each.map(|(place, location)| format!("{} in {location}", count(place)));
        let vms = size::plural(self.candidates.len() as u64, "VM");
        match self.repositories.len() {
            0 | 1 => format!("newest snapshot of each VM: {vms}\n"),
            _ => format!(
                "newest snapshot of each VM: {vms}, {}\n",
                each.collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

impl Candidate {
    /// The uuid that it had; empty if nobody knows.
    pub fn uuid(&self) -> &str {
        self.vm.uuid.as_deref().unwrap_or_default()
    }

    /// Whether it can be started.
    pub fn is_template(&self) -> bool {
        let vm = self.vm.record.as_ref().and_then(|record| record.vm());
        vm.is_some_and(|vm| vm.is_a_template)
    }

    fn of(
        stocks: &[Stock<'_>],
        workers: &Workers,
        (repository, snapshot): Stored<'_>,
    ) -> Result<Self, Failure> {
        let reader = &stocks[repository].reader;
        let content = SnapshotContent::new(reader, workers, snapshot, &Silent);
        let doing =
            || format!("cannot read the VM {} of {}", subject(snapshot), short_id(&snapshot.id));
        let vm = StoredVm::of(&content, snapshot.origin.vm_uuid.as_deref()).doing(doing)?;
        let facts = vm.record.as_ref().and_then(|record| record.vm());
        let start = facts.map(|facts| facts.start.clone()).unwrap_or_default();
        let (snapshot, copies) = (snapshot.clone(), Vec::new());
        Ok(Self { repository, copies, snapshot, vm, start, app: None })
    }

    fn facts(&self) -> Facts {
        let mut tags = self.snapshot.tags.clone();
        let vm = self.vm.record.as_ref().and_then(|record| record.vm());
        tags.extend(vm.into_iter().flat_map(|vm| vm.tags.iter().cloned()));
        Facts {
            name: self.vm.name.clone(),
            uuid: self.uuid().to_owned(),
            tags,
            app: self.app.clone().zip(self.start.vapp.clone()),
        }
    }
}

/// Finds what `choice` means in `stocks`, of what is not newer than `at` (seconds since 1970).
///
/// # Errors
///
/// If nothing is meant, or part of what was typed means nothing.
pub fn find(
    stocks: &[Stock<'_>],
    workers: &Workers,
    choice: &Choice,
    at: Option<u64>,
) -> Result<Found, Failure> {
    let snapshots: Vec<&[Snapshot]> = stocks.iter().map(|stock| &*stock.snapshots).collect();
    let (mut candidates, mut lost, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for stored in newest_first(&snapshots, Kind::Vm, at) {
        let read = |stored: Stored<'_>| Candidate::of(stocks, workers, stored);
        match newest_readable(stocks, &stored, read, &mut notes) {
            Ok(candidate) => {
                let copies = copies(&candidate, &stored);
                candidates.push(Candidate { copies, ..candidate });
            }
            Err(failure) => lost.push((Facts::of(stored[0].1), failure.line())),
        }
    }
    let vapps = vapps(stocks, workers, &snapshots, at, &mut notes);
    let vapps = join_vapps(&mut candidates, vapps);
    let facts = candidates.iter().map(Candidate::facts);
    choice.check(&facts.chain(lost.iter().map(|(facts, _)| facts.clone())).collect::<Vec<_>>())?;
    candidates.retain(|candidate| choice.chooses(&candidate.facts()));
    lost.retain(|(facts, _)| choice.selects(facts));
    if candidates.is_empty() && lost.is_empty() {
        return refused(
            "cannot plan a fail-over",
            "no VM in what was looked into is meant",
            "nothing was done; `xenith snapshots --group-by vm` lists the VMs",
        );
    }
    let repositories = stocks.iter().map(|stock| stock.location.clone()).collect();
    let lost = lost.into_iter().map(|(_, line)| line).collect();
    Ok(Found { repositories, candidates, vapps, lost, notes })
}

/// The places of other repositories that have the snapshot of `candidate`, too.
fn copies(candidate: &Candidate, stored: &[Stored<'_>]) -> Vec<usize> {
    let is_copy = |(place, snapshot): &&Stored<'_>| {
        snapshot.id == candidate.snapshot.id && *place != candidate.repository
    };
    stored.iter().filter(is_copy).map(|(place, _)| *place).collect()
}

/// Reads the newest of the `stored` snapshots of a VM or pool that can be read. A note tells if that is not the newest.
///
/// # Errors
///
/// Why the newest cannot be read, if none can.
fn newest_readable<T>(
    stocks: &[Stock<'_>],
    stored: &[Stored<'_>],
    read: impl Fn(Stored<'_>) -> Result<T, Failure>,
    notes: &mut Vec<String>,
) -> Result<T, Failure> {
    let mut of_newest = None;
    for (place, snapshot) in stored {
        let failure = match (read((*place, snapshot)), &of_newest) {
            (Ok(value), None) => return Ok(value),
            (Ok(value), Some(failure)) => {
                let (id, time) = (short_id(&snapshot.id), clock::local(snapshot.time));
                let location = &stocks[*place].location;
                let line = Failure::line(failure);
                notes.push(format!("{line}; {id} of {time} in {location} is taken instead"));
                return Ok(value);
            }
            (Err(failure), _) => failure,
        };
        of_newest.get_or_insert(failure);
    }
    Err(of_newest.expect("there is a snapshot of everything that is known"))
}

/// Gives every VM its vApp, and every vApp its VMs.
fn join_vapps(candidates: &mut [Candidate], known: Vec<VApp>) -> Vec<VApp> {
    let uuids: Vec<String> = candidates.iter().map(|it| it.uuid().to_owned()).collect();
    let starts = candidates.iter_mut().map(|it| &mut it.start);
    let mut vms: Vec<_> = uuids.iter().map(|uuid| &**uuid).zip(starts).collect();
    let vapps = join(&mut vms, known);
    for candidate in candidates {
        let own = candidate.start.vapp.as_ref();
        let vapp = vapps.iter().find(|vapp| Some(&vapp.reference) == own);
        candidate.app = vapp.map(|vapp| vapp.name.clone());
    }
    vapps
}

/// The vApps of which the newest readable backups of pools' databases tell.
fn vapps(
    stocks: &[Stock<'_>],
    workers: &Workers,
    snapshots: &[&[Snapshot]],
    at: Option<u64>,
    notes: &mut Vec<String>,
) -> Vec<VApp> {
    let mut vapps = Vec::new();
    for stored in newest_first(snapshots, Kind::Database, at) {
        let read = |stored: Stored<'_>| vapps_of(stocks, workers, stored);
        match newest_readable(stocks, &stored, read, notes) {
            Ok(told) => vapps.extend(told),
            Err(failure) => notes.push(format!("{}; its vApps are not known", failure.line())),
        }
    }
    vapps
}

/// The vApps of which one backup of a database tells.
fn vapps_of(
    stocks: &[Stock<'_>],
    workers: &Workers,
    (place, snapshot): Stored<'_>,
) -> Result<Vec<VApp>, Failure> {
    let doing = || format!("cannot read the database of a pool, {}", short_id(&snapshot.id));
    let content = SnapshotContent::new(&stocks[place].reader, workers, snapshot, &Silent);
    let mut sink = DumpSink { reader: DumpReader::default(), passed: 0 };
    content.read_disk(0, &mut sink).doing(doing)?;
    let invalid = |error: DumpError| ContentError::Invalid { what: error.to_string() };
    Ok(sink.reader.end().map_err(invalid).doing(doing)?.vapps)
}

/// Reads a dump as it passes.
struct DumpSink {
    reader: DumpReader,
    passed: u64,
}

impl DiskSink for DumpSink {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        // A dump is text: it has no holes.
        if offset_bytes != self.passed {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.passed += bytes.len() as u64;
        self.reader.take(bytes).map_err(io::Error::other)
    }
}
