//! A changed segment costs its new blocks (SPEC 6): the others are found where they lie already.
//!
//! Costs are bytes of new chunks, as a snapshot states them; after each backup every snapshot restores.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

use engine::backup::backup;
use engine::observer::Silent;
use engine::packer::Threads;
use engine::parallel::Workers;
use engine::source::Role;
use repo_format::chunker::Chunker;
use repo_format::id::Fingerprint;
use repo_tests::repo::{Objects, TestRepo, request};
use repo_tests::sample::{BLOCK, Fill, SEGMENT, Sample, SampleDisk};

/// Blocks of a segment.
const BLOCKS: u64 = SEGMENT / BLOCK;

/// Backs `second` up after `first`: it stores so many blocks, and both restore.
#[track_caller]
fn check_cost_within(blocks: RangeInclusive<u64>, first: &Sample, second: &Sample) {
    let mut repo = TestRepo::with(1, &[first]);
    let cost = repo.back_up(second).statistics.new_bytes;
    let within = blocks.start() * BLOCK..=blocks.end() * BLOCK;
    assert!(within.contains(&cost), "{cost} bytes, {} blocks", cost as f64 / BLOCK as f64);
    repo.check_intact();
}

#[track_caller]
fn check_cost(blocks: u64, first: &Sample, second: &Sample) {
    check_cost_within(blocks..=blocks, first, second);
}

/// The same for a VM with one disk.
#[track_caller]
fn check_cost_of_disk(blocks: u64, first: SampleDisk, second: SampleDisk) {
    check_cost(blocks, &Sample::of([first]), &Sample::of([second]));
}

/// A disk of two segments and a bit, full of noise.
fn full_disk() -> SampleDisk {
    SampleDisk::noise("xvda", 2 * SEGMENT + 5 * BLOCK + 512, 1)
}

/// Every `step`th block of the first segments.
fn every(step: usize, segments: u64) -> impl Iterator<Item = u64> {
    (0..segments * BLOCKS).step_by(step)
}

/// What `disk` has at `from`, in blocks, again at `to`; `disk` is noise of this seed alone.
fn with_copy(disk: SampleDisk, seed: u64, from: u64, len: u64, to: u64) -> SampleDisk {
    let mut bytes = vec![0; (len * BLOCK) as usize];
    SampleDisk::noise("", u64::MAX, seed).write(from * BLOCK, &mut bytes);
    disk.with(to * BLOCK..(to + len) * BLOCK, Fill::Bytes(bytes))
}

#[test]
fn scattered_blocks_cost_exactly_themselves() {
    for (step, count) in [(2047, 2), (37, 56), (5, 410)] {
        check_cost_of_disk(count, full_disk(), full_disk().with_blocks(every(step, 2), 7));
    }
}

#[test]
fn a_block_at_the_odd_end_of_a_disk_costs_a_block() {
    check_cost_of_disk(1, full_disk(), full_disk().with_blocks([2 * BLOCKS + 5], 7));
}

#[test]
fn one_changed_byte_costs_its_block_and_two_on_a_bound_cost_both() {
    let change = |at: u64, len: usize| full_disk().with(at..at + len as u64, byte(len));
    check_cost_of_disk(1, full_disk(), change(10 * BLOCK + 77, 1));
    check_cost_of_disk(2, full_disk(), change(10 * BLOCK - 1, 2));
}

fn byte(len: usize) -> Fill {
    Fill::Bytes(vec![0xa5; len])
}

#[test]
fn a_night_without_changes_costs_nothing() {
    check_cost_of_disk(0, full_disk(), full_disk());
}

#[test]
fn a_block_that_became_zero_costs_nothing() {
    let zeroed =
        every(9, 2).fold(full_disk(), |d, b| d.with(b * BLOCK..(b + 1) * BLOCK, Fill::Zeros));
    check_cost_of_disk(0, full_disk(), zeroed);
}

#[test]
fn a_block_that_is_written_to_many_places_costs_one() {
    let write =
        |d: SampleDisk, b: u64| d.with((b * 50) * BLOCK..(b * 50 + 1) * BLOCK, Fill::Repeated(3));
    check_cost_of_disk(1, full_disk(), (0..20).fold(full_disk(), write));
}

#[test]
fn blocks_that_change_places_within_a_segment_cost_nothing() {
    let exchanged = with_copy(with_copy(full_disk(), 1, 3, 1, 700), 1, 700, 1, 3);
    check_cost_of_disk(0, full_disk(), exchanged);
}

/// Of 256 blocks some 8 are hooks.
#[test]
fn a_run_that_appears_at_another_place_of_the_disk_costs_nothing() {
    let disk = SampleDisk::noise("xvda", 3 * SEGMENT, 1);
    for (from, to) in [(100, 2 * BLOCKS + 500), (BLOCKS + 900, 100)] {
        check_cost_of_disk(0, disk.clone(), with_copy(disk.clone(), 1, from, 256, to));
    }
}

#[test]
fn a_run_that_appears_on_another_disk_costs_nothing() {
    let disks = |other: SampleDisk| Sample::of([full_disk(), other]);
    let other = SampleDisk::noise("xvdb", SEGMENT, 2);
    check_cost(0, &disks(other.clone()), &disks(with_copy(other, 1, 900, 256, 300)));
}

#[test]
fn a_run_that_appears_in_another_vm_costs_nothing() {
    let first = Sample::of([full_disk()]);
    let other = with_copy(SampleDisk::empty("root", 9 * SEGMENT), 1, 900, 256, 5 * BLOCKS + 3);
    let second = Sample { vm_name: Some("another".to_owned()), ..Sample::of([other]) };
    check_cost(0, &first, &second);
}

#[test]
fn a_run_that_stands_on_two_disks_of_one_backup_is_stored_once() {
    let disk = SampleDisk::noise("xvda", 2 * SEGMENT, 1);
    let other = with_copy(SampleDisk::empty("xvdb", SEGMENT), 1, 500, 256, 3);
    check_cost(2 * BLOCKS, &Sample::of([]), &Sample::of([disk, other]));
}

/// A long run of which the bounds are no bounds of blocks: only where it is cut there are new blocks.
#[test]
fn a_run_that_moved_by_whole_blocks_costs_its_two_edges() {
    let mut bytes = vec![0; 256 * BLOCK as usize];
    full_disk().write(100 * BLOCK + 512, &mut bytes);
    let start = 1700 * BLOCK + 512;
    let moved = full_disk().with(start..start + 256 * BLOCK, Fill::Bytes(bytes));
    check_cost_of_disk(2, full_disk(), moved);
}

/// A disk of one segment in which only some blocks are as they were.
fn rewritten(kept: impl Fn(u64) -> bool) -> (SampleDisk, SampleDisk) {
    let disk = SampleDisk::noise("xvda", SEGMENT, 1);
    (disk.clone(), disk.with_blocks((0..BLOCKS).filter(|block| !kept(*block)), 7))
}

#[test]
fn a_segment_of_which_one_block_in_32_is_left_costs_the_rest() {
    let (first, second) = rewritten(|block| block % 32 == 0);
    check_cost_of_disk(BLOCKS / 32 * 31, first, second);
}

#[test]
fn a_segment_of_which_less_is_left_is_cut_afresh() {
    let (first, second) = rewritten(|block| block % 32 == 0 && block != 320);
    check_cost_of_disk(BLOCKS, first, second);
}

#[test]
fn a_segment_that_would_need_too_many_extents_is_cut_afresh() {
    let (first, second) = rewritten(|block| block % 2 == 0);
    check_cost_of_disk(BLOCKS, first, second);
}

/// New bytes are cut within a block, and that block stands in hundreds of places: each of them needs two extents.
#[test]
fn a_segment_whose_repeated_blocks_need_too_many_extents_is_cut_afresh() {
    const DISTINCT: u64 = 200;
    let repo = TestRepo::new(1);
    let before = SampleDisk::noise("xvda", SEGMENT, 1);
    let disk = before.clone().with_blocks(0..DISTINCT, 7);
    let chunker = Chunker::new(repo.repository().keys().gear());
    let bytes = disk.bytes();
    let first = chunker.chunks(&bytes[..(DISTINCT * BLOCK) as usize]).next().expect("a chunk");
    let bound = first.len() as u64 / BLOCK;
    assert!(
        !(first.len() as u64).is_multiple_of(BLOCK) && bound < DISTINCT,
        "another seed is needed"
    );
    let disk = (DISTINCT..BLOCKS - 128).fold(disk, |disk, at| {
        let number = if at % 2 == 0 { bound } else { bound - 2 };
        disk.with(at * BLOCK..(at + 1) * BLOCK, Fill::Noise((7 << 32) + number))
    });
    check_cost_within(DISTINCT + 1..=BLOCKS, &Sample::of([before]), &Sample::of([disk]));
}

/// Deltas upon deltas, and new beginnings: whatever the number of nights, each finds the one before.
#[test]
fn every_night_of_many_costs_what_changed_in_it() {
    let mut disk = SampleDisk::noise("xvda", SEGMENT, 1);
    let mut repo = TestRepo::with(1, &[&Sample::of([disk.clone()])]);
    for night in 2..40 {
        disk = disk.with_blocks([night * 25, night * 7], night);
        let cost = repo.back_up(&Sample::of([disk.clone()])).statistics.new_bytes;
        assert_eq!(cost, 2 * BLOCK, "night {night}");
    }
    repo.check_intact();
}

// What follows is found through predecessors alone.

/// Seeds of blocks that are no hooks in the repositories of this file.
fn unhooked_seeds(first: u64) -> impl Iterator<Item = u64> {
    let repo = TestRepo::new(1);
    (first << 16..).filter(move |seed| {
        let block = SampleDisk::noise("", BLOCK, *seed).bytes();
        !Fingerprint::of(repo.repository().keys(), &block).is_hook()
    })
}

/// Blocks of [`unhooked`].
const UNHOOKED: u64 = 32;

/// A disk with some blocks to which no hook leads.
fn unhooked(name: &str, number: u64) -> SampleDisk {
    let start = SampleDisk::empty(name, 2 * SEGMENT);
    let seeds = unhooked_seeds(number).take(UNHOOKED as usize);
    (BLOCKS + 64..).zip(seeds).fold(start, |disk, (block, seed)| {
        disk.with(block * BLOCK..(block + 1) * BLOCK, Fill::Noise(seed))
    })
}

/// The same disk on the next night: a block near its beginning is new, so that its chunks are new if it is cut afresh.
fn changed(disk: SampleDisk) -> SampleDisk {
    let Some((_, Fill::Noise(seed))) = disk.extents.first().cloned() else { panic!("no blocks") };
    disk.with_blocks([BLOCKS + 65], seed)
}

fn renamed(disk: SampleDisk, name: &str, key: &str) -> SampleDisk {
    SampleDisk { name: name.to_owned(), key: key.to_owned(), ..disk }
}

/// One disk that was found costs its changed block; one that was not, most of its blocks.
#[track_caller]
fn check_found(found: bool, first: &Sample, second: &Sample) {
    match found {
        true => check_cost(1, first, second),
        false => check_cost_within(UNHOOKED / 2..=UNHOOKED, first, second),
    }
}

#[test]
fn a_disk_is_found_by_its_key_whatever_its_name() {
    let first = Sample::of([unhooked("xvda", 1), unhooked("xvdb", 2)]);
    let second = [
        renamed(changed(unhooked("", 2)), "xvda", "key of xvdb"),
        renamed(unhooked("", 1), "xvdb", "key of xvda"),
    ];
    check_found(true, &first, &Sample::of(second));
}

#[test]
fn a_disk_whose_key_changed_is_found_by_its_name() {
    let first = Sample::of([unhooked("xvda", 1), unhooked("xvdb", 2)]);
    for key in ["another key", ""] {
        let other = renamed(changed(unhooked("", 2)), "xvdb", key);
        check_found(true, &first, &Sample::of([other, unhooked("xvda", 1)]));
    }
}

#[test]
fn empty_keys_are_not_the_same_key() {
    let disk = |name, number| renamed(unhooked(name, number), name, "");
    let first = Sample::of([disk("xvda", 1), disk("xvdb", 2)]);
    check_found(true, &first, &Sample::of([disk("xvda", 1), changed(disk("xvdb", 2))]));
}

#[test]
fn the_only_disk_of_its_role_is_found_when_name_and_key_changed() {
    let memory = SampleDisk { role: Role::Memory, ..unhooked("memory", 9) };
    let with_memory = |disk: SampleDisk| Sample::of([memory.clone(), disk]);
    let second = renamed(changed(unhooked("", 1)), "sda", "another key");
    check_found(true, &with_memory(unhooked("xvda", 1)), &with_memory(second.clone()));
    // Of two nobody knows which it is.
    let two = Sample::of([unhooked("xvda", 1), unhooked("xvdb", 2)]);
    check_found(false, &two, &Sample::of([second]));
}

#[test]
fn a_disk_that_grew_is_found() {
    let first = Sample::of([unhooked("xvda", 1)]);
    for size_bytes in [2 * SEGMENT + 512, 300 * SEGMENT, 1 << 40] {
        let second = changed(unhooked("xvda", 1)).resized(size_bytes);
        check_found(true, &first, &Sample::of([second]));
    }
}

#[test]
fn two_disks_that_were_swapped_are_found() {
    let first = Sample::of([unhooked("xvda", 1), unhooked("xvdb", 2)]);
    let second = Sample::of([changed(unhooked("xvdb", 2)), changed(unhooked("xvda", 1))]);
    check_cost(2, &first, &second);
}

#[test]
fn a_vm_is_found_by_its_uuid_else_by_its_name() {
    let vm = |uuid: &str, name: &str, disk| Sample {
        vm_uuid: Some(uuid.to_owned()).filter(|uuid| !uuid.is_empty()),
        vm_name: Some(name.to_owned()),
        ..Sample::of([disk])
    };
    let first = vm("1", "web", unhooked("xvda", 1));
    let second = |uuid, name| vm(uuid, name, changed(unhooked("xvda", 1)));
    check_found(true, &first, &second("1", "web"));
    check_found(true, &first, &second("1", "web renamed"));
    check_found(true, &first, &second("2", "web"));
    check_found(true, &first, &second("", "web"));
    check_found(false, &first, &second("2", "mail"));
}

#[test]
fn the_uuid_says_more_than_the_name() {
    let vm = |uuid: &str, disk| Sample { vm_uuid: Some(uuid.to_owned()), ..Sample::of([disk]) };
    let mut repo = TestRepo::new(1);
    repo.back_up(&vm("1", unhooked("xvda", 1)));
    repo.back_up(&vm("2", unhooked("xvda", 2)));
    let third = repo.back_up(&vm("1", changed(unhooked("xvda", 1))));
    assert_eq!(third.statistics.new_bytes, BLOCK);
}

/// A night on which a disk was left out, or only the record was saved, hides nothing.
#[test]
fn a_disk_is_found_behind_a_night_without_it() {
    let left_out = [
        Sample::of([unhooked("xvda", 1)]),
        Sample::of([SampleDisk::stream(Role::Record, "ova.xml", b"<vm/>")]),
    ];
    for without in left_out {
        let both = Sample::of([unhooked("xvda", 1), unhooked("xvdb", 2)]);
        let mut repo = TestRepo::with(1, &[&both, &without]);
        let third = repo.back_up(&Sample::of([changed(unhooked("xvdb", 2))]));
        assert_eq!(third.statistics.new_bytes, BLOCK);
    }
}

#[test]
fn without_a_predecessor_hooks_find_the_blocks() {
    let vm = |name: &str, disk| Sample { vm_name: Some(name.to_owned()), ..Sample::of([disk]) };
    let second = renamed(full_disk().with_blocks(every(100, 2), 7), "sda", "");
    // The last segment has too few blocks for a hook, and did not change.
    check_cost(21, &vm("one", full_disk()), &vm("its clone", second));
}

/// Three nights in which blocks come from everywhere: from the night before, from other disks, from a backup
/// that was killed, and from segments that the same backup has just stored.
fn objects_after_nights(workers: usize) -> Objects {
    let count = NonZeroUsize::new(workers).expect("some");
    let workers = Workers::start(count).expect("threads");
    let threads = Threads { workers: &workers, uploaders: &workers };
    // A segment of noise, and parts of it in each that follows: what can be found depends on how far one has come.
    let slanted = |name: &str, seed, segments: u64| {
        let start = SampleDisk::empty(name, 40 * SEGMENT).with(0..SEGMENT, Fill::Noise(seed));
        (1..segments).fold(start, |disk, number| {
            with_copy(disk, seed, 0, 64 + number, number * BLOCKS + number)
        })
    };
    let other = || SampleDisk::noise("xvdb", 2 * SEGMENT, 2);
    let nights = [
        Sample::of([slanted("xvda", 1, 12), other()]),
        Sample::of([
            slanted("xvda", 1, 12).with_blocks(every(90, 12), 3),
            with_copy(other(), 1, 9, 300, 5),
        ]),
        Sample::of([slanted("xvda", 1, 30).with_blocks(every(90, 12), 4), slanted("xvdc", 5, 30)]),
    ];
    let repo = TestRepo::new(1);
    for (number, night) in nights.iter().enumerate() {
        if number == 1 {
            repo.leave_killed_backup(&nights[2]);
        }
        let made = backup(repo.repository(), threads, &mut night.source(), &request(), &Silent);
        made.expect("a backup");
    }
    repo.objects()
}

/// Threads only save time: whatever their number, the same blocks are found.
#[test]
fn with_the_same_randomness_every_number_of_threads_finds_the_same_blocks() {
    let one = objects_after_nights(1);
    for workers in [2, 7] {
        assert!(objects_after_nights(workers) == one, "with {workers} workers");
    }
}
