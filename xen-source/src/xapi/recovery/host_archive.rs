//! The database in the archive of a host, which `host-backup` wrote there just before (contract 7).
//!
//! The archive passes once, packed or not; a block of it at a time is in memory.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use engine::source::DiskSink;

use crate::xapi::metadata::form::Dump;
use crate::xapi::metadata::gzip::Gunzip;
use crate::xapi::metadata::not_whole::NotWhole;
use crate::xva::PRELUDE_LEN_MAX;
use crate::xva::tar::{
    BLOCK_LEN, Block, Header, MemberKind, PaxRecords, modified, padding_len, until_nul,
};

/// What the name of a database begins with; the date of the backup follows.
const DATABASE: &[u8] = b"var/backup/pool-database-";
/// What a gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Zeros that are passed on at a time for a hole, in bytes.
const ZEROS_LEN: usize = 64 << 10;

/// A database that was in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDatabase {
    /// Where it was.
    pub name: String,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// Seconds since 1970.
    modified: u64,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no archive, or not a whole one.
    #[error("the archive is damaged")]
    Archive(#[from] NotWhole),
    /// There is none.
    #[error("there is no var/backup/pool-database-DATE in the archive")]
    NoDatabase,
    /// The database is not a whole one.
    #[error("{name} in the archive is damaged")]
    Database {
        /// Where it is.
        name: String,
        /// What is wrong with it.
        source: NotWhole,
    },
    /// It could not be written.
    #[error(transparent)]
    Output(io::Error),
}

/// An archive that passes as a [`DiskSink`], whose errors carry an [`ArchiveError`].
pub struct HostArchive<'f> {
    gunzip: Option<Gunzip>,
    tar: Tar<'f>,
    /// Bytes that have passed.
    passed: u64,
}

impl<'f> HostArchive<'f> {
    /// The newest database is written to `out`, an empty file.
    pub fn new(out: &'f File) -> Self {
        Self { gunzip: None, tar: Tar::new(out), passed: 0 }
    }

    /// The archive has ended; its length in bytes.
    ///
    /// # Errors
    ///
    /// If it is damaged, or there was no whole database in it.
    pub fn end(mut self, size_bytes: u64) -> Result<FoundDatabase, ArchiveError> {
        self.zeros_to(size_bytes)?;
        if let Some(mut gunzip) = self.gunzip {
            gunzip.end(|plain| self.tar.take(plain))?;
        }
        self.tar.end()
    }

    fn zeros_to(&mut self, offset_bytes: u64) -> Result<(), ArchiveError> {
        while self.passed < offset_bytes {
            let len = (offset_bytes - self.passed).min(ZEROS_LEN as u64) as usize;
            self.take(&[0; ZEROS_LEN][..len])?;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        if self.passed == 0 && bytes.starts_with(&GZIP) {
            self.gunzip = Some(Gunzip::default());
        }
        self.passed += bytes.len() as u64;
        match &mut self.gunzip {
            Some(gunzip) => gunzip.take(bytes, |plain| self.tar.take(plain)),
            None => self.tar.take(bytes),
        }
    }
}

impl DiskSink for HostArchive<'_> {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let taken = self.zeros_to(offset_bytes).and_then(|()| self.take(bytes));
        taken.map_err(io::Error::other)
    }
}

/// A tar, as far as it has passed.
struct Tar<'f> {
    out: &'f File,
    /// What comes next.
    next: Next,
    /// The header that is being read.
    block: Vec<u8>,
    /// Whose data is being read.
    of: Of,
    /// What extended headers say of the next member, and of all.
    records: PaxRecords,
    global: PaxRecords,
    found: Option<FoundDatabase>,
    /// What was found, as far as it has passed.
    dump: Result<Dump, NotWhole>,
}

/// What comes next of a tar. Lengths are in bytes.
#[derive(Debug, Clone, Copy)]
enum Next {
    Header,
    Data { left: u64, padding: u64 },
    Padding { left: u64 },
    Nothing,
}

/// Whose data it is.
enum Of {
    Database,
    Extended(MemberKind, Vec<u8>),
    Other,
}

impl<'f> Tar<'f> {
    fn new(out: &'f File) -> Self {
        Self {
            out,
            next: Next::Header,
            block: Vec::new(),
            of: Of::Other,
            records: PaxRecords::default(),
            global: PaxRecords::default(),
            found: None,
            dump: Ok(Dump::default()),
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), ArchiveError> {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(self.wanted().min(bytes.len() as u64) as usize);
            bytes = rest;
            match self.next {
                Next::Header => self.take_header(part)?,
                Next::Data { left, padding } => {
                    self.take_data(part)?;
                    let left = left - part.len() as u64;
                    self.next = Next::Data { left, padding };
                }
                Next::Padding { left } => {
                    self.next = Next::Padding { left: left - part.len() as u64 };
                }
                Next::Nothing => {}
            }
            self.go_on()?;
        }
        Ok(())
    }

    /// How many bytes can be taken at once.
    fn wanted(&self) -> u64 {
        match self.next {
            Next::Header => (BLOCK_LEN - self.block.len()) as u64,
            Next::Data { left, .. } | Next::Padding { left } => left,
            Next::Nothing => u64::MAX,
        }
    }

    /// Past what has come as a whole.
    fn go_on(&mut self) -> Result<(), ArchiveError> {
        if let Next::Data { left: 0, padding } = self.next {
            self.end_data()?;
            self.next = Next::Padding { left: padding };
        }
        if let Next::Padding { left: 0 } = self.next {
            self.next = Next::Header;
        }
        Ok(())
    }

    fn take_header(&mut self, part: &[u8]) -> Result<(), ArchiveError> {
        self.block.extend_from_slice(part);
        let Ok(block) = Block::try_from(&*self.block) else { return Ok(()) };
        self.block.clear();
        if block == [0; BLOCK_LEN] {
            self.next = Next::Nothing;
            return Ok(());
        }
        let header = Header::parse(&block).map_err(|wrong| not_whole(&wrong))?;
        let size_bytes = match header.kind {
            MemberKind::File => self.begin_file(&header, modified(&block))?,
            MemberKind::Special => {
                (self.of, self.records) = (Of::Other, PaxRecords::default());
                0
            }
            kind => {
                if header.size_bytes > PRELUDE_LEN_MAX as u64 {
                    return Err(not_whole(&"an extended header is too long").into());
                }
                self.of = Of::Extended(kind, Vec::new());
                header.size_bytes
            }
        };
        self.next = Next::Data { left: size_bytes, padding: padding_len(size_bytes) as u64 };
        Ok(())
    }

    /// Its length in bytes. Of several databases the newest counts.
    fn begin_file(&mut self, header: &Header, modified: u64) -> Result<u64, ArchiveError> {
        let PaxRecords { name, size_bytes } = std::mem::take(&mut self.records);
        let name = name.or_else(|| self.global.name.clone());
        let name = name.unwrap_or_else(|| header.name.clone());
        let size_bytes = size_bytes.or(self.global.size_bytes).unwrap_or(header.size_bytes);
        let path = name.strip_prefix(b".").unwrap_or(&name);
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let is_newest = self.found.as_ref().is_none_or(|found| found.modified <= modified);
        self.of = Of::Other;
        if path.starts_with(DATABASE) && is_newest {
            self.out.set_len(0).map_err(ArchiveError::Output)?;
            self.out.rewind().map_err(ArchiveError::Output)?;
            let name = String::from_utf8_lossy(path).into_owned();
            self.found = Some(FoundDatabase { name, size_bytes, modified });
            (self.of, self.dump) = (Of::Database, Ok(Dump::default()));
        }
        Ok(size_bytes)
    }

    fn take_data(&mut self, part: &[u8]) -> Result<(), ArchiveError> {
        match &mut self.of {
            Of::Database => {
                self.out.write_all(part).map_err(ArchiveError::Output)?;
                if let Ok(dump) = &mut self.dump
                    && let Err(error) = dump.take(part)
                {
                    self.dump = Err(error);
                }
            }
            Of::Extended(_, data) => data.extend_from_slice(part),
            Of::Other => {}
        }
        Ok(())
    }

    fn end_data(&mut self) -> Result<(), ArchiveError> {
        let Of::Extended(kind, data) = &self.of else { return Ok(()) };
        let parsed = || PaxRecords::parse(data).map_err(|wrong| not_whole(&wrong));
        match kind {
            MemberKind::PaxNext => {
                let records = parsed()?;
                self.records.size_bytes = records.size_bytes.or(self.records.size_bytes);
                self.records.name = records.name.or(self.records.name.take());
            }
            MemberKind::PaxGlobal => self.global = parsed()?,
            MemberKind::LongName => self.records.name = Some(until_nul(data).to_vec()),
            MemberKind::LongLink | MemberKind::File | MemberKind::Special => {}
        }
        Ok(())
    }

    fn end(self) -> Result<FoundDatabase, ArchiveError> {
        if !matches!(self.next, Next::Nothing) {
            return Err(not_whole(&"the tar ends before its end").into());
        }
        let found = self.found.ok_or(ArchiveError::NoDatabase)?;
        match self.dump.and_then(|dump| dump.end()) {
            Ok(()) => Ok(found),
            Err(source) => Err(ArchiveError::Database { name: found.name, source }),
        }
    }
}

fn not_whole(what: &dyn std::fmt::Display) -> NotWhole {
    NotWhole { what: what.to_string() }
}

#[cfg(test)]
mod tests;
