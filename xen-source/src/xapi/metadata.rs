//! Metadata of a pool as sources: its database, the system of a host, the records of a VM
//! (contract 2.2, 7).
//!
//! Each is one file, kept as it comes. It is whole if its task says so ([`Download`]) and if its
//! [form](form::Form) shows it, too: a pool in the middle of an upgrade gives out the frame of a
//! database, and calls that a success.

pub mod dump;
pub mod form;
pub mod gzip;
pub mod not_whole;

use std::io::{self, Read};

use engine::source::{DiskInfo, NextSegment, Role, Source, SourceError, SourceFacts};

use super::error::XapiError;
use super::export::{self, Download};
use super::limits::PAGE_LEN_MAX;
use super::objects::{HostRecord, VmRecord};
use super::pool::Pool;
use crate::raw::{RawReader, RawSegment};
use form::Form;
use not_whole::NotWhole;

/// A file of metadata that is being read.
pub struct MetadataSource {
    file: Option<DiskInfo>,
    reader: RawReader,
    /// For people.
    place: String,
    facts: SourceFacts,
}

/// The database of the pool, which holds secrets.
///
/// # Errors
///
/// [`SourceError::Io`], whose source is an [`XapiError`] if the pool refused; so below. While it
/// is read, [`SourceError::Damaged`] if it is no whole database.
pub fn database(pool: &Pool) -> Result<MetadataSource, SourceError> {
    let place = "the database of the pool".to_owned();
    let (uuid, name) = pool_names(pool);
    let facts = facts("pool-db", &uuid, &name);
    open(pool.database(), Form::dump(), "pool.xml", place, facts)
}

/// The system of a member, from the member itself.
///
/// # Errors
///
/// As [`database`].
pub fn host(pool: &Pool, host: &HostRecord) -> Result<MetadataSource, SourceError> {
    let place = format!("the system of host {}", host.name);
    let facts =
        SourceFacts { host_name: Some(host.name.clone()), ..facts("host", &host.uuid, &host.name) };
    open(pool.host_backup(host), Form::gzip(), "host-backup.tar.gz", place, facts)
}

/// The records of a VM or template as it is now, without its disks.
///
/// # Errors
///
/// As [`database`].
pub fn vm(pool: &Pool, vm: &VmRecord) -> Result<MetadataSource, SourceError> {
    let place = format!("the records of VM {}", vm.name);
    let answer = export::metadata(pool.session(), Some(&vm.reference));
    let facts = facts("metadata", &vm.uuid, &vm.name);
    open(answer, Form::records(), "metadata.xva", place, facts)
}

/// Uuid of the pool and what people call it: many have no name, and go by their coordinator's.
pub fn pool_names(pool: &Pool) -> (String, String) {
    let record = pool.record();
    if !record.name.is_empty() {
        return (record.uuid, record.name);
    }
    // A name is for people; without one the uuid says enough.
    let hosts = pool.hosts().unwrap_or_default().into_iter();
    let mut coordinators =
        hosts.filter(|host| Some(&host.reference) == record.coordinator.as_ref());
    (record.uuid, coordinators.next().map(|host| host.name).unwrap_or_default())
}

fn facts(container: &str, uuid: &str, name: &str) -> SourceFacts {
    SourceFacts {
        container: container.to_owned(),
        vm_uuid: Some(uuid.to_owned()),
        vm_name: Some(name.to_owned()).filter(|name| !name.is_empty()),
        ..SourceFacts::default()
    }
}

fn open(
    answer: Result<Download, XapiError>,
    form: Form,
    name: &str,
    place: String,
    facts: SourceFacts,
) -> Result<MetadataSource, SourceError> {
    let failed = |error| SourceError::Io { place: place.clone(), source: io::Error::other(error) };
    let stream = Checked { stream: answer.map_err(failed)?, form };
    let file = DiskInfo { role: Role::File, name: name.to_owned(), ..DiskInfo::default() };
    let reader = RawReader::of_stream(Box::new(stream));
    Ok(MetadataSource { file: Some(file), reader, place, facts })
}

impl Source for MetadataSource {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        Ok(self.file.take())
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        let next = self.reader.next_segment(buffer).map_err(|error| self.explained(error))?;
        self.facts.bytes_read = self.reader.bytes_read();
        Ok(match next {
            RawSegment::Filled(number) => NextSegment::Filled { number },
            RawSegment::End(size_bytes) => NextSegment::End { size_bytes },
        })
    }

    fn facts(&self) -> SourceFacts {
        self.facts.clone()
    }
}

impl MetadataSource {
    /// A file that is not what it should be is damaged; all else is an error of reading.
    fn explained(&self, error: io::Error) -> SourceError {
        let place = self.place.clone();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<NotWhole>()) {
            Some(NotWhole { what }) => SourceError::Damaged { place, what: what.clone() },
            None => SourceError::Io { place, source: error },
        }
    }
}

/// A stream whose form is looked at while it passes.
struct Checked<R> {
    stream: R,
    form: Form,
}

impl<R: Read> Checked<R> {
    /// A host's error page is no form at all, and the stream ends behind it: then its task says
    /// better what is wrong.
    fn explained(&mut self, error: NotWhole) -> io::Error {
        let mut rest = (&mut self.stream).take(PAGE_LEN_MAX);
        match io::copy(&mut rest, &mut io::sink()) {
            Err(failed) => failed,
            Ok(_) => io::Error::other(error),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.stream.read(buffer)?;
        let verdict = match len {
            0 if buffer.is_empty() => Ok(()),
            0 => self.form.end(),
            len => self.form.take(&buffer[..len]),
        };
        verdict.map_err(|error| self.explained(error))?;
        Ok(len)
    }
}
