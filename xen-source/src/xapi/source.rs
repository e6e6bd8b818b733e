//! A VM of a pool as a source: a snapshot, its export, and nothing left behind (contract 6, hot).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use engine::source::{DiskInfo, NextSegment, Source, SourceError, SourceFacts, StoredVersion};

use super::error::XapiError;
use super::export::{self, Compression, Memory};
use super::objects::{VdiRecord, VmRecord};
use super::session::Session;
use super::snapshot::{self, OurSnapshot};
use super::task::{Task, TaskState};
use super::value::Value;
use crate::source::{Wrapping, XvaSource};

/// Looks at the task of an export that turned out to be damaged.
const EXPLAIN_LOOKS: u32 = 5;

/// How a VM is read.
pub struct SourceOptions {
    /// Uuids of disks that are not wanted.
    pub left_out: Vec<String>,
    /// Compression by the host.
    pub compression: Compression,
    /// What becomes of a VM that runs.
    pub mode: Mode,
    /// Whether the memory of a suspended VM is wanted, too.
    pub memory: bool,
    /// How disks come.
    pub transfer: Transfer,
    /// Whether only what has changed is read.
    pub changes: Changes,
    /// What the repository has of this VM's disks, the newest first.
    pub versions: Vec<StoredVersion>,
    /// Names the repository in the marks of disk snapshots that tell what has changed.
    pub repository: String,
    /// Who is told what happens.
    pub observer: Arc<dyn Observer>,
}

impl SourceOptions {
    /// Hot, all disks, all of them, by whatever is there.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            left_out: Vec::new(),
            // What a host compresses is only unpacked again here.
            compression: Compression::Off,
            mode: Mode::default(),
            memory: false,
            transfer: Transfer::default(),
            changes: Changes::default(),
            versions: Vec::new(),
            repository: String::new(),
            observer,
        }
    }
}

/// What becomes of a VM that runs while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It goes on: its disks are as after pulling the plug.
    #[default]
    Hot,
    /// It is suspended for a moment: its memory is read, too.
    Warm,
    /// It is shut down until the snapshot is taken.
    Cold,
}

/// How disks come from the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfer {
    /// By NBD if it is there, else all in one XVA.
    #[default]
    Auto,
    /// All in one XVA.
    Xva,
    /// Disk by disk, raw or as VHD.
    Vdi,
    /// Disk by disk, by NBD.
    Nbd,
}

/// Whether only what has changed since the last backup is read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Changes {
    /// Whether changed-block tracking is used.
    pub tracking: Tracking,
    /// Of the segments that should not have changed, the share that is read nevertheless: 0 to 1.
    pub sample: f64,
}

/// Whether changed-block tracking is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tracking {
    /// Never.
    #[default]
    Off,
    /// Where it is on already.
    Use,
    /// It is switched on where it can be.
    Enable,
    /// A VM with a disk of which the changes cannot be told is not read.
    Require,
}

/// What happens on the pool while a VM is read.
#[derive(Debug)]
pub enum Event {
    /// A disk begins to be read.
    DiskBegins {
        /// Its uuid.
        uuid: String,
        /// How it comes: `xva`, `raw`, `vhd` or `nbd`.
        transfer: &'static str,
        /// Whether only changes are read.
        changes_only: bool,
        /// Why it comes so, and not in the way that would be best; empty if it is.
        reason: String,
    },
    /// There is a snapshot now.
    SnapshotTaken {
        /// Its uuid.
        uuid: String,
    },
    /// It is gone again.
    SnapshotRemoved {
        /// Its uuid.
        uuid: String,
    },
    /// It could not be removed. What was read is whole nevertheless; the snapshot is among the
    /// [leftovers](snapshot::leftovers).
    SnapshotStays {
        /// Its uuid.
        uuid: String,
        /// Why.
        error: XapiError,
    },
}

/// Is told what happens on the pool.
pub trait Observer: Send + Sync {
    /// Something has happened.
    fn event(&self, event: Event);

    /// The snapshot is about to be taken: what runs in the VM may be told to flush. On an error
    /// there is no backup.
    fn before_snapshot(&self) -> io::Result<()> {
        Ok(())
    }

    /// The snapshot was taken, or was not, after [`Self::before_snapshot`].
    fn after_snapshot(&self) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn event(&self, _event: Event) {}
}

/// A VM that is being read. Fields are in the order in which they have to go: the stream and its
/// task hold the disks that the snapshot then takes with it.
pub struct PoolSource {
    xva: Option<XvaSource>,
    task: Option<Arc<Task>>,
    snapshot: Kept,
    vm: VmRecord,
    /// Uuids of disks by those of their snapshots.
    disks: BTreeMap<String, String>,
    facts: SourceFacts,
}

impl PoolSource {
    /// Takes a snapshot of `vm` and begins its export.
    ///
    /// # Errors
    ///
    /// [`XapiError`] if the pool refuses; the snapshot is removed again.
    pub fn open(
        session: &Session,
        vm: VmRecord,
        options: SourceOptions,
    ) -> Result<Self, SourceError> {
        let place = format!("VM {} of the pool", vm.name);
        let failed = |error: XapiError| failed(&place, error);
        let SourceOptions { left_out, compression, observer, .. } = options;
        let left_out = references(session, &left_out).map_err(failed)?;
        let taken = snapshot::take(session, &vm, &left_out).map_err(failed)?;
        observer.event(Event::SnapshotTaken { uuid: taken.vm.uuid.clone() });
        let disks = originals(session, &taken.disks);
        let reference = taken.vm.reference.clone();
        let snapshot = Kept { session: session.clone(), observer, taken: Some(taken) };
        let stream = export::vm(session, &vm.name, &reference, compression, Memory::Leave);
        let stream = stream.map_err(failed)?;
        let task = stream.task();
        let wrapping = match compression {
            Compression::Off => Wrapping::Plain,
            Compression::Gzip => Wrapping::Gzip,
            Compression::Zstd => Wrapping::Zstd,
        };
        let xva = XvaSource::open(Box::new(stream), wrapping);
        let xva = Some(xva.map_err(|error| explained(error, &task))?);
        let (task, facts) = (Some(task), SourceFacts::default());
        Ok(Self { xva, task, snapshot, vm, disks, facts })
    }

    /// Ends the export, then the snapshot. Errors of the latter go to the observer.
    fn end(&mut self) {
        self.facts = self.facts();
        self.xva = None;
        self.task = None;
        self.snapshot.remove();
    }

    /// The answer of the container; after an error nothing is kept on the pool.
    fn checked<T>(&mut self, answer: Result<T, SourceError>) -> Result<T, SourceError> {
        answer.map_err(|error| {
            let error = match &self.task {
                Some(task) => explained(error, task),
                None => error,
            };
            self.end();
            error
        })
    }
}

impl Source for PoolSource {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        let Some(xva) = &mut self.xva else {
            return Ok(None);
        };
        let next = xva.next_disk();
        let Some(mut disk) = self.checked(next)? else {
            self.end();
            return Ok(None);
        };
        if let Some(original) = self.disks.get(&disk.key) {
            disk.key.clone_from(original);
        }
        Ok(Some(disk))
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        let Some(xva) = &mut self.xva else {
            return Ok(NextSegment::End { size_bytes: 0 });
        };
        let next = xva.next_segment(buffer);
        self.checked(next)
    }

    fn facts(&self) -> SourceFacts {
        let Some(xva) = &self.xva else {
            return self.facts.clone();
        };
        // The record is that of the snapshot.
        let (vm_uuid, vm_name) = (Some(self.vm.uuid.clone()), Some(self.vm.name.clone()));
        SourceFacts { vm_uuid, vm_name, ..xva.facts() }
    }
}

/// A snapshot that goes when this is dropped.
struct Kept {
    session: Session,
    observer: Arc<dyn Observer>,
    taken: Option<OurSnapshot>,
}

impl Kept {
    fn remove(&mut self) {
        let Some(taken) = self.taken.take() else {
            return;
        };
        let uuid = taken.vm.uuid.clone();
        self.observer.event(match snapshot::remove_taken(&self.session, &taken) {
            Ok(()) => Event::SnapshotRemoved { uuid },
            Err(error) => Event::SnapshotStays { uuid, error },
        });
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.remove();
    }
}

fn references(session: &Session, uuids: &[String]) -> Result<Vec<String>, XapiError> {
    let reference = |uuid: &String| {
        let found = session.call("VDI.get_by_uuid", &[Value::from(&**uuid)])?;
        found.text().map(str::to_owned).ok_or(XapiError::Record { field: "VDI reference" })
    };
    uuids.iter().map(reference).collect()
}

/// Uuids of disks by those of their snapshots. A disk without one is recognised by its content.
fn originals(session: &Session, disks: &[VdiRecord]) -> BTreeMap<String, String> {
    let original = |disk: &VdiRecord| {
        let original = disk.snapshot_of.as_deref()?;
        let uuid = session.call("VDI.get_uuid", &[Value::from(original)]).ok()?;
        Some((disk.uuid.clone(), uuid.text()?.to_owned()))
    };
    disks.iter().filter_map(original).collect()
}

/// Says what the pool says, where a damaged stream shows only that something is wrong.
fn explained(error: SourceError, task: &Task) -> SourceError {
    if let SourceError::Io { source, .. } = &error
        && source.get_ref().is_some_and(|inner| inner.is::<XapiError>())
    {
        return error;
    }
    match task.settle(EXPLAIN_LOOKS) {
        Ok(TaskState::Failed(error)) => {
            let label = task.label().to_owned();
            failed("the pool", XapiError::TaskFailed { label, error })
        }
        _ => error,
    }
}

fn failed(place: &str, error: XapiError) -> SourceError {
    SourceError::Io { place: place.to_owned(), source: std::io::Error::other(error) }
}
