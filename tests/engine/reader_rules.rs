//! The rules of readers by their numbers (SPEC 12.2). What a prune would do to storage is done by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::check::Finding;
use engine::reader::{ContentReadError, Reader};
use engine::repository::{OpenOptions, Repository};
use engine::source::ContentError;
use repo_format::id::{PackId, SnapshotId};
use repo_format::object_name::{IndexName, ObjectName};
use repo_format::snapshot::Snapshot;
use repo_tests::faulty_storage::Call;
use repo_tests::repo::{
    PASSWORD, SeededSurroundings, TestRepo, back_up, list_snapshots, read_error, restore_through,
};
use repo_tests::sample::{DiskHashes, Fill, SEGMENT, Sample, SampleDisk};

/// A repository in which the only snapshot's data is stored twice.
struct Doubled {
    repo: TestRepo,
    sample: Sample,
    snapshot: Snapshot,
    first_packs: Vec<PackId>,
    first_index: Vec<IndexName>,
    second_index: Vec<IndexName>,
}

/// Stores `sample` twice, by two machines of which the second could not see the index of the first.
fn doubled(sample: Sample) -> Doubled {
    let mut repo = TestRepo::new(1);
    let snapshot = repo.back_up(&sample);
    let first_packs = repo.packs();
    let first_index = repo.index_of(snapshot.id);
    let blind = repo.fork();
    blind.put_state(|state| state.absorbed = vec![snapshot.id]);
    let (recording, machine) = blind.open_recording();
    let second = back_up(&machine, &mut sample.source()).expect("a backup").id;
    for call in recording.calls() {
        use ObjectName::{Index, Pack, Prints};
        if let Call::Create(name @ (Pack(_) | Index(_) | Prints(_)), bytes) = call {
            repo.storage().objects().insert(name, bytes.to_vec());
        }
    }
    let second_index = repo.index_of(second);
    assert!(repo.packs().len() == 2 * first_packs.len() && !second_index.is_empty());
    Doubled { repo, sample, snapshot, first_packs, first_index, second_index }
}

impl Doubled {
    fn remove(&self, names: impl IntoIterator<Item = ObjectName>) {
        for name in names {
            self.repo.storage().objects().remove(&name).expect("it was there");
        }
    }

    fn remove_first_packs(&self) {
        self.remove(self.first_packs.iter().map(|id| ObjectName::Pack(*id)));
    }

    /// What a prune leaves that has moved everything into the second copy.
    fn repack(&self) {
        self.repo.put_state(|state| {
            state.live = self.second_index.clone();
            state.absorbed = vec![self.snapshot.id];
        });
        self.remove(self.first_index.iter().map(|name| ObjectName::Index(*name)));
        self.remove_first_packs();
    }

    #[track_caller]
    fn check_restores(&self, reader: &Reader<'_>) {
        let restored = restore_through(reader, &self.snapshot);
        assert_eq!(restored.expect("a restore"), self.sample.hashes());
    }
}

#[test]
fn r16_a_reader_changes_nothing_and_needs_no_session() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let (recording, machine) = repo.open_recording();
    let reader = Reader::open(&machine).expect("a reader");
    for snapshot in list_snapshots(&machine).expect("a list") {
        restore_through(&reader, &snapshot).expect("a restore");
    }
    let changes = recording.calls().into_iter().filter(|call| call.changes().is_some());
    assert_eq!(changes.collect::<Vec<_>>(), []);
}

#[test]
fn r16_retired_index_objects_count_for_readers() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let id = repo.snapshots()[0].id;
    repo.put_state(|state| {
        state.retired = repo.index_of(id);
        state.absorbed = vec![id];
    });
    repo.check_intact();
}

#[test]
fn r16_absorbed_ones_that_no_state_names_do_not() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let id = repo.snapshots()[0].id;
    repo.put_state(|state| state.absorbed = vec![id]);
    let failed = repo.restore(&repo.snapshots()[0]).expect_err("nothing counts");
    let missing = matches!(read_error(&failed), Some(ContentReadError::Missing { .. }));
    assert!(missing, "{failed:?}");
    assert!(repo.report().has_damage());
}

/// Some windows of segments, so that one is on its way when the packs go. What the later ones need has been held for
/// them when the first ones were rebuilt.
fn large() -> Sample {
    let fill = |disk: SampleDisk, segment: u64| {
        let start = segment * SEGMENT;
        disk.with(start..start + 100_000, Fill::Noise(segment % 16))
    };
    Sample::of([(0..40).fold(SampleDisk::empty("xvda", 40 * SEGMENT), fill)])
}

#[test]
fn r17_a_reader_whose_packs_have_moved_loads_the_index_again() {
    let doubled = doubled(Sample::small(1));
    let machine = doubled.repo.open_again();
    let reader = Reader::open(&machine).expect("a reader");
    doubled.repack();
    doubled.check_restores(&reader);
}

/// The packs go while a restore is on its way, before any of its calls.
#[test]
fn r17_packs_may_move_at_any_moment_of_a_restore() {
    let doubled = doubled(large());
    let (recording, machine) = doubled.repo.open_recording();
    let opened = recording.calls().len();
    doubled.check_restores(&Reader::open(&machine).expect("a reader"));
    let calls = recording.calls().len() - opened;
    let whole = doubled.repo.objects();
    doubled.repack();
    let repacked = doubled.repo.objects();
    let storage = doubled.repo.storage();
    for call in (1..=calls).step_by(1 + calls / 16) {
        storage.objects().clone_from(&whole);
        let (recording, machine) = doubled.repo.open_recording();
        let left = AtomicUsize::new(call);
        let (storage, repacked) = (Arc::clone(&storage), repacked.clone());
        recording.meanwhile(
            move |_| left.fetch_sub(1, Ordering::Relaxed) == 1,
            move |_| *storage.objects() = repacked,
        );
        doubled.check_restores(&Reader::open(&machine).expect("a reader"));
    }
}

#[test]
fn r17_a_reader_finds_snapshots_that_are_younger_than_its_index() {
    let mut repo = TestRepo::with(1, &[&Sample::small(1)]);
    let machine = repo.open_again();
    let reader = Reader::open(&machine).expect("a reader");
    let younger = repo.back_up(&Sample::small(2));
    let restored = restore_through(&reader, &younger).expect("a restore");
    assert_eq!(restored, Sample::small(2).hashes());
}

#[track_caller]
fn check_reports_damage(repo: &TestRepo) {
    let error = repo.restore(&repo.snapshots()[0]).expect_err("a pack is gone");
    let damage = matches!(read_error(&error), Some(ContentReadError::Pack { .. }));
    assert!(damage, "{error:?}");
}

#[test]
fn r17_a_pack_that_is_gone_while_the_state_is_the_same_is_damage() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    for pack in repo.packs() {
        let without = repo.fork();
        without.storage().objects().remove(&ObjectName::Pack(pack));
        check_reports_damage(&without);
        // A state that changes nothing for this pack does not heal it, and does not go on for ever.
        let machine = without.open_again();
        let reader = Reader::open(&machine).expect("a reader");
        without.put_state(|_| {});
        assert!(restore_through(&reader, &without.snapshots()[0]).is_err());
    }
}

/// An index object that counts, and another for the same ids: the packs of the first are gone.
#[test]
fn r18_a_pack_that_is_gone_is_no_answer_while_another_has_the_same() {
    let doubled = doubled(Sample::small(1));
    doubled.repo.put_state(|state| state.live = doubled.second_index.clone());
    let without_first = doubled.repo.fork();
    for id in &doubled.first_packs {
        without_first.storage().objects().remove(&ObjectName::Pack(*id));
    }
    without_first.check_all_restore();
    let without_second = doubled.repo.fork();
    without_second.storage().objects().retain(
        |name, _| !matches!(name, ObjectName::Pack(id) if !doubled.first_packs.contains(id)),
    );
    without_second.check_all_restore();
}

/// Which copy is asked first must not matter for any single pack.
#[test]
fn r18_any_one_copy_of_each_pack_is_enough() {
    let doubled = doubled(Sample::small(1));
    doubled.repo.put_state(|state| state.live = doubled.second_index.clone());
    for pack in doubled.repo.packs() {
        let without = doubled.repo.fork();
        without.storage().objects().remove(&ObjectName::Pack(pack));
        without.check_all_restore();
        let report = without.report();
        assert_eq!(report.findings, [Finding::PackMissing { pack }, unreadable(pack)]);
    }
}

fn unreadable(pack: PackId) -> Finding {
    let name = ObjectName::Pack(pack);
    Finding::Unreadable { name, reason: format!("{name} is not in the repository") }
}

#[test]
fn markers_hide_a_snapshot_from_the_list_and_from_check() {
    let mut repo = TestRepo::with(1, &[&Sample::small(1), &Sample::small(2)]);
    let hidden = repo.snapshots()[0].clone();
    repo.put_marker(hidden.id);
    repo.expect_no_more(hidden.id);
    let listed: Vec<_> = repo.snapshots().into_iter().map(|snapshot| snapshot.id).collect();
    assert!(listed.len() == 1 && listed[0] != hidden.id);
    assert_eq!(repo.report().checked.snapshots, 1);
    repo.check_intact();
    // Who asks for it by its full id still gets it.
    assert_eq!(repo.restore(&hidden).expect("a restore"), Sample::small(1).hashes());
}

#[test]
fn a_marker_without_a_snapshot_means_nothing() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    repo.put_marker(SnapshotId::from_bytes([9; 16]));
    repo.check_intact();
    assert_eq!(repo.snapshots().len(), 1);
}

/// A directory for caches that is gone afterwards.
struct CacheDirectory(PathBuf);

impl CacheDirectory {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name} {}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    /// Opens `repo` with this cache.
    fn open(&self, repo: &TestRepo, seed: u64) -> Repository {
        let surroundings = Arc::new(SeededSurroundings::new(seed));
        let cache = Some(self.0.clone());
        let options = OpenOptions { storage: repo.storage(), surroundings, cache };
        Repository::open(options, PASSWORD).expect("a sound repository")
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a directory") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path),
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for CacheDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn restored(machine: &Repository) -> Result<Vec<Vec<DiskHashes>>, ContentError> {
    let reader = Reader::open(machine).expect("a reader");
    let snapshots = list_snapshots(machine).expect("a list");
    snapshots.iter().map(|snapshot| restore_through(&reader, snapshot)).collect()
}

#[test]
fn r19_a_cache_of_another_set_of_index_objects_is_not_believed() {
    let cache = CacheDirectory::new("r19");
    let sample = Sample::small(2);
    let mut repo = TestRepo::with(1, &[&Sample::small(1)]);
    let second = repo.back_up(&sample);
    restored(&cache.open(&repo, 100)).expect("a restore fills the cache");
    assert!(!cache.files().is_empty());
    // The second snapshot counts no more: what the cache has of it must not be found.
    repo.put_state(|state| state.absorbed = vec![second.id]);
    let made = back_up(&cache.open(&repo, 101), &mut sample.source()).expect("a backup");
    assert!(made.statistics.new_bytes > 0, "it found what counts no more");
    // Nor must what came later be missing.
    let restored = restored(&cache.open(&repo, 102)).expect("a restore");
    assert_eq!(restored.len(), 3);
}

#[test]
fn r19_a_cache_of_another_repository_is_not_believed() {
    let cache = CacheDirectory::new("two repositories");
    let sample = Sample::small(1);
    let (one, two) = (TestRepo::with(1, &[&sample]), TestRepo::new(2));
    restored(&cache.open(&one, 100)).expect("a restore");
    let made = back_up(&cache.open(&two, 101), &mut sample.source()).expect("a backup");
    assert!(made.statistics.new_bytes > 0);
    assert_eq!(restored(&cache.open(&two, 102)).expect("a restore"), [sample.hashes()]);
}

#[test]
fn r19_a_damaged_cache_changes_nothing_but_time() {
    let cache = CacheDirectory::new("damaged");
    let samples = [Sample::small(1), Sample::small(2)];
    let repo = TestRepo::with(1, &[&samples[0], &samples[1]]);
    let right: Vec<_> = samples.iter().map(Sample::hashes).collect();
    assert_eq!(restored(&cache.open(&repo, 99)).expect("a restore"), right);
    for (seed, file) in (100..).zip(cache.files()) {
        for damage in 0..3 {
            let Ok(mut bytes) = fs::read(&file) else { continue };
            match damage {
                0 => bytes.iter_mut().for_each(|byte| *byte ^= 0x55),
                1 => bytes.truncate(bytes.len() / 2),
                _ => bytes.clear(),
            }
            fs::write(&file, bytes).expect("a file");
            assert_eq!(restored(&cache.open(&repo, seed)).expect("a restore"), right, "{file:?}");
        }
    }
}
