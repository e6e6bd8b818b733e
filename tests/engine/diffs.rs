//! Diff against a slow model: all bytes of two disks, block by block.

use std::ops::Range;

use engine::diff::diff;
use engine::observer::Silent;
use engine::reader::Reader;
use proptest::collection::vec;
use proptest::prelude::*;
use repo_tests::repo::{TestRepo, workers};
use repo_tests::sample::{Fill, SEGMENT, Sample, SampleDisk};

const BLOCK: usize = 4096;

/// The ranges in which the disks differ, in bytes.
fn slow_diff(old: &SampleDisk, new: &SampleDisk) -> Vec<Range<u64>> {
    let size_bytes = old.size_bytes.max(new.size_bytes);
    let bytes = |disk: &SampleDisk| {
        let mut bytes = disk.bytes();
        bytes.resize(size_bytes as usize, 0);
        bytes
    };
    let (old, new) = (bytes(old), bytes(new));
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (number, (a, b)) in (0..).zip(old.chunks(BLOCK).zip(new.chunks(BLOCK))) {
        let start = number * BLOCK as u64;
        let end = start + a.len() as u64;
        match ranges.last_mut() {
            _ if a == b => {}
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

/// What the engine says of the same two disks in one repository.
fn fast_diff(old: &SampleDisk, new: &SampleDisk) -> Vec<Range<u64>> {
    let samples = [old, new].map(|disk| Sample::of([disk.clone()]));
    let repo = TestRepo::with(1, &[&samples[0], &samples[1]]);
    let ids: Vec<_> = repo.snapshots().iter().map(|snapshot| snapshot.disks[0].id).collect();
    let reader = Reader::open(repo.repository()).expect("a reader");
    let mut ranges = Vec::new();
    diff(&reader, workers(), ids[0], ids[1], &Silent, &mut |range| ranges.push(range))
        .expect("a diff");
    ranges
}

#[track_caller]
fn check_diff(old: &SampleDisk, new: &SampleDisk) {
    let (fast, slow) = (fast_diff(old, new), slow_diff(old, new));
    assert_eq!(fast, slow);
    assert_eq!(fast_diff(new, old), slow, "it is the same the other way");
}

fn disk(size_bytes: u64) -> SampleDisk {
    SampleDisk::noise("xvda", size_bytes, 1)
}

#[test]
fn equal_disks_do_not_differ() {
    check_diff(&disk(SEGMENT + 512), &disk(SEGMENT + 512));
    check_diff(&disk(0), &disk(0));
}

#[test]
fn one_byte_is_found() {
    for place in [0, 4095, 4096, SEGMENT - 1, SEGMENT, 2 * SEGMENT - 513] {
        let old = disk(2 * SEGMENT - 512);
        let new = old.clone().with(place..place + 1, Fill::Zeros);
        let byte = new.bytes()[place as usize] != old.bytes()[place as usize];
        assert_eq!(slow_diff(&old, &new).len(), usize::from(byte));
        check_diff(&old, &new);
    }
}

#[test]
fn ranges_are_joined_across_segments() {
    let old = disk(3 * SEGMENT);
    let new = old.clone().with(SEGMENT - 5000..2 * SEGMENT + 5000, Fill::Noise(2));
    let one = SEGMENT - 8192..2 * SEGMENT + 8192;
    assert_eq!(fast_diff(&old, &new), vec![one]);
}

#[test]
fn holes_and_ends_count_as_zeros() {
    check_diff(&disk(SEGMENT), &SampleDisk::empty("xvda", SEGMENT));
    check_diff(&disk(SEGMENT + 1000), &disk(3 * SEGMENT).resized(2 * SEGMENT + 77));
    check_diff(&SampleDisk::empty("xvda", 100), &SampleDisk::empty("xvda", 5 * SEGMENT));
}

/// Far more segments than are compared at a time.
#[test]
fn sparse_disks_are_compared_by_what_they_have() {
    let spots = |disk: SampleDisk, step: u64| {
        let add =
            |disk: SampleDisk, n: u64| disk.with(n * SEGMENT..n * SEGMENT + 10, Fill::Noise(n));
        (0..40).step_by(step as usize).fold(disk, add)
    };
    let empty = || SampleDisk::empty("xvda", 1 << 40);
    let (even, third) = (spots(empty(), 2), spots(empty(), 3));
    let differ = (0..40u64).filter(|n| (n % 2 == 0) != (n % 3 == 0));
    let expected: Vec<_> = differ.map(|n| n * SEGMENT..n * SEGMENT + BLOCK as u64).collect();
    assert_eq!(fast_diff(&even, &third), expected);
}

fn any_disk() -> impl Strategy<Value = SampleDisk> {
    let fill =
        prop_oneof![Just(Fill::Zeros), (0..2u64).prop_map(Fill::Noise), Just(Fill::Repeated(1))];
    let extent = (0..2 * SEGMENT + 9000, 1..60_000u64, fill);
    (0..2 * SEGMENT + 9000, vec(extent, 0..4)).prop_map(|(size_bytes, extents)| {
        let add = |disk: SampleDisk, (start, len, fill): (u64, u64, Fill)| {
            disk.with(start..start + len, fill)
        };
        extents.into_iter().fold(SampleDisk::empty("xvda", size_bytes), add)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_two_disks_differ_where_their_bytes_do(old in any_disk(), new in any_disk()) {
        check_diff(&old, &new);
    }

    #[test]
    fn a_changed_disk_differs_where_it_was_changed(
        old in any_disk(),
        changes in vec((0..2 * SEGMENT, 1..9000u64), 0..4),
    ) {
        let change = |disk: SampleDisk, (start, len): (u64, u64)| disk.with(start..start + len, Fill::Text(3));
        check_diff(&old, &changes.into_iter().fold(old.clone(), change));
    }
}
