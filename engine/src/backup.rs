//! Backup: a source becomes a snapshot.
//!
//! ```text
//! source -> segments -> [hash; known? done] -> [cut, name chunks; known? done] -> packer -> map, node, disk -> snapshot
//! ```
//!
//! What stands in brackets runs on worker threads, a whole segment each; their results come back in
//! order to the one thread that decides what is stored. The snapshot is created last.

mod changes;
mod disk_writer;
mod run;

use std::sync::Arc;

use repo_format::FormatError;
use repo_format::chunker::Chunker;
use repo_format::id::{RunId, SnapshotId};
use repo_format::limits::FRAME_PLAIN_MAX;
use repo_format::pack::EntryKind;
use repo_format::snapshot::{Consistency, DiskRole, Origin, Snapshot, SnapshotDisk, Statistics};

use crate::catalog::CatalogError;
use crate::entries::Entries;
use crate::examine::Examiner;
use crate::hints::Hints;
use crate::lookup::{Lookup, LookupError};
use crate::observer::Observer;
use crate::packer::{Packer, Packing, Threads};
use crate::predecessor::{CountingNodes, Earlier};
use crate::prints::Prints;
use crate::repository::{ReadError, Repository};
use crate::session::{SessionError, Who};
use crate::snapshots;
use crate::source::{self, Source, SourceError, SourceFacts};
use disk_writer::DiskWriter;
pub use run::{Outcome, Run};

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
    /// How the VMs of the run were chosen, if they were.
    pub selection: Option<String>,
    /// The VM's name, if the container does not tell, or to use another.
    pub vm_name: Option<String>,
    /// Seconds since 1970 that the snapshot bears; now if `None`.
    pub time: Option<u64>,
    /// Minutes east of UTC where it is made.
    pub utc_offset: i16,
    /// How what is new is stored.
    pub packing: Packing,
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
    /// It was read, but a pack that it shares with others could not be stored.
    #[error("a pack that holds parts of it could not be stored")]
    Shared(#[source] Option<Arc<SessionError>>),
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
    let mut run = Run::new(repository, threads, request.packing);
    let read = run.read(source, request, observer);
    let outcome = run.finish().pop();
    match (read, outcome) {
        (Err(error), _) => Err(error),
        (Ok(_), Some(outcome)) => outcome.result,
        (Ok(_), None) => Err(BackupError::Shared(None)),
    }
}

/// Reads a source to its end, in the session that `packer` is at. All but the snapshot goes into packs.
fn read<'r>(
    repository: &'r Repository,
    threads: Threads<'_>,
    packer: &mut Packer<'r, '_>,
    lookup: Lookup,
    source: &mut dyn Source,
    request: &BackupRequest,
    observer: &dyn Observer,
) -> Result<Snapshot, BackupError> {
    let (id, catalog) = (packer.session().id(), packer.session().catalog());
    // A damaged snapshot is no reason to make none; `check` reports it.
    let earlier = snapshots::list(repository, catalog).map_err(SessionError::from)?;
    let entries = Arc::new(Entries::of(repository));
    let prints = Prints::of(repository, Arc::clone(&entries)).map_err(SessionError::from)?;
    let lookup = Arc::new(lookup);
    let nodes = CountingNodes::new(entries, Arc::clone(&lookup));
    let counting = catalog.counting.clone();
    let examiner = Examiner {
        keys: repository.keys().clone(),
        chunker: Chunker::new(repository.keys().gear()),
        lookup,
        hints: Hints::load(repository, catalog)?.map(Arc::new),
        prints: Arc::new(prints),
    };
    let mut writer = DiskWriter {
        repository,
        threads,
        counting,
        examiner: Arc::new(examiner),
        packer: &mut *packer,
        observer,
        earlier: Earlier { snapshots: &earlier.snapshots, nodes },
        vm_name: request.vm_name.as_deref(),
        segments_stored: 0,
        data_bytes: 0,
    };
    let disks = writer.write_all(source)?;
    let data_bytes = writer.data_bytes;
    let mut snapshot = describe(repository, id, source.facts(), request, disks);
    let origin = &snapshot.origin;
    let of_vm =
        snapshots::of_vm(&earlier.snapshots, origin.vm_uuid.as_deref(), origin.vm_name.as_deref());
    snapshot.predecessor = of_vm.first().map(|earlier| earlier.id);
    snapshot.statistics.data_bytes = data_bytes;
    snapshot.check().map_err(BackupError::Description)?;
    let copy = snapshot.encode();
    if copy.len() > FRAME_PLAIN_MAX {
        return Err(BackupError::TooLarge { what: "the description of the snapshot".to_owned() });
    }
    packer.add_entry(EntryKind::Snapshot, snapshot_entry_id(id), &copy)?;
    Ok(snapshot)
}

/// The id under which a snapshot's copy stands in a map pack (SPEC 8.1).
#[must_use]
pub fn snapshot_entry_id(id: SnapshotId) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..16].copy_from_slice(id.as_bytes());
    entry
}

const fn stored(consistency: source::Consistency) -> Consistency {
    match consistency {
        source::Consistency::Unknown => Consistency::Unknown,
        source::Consistency::Crash => Consistency::Crash,
        source::Consistency::Quiesced => Consistency::Quiesced,
        source::Consistency::Cold => Consistency::Cold,
        source::Consistency::Memory => Consistency::Memory,
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
            selection: request.selection.clone(),
        },
        disks,
        consistency: if has_memory { Consistency::Memory } else { stored(facts.consistency) },
        statistics,
        predecessor: None,
    }
}
