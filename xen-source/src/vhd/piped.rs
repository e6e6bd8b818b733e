//! A fixed VHD from a pipe: its last 512 bytes are the footer, which is known when they have come.

use std::io::Read;

use super::SECTOR_LEN;
use super::footer::{DiskType, Footer};
use crate::disk::{DiskError, DiskReader, damaged, unsupported};
use crate::raw::{RawSegment, read_full};

/// Reads a fixed disk to the end of its stream.
pub struct FixedStream {
    bytes: Box<dyn Read + Send>,
    /// The latest bytes, which may be the footer.
    held: Vec<u8>,
    /// Where reading goes on.
    offset_bytes: u64,
    is_ended: bool,
}

impl FixedStream {
    /// Reads `bytes`.
    pub fn new(bytes: Box<dyn Read + Send>) -> Self {
        Self { bytes, held: Vec::new(), offset_bytes: 0, is_ended: false }
    }

    /// Checks the footer.
    fn end(&self) -> Result<RawSegment, DiskError> {
        let Some(footer) = self.held.first_chunk() else {
            return Err(DiskError::Cut { place: "the footer".to_owned() });
        };
        let footer = Footer::parse(footer).map_err(|what| damaged("the footer", what))?;
        if footer.disk_type != DiskType::Fixed {
            return Err(unsupported("it ends like a dynamic VHD and does not begin like one"));
        }
        let passed = self.offset_bytes;
        match footer.size_bytes == passed {
            true => Ok(RawSegment::End(passed)),
            false => {
                let what = format!("it says {} bytes, and {passed} came", footer.size_bytes);
                Err(damaged("the footer", what))
            }
        }
    }
}

impl DiskReader for FixedStream {
    fn size_bytes(&self) -> Option<u64> {
        None
    }

    fn bytes_read(&self) -> u64 {
        self.offset_bytes + self.held.len() as u64
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<RawSegment, DiskError> {
        let mut bytes = std::mem::take(&mut self.held);
        let held = bytes.len();
        if !self.is_ended {
            bytes.resize(buffer.len() + SECTOR_LEN, 0);
            let read = read_full(&mut self.bytes, &mut bytes[held..]).map_err(DiskError::Io)?;
            bytes.truncate(held + read);
            self.is_ended = bytes.len() < buffer.len() + SECTOR_LEN;
        }
        let len = bytes.len().saturating_sub(SECTOR_LEN);
        self.held = bytes.split_off(len);
        if bytes.is_empty() {
            return self.end();
        }
        let number = self.offset_bytes / buffer.len() as u64;
        buffer[..len].copy_from_slice(&bytes);
        buffer[len..].fill(0);
        self.offset_bytes += len as u64;
        Ok(RawSegment::Filled(number))
    }
}
