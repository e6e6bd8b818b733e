//! Writes down how an archive that is being read departs from what is expected.

use super::changes::Changes;
use super::expect::{MemberClass, Stencils, record_header, zero_is_expected};
use super::{DiskLayout, KeepAlives, Layout, Tail};
use crate::xva::LAYOUT_LEN_MAX;
use crate::xva::checksum::ChecksumKind;
use crate::xva::members::Member;

/// Bytes that an entry of a list takes at most when encoded: an array of two numbers.
const ENTRY_LEN: usize = 19;

/// Takes note of everything in an archive, in order.
#[derive(Debug)]
pub struct Recorder {
    layout: Layout,
    stencils: Stencils,
    disk: DiskNotes,
    /// What the layout takes at most when encoded, in bytes.
    len_max: usize,
}

/// Where the recorder is in the current disk.
#[derive(Debug, Default)]
struct DiskNotes {
    position: u64,
    zero_run_departs: bool,
    zero_run_len: u64,
    chunks_since_keep_alive: u64,
    members_skipped: u64,
}

impl Recorder {
    /// Starts after the `ova.xml` member.
    pub fn new(record: &Member, padding: Vec<u8>) -> Self {
        let mut layout = Layout::canonical([], ChecksumKind::Xxh64);
        let expected = record_header(record.size_bytes);
        layout.record = Changes {
            prelude: record.prelude.clone(),
            patches: Changes::patches_between(&expected, &record.header),
            padding,
            checksum: None,
        };
        let (stencils, disk) = (Stencils::after_record(&layout.record), DiskNotes::default());
        Self { layout, stencils, disk, len_max: 0 }
    }

    /// Takes note of the length of chunks, in bytes.
    pub fn chunk_len(&mut self, chunk_len: usize) {
        self.layout.chunk_len = chunk_len;
    }

    /// Begins a disk.
    pub fn disk(&mut self, id: &str) {
        self.layout.disks.push(DiskLayout::canonical(id.to_owned()));
        self.disk = DiskNotes::default();
    }

    /// `count` chunks are absent.
    pub fn absent(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        let starts_disk = self.disk.position == 0;
        self.zeros(zero_is_expected(starts_disk, false), 1);
        self.zeros(false, count - 1);
        self.advance(count);
    }

    /// A chunk is there.
    pub fn chunk(&mut self, is_zero: bool, is_last: bool) {
        if is_zero {
            let is_expected = zero_is_expected(self.disk.position == 0, is_last);
            self.zeros(!is_expected, 1);
        }
        self.advance(1);
    }

    /// An empty chunk is there.
    pub fn keep_alive(&mut self) {
        let chunks_since = std::mem::take(&mut self.disk.chunks_since_keep_alive);
        let Some(disk) = self.disk_with_room(ENTRY_LEN) else {
            return;
        };
        match disk.keep_alives.last_mut() {
            Some(last) if chunks_since == 0 => last.count += 1,
            _ => disk.keep_alives.push(KeepAlives { chunks_since, count: 1 }),
        }
    }

    /// A chunk or checksum member, with its padding if that is not zero.
    /// `name` is the name that it should have, and `kind` the checksum that it holds.
    pub fn member(
        &mut self,
        class: MemberClass,
        name: &str,
        member: &Member,
        padding: Vec<u8>,
        kind: Option<ChecksumKind>,
    ) {
        let expected = self.stencils.header(class, name, member.size_bytes);
        let changes = Changes {
            prelude: member.prelude.clone(),
            patches: Changes::patches_between(&expected, &member.header),
            padding,
            checksum: kind.filter(|kind| *kind != self.stencils.checksum_kind()),
        };
        if changes.is_empty() {
            self.disk.members_skipped += 1;
            return;
        }
        self.stencils.learn(class, &member.header, &changes);
        let skipped = std::mem::take(&mut self.disk.members_skipped);
        let room = changes.encoded_len_max() + ENTRY_LEN;
        if let Some(disk) = self.disk_with_room(room) {
            disk.exceptions.push(skipped, &changes);
        }
    }

    /// Ends with what follows the archive. `None` if there was too much to remember.
    pub fn finish(&mut self, tail: Tail) -> Option<Vec<u8>> {
        self.layout.tail = tail;
        let is_whole = self.len_max <= LAYOUT_LEN_MAX;
        let encoded = if is_whole { self.layout.encode() } else { None };
        encoded.filter(|encoded| encoded.len() <= LAYOUT_LEN_MAX)
    }

    /// `count` zero chunks that `departs` from the rule or do not.
    fn zeros(&mut self, departs: bool, count: u64) {
        if count == 0 {
            return;
        }
        if departs != self.disk.zero_run_departs {
            let run = std::mem::take(&mut self.disk.zero_run_len);
            self.disk.zero_run_departs = departs;
            if let Some(disk) = self.disk_with_room(ENTRY_LEN) {
                disk.zero_runs.push(run);
            }
        }
        self.disk.zero_run_len += count;
    }

    fn advance(&mut self, count: u64) {
        self.disk.position += count;
        self.disk.chunks_since_keep_alive += count;
    }

    /// Ends a disk: a run that departs has to be written, one that does not goes without saying.
    pub fn disk_end(&mut self) {
        let run = std::mem::take(&mut self.disk.zero_run_len);
        if !self.disk.zero_run_departs {
            return;
        }
        if let Some(disk) = self.disk_with_room(ENTRY_LEN) {
            disk.zero_runs.push(run);
        }
    }

    /// The current disk, if the layout may grow by `len` bytes. Otherwise everything is forgotten.
    fn disk_with_room(&mut self, len: usize) -> Option<&mut DiskLayout> {
        self.len_max = self.len_max.saturating_add(len);
        if self.len_max > LAYOUT_LEN_MAX {
            self.layout.disks.clear();
        }
        self.layout.disks.last_mut()
    }
}
