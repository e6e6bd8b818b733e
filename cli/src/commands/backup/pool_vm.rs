//! A VM of a pool, as an input.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::session::Who;
use engine::snapshots::versions;
use engine::source::{DiskInfo, NextSegment, Source, SourceError, SourceFacts};
use repo_format::snapshot::Snapshot;
use xen_source::xapi::{Changes, Event, Mode, Observer, Pool, PoolSource, SourceOptions, Transfer};

use super::choice::ChosenVm;
use super::course::{Course, Note, NoteKind, mode_name};
use crate::advice::in_words;
use crate::hooks::{Hooks, Occasion};
use crate::interrupt;
use crate::report::Way;

/// How the VMs of a run are taken.
#[derive(Debug)]
pub struct Manner {
    /// What becomes of those that run.
    pub mode: Mode,
    /// Whether the memory of suspended ones is wanted.
    pub memory: bool,
    /// How disks come.
    pub transfer: Transfer,
    /// Whether only changes are read.
    pub changes: Changes,
    /// What runs around the snapshot.
    pub hooks: Hooks,
    /// What hooks are told of the run.
    pub run: String,
    /// Who takes them.
    pub who: Who,
    /// Names the repository on the pool.
    pub repository: String,
    /// What the repository has, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Whether storage is asked how full it is.
    pub scan: bool,
    /// What has to be free on thin storage; `None`: what is usual.
    pub min_free_percent: Option<u8>,
    /// Whether snapshots are taken even where there seems to be no room.
    pub force: bool,
}

/// A VM and the pool that has it.
#[derive(Debug, Clone)]
pub struct PoolVm {
    pool: Pool,
    vm: ChosenVm,
    manner: Arc<Manner>,
}

/// A VM that is being read. Fails once the program is asked to end, so that the snapshot goes as
/// after any failure.
pub struct Reading {
    source: PoolSource,
    name: String,
}

/// Learns what happens on the pool, and runs the hooks.
pub struct Watch {
    hooks: Hooks,
    occasion: Occasion,
    course: Mutex<Course>,
}

impl PoolVm {
    /// This VM of this pool.
    pub const fn new(pool: Pool, vm: ChosenVm, manner: Arc<Manner>) -> Self {
        Self { pool, vm, manner }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.vm.vm.record.name
    }

    /// Its uuid.
    pub fn uuid(&self) -> &str {
        &self.vm.vm.record.uuid
    }

    /// Bytes of its disks, without those that are left out.
    pub fn size(&self) -> u64 {
        let disks = self.vm.vm.disks.iter().zip(&self.vm.left_out);
        let read = disks.filter(|(_, reason)| reason.is_none());
        read.map(|(disk, _)| disk.record.size_bytes).fold(0, u64::saturating_add)
    }

    /// Somebody to learn what happens to it.
    pub fn watch(&self) -> Arc<Watch> {
        let mode = mode_name(self.manner.mode);
        let occasion = Occasion {
            vm_name: self.name().to_owned(),
            vm_uuid: self.uuid().to_owned(),
            run: self.manner.run.clone(),
            mode,
        };
        let course = Course { mode, ..Course::default() };
        let course = Mutex::new(course);
        Arc::new(Watch { hooks: self.manner.hooks.clone(), occasion, course })
    }

    /// Takes a snapshot of it, and begins to read that.
    pub fn open(&self, watch: &Arc<Watch>) -> Result<Reading, SourceError> {
        let observer: Arc<Watch> = Arc::clone(watch);
        let manner = &self.manner;
        let usual = SourceOptions::new(observer);
        let options = SourceOptions {
            left_out: self.vm.left_out_uuids(),
            mode: manner.mode,
            memory: manner.memory,
            transfer: manner.transfer,
            changes: manner.changes,
            versions: versions(&manner.snapshots, self.uuid()),
            repository: manner.repository.clone(),
            scan: manner.scan,
            min_free_percent: manner.min_free_percent.unwrap_or(usual.min_free_percent),
            force: manner.force,
            by: format!("{} process {}", manner.who.host, manner.who.process),
            ..usual
        };
        let source = self.pool.source(&self.vm.vm.record, options)?;
        Ok(Reading { source, name: self.name().to_owned() })
    }
}

impl Reading {
    /// What was read is in the repository.
    pub fn keep(self) {
        self.source.keep();
    }

    fn go_on(&self) -> Result<(), SourceError> {
        match interrupt::is_asked() {
            false => Ok(()),
            true => {
                let place = format!("VM {} any further", self.name);
                Err(SourceError::Io { place, source: io::ErrorKind::Interrupted.into() })
            }
        }
    }
}

impl Source for Reading {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        self.go_on()?;
        self.source.next_disk()
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        self.go_on()?;
        self.source.next_segment(buffer)
    }

    fn facts(&self) -> SourceFacts {
        self.source.facts()
    }

    fn read_segment(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        self.go_on()?;
        self.source.read_segment(number, buffer)
    }

    fn distrust_base(&mut self) -> Result<(), SourceError> {
        self.go_on()?;
        self.source.distrust_base()
    }
}

impl Watch {
    /// What happened so far.
    pub fn course(&self) -> Course {
        self.seen().clone()
    }

    fn seen(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, kind: NoteKind, message: String) {
        self.seen().notes.push(Note { kind, message });
    }
}

impl Observer for Watch {
    fn event(&self, event: Event) {
        match event {
            Event::DiskBegins { uuid, transfer, changes_only, reason } => {
                let way = Way { uuid, transfer, changes_only, reason };
                self.seen().disk_begins(way);
            }
            Event::SnapshotStays { uuid, error } => {
                let message = format!(
                    "the snapshot {uuid} of VM {} stays on the pool ({}); what was read is \
                     whole. `xenith cleanup` removes it",
                    self.occasion.vm_name,
                    in_words(&error)
                );
                self.note(NoteKind::SnapshotStays, message);
            }
            Event::TraceStays { error } => {
                let name = &self.occasion.vm_name;
                let message = format!(
                    "what tells changes of disks of VM {name} stays on the pool ({}); `xenith \
                     cleanup` removes it",
                    in_words(&error)
                );
                self.note(NoteKind::TraceStays, message);
            }
            Event::NotBack { error } => self.note(NoteKind::NotBack, in_words(&error)),
            Event::LeavesShutdown { vm } => interrupt::tell(&format!(
                "VM {vm} was told to shut down; if it does so within 30 seconds, it is started again"
            )),
            Event::NotScanned { sr, error } => {
                let message =
                    format!("the storage repository {sr} was not scanned ({})", in_words(&error));
                self.note(NoteKind::NotScanned, message);
            }
            Event::SnapshotTaken { .. }
            | Event::SnapshotRemoved { .. }
            | Event::PoweredDown
            | Event::PoweredBack => {}
        }
    }

    fn goes_on(&self) -> bool {
        !interrupt::is_asked()
    }

    fn before_snapshot(&self) -> io::Result<bool> {
        self.hooks.run_before(&self.occasion).map_err(io::Error::other)
    }

    fn after_snapshot(&self) {
        if let Err(error) = self.hooks.run_after(&self.occasion) {
            let message = format!("VM {}: {}", self.occasion.vm_name, in_words(&error));
            self.note(NoteKind::PostSnapshot, message);
        }
    }
}
