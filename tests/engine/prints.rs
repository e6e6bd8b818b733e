//! Prints are gifts (SPEC 7.4, 12.3): what becomes of them costs at most room, whoever writes them, and never bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use engine::check::Finding;
use engine::observer::Silent;
use engine::reader::{ContentReadError, Reader};
use engine::repository::Repository;
use engine::restore::SnapshotContent;
use engine::source::{Content, ContentError, DiskSink};
use repo_format::frame::{Codec, StoredFrame};
use repo_format::header::Kind;
use repo_format::id::{Fingerprint, IndexHash, SegmentId, SnapshotId};
use repo_format::index::{HookRecord, IndexObject, IndexedPack, Records, SegmentRecord};
use repo_format::object_name::{IndexName, ObjectName};
use repo_format::pack::{Close, Entries, EntryKind, PackBuilder};
use repo_format::print::Print;
use repo_format::seal::seal_object;
use repo_format::segment::Units;
use repo_format::snapshot::Snapshot;
use repo_format::state::State;
use repo_tests::dice::Dice;
use repo_tests::faulty_storage::{Call, flip};
use repo_tests::fixed::secret;
use repo_tests::repo::{TestRepo, back_up, read_error, workers};
use repo_tests::sample::{BLOCK, Fill, SEGMENT, Sample, SampleDisk};

/// Blocks of a segment.
const BLOCKS: u64 = SEGMENT / BLOCK;

const fn is_print_index(name: &ObjectName) -> bool {
    matches!(name, ObjectName::Prints(_))
}

/// Names of all print packs and print indexes.
fn print_objects(repo: &TestRepo) -> Vec<ObjectName> {
    let packs = repo.print_packs().into_iter().map(ObjectName::Pack);
    packs.chain(repo.names(is_print_index)).collect()
}

fn remove(repo: &TestRepo, names: impl IntoIterator<Item = ObjectName>) {
    names.into_iter().for_each(|name| drop(repo.storage().objects().remove(&name)));
}

/// A VM with a disk of two segments that hold something, and its next night: some blocks of both have changed.
fn two_nights() -> (Sample, Sample) {
    let disk = SampleDisk::empty("xvda", 2 * SEGMENT)
        .with(0..DATA_BYTES / 2, Fill::Noise(1))
        .with(SEGMENT..SEGMENT + DATA_BYTES / 2, Fill::Noise(2));
    (Sample::of([disk.clone()]), Sample::of([disk.with_blocks(CHANGED, 7)]))
}

/// What a disk of [`two_nights`] holds.
const DATA_BYTES: u64 = 2 << 20;
/// Blocks that change in the second night.
const CHANGED: [u64; 4] = [7, 200, BLOCKS + 100, BLOCKS + 101];
/// What the second night costs with prints.
const CHANGED_BYTES: u64 = CHANGED.len() as u64 * BLOCK;

#[test]
fn prints_that_are_missing_are_told_and_are_no_damage() {
    let repo = TestRepo::with(1, &[&two_nights().0]);
    let packs = repo.print_packs();
    remove(&repo, packs.iter().map(|pack| ObjectName::Pack(*pack)));
    let missing: Vec<_> = packs.into_iter().map(|pack| Finding::PrintsMissing { pack }).collect();
    assert!(!missing.is_empty());
    assert_eq!(repo.check_sound(), missing);
}

#[test]
fn print_indexes_that_are_missing_are_no_damage() {
    let repo = TestRepo::with(1, &[&two_nights().0]);
    remove(&repo, repo.names(is_print_index));
    repo.check_intact();
}

/// After the first of two nights, `harm` befalls its prints: the second restores, and costs at most what changed segments
/// hold. Returns what it costs.
#[track_caller]
fn check_harmless(harm: impl FnOnce(&TestRepo)) -> u64 {
    let (first, second) = two_nights();
    let mut repo = TestRepo::with(1, &[&first]);
    harm(&repo);
    let cost = repo.back_up(&second).statistics.new_bytes;
    assert!((CHANGED_BYTES..=DATA_BYTES).contains(&cost), "{cost} bytes");
    repo.check_all_restore();
    cost
}

#[test]
fn without_prints_changed_segments_are_cut_afresh() {
    assert_eq!(check_harmless(|_| {}), CHANGED_BYTES);
    assert!(check_harmless(|repo| remove(repo, print_objects(repo))) > DATA_BYTES / 8);
}

#[test]
fn flipped_bits_in_print_packs_and_print_indexes_do_no_harm() {
    for place in [0, 300, 9_999, 54_321, u64::MAX] {
        check_harmless(|repo| {
            for name in print_objects(repo) {
                let storage = repo.storage();
                flip(storage.objects().get_mut(&name).expect("an object"), place);
            }
        });
    }
}

/// One print index that is damaged does not take the others along.
#[test]
fn beside_a_damaged_print_index_the_others_are_used() {
    let (first, second) = two_nights();
    let other = Sample { vm_name: Some("another".to_owned()), ..Sample::small(1) };
    let mut repo = TestRepo::with(1, &[&other, &first]);
    let last = repo.snapshots()[1].id;
    let others = repo.names(|name| matches!(name, ObjectName::Prints(name) if name.owner != last));
    assert_eq!(others.len(), 1);
    flip(repo.storage().objects().get_mut(&others[0]).expect("an object"), 999);
    assert_eq!(repo.back_up(&second).statistics.new_bytes, CHANGED_BYTES);
}

// Nights in which anything happens to prints and cache.

/// Writes, zeroes and copies runs of blocks.
fn change(dice: &mut Dice, disk: &mut [u8]) {
    let blocks = disk.len() as u64 / BLOCK;
    for _ in 0..1 + dice.below(40) {
        let longest = if dice.below(6) == 0 { 400 } else { 3 };
        let len = 1 + dice.below(longest);
        let (from, to) = (dice.below(blocks - len), dice.below(blocks - len));
        let range = |start: u64| (start * BLOCK) as usize..((start + len) * BLOCK) as usize;
        match dice.below(5) {
            0 => disk[range(to)].fill(0),
            1 => disk.copy_within(range(from), range(to).start),
            _ => dice.fill(&mut disk[range(to)]),
        }
    }
}

/// Bytes of the segments in which two disks of one size differ.
fn changed_segments(before: &[u8], after: &[u8]) -> u64 {
    let pairs = before.chunks(SEGMENT as usize).zip(after.chunks(SEGMENT as usize));
    pairs.filter(|(before, after)| before != after).count() as u64 * SEGMENT
}

/// Every file below `path`.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let of = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    let mut files: Vec<_> =
        entries.flat_map(|entry| of(entry.expect("a readable folder").path())).collect();
    files.sort();
    files
}

/// Something happens to prints or cache; whether bits were flipped on storage.
fn harm(dice: &mut Dice, repo: &TestRepo, cache: &Path) -> bool {
    match dice.below(7) {
        0 => remove(repo, dice.some(print_objects(repo))),
        1 => remove(repo, dice.some(repo.names(is_print_index))),
        2 => remove(repo, dice.some(repo.print_packs()).into_iter().map(ObjectName::Pack)),
        3 => drop(fs::remove_dir_all(cache)),
        4 => dice
            .some(files(cache))
            .iter()
            .for_each(|file| fs::remove_file(file).expect("a folder of our own")),
        5 => {
            for file in files(cache).into_iter().filter(|file| is_of_prints(file)) {
                let mut bytes = fs::read(&file).expect("a file");
                (0..1 + dice.below(20)).for_each(|_| flip(&mut bytes, dice.below(u64::MAX)));
                fs::write(&file, bytes).expect("a folder of our own");
            }
        }
        _ => {
            let names = dice.some(print_objects(repo));
            for name in &names {
                let place = dice.below(u64::MAX);
                flip(repo.storage().objects().get_mut(name).expect("an object"), place);
            }
            return !names.is_empty();
        }
    }
    false
}

fn check_nights(seed: u64) {
    let cache = tempfile::tempdir().expect("a folder");
    let dice = &mut Dice::new(seed);
    let mut repo = TestRepo::new(seed);
    let mut disk = vec![0; 2 * SEGMENT as usize];
    dice.fill(&mut disk[..SEGMENT as usize + 50_000]);
    let mut before = vec![0; disk.len()];
    let mut was_flipped = false;
    for night in 0..6 {
        let all = Fill::Bytes(disk.clone());
        let size_bytes = disk.len() as u64;
        let sample = Sample::of([SampleDisk::empty("xvda", size_bytes).with(0..size_bytes, all)]);
        let machine = repo.open_with_cache(cache.path());
        let made = back_up(&machine, &mut sample.source()).expect("a backup");
        repo.expect(&made, &sample);
        let (cost, limit) = (made.statistics.new_bytes, changed_segments(&before, &disk));
        assert!(cost <= limit, "seed {seed}, night {night}: {cost} bytes, not {limit}");
        repo.check_all_restore();
        if !was_flipped {
            repo.check_sound();
        }
        was_flipped |= harm(dice, &repo, cache.path());
        before.copy_from_slice(&disk);
        change(dice, &mut disk);
    }
}

#[test]
fn whatever_becomes_of_prints_and_cache_every_night_restores_and_costs_at_most_what_changed() {
    (0..4).for_each(check_nights);
}

/// What the cache cannot say is asked anew: its damage, wherever it is, makes one night larger and not all that follow.
#[test]
fn a_damaged_cache_of_prints_is_made_anew() {
    let cache = tempfile::tempdir().expect("a folder");
    let night = |repo: &TestRepo, number: u64| {
        // Segment by turns: what one night could not ask for, and stores anew, is not what the next one needs.
        let start = |night: u64| night % 2 * BLOCKS + 9 * night;
        let blocks = (2..=number).flat_map(|night| [start(night), start(night) + 100]);
        let sample = Sample::of([two_nights().0.disks[0].clone().with_blocks(blocks, 5)]);
        let machine = repo.open_with_cache(cache.path());
        back_up(&machine, &mut sample.source()).expect("a backup").statistics.new_bytes
    };
    let repo = TestRepo::new(1);
    night(&repo, 1);
    assert_eq!(night(&repo, 2), 2 * BLOCK);
    let kept: Vec<_> = files(cache.path()).into_iter().filter(|file| is_of_prints(file)).collect();
    let kept: Vec<_> =
        kept.into_iter().map(|file| (fs::read(&file).expect("a file"), file)).collect();
    assert!(!kept.is_empty());
    for (bytes, file) in &kept {
        for place in (0..bytes.len()).step_by(bytes.len().div_ceil(8)) {
            fs::remove_dir_all(cache.path()).expect("a folder of our own");
            kept.iter().for_each(|(bytes, file)| write_file(file, bytes));
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            write_file(file, &flipped);
            let repo = repo.fork();
            night(&repo, 3);
            assert_eq!(night(&repo, 4), 2 * BLOCK, "{} flipped at {place}", file.display());
        }
    }
}

fn write_file(file: &Path, bytes: &[u8]) {
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder of our own");
    fs::write(file, bytes).expect("a folder of our own");
}

fn is_of_prints(file: &Path) -> bool {
    file.iter().any(|part| part == "prints")
}

// Prints that lie: whoever may back up can write them.

/// What the holder of a key can put beside the prints of others: entries of a print pack, and hooks that lead to them.
fn put_prints(
    repo: &TestRepo,
    mut prints: Vec<(SegmentId, Vec<u8>)>,
    hooks: &[(Fingerprint, SegmentId)],
) {
    prints.sort();
    let keys = repo.repository().keys();
    let plain: Vec<u8> = prints.iter().flat_map(|(_, print)| print.clone()).collect();
    let plain_len = plain.len() as u32;
    let frame = StoredFrame { codec: Codec::Raw, plain_len, stored: plain };
    let entry =
        |(id, print): &(SegmentId, Vec<u8>)| (*id.as_bytes(), EntryKind::Print, print.len() as u32);
    let list: Vec<_> = prints.iter().map(entry).collect();
    let mut builder = PackBuilder::new(keys, Kind::PrintPack, &secret("a forged pack"));
    builder.append_catalog(&frame, &list);
    let pack = builder.finish(Close::Padded);
    let Entries::Catalog(entries) = pack.contents.entries else { panic!("a catalog pack") };
    let record = |e: &repo_format::pack::CatalogEntry| SegmentRecord {
        id: e.id,
        kind: e.kind,
        pack: 0,
        place: e.place,
    };
    let place = |segment: &SegmentId| prints.iter().position(|(id, _)| id == segment);
    let hook = |(fingerprint, segment): &(Fingerprint, SegmentId)| HookRecord {
        fingerprint: *fingerprint,
        segment: place(segment).expect("a hook to one of them") as u32,
    };
    let named = IndexedPack {
        id: pack.id,
        len: pack.bytes.len() as u32,
        kind: Kind::PrintPack,
        frames: pack.contents.frames,
    };
    let records = entries.iter().map(record).collect();
    let records = Records::Prints(records, hooks.iter().map(hook).collect());
    let text = IndexObject { packs: vec![named], records }.encode();
    let index = seal_object(keys, Kind::PrintIndex, &secret("a forged index"), &text);
    let owner = SnapshotId::from_bytes([9; 16]);
    let name = IndexName { owner, hash: IndexHash::of(&index) };
    let storage = repo.storage();
    storage.objects().insert(ObjectName::Pack(pack.id), pack.bytes);
    storage.objects().insert(ObjectName::Prints(name), index);
}

/// The segments of a disk: bytes, unit values and ids.
fn segments(repo: &TestRepo, disk: &SampleDisk) -> Vec<(Vec<u8>, Units, SegmentId)> {
    let keys = repo.repository().keys();
    let bytes = disk.bytes();
    let segment = |bytes: &[u8]| {
        let units = Units::of(keys, bytes);
        let id = units.segment_id(keys);
        (bytes.to_vec(), units, id)
    };
    bytes.chunks(SEGMENT as usize).map(segment).collect()
}

fn fingerprints(repo: &TestRepo, segment: &[u8]) -> Vec<Fingerprint> {
    let keys = repo.repository().keys();
    segment.chunks(BLOCK as usize).map(|block| Fingerprint::of(keys, block)).collect()
}

/// The entry of a full print.
fn full_print(repo: &TestRepo, units: Units, fingerprints: Vec<Fingerprint>) -> Vec<u8> {
    Print::new(units, fingerprints).encode(&Print::of_zeros(repo.repository().keys()))
}

/// Fails when a byte is delivered that is not the disk's.
struct Comparing<'d>(&'d SampleDisk);

impl DiskSink for Comparing<'_> {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> std::io::Result<()> {
        let mut expected = vec![0; bytes.len()];
        self.0.write(offset_bytes, &mut expected);
        assert!(bytes == expected, "wrong bytes at {offset_bytes}");
        Ok(())
    }
}

/// Restores the first disk, and compares all that is delivered.
fn restore_comparing(
    repository: &Repository,
    snapshot: &Snapshot,
    disk: &SampleDisk,
) -> Result<(), ContentError> {
    let reader = Reader::open(repository).expect("an index");
    let content = SnapshotContent::new(&reader, workers(), snapshot, &Silent);
    content.read_disk(0, &mut Comparing(disk))
}

/// The print says of the second segment that it has already the blocks that it will have next night. Its unit values are
/// right: nothing but a restore can tell.
#[test]
fn a_block_that_a_false_print_hides_is_found_at_restore_and_its_segment_is_named() {
    let (first, second) = two_nights();
    let mut repo = TestRepo::with(1, &[&first]);
    let next = segments(&repo, &second.disks[0]);
    let forged = segments(&repo, &first.disks[0]).into_iter().zip(&next);
    let forged = forged.map(|((_, units, id), (bytes, ..))| {
        (id, full_print(&repo, units, fingerprints(&repo, bytes)))
    });
    let mut forged: Vec<_> = forged.collect();
    // That of the first segment is true.
    let (bytes, units, id) = segments(&repo, &first.disks[0]).remove(0);
    forged[0] = (id, full_print(&repo, units, fingerprints(&repo, &bytes)));
    remove(&repo, print_objects(&repo));
    put_prints(&repo, forged, &[]);

    let made = back_up(repo.repository(), &mut second.source()).expect("a backup");
    assert_eq!(made.statistics.new_bytes, 2 * BLOCK, "only the first segment's");
    let error = restore_comparing(repo.repository(), &made, &second.disks[0]);
    let error = error.expect_err("two blocks are missing");
    let Some(ContentReadError::Segment { id }) = read_error(&error) else {
        panic!("{error:?}");
    };
    assert_eq!(*id, next[1].2);
    // What came before restores, and so does what comes after, once no print lies.
    repo.check_all_restore();
    remove(&repo, print_objects(&repo));
    repo.back_up(&Sample::of([second.disks[0].clone().with_blocks([0, BLOCKS], 9)]));
    repo.check_all_restore();
}

/// Whatever prints say, the next night is stored and restores.
#[track_caller]
fn check_forged_prints_harmless(
    forge: impl Fn(&TestRepo, &[(Vec<u8>, Units, SegmentId)]) -> Vec<(SegmentId, Vec<u8>)>,
) {
    check_harmless(|repo| {
        let stored = segments(repo, &two_nights().0.disks[0]);
        let forged = forge(repo, &stored);
        let lead = |(bytes, _, _): &(Vec<u8>, Units, SegmentId)| fingerprints(repo, bytes);
        let hooks = stored.iter().flat_map(lead).filter(Fingerprint::is_hook);
        let hooks = hooks.flat_map(|hook| forged.iter().map(move |(id, _)| (hook, *id)));
        let hooks: Vec<_> = hooks.collect();
        remove(repo, print_objects(repo));
        put_prints(repo, forged, &hooks);
    });
}

#[test]
fn a_print_that_is_not_its_segments_own_is_not_used() {
    check_forged_prints_harmless(|repo, stored| {
        let print = |of: usize| {
            let (bytes, units, _) = &stored[of];
            full_print(repo, units.clone(), fingerprints(repo, bytes))
        };
        vec![(stored[0].2, print(1)), (stored[1].2, print(0))]
    });
}

/// A print with its own fingerprints upon the unit values of another, as a delta that was applied to a wrong base gives.
#[test]
fn a_print_of_which_the_unit_values_are_not_its_segments_own_is_not_used() {
    check_forged_prints_harmless(|repo, stored| {
        let next = segments(repo, &two_nights().1.disks[0]);
        let print = |number: usize| {
            let (bytes, units, _) = &next[number];
            (stored[number].2, full_print(repo, units.clone(), fingerprints(repo, bytes)))
        };
        vec![print(0), print(1)]
    });
}

#[test]
fn prints_without_an_end_are_given_up() {
    check_forged_prints_harmless(|repo, stored| {
        let zeros = Print::of_zeros(repo.repository().keys());
        let delta = |of: usize, base: usize| {
            let (bytes, units, id) = &stored[of];
            let print = Print::new(units.clone(), fingerprints(repo, bytes));
            (*id, print.encode_delta(stored[base].2, &zeros, 1))
        };
        vec![delta(0, 1), delta(1, 0)]
    });
}

#[test]
fn prints_that_are_none_and_prints_of_segments_that_nobody_has_do_no_harm() {
    check_forged_prints_harmless(|repo, stored| {
        let nobodys = (0..40u8).map(|n| {
            let (bytes, units, _) = &stored[0];
            let print = full_print(repo, units.clone(), fingerprints(repo, bytes));
            (SegmentId::from_bytes([n; 32]), print)
        });
        let garbage = stored.iter().map(|(bytes, _, id)| (*id, bytes[..5000].to_vec()));
        nobodys.chain(garbage).collect()
    });
}

// A print proves nothing: what it leads to must count (SPEC 12.3).

/// Removes the packs that no index object names any more, as a prune would.
fn remove_unnamed_packs(repo: &TestRepo) {
    let names = repo.names(|name| matches!(name, ObjectName::Index(_)));
    let index = names.into_iter().filter_map(|name| match name {
        ObjectName::Index(name) => repo.repository().read_index(name).ok(),
        _ => None,
    });
    let named: BTreeSet<_> = index.flat_map(|index| index.packs).map(|pack| pack.id).collect();
    let unnamed = repo.packs().into_iter().filter(|pack| !named.contains(pack));
    remove(repo, unnamed.map(ObjectName::Pack));
}

/// A state says that the first night's index objects do not all count, its prints stay: the second night stores itself.
#[track_caller]
fn check_stores_itself(state: impl FnOnce(&mut State, SnapshotId, Vec<IndexName>, &TestRepo)) {
    let (first, second) = two_nights();
    let mut repo = TestRepo::with(1, &[&first]);
    let id = repo.snapshots()[0].id;
    let index = repo.index_of(id);
    repo.put_state(|new| state(new, id, index.clone(), &repo));
    assert_eq!(repo.back_up(&second).statistics.new_bytes, DATA_BYTES);
    // The prune that put it goes on.
    repo.put_state(|state| {
        state.live.clear();
        state.retired.clear();
        state.doomed_index.clear();
        state.absorbed = vec![id];
    });
    repo.expect_no_more(id);
    remove(&repo, index.into_iter().map(ObjectName::Index));
    remove_unnamed_packs(&repo);
    repo.check_all_restore();
}

#[test]
fn segments_of_an_absorbed_snapshot_are_not_used() {
    check_stores_itself(|state, id, _, _| state.absorbed = vec![id]);
}

#[test]
fn segments_in_retired_or_doomed_index_objects_are_not_used() {
    check_stores_itself(|state, id, index, _| {
        (state.absorbed, state.retired) = (vec![id], index);
    });
    check_stores_itself(|state, _, index, _| state.doomed_index = index);
}

#[test]
fn segments_in_condemned_or_doomed_packs_are_not_used() {
    check_stores_itself(|state, id, index, repo| {
        (state.absorbed, state.retired) = (vec![id], index);
        state.condemned = repo.packs();
    });
    check_stores_itself(|state, _, index, repo| {
        (state.doomed_index, state.doomed_packs) = (index, repo.packs());
    });
}

/// Maps count and their chunks do not: no state should say so, and yet nothing is lost.
#[test]
fn segments_of_which_the_chunks_do_not_count_are_not_used() {
    check_stores_itself(|state, id, index, repo| {
        let is_of_maps = |name: &IndexName| {
            let index = repo.repository().read_index(*name).expect("an index object");
            index.kind() == Kind::SegmentIndex
        };
        state.absorbed = vec![id];
        state.live = index.into_iter().filter(is_of_maps).collect();
    });
}

/// The second night is killed anywhere; the third has its blocks and more. What the killed one published then goes,
/// all but its prints: the third needs nothing of it that it has not named again.
#[test]
fn wherever_a_night_is_killed_the_next_one_needs_nothing_of_it() {
    let (first, second) = two_nights();
    let third = Sample::of([second.disks[0].clone().with_blocks([8, BLOCKS + 9], 8)]);
    let before = TestRepo::with(1, &[&first]);
    let changes = before.changes_of_backup(&second);
    assert!(changes.iter().any(|call| call.changes().is_some_and(|name| is_print_index(&name))));
    let commit = changes.iter().position(Call::is_commit).expect("a commit");
    let session = changes.iter().find_map(Call::changes);
    let Some(ObjectName::Session(killed)) = session else { panic!("it began with {session:?}") };
    for made in 0..=changes.len() {
        for next in [&second, &third] {
            let mut repo = before.after(&changes[..made]);
            let cost = repo.back_up(next).statistics.new_bytes;
            assert!(cost <= CHANGED_BYTES + 2 * BLOCK, "{cost} bytes after {made} changes");
            repo.check_intact();
            if made <= commit {
                repo.put_tombstone(killed);
                remove(&repo, repo.index_of(killed).into_iter().map(ObjectName::Index));
                remove_unnamed_packs(&repo);
                repo.check_intact();
            }
        }
    }
}
