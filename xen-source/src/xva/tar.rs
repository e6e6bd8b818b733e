//! Tar headers: the 512 bytes before each member.
//!
//! ```text
//! 0    100   108  116  124   136    148     156   157       257    345     500  512
//! | name | mode | uid | gid | size | mtime | sum | type | linkname | magic.. | prefix | |
//! ```
//!
//! Hosts write V7 headers (no magic). Read are V7, ustar, GNU (long names, base-256 sizes) and PAX
//! (`path` and `size`).

use super::PRELUDE_LEN_MAX;

/// Bytes of a tar block.
pub const BLOCK_LEN: usize = 512;
/// Longest name that fits a header, in bytes.
pub const NAME_LEN_MAX: usize = 100;

/// One block of a tar.
pub type Block = [u8; BLOCK_LEN];

/// A number in a header: where it starts and how many bytes it has.
type Field = std::ops::Range<usize>;
const SIZE: Field = 124..136;
const MODIFIED: Field = 136..148;
/// Where the header's own checksum stands.
pub const SUM: Field = 148..156;
const TYPE_AT: usize = 156;
const MAGIC: Field = 257..265;
const PREFIX: Field = 345..500;

/// What stands behind a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file; so is every type that nobody knows (xapi: the importer thinks so).
    File,
    /// PAX records for the next member.
    PaxNext,
    /// PAX records for all that follows.
    PaxGlobal,
    /// GNU: the name of the next member.
    LongName,
    /// GNU: the link target of the next member.
    LongLink,
    /// A directory, link or device.
    Special,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name, as bytes; at most 256.
    pub name: Vec<u8>,
    /// Bytes of data that the header claims.
    pub size_bytes: u64,
    /// What follows.
    pub kind: MemberKind,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    /// The sum over the header is not the one that it states.
    #[error("the checksum of the tar header is wrong")]
    WrongSum,
    /// The size is not a number below 2^63.
    #[error("the size in the tar header is not a number")]
    WrongSize,
    /// PAX records do not parse.
    #[error("the PAX records are malformed")]
    WrongPax,
}

/// Data padded to whole blocks: how many zero bytes follow `size_bytes` bytes.
pub const fn padding_len(size_bytes: u64) -> usize {
    ((BLOCK_LEN as u64 - size_bytes % BLOCK_LEN as u64) % BLOCK_LEN as u64) as usize
}

impl Header {
    /// Parses one block whose bytes may be anything.
    pub fn parse(block: &Block) -> Result<Self, TarError> {
        let stated = octal(&block[SUM]).ok_or(TarError::WrongSum)?;
        if stated != sum_unsigned(block) && i64::try_from(stated) != Ok(sum_signed(block)) {
            return Err(TarError::WrongSum);
        }
        Ok(Self {
            name: full_name(block),
            size_bytes: number(&block[SIZE]).ok_or(TarError::WrongSize)?,
            kind: kind(block[TYPE_AT]),
        })
    }
}

/// When the member was changed, in seconds since 1970; 0 if its header does not tell.
pub fn modified(block: &Block) -> u64 {
    number(&block[MODIFIED]).unwrap_or_default()
}

fn kind(type_flag: u8) -> MemberKind {
    match type_flag {
        b'x' => MemberKind::PaxNext,
        b'g' => MemberKind::PaxGlobal,
        b'L' => MemberKind::LongName,
        b'K' => MemberKind::LongLink,
        b'1'..=b'6' => MemberKind::Special,
        _ => MemberKind::File,
    }
}

/// Name with its ustar prefix. GNU headers have other things in the prefix.
fn full_name(block: &Block) -> Vec<u8> {
    let name = until_nul(&block[..NAME_LEN_MAX]);
    let prefix = until_nul(&block[PREFIX]);
    let is_ustar = block[MAGIC].starts_with(b"ustar") && block[MAGIC.start + 5] != b' ';
    if is_ustar && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

/// The bytes before the first NUL.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// An octal or base-256 number below 2^63.
fn number(field: &[u8]) -> Option<u64> {
    match field {
        [0x80, rest @ ..] => {
            let high = rest.len().checked_sub(8)?;
            let (zeros, low) = rest.split_at(high);
            let value = u64::from_be_bytes(low.try_into().ok()?);
            (zeros.iter().all(|byte| *byte == 0) && value < 1 << 63).then_some(value)
        }
        _ => octal(field),
    }
}

/// Octal digits, with spaces or NULs around them. No digit at all is zero, as for all tars.
fn octal(field: &[u8]) -> Option<u64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let mut value = 0u64;
    let mut rest = field[start..].iter();
    for digit in rest.by_ref() {
        match digit {
            b'0'..=b'7' => value = value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))?,
            blank if is_blank(blank) => break,
            _ => return None,
        }
    }
    rest.all(is_blank).then_some(value)
}

/// Sum over the header with the sum itself taken as spaces.
fn sum_unsigned(block: &Block) -> u64 {
    let all: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = block[SUM].iter().map(|byte| u64::from(*byte)).sum();
    all - own + u64::from(b' ') * SUM.len() as u64
}

/// The same over signed bytes, as some old tars summed.
fn sum_signed(block: &Block) -> i64 {
    let all: i64 = block.iter().map(|byte| i64::from(byte.cast_signed())).sum();
    let own: i64 = block[SUM].iter().map(|byte| i64::from(byte.cast_signed())).sum();
    all - own + i64::from(b' ') * SUM.len() as i64
}

/// The header that xapi would write before a chunk: V7, mode 0400, owner 0, mtime 0.
pub fn v7_header(name: &[u8], size_bytes: u64) -> Block {
    let mut block = [0; BLOCK_LEN];
    block[100..107].copy_from_slice(b"0000400");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(b"00000000000");
    block[136..147].copy_from_slice(b"00000000000");
    block[148..155].copy_from_slice(b"0000000");
    relabel(&block, name, size_bytes)
}

/// `template` with another name and size, numbers written in the style that it uses.
/// A name that does not fit is cut, and a size that does not fit is written in base 256.
pub fn relabel(template: &Block, name: &[u8], size_bytes: u64) -> Block {
    let mut block = *template;
    let name = &name[..name.len().min(NAME_LEN_MAX)];
    block[..NAME_LEN_MAX].fill(0);
    block[..name.len()].copy_from_slice(name);
    if block[SIZE.start] & 0x80 != 0 || !restyle(&mut block[SIZE], size_bytes) {
        block[SIZE].fill(0);
        block[SIZE.start] = 0x80;
        block[SIZE.end - 8..SIZE.end].copy_from_slice(&size_bytes.to_be_bytes());
    }
    set_sum(&mut block);
    block
}

/// Writes the header's sum in the style in which it stands there, or in ustar's.
pub fn set_sum(block: &mut Block) {
    let sum = sum_unsigned(block);
    if !restyle(&mut block[SUM], sum) {
        block[SUM].copy_from_slice(b"000000\0 ");
        restyle(&mut block[SUM], sum);
    }
}

/// Replaces an octal number by `value`; keeps its width, what it is padded with, and what follows.
/// False, and nothing done, if there is no number or `value` is too wide for it.
fn restyle(field: &mut [u8], value: u64) -> bool {
    let Some(last) = field.iter().rposition(u8::is_ascii_digit) else {
        return false;
    };
    let pad = if field[0] == b' ' { b' ' } else { b'0' };
    let digits = format!("{value:o}");
    let Some(padding) = (last + 1).checked_sub(digits.len()) else {
        return false;
    };
    field[..padding].fill(pad);
    field[padding..=last].copy_from_slice(digits.as_bytes());
    true
}

/// What PAX records say of the members after them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaxRecords {
    /// `path`.
    pub name: Option<Vec<u8>>,
    /// `size`, in bytes.
    pub size_bytes: Option<u64>,
}

impl PaxRecords {
    /// Parses `<length> <key>=<value>\n` records. Keys but `path` and `size` are passed over.
    pub fn parse(mut data: &[u8]) -> Result<Self, TarError> {
        let mut found = Self::default();
        while !data.is_empty() {
            let (key, value, rest) = pax_record(data).ok_or(TarError::WrongPax)?;
            match key {
                b"path" => found.name = Some(value.to_vec()),
                b"size" => found.size_bytes = Some(decimal(value).ok_or(TarError::WrongPax)?),
                _ => {}
            }
            data = rest;
        }
        Ok(found)
    }
}

/// Key and value of the first record, and what follows it.
fn pax_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(&data[..space])?).ok()?;
    if len > PRELUDE_LEN_MAX || len <= space + 1 {
        return None;
    }
    let (record, rest) = data.split_at_checked(len)?;
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest))
}

/// A decimal number of at most 18 digits and nothing else.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
