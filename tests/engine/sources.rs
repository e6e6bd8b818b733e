//! A source that fails: no snapshot, no session, and what was stored is not stored again.

use std::sync::atomic::{AtomicBool, Ordering};

use engine::backup::BackupError;
use engine::source::{DiskInfo, NextSegment, Source, SourceError, SourceFacts};
use repo_format::limits::{DISK_SIZE_MAX, PACK_LEN_TARGET, TEXT_MAX};
use repo_format::object_name::ObjectName;
use repo_tests::faulty_storage::{Call, Fault};
use repo_tests::repo::{TestRepo, back_up};
use repo_tests::sample::{Failure, Fill, Place, SEGMENT, Sample, SampleDisk};

fn three_segments() -> Sample {
    let disk = |name: &str, seed| SampleDisk::noise(name, 3 * SEGMENT, seed);
    Sample::of([disk("xvda", 1), disk("xvdb", 2)])
}

/// The backup fails as its source did, and leaves nothing behind that counts.
#[track_caller]
fn check_failure(failure: Failure, place: Place) {
    let sample = three_segments();
    let mut repo = TestRepo::with(1, &[&Sample::small(1)]);
    let made = back_up(&repo.open_again(), &mut sample.source().failing_at(place, failure));
    let same =
        |error: &BackupError| matches!(error, BackupError::Source(error) if failure.is(error));
    assert!(made.as_ref().is_err_and(same), "{failure:?} at {place:?}: {made:?}");
    assert_eq!(repo.snapshots().len(), 1, "no snapshot");
    assert_eq!(repo.names(|name| matches!(name, ObjectName::Session(_))), [], "no session");
    repo.check_intact();
    repo.back_up(&sample);
    repo.check_intact();
}

#[test]
fn whatever_a_source_fails_with_there_is_no_snapshot() {
    for failure in Failure::ALL {
        check_failure(failure, Place::Segment(1, 2));
    }
}

#[test]
fn wherever_a_source_fails_there_is_no_snapshot() {
    check_failure(Failure::Cut, Place::Segment(0, 0));
    check_failure(Failure::Damaged, Place::DiskEnd(0));
    // All has been delivered; but the container does not end as it must.
    check_failure(Failure::Damaged, Place::End);
}

/// A cut stream wastes nothing: what came before the cut is there for the next run.
#[track_caller]
fn check_cost_after_cut(place: Place, limit_bytes: u64) {
    let sample = three_segments();
    let repo = TestRepo::new(1);
    let cut = sample.source().failing_at(place, Failure::Cut);
    assert!(back_up(&repo.open_again(), &mut { cut }).is_err());
    let again = repo.cost_of(&sample);
    assert!(again <= limit_bytes, "{again} bytes again after a cut at {place:?}");
    repo.check_intact();
}

#[test]
fn the_next_run_stores_again_nothing_that_came_before_the_cut() {
    check_cost_after_cut(Place::End, 0);
    check_cost_after_cut(Place::DiskEnd(1), 3 * SEGMENT);
    check_cost_after_cut(Place::Segment(1, 0), 3 * SEGMENT);
    check_cost_after_cut(Place::Segment(0, 0), 6 * SEGMENT);
}

/// More than a pack, and five minutes on the way: then an index object names what is up (rule 5).
#[test]
fn after_five_minutes_what_is_stored_survives_a_kill() {
    let segments = PACK_LEN_TARGET as u64 / SEGMENT + 3;
    let sample = Sample::of([SampleDisk::noise("large", segments * SEGMENT, 1)]);
    let repo = TestRepo::new(1);
    let (storage, machine) = repo.open_recording();
    let clock = repo.clock();
    let source = sample.source().at(Place::Segment(0, 3), move || {
        clock.fetch_add(301_000, Ordering::Relaxed);
        Ok(())
    });
    let is_session = |call: &Call| matches!(call, Call::Replace(ObjectName::Session(_)));
    // It dies at the first pack behind an index object.
    let published = AtomicBool::new(false);
    let is_late_pack = move |call: &Call| match call {
        Call::Create(ObjectName::Index(_), _) => {
            published.store(true, Ordering::Relaxed);
            false
        }
        Call::Create(ObjectName::Pack(_), _) => published.load(Ordering::Relaxed),
        _ => false,
    };
    storage.fail_at(is_late_pack, Fault::CrashBefore);
    assert!(back_up(&machine, &mut { source }).is_err());
    assert_eq!(storage.calls().iter().filter(|call| is_session(call)).count(), 1, "a sign of life");
    let again = repo.cost_of(&sample);
    assert!(again <= 4 * SEGMENT, "{again} bytes again");
}

#[test]
fn a_disk_that_is_larger_than_the_format_allows_is_refused() {
    let check = |disk: SampleDisk| {
        let repo = TestRepo::new(1);
        let made = back_up(repo.repository(), &mut Sample::of([disk]).source());
        assert!(matches!(made, Err(BackupError::TooLarge { .. })), "{made:?}");
        assert_eq!(repo.names(|name| matches!(name, ObjectName::Session(_))), []);
    };
    check(SampleDisk::empty("xvda", DISK_SIZE_MAX + 1));
    check(
        SampleDisk::empty("xvda", DISK_SIZE_MAX + 1)
            .with(DISK_SIZE_MAX..DISK_SIZE_MAX + 1, Fill::Noise(1)),
    );
    check(SampleDisk::empty(&"x".repeat(TEXT_MAX + 1), 1));
}

#[test]
fn more_disks_than_the_format_allows_are_refused() {
    let repo = TestRepo::new(1);
    let disk = |number: usize| SampleDisk::empty(&number.to_string(), 512);
    let count = repo_format::limits::DISKS_MAX;
    let most = Sample::of((0..count).map(disk));
    assert!(back_up(repo.repository(), &mut most.source()).is_ok());
    let more = Sample::of((0..=count).map(disk));
    let made = back_up(repo.repository(), &mut more.source());
    assert!(matches!(made, Err(BackupError::TooLarge { .. })), "{made:?}");
}

/// Delivers these segments of noise, then this size.
struct Lying {
    segments: Vec<u64>,
    size_bytes: u64,
    begun: bool,
}

impl Source for Lying {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        let (role, name) = (engine::source::Role::Disk, "xvda".to_owned());
        let first = !std::mem::replace(&mut self.begun, true);
        Ok(first.then(|| DiskInfo { role, name, ..DiskInfo::default() }))
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        buffer.fill(7);
        match self.segments.pop() {
            Some(number) => Ok(NextSegment::Filled { number }),
            None => Ok(NextSegment::End { size_bytes: self.size_bytes }),
        }
    }

    fn facts(&self) -> SourceFacts {
        SourceFacts::default()
    }
}

#[test]
fn a_source_that_breaks_the_rules_of_the_border_makes_no_snapshot() {
    let check = |segments: &[u64], size_bytes: u64, accepted: bool| {
        let segments = segments.iter().rev().copied().collect();
        let repo = TestRepo::new(1);
        let made = back_up(repo.repository(), &mut Lying { segments, size_bytes, begun: false });
        match accepted {
            true => assert!(made.is_ok(), "{made:?}"),
            false => assert!(matches!(made, Err(BackupError::Source(_))), "{made:?}"),
        }
    };
    check(&[0, 1, 300], 301 * SEGMENT, true);
    check(&[0, 1, 300], 300 * SEGMENT + 1, true);
    check(&[0, 1, 300], 300 * SEGMENT, false);
    check(&[0], 0, false);
    check(&[1, 0], 2 * SEGMENT, false);
    check(&[0, 0], 2 * SEGMENT, false);
}
