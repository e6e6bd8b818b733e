//! What must be remembered of an XVA besides its record and its disks to write it again byte by
//! byte.
//!
//! Nearly all of an XVA follows from what is in it: names follow from numbers, headers from the
//! header before, checksums from the data, and absent chunks from being zero. So a layout states
//! only where an archive departs from what is expected ([`expect`]); an archive as xapi writes it
//! departs nowhere but in the time of its `ova.xml`. SPEC 10 has the encoding.

pub mod changes;
pub mod expect;
pub mod recorder;

use minicbor::{Decoder, Encoder, decode};

use super::checksum::ChecksumKind;
use super::{CHUNK_LEN, CHUNK_LEN_MAX, CHUNK_NUMBER_MAX, DISKS_MAX, ID_LEN_MAX};
use super::{TAIL_LEN_MAX, ZERO_TAIL_LEN_MAX};
use changes::Changes;

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;

/// How an XVA departs from what is expected of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a chunk; a power of two, at least 512 and at most [`CHUNK_LEN_MAX`].
    pub chunk_len: usize,
    /// Departures of the `ova.xml` member.
    pub record: Changes,
    /// The disks, in the order of the archive.
    pub disks: Vec<DiskLayout>,
    /// What follows the two zero blocks.
    pub tail: Tail,
}

/// How one disk of an XVA departs from what is expected of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLayout {
    /// What the names of its members begin with, such as `Ref:12`.
    pub id: String,
    /// Over all chunks that are zero, in order: how many are there or not as expected, then how
    /// many are not, and so on in turn. All after the last run are as expected.
    pub zero_runs: Vec<u64>,
    /// The keep-alives between its chunks.
    pub keep_alives: Vec<KeepAlives>,
    /// Members that are not as expected.
    pub exceptions: Exceptions,
}

/// Empty chunks that stand between two places of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlives {
    /// Chunks, absent ones included, since the keep-alives before these or the disk's start.
    pub chunks_since: u64,
    /// How many empty chunks; at least 1.
    pub count: u64,
}

/// Changes to members, each with the number of members (data and checksum members alike) that
/// follow expectation before it. Kept encoded: of a hundred bytes each they would be a thousand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exceptions {
    count: u64,
    cbor: Vec<u8>,
}

/// What follows the two zero blocks at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// So many zero bytes.
    Zeros(u64),
    /// Something else, at most [`TAIL_LEN_MAX`] bytes.
    Bytes(Vec<u8>),
}

impl Layout {
    /// The layout of an archive as xapi writes it.
    pub fn canonical(ids: impl IntoIterator<Item = String>, checksum: ChecksumKind) -> Self {
        let disks = ids.into_iter().map(DiskLayout::canonical).collect();
        let checksum = Some(checksum).filter(|kind| *kind != ChecksumKind::Xxh64);
        let record = Changes { checksum, ..Changes::default() };
        Self { chunk_len: CHUNK_LEN, record, disks, tail: Tail::Zeros(0) }
    }

    /// A canonical layout, with other checksums.
    pub fn with_checksum(self, checksum: ChecksumKind) -> Self {
        Self::canonical(self.disks.into_iter().map(|disk| disk.id), checksum)
    }

    /// Encodes as deterministic CBOR. `None` never happens; the encoder's type allows it.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Encoder::new(Vec::new());
        self.encode_to(&mut out).ok()?;
        Some(out.into_writer())
    }

    fn encode_to(&self, out: &mut Encoder<Vec<u8>>) -> changes::Encoded {
        out.array(5)?.u64(VERSION)?.u64(self.chunk_len as u64)?;
        self.record.encode(out)?;
        out.array(self.disks.len() as u64)?;
        for disk in &self.disks {
            disk.encode(out)?;
        }
        match &self.tail {
            Tail::Zeros(count) => out.u64(*count)?,
            Tail::Bytes(bytes) => out.bytes(bytes)?,
        };
        Ok(())
    }

    /// Decodes bytes that may be anything. Memory is bounded by their number.
    pub fn decode(bytes: &[u8]) -> Result<Self, decode::Error> {
        let mut input = Decoder::new(bytes);
        expect_array(&mut input, 5)?;
        if input.u64()? != VERSION {
            return Err(decode::Error::message("a layout of another version"));
        }
        let layout = Self {
            chunk_len: decode_chunk_len(&mut input)?,
            record: Changes::decode(&mut input)?,
            disks: decode_items(&mut input, DISKS_MAX as u64, DiskLayout::decode)?,
            tail: Tail::decode(&mut input)?,
        };
        if input.position() != bytes.len() {
            return Err(decode::Error::message("bytes after the layout"));
        }
        Ok(layout)
    }
}

impl DiskLayout {
    /// A disk without departures.
    pub fn canonical(id: String) -> Self {
        let exceptions = Exceptions::default();
        Self { id, zero_runs: Vec::new(), keep_alives: Vec::new(), exceptions }
    }

    fn encode(&self, out: &mut Encoder<Vec<u8>>) -> changes::Encoded {
        out.array(4)?.bytes(self.id.as_bytes())?;
        out.array(self.zero_runs.len() as u64)?;
        for run in &self.zero_runs {
            out.u64(*run)?;
        }
        out.array(self.keep_alives.len() as u64)?;
        for entry in &self.keep_alives {
            out.array(2)?.u64(entry.chunks_since)?.u64(entry.count)?;
        }
        out.array(self.exceptions.count)?;
        out.writer_mut().extend_from_slice(&self.exceptions.cbor);
        Ok(())
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, decode::Error> {
        expect_array(input, 4)?;
        let id = std::str::from_utf8(input.bytes()?).map_err(decode::Error::message)?;
        if id.is_empty() || id.len() > ID_LEN_MAX {
            return Err(decode::Error::message("the id of a disk is empty or too long"));
        }
        Ok(Self {
            id: id.to_owned(),
            zero_runs: decode_items(input, u64::MAX, Decoder::u64)?,
            keep_alives: decode_items(input, u64::MAX, KeepAlives::decode)?,
            exceptions: Exceptions::decode(input)?,
        })
    }
}

impl KeepAlives {
    fn decode(input: &mut Decoder<'_>) -> Result<Self, decode::Error> {
        expect_array(input, 2)?;
        let entry = Self { chunks_since: input.u64()?, count: input.u64()? };
        if entry.count == 0 || entry.count > CHUNK_NUMBER_MAX {
            return Err(decode::Error::message("keep-alives cannot be so many"));
        }
        Ok(entry)
    }
}

impl Exceptions {
    /// Appends changes after `skipped` members that are as expected.
    pub fn push(&mut self, skipped: u64, changes: &Changes) {
        let mut out = Encoder::new(std::mem::take(&mut self.cbor));
        let encode = |out: &mut Encoder<Vec<u8>>| {
            out.array(2)?.u64(skipped)?;
            changes.encode(out)
        };
        let written = encode(&mut out);
        debug_assert!(written.is_ok(), "a vector takes everything");
        self.cbor = out.into_writer();
        self.count += 1;
    }

    /// Goes through the exceptions in order.
    pub fn into_cursor(self) -> ExceptionCursor {
        ExceptionCursor { left: self.count, cbor: self.cbor, at: 0 }
    }

    /// Takes the exceptions from `input`, each checked once here.
    fn decode(input: &mut Decoder<'_>) -> Result<Self, decode::Error> {
        let count = array_len(input)?;
        let start = input.position();
        for _ in 0..count {
            decode_exception(input)?;
        }
        let cbor = input.input()[start..input.position()].to_vec();
        Ok(Self { count, cbor })
    }
}

/// The exceptions of a disk, decoded one at a time.
#[derive(Debug)]
pub struct ExceptionCursor {
    left: u64,
    cbor: Vec<u8>,
    at: usize,
}

impl ExceptionCursor {
    /// The next exception: members before it that are as expected, and its changes.
    pub fn next_exception(&mut self) -> Option<(u64, Changes)> {
        self.left = self.left.checked_sub(1)?;
        let mut input = Decoder::new(self.cbor.get(self.at..)?);
        let exception = decode_exception(&mut input).ok()?; // was checked when it was taken
        self.at += input.position();
        Some(exception)
    }
}

impl Tail {
    fn decode(input: &mut Decoder<'_>) -> Result<Self, decode::Error> {
        let too_long = || decode::Error::message("the tail is too long");
        if input.datatype()? == minicbor::data::Type::Bytes {
            let bytes = input.bytes()?;
            return match bytes.len() <= TAIL_LEN_MAX {
                true => Ok(Self::Bytes(bytes.to_vec())),
                false => Err(too_long()),
            };
        }
        let count = input.u64()?;
        if count > ZERO_TAIL_LEN_MAX { Err(too_long()) } else { Ok(Self::Zeros(count)) }
    }
}

fn decode_exception(input: &mut Decoder<'_>) -> Result<(u64, Changes), decode::Error> {
    expect_array(input, 2)?;
    Ok((input.u64()?, Changes::decode(input)?))
}

fn decode_chunk_len(input: &mut Decoder<'_>) -> Result<usize, decode::Error> {
    let claimed = input.u64()?;
    let chunk_len = usize::try_from(claimed).unwrap_or(usize::MAX);
    match is_chunk_len(chunk_len) {
        true => Ok(chunk_len),
        false => Err(decode::Error::message("the chunk length cannot be")),
    }
}

/// Whether chunks may have this many bytes.
pub fn is_chunk_len(len: usize) -> bool {
    len.is_power_of_two() && (super::tar::BLOCK_LEN..=CHUNK_LEN_MAX).contains(&len)
}

fn expect_array(input: &mut Decoder<'_>, len: u64) -> Result<(), decode::Error> {
    match array_len(input)? {
        found if found == len => Ok(()),
        _ => Err(decode::Error::message("an array has the wrong length")),
    }
}

fn array_len(input: &mut Decoder<'_>) -> Result<u64, decode::Error> {
    input.array()?.ok_or_else(|| decode::Error::message("an array has no length"))
}

/// An array of at most `count_max` items. Every item takes a byte, so `input` bounds the memory.
fn decode_items<'b, T>(
    input: &mut Decoder<'b>,
    count_max: u64,
    mut item: impl FnMut(&mut Decoder<'b>) -> Result<T, decode::Error>,
) -> Result<Vec<T>, decode::Error> {
    let count = array_len(input)?;
    if count > count_max {
        return Err(decode::Error::message("an array is too long"));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(input)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests;
