//! Disks in containers: what all readers of a single disk have in common.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;

use crate::raw::{RawReader, RawSegment};

/// A disk, read segment after segment.
pub trait DiskReader: Send {
    /// Size in bytes, if it is known before the end.
    fn size_bytes(&self) -> Option<u64>;

    /// Bytes taken from the input so far.
    fn bytes_read(&self) -> u64;

    /// Fills `buffer`, one segment long, with the next segment that may hold data.
    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<RawSegment, DiskError>;
}

/// Why a disk could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It is something that is not read.
    #[error("{what}")]
    Unsupported {
        /// What it is, and what can be done instead.
        what: String,
    },
    /// It ended too early.
    #[error("the input ends inside {place}")]
    Cut {
        /// In what.
        place: String,
    },
    /// It contradicts itself.
    #[error("damaged at {place}: {what}")]
    Damaged {
        /// Where.
        place: String,
        /// What is wrong there.
        what: String,
    },
    /// The input could not be read.
    #[error("cannot read")]
    Io(#[source] io::Error),
}

impl DiskReader for RawReader {
    fn size_bytes(&self) -> Option<u64> {
        Self::size_bytes(self)
    }

    fn bytes_read(&self) -> u64 {
        Self::bytes_read(self)
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<RawSegment, DiskError> {
        Self::next_segment(self, buffer).map_err(|error| match error.kind() {
            // A file that ends before its size has become shorter while it was read.
            ErrorKind::UnexpectedEof => DiskError::Cut { place: "the disk".to_owned() },
            _ => DiskError::Io(error),
        })
    }
}

/// Something to read from at offsets.
pub(crate) enum Input {
    /// A file or device, at any offset.
    File {
        /// The file.
        file: File,
        /// Its length.
        len_bytes: u64,
    },
    /// A pipe, at rising offsets.
    Stream {
        /// The pipe.
        bytes: Box<dyn Read + Send>,
        /// Where it stands.
        offset_bytes: u64,
    },
}

impl Input {
    /// A file that can be sought in.
    pub(crate) fn of_file(mut file: File) -> io::Result<Self> {
        let len_bytes = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(Self::File { file, len_bytes })
    }

    /// A stream, from its beginning.
    pub(crate) fn of_stream(bytes: Box<dyn Read + Send>) -> Self {
        Self::Stream { bytes, offset_bytes: 0 }
    }

    /// Length of a file; `None` for a stream.
    pub(crate) const fn len_bytes(&self) -> Option<u64> {
        match self {
            Self::File { len_bytes, .. } => Some(*len_bytes),
            Self::Stream { .. } => None,
        }
    }

    /// Fills `buffer` with what lies at `offset`. `place` says what that is.
    pub(crate) fn read_at(
        &mut self,
        offset: u64,
        buffer: &mut [u8],
        place: &str,
    ) -> Result<(), DiskError> {
        let read = match self {
            Self::File { file, .. } => file.read_exact_at(buffer, offset),
            Self::Stream { bytes, offset_bytes } => {
                let Some(gap) = offset.checked_sub(*offset_bytes) else {
                    return Err(damaged(place, "it lies before what was read already"));
                };
                let skipped = io::copy(&mut bytes.by_ref().take(gap), &mut io::sink());
                skipped.and_then(|skipped| {
                    *offset_bytes = offset + buffer.len() as u64;
                    match skipped == gap {
                        true => bytes.read_exact(buffer),
                        false => Err(ErrorKind::UnexpectedEof.into()),
                    }
                })
            }
        };
        read.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => DiskError::Cut { place: place.to_owned() },
            _ => DiskError::Io(error),
        })
    }

    /// All that is left of a stream; `None` if that is more than `limit` bytes.
    pub(crate) fn rest(&mut self, limit: usize) -> Result<Option<Vec<u8>>, DiskError> {
        let mut rest = Vec::new();
        if let Self::Stream { bytes, .. } = self {
            let taken = bytes.by_ref().take(limit as u64 + 1).read_to_end(&mut rest);
            taken.map_err(DiskError::Io)?;
        }
        Ok((rest.len() <= limit).then_some(rest))
    }
}

pub(crate) fn damaged(place: impl Into<String>, what: impl Into<String>) -> DiskError {
    DiskError::Damaged { place: place.into(), what: what.into() }
}

pub(crate) fn unsupported(what: impl Into<String>) -> DiskError {
    DiskError::Unsupported { what: what.into() }
}

/// The big-endian number at `at`; zero where nothing is.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    u32::from_be_bytes(found.copied().unwrap_or_default())
}

/// The big-endian number at `at`; zero where nothing is.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    u64::from_be_bytes(found.copied().unwrap_or_default())
}
