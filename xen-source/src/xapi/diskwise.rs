//! A VM disk by disk: its record first, as an XVA has it, then each disk by the way that is best for
//! it, and of it only what has changed where the pool can tell (contract 4, 5).
//!
//! The record is the beginning of an export that is then given up: hosts refuse to export the
//! metadata of snapshots. So a restore cannot tell how a VM was read; only the layout is missing, by
//! which an XVA is written again byte by byte.

mod allocated;

mod due;

mod ranged;

mod reader;

mod streamed;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use engine::source::{
    DiskInfo, NextSegment, Role, Source, SourceError, SourceFacts, StoredVersion,
};

use super::error::XapiError;
use super::export::{Compression, Memory};
use super::exported::{Exported, failed};
use super::nbd;
use super::objects::{PowerState, VdiRecord, VmRecord};
use super::options::{Changes, Observer, SourceOptions, Tracking, Transfer};
use super::session::Session;
use super::snapshot::{OurSnapshot, record};
use super::tracking::{self, Base, Unknown};
use super::transfer::{self, Choice, Way};
use super::value::Value;
use crate::source::{Stream, announced, record_stream};
use crate::xva::ova::OvaXml;
use reader::{Disk, Reader};

/// A VM that is being read.
pub struct DiskwiseSource {
    session: Session,
    observer: Arc<dyn Observer>,
    transfer: Transfer,
    changes: Changes,
    versions: Vec<StoredVersion>,
    live: Live,
    /// Disks of the snapshot, by uuid.
    snapshots: BTreeMap<String, VdiRecord>,
    record: Option<(DiskInfo, Stream)>,
    waiting: VecDeque<DiskInfo>,
    current: Current,
    facts: SourceFacts,
}

/// What is known about the live disks.
#[derive(Debug, Default)]
pub struct Live {
    /// Their uuids, by those of their snapshots.
    pub uuids: BTreeMap<String, String>,
    /// Why tracking could not be switched on, by their uuids.
    pub refusals: BTreeMap<String, String>,
}

/// What is being delivered.
enum Current {
    Nothing,
    Record(Stream),
    Disk(Box<Reader>),
}

/// Of each disk, whether it is to be had by NBD, and why not.
fn nbd_of(session: &Session, disks: &[VdiRecord]) -> Vec<Result<(), String>> {
    disks.iter().map(|disk| has_nbd(session, disk)).collect()
}

fn has_nbd(session: &Session, disk: &VdiRecord) -> Result<(), String> {
    match nbd::infos(session, &disk.reference) {
        Ok(infos) if infos.is_empty() => Err("the pool has no network for NBD".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(without_nbd(&error)),
    }
}

/// Switches tracking on if that is wanted, of disks whose changes could be read then. Tracked disks
/// cannot be moved to other storage, so it is not done for nothing. Why it was refused, by disk.
///
/// # Errors
///
/// [`XapiError::Untracked`]: it was refused, and is required.
pub fn switch_on(
    session: &Session,
    disks: &[VdiRecord],
    options: &SourceOptions,
) -> Result<BTreeMap<String, String>, XapiError> {
    let is_wanted = matches!(options.changes.tracking, Tracking::Enable | Tracking::Require);
    if !is_wanted || !transfer::may_tell_changes(options.transfer, options.compression) {
        return Ok(BTreeMap::new());
    }
    let nbd = nbd_of(session, disks);
    let here = disks.iter().zip(&nbd).filter(|(_, nbd)| nbd.is_ok());
    let here: Vec<VdiRecord> = here.map(|(disk, _)| disk.clone()).collect();
    let mut refusals = BTreeMap::new();
    for (uuid, outcome) in tracking::enable(session, &here) {
        let Err(error) = outcome else { continue };
        let reason = format!("its changes cannot be tracked: {error}");
        if options.changes.tracking == Tracking::Require {
            return Err(XapiError::Untracked { reason });
        }
        refusals.insert(uuid, reason);
    }
    Ok(refusals)
}

/// How the disks of a snapshot come.
pub fn choose(session: &Session, taken: Option<&OurSnapshot>, options: &SourceOptions) -> Choice {
    let SourceOptions { transfer, compression, changes, .. } = options;
    let Some(taken) = taken else {
        let reason = "there is no snapshot of a template".to_owned();
        return Choice::Archive { reason };
    };
    let nbd = match transfer {
        Transfer::Auto => nbd_of(session, &taken.disks),
        _ => Vec::new(),
    };
    transfer::of_vm(*transfer, *compression, changes.tracking, &nbd)
}

impl DiskwiseSource {
    /// Reads the record of `taken`, a snapshot of `vm`.
    ///
    /// # Errors
    ///
    /// What the pool said, or that what came is no XVA.
    pub fn open(
        session: &Session,
        vm: &VmRecord,
        taken: &OurSnapshot,
        options: &SourceOptions,
        live: Live,
    ) -> Result<Self, SourceError> {
        let (record, facts) = read_record(session, vm, &taken.vm)?;
        let (vm_uuid, vm_name) = (Some(vm.uuid.clone()), Some(vm.name.clone()));
        let by_uuid = |disk: &VdiRecord| (disk.uuid.clone(), disk.clone());
        Ok(Self {
            session: session.clone(),
            observer: options.observer.clone(),
            transfer: options.transfer,
            changes: options.changes,
            versions: options.versions.clone(),
            live,
            snapshots: taken.disks.iter().map(by_uuid).collect(),
            waiting: announced(&record).into(),
            record: Some(record_stream(&record)),
            current: Current::Nothing,
            facts: SourceFacts { vm_uuid, vm_name, ..facts },
        })
    }

    /// Opens a disk that the record announces.
    fn begin(&mut self, mut info: DiskInfo) -> Result<DiskInfo, SourceError> {
        let name = info.name.clone();
        let snapshot = self.snapshot(&info.key).map_err(|error| failed(&name, error))?;
        info.key = self.live.uuids.get(&snapshot.uuid).unwrap_or(&snapshot.uuid).clone();
        info.size_bytes = Some(snapshot.size_bytes);
        if self.changes.tracking != Tracking::Off && tracking::is_tracked(&snapshot) {
            info.version.clone_from(&snapshot.uuid);
        }
        let nbd = has_nbd(&self.session, &snapshot);
        let (way, mut reason) = transfer::of_disk(self.transfer, snapshot.size_bytes, &nbd);
        let mut base = None;
        if info.role == Role::Disk && self.changes.tracking != Tracking::Off {
            let found = self.base(way, &snapshot, &info.key);
            self.check_required(&name, &reason, &found)?;
            match found {
                Ok(found) => base = Some(found),
                Err(unknown) if reason.is_empty() => reason = unknown.into_reason(),
                Err(_) => {}
            }
        }
        let disk = Disk {
            session: self.session.clone(),
            observer: self.observer.clone(),
            transfer: self.transfer,
            changes: self.changes,
            name,
            uuid: info.key.clone(),
            snapshot,
        };
        let (reader, way) = Reader::open(disk, way, reason, base.as_ref())?;
        info.base = base.map(|base| base.stored).filter(|_| way == Way::Nbd);
        self.current = Current::Disk(Box::new(reader));
        Ok(info)
    }

    /// The snapshot of a disk, by its own uuid.
    fn snapshot(&self, uuid: &str) -> Result<VdiRecord, XapiError> {
        if let Some(known) = self.snapshots.get(uuid) {
            return Ok(known.clone());
        }
        let reference = self.session.call("VDI.get_by_uuid", &[Value::from(uuid)])?;
        let reference = reference.text().ok_or(XapiError::Record { field: "VDI reference" })?;
        record(&self.session, reference)
    }

    fn base(&self, way: Way, snapshot: &VdiRecord, key: &str) -> Result<Base, Unknown> {
        if let Some(refusal) = self.live.refusals.get(key).filter(|_| !snapshot.has_cbt) {
            return Err(Unknown::Off(refusal.clone()));
        }
        let base = tracking::base(&self.session, snapshot, key, &self.versions);
        match (base, way) {
            (Ok(_), Way::Vhd | Way::Raw) => {
                Err(Unknown::Untold("its changes can be read by NBD only".to_owned()))
            }
            (base, _) => base,
        }
    }

    /// Whoever requires tracking wants no full reads, but the first.
    fn check_required(
        &self,
        name: &str,
        reason: &str,
        base: &Result<Base, Unknown>,
    ) -> Result<(), SourceError> {
        let why = match base {
            Ok(_) | Err(Unknown::First(_)) if reason.is_empty() => return Ok(()),
            Ok(_) | Err(Unknown::First(_)) => reason.to_owned(),
            Err(Unknown::Off(why) | Unknown::Untold(why)) => why.clone(),
        };
        match self.changes.tracking {
            Tracking::Require => Err(failed(name, XapiError::Untracked { reason: why })),
            _ => Ok(()),
        }
    }

    /// Leaves the current disk. Until then it can be doubted, also at its end.
    fn close(&mut self) -> Result<(), SourceError> {
        let current = std::mem::replace(&mut self.current, Current::Nothing);
        if let Current::Disk(reader) = current {
            self.facts.bytes_read += reader.finish()?;
        }
        Ok(())
    }
}

impl Source for DiskwiseSource {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        self.close()?;
        if let Some((info, stream)) = self.record.take() {
            self.current = Current::Record(stream);
            return Ok(Some(info));
        }
        self.waiting.pop_front().map(|info| self.begin(info)).transpose()
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        match &mut self.current {
            Current::Nothing => Ok(NextSegment::End { size_bytes: 0 }),
            Current::Record(stream) => Ok(stream.next_segment(buffer)),
            Current::Disk(reader) => reader.next_segment(buffer),
        }
    }

    fn facts(&self) -> SourceFacts {
        let current = match &self.current {
            Current::Disk(reader) => reader.bytes_read(),
            Current::Nothing | Current::Record(_) => 0,
        };
        SourceFacts { bytes_read: self.facts.bytes_read + current, ..self.facts.clone() }
    }

    fn read_segment(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        match &mut self.current {
            Current::Disk(reader) => reader.read_segment(number, buffer),
            _ => Err(without_base()),
        }
    }

    fn distrust_base(&mut self) -> Result<(), SourceError> {
        match &mut self.current {
            Current::Disk(reader) => reader.restart(),
            _ => Err(without_base()),
        }
    }
}

/// The record of a snapshot: all that comes before the disks of its export. Memory is part of it if
/// the snapshot was taken with it.
fn read_record(
    session: &Session,
    vm: &VmRecord,
    snapshot: &VmRecord,
) -> Result<(OvaXml, SourceFacts), SourceError> {
    let has_memory =
        snapshot.power_state == PowerState::Suspended && snapshot.suspend_vdi.is_some();
    let memory = if has_memory { Memory::Include } else { Memory::Leave };
    let exported =
        Exported::open(session, &vm.name, &snapshot.reference, Compression::Off, memory)?;
    Ok((exported.record().clone(), exported.facts()))
}

fn without_nbd(error: &XapiError) -> String {
    format!("no NBD: {}", told(error))
}

/// What the pool said, or else what was wrong.
fn told(error: &XapiError) -> String {
    error.api().map_or_else(|| error.to_string(), ToString::to_string)
}

/// What an error comes from.
fn innermost(error: &SourceError) -> String {
    match error {
        SourceError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn without_base() -> SourceError {
    let (place, source) = ("a disk without a base".to_owned(), std::io::ErrorKind::Unsupported);
    SourceError::Io { place, source: source.into() }
}
