//! The rules of writers by their numbers (SPEC 12.2). States are put by hand, as a prune would.

use std::thread;

use engine::backup::BackupError;
use engine::catalog::CatalogError;
use engine::lookup::LookupError;
use engine::repository::{ReadError, Repository};
use engine::session::SessionError;
use repo_format::header::Kind;
use repo_format::id::SnapshotId;
use repo_format::object_name::{Directory, IndexName, ObjectName};
use repo_format::session::SessionRecord;
use repo_tests::faulty_storage::{Call, Fault};
use repo_tests::repo::{TestRepo, back_up};
use repo_tests::sample::{SEGMENT, Sample, SampleDisk};

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

/// Bytes of chunks in `Sample::small`: new data.
#[track_caller]
fn full_cost(sample: &Sample) -> u64 {
    TestRepo::new(99).cost_of(sample)
}

const fn creates_session(call: &Call) -> bool {
    matches!(call, Call::Create(ObjectName::Session(_), _))
}

#[test]
fn r1_the_session_stands_before_anything_else_is_asked_or_created() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let calls = calls_of_backup(&repo, &Sample::small(2));
    assert!(creates_session(&calls[0]), "{:?}", calls[0]);
    assert_eq!(calls.iter().filter(|call| creates_session(call)).count(), 1);
}

#[test]
fn r1_without_a_session_nothing_is_done() {
    let repo = TestRepo::new(1);
    let before = repo.objects();
    let (recording, machine) = repo.open_recording();
    recording.fail_from_now(1, Fault::Refused);
    let made = back_up(&machine, &mut Sample::small(1).source());
    assert!(matches!(made, Err(BackupError::Session(SessionError::Storage(_)))), "{made:?}");
    assert_eq!(recording.calls().len(), 1);
    assert!(repo.objects() == before);
}

#[test]
fn r1_the_session_tells_who_runs_it_and_has_the_id_of_its_snapshot() {
    let repo = TestRepo::new(1);
    let id = repo.leave_killed_backup(&Sample::small(1));
    let object = repo.objects().remove(&ObjectName::Session(id)).expect("a session");
    let record = SessionRecord::open(repo.repository().keys(), &object).expect("a session");
    assert_eq!((record.id, record.host.as_str(), record.process), (id, "tester", 1));
    let calls = calls_of_backup(&repo, &Sample::small(1));
    let commit = &calls[place(&calls, Call::is_commit)];
    let session = &calls[place(&calls, creates_session)];
    let id_of = |call: &Call| {
        call.changes().and_then(|name| match name {
            ObjectName::Session(id) | ObjectName::Snapshot(id) => Some(id),
            _ => None,
        })
    };
    assert_eq!(id_of(commit), id_of(session));
}

/// A hint on how the session and state come: R2 and R3 in one line each.
#[test]
fn r2_r3_a_writer_reads_the_state_then_lists_snapshots_then_the_index_then_reads_it() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let calls = calls_of_backup(&repo, &Sample::small(2));
    let places = [
        place(&calls, creates_session),
        place(&calls, |call| *call == Call::List(Directory::States)),
        place(&calls, |call| *call == Call::Read(ObjectName::State(0))),
        place(&calls, |call| *call == Call::List(Directory::Snapshots)),
        place(&calls, |call| *call == Call::List(Directory::Index)),
        place(&calls, |call| matches!(call, Call::Read(ObjectName::Index(_)))),
        place(&calls, |call| matches!(call, Call::Create(ObjectName::Pack(_), _))),
    ];
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn r2_a_state_that_is_gone_when_it_is_read_has_a_follower_that_is_taken() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let index = repo.index_of(repo.snapshots()[0].id);
    // The follower retires everything: a writer that takes it stores everything again.
    let (follower, bytes) = repo.next_state(|state| {
        state.retired = index;
        state.absorbed = vec![repo.snapshots()[0].id];
    });
    let (recording, machine) = repo.open_recording();
    recording.meanwhile(
        |call| *call == Call::Read(ObjectName::State(0)),
        move |storage| {
            storage.create(follower, &bytes).expect("memory");
            storage.delete(ObjectName::State(0)).expect("memory");
        },
    );
    let made = back_up(&machine, &mut Sample::small(1).source()).expect("a backup");
    assert_eq!(made.statistics.new_bytes, full_cost(&Sample::small(1)));
}

#[test]
fn r2_a_repository_without_a_state_takes_no_backup() {
    let repo = TestRepo::new(1);
    repo.storage().objects().remove(&ObjectName::State(0));
    let made = back_up(repo.repository(), &mut Sample::small(1).source());
    let expected = BackupError::Session(SessionError::Catalog(CatalogError::NoState));
    assert_eq!(made.expect_err("no state").to_string(), expected.to_string());
}

#[test]
fn r2_a_damaged_newest_state_is_no_reason_to_take_an_older_one() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let (name, mut bytes) = repo.next_state(|_| {});
    bytes[100] ^= 1;
    repo.storage().objects().insert(name, bytes);
    let made = back_up(repo.repository(), &mut Sample::small(1).source());
    let read = |error: &BackupError| {
        matches!(error, BackupError::Session(SessionError::Catalog(CatalogError::Read(
            ReadError::Damaged { name: found, .. },
        ))) if *found == name)
    };
    assert!(made.as_ref().is_err_and(read), "{made:?}");
}

/// A repository with one snapshot of this sample, its id and its index objects.
fn with_one(sample: &Sample) -> (TestRepo, SnapshotId, Vec<IndexName>) {
    let repo = TestRepo::with(1, &[sample]);
    let id = repo.snapshots()[0].id;
    let index = repo.index_of(id);
    assert_eq!(index.len(), 2);
    (repo, id, index)
}

#[test]
fn r3_index_objects_of_committed_snapshots_count_for_writers() {
    let sample = Sample::small(1);
    let (repo, ..) = with_one(&sample);
    assert_eq!(repo.cost_of(&sample), 0);
}

#[test]
fn r3_they_count_when_the_snapshot_is_forgotten_too() {
    let sample = Sample::small(1);
    let (repo, id, _) = with_one(&sample);
    repo.put_marker(id);
    assert_eq!(repo.cost_of(&sample), 0);
}

#[test]
fn r3_they_do_not_count_when_it_is_absorbed() {
    let sample = Sample::small(1);
    let (repo, id, _) = with_one(&sample);
    repo.put_state(|state| state.absorbed = vec![id]);
    assert_eq!(repo.cost_of(&sample), full_cost(&sample));
}

#[test]
fn r3_what_the_state_names_as_live_counts_without_any_snapshot() {
    let sample = Sample::small(1);
    let (repo, id, index) = with_one(&sample);
    repo.storage().objects().remove(&ObjectName::Snapshot(id));
    repo.put_state(|state| {
        state.live = index;
        state.absorbed = vec![id];
    });
    assert_eq!(repo.cost_of(&sample), 0);
}

#[test]
fn r3_retired_index_objects_do_not_count_for_writers() {
    let sample = Sample::small(1);
    let (repo, id, index) = with_one(&sample);
    repo.put_state(|state| {
        state.retired = index;
        state.absorbed = vec![id];
    });
    assert_eq!(repo.cost_of(&sample), full_cost(&sample));
    repo.check_intact();
}

#[test]
fn r3_doomed_index_objects_count_for_nobody() {
    let sample = Sample::small(1);
    let (repo, _, index) = with_one(&sample);
    repo.put_state(|state| state.doomed_index = index);
    assert_eq!(repo.cost_of(&sample), full_cost(&sample));
    assert!(repo.restore(&repo.snapshots()[0]).is_err());
}

#[test]
fn r3_an_index_object_that_is_gone_means_that_a_newer_state_exists() {
    let sample = Sample::small(1);
    let (mut repo, _, index) = with_one(&sample);
    let twin = repo.back_up(&Sample::small(5));
    let (name, bytes) = repo.next_state(|state| {
        state.number = 7;
        state.live = repo.index_of(twin.id);
        state.absorbed = vec![repo.snapshots()[0].id, twin.id];
    });
    let (recording, machine) = repo.open_recording();
    let gone = ObjectName::Index(index[0]);
    recording.meanwhile(
        move |call| *call == Call::Read(gone),
        move |storage| {
            storage.create(name, &bytes).expect("memory");
            storage.delete(gone).expect("memory");
        },
    );
    let made = back_up(&machine, &mut sample.source()).expect("a backup");
    assert!(made.statistics.new_bytes > 0, "it believed the older state");
    let again = Sample::small(5);
    assert_eq!(repo.cost_of(&again), 0, "what the newer state names counts");
}

#[test]
fn r3_an_index_object_that_is_gone_while_the_state_is_the_same_is_damage() {
    let sample = Sample::small(1);
    let (repo, _, index) = with_one(&sample);
    repo.storage().objects().remove(&ObjectName::Index(index[0]));
    // What is listed counts: an object that nothing names is not missed.
    assert!(back_up(&repo.fork().open_again(), &mut sample.source()).is_ok());
    repo.put_state(|state| state.live = index);
    let before = repo.objects();
    let made = back_up(repo.repository(), &mut sample.source());
    let fetch = |error: &BackupError| {
        matches!(
            error,
            BackupError::Session(SessionError::Catalog(CatalogError::Lookup(
                LookupError::Fetch { .. },
            )))
        )
    };
    assert!(made.as_ref().is_err_and(fetch), "{made:?}");
    assert!(repo.objects() == before, "the session is gone again");
}

#[test]
fn r4_what_a_killed_backup_published_is_not_stored_again() {
    let sample = Sample::small(2);
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    repo.leave_killed_backup(&sample);
    assert_eq!(repo.cost_of(&sample), 0);
}

#[test]
fn r4_index_objects_of_a_killed_backup_count_neither_for_writers_nor_for_readers() {
    let sample = Sample::small(2);
    let mut repo = TestRepo::with(1, &[&Sample::small(1)]);
    let killed = repo.leave_killed_backup(&sample);
    // If they counted, the segments would be known and no map would be made again.
    repo.back_up(&sample);
    repo.storage()
        .objects()
        .retain(|name, _| !matches!(name, ObjectName::Index(index) if index.owner == killed));
    repo.check_intact();
}

#[test]
fn r4a_hints_in_condemned_or_doomed_packs_are_not_used() {
    let sample = Sample::small(2);
    let repo = TestRepo::new(1);
    repo.leave_killed_backup(&sample);
    let (condemned, doomed) = (repo.fork(), repo.fork());
    condemned.put_state(|state| state.condemned = repo.packs());
    assert_eq!(condemned.cost_of(&sample), full_cost(&sample));
    doomed.put_state(|state| state.doomed_packs = repo.packs());
    assert_eq!(doomed.cost_of(&sample), full_cost(&sample));
}

#[test]
fn r4b_hints_in_packs_that_are_not_there_are_not_used() {
    let sample = Sample::small(2);
    let mut repo = TestRepo::new(1);
    repo.leave_killed_backup(&sample);
    let packs = repo.packs();
    repo.storage()
        .objects()
        .retain(|name, _| !matches!(name, ObjectName::Pack(id) if packs.contains(id)));
    repo.back_up(&sample);
    repo.check_all_restore();
}

/// The listing that shows the pack must be later than the state: a pack that was listed before may be doomed since.
#[test]
fn r4b_packs_are_seen_after_the_state_was_read() {
    let repo = TestRepo::new(1);
    repo.leave_killed_backup(&Sample::small(2));
    let calls = calls_of_backup(&repo, &Sample::small(2));
    let state = place(&calls, |call| matches!(call, Call::Read(ObjectName::State(_))));
    let listed = place(&calls, |call| *call == Call::List(Directory::Packs));
    assert!(state < listed);
}

#[test]
fn r4d_hints_are_named_again_in_the_writers_own_index_object() {
    let sample = Sample::small(2);
    let mut repo = TestRepo::new(1);
    let killed = repo.leave_killed_backup(&sample);
    let packs = repo.packs().len();
    let rerun = repo.back_up(&sample);
    assert_eq!(rerun.statistics.new_bytes, 0, "all chunks were hints");
    assert!(repo.packs().len() <= packs + 1, "only a map pack was added");
    // The one who was killed comes under a tombstone, and its index objects go.
    repo.put_tombstone(killed);
    for name in repo.index_of(killed) {
        repo.storage().objects().remove(&ObjectName::Index(name));
    }
    repo.check_intact();
}

#[test]
fn r4_a_damaged_hint_is_left_alone() {
    let sample = Sample::small(2);
    let repo = TestRepo::new(1);
    let killed = repo.leave_killed_backup(&sample);
    for name in repo.index_of(killed) {
        repo.storage().objects().get_mut(&ObjectName::Index(name)).expect("an object")[200] ^= 1;
    }
    assert_eq!(repo.cost_of(&sample), full_cost(&sample));
}

#[test]
fn r4_two_writers_at_once_may_share_what_one_has_published() {
    let sample = Sample::small(2);
    let mut repo = TestRepo::new(1);
    let (storage, slow) = repo.open_recording();
    let other = repo.open_again();
    let (mut made, kept) = (None, sample.clone());
    let (sender, receiver) = std::sync::mpsc::channel();
    // The other one runs from begin to end while the first is about to commit.
    storage.meanwhile(Call::is_commit, move |_| {
        let theirs = back_up(&other, &mut kept.source()).expect("a backup");
        sender.send(theirs).expect("somebody waits");
    });
    let ours = back_up(&slow, &mut sample.source()).expect("a backup");
    made.replace(receiver.recv().expect("the other one ran"));
    let theirs = made.expect("it ran");
    assert_eq!(theirs.statistics.new_bytes, 0, "it used the hints of the first");
    repo.expect(&ours, &sample);
    repo.expect(&theirs, &sample);
    repo.check_intact();
}

#[test]
fn r4_two_writers_of_the_same_data_in_two_threads_both_restore() {
    let sample = Sample::of([1, 2, 3].map(|n| SampleDisk::noise(&format!("disk {n}"), SEGMENT, n)));
    for seed in 0..4 {
        let mut repo = TestRepo::new(seed);
        let (one, two) = (repo.open_again(), repo.open_again());
        let run = |machine: Repository| back_up(&machine, &mut sample.source()).expect("a backup");
        let made = thread::scope(|scope| {
            let other = scope.spawn(|| run(two));
            [run(one), other.join().expect("no panic")]
        });
        made.iter().for_each(|snapshot| repo.expect(snapshot, &sample));
        repo.check_intact();
    }
}

#[test]
fn r5_a_pack_that_was_not_answered_is_named_nowhere() {
    let sample = Sample::small(2);
    let mut repo = TestRepo::new(1);
    let (storage, machine) = repo.open_recording();
    storage.fail_at(|call| matches!(call, Call::Create(ObjectName::Pack(_), _)), Fault::AnswerLost);
    let made = back_up(&machine, &mut sample.source());
    assert!(made.is_err());
    let doubtful = repo.packs();
    repo.storage().objects().retain(|name, _| !matches!(name, ObjectName::Pack(_)));
    assert!(!doubtful.is_empty());
    repo.back_up(&sample);
    repo.check_intact();
}

#[test]
fn r6_a_commit_that_was_sent_twice_is_a_commit() {
    let sample = Sample::small(2);
    let mut repo = TestRepo::new(1);
    let (storage, machine) = repo.open_recording();
    storage.fail_at(Call::is_commit, Fault::SentTwice);
    let made = back_up(&machine, &mut sample.source()).expect("it is ours");
    repo.expect(&made, &sample);
    repo.check_intact();
    assert_eq!(repo.names(|name| matches!(name, ObjectName::Session(_))), []);
}

/// Puts a tombstone while the backup is about to commit.
fn fenced_backup(repo: &TestRepo, sample: &Sample) -> (SnapshotId, Result<(), BackupError>) {
    let (storage, machine) = repo.open_recording();
    let tombstone = {
        let repository = repo.repository().keys().repository();
        move |id| repo_format::void::encode(Kind::Tombstone, repository, id, 0)
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    storage.meanwhile(
        |call| matches!(call, Call::Create(ObjectName::Index(_), _)),
        move |storage| {
            let sessions = storage.list(Directory::Sessions).expect("memory");
            let Some((ObjectName::Session(id), _)) = sessions.first() else { panic!("no session") };
            storage.create(ObjectName::Snapshot(*id), &tombstone(*id)).expect("memory");
            sender.send(*id).expect("somebody waits");
        },
    );
    let made = back_up(&machine, &mut sample.source()).map(drop);
    (receiver.recv().expect("it was fenced"), made)
}

#[test]
fn r6_a_tombstone_at_the_commit_means_fenced_and_nothing_counts() {
    let sample = Sample::small(2);
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let (id, made) = fenced_backup(&repo, &sample);
    let fenced = |error: &BackupError| matches!(error, BackupError::Session(SessionError::Fenced { id: found }) if *found == id);
    assert!(made.as_ref().is_err_and(fenced), "{made:?}");
    assert_eq!(repo.snapshots().len(), 1);
    repo.check_intact();
    // Condemned and doomed, as the prune that fenced it would: nobody misses them.
    let packs = repo.packs();
    let doomed = repo.index_of(id);
    assert!(!doomed.is_empty());
    repo.put_state(|state| state.doomed_index = doomed);
    assert!(packs.len() > 2);
    repo.check_intact();
}

#[test]
fn r6_another_object_at_the_commit_is_neither_ours_nor_a_fence() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let other = repo.objects().remove(&ObjectName::Snapshot(repo.snapshots()[0].id)).expect("one");
    let (storage, machine) = repo.open_recording();
    storage.meanwhile(Call::is_commit, move |storage| {
        let sessions = storage.list(Directory::Sessions).expect("memory");
        let Some((ObjectName::Session(id), _)) = sessions.first() else { panic!("no session") };
        storage.create(ObjectName::Snapshot(*id), &other).expect("memory");
    });
    let made = back_up(&machine, &mut Sample::small(2).source());
    assert!(matches!(made, Err(BackupError::Session(SessionError::Occupied { .. }))), "{made:?}");
}

#[test]
fn r7_the_session_goes_last_of_all() {
    let repo = TestRepo::new(1);
    let calls = calls_of_backup(&repo, &Sample::small(1));
    let last = calls.last().expect("calls");
    assert!(matches!(last, Call::Delete(ObjectName::Session(_))), "{last:?}");
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Delete(_))).count(), 1);
}

/// The commit is known: what happens to the session is no reason to tell the user that there is no snapshot.
#[test]
fn r7_a_session_that_cannot_be_removed_does_not_undo_the_commit() {
    let sample = Sample::small(1);
    let mut repo = TestRepo::new(1);
    let (storage, machine) = repo.open_recording();
    storage.fail_at(|call| matches!(call, Call::Delete(_)), Fault::Refused);
    let made = back_up(&machine, &mut sample.source()).expect("a snapshot");
    repo.expect(&made, &sample);
    repo.check_intact();
}

#[test]
fn r7_the_session_stays_when_the_commit_was_not_answered() {
    let repo = TestRepo::new(1);
    let (storage, machine) = repo.open_recording();
    storage.fail_at(Call::is_commit, Fault::AnswerLost);
    let _ = back_up(&machine, &mut Sample::small(1).source());
    assert_eq!(repo.names(|name| matches!(name, ObjectName::Session(_))).len(), 1);
}

#[test]
fn r7_nobody_removes_the_session_of_another() {
    let mut repo = TestRepo::new(1);
    let killed = repo.leave_killed_backup(&Sample::small(1));
    repo.back_up(&Sample::small(1));
    repo.back_up(&Sample::small(2));
    assert_eq!(
        repo.names(|name| matches!(name, ObjectName::Session(_))),
        [ObjectName::Session(killed)]
    );
}

#[test]
fn r8_what_a_fenced_writer_stored_is_a_hint_for_its_second_try() {
    let sample = Sample::small(2);
    let mut repo = TestRepo::with(1, &[&Sample::small(1)]);
    let (first, made) = fenced_backup(&repo, &sample);
    assert!(made.is_err());
    let second = repo.back_up(&sample);
    assert_ne!(second.id, first);
    assert_eq!(second.statistics.new_bytes, 0);
    repo.check_intact();
}

#[test]
fn r8_the_second_try_believes_nothing_that_was_doomed_meanwhile() {
    let sample = Sample::small(2);
    let mut repo = TestRepo::with(1, &[&Sample::small(1)]);
    let before = repo.packs();
    let (first, _) = fenced_backup(&repo, &sample);
    let theirs: Vec<_> = repo.packs().into_iter().filter(|id| !before.contains(id)).collect();
    let index = repo.index_of(first);
    repo.put_state(|state| {
        state.doomed_packs = theirs.clone();
        state.doomed_index = index;
    });
    repo.back_up(&sample);
    // The prune does what the state says.
    for pack in theirs {
        repo.storage().objects().remove(&ObjectName::Pack(pack));
    }
    repo.check_intact();
}

/// Whatever the storage did before: a name is used once.
#[test]
fn a_random_source_that_repeats_itself_is_noticed() {
    let repo = TestRepo::with(1, &[&Sample::small(1)]);
    let (storage, machine) = repo.open_recording();
    storage.fail_at(|call| matches!(call, Call::Create(ObjectName::Pack(_), _)), Fault::SentTwice);
    let made = back_up(&machine, &mut Sample::small(2).source());
    let repeated = |error: &BackupError| {
        matches!(error, BackupError::Session(SessionError::Repeated { name: ObjectName::Pack(_) }))
    };
    assert!(made.as_ref().is_err_and(repeated), "{made:?}");
    repo.check_intact();
}
