//! A VM of a pool as a source: a snapshot, its export, and nothing left behind (contract 6, hot).

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::source::{DiskInfo, NextSegment, Source, SourceError, SourceFacts};

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
    /// Who is told what happens.
    pub observer: Arc<dyn Observer>,
}

/// What happens on the pool while a VM is read.
#[derive(Debug)]
pub enum Event {
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
        let SourceOptions { left_out, compression, observer } = options;
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
