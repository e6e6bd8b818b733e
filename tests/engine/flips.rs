//! 1,000 flipped bits, one at a time, over all objects of a repository: each is found by `check`, with and without
//! the password, and none is ever restored.

use engine::check::{Subset, check, hashes::check_hashes};
use engine::observer::Silent;
use engine::reader::Reader;
use engine::repository::Repository;
use engine::snapshots;
use repo_format::id::SnapshotId;
use repo_format::object_name::ObjectName;
use repo_tests::faulty_storage::flip;
use repo_tests::repo::{TestRepo, open, restore_through, workers};
use repo_tests::sample::{DiskHashes, Sample, SampleDisk};

/// Flips of one test; there are four, so that they run side by side.
const FLIPS: u64 = 250;

/// As small as a repository can be that has every kind of object: two snapshots of one small disk each,
/// what a killed backup left, a fenced session and a forgotten snapshot.
fn one_of_each() -> (TestRepo, Vec<Vec<DiskHashes>>) {
    let sample = |seed: u64| Sample::of([SampleDisk::noise("xvda", 20_000, seed)]);
    let mut repo = TestRepo::with(1, &[&sample(1), &sample(2)]);
    let forgotten = repo.back_up(&sample(3));
    repo.put_marker(forgotten.id);
    repo.expect_no_more(forgotten.id);
    repo.leave_killed_backup(&sample(4));
    repo.put_tombstone(SnapshotId::from_bytes([5; 16]));
    let id = forgotten.id;
    repo.put_state(|state| {
        state.live = repo.index_of(id);
        state.absorbed = vec![id];
    });
    repo.check_intact();
    (repo, vec![sample(1).hashes(), sample(2).hashes()])
}

/// A number below `limit`, made of `seed`.
fn below(limit: usize, what: &str, seed: u64) -> u64 {
    let hash = blake3::hash(format!("{what} {seed}").as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first) % limit as u64
}

/// Restores every snapshot that can be listed: `None` where that fails.
fn restore_all(repository: &Repository) -> Vec<Option<Vec<DiskHashes>>> {
    let Ok(reader) = Reader::open(repository) else { return Vec::new() };
    let Ok(listing) = snapshots::list(repository, &reader.catalog()) else { return Vec::new() };
    let restore = |snapshot| restore_through(&reader, snapshot).ok();
    listing.snapshots.iter().map(restore).collect()
}

#[track_caller]
fn check_flips(seeds: std::ops::Range<u64>) {
    let (repo, right) = one_of_each();
    let names = repo.names(|_| true);
    let storage = repo.storage();
    for seed in seeds {
        let name = names[below(names.len(), "object", seed) as usize];
        let bits = 8 * storage.objects()[&name].len();
        let place = below(bits, "bit", seed);
        let toggle = || flip(storage.objects().get_mut(&name).expect("it is there"), place);
        toggle();
        let what = format!("bit {place} of {name}");

        let without_key = check_hashes(&*storage, &Silent).expect("a report");
        assert!(without_key.has_damage(), "not found without the key: {what}");

        let is_root = matches!(name, ObjectName::Config { .. } | ObjectName::KeySlot { .. });
        let again = is_root.then(|| open(storage.clone(), seed).expect("the other copies serve"));
        let machine = again.as_ref().unwrap_or(repo.repository());
        let report = check(machine, workers(), Some(Subset::All), &Silent).expect("a report");
        assert!(report.has_damage(), "not found: {what}");

        let restored = restore_all(machine);
        let wrong = restored.iter().flatten().filter(|disks| !right.contains(disks)).count();
        assert_eq!(wrong, 0, "wrong bytes were restored: {what}");
        if is_root {
            assert_eq!(restored.iter().flatten().count(), right.len(), "{what}");
        }
        toggle();
    }
    repo.check_intact();
}

#[test]
fn flips_1_to_250_are_found_and_never_restored() {
    check_flips(0..FLIPS);
}

#[test]
fn flips_251_to_500_are_found_and_never_restored() {
    check_flips(FLIPS..2 * FLIPS);
}

#[test]
fn flips_501_to_750_are_found_and_never_restored() {
    check_flips(2 * FLIPS..3 * FLIPS);
}

#[test]
fn flips_751_to_1000_are_found_and_never_restored() {
    check_flips(3 * FLIPS..4 * FLIPS);
}
