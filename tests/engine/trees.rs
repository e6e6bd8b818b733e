//! The tree of a disk, built and walked, against what it is: a map from numbers to segments.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use repo_tests::repo::TestRepo;
use repo_tests::sample::{Fill, SEGMENT, Sample, SampleDisk};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// What one node of each level covers (SPEC 7.2).
const NODES: [u64; 3] = [GIB, 256 * GIB, 64 * TIB];

/// A disk with 4 KiB of its own in each of these segments.
fn disk_with(size_bytes: u64, segments: impl IntoIterator<Item = u64>) -> SampleDisk {
    let add = |disk: SampleDisk, number: u64| {
        let start = number * SEGMENT;
        disk.with(start..start + 4096, Fill::Noise(number))
    };
    segments.into_iter().fold(SampleDisk::empty("xvda", size_bytes), add)
}

/// What comes back has exactly these segments, each as it was, and `check` can follow it.
#[track_caller]
fn check_disks(disks: impl IntoIterator<Item = SampleDisk>) {
    let name =
        |(number, disk): (usize, SampleDisk)| SampleDisk { name: number.to_string(), ..disk };
    let sample = Sample::of(disks.into_iter().enumerate().map(name));
    TestRepo::with(1, &[&sample]).check_intact();
}

/// Segments beside every place where a new node begins, within a disk.
fn beside_boundaries(size_bytes: u64) -> Vec<u64> {
    let last = (size_bytes - 1) / SEGMENT;
    let around = |node: u64| [1, 2, 255, 256].map(|n| n * node / SEGMENT);
    let numbers = NODES.into_iter().flat_map(around).flat_map(|number| [number - 1, number]);
    let mut numbers: Vec<_> = numbers.chain([0, last]).filter(|number| *number <= last).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[test]
fn segments_beside_the_bounds_of_nodes_come_back() {
    check_disks(
        [GIB, 2 * GIB, 256 * GIB, 257 * GIB].map(|size| disk_with(size, beside_boundaries(size))),
    );
}

#[test]
fn segments_beside_the_bounds_of_the_largest_nodes_come_back() {
    let sizes = [16 * TIB, 64 * TIB, 64 * TIB + 512, 1 << 54];
    check_disks(sizes.map(|size| disk_with(size, beside_boundaries(size))));
}

#[test]
fn a_disk_that_ends_at_a_bound_of_nodes_or_one_byte_beside_comes_back() {
    let sizes = NODES.into_iter().flat_map(|node| [node - 1, node, node + 1]);
    let last_only = |size: u64| disk_with(size, []).with(size - 1..size, Fill::Noise(size));
    check_disks(sizes.map(last_only));
}

#[test]
fn a_disk_with_only_its_first_segment_comes_back_whatever_its_size() {
    let sizes = NODES.into_iter().flat_map(|node| [node, node + 1]);
    check_disks(sizes.map(|size| disk_with(size, [0])));
}

/// One changed segment of a huge disk changes one node on each level.
#[test]
fn one_changed_segment_of_a_huge_disk_costs_little() {
    let numbers = beside_boundaries(16 * TIB);
    let before = disk_with(16 * TIB, numbers.iter().copied());
    let mut repo = TestRepo::with(1, &[&Sample::of([before.clone()])]);
    let stored = repo.stored_bytes();
    let start = numbers[5] * SEGMENT;
    repo.back_up(&Sample::of([before.with(start..start + 4096, Fill::Text(1))]));
    let added = repo.stored_bytes() - stored;
    assert!(added < 64 << 10, "{added} bytes");
    repo.check_intact();
}

fn any_size() -> impl Strategy<Value = u64> {
    prop_oneof![1..4 * GIB, 1..TIB, 1..16 * TIB, 1..=1u64 << 54]
}

fn any_sparse_disk() -> impl Strategy<Value = SampleDisk> {
    let numbers = prop_oneof![0..600u64, 0..1u64 << 18, 0..1u64 << 22, any::<u64>()];
    (any_size(), btree_set(numbers, 0..8)).prop_map(|(size_bytes, numbers)| {
        let count = size_bytes.div_ceil(SEGMENT);
        disk_with(size_bytes, numbers.into_iter().map(|number| number % count))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sparse_disks_of_any_size_come_back(disks in vec(any_sparse_disk(), 1..3)) {
        check_disks(disks);
    }
}
