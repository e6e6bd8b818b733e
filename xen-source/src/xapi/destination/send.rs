//! Sends one disk, in its form.

use std::io::{self, Write};

use engine::source::{Content, ContentError, DiskSink, SEGMENT_LEN};

use super::DiskForm;
use super::restored::Trouble;
use crate::sink::{self, RawOutput, write_disk};
use crate::vhd;
use crate::xapi::import::{self, Import};
use crate::xapi::session::Session;
use crate::xapi::value::Value;

/// What of a segment is left out if it is zero, in bytes.
const PIECE_LEN: usize = 64 << 10;

/// Fills the disk `vdi` with the stored disk at `place`. `id` tells a VHD from others.
pub fn send(
    session: &Session,
    content: &dyn Content,
    place: usize,
    vdi: &str,
    form: DiskForm,
    id: [u8; 16],
) -> Result<Value, Trouble> {
    let stored = &content.disks()[place];
    let (label, size_bytes) = (&stored.name, stored.size_bytes);
    match form {
        DiskForm::Sparse => {
            let import = import::raw(session, label, vdi, None)?;
            deliver(import, |out| {
                content.read_disk(place, &mut Records(out))?;
                out.write_all(&[0; RECORD_HEAD_LEN]).map_err(ContentError::Output)
            })
        }
        DiskForm::Raw => {
            let import = import::raw(session, label, vdi, Some(size_bytes))?;
            deliver(import, |out| sink::write_raw(content, place, RawOutput::Plain(out)))
        }
        DiskForm::Vhd => {
            let numbers = content.segment_numbers(place)?;
            let length = vhd::writer::length(size_bytes, &numbers, SEGMENT_LEN as u64);
            let import = import::vhd(session, label, vdi, length)?;
            deliver(import, |out| {
                write_disk(content, place, sink::DiskForm::Vhd(id), RawOutput::Plain(out))
            })
        }
    }
}

/// Writes an import to its end and takes its result, or breaks it off.
pub fn deliver(
    mut import: Import,
    write: impl FnOnce(&mut Import) -> Result<(), ContentError>,
) -> Result<Value, Trouble> {
    match write(&mut import) {
        Ok(()) => Ok(import.finish()?),
        Err(error) => {
            import.abort();
            Err(error.into())
        }
    }
}

/// Bytes before the data of a record: its offset and its length.
const RECORD_HEAD_LEN: usize = 12;

/// Writes what is not zero as records (contract 4.4).
struct Records<'a>(&'a mut Import);

impl DiskSink for Records<'_> {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let mut start = 0;
        while start < bytes.len() {
            let is_zero =
                |at: usize| crate::xva::is_zero(&bytes[at..bytes.len().min(at + PIECE_LEN)]);
            let mut end = start;
            while end < bytes.len() && !is_zero(end) {
                end += PIECE_LEN;
            }
            let run = &bytes[start..end.min(bytes.len())];
            if !run.is_empty() {
                let mut head = [0; RECORD_HEAD_LEN];
                head[..8].copy_from_slice(&(offset_bytes + start as u64).to_le_bytes());
                head[8..].copy_from_slice(&(run.len() as u32).to_le_bytes()); // a segment at most
                self.0.write_all(&head)?;
                self.0.write_all(run)?;
            }
            start = end + PIECE_LEN;
        }
        Ok(())
    }
}
