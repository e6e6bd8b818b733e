//! What `check` says of each damage. It repairs nothing, stops at nothing, and never panics.

use engine::check::{Finding, Report, Subset, check, hashes::check_hashes};
use engine::observer::Silent;
use engine::reader::Reader;
use engine::snapshots;
use proptest::collection::vec;
use proptest::prelude::*;
use repo_format::FormatError;
use repo_format::header::{Kind, claimed_kind};
use repo_format::id::{IndexHash, PackId, SlotId, SnapshotId};
use repo_format::object_name::{IndexName, ObjectName};
use repo_tests::repo::{TestRepo, back_up, workers};
use repo_tests::sample::{SEGMENT, Sample, SampleDisk};

fn two_snapshots() -> TestRepo {
    TestRepo::with(1, &[&Sample::small(1), &Sample::small(2)])
}

/// The findings of a whole check after `damage` was done to a repository with two snapshots.
#[track_caller]
fn findings_after(damage: impl FnOnce(&TestRepo)) -> Vec<Finding> {
    let repo = two_snapshots();
    damage(&repo);
    repo.report().findings
}

/// Names of the packs of one kind.
fn packs_of(repo: &TestRepo, kind: Kind) -> Vec<PackId> {
    let objects = repo.objects();
    let is_of = |id: &PackId| claimed_kind(&objects[&ObjectName::Pack(*id)]) == Ok(kind);
    repo.packs().into_iter().filter(is_of).collect()
}

fn remove(repo: &TestRepo, name: ObjectName) {
    repo.storage().objects().remove(&name).expect("it was there");
}

fn replace(repo: &TestRepo, name: ObjectName, bytes: &[u8]) {
    repo.storage().objects().insert(name, bytes.to_vec());
}

/// The snapshots that a report calls unrestorable, each once.
fn unrestorable(findings: &[Finding]) -> Vec<SnapshotId> {
    let snapshot = |finding: &Finding| match finding {
        Finding::Unrestorable { snapshot, .. } => Some(*snapshot),
        _ => None,
    };
    let mut found: Vec<_> = findings.iter().filter_map(snapshot).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn is_damaged(finding: &Finding, name: ObjectName) -> bool {
    matches!(finding, Finding::Damaged { name: found, .. } if *found == name)
}

#[test]
fn a_sound_repository_has_no_findings() {
    let report = two_snapshots().report();
    assert_eq!(report.findings, []);
    assert_eq!((report.checked.snapshots, report.checked.packs), (2, 6));
}

#[test]
fn every_object_is_read() {
    let repo = two_snapshots();
    let report = check_hashes(&*repo.storage(), &Silent).expect("a report");
    assert_eq!(report.checked.objects, repo.objects().len() as u64);
    assert_eq!(report.checked.bytes, repo.stored_bytes());
}

#[test]
fn a_missing_data_pack_is_told_with_the_snapshots_that_need_it() {
    let repo = two_snapshots();
    for pack in packs_of(&repo, Kind::DataPack) {
        let without = repo.fork();
        remove(&without, ObjectName::Pack(pack));
        let findings = without.report().findings;
        assert!(findings.contains(&Finding::PackMissing { pack }), "{findings:?}");
        let lost = unrestorable(&findings);
        assert_eq!(lost.len(), 1, "{findings:?}");
        for snapshot in without.snapshots() {
            assert_eq!(without.restore(&snapshot).is_err(), lost.contains(&snapshot.id));
        }
    }
}

#[test]
fn a_missing_map_pack_is_told_with_the_snapshots_that_need_it() {
    let repo = two_snapshots();
    for pack in packs_of(&repo, Kind::MapPack) {
        let without = repo.fork();
        remove(&without, ObjectName::Pack(pack));
        let findings = without.report().findings;
        assert!(findings.contains(&Finding::PackMissing { pack }), "{findings:?}");
        assert_eq!(unrestorable(&findings).len(), 1, "{findings:?}");
    }
}

#[test]
fn a_truncated_pack_is_told_by_its_length() {
    let findings = findings_after(|repo| {
        let pack = ObjectName::Pack(repo.packs()[0]);
        let bytes = repo.objects()[&pack].clone();
        replace(repo, pack, &bytes[..bytes.len() - 1]);
    });
    let length = |finding: &Finding| matches!(finding, Finding::PackLength { found, expected, .. } if found + 1 == *expected);
    assert!(findings.iter().any(length), "{findings:?}");
}

#[test]
fn two_packs_whose_contents_were_swapped_are_both_damaged() {
    let repo = two_snapshots();
    let packs = packs_of(&repo, Kind::DataPack);
    let [one, two] = [packs[0], packs[1]].map(ObjectName::Pack);
    let objects = repo.objects();
    assert_eq!(objects[&one].len(), objects[&two].len(), "so that only the hash tells");
    replace(&repo, one, &objects[&two]);
    replace(&repo, two, &objects[&one]);
    let findings = repo.report().findings;
    assert!([one, two].iter().all(|name| findings.iter().any(|found| is_damaged(found, *name))));
    let hashed = check_hashes(&*repo.storage(), &Silent).expect("a report").findings;
    assert_eq!(hashed.len(), 2, "{hashed:?}");
    for snapshot in repo.snapshots() {
        assert!(repo.restore(&snapshot).is_err());
    }
}

#[test]
fn a_missing_index_object_makes_its_snapshots_unrestorable() {
    let repo = two_snapshots();
    let lost = repo.snapshots()[1].id;
    for index in repo.index_of(lost) {
        let without = repo.fork();
        remove(&without, ObjectName::Index(index));
        assert_eq!(unrestorable(&without.report().findings), [lost]);
    }
}

#[test]
fn an_index_object_that_the_state_names_and_that_is_missing_is_an_error() {
    let repo = two_snapshots();
    let index = repo.index_of(repo.snapshots()[0].id);
    repo.put_state(|state| state.live = index.clone());
    remove(&repo, ObjectName::Index(index[0]));
    let outcome = check(repo.repository(), workers(), Some(Subset::All), &Silent);
    let damage = outcome.as_ref().map_or(true, Report::has_damage);
    assert!(damage, "{outcome:?}");
}

#[test]
fn a_damaged_index_object_is_told_and_stops_the_following_of_snapshots() {
    let repo = two_snapshots();
    let index = ObjectName::Index(repo.index_of(repo.snapshots()[0].id)[0]);
    repo.storage().objects().get_mut(&index).expect("an object")[150] ^= 1;
    let findings = repo.report().findings;
    let [damaged, Finding::IndexUnusable] = findings.as_slice() else {
        panic!("{findings:?}");
    };
    let hash = FormatError::Hash { what: "index object" };
    assert_eq!(*damaged, Finding::Damaged { name: index, source: hash });
}

#[test]
fn a_missing_copy_of_a_root_is_told() {
    for copy in [1, 2, 3] {
        let name = ObjectName::Config { copy, number: 0 };
        let findings = findings_after(|repo| remove(repo, name));
        assert_eq!(findings, [Finding::RootCopy { name }]);
    }
}

#[test]
fn a_copy_of_a_root_that_is_another_root_is_told() {
    let (repo, other) = (two_snapshots(), TestRepo::new(2));
    let name = ObjectName::Config { copy: 3, number: 0 };
    replace(&repo, name, &other.objects()[&name]);
    assert_eq!(repo.report().findings, [Finding::RootCopy { name }]);
}

#[test]
fn a_damaged_copy_of_a_key_slot_is_told_once() {
    let repo = two_snapshots();
    let is_slot = |name: &ObjectName| matches!(name, ObjectName::KeySlot { copy: 2, .. });
    let name = repo.names(is_slot)[0];
    repo.storage().objects().get_mut(&name).expect("an object")[60] ^= 1;
    let findings = repo.report().findings;
    assert!(findings.len() == 1 && is_damaged(&findings[0], name), "{findings:?}");
}

#[test]
fn a_damaged_snapshot_is_told_and_the_others_are_followed() {
    let repo = two_snapshots();
    let name = ObjectName::Snapshot(repo.snapshots()[0].id);
    repo.storage().objects().get_mut(&name).expect("an object")[150] ^= 1;
    let report = repo.report();
    assert!(report.findings.len() == 1 && is_damaged(&report.findings[0], name));
    assert_eq!(report.checked.snapshots, 1);
}

#[test]
fn a_damaged_snapshot_hides_no_other_and_hinders_no_backup() {
    let mut repo = two_snapshots();
    let [first, second] = [0, 1].map(|n: usize| repo.snapshots()[n].clone());
    let name = ObjectName::Snapshot(first.id);
    repo.storage().objects().get_mut(&name).expect("an object")[150] ^= 1;
    repo.expect_no_more(first.id);
    let catalog = Reader::open(repo.repository()).expect("a reader").catalog();
    let listing = snapshots::list(repo.repository(), &catalog).expect("a list");
    assert_eq!((listing.snapshots, listing.damaged.len()), (vec![second.clone()], 1));
    assert_eq!(repo.restore(&second).expect("a restore"), Sample::small(2).hashes());
    let third = back_up(repo.repository(), &mut Sample::small(3).source()).expect("a backup");
    assert_eq!(third.predecessor, Some(second.id));
}

#[test]
fn a_snapshot_under_the_name_of_another_is_damaged() {
    let repo = two_snapshots();
    let snapshots = repo.snapshots();
    let [one, two] = [0, 1].map(|n: usize| ObjectName::Snapshot(snapshots[n].id));
    replace(&repo, one, &repo.objects()[&two]);
    let findings = repo.report().findings;
    assert!(findings.len() == 1 && is_damaged(&findings[0], one), "{findings:?}");
}

#[test]
fn an_object_of_another_repository_is_damaged() {
    let repo = two_snapshots();
    let other = TestRepo::with(2, &[&Sample::small(1)]);
    let foreign = ObjectName::Snapshot(other.snapshots()[0].id);
    replace(&repo, foreign, &other.objects()[&foreign]);
    let findings = repo.report().findings;
    assert!(findings.len() == 1 && is_damaged(&findings[0], foreign), "{findings:?}");
}

#[test]
fn what_is_no_damage_is_told_too() {
    let repo = two_snapshots();
    let before = repo.packs();
    let session = repo.leave_killed_backup(&Sample::small(3));
    let findings = repo.check_sound();
    let unused = repo.packs().into_iter().filter(|pack| !before.contains(pack));
    let mut expected: Vec<_> = unused.map(|pack| Finding::PackUnused { pack }).collect();
    expected.insert(0, Finding::Session { id: session });
    assert_eq!(findings, expected);
}

/// The next backup would take its chunks over: so it is worth knowing that they are damaged.
#[test]
fn a_damaged_pack_that_nothing_uses_yet_is_found_when_packs_are_read() {
    let repo = two_snapshots();
    let before = repo.packs();
    repo.leave_killed_backup(&Sample::small(3));
    let unused = repo.packs().into_iter().find(|pack| !before.contains(pack)).expect("a pack");
    let name = ObjectName::Pack(unused);
    repo.storage().objects().get_mut(&name).expect("an object")[200] ^= 1;
    let findings = repo.report().findings;
    assert!(findings.iter().any(|found| is_damaged(found, name)), "{findings:?}");
}

#[test]
fn every_part_of_a_subset_together_reads_every_pack() {
    let disks = (0..12).map(|n| SampleDisk::noise(&format!("disk {n}"), SEGMENT / 2, n));
    let samples: Vec<_> = disks.map(|disk| Sample::of([disk])).collect();
    let repo = TestRepo::with(1, &samples.iter().collect::<Vec<_>>());
    let read = |subset| {
        let report = check(repo.repository(), workers(), Some(subset), &Silent).expect("a report");
        assert!(!report.has_damage());
        report.checked.packs
    };
    let all = (repo.packs().len() + repo.print_packs().len()) as u64;
    assert_eq!((1..=5).map(|part| read(Subset::Part { part, parts: 5 })).sum::<u64>(), all);
    assert_eq!(read(Subset::All), all);
    assert_eq!(read(Subset::Percent(50.0)), all / 2);
    assert_eq!(read(Subset::Percent(100.0)), all);
    assert!((1..all).contains(&read(Subset::Bytes(4 << 20))));
}

#[test]
fn without_reading_packs_a_check_reads_no_data_pack() {
    let repo = two_snapshots();
    let (recording, machine) = repo.open_recording();
    let data = packs_of(&repo, Kind::DataPack);
    let report = check(&machine, workers(), None, &Silent).expect("a report");
    assert_eq!((report.findings, report.checked.packs), (Vec::new(), 0));
    let touches = |call: &repo_tests::faulty_storage::Call| {
        use repo_tests::faulty_storage::Call::{Read, ReadRange};
        matches!(call, Read(ObjectName::Pack(id)) | ReadRange(ObjectName::Pack(id), _) if data.contains(id))
    };
    assert_eq!(recording.calls().iter().filter(|call| touches(call)).count(), 0);
}

fn any_name() -> impl Strategy<Value = ObjectName> {
    let id = any::<[u8; 16]>().prop_map(SnapshotId::from_bytes);
    let index = (any::<[u8; 16]>(), any::<[u8; 20]>()).prop_map(|(owner, hash)| {
        let (owner, hash) = (SnapshotId::from_bytes(owner), IndexHash::from_bytes(hash));
        ObjectName::Index(IndexName { owner, hash })
    });
    prop_oneof![
        (1..=3u8, 0..3u64).prop_map(|(copy, number)| ObjectName::Config { copy, number }),
        (1..=3u8, any::<[u8; 16]>())
            .prop_map(|(copy, id)| ObjectName::KeySlot { copy, id: SlotId::from_bytes(id) }),
        any::<[u8; 32]>().prop_map(|id| ObjectName::Pack(PackId::from_bytes(id))),
        index,
        id.clone().prop_map(ObjectName::Snapshot),
        id.clone().prop_map(ObjectName::Marker),
        id.prop_map(ObjectName::Session),
        (0..3u64).prop_map(ObjectName::State),
    ]
}

/// Bytes of an object of the repository under another name, cut or changed; or bytes that nobody wrote.
fn any_garbage(objects: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed = (proptest::sample::select(objects), 0..2_000usize, 0..400usize, any::<u8>());
    let changed = changed.prop_map(|(mut bytes, cut, place, byte)| {
        if cut < 1_000 {
            bytes.truncate(cut);
        }
        if let Some(found) = bytes.get_mut(place) {
            *found = byte;
        }
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..300), changed]
}

#[test]
fn garbage_under_valid_names_never_makes_a_check_panic() {
    let repo = two_snapshots();
    let objects = repo.objects();
    let garbage = vec((any_name(), any_garbage(objects.values().cloned().collect())), 1..6);
    let config =
        ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = proptest::test_runner::TestRunner::new(config).run(&garbage, |garbage| {
        let storage = repo.storage();
        storage.objects().clone_from(&objects);
        storage.objects().extend(garbage);
        check_hashes(&*storage, &Silent).expect("a report");
        let _a_report_or_an_error = check(repo.repository(), workers(), Some(Subset::All), &Silent);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// Garbage where every object was.
#[test]
fn objects_that_were_replaced_by_garbage_are_found_one_by_one() {
    let repo = two_snapshots();
    for name in repo.names(|_| true) {
        for garbage in [&[][..], b"XNTH", &[0; 96], &[0xff; 500]] {
            let broken = repo.fork();
            replace(&broken, name, garbage);
            let hashed = check_hashes(&*broken.storage(), &Silent).expect("a report");
            assert!(hashed.has_damage(), "{name}");
            let report = check(broken.repository(), workers(), Some(Subset::All), &Silent);
            assert!(report.is_err() || report.is_ok_and(|report| report.has_damage()), "{name}");
        }
    }
}
