//! Reads an XVA in one pass and constant memory, and believes nothing that it has not checked.
//!
//! xapi: where a chunk lies follows from the one before (`offset`), the numbers that were skipped,
//! and the length of the very first chunk. Every checksum is verified; every disk must come to
//! exactly its virtual size; and only two zero blocks after the last disk make an archive whole.

use std::io::Read;

use super::checksum::{ChecksumKind, TEXT_LEN_MAX};
use super::layout::expect::{MemberClass, chunk_name};
use super::layout::recorder::Recorder;
use super::layout::{Tail, is_chunk_len};
use super::members::{Member, MemberStream};
use super::ova::{DiskFacts, MEMBER_NAME, OvaXml};
use super::{CHUNK_LEN, CHUNK_LEN_MAX, CHUNK_NUMBER_MAX, RECORD_LEN_MAX, TAIL_LEN_MAX, XvaError};
use super::{ZERO_TAIL_LEN_MAX, error_page, is_zero, tar};

/// Reads the record, then disk after disk, then the end.
#[derive(Debug)]
pub struct XvaReader<R> {
    members: MemberStream<R>,
    record: OvaXml,
    /// Expected disks that have not begun, the next one last.
    disks_left: Vec<DiskFacts>,
    disk: Option<DiskPosition>,
    chunk_len: Option<usize>,
    recorder: Recorder,
    checksums_verified: u64,
}

/// Where the reader is in a disk.
#[derive(Debug)]
struct DiskPosition {
    id: String,
    size_bytes: u64,
    /// End of the latest chunk.
    offset_bytes: u64,
    /// The number that the next member has if nothing is skipped.
    number: u64,
    /// A chunk whose header has been read and whose data has not.
    pending: Option<Chunk>,
}

/// A chunk that lies in its disk: it is within, and neither too long nor too short.
#[derive(Debug)]
struct Chunk {
    member: Member,
    number: u64,
    offset_bytes: u64,
    len: usize,
}

/// The first member, `ova.xml`, taken from an archive.
#[derive(Debug)]
pub struct ArchiveStart {
    record: OvaXml,
    recorder: Recorder,
}

/// What follows in a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadSegment {
    /// The buffer holds the segment of this number; what is left out between segments is zero.
    Filled {
        /// Offset in the disk divided by the length of the buffer.
        number: u64,
    },
    /// The disk has ended.
    End {
        /// Its virtual size in bytes.
        size_bytes: u64,
    },
}

impl ArchiveStart {
    /// Takes the first member, which has to be the record.
    pub fn take<R: Read>(members: &mut MemberStream<R>) -> Result<Self, XvaError> {
        let member = match members.next_member() {
            Ok(Some(member)) if member.name == MEMBER_NAME.as_bytes() => member,
            Ok(Some(member)) => return not_xva(format!("its first member is {}", member.place())),
            Ok(None) => return not_xva("it is an empty tar".into()),
            Err(XvaError::Damaged { what, .. }) => return not_xva(what),
            Err(other) => return Err(other),
        };
        let (text, padding) = take_record(members, &member)?;
        let record =
            OvaXml::parse(text).map_err(|wrong| damaged(member.place(), wrong.to_string()))?;
        Ok(Self { record, recorder: Recorder::new(&member, padding) })
    }
}

impl<R: Read> XvaReader<R> {
    /// Reads on after the record.
    pub fn new(members: MemberStream<R>, start: ArchiveStart) -> Self {
        let ArchiveStart { record, recorder } = start;
        let mut disks_left = record.disks().to_vec();
        disks_left.sort_by(|a, b| b.id.cmp(&a.id)); // byte-wise, the first one last
        let (disk, chunk_len) = (None, None);
        Self { members, record, disks_left, disk, chunk_len, recorder, checksums_verified: 0 }
    }

    /// The VM record.
    pub fn record(&self) -> &OvaXml {
        &self.record
    }

    /// Checksums verified so far.
    pub fn checksums_verified(&self) -> u64 {
        self.checksums_verified
    }

    /// The stream below.
    pub fn input(&self) -> &R {
        self.members.input()
    }

    /// The stream below. What was read ahead of it is not seen there.
    pub fn input_mut(&mut self) -> &mut R {
        self.members.input_mut()
    }

    /// Begins the next disk. `None` after the last; then [`finish`](Self::finish) has to be called.
    pub fn next_disk(&mut self) -> Option<DiskFacts> {
        let facts = self.disks_left.pop()?;
        self.recorder.disk(&facts.id);
        self.disk = Some(DiskPosition {
            id: facts.id.clone(),
            size_bytes: facts.size_bytes,
            offset_bytes: 0,
            number: 0,
            pending: None,
        });
        Some(facts)
    }

    /// Fills `buffer` with the next segment of the disk that has chunks. Segments are as long as
    /// `buffer`: the same multiple of [`CHUNK_LEN_MAX`] in every call.
    pub fn next_segment(&mut self, buffer: &mut [u8]) -> Result<ReadSegment, XvaError> {
        assert!(buffer.len().is_multiple_of(CHUNK_LEN_MAX) && !buffer.is_empty());
        let segment_len = buffer.len() as u64;
        let size_bytes = self.disk.as_ref().map_or(0, |disk| disk.size_bytes);
        let Some(mut chunk) = self.next_chunk()? else {
            self.end_disk();
            return Ok(ReadSegment::End { size_bytes });
        };
        let number = chunk.offset_bytes / segment_len;
        let mut filled = 0;
        loop {
            let start = (chunk.offset_bytes % segment_len) as usize; // below buffer.len()
            buffer[filled..start].fill(0);
            filled = start + chunk.len;
            self.take_chunk(chunk, &mut buffer[start..filled])?;
            match self.next_chunk()? {
                Some(next) if next.offset_bytes / segment_len == number => chunk = next,
                other => {
                    self.put_back(other);
                    buffer[filled..].fill(0);
                    return Ok(ReadSegment::Filled { number });
                }
            }
        }
    }

    /// Reads the end. Returns the layout; `None` if the archive departs too much to remember it.
    pub fn finish(&mut self) -> Result<Option<Vec<u8>>, XvaError> {
        if let Some(member) = self.members.next_member()? {
            return Err(damaged(member.place(), "a member after the last disk"));
        }
        self.members.take_end()?;
        let tail = take_tail(&mut self.members)?;
        Ok(self.recorder.finish(tail))
    }

    /// The next chunk with data; `None` when the disk has all its bytes. Passes keep-alives.
    fn next_chunk(&mut self) -> Result<Option<Chunk>, XvaError> {
        let Some(disk) = &mut self.disk else {
            return Ok(None);
        };
        if let Some(chunk) = disk.pending.take() {
            return Ok(Some(chunk));
        }
        loop {
            let Some(disk) = &self.disk else {
                return Ok(None);
            };
            if disk.offset_bytes >= disk.size_bytes {
                return Ok(None);
            }
            let chunk = self.locate_next()?;
            if chunk.len > 0 {
                return Ok(Some(chunk));
            }
            self.take_chunk(chunk, &mut [])?;
        }
    }

    fn end_disk(&mut self) {
        if self.disk.take().is_some() {
            self.recorder.disk_end();
        }
    }

    fn put_back(&mut self, chunk: Option<Chunk>) {
        if let Some(disk) = &mut self.disk {
            disk.pending = chunk;
        }
    }

    /// Reads a chunk's header and finds where it lies.
    fn locate_next(&mut self) -> Result<Chunk, XvaError> {
        let Some(disk) = &mut self.disk else {
            return Err(damaged("end of disk".into(), "no disk to read"));
        };
        let Some(member) = self.members.next_member()? else {
            let place = format!("byte {}", self.members.offset_bytes());
            return Err(damaged(place, format!("archive ends without all of disk {}", disk.id)));
        };
        let number = chunk_number(&disk.id, &member)?;
        let skipped = number
            .checked_sub(disk.number)
            .ok_or_else(|| damaged(member.place(), "chunk numbers must rise"))?;
        let chunk_len = match self.chunk_len {
            Some(len) => len,
            None => {
                let len = learn_chunk_len(&member, skipped, disk.size_bytes)?;
                self.chunk_len = len;
                self.recorder.chunk_len(len.unwrap_or(CHUNK_LEN));
                len.unwrap_or(CHUNK_LEN)
            }
        };
        let chunk = locate(disk, member, number, skipped, chunk_len as u64)?;
        self.recorder.absent(skipped);
        disk.offset_bytes = chunk.offset_bytes + chunk.len as u64;
        disk.number = number + 1;
        Ok(chunk)
    }

    /// Takes the data of `chunk` and the checksum after it, and compares them.
    fn take_chunk(&mut self, chunk: Chunk, data: &mut [u8]) -> Result<(), XvaError> {
        let Some(disk) = &self.disk else {
            return Err(damaged(chunk.member.place(), "no disk to read"));
        };
        let Chunk { member, number, offset_bytes, len } = chunk;
        let mut name = chunk_name(&disk.id, number);
        let is_last = offset_bytes + len as u64 >= disk.size_bytes;
        self.members.take_data(&member, data)?;
        let padding = self.members.take_padding(&member)?;
        self.recorder.member(MemberClass::Chunk, &name, &member, padding, None);
        match len {
            0 => self.recorder.keep_alive(),
            _ => self.recorder.chunk(is_zero(data), is_last),
        }
        let (kind, checksum, padding) = take_checksum(&mut self.members, &member, data)?;
        name.push_str(kind.extension());
        self.recorder.member(MemberClass::Checksum, &name, &checksum, padding, Some(kind));
        self.checksums_verified += 1;
        Ok(())
    }
}

/// The text and the padding of the `ova.xml` member.
fn take_record<R: Read>(
    members: &mut MemberStream<R>,
    member: &Member,
) -> Result<(String, Vec<u8>), XvaError> {
    if member.size_bytes > RECORD_LEN_MAX {
        return Err(damaged(member.place(), format!("{} bytes are too many", member.size_bytes)));
    }
    let mut text = vec![0; member.size_bytes as usize]; // below RECORD_LEN_MAX
    members.take_data(member, &mut text)?;
    let padding = members.take_padding(member)?;
    let text = String::from_utf8(text).map_err(|_| damaged(member.place(), "it is not UTF-8"))?;
    Ok((text, padding))
}

/// The number in `<id>/<digits>`.
fn chunk_number(id: &str, member: &Member) -> Result<u64, XvaError> {
    let digits = member.name.strip_prefix(id.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    let Some(digits) = digits else {
        return Err(damaged(member.place(), format!("disk {id} is not complete before it")));
    };
    tar::decimal(digits)
        .filter(|number| *number <= CHUNK_NUMBER_MAX)
        .ok_or_else(|| damaged(member.place(), "this is not the number of a chunk"))
}

/// The length of chunks, from the very first one. `None` if it does not tell: it is empty, or a
/// whole disk smaller than a chunk. Such disks have no gaps, so nothing depends on it yet.
fn learn_chunk_len(
    member: &Member,
    skipped: u64,
    disk_bytes: u64,
) -> Result<Option<usize>, XvaError> {
    let len = member.size_bytes;
    if skipped > 0 {
        return Err(damaged(member.place(), "the first chunk of the first disk is missing"));
    }
    if len == 0 || (len == disk_bytes && len < CHUNK_LEN as u64) {
        return Ok(None);
    }
    match usize::try_from(len) {
        Ok(len) if is_chunk_len(len) => Ok(Some(len)),
        _ => Err(damaged(member.place(), format!("chunks cannot have {len} bytes"))),
    }
}

/// xapi: `offset += skipped * chunk_len`, then the data. Nothing may reach over the disk's end.
fn locate(
    disk: &DiskPosition,
    member: Member,
    number: u64,
    skipped: u64,
    chunk_len: u64,
) -> Result<Chunk, XvaError> {
    let offset_bytes = skipped
        .checked_mul(chunk_len)
        .and_then(|gap| gap.checked_add(disk.offset_bytes))
        .filter(|offset| *offset < disk.size_bytes)
        .ok_or_else(|| damaged(member.place(), format!("it lies beyond disk {}", disk.id)))?;
    let wanted = chunk_len.min(disk.size_bytes - offset_bytes);
    if member.size_bytes != 0 && member.size_bytes != wanted {
        let what = format!("chunk of {} bytes where {wanted} are due", member.size_bytes);
        return Err(damaged(member.place(), what));
    }
    let len = member.size_bytes as usize; // at most chunk_len
    Ok(Chunk { member, number, offset_bytes, len })
}

/// Takes the member that must hold the checksum of `data`, the data of `chunk`.
fn take_checksum<R: Read>(
    members: &mut MemberStream<R>,
    chunk: &Member,
    data: &[u8],
) -> Result<(ChecksumKind, Member, Vec<u8>), XvaError> {
    let missing = || damaged(chunk.place(), "no checksum follows it");
    let member = members.next_member()?.ok_or_else(missing)?;
    let extension = member.name.strip_prefix(chunk.name.as_slice()).ok_or_else(missing)?;
    let kind = [ChecksumKind::Xxh64, ChecksumKind::Sha1]
        .into_iter()
        .find(|kind| kind.extension().as_bytes() == extension)
        .ok_or_else(missing)?;
    if member.size_bytes != kind.text_len() as u64 {
        return Err(damaged(member.place(), "a checksum of the wrong length"));
    }
    let mut text = [0; TEXT_LEN_MAX];
    let text = &mut text[..kind.text_len()];
    members.take_data(&member, text)?;
    let padding = members.take_padding(&member)?;
    if kind.text_of(data).as_bytes() != text {
        return Err(damaged(chunk.place(), "its checksum is wrong"));
    }
    Ok((kind, member, padding))
}

/// Takes all that follows the two zero blocks.
fn take_tail<R: Read>(members: &mut MemberStream<R>) -> Result<Tail, XvaError> {
    let start = members.offset_bytes();
    let place = || format!("byte {start}, after the end of the archive");
    let mut buffer = vec![0; TAIL_LEN_MAX];
    let (mut zeros, mut bytes) = (0u64, Vec::new());
    loop {
        let len = members.take_some(&mut buffer)?;
        let read = &buffer[..len];
        if len == 0 {
            break;
        } else if bytes.is_empty() && is_zero(read) {
            zeros += len as u64;
        } else {
            let before = if bytes.is_empty() { std::mem::take(&mut zeros) } else { 0 };
            if before + (bytes.len() + len) as u64 > TAIL_LEN_MAX as u64 {
                return Err(damaged(place(), "foreign bytes"));
            }
            bytes.resize(bytes.len() + before as usize, 0); // at most TAIL_LEN_MAX
            bytes.extend_from_slice(read);
        }
        if zeros > ZERO_TAIL_LEN_MAX {
            return Err(damaged(place(), "too many zero bytes"));
        }
    }
    match error_page::find(&bytes) {
        Some(page) => Err(damaged(place(), error_page::explanation(&page))),
        None if bytes.is_empty() => Ok(Tail::Zeros(zeros)),
        None => Ok(Tail::Bytes(bytes)),
    }
}

fn damaged(place: String, what: impl Into<String>) -> XvaError {
    XvaError::Damaged { place, what: what.into() }
}

fn not_xva<T>(what: String) -> Result<T, XvaError> {
    Err(XvaError::NotXva { what })
}
