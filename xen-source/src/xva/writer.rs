//! Writes an XVA in one pass: what is expected, save where a layout says otherwise.
//!
//! An archive that came in is written from its own layout, and comes out byte by byte as it was. A
//! new one is written from an empty layout, and comes out as xapi writes it: V7 headers, chunks of
//! zeros left out except the first and the last, two zero blocks at the end.

use std::io::{self, IoSlice, Write};

use super::layout::changes::Changes;
use super::layout::expect::{MemberClass, Stencils, chunk_name, record_header, zero_is_expected};
use super::layout::{DiskLayout, ExceptionCursor, KeepAlives, Layout, Tail};
use super::tar::{BLOCK_LEN, padding_len};
use super::{CHUNK_LEN_MAX, CHUNK_NUMBER_MAX, is_zero};

/// Zeros for chunks that are in the archive though they are holes, and for the tail.
static ZEROS: [u8; CHUNK_LEN_MAX] = [0; CHUNK_LEN_MAX];

/// Writes the record, then disk after disk, then the end.
#[derive(Debug)]
pub struct XvaWriter<W> {
    out: Output<W>,
    chunk_len: usize,
    disks: std::vec::IntoIter<DiskLayout>,
    tail: Tail,
    stencils: Stencils,
}

/// Writes one disk. Takes its segments in rising order; what is left out is zero.
#[derive(Debug)]
pub struct DiskWriter<'a, W> {
    writer: &'a mut XvaWriter<W>,
    id: String,
    size_bytes: u64,
    /// Number of the next chunk of the disk, absent ones counted.
    position: u64,
    /// The number that the name of the next member holds.
    number: u64,
    zero_runs: ZeroRuns,
    keep_alives: std::iter::Peekable<std::vec::IntoIter<KeepAlives>>,
    /// Chunks since the latest keep-alives.
    chunks_since: u64,
    exceptions: ExceptionCursor,
    /// The next exception, and how many members come before it.
    next_exception: Option<(u64, Changes)>,
}

impl<W: Write> XvaWriter<W> {
    /// Writes the record.
    pub fn begin(out: W, layout: Layout, record: &[u8]) -> io::Result<Self> {
        let mut out = Output { out, small: Vec::new() };
        let header = record_header(record.len() as u64);
        let Layout { chunk_len, record: changes, disks, tail } = layout;
        out.member(&changes.header(&header), record, &changes)?;
        let stencils = Stencils::after_record(&changes);
        Ok(Self { out, chunk_len, disks: disks.into_iter(), tail, stencils })
    }

    /// Begins the next disk of the layout.
    pub fn next_disk(&mut self, size_bytes: u64) -> io::Result<DiskWriter<'_, W>> {
        let layout = self.disks.next().ok_or_else(|| invalid("the layout has too few disks"))?;
        let mut exceptions = layout.exceptions.into_cursor();
        let next_exception = exceptions.next_exception();
        Ok(DiskWriter {
            writer: self,
            id: layout.id,
            size_bytes,
            position: 0,
            number: 0,
            zero_runs: ZeroRuns::new(layout.zero_runs),
            keep_alives: layout.keep_alives.into_iter().peekable(),
            chunks_since: 0,
            exceptions,
            next_exception,
        })
    }

    /// Writes the end, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        if self.disks.next().is_some() {
            return Err(invalid("the layout has more disks than were written"));
        }
        self.out.data(&[0; 2 * BLOCK_LEN])?;
        match &self.tail {
            Tail::Bytes(bytes) => self.out.data(bytes)?,
            Tail::Zeros(count) => {
                let mut left = *count;
                while left > 0 {
                    let len = left.min(ZEROS.len() as u64);
                    self.out.data(&ZEROS[..len as usize])?; // at most ZEROS.len()
                    left -= len;
                }
            }
        }
        self.out.write_with(&[])?;
        self.out.out.flush()?;
        Ok(self.out.out)
    }
}

impl<W: Write> DiskWriter<'_, W> {
    /// Takes the bytes at `offset_bytes`, a multiple of the chunk length, up to such a multiple or
    /// the disk's end. Bytes missing to a whole block at the end are zero.
    pub fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let chunk_len = self.writer.chunk_len;
        let position = offset_bytes / chunk_len as u64;
        if !offset_bytes.is_multiple_of(chunk_len as u64) || position < self.position {
            return Err(invalid("segments must be aligned, and rise"));
        }
        self.holes_until(position)?;
        for chunk in bytes.chunks(chunk_len) {
            let due = self.chunk_len_due();
            if chunk.len() == due {
                self.chunk(chunk)?;
            } else if chunk.len() < due && due - chunk.len() < BLOCK_LEN {
                let mut padded = chunk.to_vec();
                padded.resize(due, 0);
                self.chunk(&padded)?;
            } else {
                return Err(invalid("a segment ends where no chunk does"));
            }
        }
        Ok(())
    }

    /// Ends the disk.
    pub fn end(mut self) -> io::Result<()> {
        self.holes_until(self.chunk_count())?;
        match (self.keep_alives.next(), self.next_exception.take()) {
            (None, None) => Ok(()),
            _ => Err(invalid("the layout speaks of members that are not there")),
        }
    }

    fn chunk_count(&self) -> u64 {
        self.size_bytes.div_ceil(self.writer.chunk_len as u64)
    }

    /// Bytes of the chunk at the current position; 0 beyond the disk.
    fn chunk_len_due(&self) -> usize {
        let chunk_len = self.writer.chunk_len as u64;
        let offset = self.position.saturating_mul(chunk_len);
        self.size_bytes.saturating_sub(offset).min(chunk_len) as usize // at most chunk_len
    }

    fn holes_until(&mut self, position: u64) -> io::Result<()> {
        if position > self.chunk_count() {
            return Err(invalid("a segment lies beyond its disk"));
        }
        while self.position < position {
            let due = self.chunk_len_due();
            self.zero_chunk(&ZEROS[..due])?;
        }
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        if is_zero(bytes) {
            return self.zero_chunk(bytes);
        }
        self.keep_alives()?;
        self.pair(bytes)?;
        self.advance();
        Ok(())
    }

    fn zero_chunk(&mut self, zeros: &[u8]) -> io::Result<()> {
        self.keep_alives()?;
        let is_last = self.position + 1 == self.chunk_count();
        let is_expected = zero_is_expected(self.position == 0, is_last);
        if is_expected != self.zero_runs.next_departs() {
            self.pair(zeros)?;
        } else {
            self.number += 1;
        }
        self.advance();
        Ok(())
    }

    fn advance(&mut self) {
        self.position += 1;
        self.chunks_since += 1;
    }

    /// Writes the keep-alives that stand before the current position.
    fn keep_alives(&mut self) -> io::Result<()> {
        let due = |entry: &KeepAlives, chunks_since| entry.chunks_since == chunks_since;
        while let Some(entry) = self.keep_alives.next_if(|entry| due(entry, self.chunks_since)) {
            self.chunks_since = 0;
            for _ in 0..entry.count {
                self.pair(&[])?;
            }
        }
        Ok(())
    }

    /// Writes a chunk and its checksum, and uses up a number.
    fn pair(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.number > CHUNK_NUMBER_MAX {
            return Err(invalid("the disk has more chunks than an XVA can number"));
        }
        let mut name = chunk_name(&self.id, self.number);
        let changes = self.take_changes();
        self.member(MemberClass::Chunk, &name, chunk, &changes)?;
        let changes = self.take_changes();
        let kind = changes.checksum.unwrap_or(self.writer.stencils.checksum_kind());
        name.push_str(kind.extension());
        let text = kind.text_of(chunk);
        self.member(MemberClass::Checksum, &name, text.as_bytes(), &changes)?;
        self.number += 1;
        Ok(())
    }

    fn member(
        &mut self,
        class: MemberClass,
        name: &str,
        data: &[u8],
        changes: &Changes,
    ) -> io::Result<()> {
        let XvaWriter { out, stencils, .. } = self.writer;
        let expected = stencils.header(class, name, data.len() as u64);
        if changes.is_empty() {
            return out.member(&expected, data, changes);
        }
        let header = changes.header(&expected);
        stencils.learn(class, &header, changes);
        out.member(&header, data, changes)
    }

    /// The changes to the next member; empty for nearly all.
    fn take_changes(&mut self) -> Changes {
        match &mut self.next_exception {
            None => Changes::default(),
            Some((skipped @ 1.., _)) => {
                *skipped -= 1;
                Changes::default()
            }
            Some((0, changes)) => {
                let taken = std::mem::take(changes);
                self.next_exception = self.exceptions.next_exception();
                taken
            }
        }
    }
}

/// Whether zero chunks depart from the rule, one after the other.
#[derive(Debug)]
struct ZeroRuns {
    runs: std::vec::IntoIter<u64>,
    left: u64,
    departs: bool,
}

impl ZeroRuns {
    fn new(runs: Vec<u64>) -> Self {
        Self { runs: runs.into_iter(), left: 0, departs: true }
    }

    /// The answer for the next zero chunk; as expected after the last run.
    fn next_departs(&mut self) -> bool {
        while self.left == 0 {
            let Some(run) = self.runs.next() else {
                return false;
            };
            self.departs = !self.departs;
            self.left = run;
        }
        self.left -= 1;
        self.departs
    }
}

/// Collects what is small, so that there is one write for each chunk.
#[derive(Debug)]
struct Output<W> {
    out: W,
    small: Vec<u8>,
}

impl<W: Write> Output<W> {
    /// Most bytes that are collected before they are written.
    const SMALL_LEN_MAX: usize = 16 << 10;

    fn member(&mut self, header: &[u8], data: &[u8], changes: &Changes) -> io::Result<()> {
        self.small.extend_from_slice(&changes.prelude);
        self.small.extend_from_slice(header);
        self.data(data)?;
        let padding = padding_len(data.len() as u64);
        match changes.padding.len() {
            0 => self.small.resize(self.small.len() + padding, 0),
            len if len == padding => self.small.extend_from_slice(&changes.padding),
            _ => return Err(invalid("the layout states padding of a wrong length")),
        }
        Ok(())
    }

    fn data(&mut self, data: &[u8]) -> io::Result<()> {
        if self.small.len() + data.len() <= Self::SMALL_LEN_MAX {
            self.small.extend_from_slice(data);
            return Ok(());
        }
        self.write_with(data)
    }

    /// Writes what was collected and then `data`.
    fn write_with(&mut self, data: &[u8]) -> io::Result<()> {
        let mut both = [IoSlice::new(&self.small), IoSlice::new(data)];
        let mut left = &mut both[..];
        IoSlice::advance_slices(&mut left, 0); // passes empty slices
        while !left.is_empty() {
            match self.out.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => IoSlice::advance_slices(&mut left, len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.small.clear();
        Ok(())
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
