//! An XVA as a source: its record first, then its disks, then what is needed to write it again.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use engine::source::{DiskInfo, NextSegment, Role, Source, SourceError, SourceFacts};

use super::wrapping::{Unwrapped, Wrapping};
use crate::xva::members::MemberStream;
use crate::xva::ova::fresh::device_name;
use crate::xva::ova::{self, DiskFacts, DiskKind, OvaXml};
use crate::xva::reader::{ArchiveStart, ReadSegment, XvaReader};
use crate::xva::{XvaError, error_page};

/// What the layout's stream is called.
const LAYOUT_NAME: &str = "layout";
/// Longest name of a disk, in characters.
const NAME_LEN_MAX: usize = 80;
/// Longest text of a fact, in characters.
const FACT_LEN_MAX: usize = 500;
/// Highest place of a device that is named as Linux names it.
const DEVICE_MAX: usize = 4096;

type AnyInput = Box<dyn Read + Send>;

/// An XVA, plain or inside a compression.
pub struct XvaSource {
    reader: XvaReader<Unwrapped<AnyInput>>,
    stage: Stage,
    /// The record or layout while it is being delivered.
    stream: Option<Stream>,
    /// What disks are called, by id.
    names: HashMap<String, String>,
    facts: SourceFacts,
}

/// What is delivered next.
enum Stage {
    Record,
    Disks,
    Nothing,
}

/// A stream and how much of it has been delivered.
pub struct Stream {
    bytes: Vec<u8>,
    delivered: usize,
}

impl XvaSource {
    /// Reads the record of the XVA in `input`.
    pub fn open(input: AnyInput, wrapping: Wrapping) -> Result<Self, SourceError> {
        let unwrapped = wrapping.reader(input).map_err(|source| {
            let place = "the first bytes".to_owned();
            SourceError::Io { place, source }
        })?;
        let mut members = MemberStream::new(unwrapped);
        let start = match ArchiveStart::take(&mut members) {
            Ok(start) => start,
            Err(error) => return Err(explained(error, members.input_mut())),
        };
        let reader = XvaReader::new(members, start);
        let names = disk_names(reader.record().disks());
        let facts = facts_of(reader.record(), wrapping);
        Ok(Self { reader, stage: Stage::Record, stream: None, names, facts })
    }

    /// The VM record.
    pub fn record(&self) -> &OvaXml {
        self.reader.record()
    }

    fn announce(&mut self, role: Role, name: &str, bytes: Vec<u8>) -> DiskInfo {
        let (info, stream) = stream_info(role, name, bytes);
        self.stream = Some(stream);
        info
    }
}

/// The disks that a record announces, in the order in which an XVA delivers them.
pub fn announced(record: &OvaXml) -> Vec<DiskInfo> {
    let names = disk_names(record.disks());
    let mut disks = record.disks().to_vec();
    disks.sort_by(|a, b| a.id.cmp(&b.id)); // byte-wise
    disks.into_iter().map(|disk| disk_info(&names, disk)).collect()
}

/// A record as an XVA announces it, and what delivers it.
pub fn record_stream(record: &OvaXml) -> (DiskInfo, Stream) {
    stream_info(Role::Record, ova::MEMBER_NAME, record.text().as_bytes().to_vec())
}

fn stream_info(role: Role, name: &str, bytes: Vec<u8>) -> (DiskInfo, Stream) {
    let size_bytes = Some(bytes.len() as u64);
    let info = DiskInfo { role, name: name.to_owned(), size_bytes, ..DiskInfo::default() };
    (info, Stream { bytes, delivered: 0 })
}

fn disk_info(names: &HashMap<String, String>, facts: DiskFacts) -> DiskInfo {
    let role = match facts.kind {
        DiskKind::User => Role::Disk,
        DiskKind::Suspend => Role::Memory,
    };
    let name = names.get(&facts.id).unwrap_or(&facts.id).clone();
    let size_bytes = Some(facts.size_bytes);
    DiskInfo { role, name, key: facts.uuid, size_bytes, ..DiskInfo::default() }
}

impl Source for XvaSource {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        match self.stage {
            Stage::Nothing => Ok(None),
            Stage::Record => {
                self.stage = Stage::Disks;
                let (info, stream) = record_stream(self.reader.record());
                self.stream = Some(stream);
                Ok(Some(info))
            }
            Stage::Disks => {
                if let Some(facts) = self.reader.next_disk() {
                    return Ok(Some(disk_info(&self.names, facts)));
                }
                self.stage = Stage::Nothing;
                let layout = self.reader.finish();
                let layout = layout.map_err(|error| explained(error, self.reader.input_mut()))?;
                Ok(layout.map(|bytes| self.announce(Role::Layout, LAYOUT_NAME, bytes)))
            }
        }
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        if let Some(stream) = &mut self.stream {
            let next = stream.next_segment(buffer);
            if matches!(next, NextSegment::End { .. }) {
                self.stream = None;
            }
            return Ok(next);
        }
        let next = self.reader.next_segment(buffer);
        match next.map_err(|error| explained(error, self.reader.input_mut()))? {
            ReadSegment::Filled { number } => Ok(NextSegment::Filled { number }),
            ReadSegment::End { size_bytes } => Ok(NextSegment::End { size_bytes }),
        }
    }

    fn facts(&self) -> SourceFacts {
        SourceFacts {
            checksums_verified: self.reader.checksums_verified(),
            bytes_read: self.reader.input().tap().bytes_read(),
            ..self.facts.clone()
        }
    }
}

impl Stream {
    /// What follows in it.
    pub fn next_segment(&mut self, buffer: &mut [u8]) -> NextSegment {
        let number = (self.delivered / buffer.len()) as u64;
        let left = &self.bytes[self.delivered..];
        let len = left.len().min(buffer.len());
        if len == 0 {
            return NextSegment::End { size_bytes: self.bytes.len() as u64 };
        }
        buffer[..len].copy_from_slice(&left[..len]);
        buffer[len..].fill(0);
        self.delivered += len;
        NextSegment::Filled { number }
    }
}

/// Says more about an error where the input shows more: a host's error page, or a decompressor
/// that found its input wrong.
fn explained<R: Read>(error: XvaError, input: &mut Unwrapped<R>) -> SourceError {
    let has_failed = input.tap().has_failed();
    let (place, error) = match error {
        XvaError::Io { place, source } if has_failed => {
            return SourceError::Io { place, source };
        }
        XvaError::Io { place, source } => {
            let what = format!("it does not decompress: {source}");
            (place.clone(), XvaError::Damaged { place, what })
        }
        XvaError::Cut { place } => (place.clone(), XvaError::Cut { place }),
        XvaError::Damaged { place, what } => (place.clone(), XvaError::Damaged { place, what }),
        XvaError::NotXva { what } => ("the first member".into(), XvaError::NotXva { what }),
    };
    match input.tap_mut().find_error_page() {
        Some(page) => SourceError::Damaged { place, what: error_page::explanation(&page) },
        None => error.into(),
    }
}

fn facts_of(record: &OvaXml, wrapping: Wrapping) -> SourceFacts {
    let known = |text: &str| (!text.is_empty()).then(|| text.chars().take(FACT_LEN_MAX).collect());
    SourceFacts {
        container: "xva".to_owned(),
        compression: wrapping.name().to_owned(),
        vm_uuid: record.vm().and_then(|vm| known(&vm.uuid)),
        vm_name: record.vm().and_then(|vm| known(&vm.name_label)),
        host_name: known(&record.version().hostname),
        ..SourceFacts::default()
    }
}

/// A name for each disk, by id: its device if it has one, or what people called it. No two alike.
fn disk_names(disks: &[DiskFacts]) -> HashMap<String, String> {
    let mut taken = HashSet::new();
    let mut names = HashMap::new();
    for disk in disks {
        let wanted = wanted_name(disk);
        let mut name = wanted.clone();
        let mut count = 2;
        while !taken.insert(name.clone()) {
            name = format!("{wanted}-{count}");
            count += 1;
        }
        names.insert(disk.id.clone(), name);
    }
    names
}

fn wanted_name(disk: &DiskFacts) -> String {
    let device = disk.vbd.as_ref().and_then(|vbd| vbd.userdevice.parse().ok());
    match (disk.kind, device) {
        (DiskKind::Suspend, _) => "memory".to_owned(),
        (DiskKind::User, Some(place)) if place < DEVICE_MAX => device_name(place),
        (DiskKind::User, _) if !plain_name(&disk.name_label).is_empty() => {
            plain_name(&disk.name_label)
        }
        (DiskKind::User, _) => plain_name(&disk.id),
    }
}

/// `text` as a name that is safe in a path and on a terminal.
fn plain_name(text: &str) -> String {
    let safe = |char: char| {
        if char.is_alphanumeric() || "-_.".contains(char) { char } else { '_' }
    };
    let name: String = text.trim().chars().take(NAME_LEN_MAX).map(safe).collect();
    name.trim_start_matches('.').to_owned()
}
