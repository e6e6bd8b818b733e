//! Backups of one run share packs; each snapshot stands alone nevertheless.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::backup::{BackupError, Outcome, Run};
use engine::observer::Silent;
use engine::reader::Reader;
use engine::repository::Repository;
use engine::source::{Source, SourceError};
use repo_format::id::SnapshotId;
use repo_format::object_name::ObjectName;
use repo_tests::faulty_storage::{Call, Fault, FaultyStorage};
use repo_tests::repo::{TestRepo, list_snapshots, request, restore_through, threads};
use repo_tests::sample::{Failure, Place, Sample};

fn run(repository: &Repository) -> Run<'_, 'static> {
    Run::new(repository, threads(), request().packing)
}

fn read(run: &mut Run<'_, '_>, source: &mut dyn Source) -> Result<SnapshotId, BackupError> {
    run.read(source, &request(), &Silent)
}

/// Four backups, the last of what the first has; what became of each, in their order.
fn back_up_four(repository: &Repository) -> Vec<(Sample, Result<SnapshotId, BackupError>)> {
    let samples = [1, 2, 3, 1].map(Sample::small);
    let mut run = run(repository);
    let ids = samples.each_ref().map(|sample| read(&mut run, &mut sample.source()));
    let outcomes = run.outcomes().into_iter().chain(run.finish());
    let mut outcomes: BTreeMap<_, _> =
        outcomes.map(|Outcome { id, result }| (id, result.map(|snapshot| snapshot.id))).collect();
    let become_of = |id: Result<SnapshotId, _>| {
        id.and_then(|id| outcomes.remove(&id).expect("an outcome for what was read"))
    };
    let results: Vec<_> = ids.into_iter().map(become_of).collect();
    assert!(outcomes.is_empty(), "an outcome of nothing");
    samples.into_iter().zip(results).collect()
}

/// Those that succeeded are there and restore; of the others there is nothing. All is sound.
#[track_caller]
fn check(mut repo: TestRepo, results: &[(Sample, Result<SnapshotId, BackupError>)]) {
    let listed = list_snapshots(&repo.open_again()).expect("a list");
    for (sample, result) in results {
        if let Ok(id) = result {
            let snapshot = listed.iter().find(|snapshot| snapshot.id == *id);
            repo.expect(snapshot.expect("a snapshot that was told of"), sample);
        }
    }
    repo.check_intact();
}

#[test]
fn snapshots_of_a_run_lie_in_the_same_packs() {
    let alone = TestRepo::with(1, &[&Sample::small(1), &Sample::small(2), &Sample::small(3)]);
    let repo = TestRepo::new(1);
    let results = back_up_four(&repo.open_again());
    assert!(results.iter().all(|(_, result)| result.is_ok()));
    assert_eq!((alone.packs().len(), repo.packs().len()), (6, 2));
    assert_eq!((alone.print_packs().len(), repo.print_packs().len()), (3, 1));
    assert!(repo.stored_bytes() < alone.stored_bytes());
    check(repo, &results);
}

/// Rule 4d: what another session of the run has stored is named again.
#[test]
fn each_snapshot_restores_when_all_others_of_its_run_are_gone_without_a_trace() {
    let repo = TestRepo::new(1);
    let results = back_up_four(&repo.open_again());
    let ids: Vec<SnapshotId> =
        results.iter().map(|(_, result)| *result.as_ref().expect("a snapshot")).collect();
    for (sample, kept) in results.iter().map(|(sample, _)| sample).zip(&ids) {
        let mut alone = repo.fork();
        alone.storage().objects().retain(|name, _| match name {
            ObjectName::Snapshot(id) => id == kept,
            ObjectName::Index(index) => index.owner == *kept,
            _ => true,
        });
        let [snapshot] = &alone.snapshots()[..] else { panic!("one snapshot") };
        alone.expect(snapshot, sample);
        alone.check_intact();
    }
}

#[test]
fn what_two_backups_of_a_run_have_in_common_is_stored_once() {
    let repo = TestRepo::new(1);
    let results = back_up_four(&repo.open_again());
    let listed = repo.snapshots();
    let last = results[3].1.as_ref().expect("a snapshot");
    let last = listed.iter().find(|snapshot| snapshot.id == *last).expect("it is listed");
    assert_eq!(last.statistics.new_bytes, 0);
}

/// What a run tells it has stored is what lies there.
#[test]
fn each_bears_its_share_of_the_packs() {
    let repo = TestRepo::new(1);
    let before = repo.stored_bytes();
    back_up_four(&repo.open_again());
    let told: u64 = repo.snapshots().iter().map(|s| s.statistics.stored_bytes).sum();
    let snapshots = repo.names(|name| matches!(name, ObjectName::Snapshot(_)));
    let snapshots: u64 =
        snapshots.iter().map(|name| repo.storage().objects()[name].len() as u64).sum();
    let stored = repo.stored_bytes() - before - snapshots;
    // A byte is lost by rounding for each pack and session.
    assert!(told <= stored && stored - told < 16, "{told} of {stored}");
}

#[test]
fn a_source_that_fails_harms_no_other_of_its_run() {
    let repo = TestRepo::new(1);
    let repository = repo.open_again();
    let [first, last] = [1, 3].map(Sample::small);
    let mut run = run(&repository);
    let first_id = read(&mut run, &mut first.source()).expect("a source");
    let broken = Sample::small(2).source().failing_at(Place::End, Failure::Cut);
    let error = read(&mut run, &mut { broken }).expect_err("a source that is cut");
    assert!(matches!(error, BackupError::Source(SourceError::Cut { .. })), "{error:?}");
    let last_id = read(&mut run, &mut last.source()).expect("a source");
    let outcomes = run.finish();
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    assert_eq!(outcomes.iter().map(|it| it.id).collect::<Vec<_>>(), [first_id, last_id]);
    // What was stored of it is found by the next backup.
    assert_eq!(repo.cost_of(&Sample::small(2)), 0);
    check(repo, &[(first, Ok(first_id)), (last, Ok(last_id))]);
}

/// A snapshot does not wait longer than five minutes for others.
#[test]
fn a_slow_run_commits_meanwhile() {
    let repo = TestRepo::new(1);
    let repository = repo.open_again();
    let clock = repo.clock();
    let mut run = run(&repository);
    read(&mut run, &mut Sample::small(1).source()).expect("a source");
    assert!(repo.snapshots().is_empty(), "its packs are open");
    clock.fetch_add(301_000, Ordering::Relaxed);
    let (storage, seen) = (repo.storage(), Arc::new(AtomicBool::new(false)));
    let looked = Arc::clone(&seen);
    let slow = Sample::small(2).source().at(Place::End, move || {
        let is_snapshot = |name: &ObjectName| matches!(name, ObjectName::Snapshot(_));
        looked.store(storage.objects().keys().any(is_snapshot), Ordering::Relaxed);
        Ok(())
    });
    read(&mut run, &mut { slow }).expect("a source");
    assert!(seen.load(Ordering::Relaxed), "the first is there while the second is read");
    assert!(run.finish().iter().all(|outcome| outcome.result.is_ok()));
}

/// A night on which nothing changes stores nothing for hours.
#[test]
fn a_session_that_stores_nothing_shows_that_it_is_alive() {
    let sample = Sample::small(1);
    let repo = TestRepo::with(1, &[&sample]);
    let (recording, repository) = repo.open_recording();
    let clock = repo.clock();
    let slow = sample.source().at(Place::DiskEnd(0), move || {
        clock.fetch_add(301_000, Ordering::Relaxed);
        Ok(())
    });
    read(&mut run(&repository), &mut { slow }).expect("a source");
    assert!(recording.calls().iter().any(|call| matches!(call, Call::Replace(_))));
}

#[test]
fn whichever_call_fails_what_is_told_is_true() {
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Crash] {
        for call in 1.. {
            let repo = TestRepo::new(1);
            let faulty = FaultyStorage::recording(repo.storage());
            let repository = repo.open_through(faulty.clone());
            faulty.fail_from_now(call, fault);
            let results = back_up_four(&repository);
            let is_all = results.iter().all(|(_, result)| result.is_ok());
            if !faulty.has_failed() {
                assert!(is_all && call > 20, "{call}");
                break;
            }
            check(repo, &results);
        }
    }
}

/// A kill leaves the snapshots that were committed, and what was stored of others is not stored again.
#[test]
fn whenever_a_run_is_killed_the_repository_is_sound() {
    let repo = TestRepo::new(1);
    let recording = FaultyStorage::recording(repo.storage());
    back_up_four(&repo.fork().open_through(recording.clone()));
    let changes: Vec<Call> =
        recording.calls().into_iter().filter(|call| call.changes().is_some()).collect();
    for made in 0..=changes.len() {
        let killed = TestRepo::new(1).after(&changes[..made]);
        killed.check_sound();
        let repository = killed.open_again();
        let reader = Reader::open(&repository).expect("an index");
        for snapshot in killed.snapshots() {
            restore_through(&reader, &snapshot).expect("what is there restores");
        }
    }
}
