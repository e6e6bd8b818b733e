//! Backup: a source becomes a snapshot.
//!
//! ```text
//! source -> segments -> [hash; known? done] -> [cut, name chunks; known? done] -> packer -> map, node, disk -> snapshot
//! ```
//!
//! What stands in brackets runs on worker threads, a whole segment each; their results come back in
//! order to the one thread that decides what is stored. The snapshot is created last.

use std::sync::Arc;

use repo_format::FormatError;
use repo_format::chunker::Chunker;
use repo_format::disk::{Disk, disk_id};
use repo_format::frame::Compression;
use repo_format::id::{RunId, SegmentId, SnapshotId};
use repo_format::limits::{DISK_SIZE_MAX, DISKS_MAX, SEGMENT_LEN, TEXT_MAX};
use repo_format::node::root_level;
use repo_format::pack::EntryKind;
use repo_format::snapshot::{Consistency, DiskRole, Origin, Snapshot, SnapshotDisk, Statistics};

use crate::catalog::CatalogError;
use crate::examine::{Examined, Examiner, Verdict};
use crate::hints::Hints;
use crate::lookup::{Lookup, LookupError};
use crate::observer::{Event, Observer};
use crate::packer::{Packer, Threads};
use crate::repository::{ReadError, Repository};
use crate::session::{Session, SessionError, Who};
use crate::snapshots;
use crate::source::{DiskInfo, NextSegment, Role, Source, SourceError, SourceFacts};
use crate::tree::TreeBuilder;

/// Segments in flight for each worker: 4 MiB each.
const SEGMENTS_PER_WORKER: usize = 4;
/// Segments in flight at most: 96 MiB.
const SEGMENTS_MAX: usize = 24;

/// What the user wants.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// Who runs it.
    pub who: Who,
    /// The run that the snapshot belongs to.
    pub run: RunId,
    /// Name of the run; may be empty.
    pub run_name: String,
    /// Tags, in any order.
    pub tags: Vec<String>,
    /// What the user named: a path, or `-`.
    pub path: String,
    /// The VM's name, if the container does not tell, or to use another.
    pub vm_name: Option<String>,
    /// Seconds since 1970 that the snapshot bears; now if `None`.
    pub time: Option<u64>,
    /// Minutes east of UTC where it is made.
    pub utc_offset: i16,
    /// How hard to compress.
    pub compression: Compression,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The source could not be read to its end.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The index failed.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The catalog could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// An object could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is said of the snapshot goes beyond the format's limits.
    #[error("the snapshot cannot be described")]
    Description(#[source] FormatError),
    /// The source is larger than the format allows.
    #[error("{what} is larger than the format allows")]
    TooLarge {
        /// What.
        what: String,
    },
}

/// Makes a snapshot of `source`. On an error there is none; what was stored is found by the next backup.
pub fn backup(
    repository: &Repository,
    threads: Threads<'_>,
    source: &mut dyn Source,
    request: &BackupRequest,
    observer: &dyn Observer,
) -> Result<Snapshot, BackupError> {
    let begun_ms = repository.surroundings().now_ms();
    // What the user typed is checked before hours are spent on reading the source.
    let unnamed = SnapshotId::from_bytes([0; 16]);
    let draft = describe(repository, unnamed, SourceFacts::default(), request, Vec::new());
    draft.check().map_err(BackupError::Description)?;
    let (session, lookup) = Session::begin(repository, &request.who)?;
    match run(repository, threads, &session, lookup, source, request, observer) {
        Ok(mut snapshot) => {
            let now_ms = repository.surroundings().now_ms();
            snapshot.statistics.elapsed_ms = now_ms.saturating_sub(begun_ms);
            session.commit(&snapshot)?;
            Ok(snapshot)
        }
        Err(error) => {
            // The first error is the one to tell; a session that stays is no damage.
            let _ = session.abandon();
            if let BackupError::Lookup(LookupError::CacheDamaged(_)) = error {
                let _ = Lookup::discard(repository.cache());
            }
            Err(error)
        }
    }
}

fn run(
    repository: &Repository,
    threads: Threads<'_>,
    session: &Session<'_>,
    lookup: Lookup,
    source: &mut dyn Source,
    request: &BackupRequest,
    observer: &dyn Observer,
) -> Result<Snapshot, BackupError> {
    let hints = Hints::load(repository, session.catalog())?;
    let chunker = Chunker::new(repository.keys().gear());
    let examiner = Arc::new(Examiner { keys: repository.keys().clone(), chunker, lookup, hints });
    let packer = Packer::new(repository, session, threads, request.compression, observer);
    let mut writer =
        DiskWriter { threads, examiner, packer, observer, counted: Counted::default() };
    let mut disks = Vec::new();
    while let Some(info) = source.next_disk()? {
        if disks.len() == DISKS_MAX {
            return Err(BackupError::TooLarge { what: "the number of disks".to_owned() });
        }
        disks.push(writer.write(source, info)?);
    }
    let DiskWriter { mut packer, counted, .. } = writer;
    let earlier = snapshots::list(repository, session.catalog())?;
    let mut snapshot = describe(repository, session.id(), source.facts(), request, disks);
    snapshot.predecessor = snapshots::predecessor(
        &earlier,
        snapshot.origin.vm_uuid.as_deref(),
        snapshot.origin.vm_name.as_deref(),
    )
    .map(|earlier| earlier.id);
    snapshot.statistics.data_bytes = counted.data_bytes;
    snapshot.check().map_err(BackupError::Description)?;
    packer.add_entry(EntryKind::Snapshot, snapshot_entry_id(session.id()), &snapshot.encode())?;
    let stored = packer.finish()?;
    snapshot.statistics.new_bytes = stored.new_bytes;
    snapshot.statistics.stored_bytes = stored.stored_bytes;
    Ok(snapshot)
}

/// The id under which a snapshot's copy stands in a map pack (SPEC 8.1).
#[must_use]
pub fn snapshot_entry_id(id: SnapshotId) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..16].copy_from_slice(id.as_bytes());
    entry
}

#[derive(Default)]
struct Counted {
    data_bytes: u64,
}

/// Writes disks, one after the other.
struct DiskWriter<'r, 'w> {
    threads: Threads<'w>,
    examiner: Arc<Examiner>,
    packer: Packer<'r, 'w>,
    observer: &'w dyn Observer,
    counted: Counted,
}

impl DiskWriter<'_, '_> {
    fn write(
        &mut self,
        source: &mut dyn Source,
        info: DiskInfo,
    ) -> Result<SnapshotDisk, BackupError> {
        let (name, size_bytes) = (info.name.as_str(), info.size_bytes);
        self.observer.event(Event::DiskBegins { name, size_bytes });
        let workers = self.threads.workers;
        let in_flight = (SEGMENTS_PER_WORKER * workers.count()).min(SEGMENTS_MAX);
        let mut examined = workers.ordered(in_flight);
        let mut spare: Vec<Vec<u8>> = Vec::new();
        let mut tree = TreeBuilder::default();
        let mut passed = 0;
        let size_bytes = loop {
            let mut buffer = spare.pop().unwrap_or_else(|| vec![0; SEGMENT_LEN]);
            match source.next_segment(&mut buffer)? {
                NextSegment::End { size_bytes } => break size_bytes,
                NextSegment::Filled { number } => {
                    within_limit(&info, number)?;
                    let examiner = Arc::clone(&self.examiner);
                    examined.submit(move || examiner.examine(number, buffer));
                }
            }
            while examined.is_full() {
                let Some(segment) = examined.next() else { break };
                spare.push(self.place(segment?, &mut tree, &mut passed)?);
            }
        };
        while let Some(segment) = examined.next() {
            self.place(segment?, &mut tree, &mut passed)?;
        }
        let rest = size_bytes.saturating_sub(passed);
        self.observer.event(Event::Progress { passed_bytes: rest, new_bytes: 0 });
        self.close(info, size_bytes, tree)
    }

    /// Stores what is new in a segment and adds it to the tree; gives its buffer back.
    fn place(
        &mut self,
        segment: Examined,
        tree: &mut TreeBuilder,
        passed: &mut u64,
    ) -> Result<Vec<u8>, BackupError> {
        let before = self.packer.stored().new_bytes;
        let Examined { number, buffer, verdict } = segment;
        match verdict {
            Verdict::Zero => {}
            Verdict::Known(id) => self.add_segment(number, id, tree)?,
            Verdict::New(id, cut) => {
                if !self.packer.has_entry(EntryKind::Map, id.as_bytes()) {
                    for chunk in &cut.unknown {
                        match &chunk.hint {
                            Some(hint) => self.packer.repeat_chunk(hint),
                            None => {
                                self.packer.add_chunk(chunk.id, &buffer[chunk.range.clone()])?;
                            }
                        }
                    }
                    self.packer.add_entry(EntryKind::Map, *id.as_bytes(), &cut.map.encode())?;
                }
                self.add_segment(number, id, tree)?;
            }
        }
        let end = (number + 1) * SEGMENT_LEN as u64;
        let passed_bytes = end.saturating_sub(*passed);
        *passed = end;
        let new_bytes = self.packer.stored().new_bytes - before;
        self.observer.event(Event::Progress { passed_bytes, new_bytes });
        Ok(buffer)
    }

    fn add_segment(
        &mut self,
        number: u64,
        id: SegmentId,
        tree: &mut TreeBuilder,
    ) -> Result<(), BackupError> {
        self.counted.data_bytes += SEGMENT_LEN as u64;
        tree.push(&self.examiner.keys, number, *id.as_bytes());
        self.add_nodes(tree)
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
        if size_bytes > DISK_SIZE_MAX || info.name.len() > TEXT_MAX || info.key.len() > TEXT_MAX {
            return Err(too_large());
        }
        let root = tree.finish(&self.examiner.keys, root_level(size_bytes));
        self.add_nodes(&mut tree)?;
        let disk = Disk::new(size_bytes, root).map_err(|_| too_large())?.encode();
        let id = disk_id(&self.examiner.keys, &disk);
        self.add_unknown(EntryKind::Disk, *id.as_bytes(), &disk)?;
        let role = stored_role(info.role);
        Ok(SnapshotDisk { role, name: info.name, key: info.key, size_bytes, id })
    }
}

fn within_limit(info: &DiskInfo, number: u64) -> Result<(), BackupError> {
    match number < DISK_SIZE_MAX / SEGMENT_LEN as u64 {
        true => Ok(()),
        false => Err(BackupError::TooLarge { what: info.name.clone() }),
    }
}

fn describe(
    repository: &Repository,
    id: SnapshotId,
    facts: SourceFacts,
    request: &BackupRequest,
    disks: Vec<SnapshotDisk>,
) -> Snapshot {
    let mut tags = request.tags.clone();
    tags.sort();
    tags.dedup();
    let has_memory = disks.iter().any(|disk| disk.role == DiskRole::Memory);
    let statistics = Statistics {
        input_bytes: facts.bytes_read,
        virtual_bytes: disks.iter().map(|disk| disk.size_bytes).sum(),
        checksums_verified: facts.checksums_verified,
        ..Statistics::default()
    };
    Snapshot {
        id,
        time: request.time.unwrap_or_else(|| repository.surroundings().now()),
        utc_offset: request.utc_offset,
        run: request.run,
        run_name: request.run_name.clone(),
        host: request.who.host.clone(),
        program: request.who.program.clone(),
        tags,
        origin: Origin {
            container: facts.container,
            compression: facts.compression,
            vm_uuid: facts.vm_uuid,
            vm_name: request.vm_name.clone().or(facts.vm_name),
            host_name: facts.host_name,
            path: request.path.clone(),
        },
        disks,
        consistency: if has_memory { Consistency::Memory } else { Consistency::Unknown },
        statistics,
        predecessor: None,
    }
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
