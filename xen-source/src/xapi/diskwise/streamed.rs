//! A disk as a stream of its own: as VHD, or every byte.

use std::sync::Arc;

use engine::source::{NextSegment, SEGMENT_LEN, SourceError};

use super::due::Due;
use crate::disk::{DiskError, DiskReader};
use crate::raw::{RawReader, RawSegment};
use crate::source::read_error;
use crate::vhd::reader::VhdReader;
use crate::xapi::changed::Part;
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
    due: Due,
    /// The segment that came last of those asked for by number.
    held: Option<(u64, Vec<u8>)>,
    /// The last segment that was asked for by number.
    asked: u64,
    has_ended: bool,
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
        let (name, due) = (name.to_owned(), Due::All(0));
        let (held, asked, has_ended) = (None, 0, false);
        Ok(Self { reader, task, name, size_bytes, due, held, asked, has_ended })
    }

    /// The same, but delivers only what is `due`, and that of it that is zero, too.
    pub fn deliver(self, due: Due) -> Self {
        Self { due, ..self }
    }

    /// Bytes that came.
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// What follows of what is due: segments that are whole. The stream is read to its end, where it
    /// is seen whether it is whole.
    ///
    /// # Errors
    ///
    /// It is damaged or shorter than the disk, or the pool says that it is not whole.
    pub fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        self.next(buffer).map_err(|error| self.explained(error))
    }

    /// Fills `buffer` with a segment, none before one that was asked for earlier. Whether it can be
    /// believed is seen at the [end](Self::finish).
    ///
    /// # Errors
    ///
    /// As of [`next_segment`](Self::next_segment).
    pub fn read_segment(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        self.fill(number, buffer).map_err(|error| self.explained(error))
    }

    /// Whether a segment cannot be asked for any more.
    pub fn has_passed(&self, number: u64) -> bool {
        number < self.asked
    }

    /// Reads to the end.
    ///
    /// # Errors
    ///
    /// As of [`next_segment`](Self::next_segment).
    pub fn finish(&mut self) -> Result<(), SourceError> {
        self.drain(&mut vec![0; SEGMENT_LEN]).map_err(|error| self.explained(error))
    }

    fn explained(&self, error: DiskError) -> SourceError {
        explained(read_error(&self.name, error), &self.task)
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<NextSegment, DiskError> {
        match &mut self.due {
            Due::All(from) => {
                let from = *from;
                while let Some(number) = self.following(buffer)? {
                    if number >= from {
                        return Ok(NextSegment::Filled { number });
                    }
                }
            }
            Due::Parts(parts) => {
                if let Some((number, part)) = parts.next() {
                    self.fill(number, buffer)?;
                    return Ok(match part {
                        Part::Sample => NextSegment::Sample { number },
                        Part::Whole | Part::Units(_) | Part::Allocated(_) => {
                            NextSegment::Filled { number }
                        }
                    });
                }
                self.drain(buffer)?;
            }
        }
        Ok(NextSegment::End { size_bytes: self.size_bytes })
    }

    fn drain(&mut self, buffer: &mut [u8]) -> Result<(), DiskError> {
        while self.following(buffer)?.is_some() {}
        Ok(())
    }

    /// Fills `buffer` with a segment; with zeros, if the stream leaves it out.
    fn fill(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.asked = number;
        let mut held = self.held.take();
        while !self.has_ended && held.as_ref().is_none_or(|(found, _)| *found < number) {
            let mut bytes = held.map_or_else(|| vec![0; SEGMENT_LEN], |(_, bytes)| bytes);
            held = self.following(&mut bytes)?.map(|found| (found, bytes));
        }
        match &held {
            Some((found, bytes)) if *found == number => buffer.copy_from_slice(bytes),
            _ => buffer.fill(0),
        }
        self.held = held;
        Ok(())
    }

    /// The next segment of the stream, in `buffer`; `None` at its end.
    fn following(&mut self, buffer: &mut [u8]) -> Result<Option<u64>, DiskError> {
        while !self.has_ended {
            match self.reader.next_segment(buffer)? {
                RawSegment::End(found) if found < self.size_bytes => {
                    return Err(DiskError::Cut { place: "the disk".to_owned() });
                }
                RawSegment::End(_) => self.has_ended = true,
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
                        return Ok(Some(number));
                    }
                }
            }
        }
        Ok(None)
    }
}
