//! The checksum member that follows every chunk.
//!
//! | name ends in | text | written by |
//! |---|---|---|
//! | `.xxhash` | XXH64, seed 0, 16 upper-case hex digits | hosts since 2019 (xapi 1.170) |
//! | `.checksum` | SHA-1, 40 lower-case hex digits | older hosts |
//!
//! xapi: the importer compares the text byte by byte, so lower-case `.xxhash` digits are wrong.

use sha1::{Digest, Sha1};
use xxhash_rust::xxh64::xxh64;

/// Longest text of a checksum, in bytes.
pub const TEXT_LEN_MAX: usize = 40;

/// Which of the two checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumKind {
    /// XXH64.
    Xxh64,
    /// SHA-1. For restoring to hosts older than Citrix Hypervisor 8.1.
    Sha1,
}

impl ChecksumKind {
    /// What the name of the member ends in.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Xxh64 => ".xxhash",
            Self::Sha1 => ".checksum",
        }
    }

    /// Bytes of the text.
    pub const fn text_len(self) -> usize {
        match self {
            Self::Xxh64 => 16,
            Self::Sha1 => 40,
        }
    }

    /// The checksum of `chunk`, as it stands in the archive.
    pub fn text_of(self, chunk: &[u8]) -> String {
        match self {
            Self::Xxh64 => format!("{:016X}", xxh64(chunk, 0)),
            Self::Sha1 => lower_hex(&Sha1::digest(chunk)),
        }
    }
}

fn lower_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_nothing_are_those_that_hosts_write() {
        assert_eq!(ChecksumKind::Xxh64.text_of(b""), "EF46DB3751D8E999");
        let sha1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert_eq!(ChecksumKind::Sha1.text_of(b""), sha1);
    }

    #[test]
    fn texts_have_their_length() {
        for kind in [ChecksumKind::Xxh64, ChecksumKind::Sha1] {
            assert_eq!(kind.text_of(b"abc").len(), kind.text_len());
            assert!(kind.text_len() <= TEXT_LEN_MAX);
        }
    }
}
