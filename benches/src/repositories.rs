//! Repositories to measure on.

use std::num::NonZeroUsize;
use std::sync::Arc;

use engine::backup::{BackupRequest, backup};
use engine::catalog::{Audience, load_index};
use engine::examine::Examiner;
use engine::observer::Silent;
use engine::packer::{Packing, Threads};
use engine::parallel::Workers;
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
use repo_format::id::RunId;
use repo_format::object_name::Directory;
use repo_format::slot::KdfCost;
use repo_format::snapshot::Snapshot;

use crate::rows::Measured;

const PASSWORD: &[u8] = b"bench";

fn options(storage: Arc<dyn Storage>) -> OpenOptions {
    OpenOptions { storage, surroundings: Arc::new(RealSurroundings), cache: None }
}

/// A new repository on `storage`, with the cheapest password hash.
pub fn create(storage: Arc<dyn Storage>) -> Measured<Repository> {
    Ok(Repository::create(options(storage), PASSWORD, KdfCost::CHEAPEST, "bench")?)
}

/// Opens a repository made by [`create`].
pub fn open(storage: Arc<dyn Storage>) -> Measured<Repository> {
    Ok(Repository::open(options(storage), PASSWORD)?)
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
    let request = BackupRequest {
        who: Who { host: "bench".to_owned(), process: 1, program: "benches".to_owned() },
        run: RunId::from_bytes([1; 16]),
        run_name: String::new(),
        tags: Vec::new(),
        path: "-".to_owned(),
        vm_name: Some("bench".to_owned()),
        time: None,
        utc_offset: 0,
        packing: Packing::new(Compression::Zstd(3)),
    };
    Ok(backup(repository, pools.threads(), source, &request, &Silent)?)
}

/// Bytes on storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// Of data packs.
    pub data: u64,
    /// Of everything else.
    pub metadata: u64,
}

impl Bytes {
    /// What a repository holds now.
    pub fn on(storage: &dyn Storage) -> Measured<Self> {
        let mut bytes = Self { data: 0, metadata: 0 };
        for directory in Directory::ALL {
            for (name, len) in storage.list(directory)? {
                let is_data = directory == Directory::Packs
                    && claimed_kind(&storage.read_range(name, 0..96)?)? == Kind::DataPack;
                *(if is_data { &mut bytes.data } else { &mut bytes.metadata }) += len;
            }
        }
        Ok(bytes)
    }

    /// What was added since `before`.
    pub const fn since(self, before: Self) -> Self {
        Self { data: self.data - before.data, metadata: self.metadata - before.metadata }
    }

    /// All of it.
    pub const fn total(self) -> u64 {
        self.data + self.metadata
    }
}

/// What a worker of the next backup into `repository` examines segments with.
pub fn examiner(repository: &Repository) -> Measured<Examiner> {
    let (_, lookup) = load_index(repository, Audience::Writer)?;
    let keys = repository.keys().clone();
    let chunker = Chunker::new(keys.gear());
    Ok(Examiner { keys, chunker, lookup, hints: None })
}
