//! Any call to storage may fail, once, in any way: nothing that was there is lost, and the next try succeeds.
//!
//! Each test runs a command again and again, and lets call number 1, 2, 3, ... go wrong until there is no such call.

use std::sync::Arc;

use engine::key_slots;
use engine::reader::Reader;
use engine::repository::{OpenError, Repository};
use engine::storage::memory::MemoryStorage;
use repo_format::keys::Role;
use repo_format::object_name::ObjectName;
use repo_format::slot::KdfCost;
use repo_tests::faulty_storage::{Fault, FaultyStorage};
use repo_tests::repo::{
    PASSWORD, TestRepo, back_up, list_snapshots, open, options, restore_through,
};
use repo_tests::sample::{DiskHashes, Sample, SampleDisk};

const COST: KdfCost = KdfCost::CHEAPEST;

/// Runs `command` for N = 1, 2, ... on a repository opened by another machine, with call number N from
/// then on going wrong, until it gets through without; then `judge` looks at the intact storage below.
#[track_caller]
pub(crate) fn for_every_call<T>(
    before: &TestRepo,
    fault: Fault,
    command: impl Fn(&Repository) -> T,
    judge: impl Fn(usize, TestRepo, T),
) -> usize {
    for call in 1.. {
        let repo = before.fork();
        let faulty = FaultyStorage::recording(repo.storage());
        let repository = repo.open_through(faulty.clone());
        faulty.fail_from_now(call, fault);
        let result = command(&repository);
        drop(repository);
        if !faulty.has_failed() {
            assert!(call > 2, "the command makes no calls");
            return call - 1;
        }
        judge(call, repo, result);
    }
    unreachable!("a command makes finitely many calls")
}

const ANY: [Fault; 3] = [Fault::Refused, Fault::AnswerLost, Fault::Crash];

/// A repository with two snapshots, and what a killed backup of a third sample left.
fn lived_in() -> TestRepo {
    let repo = TestRepo::with(1, &[&Sample::small(1), &Sample::small(2)]);
    repo.leave_killed_backup(&Sample::small(9));
    repo
}

/// The sample that was interrupted, and more.
fn interrupted_and_more() -> Sample {
    let more = |disk: SampleDisk| SampleDisk { name: format!("more {}", disk.name), ..disk };
    let disks = Sample::small(9).disks.into_iter();
    Sample::of(disks.chain(Sample::small(3).disks.into_iter().map(more)))
}

#[track_caller]
fn check_backup_survives(fault: Fault) {
    let before = lived_in();
    let old = before.snapshots();
    let sample = interrupted_and_more();
    let backup = |repository: &Repository| back_up(repository, &mut sample.source());
    for_every_call(&before, fault, backup, |call, mut repo, result| {
        let listed = repo.snapshots();
        match &result {
            Ok(snapshot) => repo.expect(snapshot, &sample),
            // Who did not hear the answer cannot know; but there is all of it or nothing.
            Err(_) => assert!(listed.len() <= 3, "{fault:?} at call {call}"),
        }
        let others = listed.iter().filter(|snapshot| !old.contains(snapshot));
        others.for_each(|snapshot| repo.expect(snapshot, &sample));
        repo.check_intact();
        repo.back_up(&sample);
        repo.check_intact();
    });
}

#[test]
fn a_backup_survives_a_refused_call() {
    check_backup_survives(Fault::Refused);
}

#[test]
fn a_backup_survives_a_lost_answer() {
    check_backup_survives(Fault::AnswerLost);
}

#[test]
fn a_backup_survives_a_crash() {
    check_backup_survives(Fault::Crash);
}

#[test]
fn a_backup_survives_a_request_that_is_sent_twice() {
    check_backup_survives(Fault::SentTwice);
}

#[test]
fn a_backup_survives_a_flipped_bit_on_the_way() {
    check_backup_survives(Fault::Flipped(12_345));
}

/// A backup of data that is there already reads what the first one stored.
#[test]
fn a_second_backup_of_the_same_data_survives_every_fault() {
    let sample = Sample::small(1);
    let before = lived_in();
    for fault in [Fault::Refused, Fault::Crash, Fault::Flipped(999)] {
        let backup = |repository: &Repository| back_up(repository, &mut sample.source());
        for_every_call(&before, fault, backup, |_, mut repo, _| {
            repo.check_sound();
            repo.back_up(&sample);
            repo.check_intact();
        });
    }
}

/// Restores everything; `Err` is a message.
fn restore_all(repository: &Repository) -> Result<Vec<Vec<DiskHashes>>, String> {
    let snapshots = list_snapshots(repository).map_err(|error| error.to_string())?;
    let reader = Reader::open(repository).map_err(|error| error.to_string())?;
    let restored = snapshots.iter().map(|snapshot| restore_through(&reader, snapshot));
    restored.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

#[test]
fn a_restore_gives_the_right_bytes_or_an_error_whatever_happens_to_a_call() {
    let before = lived_in();
    let right = vec![Sample::small(1).hashes(), Sample::small(2).hashes()];
    let flips = (0..8).map(|place| Fault::Flipped(place * 77_777 + place));
    for fault in ANY.into_iter().chain(flips) {
        for_every_call(&before, fault, restore_all, |call, repo, result| {
            match result {
                Ok(restored) => assert_eq!(restored, right, "{fault:?} at call {call}"),
                Err(message) => assert!(!message.is_empty()),
            }
            assert!(repo.objects() == before.objects(), "a restore changes nothing");
        });
    }
}

#[test]
fn opening_gives_a_repository_or_an_error_whatever_happens_to_a_call() {
    let storage = lived_in().storage();
    for fault in ANY.into_iter().chain((0..10).map(|place| Fault::Flipped(place * 331))) {
        for call in 1.. {
            let faulty = FaultyStorage::failing(storage.clone(), call, fault);
            let opened = open(faulty.clone(), 5);
            if !faulty.has_failed() {
                break;
            }
            // One flipped bit in a root is healed by the next copy.
            if matches!(fault, Fault::Flipped(_)) {
                assert!(opened.is_ok(), "{fault:?} at call {call}: {:?}", opened.err());
            }
        }
    }
}

/// Creates a repository with call number `call` going wrong; then opens it on the intact storage, or
/// says why that cannot be done.
#[track_caller]
fn check_init_survives(fault: Fault) {
    for call in 1.. {
        let storage = Arc::new(MemoryStorage::new());
        let faulty = FaultyStorage::failing(storage.clone(), call, fault);
        let made = Repository::create(options(faulty.clone(), 1), PASSWORD, COST, "first");
        if !faulty.has_failed() {
            assert!(made.is_ok());
            break;
        }
        match open(storage.clone(), 2) {
            Ok(opened) => {
                back_up(&opened, &mut Sample::small(1).source()).expect("a backup");
                let restored = restore_all(&opened).expect("a restore");
                assert_eq!(restored, [Sample::small(1).hashes()]);
            }
            Err(OpenError::Missing { .. } | OpenError::Unfinished { .. }) => {
                assert!(made.is_err(), "{fault:?} at call {call}");
            }
            Err(error) => panic!("{fault:?} at call {call}: {error:?}"),
        }
    }
}

#[test]
fn init_leaves_a_repository_or_none() {
    [Fault::Refused, Fault::AnswerLost, Fault::Crash].into_iter().for_each(check_init_survives);
}

/// With the slots as they are now, one of these passwords opens the repository, and everything restores.
#[track_caller]
fn check_one_opens(repo: &TestRepo, passwords: &[&[u8]]) {
    let opens = |password: &&&[u8]| Repository::open(options(repo.storage(), 77), password).is_ok();
    assert!(passwords.iter().any(|password| opens(&password)), "nobody can open it any more");
}

#[test]
fn adding_a_key_never_locks_anybody_out() {
    let before = lived_in();
    for fault in ANY {
        let add = |repository: &Repository| {
            key_slots::add(repository, Role::Full, b"another", COST, "second")
        };
        for_every_call(&before, fault, add, |_, repo, result| {
            check_one_opens(&repo, &[PASSWORD]);
            if result.is_ok() {
                check_one_opens(&repo, &[b"another"]);
            }
            let machine = repo.open_again();
            key_slots::add(&machine, Role::Full, b"third", COST, "third").expect("a key");
            check_one_opens(&repo, &[b"third"]);
        });
    }
}

#[test]
fn changing_the_password_never_locks_anybody_out() {
    let before = lived_in();
    for fault in ANY {
        let change =
            |repository: &Repository| key_slots::change_password(repository, b"another", COST);
        for_every_call(&before, fault, change, |call, repo, result| {
            check_one_opens(&repo, &[PASSWORD, b"another"]);
            if result.is_ok() {
                check_one_opens(&repo, &[b"another"]);
                assert!(open(repo.storage(), 7).is_err(), "{fault:?} at call {call}");
            }
        });
    }
}

#[test]
fn removing_a_key_never_locks_anybody_out() {
    let before = lived_in();
    let id = key_slots::add(before.repository(), Role::Full, b"another", COST, "second").unwrap();
    let text = id.to_string();
    for fault in ANY {
        let remove = |repository: &Repository| key_slots::remove(repository, &text);
        for_every_call(&before, fault, remove, |_, repo, result| {
            check_one_opens(&repo, &[PASSWORD]);
            let is_slot = |name: &ObjectName| matches!(name, ObjectName::KeySlot { id: found, .. } if *found == id);
            if result.is_ok() {
                assert_eq!(repo.names(is_slot), []);
            } else if !repo.names(is_slot).is_empty() {
                key_slots::remove(&repo.open_again(), &text).expect("a second try");
            }
            assert_eq!(repo.names(is_slot), []);
            repo.check_sound();
        });
    }
}

/// Nothing hangs on which of its copies a root is read from.
#[test]
fn a_storage_that_has_lost_two_copies_of_each_root_still_opens() {
    let storage = lived_in().storage();
    storage.objects().retain(|name, _| match name {
        ObjectName::Config { copy, .. } => *copy == 2,
        ObjectName::KeySlot { copy, .. } => *copy == 3,
        _ => true,
    });
    assert!(open(storage, 3).is_ok());
}
