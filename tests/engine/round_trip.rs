//! What goes in comes out, and costs nothing the second time.

use std::num::NonZeroUsize;

use engine::backup::backup;
use engine::observer::Silent;
use engine::packer::{Packing, Threads};
use engine::parallel::Workers;
use engine::source::Role;
use proptest::collection::vec;
use proptest::prelude::*;
use repo_format::frame::Compression;
use repo_format::limits::DISK_SIZE_MAX;
use repo_tests::repo::{TestRepo, back_up, request, threads};
use repo_tests::sample::{Fill, SEGMENT, Sample, SampleDisk};

/// What a second backup of the same data may store.
const AGAIN_MAX: u64 = 64 << 10;

/// Backs `second` up after `first`: both restore, and the second stores at most `limit_bytes`.
#[track_caller]
fn check_second_stores_at_most(limit_bytes: u64, first: &Sample, second: &Sample) {
    let mut repo = TestRepo::with(1, &[first]);
    let before = repo.stored_bytes();
    repo.back_up(second);
    let added = repo.stored_bytes() - before;
    assert!(added <= limit_bytes, "{added} bytes added");
    repo.check_intact();
}

#[track_caller]
fn check_round_trip(sample: &Sample) {
    check_second_stores_at_most(AGAIN_MAX, sample, sample);
}

fn any_fill() -> impl Strategy<Value = Fill> {
    let seed = 0..4u64;
    prop_oneof![
        seed.clone().prop_map(Fill::Noise),
        seed.clone().prop_map(Fill::Text),
        seed.prop_map(Fill::Repeated),
        Just(Fill::Zeros),
    ]
}

fn any_size() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(512),
        Just(SEGMENT - 512),
        Just(SEGMENT),
        Just(SEGMENT + 1),
        0..3 * SEGMENT,
        (0..6 * 1024u64).prop_map(|sectors| sectors * 512),
        Just((1 << 40) + 512),
    ]
}

fn any_disk() -> impl Strategy<Value = SampleDisk> {
    let extent = (any_fill(), 0..2 * SEGMENT, 1..400_000u64);
    (any_size(), vec(extent, 0..4), any::<bool>()).prop_map(|(size_bytes, extents, size_known)| {
        let start = SampleDisk { size_known, ..SampleDisk::empty("", size_bytes) };
        extents
            .into_iter()
            .fold(start, |disk, (fill, start, len)| disk.with(start..start + len, fill))
    })
}

fn any_sample() -> impl Strategy<Value = Sample> {
    vec(any_disk(), 0..4).prop_map(|disks| {
        let name = |(number, disk)| SampleDisk { name: format!("disk {number}"), ..disk };
        Sample::of((0..).zip(disks).map(name))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_disks_come_back_and_cost_nothing_the_second_time(sample in any_sample()) {
        check_round_trip(&sample);
    }
}

#[test]
fn disks_of_every_odd_size_come_back() {
    let sizes = [0, 1, 511, 512, 4096, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 512];
    let disk = |size_bytes: u64| SampleDisk::noise(&size_bytes.to_string(), size_bytes, size_bytes);
    check_round_trip(&Sample::of(sizes.map(disk)));
}

#[test]
fn a_disk_that_is_one_hole_comes_back_however_large_it_is() {
    check_round_trip(&Sample::of([
        SampleDisk::empty("the largest", DISK_SIZE_MAX),
        SampleDisk::empty("nothing at all", 0),
        SampleDisk::empty("zeros that are sent", 2 * SEGMENT).with(0..2 * SEGMENT, Fill::Zeros),
    ]));
}

#[test]
fn a_snapshot_without_disks_comes_back() {
    check_round_trip(&Sample::of([]));
}

#[test]
fn every_role_comes_back() {
    let roles = [Role::Record, Role::Layout, Role::File, Role::Memory, Role::Disk];
    let stream = |role: Role| {
        SampleDisk::stream(role, &format!("{role:?}"), format!("it is {role:?}").as_bytes())
    };
    check_round_trip(&Sample::of(roles.map(stream)));
}

#[test]
fn many_disks_come_back() {
    let disk =
        |number: u64| SampleDisk::noise(&format!("xvd{number}"), 4096 * (number + 1), number);
    check_round_trip(&Sample::of((0..40).map(disk)));
}

fn three_disks() -> [SampleDisk; 3] {
    [1, 2, 3].map(|seed| SampleDisk::noise(&format!("disk {seed}"), SEGMENT, seed))
}

#[test]
fn the_order_of_disks_costs_nothing() {
    let [a, b, c] = three_disks();
    let first = Sample::of([a.clone(), b.clone(), c.clone()]);
    check_second_stores_at_most(AGAIN_MAX, &first, &Sample::of([c, a, b]));
}

#[test]
fn growing_a_disk_costs_nothing() {
    let [disk, ..] = three_disks();
    let disk = disk.resized(SEGMENT - 4096);
    for grown in [SEGMENT, SEGMENT + 1, 100 * SEGMENT, 1 << 40] {
        let second =
            Sample::of([disk.clone().resized(grown).with(SEGMENT - 4096..SEGMENT, Fill::Zeros)]);
        check_second_stores_at_most(AGAIN_MAX, &Sample::of([disk.clone()]), &second);
    }
}

#[test]
fn another_vm_with_the_same_disk_costs_nothing() {
    let [disk, ..] = three_disks();
    let first = Sample::of([disk.clone()]);
    let second = Sample { vm_name: Some("a clone".to_owned()), ..Sample::of([disk]) };
    check_second_stores_at_most(AGAIN_MAX, &first, &second);
}

#[test]
fn the_same_bytes_elsewhere_in_a_segment_cost_a_few_chunks() {
    let noise = |start: u64| {
        SampleDisk::empty("xvda", SEGMENT).with(start..start + (3 << 20), Fill::Noise(9))
    };
    let (first, second) = (Sample::of([noise(0)]), Sample::of([noise(12_345)]));
    check_second_stores_at_most(1 << 20, &first, &second);
}

#[test]
fn one_disk_twice_in_a_snapshot_is_stored_once() {
    let [disk, ..] = three_disks();
    let once = TestRepo::with(1, &[&Sample::of([disk.clone()])]).stored_bytes();
    let twin = SampleDisk { name: "twin".to_owned(), ..disk.clone() };
    let twice = TestRepo::with(1, &[&Sample::of([disk, twin])]);
    twice.check_intact();
    assert!(twice.stored_bytes() <= once + AGAIN_MAX);
}

#[test]
fn every_compression_comes_back() {
    let mut repo = TestRepo::new(1);
    for (seed, compression) in
        [Compression::Off, Compression::Zstd(1), Compression::Zstd(3), Compression::Zstd(9)]
            .into_iter()
            .enumerate()
    {
        let sample = Sample::small(seed as u64);
        let packing = Packing::new(compression);
        let request = engine::backup::BackupRequest { packing, ..request() };
        let machine = repo.open_again();
        let threads = repo_tests::repo::threads();
        let made = backup(&machine, threads, &mut sample.source(), &request, &Silent);
        repo.expect(&made.expect("a backup"), &sample);
    }
    repo.check_intact();
}

/// Threads only save time: whatever their number, the same bytes are stored.
#[test]
fn with_the_same_randomness_every_number_of_threads_stores_the_same_objects() {
    let fill = |disk: SampleDisk| disk.with(SEGMENT..2 * SEGMENT + 5000, Fill::Text(3));
    let sample = Sample::of(three_disks().map(|disk| fill(disk.resized(3 * SEGMENT))));
    let objects_with = |count: usize| {
        let repo = TestRepo::new(1);
        let workers = Workers::start(NonZeroUsize::new(count).unwrap()).unwrap();
        let threads = Threads { workers: &workers, uploaders: &workers };
        backup(repo.repository(), threads, &mut sample.source(), &request(), &Silent).unwrap();
        repo.objects()
    };
    let one = objects_with(1);
    assert!(objects_with(2) == one);
    assert!(objects_with(5) == one);
}

#[test]
fn a_snapshot_knows_the_one_before_of_the_same_vm() {
    let mut repo = TestRepo::new(1);
    let named = |name: &str| Sample { vm_name: Some(name.to_owned()), ..Sample::small(1) };
    let (one, other) = (named("one"), named("other"));
    let first = repo.back_up(&one);
    assert_eq!(first.predecessor, None);
    assert_eq!(repo.back_up(&other).predecessor, None);
    assert_eq!(repo.back_up(&one).predecessor, Some(first.id));
}

/// Ids are random: they must not decide which of two quick backups is the later one.
#[test]
fn snapshots_of_one_second_are_listed_in_the_order_in_which_they_were_made() {
    for seed in 0..4 {
        let repo = TestRepo::new(seed);
        let made = [1, 2, 3, 4].map(|n| {
            back_up(repo.repository(), &mut Sample::small(n).source()).expect("a backup").id
        });
        let listed: Vec<_> = repo.snapshots().iter().map(|snapshot| snapshot.id).collect();
        assert_eq!(listed, made);
    }
}

#[test]
fn what_was_published_leaves_memory_and_is_still_found() {
    // Eight packs of noise make a first index object; the second disk must find the first through it.
    const LEN: u64 = 8 * (64 << 20);
    let disk = |name| SampleDisk::noise(name, LEN, 5);
    let sample = Sample::of([disk("xvda"), disk("xvdb")]);
    let repo = TestRepo::new(81);
    let machine = repo.open_again();
    let packing = Packing { compression: Compression::Off, fresh_ids_max: 3 };
    let request = engine::backup::BackupRequest { packing, ..request() };
    let made = backup(&machine, threads(), &mut sample.source(), &request, &Silent);
    let snapshot = made.expect("a sound source");
    let twice = snapshot.statistics.new_bytes - LEN;
    assert!(twice < LEN / 4, "{twice} bytes were stored twice");
}
