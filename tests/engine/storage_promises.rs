//! What every storage must keep (SPEC 12.2, `engine::storage`), for each that there is.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{fs, thread};

use engine::storage::local::LocalStorage;
use engine::storage::memory::MemoryStorage;
use engine::storage::{Creation, Storage, StorageError};
use repo_format::id::{IndexHash, PackId, SnapshotId};
use repo_format::object_name::{Directory, IndexName, ObjectName};

/// Runs `promise` on a new storage of each kind.
fn for_each_storage(promise: impl Fn(&dyn Storage)) {
    promise(&MemoryStorage::new());
    let folder = tempfile::tempdir().expect("a temporary directory");
    let local = LocalStorage::new(folder.path().join("repository"));
    local.prepare().expect("a new repository");
    promise(&local);
}

fn pack(number: u8) -> ObjectName {
    ObjectName::Pack(PackId::from_bytes([number; 32]))
}

fn session(number: u8) -> ObjectName {
    ObjectName::Session(SnapshotId::from_bytes([number; 16]))
}

#[test]
fn what_was_created_is_read_whole_and_in_parts() {
    for_each_storage(|storage| {
        assert_eq!(storage.create(pack(1), b"0123456789").expect("stored"), Creation::Created);
        assert_eq!(storage.read(pack(1), 10).expect("read"), b"0123456789");
        assert_eq!(storage.read_range(pack(1), 3..7).expect("read"), b"3456");
        assert_eq!(storage.read_range(pack(1), 10..10).expect("read"), b"");
    });
}

#[test]
fn an_object_that_exists_is_left_as_it_is() {
    for_each_storage(|storage| {
        storage.create(pack(1), b"first").expect("stored");
        assert_eq!(storage.create(pack(1), b"second").expect("asked"), Creation::Exists);
        assert_eq!(storage.read(pack(1), 100).expect("read"), b"first");
    });
}

#[test]
fn of_all_creations_of_one_name_exactly_one_wins() {
    for_each_storage(|storage| {
        for round in 0..20 {
            let winners = AtomicUsize::new(0);
            thread::scope(|scope| {
                for writer in 0..8u8 {
                    let winners = &winners;
                    scope.spawn(move || {
                        let bytes = vec![writer; 10_000];
                        let made = storage.create(pack(round), &bytes).expect("stored");
                        if made == Creation::Created {
                            winners.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(winners.into_inner(), 1);
            let bytes = storage.read(pack(round), 10_000).expect("read");
            assert!(bytes.len() == 10_000 && bytes.iter().all(|byte| *byte == bytes[0]));
        }
    });
}

#[test]
fn an_object_appears_whole_or_not_at_all() {
    for_each_storage(|storage| {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for (name, len) in storage.list(Directory::Packs).expect("a list") {
                        assert_eq!(len, 300_000);
                        assert_eq!(storage.read(name, 300_000).expect("read").len(), 300_000);
                    }
                }
            });
            for number in 0..60 {
                storage.create(pack(number), &vec![number; 300_000]).expect("stored");
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_list_shows_what_was_created_and_not_what_was_deleted() {
    for_each_storage(|storage| {
        let owner = SnapshotId::from_bytes([9; 16]);
        let index = ObjectName::Index(IndexName { owner, hash: IndexHash::from_bytes([8; 20]) });
        for (name, bytes) in [(pack(1), "a"), (pack(2), "bc"), (index, "d"), (session(3), "e")] {
            storage.create(name, bytes.as_bytes()).expect("stored");
        }
        let packs = storage.list(Directory::Packs).expect("a list");
        assert_eq!(packs, [(pack(1), 1), (pack(2), 2)]);
        assert_eq!(storage.list(Directory::Index).expect("a list"), [(index, 1)]);
        assert_eq!(storage.list(Directory::States).expect("a list"), []);
        storage.delete(pack(1)).expect("deleted");
        storage.delete(pack(1)).expect("deleting what is not there succeeds");
        assert_eq!(storage.list(Directory::Packs).expect("a list"), [(pack(2), 2)]);
    });
}

#[test]
fn only_sessions_are_replaced() {
    for_each_storage(|storage| {
        storage.create(session(1), b"alive").expect("stored");
        storage.replace_session(session(1), b"still alive").expect("replaced");
        assert_eq!(storage.read(session(1), 100).expect("read"), b"still alive");
    });
}

#[test]
fn what_cannot_be_read_is_told_apart() {
    for_each_storage(|storage| {
        storage.create(pack(1), b"0123456789").expect("stored");
        let missing = storage.read(pack(2), 10);
        assert!(matches!(missing, Err(StorageError::NotFound { name }) if name == pack(2)));
        let missing = storage.read_range(pack(2), 0..1);
        assert!(matches!(missing, Err(StorageError::NotFound { .. })));
        let short = storage.read_range(pack(1), 5..11);
        assert!(matches!(short, Err(StorageError::Short { .. })));
        let long = storage.read(pack(1), 9);
        assert!(matches!(long, Err(StorageError::TooLong { len: 10, .. })));
    });
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn local_objects_are_for_their_owner_alone_and_leave_nothing_beside_them() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let local = LocalStorage::new(folder.path());
    local.prepare().expect("a new repository");
    local.create(pack(1), b"secret").expect("stored");
    local.create(pack(1), b"again").expect("asked");
    local.replace_session(session(1), b"alive").expect("stored");
    let files = files(folder.path());
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o077, 0);
    }
}

#[test]
fn a_local_directory_that_holds_other_files_becomes_no_repository() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    fs::write(folder.path().join("thesis.txt"), "years of work").expect("written");
    assert!(LocalStorage::new(folder.path()).prepare().is_err());
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn other_files_in_a_local_repository_are_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let local = LocalStorage::new(folder.path());
    local.prepare().expect("a new repository");
    for name in ["packs/README", "packs/ab/short", "state/007", "snapshots/.nfs0001"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "x").expect("written");
    }
    for directory in Directory::ALL {
        assert_eq!(local.list(directory).expect("a list"), []);
    }
}
