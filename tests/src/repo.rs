//! A repository in memory, with seeded randomness and a clock that stands still: every run does the same.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use engine::backup::{BackupError, BackupRequest, backup};
use engine::catalog::{CatalogError, newest_state};
use engine::check::{Finding, Report, Subset, check};
use engine::observer::Silent;
use engine::packer::{Packing, Threads};
use engine::parallel::Workers;
use engine::reader::{ContentReadError, Reader};
use engine::repository::{OpenError, OpenOptions, Repository};
use engine::restore::SnapshotContent;
use engine::session::Who;
use engine::snapshots;
use engine::source::{ContentError, Source};
use engine::storage::Storage;
use engine::storage::memory::MemoryStorage;
use engine::surroundings::Surroundings;
use repo_format::FormatError;
use repo_format::frame::Compression;
use repo_format::header::{Kind, claimed_kind};
use repo_format::id::{PackId, RunId, SnapshotId};
use repo_format::object_name::{IndexName, ObjectName};
use repo_format::slot::KdfCost;
use repo_format::snapshot::Snapshot;
use repo_format::state::State;
use repo_format::void;

use crate::faulty_storage::{Call, Fault, FaultyStorage};
use crate::sample::{DiskHashes, Sample, restored_hashes};

/// The password of every repository here.
pub const PASSWORD: &[u8] = b"correct horse battery staple";

/// Time and randomness that are the same on every run.
#[derive(Debug)]
pub struct SeededSurroundings {
    randomness: Mutex<blake3::OutputReader>,
    clock: Arc<AtomicU64>,
}

impl SeededSurroundings {
    /// Randomness made of `seed`, and a clock that stands still.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_clock(seed, clock())
    }

    /// Randomness made of `seed`, and the time that `clock` shows.
    #[must_use]
    pub fn with_clock(seed: u64, clock: Arc<AtomicU64>) -> Self {
        let randomness = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        Self { randomness: Mutex::new(randomness), clock }
    }
}

/// A clock that stands still until the test moves it: milliseconds since 1970.
#[must_use]
pub fn clock() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(1_767_225_600_000))
}

impl Surroundings for SeededSurroundings {
    fn now_ms(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn random(&self, bytes: &mut [u8]) {
        self.randomness.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

/// The threads of all tests.
pub fn workers() -> &'static Workers {
    static WORKERS: LazyLock<Workers> = LazyLock::new(|| start(2));
    &WORKERS
}

/// The threads that wait on storage.
pub fn threads() -> Threads<'static> {
    static UPLOADERS: LazyLock<Workers> = LazyLock::new(|| start(1));
    Threads { workers: workers(), uploaders: &UPLOADERS }
}

fn start(count: usize) -> Workers {
    Workers::start(NonZeroUsize::new(count).expect("some")).expect("threads start")
}

/// What a backup is asked for.
#[must_use]
pub fn request() -> BackupRequest {
    let who = Who { host: "tester".to_owned(), process: 1, program: "xenith test".to_owned() };
    BackupRequest {
        who,
        run: RunId::from_bytes([7; 16]),
        run_name: "nightly".to_owned(),
        tags: Vec::new(),
        path: "-".to_owned(),
        selection: None,
        vm_name: None,
        time: None,
        utc_offset: 0,
        packing: Packing::new(Compression::Zstd(1)),
    }
}

/// How a repository on `storage` is opened, with randomness made of `seed`.
#[must_use]
pub fn options(storage: Arc<dyn Storage>, seed: u64) -> OpenOptions {
    OpenOptions { storage, surroundings: Arc::new(SeededSurroundings::new(seed)), cache: None }
}

fn options_at(storage: Arc<dyn Storage>, seed: u64, clock: Arc<AtomicU64>) -> OpenOptions {
    let surroundings = Arc::new(SeededSurroundings::with_clock(seed, clock));
    OpenOptions { storage, surroundings, cache: None }
}

/// Opens the repository on `storage` with the usual password.
pub fn open(storage: Arc<dyn Storage>, seed: u64) -> Result<Repository, OpenError> {
    Repository::open(options(storage, seed), PASSWORD)
}

/// A backup by whoever opened `repository`.
pub fn back_up(repository: &Repository, source: &mut dyn Source) -> Result<Snapshot, BackupError> {
    backup(repository, threads(), source, &request(), &Silent)
}

/// A restore into hashes, through a reader that was opened before.
pub fn restore_through(
    reader: &Reader<'_>,
    snapshot: &Snapshot,
) -> Result<Vec<DiskHashes>, ContentError> {
    restored_hashes(&SnapshotContent::new(reader, workers(), snapshot, &Silent))
}

/// Every snapshot that is not forgotten, oldest first.
pub fn list_snapshots(repository: &Repository) -> Result<Vec<Snapshot>, CatalogError> {
    let reader = Reader::open(repository)?;
    let listing = snapshots::list(repository, &reader.catalog())?;
    match listing.damaged.into_iter().next() {
        Some(damaged) => Err(damaged.into()),
        None => Ok(listing.snapshots),
    }
}

/// The error of the reader inside a failed restore.
#[must_use]
pub fn read_error(error: &ContentError) -> Option<&ContentReadError> {
    match error {
        ContentError::Repository(inner) => inner.downcast_ref(),
        _ => None,
    }
}

/// Every object of a storage in memory.
pub type Objects = BTreeMap<ObjectName, Vec<u8>>;

/// A repository in memory, and what its snapshots must restore to.
pub struct TestRepo {
    storage: Arc<MemoryStorage>,
    repository: Repository,
    seed: u64,
    /// How often it was opened since: each machine has randomness of its own, and comes a minute later.
    machines: AtomicU64,
    clock: Arc<AtomicU64>,
    expected: BTreeMap<SnapshotId, Vec<DiskHashes>>,
}

impl TestRepo {
    /// A new, empty one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let clock = clock();
        let options = options_at(storage.clone(), seed, Arc::clone(&clock));
        let made = Repository::create(options, PASSWORD, KdfCost::CHEAPEST, "first");
        let (repository, machines) = (made.expect("a new repository"), AtomicU64::new(0));
        Self { storage, repository, seed, machines, clock, expected: BTreeMap::new() }
    }

    /// One that holds these samples.
    #[must_use]
    pub fn with(seed: u64, samples: &[&Sample]) -> Self {
        let mut repo = Self::new(seed);
        for sample in samples {
            repo.back_up(sample);
        }
        repo
    }

    /// A second repository with the same objects and a future of its own.
    #[must_use]
    pub fn fork(&self) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        *storage.objects() = self.objects();
        let (seed, clock) = (self.next_seed(), Arc::new(AtomicU64::new(self.now_ms())));
        let options = options_at(storage.clone(), seed, Arc::clone(&clock));
        let repository = Repository::open(options, PASSWORD).expect("a sound repository");
        let (machines, expected) = (AtomicU64::new(0), self.expected.clone());
        Self { storage, repository, seed, machines, clock, expected }
    }

    fn next_seed(&self) -> u64 {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        self.clock.fetch_add(60_000, Ordering::Relaxed);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes()).update(&number.to_le_bytes());
        let (first, _) = hasher
            .finalize()
            .as_bytes()
            .split_first_chunk()
            .map(|(a, b)| (*a, b))
            .expect("32 bytes");
        u64::from_le_bytes(first)
    }

    fn now_ms(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// The clock of all machines: milliseconds since 1970.
    #[must_use]
    pub fn clock(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.clock)
    }

    /// Where it lies, intact.
    #[must_use]
    pub fn storage(&self) -> Arc<MemoryStorage> {
        Arc::clone(&self.storage)
    }

    /// A copy of all objects.
    #[must_use]
    pub fn objects(&self) -> Objects {
        self.storage.objects().clone()
    }

    /// The repository, opened by the one who made it.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The repository, opened by another machine through `storage`.
    pub fn open_through(&self, storage: Arc<dyn Storage>) -> Repository {
        let options = options_at(storage, self.next_seed(), self.clock());
        Repository::open(options, PASSWORD).expect("a sound repository")
    }

    /// The repository, opened by another machine.
    pub fn open_again(&self) -> Repository {
        self.open_through(self.storage())
    }

    /// The repository, opened by another machine that keeps its index in `cache`.
    pub fn open_with_cache(&self, cache: &Path) -> Repository {
        let options = options_at(self.storage(), self.next_seed(), self.clock());
        let options = OpenOptions { cache: Some(cache.to_owned()), ..options };
        Repository::open(options, PASSWORD).expect("a sound repository")
    }

    /// A storage that remembers calls, and the repository opened through it.
    pub fn open_recording(&self) -> (Arc<FaultyStorage>, Repository) {
        let recording = FaultyStorage::recording(self.storage());
        let repository = self.open_through(recording.clone());
        (recording, repository)
    }

    /// Backs `sample` up a minute later, and expects it to be restored from now on.
    #[track_caller]
    pub fn back_up(&mut self, sample: &Sample) -> Snapshot {
        self.clock.fetch_add(60_000, Ordering::Relaxed);
        let made = back_up(&self.repository, &mut sample.source());
        let snapshot = made.expect("a backup");
        self.expect(&snapshot, sample);
        snapshot
    }

    /// Every change that a backup of `sample` would make, in order; it is made in a fork.
    #[track_caller]
    pub fn changes_of_backup(&self, sample: &Sample) -> Vec<Call> {
        let (recording, machine) = self.fork().open_recording();
        back_up(&machine, &mut sample.source()).expect("a backup");
        recording.calls().into_iter().filter(|call| call.changes().is_some()).collect()
    }

    /// A fork in which only these changes were made: what a kill right behind the last of them leaves.
    #[must_use]
    #[track_caller]
    pub fn after(&self, changes: &[Call]) -> Self {
        let after = self.fork();
        for change in changes {
            match change {
                Call::Create(name, bytes) => drop(after.storage().create(*name, bytes)),
                Call::Delete(name) => drop(after.storage().delete(*name)),
                other => panic!("a short backup does not {other:?}"),
            }
        }
        after
    }

    /// Puts what a backup of `sample` leaves that is killed right before its commit. Returns its session.
    #[track_caller]
    pub fn leave_killed_backup(&self, sample: &Sample) -> SnapshotId {
        let storage = FaultyStorage::recording(self.storage());
        let machine = self.open_through(storage.clone());
        storage.fail_at(Call::is_commit, Fault::CrashBefore);
        assert!(back_up(&machine, &mut sample.source()).is_err(), "it was killed");
        let changed = storage.calls().iter().find_map(Call::changes);
        match changed {
            Some(ObjectName::Session(id)) => id,
            other => panic!("a backup began with {other:?}"),
        }
    }

    /// From now on `snapshot` must restore to `sample`.
    pub fn expect(&mut self, snapshot: &Snapshot, sample: &Sample) {
        self.expected.insert(snapshot.id, sample.hashes());
    }

    /// From now on `snapshot` need not restore.
    pub fn expect_no_more(&mut self, snapshot: SnapshotId) {
        self.expected.remove(&snapshot);
    }

    /// Every snapshot that is listed, oldest first.
    #[track_caller]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        list_snapshots(&self.repository).expect("a list of snapshots")
    }

    /// Restores a snapshot.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<Vec<DiskHashes>, ContentError> {
        let reader = Reader::open(&self.repository)
            .map_err(|error| ContentError::Repository(Box::new(ContentReadError::from(error))))?;
        restore_through(&reader, snapshot)
    }

    /// Every snapshot that is expected is listed and restores bit for bit.
    #[track_caller]
    pub fn check_all_restore(&self) {
        let reader = Reader::open(&self.repository).expect("an index");
        let listed = self.snapshots();
        for (id, expected) in &self.expected {
            let snapshot = listed.iter().find(|snapshot| snapshot.id == *id);
            let snapshot = snapshot.unwrap_or_else(|| panic!("snapshot {id} is not listed"));
            match restore_through(&reader, snapshot) {
                Ok(found) => assert_eq!(found, *expected, "snapshot {id}"),
                Err(error) => panic!("snapshot {id}: {error:?}"),
            }
        }
    }

    /// What a whole check finds.
    #[track_caller]
    pub fn report(&self) -> Report {
        let all = Some(Subset::All);
        check(&self.repository, workers(), all, &Silent).expect("a check")
    }

    /// A whole check finds no damage; returns what is worth knowing.
    #[track_caller]
    pub fn check_sound(&self) -> Vec<Finding> {
        let report = self.report();
        assert!(!report.has_damage(), "damage: {:#?}", report.findings);
        report.findings
    }

    /// Everything that must hold whatever has happened.
    #[track_caller]
    pub fn check_intact(&self) {
        self.check_sound();
        self.check_all_restore();
    }

    /// Bytes of all objects.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.storage.objects().values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Names of the packs that snapshots need: all but print packs.
    #[must_use]
    pub fn packs(&self) -> Vec<PackId> {
        let needed = |kind| kind != Ok(Kind::PrintPack);
        self.packs_where(needed)
    }

    /// Names of the print packs.
    #[must_use]
    pub fn print_packs(&self) -> Vec<PackId> {
        self.packs_where(|kind| kind == Ok(Kind::PrintPack))
    }

    fn packs_where(&self, wanted: impl Fn(Result<Kind, FormatError>) -> bool) -> Vec<PackId> {
        let pack = |(name, bytes): (&ObjectName, &Vec<u8>)| match name {
            ObjectName::Pack(id) => wanted(claimed_kind(bytes)).then_some(*id),
            _ => None,
        };
        self.storage.objects().iter().filter_map(pack).collect()
    }

    /// Names of the index objects of a session.
    #[must_use]
    pub fn index_of(&self, id: SnapshotId) -> Vec<IndexName> {
        let index = |name: &ObjectName| match name {
            ObjectName::Index(name) if name.owner == id => Some(*name),
            _ => None,
        };
        self.storage.objects().keys().filter_map(index).collect()
    }

    /// What a backup of `sample` would cost now, in bytes of new chunks; it is made in a fork.
    #[track_caller]
    pub fn cost_of(&self, sample: &Sample) -> u64 {
        let made = back_up(&self.fork().repository, &mut sample.source());
        made.expect("a backup").statistics.new_bytes
    }

    /// Names of the objects that pass.
    pub fn names(&self, wanted: impl Fn(&ObjectName) -> bool) -> Vec<ObjectName> {
        self.storage.objects().keys().filter(|name| wanted(name)).copied().collect()
    }

    /// Follows the newest state by one that `change` makes of it, as a prune would.
    pub fn put_state(&self, change: impl FnOnce(&mut State)) {
        let (name, bytes) = self.next_state(change);
        self.storage.objects().insert(name, bytes);
    }

    /// The object that [`Self::put_state`] would put.
    pub fn next_state(&self, change: impl FnOnce(&mut State)) -> (ObjectName, Vec<u8>) {
        let mut state = newest_state(&self.repository).expect("a state");
        state.number += 1;
        change(&mut state);
        let seed = engine::surroundings::random_secret(self.repository.surroundings());
        (ObjectName::State(state.number), state.seal(self.repository.keys(), &seed))
    }

    /// Forgets a snapshot: puts a marker beside it.
    pub fn put_marker(&self, id: SnapshotId) {
        let (name, bytes) = (ObjectName::Marker(id), self.void(Kind::Marker, id));
        self.storage.objects().insert(name, bytes);
    }

    /// Fences a session: puts a tombstone where its snapshot would be.
    pub fn put_tombstone(&self, id: SnapshotId) {
        let (name, bytes) = (ObjectName::Snapshot(id), self.void(Kind::Tombstone, id));
        self.storage.objects().insert(name, bytes);
    }

    /// A tombstone or marker.
    #[must_use]
    pub fn void(&self, kind: Kind, id: SnapshotId) -> Vec<u8> {
        void::encode(kind, self.repository.keys().repository(), id, 0)
    }
}
