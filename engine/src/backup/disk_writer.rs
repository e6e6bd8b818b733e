//! Disks of a source become entries: segments are examined by workers and placed in order.
//!
//! Where the source delivers only what has changed, the others are taken from the stored disk (`changes`).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use repo_format::disk::{Disk, disk_id};
use repo_format::id::SegmentId;
use repo_format::limits::{DISK_SIZE_MAX, DISKS_MAX, SEGMENT_LEN, TEXT_MAX};
use repo_format::node::root_level;
use repo_format::object_name::IndexName;
use repo_format::pack::EntryKind;
use repo_format::snapshot::{DiskRole, SnapshotDisk};

use super::BackupError;
use super::changes::{Base, Step};
use crate::catalog::open_lookup;
use crate::examine::{Examined, Examiner, Given, Outcome, Place, Trace, Verdict};
use crate::lookup::LookupError;
use crate::observer::{Event, Observer};
use crate::packer::{Packer, Threads};
use crate::parallel::Ordered;
use crate::predecessor::{Comparison, Earlier, same_disk};
use crate::repository::Repository;
use crate::snapshots;
use crate::source::{DiskInfo, NextSegment, Role, Source, SourceError};
use crate::tree::TreeBuilder;

/// Segments in flight for each worker: 4 MiB each.
const SEGMENTS_PER_WORKER: usize = 4;
/// Segments in flight at most: 96 MiB.
const SEGMENTS_MAX: usize = 24;

/// Writes disks, one after the other.
pub(super) struct DiskWriter<'r, 't, 'w> {
    pub(super) repository: &'r Repository,
    pub(super) threads: Threads<'w>,
    /// What counts, whatever is stored meanwhile.
    pub(super) counting: BTreeSet<IndexName>,
    pub(super) examiner: Arc<Examiner>,
    /// Where predecessors are looked for.
    pub(super) earlier: Earlier<'w>,
    /// What the user calls the VM.
    pub(super) vm_name: Option<&'w str>,
    /// New segments with prints so far.
    pub(super) segments_stored: u64,
    pub(super) packer: &'w mut Packer<'r, 't>,
    pub(super) observer: &'w dyn Observer,
    /// Bytes of segments that are not holes.
    pub(super) data_bytes: u64,
}

/// A disk that is being written.
struct OpenDisk<'w> {
    tree: TreeBuilder,
    /// Bytes up to the end of the last segment.
    passed: u64,
    lag: Lag,
    before: Before<'w>,
    /// Whether that is not what the source thinks, or cannot be read.
    is_base_wrong: bool,
    with_print: bool,
    examined: Ordered<'w, Result<Examined, LookupError>>,
    spare: Vec<Vec<u8>>,
}

/// What stood where the segments of a disk come.
enum Before<'w> {
    /// Segments of the disk that the source tells the changes of.
    Base(Base),
    /// What they are compared with, to find their blocks.
    Compared(Comparison<'w>),
}

impl Before<'_> {
    const fn base(&mut self) -> Option<&mut Base> {
        match self {
            Self::Base(base) => Some(base),
            Self::Compared(_) => None,
        }
    }
}

impl<'w> DiskWriter<'_, '_, 'w> {
    /// Everything that the source delivers.
    pub(super) fn write_all(
        &mut self,
        source: &mut dyn Source,
    ) -> Result<Vec<SnapshotDisk>, BackupError> {
        let mut disks = Vec::new();
        while let Some(info) = source.next_disk()? {
            if disks.len() == DISKS_MAX {
                return Err(BackupError::TooLarge { what: "the number of disks".to_owned() });
            }
            disks.push(self.write(source, info)?);
        }
        Ok(disks)
    }

    fn write(
        &mut self,
        source: &mut dyn Source,
        info: DiskInfo,
    ) -> Result<SnapshotDisk, BackupError> {
        let (name, size_bytes) = (info.name.as_str(), info.size_bytes);
        self.observer.event(Event::DiskBegins { name, size_bytes });
        let data_bytes = self.data_bytes;
        let mut base = Base::of(&self.earlier.nodes, &info);
        if info.base.is_some() && base.is_none() {
            self.distrust_base(source, &info)?;
        }
        loop {
            let before = match base.take() {
                Some(base) => Before::Base(base),
                None => Before::Compared(self.comparison(source, &info)),
            };
            let mut disk = self.open(before, has_print(info.role));
            if let Some(size_bytes) = self.write_segments(source, &info, &mut disk)? {
                let rest = size_bytes.saturating_sub(disk.passed);
                self.observer.event(Event::Progress { passed_bytes: rest, new_bytes: 0 });
                return self.close(info, size_bytes, disk.tree);
            }
            // What was stored meanwhile stays: the disk refers to it again, or nobody does.
            while disk.examined.next().is_some() {}
            self.data_bytes = data_bytes;
            self.distrust_base(source, &info)?;
        }
    }

    fn distrust_base(&self, source: &mut dyn Source, info: &DiskInfo) -> Result<(), BackupError> {
        let (name, size_bytes) = (info.name.as_str(), info.size_bytes);
        self.observer.event(Event::BaseDistrusted { name, size_bytes });
        Ok(source.distrust_base()?)
    }

    fn open(&self, before: Before<'w>, with_print: bool) -> OpenDisk<'w> {
        let workers = self.threads.workers;
        let in_flight = (SEGMENTS_PER_WORKER * workers.count()).min(SEGMENTS_MAX);
        OpenDisk {
            tree: TreeBuilder::default(),
            passed: 0,
            lag: Lag::new(self.segments_stored),
            before,
            is_base_wrong: false,
            with_print,
            examined: workers.ordered(in_flight),
            spare: Vec::new(),
        }
    }

    /// Takes what the source delivers of a disk; returns its size in bytes, or `None` if its base turned out to be wrong.
    fn write_segments(
        &mut self,
        source: &mut dyn Source,
        info: &DiskInfo,
        disk: &mut OpenDisk<'w>,
    ) -> Result<Option<u64>, BackupError> {
        let mut last = None;
        let size_bytes = loop {
            let mut buffer = disk.spare.pop().unwrap_or_else(|| vec![0; SEGMENT_LEN]);
            let (number, given) = match source.next_segment(&mut buffer)? {
                NextSegment::End { size_bytes } => break size_bytes,
                NextSegment::Filled { number } => (number, Given::Whole),
                _ if disk.before.base().is_none() => {
                    return Err(damaged(info, "it tells changes to nothing"));
                }
                NextSegment::Partly { number, units } => (number, Given::Units(units)),
                NextSegment::Sample { number } => (number, Given::Sample),
            };
            in_order(info, last, number)?;
            last = Some(number);
            self.take_left_out(source, number, disk)?;
            let step = match &mut disk.before {
                Before::Base(base) => base.delivered(number, given),
                Before::Compared(comparison) => {
                    let before = comparison.before(number, disk.lag.submitted);
                    Ok(Step { number, before, given })
                }
            };
            match step {
                Ok(step) => self.take(source, step, buffer, disk)?,
                Err(_) => disk.is_base_wrong = true,
            }
            if disk.is_base_wrong {
                return Ok(None);
            }
        };
        if last.is_some_and(|last| last * SEGMENT_LEN as u64 >= size_bytes) {
            return Err(damaged(info, "it has data behind its end"));
        }
        if disk.before.base().is_some() && info.size_bytes != Some(size_bytes) {
            return Err(damaged(info, "it ends elsewhere than it said"));
        }
        self.take_left_out(source, u64::MAX, disk)?;
        while !disk.is_base_wrong && self.place_next(source, disk)? {}
        Ok((!disk.is_base_wrong).then_some(size_bytes))
    }

    /// Takes what the source has left out below `limit`: it is as it was.
    fn take_left_out(
        &mut self,
        source: &mut dyn Source,
        limit: u64,
        disk: &mut OpenDisk<'w>,
    ) -> Result<(), BackupError> {
        while let (false, Some(base)) = (disk.is_base_wrong, disk.before.base()) {
            match base.left_out(limit) {
                Ok(Some(step)) => self.take(source, step, Vec::new(), disk)?,
                Ok(None) => break,
                Err(_) => disk.is_base_wrong = true,
            }
        }
        Ok(())
    }

    /// Lets a worker examine what has come of a segment, and places what others have examined meanwhile.
    fn take(
        &mut self,
        source: &mut dyn Source,
        step: Step,
        buffer: Vec<u8>,
        disk: &mut OpenDisk<'w>,
    ) -> Result<(), BackupError> {
        let Step { number, before, given } = step;
        let stored_before = disk.lag.submit();
        let place = Place { number, before, stored_before, with_print: disk.with_print };
        let examiner = Arc::clone(&self.examiner);
        disk.examined.submit(move || examiner.examine(place, given, buffer));
        while disk.examined.is_full() && !disk.is_base_wrong {
            self.place_next(source, disk)?;
        }
        Ok(())
    }

    /// Places the segment that was taken first, unless that shows that the base is wrong; false if there is none.
    fn place_next(
        &mut self,
        source: &mut dyn Source,
        disk: &mut OpenDisk<'w>,
    ) -> Result<bool, BackupError> {
        let Some(segment) = disk.examined.next() else { return Ok(false) };
        let Examined { place, mut buffer, outcome } = segment?;
        match outcome {
            Outcome::Is(verdict) => self.place(place.number, verdict, buffer, disk)?,
            Outcome::Wanted => {
                buffer.resize(SEGMENT_LEN, 0);
                source.read_segment(place.number, &mut buffer)?;
                let verdict = self.examiner.whole(place, &mut buffer)?;
                self.place(place.number, verdict, buffer, disk)?;
            }
            Outcome::Unlike => disk.is_base_wrong = true,
        }
        Ok(true)
    }

    /// What a disk is compared with: the one of the same VM, else what shares most with it.
    fn comparison(&self, source: &dyn Source, info: &DiskInfo) -> Comparison<'w> {
        let (facts, role) = (source.facts(), stored_role(info.role));
        let name = self.vm_name.or(facts.vm_name.as_deref());
        let earlier = self.earlier.snapshots;
        let of_vm = snapshots::of_vm(earlier, facts.vm_uuid.as_deref(), name);
        let named = same_disk(&of_vm, role, &info.key, &info.name);
        Comparison::new(self.earlier.clone(), role, named.map(|disk| disk.id))
    }

    /// Stores what is new in a segment and adds it to the tree.
    fn place(
        &mut self,
        number: u64,
        verdict: Verdict,
        buffer: Vec<u8>,
        disk: &mut OpenDisk<'w>,
    ) -> Result<(), BackupError> {
        let before = self.packer.stored().new_bytes;
        match verdict {
            Verdict::Zero => {}
            Verdict::Known(id) => self.add_segment(number, id, disk)?,
            Verdict::New(id, cut) => {
                if !self.packer.has_entry(EntryKind::Map, id.as_bytes()) {
                    for chunk in &cut.unknown {
                        match &chunk.hint {
                            Some(hint) => self.packer.repeat_chunk(hint)?,
                            None => {
                                self.packer.add_chunk(chunk.id, &buffer[chunk.range.clone()])?;
                            }
                        }
                    }
                    self.packer.add_entry(EntryKind::Map, *id.as_bytes(), &cut.map.encode())?;
                    if let Some(Trace { known, stored, hooks }) = cut.trace {
                        self.packer.add_print(id, &stored, &hooks)?;
                        self.examiner.prints.learn(known, &hooks, self.segments_stored);
                        self.segments_stored += 1;
                    }
                }
                self.add_segment(number, id, disk)?;
            }
        }
        let end = (number + 1) * SEGMENT_LEN as u64;
        let passed_bytes = end.saturating_sub(disk.passed);
        disk.passed = end;
        let new_bytes = self.packer.stored().new_bytes - before;
        if self.packer.is_crowded() {
            self.renew_index()?;
        }
        self.packer.go_on()?;
        disk.lag.place(self.segments_stored);
        self.observer.event(Event::Progress { passed_bytes, new_bytes });
        if !buffer.is_empty() {
            disk.spare.push(buffer);
        }
        Ok(())
    }

    /// Moves what this session has published from memory into the index, so that memory does not grow with the
    /// source. Segments under way know the old index still: at worst a chunk of theirs is stored twice.
    fn renew_index(&mut self) -> Result<(), BackupError> {
        let names = self.counting.union(self.packer.published()).copied().collect();
        let lookup = match open_lookup(self.repository, &names) {
            // A dry run keeps nothing that could be read again.
            Err(LookupError::Fetch { .. }) => {
                self.packer.never_crowded();
                return Ok(());
            }
            lookup => lookup?,
        };
        self.packer.forget_known(&lookup)?;
        let lookup = Arc::new(lookup);
        self.earlier.nodes.renew(Arc::clone(&lookup));
        self.examiner = Arc::new(self.examiner.with_lookup(lookup));
        Ok(())
    }

    fn add_segment(
        &mut self,
        number: u64,
        id: SegmentId,
        disk: &mut OpenDisk<'w>,
    ) -> Result<(), BackupError> {
        self.data_bytes += SEGMENT_LEN as u64;
        if let Before::Compared(comparison) = &mut disk.before {
            comparison.saw(number, id, disk.lag.placed + SEGMENTS_MAX);
        }
        disk.tree.push(&self.examiner.keys, number, *id.as_bytes());
        self.add_nodes(&mut disk.tree)
    }

    fn add_nodes(&mut self, tree: &mut TreeBuilder) -> Result<(), BackupError> {
        for (id, bytes) in tree.take_finished() {
            self.add_unknown(EntryKind::Node, *id.as_bytes(), &bytes)?;
        }
        Ok(())
    }

    fn add_unknown(
        &mut self,
        kind: EntryKind,
        id: [u8; 32],
        bytes: &[u8],
    ) -> Result<(), BackupError> {
        match self.examiner.lookup.find(kind, &id)? {
            Some(_) => Ok(()),
            None => Ok(self.packer.add_entry(kind, id, bytes)?),
        }
    }

    fn close(
        &mut self,
        info: DiskInfo,
        size_bytes: u64,
        mut tree: TreeBuilder,
    ) -> Result<SnapshotDisk, BackupError> {
        let too_large = || BackupError::TooLarge { what: info.name.clone() };
        let texts = [&info.name, &info.key, &info.version];
        if size_bytes > DISK_SIZE_MAX || texts.iter().any(|text| text.len() > TEXT_MAX) {
            return Err(too_large());
        }
        let root = tree.finish(&self.examiner.keys, root_level(size_bytes));
        self.add_nodes(&mut tree)?;
        let disk = Disk::new(size_bytes, root).map_err(|_| too_large())?.encode();
        let id = disk_id(&self.examiner.keys, &disk);
        self.add_unknown(EntryKind::Disk, *id.as_bytes(), &disk)?;
        let role = stored_role(info.role);
        let version = Some(info.version).filter(|version| !version.is_empty());
        Ok(SnapshotDisk { role, name: info.name, key: info.key, size_bytes, id, version })
    }
}

/// What a segment may find of its own session: what was stored when the one [`SEGMENTS_MAX`] before it was placed.
/// More would often be there, but how much depends on the number of workers.
struct Lag {
    submitted: usize,
    placed: usize,
    /// Segments stored, after each segment that was placed since.
    stored: VecDeque<u64>,
}

impl Lag {
    fn new(stored: u64) -> Self {
        Self { submitted: 0, placed: 0, stored: VecDeque::from([stored]) }
    }

    /// For the next segment: how many were stored.
    fn submit(&mut self) -> u64 {
        if self.submitted >= SEGMENTS_MAX {
            self.stored.pop_front();
        }
        self.submitted += 1;
        *self.stored.front().expect("fewer than that are under way")
    }

    fn place(&mut self, stored: u64) {
        self.placed += 1;
        self.stored.push_back(stored);
    }
}

/// Small streams are cut afresh: their prints would cost more than they save.
const fn has_print(role: Role) -> bool {
    match role {
        Role::Disk | Role::Memory | Role::File => true,
        Role::Record | Role::Layout => false,
    }
}

/// Segments come in rising order, and not without end: the tree is built on that.
fn in_order(info: &DiskInfo, last: Option<u64>, number: u64) -> Result<(), BackupError> {
    if number >= DISK_SIZE_MAX / SEGMENT_LEN as u64 {
        return Err(BackupError::TooLarge { what: info.name.clone() });
    }
    match last.is_none_or(|last| last < number) {
        true => Ok(()),
        false => Err(damaged(info, "its segments are out of order")),
    }
}

fn damaged(info: &DiskInfo, what: &str) -> BackupError {
    SourceError::Damaged { place: info.name.clone(), what: what.to_owned() }.into()
}

const fn stored_role(role: Role) -> DiskRole {
    match role {
        Role::Disk => DiskRole::Disk,
        Role::Memory => DiskRole::Memory,
        Role::Record => DiskRole::Record,
        Role::Layout => DiskRole::Layout,
        Role::File => DiskRole::File,
    }
}
