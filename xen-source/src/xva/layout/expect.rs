//! What the next member of an XVA is expected to look like. Recorder and writer both ask here, so
//! that what the one does not record the other makes again.

use super::super::checksum::ChecksumKind;
use super::super::tar::{Block, relabel, v7_header};
use super::changes::Changes;

/// Which of a pair of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberClass {
    /// A chunk of a disk.
    Chunk,
    /// Its checksum.
    Checksum,
}

/// Name of the member that holds chunk `number` of disk `id`.
pub fn chunk_name(id: &str, number: u64) -> String {
    format!("{id}/{number:08}")
}

/// Whether a chunk of zeros is expected to be in the archive: the first and the last are.
pub fn zero_is_expected(is_first: bool, is_last: bool) -> bool {
    is_first || is_last
}

/// The header expected before `ova.xml`.
pub fn record_header(size_bytes: u64) -> Block {
    v7_header(super::super::ova::MEMBER_NAME.as_bytes(), size_bytes)
}

/// The headers of the latest pair, from which those of the next are expected.
#[derive(Debug, Clone)]
pub struct Stencils {
    chunk: Block,
    checksum: Block,
    kind: ChecksumKind,
}

impl Stencils {
    /// What is expected of the first pair: V7 headers as xapi writes them, and XXH64 unless
    /// the changes to the record's member name another checksum.
    pub fn after_record(changes: &Changes) -> Self {
        let header = v7_header(b"", 0);
        let kind = changes.checksum.unwrap_or(ChecksumKind::Xxh64);
        Self { chunk: header, checksum: header, kind }
    }

    /// The kind of checksum in use.
    pub fn checksum_kind(&self) -> ChecksumKind {
        self.kind
    }

    /// The header expected next.
    pub fn header(&self, class: MemberClass, name: &str, size_bytes: u64) -> Block {
        match class {
            MemberClass::Chunk => relabel(&self.chunk, name.as_bytes(), size_bytes),
            MemberClass::Checksum => relabel(&self.checksum, name.as_bytes(), size_bytes),
        }
    }

    /// Takes note of a header that was not as expected.
    pub fn learn(&mut self, class: MemberClass, header: &Block, changes: &Changes) {
        match class {
            MemberClass::Chunk => self.chunk = *header,
            MemberClass::Checksum => self.checksum = *header,
        }
        self.kind = changes.checksum.unwrap_or(self.kind);
    }
}
