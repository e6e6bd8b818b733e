//! A disk as a stream of its own: as VHD, or every byte.

use std::sync::Arc;

use engine::source::{NextSegment, SEGMENT_LEN, SourceError};

use crate::disk::{DiskError, DiskReader};
use crate::raw::{RawReader, RawSegment};
use crate::source::read_error;
use crate::vhd::reader::VhdReader;
use crate::xapi::export::{self, VdiFormat};
use crate::xapi::exported::{explained, failed};
use crate::xapi::limits::SURPLUS_LEN_MAX;
use crate::xapi::objects::VdiRecord;
use crate::xapi::session::Session;
use crate::xapi::task::Task;

/// A disk that is being read. The stream has to go before its task.
pub struct Streamed {
    reader: Box<dyn DiskReader>,
    task: Arc<Task>,
    name: String,
    /// Virtual size; the stream may have more.
    size_bytes: u64,
}

impl Streamed {
    /// Begins the export of a disk that people call `name`.
    ///
    /// # Errors
    ///
    /// What the pool said, or that what came is no VHD.
    pub fn open(
        session: &Session,
        name: &str,
        disk: &VdiRecord,
        format: VdiFormat,
    ) -> Result<Self, SourceError> {
        let size_bytes = disk.size_bytes;
        let stream = export::vdi(session, name, &disk.reference, format, None, size_bytes);
        let stream = stream.map_err(|error| failed(name, error))?;
        let task = stream.task();
        let reader: Box<dyn DiskReader> = match format {
            VdiFormat::Raw => Box::new(RawReader::of_stream(Box::new(stream))),
            VdiFormat::Vhd => match VhdReader::of_stream(Box::new(stream)) {
                Ok(reader) => Box::new(reader),
                Err(error) => return Err(explained(read_error(name, error), &task)),
            },
        };
        Ok(Self { reader, task, name: name.to_owned(), size_bytes })
    }

    /// Bytes that came.
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// What follows. The stream is read to its end, where it is seen whether it is whole.
    ///
    /// # Errors
    ///
    /// It is damaged or shorter than the disk, or the pool says that it is not whole.
    pub fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        self.next(buffer).map_err(|error| explained(read_error(&self.name, error), &self.task))
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<NextSegment, DiskError> {
        loop {
            match self.reader.next_segment(buffer)? {
                RawSegment::End(found) if found < self.size_bytes => {
                    return Err(DiskError::Cut { place: "the disk".to_owned() });
                }
                RawSegment::End(_) => {
                    return Ok(NextSegment::End { size_bytes: self.size_bytes });
                }
                RawSegment::Filled(number) => {
                    let start = number.saturating_mul(SEGMENT_LEN as u64);
                    let here = self.size_bytes.saturating_sub(start).min(buffer.len() as u64);
                    if start > self.size_bytes.saturating_add(SURPLUS_LEN_MAX) {
                        let (place, what) = ("its end", "there is more than the disk has");
                        let (place, what) = (place.to_owned(), what.to_owned());
                        return Err(DiskError::Damaged { place, what });
                    }
                    if here > 0 {
                        buffer[here as usize..].fill(0); // at most its length
                        return Ok(NextSegment::Filled { number });
                    }
                }
            }
        }
    }
}
