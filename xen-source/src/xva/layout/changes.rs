//! How one member departs from what is expected of it.

use std::convert::Infallible;

use minicbor::{Decoder, Encoder, decode, encode};

use super::super::PRELUDE_LEN_MAX;
use super::super::checksum::ChecksumKind;
use super::super::tar::{BLOCK_LEN, Block, SUM, set_sum};

/// The result of encoding into memory.
pub type Encoded = Result<(), encode::Error<Infallible>>;

/// Bytes alike between two patches up to which they are written as one.
const PATCH_GAP_MAX: usize = 3;

/// Departures of one member. Those of a member as expected are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Extended headers before the member's own: whole blocks.
    pub prelude: Vec<u8>,
    /// Bytes of the header that are others.
    pub patches: Vec<Patch>,
    /// Padding after the data, if it is not zero.
    pub padding: Vec<u8>,
    /// The checksum that this member and those after it hold, if it is another than before.
    pub checksum: Option<ChecksumKind>,
}

/// Bytes of a header. All are within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    offset: usize,
    bytes: Vec<u8>,
}

impl Changes {
    /// Whether the member is as expected.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The patches that make `found` out of `expected`.
    pub fn patches_between(expected: &Block, found: &Block) -> Vec<Patch> {
        if expected == found {
            return Vec::new();
        }
        let mut patches = differences(expected, found, 0..SUM.start);
        patches.extend(differences(expected, found, SUM.end..BLOCK_LEN));
        let summed = apply(&patches, expected);
        if summed[SUM] != found[SUM] {
            patches.push(Patch { offset: SUM.start, bytes: found[SUM].to_vec() });
        }
        patches
    }

    /// The header that stands where `expected` would.
    pub fn header(&self, expected: &Block) -> Block {
        if self.patches.is_empty() { *expected } else { apply(&self.patches, expected) }
    }

    /// Bytes that the changes take at most when encoded.
    pub fn encoded_len_max(&self) -> usize {
        let patches: usize = self.patches.iter().map(|patch| 8 + patch.bytes.len()).sum();
        16 + self.prelude.len() + self.padding.len() + patches
    }

    /// Appends the changes as a map with the keys 0 to 3.
    pub fn encode(&self, out: &mut Encoder<Vec<u8>>) -> Encoded {
        let count = usize::from(!self.prelude.is_empty())
            + usize::from(!self.patches.is_empty())
            + usize::from(!self.padding.is_empty())
            + usize::from(self.checksum.is_some());
        out.map(count as u64)?;
        if !self.prelude.is_empty() {
            out.u8(0)?.bytes(&self.prelude)?;
        }
        if !self.patches.is_empty() {
            out.u8(1)?.array(self.patches.len() as u64)?;
            for patch in &self.patches {
                out.array(2)?.u64(patch.offset as u64)?.bytes(&patch.bytes)?;
            }
        }
        if !self.padding.is_empty() {
            out.u8(2)?.bytes(&self.padding)?;
        }
        if let Some(kind) = self.checksum {
            out.u8(3)?.u8(match kind {
                ChecksumKind::Xxh64 => 0,
                ChecksumKind::Sha1 => 1,
            })?;
        }
        Ok(())
    }

    /// Decodes bytes that may be anything.
    pub fn decode(input: &mut Decoder<'_>) -> Result<Self, decode::Error> {
        let count = input.map()?.ok_or_else(|| decode::Error::message("a map has no length"))?;
        let mut changes = Self::default();
        for _ in 0..count {
            match input.u8()? {
                0 => changes.prelude = blocks(input.bytes()?)?,
                1 => changes.patches = decode_patches(input)?,
                2 => changes.padding = below_a_block(input.bytes()?)?,
                3 => changes.checksum = Some(checksum_kind(input.u8()?)?),
                _ => return Err(decode::Error::message("an unknown change")),
            }
        }
        Ok(changes)
    }
}

/// Patches for the bytes that differ within `range`.
fn differences(expected: &Block, found: &Block, range: std::ops::Range<usize>) -> Vec<Patch> {
    let mut patches: Vec<Patch> = Vec::new();
    for at in range.filter(|at| expected[*at] != found[*at]) {
        match patches.last_mut() {
            Some(last) if at - last.end() <= PATCH_GAP_MAX => {
                last.bytes.extend_from_slice(&found[last.end()..=at]);
            }
            _ => patches.push(Patch { offset: at, bytes: vec![found[at]] }),
        }
    }
    patches
}

/// `expected` with `patches`. The header's sum is made anew, unless a patch begins in it.
fn apply(patches: &[Patch], expected: &Block) -> Block {
    let mut block = *expected;
    let (sums, others): (Vec<_>, Vec<_>) =
        patches.iter().partition(|patch| SUM.contains(&patch.offset));
    others.iter().for_each(|patch| block[patch.offset..patch.end()].copy_from_slice(&patch.bytes));
    set_sum(&mut block);
    sums.iter().for_each(|patch| block[patch.offset..patch.end()].copy_from_slice(&patch.bytes));
    block
}

impl Patch {
    fn end(&self) -> usize {
        self.offset + self.bytes.len()
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, decode::Error> {
        if input.array()? != Some(2) {
            return Err(decode::Error::message("a patch is a pair"));
        }
        let (offset, bytes) = (usize::from(input.u16()?), input.bytes()?);
        if offset + bytes.len() > BLOCK_LEN {
            return Err(decode::Error::message("a patch leaves the header"));
        }
        Ok(Self { offset, bytes: bytes.to_vec() })
    }
}

fn decode_patches(input: &mut Decoder<'_>) -> Result<Vec<Patch>, decode::Error> {
    super::decode_items(input, BLOCK_LEN as u64, Patch::decode)
}

fn blocks(bytes: &[u8]) -> Result<Vec<u8>, decode::Error> {
    if !bytes.len().is_multiple_of(BLOCK_LEN) || bytes.len() > PRELUDE_LEN_MAX {
        return Err(decode::Error::message("extended headers are not whole blocks"));
    }
    Ok(bytes.to_vec())
}

fn below_a_block(bytes: &[u8]) -> Result<Vec<u8>, decode::Error> {
    match bytes.len() < BLOCK_LEN {
        true => Ok(bytes.to_vec()),
        false => Err(decode::Error::message("padding is longer than a block")),
    }
}

fn checksum_kind(code: u8) -> Result<ChecksumKind, decode::Error> {
    match code {
        0 => Ok(ChecksumKind::Xxh64),
        1 => Ok(ChecksumKind::Sha1),
        _ => Err(decode::Error::message("an unknown kind of checksum")),
    }
}
