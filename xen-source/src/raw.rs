//! Raw disks: a file or device whose byte n is byte n of the disk, or a pipe that delivers them.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom as SeekTo, seek};
use rustix::io::Errno;

use crate::xva::is_zero;

/// Bytes that become a hole if they are all zero: a block of most file systems.
const PAGE_LEN: usize = 4096;

/// Reads a raw disk, segment after segment.
pub struct RawReader {
    input: RawInput,
    /// Where reading goes on.
    offset_bytes: u64,
    bytes_read: u64,
}

enum RawInput {
    /// A file or block device, whose holes are passed over.
    Seekable { file: File, size_bytes: u64 },
    /// A pipe, or bytes already read and a pipe after them.
    Stream(Box<dyn Read + Send>),
}

/// A segment of a raw disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawSegment {
    /// The buffer holds the segment of this number; bytes past the disk's end are zero.
    Filled(u64),
    /// The disk has ended, after so many bytes.
    End(u64),
}

impl RawReader {
    /// Reads `file` from its beginning if it can be sought in, and what it delivers otherwise.
    pub fn of_file(mut file: File) -> io::Result<Self> {
        match file.seek(SeekFrom::End(0)) {
            Ok(size_bytes) => Ok(Self::of(RawInput::Seekable { file, size_bytes })),
            Err(error) if error.kind() == ErrorKind::NotSeekable => {
                Ok(Self::of_stream(Box::new(file)))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a stream to its end.
    pub fn of_stream(bytes: Box<dyn Read + Send>) -> Self {
        Self::of(RawInput::Stream(bytes))
    }

    fn of(input: RawInput) -> Self {
        Self { input, offset_bytes: 0, bytes_read: 0 }
    }

    /// Size in bytes, if it is known before the end.
    pub fn size_bytes(&self) -> Option<u64> {
        match self.input {
            RawInput::Seekable { size_bytes, .. } => Some(size_bytes),
            RawInput::Stream(_) => None,
        }
    }

    /// Bytes read so far; those of holes are not.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Fills `buffer`, one segment long, with the next segment that is not a hole.
    pub fn next_segment(&mut self, buffer: &mut [u8]) -> io::Result<RawSegment> {
        let start = match &self.input {
            RawInput::Stream(_) => self.offset_bytes,
            RawInput::Seekable { file, size_bytes } => {
                match next_data(file, self.offset_bytes, *size_bytes)? {
                    Some(data) => data - data % buffer.len() as u64,
                    None => return Ok(RawSegment::End(*size_bytes)),
                }
            }
        };
        // Only the last segment is short, so after it nothing starts at a multiple.
        let number = start / buffer.len() as u64;
        let is_aligned = start.is_multiple_of(buffer.len() as u64);
        let filled = if is_aligned { self.fill(buffer, start)? } else { 0 };
        if filled == 0 {
            return Ok(RawSegment::End(start));
        }
        buffer[filled..].fill(0);
        self.offset_bytes = start + filled as u64;
        self.bytes_read += filled as u64;
        Ok(RawSegment::Filled(number))
    }

    /// Reads the bytes from `start` on; how many there are, up to the length of `buffer`.
    fn fill(&mut self, buffer: &mut [u8], start: u64) -> io::Result<usize> {
        match &mut self.input {
            RawInput::Stream(bytes) => read_full(bytes, buffer),
            RawInput::Seekable { file, size_bytes } => {
                let len = (*size_bytes - start).min(buffer.len() as u64) as usize;
                file.read_exact_at(&mut buffer[..len], start)?;
                Ok(len)
            }
        }
    }
}

/// Fills `buffer` unless the stream ends before; how many bytes there were.
pub(crate) fn read_full(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Where data begins at or after `offset_bytes` and before `size_bytes`; `None` if only a hole
/// follows. Files that do not know their holes have none.
pub(crate) fn next_data(
    file: &File,
    offset_bytes: u64,
    size_bytes: u64,
) -> io::Result<Option<u64>> {
    if offset_bytes >= size_bytes {
        return Ok(None);
    }
    let data = match seek(file, SeekTo::Data(offset_bytes)) {
        Ok(data) => data.max(offset_bytes),
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY) => offset_bytes,
        Err(error) => return Err(error.into()),
    };
    Ok((data < size_bytes).then_some(data))
}

/// Writes a raw disk. Zeros become holes in a file, and are written to anything else.
pub struct RawWriter<'a> {
    out: RawOut<'a>,
    /// Where writing goes on.
    offset_bytes: u64,
}

enum RawOut<'a> {
    /// A new, empty file.
    Sparse(&'a File),
    /// A pipe or a device.
    Plain(&'a mut dyn Write),
}

impl<'a> RawWriter<'a> {
    /// Writes to a file that is new and empty.
    pub fn to_new_file(file: &'a File) -> Self {
        Self { out: RawOut::Sparse(file), offset_bytes: 0 }
    }

    /// Writes all bytes, one after the other.
    pub fn to_plain(out: &'a mut dyn Write) -> Self {
        Self { out: RawOut::Plain(out), offset_bytes: 0 }
    }

    /// Takes bytes at `offset_bytes`, not before the end of those of the call before.
    pub fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.zeros_until(offset_bytes)?;
        match &mut self.out {
            RawOut::Plain(out) => out.write_all(bytes)?,
            RawOut::Sparse(file) => {
                for data in data_ranges(bytes) {
                    file.write_all_at(&bytes[data.clone()], offset_bytes + data.start as u64)?;
                }
            }
        }
        self.offset_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Ends the disk at its size.
    pub fn end(mut self, size_bytes: u64) -> io::Result<()> {
        self.zeros_until(size_bytes)?;
        match self.out {
            RawOut::Sparse(file) => file.set_len(size_bytes),
            RawOut::Plain(out) => out.flush(),
        }
    }

    fn zeros_until(&mut self, end: u64) -> io::Result<()> {
        static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
        let gap = end.checked_sub(self.offset_bytes);
        let mut left =
            gap.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "segments must rise"))?;
        self.offset_bytes = end;
        if let RawOut::Plain(out) = &mut self.out {
            while left > 0 {
                let len = left.min(ZEROS.len() as u64);
                out.write_all(&ZEROS[..len as usize])?; // at most ZEROS.len()
                left -= len;
            }
        }
        Ok(())
    }
}

/// The parts of `bytes` between runs of zero pages.
fn data_ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for page in bytes.chunks(PAGE_LEN) {
        let end = at + page.len();
        if !is_zero(page) {
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => ranges.push(at..end),
            }
        }
        at = end;
    }
    ranges
}

#[cfg(test)]
mod tests;
