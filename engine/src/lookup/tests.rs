//! The lookup against a model that is a map, on a cache that everybody damages.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use repo_format::index::{HookRecord, Records};

use super::*;

mod model;

use model::{Model, Objects, Sort, fingerprint, name, object, objects, sample};

/// Small enough that a few objects make batches, layers and merges of all sorts.
const SMALL: Bounds = Bounds { batch_bytes: 3000, runs_max: 4, layers_max: 2 };

fn key() -> Secret {
    Secret::from_bytes([7; 32])
}

/// Opens some of the objects; also says which were fetched.
fn open_some(
    objects: &Objects,
    names: &BTreeSet<IndexName>,
    place: &CachePlace,
) -> (Lookup, Vec<IndexName>) {
    let mut fetched = Vec::new();
    let lookup = Lookup::open_within(SMALL, names, place, &key(), &mut |name| {
        fetched.push(name);
        Ok::<_, io::Error>(objects[&name].clone())
    });
    (lookup.unwrap(), fetched)
}

fn open(objects: &Objects, place: &CachePlace) -> Lookup {
    open_some(objects, &objects.keys().copied().collect(), place).0
}

#[track_caller]
fn check_same(lookup: &Lookup, objects: &Objects) {
    Model::of(objects.values()).compare(lookup).unwrap();
}

fn temporary_cache() -> (tempfile::TempDir, CachePlace) {
    let directory = tempfile::tempdir().unwrap();
    let place = CachePlace::Directory(directory.path().join("cache"));
    (directory, place)
}

fn directory_of(place: &CachePlace) -> &Path {
    match place {
        CachePlace::Directory(path) => path,
        CachePlace::Temporary => panic!("no directory"),
    }
}

fn files(place: &CachePlace) -> Vec<PathBuf> {
    let layers = fs::read_dir(directory_of(place)).into_iter().flatten();
    let mut files: Vec<_> = layers
        .flat_map(|layer| fs::read_dir(layer.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Ways to damage a file.
#[derive(Debug, Clone)]
enum Harm {
    Flip { place: u64, bit: u8 },
    Cut { len: u64 },
    Delete,
    Swap { other: usize },
}

fn harm() -> impl Strategy<Value = (usize, Harm)> {
    let harm = (0..4, any::<u64>(), 0..8_u8, any::<usize>());
    let harm = harm.prop_map(|(sort, place, bit, other)| match sort {
        0 => Harm::Flip { place, bit },
        1 => Harm::Cut { len: place },
        2 => Harm::Delete,
        _ => Harm::Swap { other },
    });
    (any::<usize>(), harm)
}

fn damage(files: &[PathBuf], (which, harm): &(usize, Harm)) {
    let path = &files[which % files.len()];
    let Ok(file) = fs::File::options().read(true).write(true).open(path) else {
        return; // deleted before
    };
    let len = file.metadata().unwrap().len().max(1);
    match harm {
        Harm::Flip { place, bit } => {
            let mut byte = [0];
            if file.read_exact_at(&mut byte, place % len).is_ok() {
                file.write_all_at(&[byte[0] ^ 1 << bit], place % len).unwrap();
            }
        }
        Harm::Cut { len: cut } => file.set_len(cut % len).unwrap(),
        Harm::Delete => fs::remove_file(path).unwrap(),
        Harm::Swap { other } => {
            let other = &files[other % files.len()];
            let (ours, theirs) = (fs::read(path).unwrap(), fs::read(other).unwrap_or_default());
            fs::write(path, theirs).unwrap();
            fs::write(other, ours).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn s12_the_lookup_is_exactly_the_set_whatever_came_and_went_before(
        objects in objects(),
        masks in vec(any::<u16>(), 1..6),
    ) {
        let (_guard, place) = temporary_cache();
        let mut known = BTreeSet::new();
        for mask in masks {
            let part = objects.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
            let part: Objects = part.map(|(_, (name, object))| (*name, object.clone())).collect();
            let names: BTreeSet<_> = part.keys().copied().collect();
            let (lookup, fetched) = open_some(&part, &names, &place);
            check_same(&lookup, &part);
            // What only grew is never fetched again.
            if known.is_subset(&names) {
                let fetched: BTreeSet<_> = fetched.iter().copied().collect();
                prop_assert_eq!(fetched, names.difference(&known).copied().collect());
            }
            assert!(lookup.layers.len() <= SMALL.layers_max);
            prop_assert_eq!(files(&place).len(), 3 * lookup.layers.len());
            known = names;
        }
    }

    #[test]
    fn s12_temporary_files_answer_the_same(objects in objects()) {
        check_same(&open(&objects, &CachePlace::Temporary), &objects);
    }

    #[test]
    fn s12_a_damaged_cache_is_repaired_or_said_never_believed(
        objects in objects(),
        harms in vec(harm(), 1..5),
        more in vec(harm(), 1..5),
    ) {
        let (_guard, place) = temporary_cache();
        drop(open(&objects, &place));
        let before = files(&place);
        harms.iter().for_each(|harm| damage(&before, harm));
        let model = Model::of(objects.values());
        let lookup = open(&objects, &place);
        let right_or_said = |lookup: &Lookup| match model.compare(lookup) {
            Ok(()) => {}
            Err(LookupError::CacheDamaged(_)) => {
                Lookup::discard(&place).unwrap();
                model.compare(&open(&objects, &place)).unwrap();
            }
            Err(other) => panic!("{other}"),
        };
        right_or_said(&lookup);
        // And while it is open.
        let lookup = open(&objects, &place);
        let while_open = files(&place);
        more.iter().for_each(|harm| damage(&while_open, harm));
        right_or_said(&lookup);
    }
}

#[test]
fn s11_one_id_may_fill_many_blocks() {
    let mut ids = vec![8; 1000];
    ids.extend([7, 9, 300]);
    let sorts = [Sort::Chunks, Sort::Segments, Sort::Prints].into_iter().enumerate();
    let objects = sorts.map(|(i, sort)| (name(i), object(i as u8 * 5, sort, &ids))).collect();
    check_same(&open(&objects, &CachePlace::Temporary), &objects);
}

/// An object of prints with a hook from each of `fingerprints` to every one of its segments.
fn hooked(first_pack: u8, fingerprints: &[Fingerprint]) -> IndexObject {
    let ids: Vec<u16> = (0..300).map(|i| i + u16::from(first_pack)).collect();
    let mut object = object(first_pack, Sort::Prints, &ids);
    let Records::Prints(prints, hooks) = &mut object.records else {
        panic!("prints");
    };
    let each = |fingerprint: &Fingerprint| {
        let fingerprint = *fingerprint;
        (0..prints.len() as u32).map(move |segment| HookRecord { fingerprint, segment })
    };
    *hooks = fingerprints.iter().flat_map(each).collect();
    object
}

#[test]
fn one_fingerprint_may_fill_many_blocks_as_may_those_that_begin_alike() {
    // Not in order: whoever gives objects to a lookup need not have parsed them.
    let numbers = [9, 3, 12, 4, 40, 20];
    let fingerprints: Vec<_> = numbers.into_iter().map(fingerprint).collect();
    let objects: Objects =
        (0..4).map(|i| (name(i), hooked(i as u8 * 9, &fingerprints[i..]))).collect();
    let (_guard, place) = temporary_cache();
    for _ in 0..2 {
        check_same(&open(&objects, &place), &objects);
    }
}

#[test]
fn hooks_that_objects_repeat_are_kept_once_in_a_layer() {
    let mut objects: Objects = (0..5).map(|i| (name(i), hooked(0, &[fingerprint(1)]))).collect();
    for object in objects.values_mut() {
        let Records::Prints(_, hooks) = &mut object.records else {
            panic!("prints");
        };
        hooks.extend(hooks.clone());
    }
    let lookup = open(&objects, &CachePlace::Temporary);
    check_same(&lookup, &objects);
    assert_eq!(lookup.hook_count(), 300 * lookup.layers.len() as u64);
}

#[test]
fn hooks_need_only_fences_in_memory() {
    type Hooks = fence::Fences<{ record::HOOK }>;
    assert_eq!(Hooks::file_len(1), 8);
    assert_eq!(Hooks::file_len(46 * 1000), 8000);
}

#[test]
fn s12_without_objects_nothing_is_known() {
    let (_guard, place) = temporary_cache();
    drop(open(&sample(), &place));
    check_same(&open(&Objects::new(), &place), &Objects::new());
    assert!(files(&place).is_empty(), "stale layers are removed");
}

#[test]
fn s12_processes_share_a_cache() {
    let (_guard, place) = temporary_cache();
    let objects = sample();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (objects, place) = (&objects, &place);
            scope.spawn(move || {
                for round in 0..12 {
                    // Three sets, so that they tear down each other's layers.
                    let left_out = (thread + round) % 3;
                    let mut part = objects.clone();
                    part.remove(&name(left_out));
                    check_same(&open(&part, place), &part);
                }
            });
        }
    });
    let left = fs::read_dir(directory_of(&place)).unwrap();
    for entry in left {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with("layer-"), "{name} was left");
    }
}

#[test]
fn s12_files_of_two_builds_do_not_mix() {
    let ((_guard, ours), (_guard2, theirs)) = (temporary_cache(), temporary_cache());
    let objects = sample();
    drop((open(&objects, &ours), open(&objects, &theirs)));
    for (ours, theirs) in files(&ours).iter().zip(&files(&theirs)) {
        assert_eq!(ours.parent().unwrap().file_name(), theirs.parent().unwrap().file_name());
        if ours.ends_with("blocks") {
            fs::copy(theirs, ours).unwrap();
        }
    }
    let (lookup, fetched) = open_some(&objects, &objects.keys().copied().collect(), &ours);
    check_same(&lookup, &objects);
    assert!(!fetched.is_empty());
}

#[test]
fn a_place_that_cannot_be_written_is_gone_around() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().join("cache"), file.path().to_owned(), PathBuf::from("/proc/cache")] {
        check_same(&open(&sample(), &CachePlace::Directory(path)), &sample());
    }
}

#[test]
fn temporary_files_have_no_name() {
    let file = nest::Nest::Unlinked.create("blocks").unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
}

#[test]
fn another_key_begins_anew() {
    let (_guard, place) = temporary_cache();
    drop(open(&sample(), &place));
    let (names, mut count) = (sample().keys().copied().collect(), 0);
    let other = Secret::from_bytes([8; 32]);
    let lookup = Lookup::open(&names, &place, &other, &mut |name| {
        count += 1;
        Ok::<_, io::Error>(sample()[&name].clone())
    });
    check_same(&lookup.unwrap(), &sample());
    assert_eq!(count, 9);
}

#[test]
fn what_was_fetched_before_an_error_is_not_fetched_again() {
    let (_guard, place) = temporary_cache();
    let objects = sample();
    let names: BTreeSet<_> = objects.keys().copied().collect();
    let last = *names.last().unwrap();
    let failed =
        Lookup::open_within(SMALL, &names, &place, &key(), &mut |name| match name == last {
            true => Err(io::Error::other("gone")),
            false => Ok(objects[&name].clone()),
        });
    let failed = failed.err().unwrap();
    let LookupError::Fetch { object, source } = &failed else {
        panic!("{failed}");
    };
    assert_eq!(object.to_string(), repo_format::object_name::ObjectName::Index(last).to_string());
    assert!(source.downcast_ref::<io::Error>().is_some());
    let (lookup, fetched) = open_some(&objects, &names, &place);
    check_same(&lookup, &objects);
    assert!(fetched.len() < 9 && fetched.contains(&last));
}

#[test]
fn records_of_unknown_packs_are_refused() {
    for sort in [Sort::Chunks, Sort::Segments, Sort::Prints] {
        let mut object = object(0, sort, &[1, 2, 3]);
        object.packs.truncate(1);
        check_refused(&object);
    }
}

#[test]
fn hooks_of_unknown_prints_are_refused() {
    let mut object = object(0, Sort::Prints, &[1, 2, 3]);
    let Records::Prints(prints, _) = &mut object.records else {
        panic!("prints");
    };
    prints.truncate(2);
    check_refused(&object);
}

#[track_caller]
fn check_refused(object: &IndexObject) {
    let opened = Lookup::open(&[name(0)].into(), &CachePlace::Temporary, &key(), &mut |_| {
        Ok::<_, io::Error>(object.clone())
    });
    assert!(matches!(opened.err(), Some(LookupError::Object { .. })));
}

#[test]
fn only_what_a_cache_made_is_removed() {
    let (_guard, place) = temporary_cache();
    let path = directory_of(&place);
    let used = nest::Nest::in_directory(path).unwrap();
    let abandoned = path.join(format!("tmp-{}", "0".repeat(32)));
    let foreign = path.join(format!("layer-{}", "1".repeat(32)));
    fs::create_dir(&abandoned).unwrap();
    fs::write(abandoned.join("blocks"), "half").unwrap();
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("blocks"), "not ours").unwrap();
    fs::write(path.join("layer-notes"), "mine").unwrap();
    drop(open(&sample(), &place));
    let nest::Nest::Directory { path: used_path, .. } = &used else {
        panic!("a directory");
    };
    assert!(used_path.exists() && path.join("layer-notes").exists());
    assert!(!abandoned.exists() && !foreign.exists());
    Lookup::discard(&place).unwrap();
    assert_eq!(fs::read_dir(path).unwrap().count(), 2);
    drop(used);
    assert_eq!(fs::read_dir(path).unwrap().count(), 1);
}

proptest! {
    #[test]
    fn merges_leave_few_layers_and_write_little(sizes in vec(1_u64..9, 1..400)) {
        let (mut layers, mut written) = (Vec::<u64>::new(), 0);
        for size in &sizes {
            layers.push(*size);
            layers.sort_by_key(|size| std::cmp::Reverse(*size));
            let count = merge::merge_count(&layers, 8);
            if count > 0 {
                let merged = layers.split_off(layers.len() - count).iter().sum();
                written += merged;
                layers.push(merged);
            }
            assert!(layers.len() <= 8 && count != 1);
        }
        let total: u64 = sizes.iter().sum();
        prop_assert_eq!(layers.iter().sum::<u64>(), total);
        assert!(written <= 6 * total, "{written} of {total}");
    }
}
