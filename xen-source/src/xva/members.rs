//! The members of a tar, one after the other, from any stream.
//!
//! Data goes from the stream into the caller's buffer; only headers and what arrived with them are
//! copied. Memory is constant.

use std::io::{ErrorKind, IoSliceMut, Read};

use super::tar::{BLOCK_LEN, Block, Header, MemberKind, PaxRecords, padding_len, until_nul};
use super::{PRELUDE_LEN_MAX, XvaError};

/// Bytes read ahead: a checksum member and the next header, with room to spare.
const AHEAD_LEN: usize = 8 << 10;

/// A member whose data comes next in the stream.
#[derive(Debug)]
pub struct Member {
    /// Name, with everything that extended headers say.
    pub name: Vec<u8>,
    /// Bytes of data.
    pub size_bytes: u64,
    /// Offset of its first header in the archive.
    pub offset_bytes: u64,
    /// Its header, byte by byte.
    pub header: Block,
    /// The extended headers before it, byte by byte.
    pub prelude: Vec<u8>,
}

impl Member {
    /// The member and its offset, for people.
    pub fn place(&self) -> String {
        format!("{} at byte {}", String::from_utf8_lossy(&self.name), self.offset_bytes)
    }
}

/// Reads members. After [`next_member`](Self::next_member) the caller takes the data, and then
/// the padding.
#[derive(Debug)]
pub struct MemberStream<R> {
    input: R,
    ahead: Box<[u8; AHEAD_LEN]>,
    taken: usize,
    filled: usize,
    offset_bytes: u64,
    global: PaxRecords,
}

impl<R: Read> MemberStream<R> {
    /// Starts at the first header of a tar.
    pub fn new(input: R) -> Self {
        let ahead = Box::new([0; AHEAD_LEN]);
        Self { input, ahead, taken: 0, filled: 0, offset_bytes: 0, global: PaxRecords::default() }
    }

    /// Bytes of the archive consumed so far.
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// The stream below. What was read ahead of it is not seen there.
    pub fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// The stream below.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// The next member; `None` at the zero block that begins the end.
    pub fn next_member(&mut self) -> Result<Option<Member>, XvaError> {
        let offset_bytes = self.offset_bytes;
        let mut prelude = Vec::new();
        let mut records = PaxRecords::default();
        loop {
            let mut block = [0; BLOCK_LEN];
            self.take(&mut block, || format!("tar header at byte {offset_bytes}"))?;
            if block == [0; BLOCK_LEN] {
                let place = || format!("end of archive at byte {offset_bytes}");
                return if prelude.is_empty() { Ok(None) } else { damaged(place(), "no member") };
            }
            let header = Header::parse(&block)
                .map_err(|wrong| not_a_header(&block, offset_bytes, wrong.to_string()))?;
            match header.kind {
                MemberKind::File => {
                    let name = records.name.or_else(|| self.global.name.clone());
                    let size_bytes = records.size_bytes.or(self.global.size_bytes);
                    return Ok(Some(Member {
                        name: name.unwrap_or(header.name),
                        size_bytes: size_bytes.unwrap_or(header.size_bytes),
                        offset_bytes,
                        header: block,
                        prelude,
                    }));
                }
                MemberKind::Special => {
                    let name = String::from_utf8_lossy(&header.name);
                    let what = "a directory, link or device is not part of an XVA";
                    return damaged(format!("{name} at byte {offset_bytes}"), what);
                }
                kind => {
                    prelude.extend_from_slice(&block);
                    let data = self.take_extended(header.size_bytes, &mut prelude)?;
                    self.apply(kind, &data, &mut records)?;
                }
            }
        }
    }

    /// The data of an extended header; its bytes and their padding are added to `prelude`.
    fn take_extended(&mut self, len: u64, prelude: &mut Vec<u8>) -> Result<Vec<u8>, XvaError> {
        let place = format!("extended tar header at byte {}", self.offset_bytes);
        let room = PRELUDE_LEN_MAX.checked_sub(prelude.len());
        let fits = |len: &usize| room.is_some_and(|room| len + padding_len(*len as u64) <= room);
        let Some(len) =
            usize::try_from(len).ok().filter(|len| *len <= PRELUDE_LEN_MAX && fits(len))
        else {
            return damaged(place, "extended headers are too long");
        };
        let mut data = vec![0; len + padding_len(len as u64)];
        self.take(&mut data, || place)?;
        prelude.extend_from_slice(&data);
        data.truncate(len);
        Ok(data)
    }

    fn apply(
        &mut self,
        kind: MemberKind,
        data: &[u8],
        next: &mut PaxRecords,
    ) -> Result<(), XvaError> {
        let place = || format!("extended tar header before byte {}", self.offset_bytes);
        let parsed = || {
            PaxRecords::parse(data)
                .map_err(|wrong| XvaError::Damaged { place: place(), what: wrong.to_string() })
        };
        match kind {
            MemberKind::PaxNext => {
                let records = parsed()?;
                next.name = records.name.or(next.name.take());
                next.size_bytes = records.size_bytes.or(next.size_bytes);
            }
            MemberKind::PaxGlobal => self.global = parsed()?,
            MemberKind::LongName => next.name = Some(until_nul(data).to_vec()),
            MemberKind::LongLink | MemberKind::File | MemberKind::Special => {}
        }
        Ok(())
    }

    /// Fills `data` with the next bytes of `member`.
    pub fn take_data(&mut self, member: &Member, data: &mut [u8]) -> Result<(), XvaError> {
        self.take(data, || member.place())
    }

    /// Takes the padding after the data of `member`. Empty if all of it is zero, as it should be.
    pub fn take_padding(&mut self, member: &Member) -> Result<Vec<u8>, XvaError> {
        let mut padding = [0; BLOCK_LEN];
        let padding = &mut padding[..padding_len(member.size_bytes)];
        self.take(padding, || member.place())?;
        let is_zero = padding.iter().all(|byte| *byte == 0);
        Ok(if is_zero { Vec::new() } else { padding.to_vec() })
    }

    /// Takes the second of the two zero blocks.
    pub fn take_end(&mut self) -> Result<(), XvaError> {
        let place = format!("end of archive at byte {}", self.offset_bytes);
        let mut block = [0; BLOCK_LEN];
        self.take(&mut block, || place.clone())?;
        match block == [0; BLOCK_LEN] {
            true => Ok(()),
            false => damaged(place, "the second zero block is missing"),
        }
    }

    /// Reads what is there, up to the length of `buffer`; 0 when the stream has ended.
    pub fn take_some(&mut self, buffer: &mut [u8]) -> Result<usize, XvaError> {
        let copied = self.copy_ahead(buffer);
        if copied > 0 || buffer.is_empty() {
            self.offset_bytes += copied as u64;
            return Ok(copied);
        }
        let place = || format!("bytes after the archive at byte {}", self.offset_bytes);
        let len =
            read_once(&mut self.input, buffer, &mut []).map_err(|source| io(place(), source))?;
        self.offset_bytes += len as u64;
        Ok(len)
    }

    /// Fills `target`, reading ahead in the same call where the stream can.
    fn take(&mut self, target: &mut [u8], place: impl FnOnce() -> String) -> Result<(), XvaError> {
        let mut done = self.copy_ahead(target);
        while done < target.len() {
            let missing = target.len() - done;
            let len = match read_once(&mut self.input, &mut target[done..], &mut *self.ahead) {
                Ok(0) => {
                    self.offset_bytes += done as u64;
                    return Err(XvaError::Cut { place: place() });
                }
                Ok(len) => len,
                Err(source) => return Err(io(place(), source)),
            };
            done += len.min(missing);
            (self.taken, self.filled) = (0, len.saturating_sub(missing));
        }
        self.offset_bytes += target.len() as u64;
        Ok(())
    }

    /// Serves `target` from what was read ahead; the number of bytes served.
    fn copy_ahead(&mut self, target: &mut [u8]) -> usize {
        let ready = &self.ahead[self.taken..self.filled];
        let len = ready.len().min(target.len());
        target[..len].copy_from_slice(&ready[..len]);
        self.taken += len;
        len
    }
}

/// One read into `first`, then `second`. At most the bytes of both.
fn read_once(input: &mut impl Read, first: &mut [u8], second: &mut [u8]) -> std::io::Result<usize> {
    let room = first.len() + second.len();
    loop {
        let mut both = [IoSliceMut::new(first), IoSliceMut::new(second)];
        match input.read_vectored(&mut both) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(len) if len > room => return Err(ErrorKind::InvalidData.into()),
            answer => return answer,
        }
    }
}

fn io(place: String, source: std::io::Error) -> XvaError {
    match source.kind() {
        ErrorKind::UnexpectedEof => XvaError::Cut { place },
        _ => XvaError::Io { place, source },
    }
}

fn damaged<T>(place: String, what: &str) -> Result<T, XvaError> {
    Err(XvaError::Damaged { place, what: what.into() })
}

/// Tells text from noise, since text is often a message that went the wrong way.
fn not_a_header(block: &Block, offset_bytes: u64, wrong: String) -> XvaError {
    let place = format!("tar header at byte {offset_bytes}");
    let text: String = block.iter().take(40).map(|byte| char::from(*byte)).collect();
    let is_text = text.chars().all(|char| char.is_ascii_graphic() || " \r\n\t".contains(char));
    let what = if is_text { format!("{wrong}; found {text:?}") } else { wrong };
    XvaError::Damaged { place, what }
}
