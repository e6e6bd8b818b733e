//! Lanes of a run that store at once: what is new in several of them is stored once, and none depends on another.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::backup::{BackupError, Outcome, Run};
use engine::observer::Silent;
use engine::packer::{Ledger, LedgerLimits};
use engine::parallel::in_lanes;
use engine::repository::Repository;
use engine::source::{DiskInfo, NextSegment, Source, SourceError, SourceFacts};
use repo_format::object_name::ObjectName;
use repo_format::snapshot::Snapshot;
use repo_tests::faulty_storage::{Call, Fault, FaultyStorage};
use repo_tests::repo::{TestRepo, request, threads};
use repo_tests::sample::{Fill, Place, SEGMENT, Sample, SampleDisk, SampleSource};

/// Nothing is stored twice out of impatience, however slow the machine is.
pub(crate) const PATIENT: LedgerLimits =
    LedgerLimits { patience: Duration::from_secs(20), ..LedgerLimits::USUAL };
/// Waits for nobody.
pub(crate) const HASTY: LedgerLimits =
    LedgerLimits { patience: Duration::from_millis(1), ..LedgerLimits::USUAL };

/// A machine made of the template that all are made of, and of something of its own.
fn clone(number: u64) -> Sample {
    let template = SampleDisk::empty("xvda", 2 * SEGMENT)
        .with(0..700_000, Fill::Noise(100))
        .with(SEGMENT..SEGMENT + 300_000, Fill::Noise(101));
    let own = SampleDisk::empty("xvdb", SEGMENT).with(0..200_000, Fill::Noise(number));
    Sample::of([template, own])
}

type Read = Result<Vec<Outcome>, BackupError>;

fn back_up(mut run: Run<'_, '_>, source: &mut dyn Source) -> Read {
    run.read(source, &request(), &Silent)?;
    Ok(run.finish())
}

fn snapshot(read: Read) -> Option<Snapshot> {
    read.ok()?.pop()?.result.ok()
}

/// Two lanes back clones up: when the first has read the template, the second reads all of its source; what follows is done
/// at once. `first` is done where the first waits.
fn back_up_two(
    repository: &Repository,
    limits: LedgerLimits,
    first: impl Fn(Receiver<()>) + Send + Sync + Clone + 'static,
) -> [Option<Snapshot>; 2] {
    let ledger = Ledger::new(limits);
    let lane = || Run::new(repository, threads(), request().packing).beside(&ledger);
    let (begin, begun) = channel::<()>();
    let (done, is_done) = channel::<()>();
    let ends: Mutex<(_, _)> = Mutex::new((Some((begin, is_done)), Some((begun, done))));
    let two = NonZeroUsize::new(2).expect("two");
    let mut saved: Vec<_> = in_lanes(two, &[1, 2], |turns| {
        let save = |(place, number): (usize, &u64)| {
            let source = clone(*number).source();
            let read = match place {
                0 => {
                    let ends = lock(&ends).0.take().expect("once");
                    back_up(lane(), &mut first_source(source, ends, first.clone()))
                }
                _ => {
                    let ends = lock(&ends).1.take().expect("once");
                    back_up_second(lane(), source, ends)
                }
            };
            (place, snapshot(read))
        };
        turns.map(save).collect::<Vec<_>>()
    })
    .concat();
    saved.sort_by_key(|(place, _)| *place);
    saved.into_iter().map(|(_, saved)| saved).collect::<Vec<_>>().try_into().expect("two")
}

fn first_source(
    source: SampleSource,
    (begin, is_done): (Sender<()>, Receiver<()>),
    meanwhile: impl Fn(Receiver<()>) + Send + 'static,
) -> SampleSource {
    let mut ends = Some((begin, is_done));
    source.at(Place::Segment(1, 0), move || {
        if let Some((begin, is_done)) = ends.take() {
            drop(begin);
            meanwhile(is_done);
        }
        Ok(())
    })
}

/// Begins when the first lane waits, or is no more, and lets it go on when all is read.
fn back_up_second(
    mut run: Run<'_, '_>,
    mut source: SampleSource,
    (begun, done): (Receiver<()>, Sender<()>),
) -> Read {
    assert!(begun.recv().is_err(), "nothing is sent");
    let read = run.read(&mut source, &request(), &Silent);
    drop(done);
    read?;
    Ok(run.finish())
}

fn wait(is_done: Receiver<()>) {
    assert!(is_done.recv().is_err(), "nothing is sent");
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those that are told of are there and restore, and all is sound.
#[track_caller]
fn check(mut repo: TestRepo, saved: &[Option<Snapshot>]) {
    for (snapshot, number) in saved.iter().zip(1..) {
        if let Some(snapshot) = snapshot {
            repo.expect(snapshot, &clone(number));
        }
    }
    repo.check_intact();
}

/// Bytes of new chunks of two clones, stored one after the other.
fn cost_of_two() -> u64 {
    let mut repo = TestRepo::new(1);
    (1..=2).map(|number| repo.back_up(&clone(number)).statistics.new_bytes).sum()
}

/// Of one.
fn cost_of_one() -> u64 {
    TestRepo::new(1).cost_of(&clone(1))
}

fn new_bytes(saved: &[Option<Snapshot>]) -> u64 {
    saved.iter().map(|saved| saved.as_ref().expect("a snapshot").statistics.new_bytes).sum()
}

#[test]
fn what_is_new_in_two_lanes_is_stored_once() {
    let repo = TestRepo::new(1);
    let saved = back_up_two(&repo.open_again(), PATIENT, wait);
    assert_eq!(new_bytes(&saved), cost_of_two());
    assert!(saved[1].as_ref().is_some_and(|second| second.statistics.new_bytes < 300_000));
    check(repo, &saved);
}

/// What a lane may not keep, or was forgotten, it stores itself.
#[test]
fn lanes_keep_and_remember_no_more_than_they_may() {
    let own = |limits| {
        let repo = TestRepo::new(1);
        let saved = back_up_two(&repo.open_again(), limits, wait);
        let own = saved[1].as_ref().expect("a snapshot").statistics.new_bytes;
        check(repo, &saved);
        own
    };
    let all = own(PATIENT);
    for kept in [0, 500_000] {
        let some = own(LedgerLimits { kept_bytes_max: 2 * kept as usize, ..HASTY });
        assert!((cost_of_one() - kept..=cost_of_one()).contains(&some), "{kept}: {some}");
    }
    assert!(own(LedgerLimits { chunks_max: 1, ..PATIENT }) > all + 700_000);
}

/// Lanes that are as far as each other wait, for what either is about to store, rather than store it twice.
#[test]
fn lanes_that_keep_step_store_nothing_twice() {
    let fill = |disk: SampleDisk, segment| {
        let start = segment * SEGMENT;
        disk.with(start..start + 300_000, Fill::Noise(segment))
    };
    let sample = Sample::of([(0..12).fold(SampleDisk::empty("xvda", 12 * SEGMENT), fill)]);
    let mut repo = TestRepo::new(1);
    let cost = repo.cost_of(&sample);
    let repository = repo.open_again();
    let ledger = Ledger::new(LedgerLimits { kept_bytes_max: 2_000_000, ..PATIENT });
    let meet = Arc::new(Barrier::new(2));
    let saved = in_lanes(NonZeroUsize::new(2).expect("two"), &[(); 2], |turns| {
        let save = |_| {
            let meet = Arc::clone(&meet);
            let meet = move || {
                meet.wait();
                Ok(())
            };
            let run = Run::new(&repository, threads(), request().packing).beside(&ledger);
            snapshot(back_up(run, &mut sample.source().at(Place::Segment(0, 0), meet)))
        };
        turns.map(save).collect::<Vec<_>>()
    })
    .concat();
    assert_eq!(new_bytes(&saved), cost);
    saved.iter().flatten().for_each(|snapshot| repo.expect(snapshot, &sample));
    repo.check_intact();
}

/// A lane that goes on for hours closes its pack for one that waits.
#[test]
fn a_lane_at_its_end_waits_for_a_pack_not_for_a_backup() {
    let repo = TestRepo::new(1);
    let repository = repo.open_again();
    let ledger = Ledger::new(PATIENT);
    let lane = || Run::new(&repository, threads(), request().packing).beside(&ledger);
    let (begin, begun) = channel::<()>();
    let ends = Mutex::new((Some(begin), Some(begun)));
    let two = NonZeroUsize::new(2).expect("two");
    let new_bytes = in_lanes(two, &[1, 2], |turns| {
        let save = |(place, number): (usize, &u64)| match place {
            0 => {
                let (inner, begin) = (clone(*number).source(), lock(&ends).0.take());
                let storage = repo.storage();
                let is_snapshot = |name: &ObjectName| matches!(name, ObjectName::Snapshot(_));
                let is_over = move || storage.objects().keys().any(is_snapshot);
                let mut source = Lingering { inner, begin, next: None, is_over: Box::new(is_over) };
                drop(back_up(lane(), &mut source));
                0
            }
            _ => {
                let begun = lock(&ends).1.take().expect("once");
                assert!(begun.recv().is_err(), "nothing is sent");
                let read = back_up(lane(), &mut clone(*number).source());
                snapshot(read).expect("a snapshot").statistics.new_bytes
            }
        };
        turns.map(save).sum::<u64>()
    });
    assert_eq!(new_bytes.iter().sum::<u64>(), cost_of_two() - cost_of_one());
    repo.check_sound();
}

/// A source that has one more disk, which does not end before others are done.
struct Lingering {
    inner: SampleSource,
    begin: Option<Sender<()>>,
    /// The segment that comes next in that disk.
    next: Option<u64>,
    is_over: Box<dyn Fn() -> bool + Send>,
}

impl Source for Lingering {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        if let Some(disk) = self.inner.next_disk()? {
            return Ok(Some(disk));
        }
        self.begin = None;
        let lingers = self
            .next
            .is_none()
            .then(|| DiskInfo { name: "xvdz".to_owned(), ..DiskInfo::default() });
        self.next.get_or_insert(0);
        Ok(lingers)
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        let Some(next) = &mut self.next else { return self.inner.next_segment(buffer) };
        if (self.is_over)() {
            return Ok(NextSegment::End { size_bytes: *next * SEGMENT });
        }
        *next += 1;
        buffer.fill(0);
        Ok(NextSegment::Filled { number: *next - 1 })
    }

    fn facts(&self) -> SourceFacts {
        self.inner.facts()
    }
}

/// Rule 5: it is named in an index object of each.
#[test]
fn r5_each_restores_when_the_other_is_gone_without_a_trace() {
    let repo = TestRepo::new(1);
    let saved = back_up_two(&repo.open_again(), PATIENT, wait);
    for (kept, number) in saved.into_iter().flatten().zip(1..) {
        let mut alone = repo.fork();
        alone.storage().objects().retain(|name, _| match name {
            ObjectName::Snapshot(id) => *id == kept.id,
            ObjectName::Index(index) => index.owner == kept.id,
            _ => true,
        });
        alone.expect(&kept, &clone(number));
        alone.check_intact();
    }
}

#[test]
fn whichever_call_fails_what_two_lanes_tell_is_true() {
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Crash] {
        for call in 1.. {
            let repo = TestRepo::new(1);
            let faulty = FaultyStorage::recording(repo.storage());
            let repository = repo.open_through(faulty.clone());
            faulty.fail_from_now(call, fault);
            let saved = back_up_two(&repository, HASTY, wait);
            if !faulty.has_failed() {
                assert!(saved.iter().all(Option::is_some) && call > 20, "{call}");
                break;
            }
            check(repo, &saved);
        }
    }
}

/// A kill leaves the snapshots that were committed, whole.
#[test]
fn whenever_two_lanes_are_killed_the_repository_is_sound() {
    let repo = TestRepo::new(1);
    let recording = FaultyStorage::recording(repo.storage());
    let saved = back_up_two(&repo.fork().open_through(recording.clone()), PATIENT, wait);
    let changes: Vec<Call> =
        recording.calls().into_iter().filter(|call| call.changes().is_some()).collect();
    for made in 0..=changes.len() {
        let mut killed = TestRepo::new(1).after(&changes[..made]);
        for snapshot in killed.snapshots() {
            let number = saved.iter().flatten().position(|saved| saved.id == snapshot.id);
            killed.expect(&snapshot, &clone(number.expect("one of two") as u64 + 1));
        }
        killed.check_intact();
    }
}

/// The pack that both need cannot be stored: the second stores what it needs itself.
#[test]
fn a_lane_whose_pack_fails_takes_no_other_with_it() {
    let repo = TestRepo::new(1);
    let faulty = FaultyStorage::recording(repo.storage());
    let is_large_pack = |call: &Call| matches!(call, Call::Create(ObjectName::Pack(_), bytes) if bytes.len() > 900_000);
    faulty.fail_at(is_large_pack, Fault::Refused);
    let saved = back_up_two(&repo.open_through(faulty.clone()), PATIENT, wait);
    assert!(faulty.has_failed());
    assert_eq!(saved.each_ref().map(Option::is_some), [false, true]);
    check(repo, &saved);
}

#[test]
fn a_lane_that_panics_takes_no_other_with_it() {
    let repo = TestRepo::new(1);
    let repository = repo.open_again();
    let ledger = Ledger::new(PATIENT);
    let lane = || Run::new(&repository, threads(), request().packing).beside(&ledger);
    let mut second = lane();
    let mut first = lane();
    let falling = clone(1).source().at(Place::Segment(1, 0), || panic!("a source that panics"));
    let fall = || first.read(&mut { falling }, &request(), &Silent);
    assert!(catch_unwind(AssertUnwindSafe(fall)).is_err());
    second.read(&mut clone(2).source(), &request(), &Silent).expect("a source");
    drop(first);
    let saved = [None, snapshot(Ok(second.finish()))];
    assert!(saved[1].is_some());
    check(repo, &saved);
}

/// A pool that gives nothing any more holds up nobody else.
#[test]
fn a_lane_that_stands_still_holds_up_no_other() {
    let repo = TestRepo::new(1);
    let storage = repo.storage();
    let until_committed = move |_| {
        let is_snapshot = |name: &ObjectName| matches!(name, ObjectName::Snapshot(_));
        while !storage.objects().keys().any(is_snapshot) {
            std::thread::yield_now();
        }
    };
    let saved = back_up_two(&repo.open_again(), HASTY, until_committed);
    assert!(saved.iter().all(Option::is_some));
    assert!(new_bytes(&saved) > cost_of_two(), "the second had to store the template, too");
    check(repo, &saved);
}

/// Rule 5: what was stored before a session has read the state may be condemned there, however new it is.
#[test]
fn r5_a_pack_from_before_a_session_is_not_shared() {
    let repo = TestRepo::new(1);
    let repository = repo.open_again();
    let ledger = Ledger::new(PATIENT);
    let lane = || Run::new(&repository, threads(), request().packing).beside(&ledger);
    let first = snapshot(back_up(lane(), &mut clone(1).source())).expect("a snapshot");
    // Nobody finds it in an index.
    repo.put_state(|state| state.absorbed = vec![first.id]);
    let second = snapshot(back_up(lane(), &mut clone(2).source())).expect("a snapshot");
    assert!(second.statistics.new_bytes > 900_000, "{:?}", second.statistics);
}
