//! Reads a disk of a pool back, and compares it with what is stored.

use std::io::{self, Read};

use engine::source::{Content, ContentError, DiskSink};

use super::restored::Trouble;
use crate::xapi::error::XapiError;
use crate::xapi::export::{self, Download, VdiFormat};
use crate::xapi::limits::{IN_USE_PAUSE, IN_USE_TRIES, SURPLUS_LEN_MAX};
use crate::xapi::objects::VdiRecord;
use crate::xapi::session::Session;

/// Bytes that are read at a time.
const BUFFER_LEN: usize = 1 << 20;

/// Compares the disk `vdi` with the stored disk at `place`, byte by byte.
pub fn verify(
    session: &Session,
    content: &dyn Content,
    place: usize,
    vdi: &VdiRecord,
) -> Result<(), Trouble> {
    for _try in 1..IN_USE_TRIES {
        match verify_once(session, content, place, vdi) {
            // A host is still about to let it go (contract 0.12).
            Err(Trouble::Pool(error)) if error.has_code("VDI_IN_USE") => {
                session.pause(IN_USE_PAUSE);
            }
            other => return other,
        }
    }
    verify_once(session, content, place, vdi)
}

fn verify_once(
    session: &Session,
    content: &dyn Content,
    place: usize,
    vdi: &VdiRecord,
) -> Result<(), Trouble> {
    let stored = &content.disks()[place];
    let size_bytes = stored.size_bytes;
    let (label, reference) = (&stored.name, &vdi.reference);
    let raw = VdiFormat::Raw;
    let download = export::vdi(session, label, reference, raw, None, size_bytes)?;
    let buffer = vec![0; BUFFER_LEN];
    let mut compared = Compared { download, buffer, at_bytes: 0, differs_at: None };
    let read = content.read_disk(place, &mut compared);
    let ended = read.and_then(|()| compared.end(size_bytes).map_err(ContentError::Output));
    match (compared.differs_at, ended) {
        (Some(at_bytes), _) => {
            let (disk, uuid) = (stored.name.clone(), vdi.uuid.clone());
            Err(Trouble::Differs { disk, uuid, at_bytes })
        }
        (None, ended) => Ok(ended?),
    }
}

/// Takes the stored disk, and reads the pool's beside it.
struct Compared {
    download: Download,
    buffer: Vec<u8>,
    at_bytes: u64,
    differs_at: Option<u64>,
}

impl Compared {
    /// Everything up to here must be zero.
    fn zeros_to(&mut self, end_bytes: u64) -> io::Result<()> {
        while self.at_bytes < end_bytes {
            let len = (end_bytes - self.at_bytes).min(self.buffer.len() as u64) as usize;
            self.download.read_exact(&mut self.buffer[..len])?;
            let wrong = self.buffer[..len].iter().position(|byte| *byte != 0);
            self.passed(len, wrong)?;
        }
        Ok(())
    }

    fn passed(&mut self, len: usize, wrong: Option<usize>) -> io::Result<()> {
        if let Some(wrong) = wrong {
            self.differs_at = Some(self.at_bytes + wrong as u64);
            return Err(io::Error::other("the disk differs"));
        }
        self.at_bytes += len as u64;
        Ok(())
    }

    /// The rest is zero, and the task says that all came. Devices may be larger than disks.
    fn end(&mut self, size_bytes: u64) -> io::Result<()> {
        self.zeros_to(size_bytes)?;
        let mut surplus: u64 = 0;
        loop {
            match self.download.read(&mut self.buffer)? {
                0 => return Ok(()),
                len => surplus += len as u64,
            }
            if surplus > SURPLUS_LEN_MAX {
                let (label, found) = ("a disk".to_owned(), size_bytes.saturating_add(surplus));
                let expected = size_bytes;
                return Err(io::Error::other(XapiError::Length { label, found, expected }));
            }
        }
    }
}

impl DiskSink for Compared {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.zeros_to(offset_bytes)?;
        for piece in bytes.chunks(self.buffer.len()) {
            self.download.read_exact(&mut self.buffer[..piece.len()])?;
            let found = &self.buffer[..piece.len()];
            let wrong = match found == piece {
                true => None,
                false => found.iter().zip(piece).position(|(found, stored)| found != stored),
            };
            self.passed(piece.len(), wrong)?;
        }
        Ok(())
    }
}
