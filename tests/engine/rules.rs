//! The rules of writers by their numbers (SPEC 12.2). States are put by hand, as a prune would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use engine::backup::BackupError;
use engine::catalog::{Audience, Catalog, CatalogError};
use engine::check::Finding;
use engine::lookup::LookupError;
use engine::session::SessionError;
use engine::storage::Storage;
use engine::storage::memory::MemoryStorage;
use repo_format::header::Kind;
use repo_format::id::{PackId, SnapshotId};
use repo_format::object_name::{Directory, IndexName, ObjectName};
use repo_format::session::SessionRecord;
use repo_format::snapshot::Snapshot;
use repo_tests::faulty_storage::{Call, Fault, FaultyStorage};
use repo_tests::repo::{TestRepo, back_up};
use repo_tests::sample::{Failure, Fill, Place, SEGMENT, Sample, SampleDisk};

/// The calls of a backup into `repo`.
fn calls_of_backup(repo: &TestRepo, sample: &Sample) -> Vec<Call> {
    let (recording, machine) = repo.open_recording();
    let opened = recording.calls().len();
    back_up(&machine, &mut sample.source()).expect("a backup");
    recording.calls().split_off(opened)
}

#[track_caller]
fn place(calls: &[Call], wanted: impl Fn(&Call) -> bool) -> usize {
    calls.iter().position(wanted).expect("such a call")
}

/// What a backup of `sample` into `repo` costs now, in bytes of new chunks.
#[track_caller]
fn new_bytes(repo: &TestRepo, sample: &Sample) -> u64 {
    let made = back_up(&repo.fork().open_again(), &mut sample.source());
    made.expect("a backup").statistics.new_bytes
}

/// Index objects of a session.
fn index_of(repo: &TestRepo, id: SnapshotId) -> Vec<IndexName> {
    let names = repo.names(|_| true).into_iter();
    let index = names.filter_map(|name| match name {
        ObjectName::Index(name) if name.owner == id => Some(name),
        _ => None,
    });
    index.collect()
}

fn packs(repo: &TestRepo) -> Vec<PackId> {
    let pack = |name| match name {
        ObjectName::Pack(id) => Some(id),
        _ => None,
    };
    repo.names(|_| true).into_iter().filter_map(pack).collect()
}

/// A repository in which a backup of `sample` has published everything and was killed before its commit.
/// Besides: its session.
fn with_killed_backup(before: &TestRepo, sample: &Sample) -> (TestRepo, SnapshotId) {
    let repo = before.fork();
    let (recording, machine) = repo.open_recording();
    recording.meanwhile(
        |call| matches!(call.changes(), Some(ObjectName::Snapshot(_))),
        // A crash in the middle of nothing: the commit is never done.
        |_| {},
    );
    let session = Arc::new(AtomicU64::new(0));
    drop(session);
    drop((recording, machine));
    let calls = calls_of_backup(&before.fork(), sample);
    let commit = place(&calls, |call| matches!(call.changes(), Some(ObjectName::Snapshot(_))));
    let mut id = None;
    for call in &calls[..commit] {
        if let Call::Create(name, bytes) = call {
            repo.storage().create(*name, bytes).expect("memory");
            if let ObjectName::Session(session) = name {
                id = Some(*session);
            }
        }
    }
    (repo, id.expect("a session"))
}
