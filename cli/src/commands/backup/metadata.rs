//! Metadata of a pool, as an input: its database, the system of a host, the records of a VM.

use std::fmt;
use std::io;

use engine::source::{DiskInfo, NextSegment, Source, SourceError, SourceFacts};
use xen_source::xapi::{HostRecord, MetadataSource, Pool, VmRecord, metadata};

use crate::interrupt;

/// A file of metadata and the pool that gives it out.
#[derive(Debug, Clone)]
pub struct PoolMetadata {
    pool: Pool,
    subject: Subject,
}

/// What the metadata is of.
#[derive(Debug, Clone)]
pub enum Subject {
    /// The pool: its database.
    Database,
    /// A member: its system.
    Host(HostRecord),
    /// A VM or template: its records, without disks.
    Vm(VmRecord),
}

impl PoolMetadata {
    /// The metadata of something in this pool.
    pub const fn new(pool: Pool, subject: Subject) -> Self {
        Self { pool, subject }
    }

    /// Begins to read it. Nothing changes on the pool.
    pub fn open(&self) -> Result<Box<dyn Source>, SourceError> {
        let source = match &self.subject {
            Subject::Database => metadata::database(&self.pool),
            Subject::Host(host) => metadata::host(&self.pool, host),
            Subject::Vm(vm) => metadata::vm(&self.pool, vm),
        };
        Ok(Box::new(Reading { source: source?, what: self.to_string() }))
    }

    /// What its snapshots say that they came from: a selector that chooses it.
    pub fn path_text(&self) -> String {
        match &self.subject {
            Subject::Database => "pool-db".to_owned(),
            Subject::Host(host) => format!("host:{}", host.name),
            Subject::Vm(vm) => format!("vm:{}", vm.name),
        }
    }
}

impl fmt::Display for PoolMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Database => f.write_str("the database of the pool"),
            Subject::Host(host) => write!(f, "the system of host {}", host.name),
            Subject::Vm(vm) => write!(f, "the records of VM {}", vm.name),
        }
    }
}

/// Fails once the program is asked to end: the system of a host may be large.
struct Reading {
    source: MetadataSource,
    what: String,
}

impl Source for Reading {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        self.source.next_disk()
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        if interrupt::is_asked() {
            let place = format!("{} any further", self.what);
            return Err(SourceError::Io { place, source: io::ErrorKind::Interrupted.into() });
        }
        self.source.next_segment(buffer)
    }

    fn facts(&self) -> SourceFacts {
        self.source.facts()
    }
}
