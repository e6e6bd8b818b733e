//! An XVA: one VM, its record and its disks, as a tar that can be written and read in one pass.
//!
//! ```text
//! ova.xml                    the VM record (XML-RPC), always first
//! Ref:12/00000000            1 MiB of the first disk
//! Ref:12/00000000.xxhash     XXH64 of that MiB (.checksum: SHA-1), always next
//! Ref:12/00000003            chunks 1 and 2 are absent: they are zero
//! Ref:12/00000003.xxhash
//! Ref:12/00000004            empty: a keep-alive, which uses up a number and no disk space
//! Ref:12/00000004.xxhash
//! ...                        to the last chunk, which is there even if it is zero
//! Ref:7/00000000             the next disk, in byte-wise order of the ids
//! two zero blocks            the end
//! ```
//!
//! xapi: chunk numbers are counters, not offsets. A chunk lies where the previous one ended, plus
//! one chunk length for each number that was skipped.

pub mod checksum;
pub mod error_page;
pub mod layout;
pub mod members;
pub mod ova;
pub mod reader;
pub mod tar;
pub mod writer;

use std::io;

/// Bytes of a chunk as every host writes it: 1 MiB.
pub const CHUNK_LEN: usize = 1 << 20;
/// Longest chunk that is read, in bytes. Chunk lengths divide it, so that no chunk crosses a
/// segment.
pub const CHUNK_LEN_MAX: usize = 4 << 20;
/// Highest number of a chunk. xapi: numbers are compared as strings of 8 digits.
pub const CHUNK_NUMBER_MAX: u64 = 99_999_999;
/// Longest `ova.xml`, in bytes.
pub const RECORD_LEN_MAX: u64 = 16 << 20;
/// Largest disk, in bytes (1 PiB; xapi's own limit is 95 TiB, by [`CHUNK_NUMBER_MAX`]).
pub const DISK_LEN_MAX: u64 = 1 << 50;
/// Most disks of one VM, its snapshots' included.
pub const DISKS_MAX: usize = 4096;
/// Longest id of a disk (`Ref:12`), in bytes. With a number and `.checksum` it fits a tar name.
pub const ID_LEN_MAX: usize = 80;
/// Most bytes of extended headers (PAX, GNU long names) before one member.
pub const PRELUDE_LEN_MAX: usize = 64 << 10;
/// Longest encoded layout, in bytes. An archive that would need more is not remembered exactly.
pub const LAYOUT_LEN_MAX: usize = 64 << 20;
/// Most bytes after the end of the archive that are kept if they are not zero.
pub const TAIL_LEN_MAX: usize = 64 << 10;
/// Most bytes after the end of the archive if they are all zero (tar pads to its record size).
pub const ZERO_TAIL_LEN_MAX: u64 = 64 << 20;

const _: () = assert!(CHUNK_LEN_MAX.is_multiple_of(CHUNK_LEN));
const _: () = assert!(ID_LEN_MAX + "/00000000.checksum".len() <= tar::NAME_LEN_MAX);
const _: () = assert!(TAIL_LEN_MAX < LAYOUT_LEN_MAX && PRELUDE_LEN_MAX < LAYOUT_LEN_MAX);

/// Why an XVA could not be read.
#[derive(Debug, thiserror::Error)]
pub enum XvaError {
    /// The first bytes are not those of an XVA that can be read.
    #[error("not an XVA: {what}")]
    NotXva {
        /// What was found instead.
        what: String,
    },
    /// The archive ended too early.
    #[error("archive ends inside {place}")]
    Cut {
        /// Member and offset in the (uncompressed) archive.
        place: String,
    },
    /// The archive contradicts itself or its record.
    #[error("archive is damaged at {place}: {what}")]
    Damaged {
        /// Member and offset in the (uncompressed) archive.
        place: String,
        /// What is wrong there.
        what: String,
    },
    /// The input could not be read.
    #[error("cannot read {place}")]
    Io {
        /// What was being read.
        place: String,
        /// The reader's answer.
        source: io::Error,
    },
}

/// Whether all of `bytes` are zero. Stops early, and runs at the speed of memory where it must not.
pub fn is_zero(bytes: &[u8]) -> bool {
    const STEP: usize = 4096;
    let folds_to_zero = |part: &[u8]| part.iter().fold(0, |bits, byte| bits | byte) == 0;
    bytes.first().is_none_or(|byte| *byte == 0) && bytes.chunks(STEP).all(folds_to_zero)
}
