//! What the repository has to bring up: VMs and vApps.

use std::io;

use engine::observer::Silent;
use engine::parallel::Workers;
use engine::reader::Reader;
use engine::restore::SnapshotContent;
use engine::source::{Content as _, ContentError, DiskSink};
use repo_format::snapshot::Snapshot;
use xen_source::xapi::destination::StoredVm;
use xen_source::xapi::fail_over::{VApp, join};
use xen_source::xapi::metadata::dump::DumpReader;
use xen_source::xva::ova::StartFacts;

use super::choice::{Choice, Facts, newest};
use crate::advice::{Doing as _, Failure};
use crate::report::{short_id, subject};

/// A VM that may be brought up.
pub struct Candidate {
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
    /// By their names.
    pub candidates: Vec<Candidate>,
    /// All that are known.
    pub vapps: Vec<VApp>,
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

    fn of(reader: &Reader<'_>, workers: &Workers, snapshot: &Snapshot) -> Result<Self, Failure> {
        let content = SnapshotContent::new(reader, workers, snapshot, &Silent);
        let doing =
            || format!("cannot read the VM {} of {}", subject(snapshot), short_id(&snapshot.id));
        let vm = StoredVm::of(&content, snapshot.origin.vm_uuid.as_deref()).doing(doing)?;
        let facts = vm.record.as_ref().and_then(|record| record.vm());
        let start = facts.map(|facts| facts.start.clone()).unwrap_or_default();
        Ok(Self { snapshot: snapshot.clone(), vm, start, app: None })
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

/// Finds what `choice` means among `snapshots`, which are sorted by time and not newer than `at`
/// (seconds since 1970).
///
/// # Errors
///
/// If a record cannot be read, or nothing is meant: a fail-over in part is not what was asked for.
pub fn find(
    reader: &Reader<'_>,
    workers: &Workers,
    snapshots: &[Snapshot],
    choice: &Choice,
    at: Option<u64>,
) -> Result<Found, Failure> {
    let read = newest(snapshots, at).into_iter();
    let read = read.map(|snapshot| Candidate::of(reader, workers, snapshot));
    let mut candidates = read.collect::<Result<Vec<_>, _>>()?;
    let known = vapps(reader, workers, snapshots, at)?;
    let uuids: Vec<String> = candidates.iter().map(|it| it.uuid().to_owned()).collect();
    let starts = candidates.iter_mut().map(|it| &mut it.start);
    let mut vms: Vec<_> = uuids.iter().map(|uuid| &**uuid).zip(starts).collect();
    let vapps = join(&mut vms, known);
    for candidate in &mut candidates {
        let own = candidate.start.vapp.as_ref();
        let vapp = vapps.iter().find(|vapp| Some(&vapp.reference) == own);
        candidate.app = vapp.map(|vapp| vapp.name.clone());
    }
    choice.check(&candidates.iter().map(Candidate::facts).collect::<Vec<_>>())?;
    candidates.retain(|candidate| choice.chooses(&candidate.facts()));
    match candidates.is_empty() {
        false => Ok(Found { candidates, vapps }),
        true => Err(Failure::refusal(
            "cannot plan a fail-over",
            "no VM in the repository is meant",
            "nothing was done; `xenith snapshots --group-by vm` lists the VMs",
        )),
    }
}

/// The vApps of which the newest backups of pools' databases tell.
fn vapps(
    reader: &Reader<'_>,
    workers: &Workers,
    snapshots: &[Snapshot],
    at: Option<u64>,
) -> Result<Vec<VApp>, Failure> {
    let is_one =
        |it: &&Snapshot| it.origin.container == "pool-db" && at.is_none_or(|at| it.time <= at);
    let mut pools: Vec<&Snapshot> = Vec::new();
    for snapshot in snapshots.iter().rev().filter(is_one) {
        if pools.iter().all(|newer| newer.origin.vm_uuid != snapshot.origin.vm_uuid) {
            pools.push(snapshot);
        }
    }
    let mut vapps = Vec::new();
    for snapshot in pools {
        let doing = || format!("cannot read the database of a pool, {}", short_id(&snapshot.id));
        let content = SnapshotContent::new(reader, workers, snapshot, &Silent);
        let mut sink = DumpSink { reader: DumpReader::default(), passed: 0 };
        content.read_disk(0, &mut sink).doing(doing)?;
        let invalid = |error: xen_source::xapi::metadata::dump::DumpError| ContentError::Invalid {
            what: error.to_string(),
        };
        vapps.extend(sink.reader.end().map_err(invalid).doing(doing)?.vapps);
    }
    Ok(vapps)
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
