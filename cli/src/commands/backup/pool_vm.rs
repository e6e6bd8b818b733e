//! A VM of a pool, as an input.

use std::io;
use std::sync::Arc;

use engine::source::{DiskInfo, NextSegment, Source, SourceError, SourceFacts};
use xen_source::xapi::{Event, Observer, Pool, SourceOptions};

use super::choice::ChosenVm;
use crate::interrupt;
use crate::text::printable;

/// A VM and the pool that has it.
#[derive(Debug, Clone)]
pub struct PoolVm {
    pool: Pool,
    vm: ChosenVm,
}

impl PoolVm {
    /// This VM of this pool.
    pub const fn new(pool: Pool, vm: ChosenVm) -> Self {
        Self { pool, vm }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.vm.vm.record.name
    }

    /// Takes a snapshot of it, and begins to read that.
    pub fn open(&self) -> Result<Box<dyn Source>, SourceError> {
        let watch = Arc::new(Watch { name: self.name().to_owned() });
        let options =
            SourceOptions { left_out: self.vm.left_out_uuids(), ..SourceOptions::new(watch) };
        let source = Box::new(self.pool.source(&self.vm.vm.record, options)?);
        Ok(Box::new(Interruptible { source, name: self.name().to_owned() }))
    }
}

/// Fails once the program is asked to end, so that the snapshot goes as after any failure.
struct Interruptible {
    source: Box<dyn Source>,
    name: String,
}

impl Interruptible {
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

impl Source for Interruptible {
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
}

/// Tells people of what stays behind.
struct Watch {
    name: String,
}

impl Observer for Watch {
    fn event(&self, event: Event) {
        if let Event::SnapshotStays { uuid, error } = event {
            let warning = format!(
                "warning: the snapshot {uuid} of VM {} stays on the pool ({error}); what was read \
                 is whole. `xenith cleanup` removes it",
                self.name
            );
            eprintln!("{}", printable(&warning));
        }
    }
}
