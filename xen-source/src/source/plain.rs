//! Single disks and files as a source.

use std::collections::VecDeque;

use engine::source::{DiskInfo, NextSegment, Role, SEGMENT_LEN, Source, SourceError, SourceFacts};

use crate::disk::{DiskError, DiskReader};
use crate::raw::RawSegment;
use crate::xva::ova::fresh::device_name;

type AnyReader = Box<dyn DiskReader>;

/// Disks of one VM, or one file.
pub struct PlainSource {
    waiting: VecDeque<(DiskInfo, AnyReader)>,
    current: Option<(String, AnyReader)>,
    facts: SourceFacts,
}

impl PlainSource {
    /// Disks as one VM. They are named as Linux names them, in the order given.
    pub fn of_disks(container: &str, readers: Vec<AnyReader>, vm_name: Option<&str>) -> Self {
        let named = |(place, reader)| entry(Role::Disk, device_name(place), reader);
        let facts = SourceFacts {
            container: container.to_owned(),
            vm_name: vm_name.map(str::to_owned),
            ..SourceFacts::default()
        };
        let waiting = readers.into_iter().enumerate().map(named).collect();
        Self { waiting, current: None, facts }
    }

    /// One file, kept as it is.
    pub fn of_file(name: &str, reader: AnyReader) -> Self {
        let waiting = [entry(Role::File, name.to_owned(), reader)].into();
        let facts = SourceFacts { container: "file".to_owned(), ..SourceFacts::default() };
        Self { waiting, current: None, facts }
    }
}

fn entry(role: Role, name: String, reader: AnyReader) -> (DiskInfo, AnyReader) {
    let size_bytes = reader.size_bytes();
    (DiskInfo { role, name, size_bytes, ..DiskInfo::default() }, reader)
}

impl Source for PlainSource {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        let Some((disk, reader)) = self.waiting.pop_front() else {
            return Ok(None);
        };
        self.current = Some((disk.name.clone(), reader));
        Ok(Some(disk))
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        debug_assert_eq!(buffer.len(), SEGMENT_LEN);
        let Some((name, reader)) = &mut self.current else {
            return Ok(NextSegment::End { size_bytes: 0 });
        };
        let before = reader.bytes_read();
        let next = reader.next_segment(buffer).map_err(|error| read_error(name, error))?;
        self.facts.bytes_read += reader.bytes_read() - before;
        match next {
            RawSegment::Filled(number) => Ok(NextSegment::Filled { number }),
            RawSegment::End(size_bytes) => {
                self.current = None;
                Ok(NextSegment::End { size_bytes })
            }
        }
    }

    fn facts(&self) -> SourceFacts {
        self.facts.clone()
    }
}

/// What is wrong with the disk or file of this name.
pub fn read_error(name: &str, error: DiskError) -> SourceError {
    match error {
        DiskError::Unsupported { what } => {
            SourceError::Unrecognised { what: format!("{name}: {what}") }
        }
        DiskError::Cut { place } => SourceError::Cut { place: format!("{place} of {name}") },
        DiskError::Damaged { place, what } => {
            SourceError::Damaged { place: format!("{place} of {name}"), what }
        }
        DiskError::Io(source) => SourceError::Io { place: name.to_owned(), source },
    }
}
