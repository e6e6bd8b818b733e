//! Passwords and key slots.

use std::sync::Arc;

use engine::key_slots::{self, KeyError};
use engine::repository::{OpenError, Repository};
use engine::storage::memory::MemoryStorage;
use repo_format::keys::Role;
use repo_format::object_name::ObjectName;
use repo_format::slot::KdfCost;
use repo_tests::repo::{PASSWORD, TestRepo, back_up, open, options};
use repo_tests::sample::Sample;

const COST: KdfCost = KdfCost::CHEAPEST;

fn open_with(repo: &TestRepo, password: &[u8]) -> Result<Repository, OpenError> {
    Repository::open(options(repo.storage(), 9), password)
}

#[track_caller]
fn check_wrong(repo: &TestRepo, password: &[u8], expected_slots: usize) {
    match open_with(repo, password) {
        Err(OpenError::WrongPassword { slots, .. }) => assert_eq!(slots, expected_slots),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn only_the_password_opens() {
    let repo = TestRepo::new(1);
    assert!(open_with(&repo, PASSWORD).is_ok());
    let longer = [PASSWORD, b" "].concat();
    for wrong in [&b""[..], b"Correct horse battery staple", &PASSWORD[1..], &longer] {
        check_wrong(&repo, wrong, 1);
    }
}

#[test]
fn any_bytes_are_a_password() {
    for password in [&b""[..], &[0], &[0xff; 1000], "p\u{e4}ssw\u{f6}rd".as_bytes()] {
        let repo = TestRepo::new(1);
        key_slots::add(repo.repository(), Role::Full, password, COST, "odd").expect("a slot");
        assert!(open_with(&repo, password).is_ok());
    }
}

#[test]
fn where_there_is_no_repository_none_is_opened() {
    let empty = Arc::new(MemoryStorage::new());
    assert!(matches!(open(empty, 1), Err(OpenError::Missing { .. })));
}

#[test]
fn where_there_is_a_repository_none_is_made() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let before = repo.objects();
    let made = Repository::create(options(repo.storage(), 3), b"other", COST, "other");
    assert!(matches!(made, Err(OpenError::Exists { .. })));
    assert!(repo.objects() == before);
}

#[test]
fn a_creation_that_was_interrupted_is_told() {
    let repo = TestRepo::new(1);
    repo.storage().objects().retain(|name, _| !matches!(name, ObjectName::KeySlot { .. }));
    assert!(matches!(open_with(&repo, PASSWORD), Err(OpenError::Unfinished { .. })));
}

#[test]
fn a_slot_of_another_repository_opens_nothing() {
    let (repo, other) = (TestRepo::new(1), TestRepo::new(2));
    key_slots::add(other.repository(), Role::Full, b"theirs", COST, "theirs").expect("a slot");
    let slots =
        other.objects().into_iter().filter(|(name, _)| matches!(name, ObjectName::KeySlot { .. }));
    repo.storage().objects().extend(slots);
    assert!(open_with(&repo, b"theirs").is_err());
    assert!(open_with(&repo, PASSWORD).is_ok());
}

#[test]
fn damaged_slots_do_not_hide_sound_ones() {
    let repo = TestRepo::new(1);
    let first = repo.repository().slot();
    key_slots::add(repo.repository(), Role::Full, b"second", COST, "second").expect("a slot");
    for (name, bytes) in repo.storage().objects().iter_mut() {
        if matches!(name, ObjectName::KeySlot { id, .. } if *id == first) {
            bytes[60] ^= 1;
        }
    }
    assert!(open_with(&repo, b"second").is_ok());
    assert!(matches!(open_with(&repo, PASSWORD), Err(OpenError::Damaged { .. })));
}

#[test]
fn every_slot_opens_the_same_repository() {
    let mut repo = TestRepo::with(1, &[&Sample::small(1)]);
    key_slots::add(repo.repository(), Role::Full, b"second", COST, "second").expect("a slot");
    let second = open_with(&repo, b"second").expect("it opens");
    assert_eq!(second.keys().role(), Role::Full);
    let made = back_up(&second, &mut Sample::small(1).source()).expect("a backup");
    assert_eq!(made.statistics.new_bytes, 0);
    repo.expect(&made, &Sample::small(1));
    repo.check_intact();
}

#[test]
fn slots_are_listed_with_their_role_and_label() {
    let repo = TestRepo::new(1);
    key_slots::add(repo.repository(), Role::Backup, b"second", COST, "the mover").expect("a slot");
    let mut listed: Vec<_> = key_slots::list(repo.repository())
        .expect("a list")
        .into_iter()
        .map(|slot| {
            let info = slot.info.expect("a sound slot");
            (info.label, info.role == Role::Full, slot.current)
        })
        .collect();
    listed.sort();
    assert_eq!(listed, [("first".to_owned(), true, true), ("the mover".to_owned(), false, false)]);
}

#[test]
fn a_changed_password_opens_and_the_old_one_does_not() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    key_slots::change_password(repo.repository(), b"new", COST).expect("a change");
    check_wrong(&repo, PASSWORD, 1);
    let again = open_with(&repo, b"new").expect("it opens");
    let listed = key_slots::list(&again).expect("a list");
    let labels: Vec<_> =
        listed.iter().map(|slot| slot.info.clone().expect("sound").label).collect();
    assert_eq!(labels, ["first"], "the label is kept");
    repo.check_sound();
}

#[test]
fn changing_one_password_leaves_the_others() {
    let repo = TestRepo::new(1);
    key_slots::add(repo.repository(), Role::Full, b"second", COST, "second").expect("a slot");
    key_slots::change_password(repo.repository(), b"new", COST).expect("a change");
    assert!(open_with(&repo, b"second").is_ok());
    assert!(open_with(&repo, b"new").is_ok());
    check_wrong(&repo, PASSWORD, 2);
}

#[test]
fn a_removed_slot_opens_no_more() {
    let repo = TestRepo::new(1);
    let id = key_slots::add(repo.repository(), Role::Full, b"second", COST, "second").expect("one");
    key_slots::remove(repo.repository(), &id.to_string()[..8]).expect("it goes");
    check_wrong(&repo, b"second", 1);
    assert!(open_with(&repo, PASSWORD).is_ok());
    repo.check_sound();
}

#[test]
fn the_slot_in_use_is_not_removed() {
    let repo = TestRepo::new(1);
    key_slots::add(repo.repository(), Role::Full, b"second", COST, "second").expect("a slot");
    let own = repo.repository().slot().to_string();
    let removed = key_slots::remove(repo.repository(), &own);
    assert!(matches!(removed, Err(KeyError::Needed { .. })), "{removed:?}");
}

#[test]
fn the_last_slot_of_the_full_role_is_not_removed() {
    let repo = TestRepo::new(1);
    let full = repo.repository().slot().to_string();
    key_slots::add(repo.repository(), Role::Backup, b"mover", COST, "mover").expect("a slot");
    let mover = open_with(&repo, b"mover").expect("it opens");
    let removed = key_slots::remove(&mover, &full);
    assert!(matches!(removed, Err(KeyError::Needed { .. })), "{removed:?}");
    assert!(open_with(&repo, PASSWORD).is_ok());
}

#[test]
fn what_names_no_slot_or_several_removes_nothing() {
    let repo = TestRepo::new(1);
    key_slots::add(repo.repository(), Role::Full, b"second", COST, "second").expect("a slot");
    let before = repo.objects();
    for text in ["", "no such id", "zz"] {
        let removed = key_slots::remove(repo.repository(), text);
        assert!(matches!(removed, Err(KeyError::NotFound { .. })), "{text}: {removed:?}");
    }
    assert!(repo.objects() == before);
}
