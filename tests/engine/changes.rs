//! Sources that deliver only what has changed since a stored version: the disk is the one that a full read gives.
//!
//! A disk is held in memory, and written to between two backups. Its source knows the writes, and tells them in units of
//! 64 KiB, some too many, and never what it was asked for only to look whether it had changed.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use engine::backup::{BackupError, backup};
use engine::observer::{Event, Observer, Silent};
use engine::packer::Threads;
use engine::parallel::Workers;
use engine::repository::Repository;
use engine::snapshots;
use engine::source::{DiskInfo, NextSegment, SEGMENT_LEN};
use repo_format::header::{Kind, claimed_kind};
use repo_format::object_name::ObjectName;
use repo_tests::dice::Dice;
use repo_tests::faulty_storage::Fault;
use repo_tests::repo::{Objects, TestRepo, back_up, request, threads};
use repo_tests::sample::{Fill, SEGMENT, Sample, SampleDisk};

use crate::changing_disk::{Seen, State, Stored, Told, UNIT_LEN, VM, number_of};
use crate::every_call_fails::for_every_call;

fn reading(numbers: &[u64]) -> Seen {
    Seen { read: numbers.iter().copied().collect(), distrusted: 0 }
}

/// Noise of its own at each of these places.
fn write_at(places: impl IntoIterator<Item = usize>, len: usize) -> impl FnOnce(&mut Vec<u8>) {
    let places: Vec<usize> = places.into_iter().collect();
    move |bytes| {
        for place in places {
            Dice::new(place as u64).fill(&mut bytes[place..place + len]);
        }
    }
}

const UNIT: usize = UNIT_LEN;

#[test]
fn a_night_without_changes_costs_nothing_and_reads_nothing() {
    let mut stored = Stored::sample();
    stored.check_changes(|_| {});
    stored.check_changes(|_| {});
}

#[test]
fn changes_cost_what_they_cost_in_a_full_read() {
    let mut stored = Stored::sample();
    stored.check_changes(write_at([5], 1));
    stored.check_changes(write_at([UNIT - 7, 3 * UNIT, SEGMENT_LEN - 3], 8000));
    stored.check_changes(write_at((0..20).map(|n| n * 3 * UNIT), 600));
    stored.check_changes(write_at([SEGMENT_LEN - 2 * UNIT], 5 * UNIT));
    stored.check_changes(write_at([0], SEGMENT_LEN));
}

/// The end of a disk is seldom that of a segment, or of a unit.
#[test]
fn changes_at_the_odd_end_of_a_disk() {
    let mut stored = Stored::sample();
    let end = stored.state.bytes.len();
    stored.check_changes(write_at([end - 1], 1));
    stored.check_changes(write_at([end - 5000], 5000));
}

#[test]
fn what_became_zero_is_a_hole_as_in_a_full_read() {
    let mut stored = Stored::sample();
    stored.check_changes(|bytes| bytes[3 * UNIT..9 * UNIT + 77].fill(0));
    stored.check_changes(|bytes| bytes[..SEGMENT_LEN].fill(0));
    stored.check_changes(|bytes| bytes[2 * SEGMENT_LEN..2 * SEGMENT_LEN + UNIT].fill(0));
    stored.check_changes(|bytes| bytes.fill(0));
}

#[test]
fn what_was_a_hole_holds_the_changed_units_and_zeros() {
    let mut stored = Stored::sample();
    stored.check_changes(|bytes| bytes.fill(0));
    stored.check_changes(write_at([SEGMENT_LEN + 7 * UNIT + 5], 100));
    stored.check_changes(write_at([7, 2 * SEGMENT_LEN - 3], 9));
}

/// What the repository has of a changed segment is no help when all of it that is not zero has changed, and is not asked for.
#[test]
fn a_segment_of_which_all_that_is_not_zero_is_given_is_not_read_again() {
    let mut stored = Stored::sample();
    stored.check_changes(write_at([2 * SEGMENT_LEN], 9000));
    let now = stored.state.after(write_at([SEGMENT_LEN - UNIT], 2 * UNIT));
    let told = stored.since(&now);
    let all = NextSegment::Partly { number: 0, units: u64::MAX };
    remove_prints(&stored.repo);
    let told = told.hiding(&[0]).telling(all);
    assert_eq!(stored.check(&now, told), reading(&[1]));
}

#[test]
fn without_prints_changed_segments_are_read_again_and_others_are_not() {
    let mut stored = Stored::sample();
    let now = stored.state.after(write_at([SEGMENT_LEN + 3 * UNIT], 5));
    let told = stored.since(&now);
    remove_prints(&stored.repo);
    assert_eq!(stored.check(&now, told), reading(&[1]));
}

fn remove_prints(repo: &TestRepo) {
    for name in repo.names(|name| matches!(name, ObjectName::Prints(_))) {
        repo.storage().objects().remove(&name);
    }
}

/// What is new in most of its blocks is cut afresh, and that takes all of it.
#[test]
fn a_segment_that_changed_nearly_everywhere_is_read_again() {
    let mut stored = Stored::sample();
    let now = stored.state.after(write_at([UNIT], SEGMENT_LEN - UNIT));
    let told = stored.since(&now);
    assert_eq!(stored.check(&now, told), reading(&[0]));
}

/// Units that were written with what stood there already are no change.
#[test]
fn more_units_may_be_told_than_have_changed() {
    let stored = Stored::sample();
    let now = stored.state.after(write_at([7 * UNIT], 5));
    let more = [0x80, 0xff, 1 << 63 | 0x80, u64::MAX].map(|units| (0, units));
    for (number, units) in more.into_iter().chain([(1, 2), (2, 1), (2, 1 << 50), (3, 1)]) {
        let told = stored.since(&now).hiding(if number == 0 { &[0] } else { &[] });
        let told = told.telling(NextSegment::Partly { number, units });
        assert_eq!(stored.fork().check(&now, told), Seen::default(), "{number} {units:x}");
    }
}

// Sizes.

/// A disk of one size, then of another with some changes, told in three ways at the place where the smaller one ends: not at all
/// where nothing was written there, in units, and whole. That segment and no other is read again, unless it came whole.
#[track_caller]
fn check_resized(before: usize, now: usize) {
    let end = before.min(now);
    let cut = (!end.is_multiple_of(SEGMENT_LEN)).then_some((end / SEGMENT_LEN) as u64);
    let wanted = Seen { read: cut.into_iter().collect(), distrusted: 0 };
    let stored = Stored::new(1, State::sparse(before));
    let resized = stored.state.after(|bytes| bytes.resize(now, 0));
    let told = stored.since(&resized);
    assert_eq!(stored.fork().check(&resized, told), wanted, "{before} to {now}");
    let written = resized.after(write_at([100, end - 2000], 700));
    let told = stored.since(&written);
    assert_eq!(stored.fork().check(&written, told), wanted, "{before} to {now}, written");
    let Some(number) = cut else { return };
    for step in [NextSegment::Filled { number }, NextSegment::Sample { number }] {
        let told = stored.since(&written).hiding(&[number]).telling(step);
        assert_eq!(stored.fork().check(&written, told), Seen::default(), "{before} to {now}");
    }
}

#[test]
fn a_disk_that_has_grown_or_shrunk_comes_out_right() {
    let sizes = [SEGMENT_LEN, SEGMENT_LEN + 512, 2 * SEGMENT_LEN - 5 * UNIT];
    for before in sizes {
        for now in sizes.into_iter().filter(|now| *now != before) {
            check_resized(before, now);
        }
    }
}

#[test]
fn what_is_written_behind_the_old_end_is_there() {
    let mut stored = Stored::sample();
    let old = stored.state.bytes.len();
    let grown = stored.state.after(|bytes| {
        bytes.resize(6 * SEGMENT_LEN + 99, 0);
        write_at([old - 3, 5 * SEGMENT_LEN - 2, 6 * SEGMENT_LEN + 9], 80)(bytes);
    });
    let told = stored.since(&grown);
    assert_eq!(stored.check(&grown, told), reading(&[3]));
}

/// A disk of so many segments that several nodes hold them, all holes but two.
fn large(version: &str) -> SampleDisk {
    let disk = SampleDisk::empty("xvda", 300 * SEGMENT)
        .with(0..5000, Fill::Noise(1))
        .with(290 * SEGMENT..290 * SEGMENT + 5000, Fill::Noise(2));
    SampleDisk { version: version.to_owned(), ..disk }
}

#[test]
fn a_disk_may_shrink_to_nothing_and_grow_from_it() {
    let mut stored = Stored::sample();
    let sizes = [0, 4 * SEGMENT_LEN + 1, SEGMENT_LEN, 3];
    for len in sizes {
        let now = stored.state.after(|bytes| bytes.resize(len, 0));
        let told = stored.since(&now);
        stored.check(&now, told);
    }
}

#[test]
fn a_base_of_fewer_levels_is_no_hindrance() {
    let repo = TestRepo::new(1);
    let small = large("night 0").resized(200 * SEGMENT);
    back_up(repo.repository(), &mut Told::whole(small)).expect("a backup");
    let base = snapshots::versions(&repo.snapshots(), VM).remove(0);
    let told = Told::new(large("night 1"), Some(base), vec![NextSegment::Filled { number: 290 }]);
    let made = back_up(repo.fork().repository(), &mut { told }).expect("a backup");
    let full = back_up(repo.fork().repository(), &mut Told::whole(large("night 1")));
    assert_eq!(made.disks, full.expect("a backup").disks);
}

// Samples, and sources that are wrong.

#[test]
fn samples_that_are_as_they_were_change_nothing() {
    let mut stored = Stored::sample();
    let now = stored.state.after(write_at([5], 100));
    let told = stored.since(&now).sampling([1, 2, 3]);
    assert_eq!(stored.check(&now, told), Seen::default());
}

/// A source that is wrong about a segment, and looks at it: the disk is read once more, and comes out right.
#[test]
fn a_sample_that_is_not_as_it_was_leads_to_a_full_read() {
    for (place, write) in [(0, 9), (SEGMENT_LEN + 3, 1), (3 * SEGMENT_LEN + 9, 50)] {
        let mut stored = Stored::sample();
        let now = stored.state.after(write_at([place, 2 * SEGMENT_LEN], write));
        let number = (place / SEGMENT_LEN) as u64;
        let told = stored.since(&now).hiding(&[number]).sampling([number]);
        assert_eq!(stored.check(&now, told), Seen { distrusted: 1, ..Seen::default() }, "{number}");
    }
    let mut stored = Stored::sample();
    let now = stored.state.after(|bytes| bytes[..SEGMENT_LEN].fill(0));
    let told = stored.since(&now).hiding(&[0]).sampling([0]);
    assert_eq!(stored.check(&now, told), Seen { distrusted: 1, ..Seen::default() });
}

/// What no sample sees, nobody sees: the backup is that of a disk on which the write did not happen.
#[test]
fn a_change_that_is_neither_told_nor_sampled_is_not_noticed() {
    let stored = Stored::sample();
    let now = stored.state.after(write_at([5, SEGMENT_LEN + 5], 100));
    let mut told = stored.since(&now).hiding(&[0]);
    let made = back_up(stored.repo.repository(), &mut told).expect("a backup");
    let half = stored.state.after(write_at([SEGMENT_LEN + 5], 100));
    let wrong = back_up(stored.repo.fork().repository(), &mut half.whole()).expect("a backup");
    assert_eq!(made.disks, wrong.disks);
}

/// A base that nobody has, or that is another than its source thinks.
#[test]
fn a_base_that_cannot_be_right_leads_to_a_full_read() {
    let lies: [fn(&mut DiskInfo); 4] = [
        |info| info.base.as_mut().expect("a base").id = [9; 32],
        |info| info.base.as_mut().expect("a base").size_bytes += 1,
        |info| info.base.as_mut().expect("a base").size_bytes = u64::MAX,
        |info| info.size_bytes = None,
    ];
    for lie in lies {
        let mut stored = Stored::sample();
        let now = stored.state.after(write_at([5], 100));
        let mut told = stored.since(&now);
        lie(&mut told.info);
        assert_eq!(stored.check(&now, told), Seen { distrusted: 1, ..Seen::default() });
    }
}

#[track_caller]
fn check_refused(stored: &Stored, mut told: Told) {
    let snapshots = stored.repo.snapshots().len();
    let made = back_up(stored.repo.repository(), &mut told);
    assert!(matches!(made, Err(BackupError::Source(_))), "{made:?}");
    assert_eq!(stored.repo.snapshots().len(), snapshots, "no snapshot");
    assert_eq!(stored.repo.names(|name| matches!(name, ObjectName::Session(_))), [], "no session");
    stored.repo.check_intact();
}

#[test]
fn a_segment_that_cannot_be_read_again_makes_no_snapshot() {
    let stored = Stored::sample();
    let now = stored.state.after(write_at([5], 100));
    let told = Told { is_deaf: true, ..stored.since(&now) };
    remove_prints(&stored.repo);
    check_refused(&stored, told);
}

#[test]
fn a_source_that_breaks_the_rules_of_changes_makes_no_snapshot() {
    let stored = Stored::sample();
    let now = stored.state.after(write_at([5], 100));
    for step in [NextSegment::Partly { number: 0, units: 1 }, NextSegment::Sample { number: 0 }] {
        check_refused(&stored, now.whole().hiding(&[0]).telling(step));
    }
    let mut longer = stored.since(&now);
    longer.info.size_bytes = longer.info.size_bytes.map(|size_bytes| size_bytes + 1);
    check_refused(&stored, longer);
    let step = NextSegment::Partly { number: 4, units: 1 };
    check_refused(&stored, stored.since(&now).telling(step));
}

/// Some of the base is in no index: what it is not known to hold is read again.
#[test]
fn segments_of_the_base_that_do_not_count_are_read_again() {
    let mut stored = Stored::sample();
    stored.check_changes(write_at([5], 100));
    let ids: Vec<_> = stored.repo.snapshots().iter().map(|snapshot| snapshot.id).collect();
    for name in stored.repo.index_of(ids[0]) {
        let (storage, name) = (stored.repo.storage(), ObjectName::Index(name));
        storage
            .objects()
            .retain(|found, bytes| *found != name || claimed_kind(bytes) != Ok(Kind::SegmentIndex));
    }
    let now = stored.state.after(write_at([2 * SEGMENT_LEN], 100));
    for (samples, read) in [(vec![], vec![1, 2]), (vec![1], vec![2])] {
        let told = stored.since(&now).sampling(samples);
        let mut stored = stored.fork();
        ids.iter().for_each(|id| stored.repo.expect_no_more(*id));
        assert_eq!(stored.check(&now, told), reading(&read));
        stored.check_changes(|_| {});
    }
}

/// A node of the base is in no index, and that is noticed on the way.
#[test]
fn a_base_of_which_a_part_cannot_be_found_is_read_whole() {
    let repo = TestRepo::new(1);
    let whole = |disk| back_up(repo.repository(), &mut Told::whole(disk)).expect("a backup");
    let first = whole(large("night 0")).id;
    repo.clock().fetch_add(60_000, Ordering::Relaxed);
    let second = large("night 1").with(0..9, Fill::Noise(3));
    whole(second.clone());
    let base = snapshots::versions(&repo.snapshots(), VM).remove(0);
    for name in repo.index_of(first) {
        repo.storage().objects().remove(&ObjectName::Index(name));
    }
    let told = || Told::new(second.clone(), Some(base.clone()), Vec::new());
    for told in [told(), told().sampling([1]), told().sampling([290, 291])] {
        let seen = told.seen();
        let made = back_up(repo.fork().repository(), &mut { told }).expect("a backup");
        assert_eq!(made.disks[0].id.as_bytes(), &base.id);
        assert_eq!(seen.lock().expect("no panic").distrusted, 1);
    }
}

#[test]
fn any_call_to_storage_may_fail() {
    let mut stored = Stored::new(1, State::sparse(2 * SEGMENT_LEN + 5000));
    stored.check_changes(write_at([SEGMENT_LEN + 5], 100));
    let now = stored.state.after(write_at([5], 100));
    let right = back_up(stored.repo.fork().repository(), &mut now.whole()).expect("a backup");
    for fault in [Fault::Refused, Fault::Crash, Fault::Flipped(12_345)] {
        let changes =
            |repository: &Repository| back_up(repository, &mut stored.since(&now).sampling([1]));
        for_every_call(&stored.repo, fault, changes, |call, mut repo, made| {
            if let Ok(made) = made {
                assert_eq!(made.disks, right.disks, "{fault:?} at call {call}");
            }
            for snapshot in repo.snapshots().into_iter().skip(2) {
                repo.expect(&snapshot, &Sample::of([now.disk()]));
            }
            repo.check_intact();
        });
    }
}

// Progress, threads, chance.

#[derive(Default)]
struct Passed {
    bytes: RefCell<Vec<u64>>,
    distrusted: RefCell<Vec<String>>,
}

impl Observer for Passed {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Progress { passed_bytes, .. } => self.bytes.borrow_mut().push(passed_bytes),
            Event::BaseDistrusted { name, .. } => {
                self.bytes.borrow_mut().clear();
                self.distrusted.borrow_mut().push(name.to_owned());
            }
            _ => {}
        }
    }
}

#[test]
fn progress_goes_over_what_has_not_changed_and_a_wrong_base_is_told() {
    let stored = Stored::sample();
    for sample in [Vec::new(), vec![1]] {
        let passed = Passed::default();
        let mut told = stored.since(&stored.state).sampling(sample.clone());
        let is_wrong = !sample.is_empty();
        if is_wrong {
            told.disk = told.disk.with(SEGMENT..SEGMENT + 1, Fill::Noise(1));
        }
        let repo = stored.repo.fork();
        backup(repo.repository(), threads(), &mut told, &request(), &passed).expect("a backup");
        let bytes = passed.bytes.into_inner();
        assert!(bytes.len() > 3 && bytes.iter().all(|bytes| *bytes <= SEGMENT), "{bytes:?}");
        let all = bytes.iter().sum::<u64>();
        assert!((stored.base.size_bytes..=4 * SEGMENT).contains(&all), "{bytes:?}");
        assert_eq!(passed.distrusted.into_inner().len(), usize::from(is_wrong));
    }
}

fn objects_after_nights(workers: usize) -> Objects {
    let count = NonZeroUsize::new(workers).expect("some");
    let workers = Workers::start(count).expect("threads");
    let threads = Threads { workers: &workers, uploaders: &workers };
    let stored = Stored::new(1, State::sparse(30 * SEGMENT_LEN + 5));
    let now = stored.state.after(write_at((0..29).map(|n| n * SEGMENT_LEN + 2 * n * UNIT), 9000));
    let wrong = stored.since(&now).hiding(&[27]).sampling([27]);
    for mut told in [stored.since(&now).sampling([29]), wrong] {
        backup(stored.repo.repository(), threads, &mut told, &request(), &Silent)
            .expect("a backup");
    }
    stored.repo.objects()
}

#[test]
fn the_number_of_workers_changes_nothing() {
    assert!(objects_after_nights(7) == objects_after_nights(1));
}

/// Something is written, zeroed, moved; the disk grows or shrinks.
fn write_anything(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if dice.below(3) == 0 {
        let len = dice.below(4 * SEGMENT) as usize + 1;
        bytes.resize(len, 0);
    }
    let longest = [600, 9000, 3 * UNIT, SEGMENT_LEN][dice.below(4) as usize];
    for _ in 0..dice.below(12) {
        let len = (1 + dice.below(longest as u64) as usize).min(bytes.len());
        let place = |dice: &mut Dice| dice.below((bytes.len() - len + 1) as u64) as usize;
        let (from, to) = (place(dice), place(dice));
        match dice.below(4) {
            0 => bytes[to..to + len].fill(0),
            1 => bytes.copy_within(from..from + len, to),
            _ => dice.fill(&mut bytes[to..to + len]),
        }
    }
}

/// Nights with changes to any earlier one, some told too often or whole, some sampled, with prints that are there or not.
fn check_nights(seed: u64) {
    let dice = &mut Dice::new(seed);
    let mut stored = Stored::new(seed, State::random(dice, SEGMENT_LEN + 700, 2 * SEGMENT_LEN));
    let mut bases = vec![(stored.state.clone(), stored.base.clone())];
    for night in 1..7 {
        let now = stored.state.after(|bytes| write_anything(dice, bytes));
        let (before, base) = &bases[dice.below(bases.len() as u64) as usize];
        let mut told = now.since(&before.bytes, base.clone());
        for step in &mut told.steps {
            *step = match *step {
                NextSegment::Partly { number, .. } if dice.below(4) == 0 => {
                    NextSegment::Filled { number }
                }
                NextSegment::Partly { number, units } => NextSegment::Partly {
                    number,
                    units: units | dice.below(1 << 48) & dice.below(1 << 48),
                },
                other => other,
            };
        }
        let delivered: Vec<u64> = told.steps.iter().map(number_of).collect();
        let left_out =
            (0..now.bytes.len().div_ceil(SEGMENT_LEN) as u64).filter(|n| !delivered.contains(n));
        let told = told.sampling(dice.some(left_out.collect()));
        if dice.below(4) == 0 {
            remove_prints(&stored.repo);
        }
        let seen = told.seen();
        let made = back_up(stored.repo.repository(), &mut { told }).expect("a backup");
        let full = back_up(stored.repo.fork().repository(), &mut now.whole()).expect("a backup");
        assert_eq!(made.disks, full.disks, "seed {seed}, night {night}");
        assert_eq!(seen.lock().expect("no panic").distrusted, 0, "seed {seed}, night {night}");
        stored.repo.expect(&made, &Sample::of([now.disk()]));
        stored.repo.clock().fetch_add(60_000, Ordering::Relaxed);
        let base = snapshots::versions(&stored.repo.snapshots(), VM).remove(0);
        bases.push((now.clone(), base));
        stored.state = now;
    }
    stored.repo.check_intact();
}

#[test]
fn whatever_was_written_the_disk_is_that_of_a_full_read() {
    (0..6).for_each(check_nights);
}
