//! Who may only write: backs up with deduplication, lists, checks the structure, and reads no disk. And what
//! the storage sees of names and contents: nothing.

use engine::backup::{BackupRequest, backup};
use engine::check::{Finding, Subset, check};
use engine::key_slots::{self, KeyError};
use engine::observer::Silent;
use engine::reader::{ContentReadError, Reader};
use engine::repository::Repository;
use engine::source::Role as DiskRole;
use repo_format::keys::Role;
use repo_format::slot::KdfCost;
use repo_tests::repo::{
    TestRepo, back_up, list_snapshots, options, read_error, request, restore_through, threads,
    workers,
};
use repo_tests::sample::{Fill, SEGMENT, Sample, SampleDisk};

const MOVER: &[u8] = b"the mover's password";

/// A repository with a slot of the backup role, and the repository as its holder opens it.
fn with_mover(samples: &[&Sample]) -> (TestRepo, Repository) {
    let repo = TestRepo::with(1, samples);
    let added = key_slots::add(repo.repository(), Role::Backup, MOVER, KdfCost::CHEAPEST, "mover");
    added.expect("a slot");
    let mover = Repository::open(options(repo.storage(), 50), MOVER).expect("it opens");
    assert_eq!(mover.keys().role(), Role::Backup);
    (repo, mover)
}

fn large_enough() -> Sample {
    Sample::of([SampleDisk::noise("xvda", SEGMENT + 512, 1)])
}

#[test]
fn it_backs_up_what_the_full_role_restores() {
    let sample = large_enough();
    let (mut repo, mover) = with_mover(&[]);
    let made = back_up(&mover, &mut sample.source()).expect("a backup");
    repo.expect(&made, &sample);
    repo.check_intact();
}

#[test]
fn it_does_not_store_again_what_the_full_role_has_stored() {
    let sample = large_enough();
    let (mut repo, mover) = with_mover(&[&sample]);
    let before = repo.stored_bytes();
    let made = back_up(&mover, &mut sample.source()).expect("a backup");
    assert!(repo.stored_bytes() - before < 64 << 10);
    repo.expect(&made, &sample);
    repo.check_intact();
}

#[test]
fn nor_the_full_role_what_it_has_stored() {
    let sample = large_enough();
    let (mut repo, mover) = with_mover(&[]);
    back_up(&mover, &mut sample.source()).expect("a backup");
    let before = repo.stored_bytes();
    repo.back_up(&sample);
    assert!(repo.stored_bytes() - before < 64 << 10);
}

#[test]
fn it_takes_over_what_a_killed_backup_published() {
    let sample = large_enough();
    let (repo, mover) = with_mover(&[]);
    repo.leave_killed_backup(&sample);
    let made = back_up(&mover, &mut sample.source()).expect("a backup");
    assert_eq!(made.statistics.new_bytes, 0);
}

#[test]
fn it_lists_snapshots_and_restores_none() {
    let (_repo, mover) = with_mover(&[&Sample::small(1), &Sample::small(2)]);
    let listed = list_snapshots(&mover).expect("a list");
    assert_eq!(listed.len(), 2);
    let reader = Reader::open(&mover).expect("a reader");
    for snapshot in listed {
        let error = restore_through(&reader, &snapshot).expect_err("it may not read");
        let refused = matches!(read_error(&error), Some(ContentReadError::BackupRole));
        assert!(refused, "{error:?}");
    }
}

#[test]
fn it_checks_the_structure_and_says_what_it_could_not_open() {
    let (repo, mover) = with_mover(&[&Sample::small(1)]);
    let report = |subset| check(&mover, workers(), subset, &Silent).expect("a report");
    assert_eq!(report(None).findings, []);
    assert_eq!(report(None).checked.snapshots, 1);
    assert_eq!(report(Some(Subset::All)).findings, [Finding::NotOpened]);
    for pack in repo.packs() {
        let name = repo_format::object_name::ObjectName::Pack(pack);
        let whole = repo.storage().objects().remove(&name).expect("a pack");
        assert!(report(None).has_damage(), "a missing pack");
        let mut flipped = whole.clone();
        flipped[120] ^= 1;
        repo.storage().objects().insert(name, flipped);
        assert!(report(Some(Subset::All)).has_damage(), "a flipped bit");
        repo.storage().objects().insert(name, whole);
    }
}

#[test]
fn it_makes_keys_of_its_own_role_only() {
    let (_repo, mover) = with_mover(&[]);
    let add = |role| key_slots::add(&mover, role, b"more", KdfCost::CHEAPEST, "more");
    assert!(matches!(add(Role::Full), Err(KeyError::BackupRole)));
    assert!(add(Role::Backup).is_ok());
}

#[test]
fn its_new_password_opens_the_same_role() {
    let (repo, mover) = with_mover(&[]);
    key_slots::change_password(&mover, b"new", KdfCost::CHEAPEST).expect("a change");
    let again = Repository::open(options(repo.storage(), 51), b"new").expect("it opens");
    assert_eq!(again.keys().role(), Role::Backup);
}

/// Whether any object holds `needle`.
fn is_seen(repo: &TestRepo, needle: &[u8]) -> bool {
    let holds = |bytes: &Vec<u8>| bytes.windows(needle.len()).any(|window| window == needle);
    repo.objects().values().any(holds)
}

#[test]
fn storage_sees_no_name_no_tag_and_no_content() {
    let record = b"<value><name>name_label</name>PAYROLL-VM-SECRET</value>".repeat(20);
    let mut noise = vec![0; 64];
    let disk = SampleDisk::empty("the-disk-of-the-boss", SEGMENT)
        .with(0..200_000, Fill::Noise(1))
        .with(1 << 20..(1 << 20) + 5_000, Fill::Text(77))
        .with(2 << 20..(2 << 20) + 64, Fill::Bytes(b"a short secret on the disk".to_vec()));
    disk.write(1000, &mut noise);
    let stream = SampleDisk::stream(DiskRole::Record, "ova.xml", &record);
    let sample =
        Sample { vm_name: Some("payroll-machine".to_owned()), ..Sample::of([stream, disk]) };
    let (repo, mover) = with_mover(&[]);
    let request = BackupRequest {
        tags: vec!["before-the-merger".to_owned()],
        path: "/exports/payroll.xva".to_owned(),
        selection: None,
        run_name: "run of the night".to_owned(),
        ..request()
    };
    for machine in [&mover, repo.repository()] {
        let made = backup(machine, threads(), &mut sample.source(), &request, &Silent);
        made.expect("a backup");
    }
    repo.leave_killed_backup(&Sample::small(3));
    let needles: [&[u8]; 16] = [
        b"PAYROLL-VM",
        b"name_label",
        b"ova.xml",
        b"the-disk-of-the-boss",
        b"payroll",
        b"tester",
        b"xenith test",
        b"before-the-merger",
        b"/exports",
        b"run of the night",
        b"this is line",
        b"a short secret",
        &noise[..16],
        MOVER,
        repo_tests::repo::PASSWORD,
        b"key of",
    ];
    for needle in needles {
        assert!(!is_seen(&repo, needle), "{:?}", String::from_utf8_lossy(needle));
    }
    let secrets = repo.repository().keys();
    assert!(!is_seen(&repo, secrets.identity().expose()), "the identity");
    for epoch in secrets.epochs() {
        assert!(!is_seen(&repo, epoch.catalog.expose()), "the catalog secret");
    }
    // The search itself works: what every header shows is found.
    assert!(is_seen(&repo, b"XNTH"));
    assert!(is_seen(&repo, secrets.repository().as_bytes()));
}
