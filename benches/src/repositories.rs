//! Repositories to measure on.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use engine::backup::{BackupRequest, backup};
use engine::catalog::{Audience, load_index};
use engine::entries::Entries;
use engine::examine::{Examiner, Place};
use engine::observer::Silent;
use engine::packer::{Packing, Threads};
use engine::parallel::Workers;
use engine::prints::Prints;
use engine::repository::{OpenOptions, Repository};
use engine::session::Who;
use engine::source::Source;
use engine::storage::Storage;
use engine::storage::discarding::DiscardingStorage;
use engine::storage::memory::MemoryStorage;
use engine::surroundings::RealSurroundings;
use repo_format::chunker::Chunker;
use repo_format::frame::Compression;
use repo_format::header::{Kind, claimed_kind};
use repo_format::id::{RunId, SegmentId};
use repo_format::object_name::Directory;
use repo_format::slot::KdfCost;
use repo_format::snapshot::Snapshot;

use crate::rows::Measured;

const PASSWORD: &[u8] = b"bench";

/// The time that the first night bears, in seconds since 1970, and seconds from one night to the next.
const NIGHTS_BEGIN: u64 = 1_700_000_000;
const NIGHT: u64 = 86_400;

fn options(storage: Arc<dyn Storage>, cache: Option<&Path>) -> OpenOptions {
    let cache = cache.map(Path::to_owned);
    OpenOptions { storage, surroundings: Arc::new(RealSurroundings), cache }
}

/// A new repository on `storage`, with the cheapest password hash.
pub fn create(storage: Arc<dyn Storage>) -> Measured<Repository> {
    Ok(Repository::create(options(storage, None), PASSWORD, KdfCost::CHEAPEST, "bench")?)
}

/// Opens a repository made by [`create`].
pub fn open(storage: Arc<dyn Storage>) -> Measured<Repository> {
    Ok(Repository::open(options(storage, None), PASSWORD)?)
}

/// Opens a repository made by [`create`], keeping its index in a directory.
pub fn open_with_cache(storage: Arc<dyn Storage>, cache: &Path) -> Measured<Repository> {
    Ok(Repository::open(options(storage, Some(cache)), PASSWORD)?)
}

/// A new repository in memory, and its storage.
pub fn in_memory() -> Measured<(Repository, Arc<MemoryStorage>)> {
    let storage = Arc::new(MemoryStorage::new());
    Ok((create(Arc::<MemoryStorage>::clone(&storage))?, storage))
}

/// An empty repository that forgets what is stored: every backup into it is a first one.
pub fn forgetful() -> Measured<Repository> {
    let (_, storage) = in_memory()?;
    open(Arc::new(DiscardingStorage::new(storage)))
}

/// Worker threads and one thread for uploads.
pub struct Pools {
    /// For hashing, cutting and compressing.
    pub workers: Workers,
    uploaders: Workers,
}

impl Pools {
    /// With so many workers.
    pub fn start(workers: usize) -> Measured<Self> {
        let workers = NonZeroUsize::new(workers).ok_or("no workers")?;
        Ok(Self {
            workers: Workers::start(workers)?,
            uploaders: Workers::start(NonZeroUsize::MIN)?,
        })
    }

    const fn threads(&self) -> Threads<'_> {
        Threads { workers: &self.workers, uploaders: &self.uploaders }
    }
}

/// Backs `source` up, with zstd level 3.
pub fn store(
    repository: &Repository,
    pools: &Pools,
    source: &mut dyn Source,
) -> Measured<Snapshot> {
    store_at(repository, pools, source, None)
}

/// Backs `source` up as on night `night`, so that nights that take less than a second are told apart.
pub fn store_night(
    repository: &Repository,
    pools: &Pools,
    source: &mut dyn Source,
    night: u32,
) -> Measured<Snapshot> {
    let time = NIGHTS_BEGIN + u64::from(night) * NIGHT;
    store_at(repository, pools, source, Some(time))
}

fn store_at(
    repository: &Repository,
    pools: &Pools,
    source: &mut dyn Source,
    time: Option<u64>,
) -> Measured<Snapshot> {
    let request = BackupRequest {
        who: Who { host: "bench".to_owned(), process: 1, program: "benches".to_owned() },
        run: RunId::from_bytes([1; 16]),
        run_name: String::new(),
        tags: Vec::new(),
        path: "-".to_owned(),
        selection: None,
        vm_name: Some("bench".to_owned()),
        time,
        utc_offset: 0,
        packing: Packing::new(Compression::Zstd(3)),
    };
    Ok(backup(repository, pools.threads(), source, &request, &Silent)?)
}

/// Bytes on storage, by what they are of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Data packs.
    pub data: u64,
    /// Map packs.
    pub maps: u64,
    /// Print packs, and what says where prints lie.
    pub prints: u64,
    /// Index of segments and chunks.
    pub index: u64,
    /// Roots, states, snapshots and sessions.
    pub other: u64,
}

impl Bytes {
    /// What a repository holds now.
    pub fn on(storage: &dyn Storage) -> Measured<Self> {
        let mut bytes = Self::default();
        for directory in Directory::ALL {
            for (name, len) in storage.list(directory)? {
                *bytes.of(claimed_kind(&storage.read_range(name, 0..32)?)?) += len;
            }
        }
        Ok(bytes)
    }

    const fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::DataPack => &mut self.data,
            Kind::MapPack => &mut self.maps,
            Kind::PrintPack | Kind::PrintIndex => &mut self.prints,
            Kind::SegmentIndex | Kind::ChunkIndex => &mut self.index,
            Kind::Config
            | Kind::KeySlot
            | Kind::Snapshot
            | Kind::Session
            | Kind::State
            | Kind::Tombstone
            | Kind::Marker => &mut self.other,
        }
    }

    /// What was added since `before`.
    pub const fn since(self, before: Self) -> Self {
        Self {
            data: self.data - before.data,
            maps: self.maps - before.maps,
            prints: self.prints - before.prints,
            index: self.index - before.index,
            other: self.other - before.other,
        }
    }

    /// All of it.
    pub const fn total(self) -> u64 {
        self.data + self.metadata()
    }

    /// All but data packs.
    pub const fn metadata(self) -> u64 {
        self.maps + self.prints + self.index + self.other
    }
}

/// A segment of a disk that had `before` at its place.
pub const fn place(before: Option<SegmentId>) -> Place {
    Place { number: 0, before, stored_before: 0, with_print: true }
}

/// What a worker of the next backup into `repository` examines segments with.
pub fn examiner(repository: &Repository) -> Measured<Examiner> {
    let (_, lookup) = load_index(repository, Audience::Writer)?;
    let keys = repository.keys().clone();
    let chunker = Chunker::new(keys.gear());
    let prints = Prints::of(repository, Arc::new(Entries::of(repository)))?;
    let (lookup, prints) = (Arc::new(lookup), Arc::new(prints));
    Ok(Examiner { keys, chunker, lookup, hints: None, prints })
}
