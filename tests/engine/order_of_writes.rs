//! SPEC 12.1: a kill at any moment leaves what was there before, or the whole snapshot; and the next backup
//! takes over what an index object names.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use engine::check::Finding;
use engine::repository::parse_index;
use engine::storage::memory::MemoryStorage;
use engine::storage::{Creation, Storage, StorageError};
use repo_format::header::{Kind, claimed_kind};
use repo_format::limits::PACK_LEN_TARGET;
use repo_format::object_name::{Directory, ObjectName};
use repo_tests::faulty_storage::Call;
use repo_tests::repo::{TestRepo, back_up, open};
use repo_tests::sample::{SEGMENT, Sample, SampleDisk};

#[test]
fn whenever_a_backup_is_killed_the_repository_is_sound_and_the_snapshot_is_there_or_not() {
    let (old, new) = (Sample::small(1), Sample::small(2));
    let before = TestRepo::with(1, &[&old]);
    let changes = before.changes_of_backup(&new);
    let is_commit = |call: &Call| matches!(call.changes(), Some(ObjectName::Snapshot(_)));
    let commit = changes.iter().position(is_commit).expect("a commit");
    for made in 0..=changes.len() {
        let mut killed = before.after(&changes[..made]);
        killed.check_intact();
        let found = killed.snapshots().len();
        assert_eq!(found, if made <= commit { 1 } else { 2 }, "after {made} changes");
        let rerun = killed.back_up(&new);
        killed.check_intact();
        if made == commit {
            // All was published: nothing of it is stored again.
            assert!(rerun.statistics.new_bytes == 0, "{} bytes", rerun.statistics.new_bytes);
        }
    }
}

#[test]
fn what_a_kill_leaves_is_told_and_is_no_damage() {
    let before = TestRepo::new(1);
    let changes = before.changes_of_backup(&Sample::small(2));
    let is_index = |call: &Call| matches!(call.changes(), Some(ObjectName::Index(_)));
    let first_index = changes.iter().position(is_index).expect("an index object");
    let findings = before.after(&changes[..first_index]).check_sound();
    let unused =
        findings.iter().filter(|found| matches!(found, Finding::PackUnused { .. })).count();
    let sessions = findings.iter().filter(|found| matches!(found, Finding::Session { .. })).count();
    // A data pack and a map pack; the print pack has its own index, which came first.
    assert_eq!((unused, sessions, findings.len()), (2, 1, 3));
}

/// Each object is durable before one that names it is begun.
#[test]
fn packs_come_before_the_index_objects_that_name_them_and_these_before_the_snapshot() {
    let before = TestRepo::new(1);
    let changes = before.changes_of_backup(&Sample::small(2));
    let rank = |call: &Call| match call {
        Call::Create(ObjectName::Session(_), _) => 0,
        Call::Create(ObjectName::Pack(_), _) => 1,
        Call::Create(ObjectName::Index(_) | ObjectName::Prints(_), _) => 2,
        Call::Create(ObjectName::Snapshot(_), _) => 3,
        Call::Delete(ObjectName::Session(_)) => 4,
        other => panic!("a backup does not {other:?}"),
    };
    let ranks: Vec<_> = changes.iter().map(rank).collect();
    assert_eq!(ranks, [0, 1, 1, 1, 2, 2, 2, 3, 4]);
}

/// Keeps no bytes of packs, so that a test can store a lot; and remembers the order of creations.
#[derive(Default)]
struct Ledger {
    small: MemoryStorage,
    created: Mutex<Vec<Created>>,
}

/// An object, and for a pack its kind and length.
type Created = (ObjectName, Option<(Kind, u64)>);

impl Ledger {
    /// What a kill would leave right after the creations `created` of `self`.
    fn killed_after(&self, created: &[Created]) -> Self {
        let killed = Self { small: MemoryStorage::new(), created: Mutex::new(created.to_vec()) };
        let all = self.small.objects();
        let made_before =
            |name: &ObjectName| !self.created().iter().any(|(found, _)| found == name);
        let survives =
            |name: &ObjectName| made_before(name) || created.iter().any(|(found, _)| found == name);
        *killed.small.objects() = all
            .iter()
            .filter(|(name, _)| survives(name))
            .map(|(name, bytes)| (*name, bytes.clone()))
            .collect();
        killed
    }

    fn created(&self) -> Vec<Created> {
        self.created.lock().expect("nobody panicked").clone()
    }
}

/// Bytes of the data packs among these objects.
fn data_bytes(created: &[Created]) -> u64 {
    let len =
        |(_, pack): &Created| pack.filter(|(kind, _)| *kind == Kind::DataPack).map(|(_, len)| len);
    created.iter().filter_map(len).sum()
}

impl Storage for Ledger {
    fn create(&self, name: ObjectName, bytes: &[u8]) -> Result<Creation, StorageError> {
        let pack = matches!(name, ObjectName::Pack(_))
            .then(|| (claimed_kind(bytes).expect("a pack"), bytes.len() as u64));
        self.created.lock().expect("nobody panicked").push((name, pack));
        match pack {
            None => self.small.create(name, bytes),
            Some(_) => Ok(Creation::Created),
        }
    }

    fn replace_session(&self, name: ObjectName, bytes: &[u8]) -> Result<(), StorageError> {
        self.small.replace_session(name, bytes)
    }

    fn read(&self, name: ObjectName, limit_bytes: u64) -> Result<Vec<u8>, StorageError> {
        self.small.read(name, limit_bytes)
    }

    fn read_range(&self, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        self.small.read_range(name, range)
    }

    fn list(&self, directory: Directory) -> Result<Vec<(ObjectName, u64)>, StorageError> {
        if directory != Directory::Packs {
            return self.small.list(directory);
        }
        let pack = |(name, pack): Created| Some((name, pack?.1));
        Ok(self.created().into_iter().filter_map(pack).collect())
    }

    fn delete(&self, name: ObjectName) -> Result<(), StorageError> {
        self.small.delete(name)
    }

    fn location(&self) -> String {
        "ledger".to_owned()
    }
}

/// After each creation: how many data packs no index object names yet.
fn unnamed_data_packs(ledger: &Ledger, repo: &TestRepo) -> Vec<usize> {
    let mut unnamed = BTreeSet::new();
    let mut counts = Vec::new();
    for (name, pack) in ledger.created() {
        match (name, pack) {
            (ObjectName::Pack(id), Some((Kind::DataPack, _))) => unnamed.extend([id]),
            (ObjectName::Index(_), _) => {
                let bytes = ledger.read(name, u64::MAX).expect("an index object");
                let index = parse_index(repo.repository().keys(), name, &bytes);
                let packs = index.expect("an index object").packs;
                unnamed.retain(|id| packs.iter().all(|pack| pack.id != *id));
            }
            _ => {}
        }
        counts.push(unnamed.len());
    }
    counts
}

/// The real thing, and so the slowest test here: 9 data packs of 64 MiB, and a bit.
#[test]
fn a_backup_that_is_killed_at_its_worst_moment_repeats_at_most_8_data_packs() {
    const PACKS_MAX: usize = 8;
    let size_bytes = (PACKS_MAX as u64 + 1) * PACK_LEN_TARGET as u64 + SEGMENT;
    let sample = Sample::of([SampleDisk::noise("large", size_bytes, 1)]);
    let repo = TestRepo::new(1);
    let ledger = Arc::new(Ledger::default());
    *ledger.small.objects() = repo.objects();
    let machine = open(ledger.clone(), 10).expect("a repository");
    back_up(&machine, &mut sample.source()).expect("a backup");

    let created = ledger.created();
    let unnamed = unnamed_data_packs(&ledger, &repo);
    let worst = (0..created.len()).max_by_key(|n| (unnamed[*n], *n)).expect("some");
    assert!(unnamed[worst] <= PACKS_MAX, "{} packs without a name", unnamed[worst]);
    assert!(unnamed.iter().filter(|count| **count == 0).count() > 3, "it names packs on the way");

    // It dies when all is stored and only the first index objects are.
    let last_pack = (0..created.len()).rev().find(|n| data_bytes(&created[*n..=*n]) > 0);
    let left = &created[..=last_pack.expect("a data pack")];
    let killed = Arc::new(ledger.killed_after(left));
    let machine = open(killed.clone(), 11).expect("a repository");
    back_up(&machine, &mut sample.source()).expect("a backup");
    let again = data_bytes(&killed.created()[left.len()..]);
    let named = data_bytes(left) - again.min(data_bytes(left));
    assert!(again < (PACKS_MAX * PACK_LEN_TARGET) as u64, "{again} bytes again");
    assert!(named > 5 * PACK_LEN_TARGET as u64, "only {named} bytes were not stored again");
}
