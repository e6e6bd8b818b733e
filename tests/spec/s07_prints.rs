//! SPEC 7.4: unit values, fingerprints, hooks and prints.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use repo_format::FormatError;
use repo_format::id::{Fingerprint, SegmentId};
use repo_format::limits::{BLOCK_LEN, BLOCKS, SEGMENT_LEN, UNIT_BLOCKS, UNIT_LEN, UNITS};
use repo_format::print::{Print, StoredPrint};
use repo_format::segment::{Units, segment_id};
use repo_tests::fixed::{array, foreign_keys, full_keys, noise};
use repo_tests::hostile::{check_additions, check_any_bytes, check_every_cut, flips};

// Unit values

/// BLAKE3 as its paper has it, one compression at a time: SPEC 7.4 can be followed without any library.
mod slow {
    pub const PARENT: u32 = 4;
    pub const ROOT: u32 = 8;
    pub const KEYED_HASH: u32 = 16;
    const CHUNK_START: u32 = 1;
    const CHUNK_END: u32 = 2;

    const IV: [u32; 4] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a];
    const ORDER: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    const LINES: [[usize; 4]; 8] = [
        [0, 4, 8, 12],
        [1, 5, 9, 13],
        [2, 6, 10, 14],
        [3, 7, 11, 15],
        [0, 5, 10, 15],
        [1, 6, 11, 12],
        [2, 7, 8, 13],
        [3, 4, 9, 14],
    ];

    pub fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
        let word = |at: usize| u32::from_le_bytes(bytes[4 * at..][..4].try_into().expect("4"));
        std::array::from_fn(word)
    }

    /// The chaining value behind 64 bytes.
    fn compress(before: [u32; 8], block: &[u8], counter: u64, flags: u32) -> [u32; 8] {
        let mut message: [u32; 16] = words(block);
        let mut v = [0; 16];
        v[..8].copy_from_slice(&before);
        v[8..12].copy_from_slice(&IV);
        v[12..].copy_from_slice(&[counter as u32, (counter >> 32) as u32, 64, flags]);
        for _ in 0..7 {
            for (line, [a, b, c, d]) in LINES.into_iter().enumerate() {
                for (half, turns) in [[16, 12], [8, 7]].into_iter().enumerate() {
                    v[a] = v[a].wrapping_add(v[b]).wrapping_add(message[2 * line + half]);
                    v[d] = (v[d] ^ v[a]).rotate_right(turns[0]);
                    v[c] = v[c].wrapping_add(v[d]);
                    v[b] = (v[b] ^ v[c]).rotate_right(turns[1]);
                }
            }
            message = ORDER.map(|from| message[from]);
        }
        std::array::from_fn(|at| v[at] ^ v[at + 8])
    }

    /// Of 1,024 bytes.
    pub fn leaf(key: [u32; 8], bytes: &[u8], counter: u64) -> [u32; 8] {
        (0..16).zip(bytes.chunks(64)).fold(key, |before, (number, block)| {
            let start = if number == 0 { CHUNK_START } else { 0 };
            let end = if number == 15 { CHUNK_END } else { 0 };
            compress(before, block, counter, KEYED_HASH | start | end)
        })
    }

    /// What stands above values, in pairs up to one; `last` are further flags of the topmost.
    pub fn merged(key: [u32; 8], mut level: Vec<[u32; 8]>, last: u32) -> [u32; 8] {
        while level.len() > 1 {
            let flags = KEYED_HASH | PARENT | if level.len() == 2 { last } else { 0 };
            let parent =
                |pair: &[[u32; 8]]| compress(key, &bytes(&[pair[0], pair[1]].concat()), 0, flags);
            level = level.chunks(2).map(parent).collect();
        }
        level[0]
    }

    pub fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

fn sample_segment() -> Vec<u8> {
    let mut segment = noise("segment", SEGMENT_LEN);
    segment[5 * UNIT_LEN..7 * UNIT_LEN].fill(0);
    segment
}

#[test]
fn s7_4_unit_values_are_inner_nodes_of_the_hash_that_names_the_segment() {
    let (keys, segment) = (full_keys(), sample_segment());
    let key = slow::words(keys.segment.expose());
    let leaf = |(counter, piece): (u64, &[u8])| slow::leaf(key, piece, counter);
    let leaves: Vec<_> = (0..).zip(segment.chunks(1024)).map(leaf).collect();
    let values: Vec<_> =
        leaves.chunks(64).map(|below| slow::merged(key, below.to_vec(), 0)).collect();
    let units = Units::of(&keys, &segment);
    assert_eq!(values.len(), 64);
    for (number, (value, found)) in values.iter().zip(units.values()).enumerate() {
        assert_eq!(slow::bytes(value), found, "unit {number}");
    }
    let root = slow::bytes(&slow::merged(key, values, slow::ROOT));
    assert_eq!(&root, units.segment_id(&keys).as_bytes());
    assert_eq!(&root, blake3::keyed_hash(keys.segment.expose(), &segment).as_bytes());
}

#[test]
fn s7_4_unit_values_lead_to_the_segment_id() {
    let keys = full_keys();
    for segment in [sample_segment(), vec![0; SEGMENT_LEN], vec![0xff; SEGMENT_LEN]] {
        let units = Units::of(&keys, &segment);
        assert_eq!(units.segment_id(&keys), segment_id(&keys, &segment));
        assert_eq!(Units::from_values(*units.values()), units);
    }
}

#[test]
fn s7_4_the_value_of_a_changed_unit_leads_to_the_id_of_the_changed_segment() {
    let keys = full_keys();
    let mut segment = sample_segment();
    let mut values = *Units::of(&keys, &segment).values();
    for number in [0, 1, 6, 31, 32, 62, 63] {
        let unit = noise(&format!("unit {number}"), UNIT_LEN);
        segment[number * UNIT_LEN..][..UNIT_LEN].copy_from_slice(&unit);
        values[number] = Units::value(&keys, number, &unit);
        let found = Units::from_values(values).segment_id(&keys);
        assert_eq!(found, segment_id(&keys, &segment), "unit {number}");
        assert_eq!(Units::of(&keys, &segment).values(), &values);
    }
}

#[test]
fn s7_4_a_unit_value_depends_on_place_and_repository() {
    let unit = noise("unit", UNIT_LEN);
    let value = |keys, number| Units::value(&keys, number, &unit);
    assert_eq!(value(full_keys(), 3), value(full_keys(), 3));
    assert_ne!(value(full_keys(), 3), value(full_keys(), 4));
    assert_ne!(value(full_keys(), 3), value(foreign_keys(), 3));
}

// Fingerprints and hooks

#[test]
fn s7_4_a_fingerprint_is_12_bytes_of_the_keyed_hash_of_a_block() {
    let keys = full_keys();
    assert_eq!((BLOCK_LEN, BLOCKS, UNIT_BLOCKS), (4096, 1024, 16));
    for name in ["a", "b", "c"] {
        let block = noise(name, 4096);
        let hash = blake3::keyed_hash(keys.fingerprint.expose(), &block);
        assert_eq!(Fingerprint::of(&keys, &block).as_bytes(), &hash.as_bytes()[..12]);
        assert_ne!(Fingerprint::of(&keys, &block), Fingerprint::of(&foreign_keys(), &block));
    }
}

#[test]
fn s7_4_only_a_block_of_zeros_has_a_fingerprint_of_zeros() {
    let keys = full_keys();
    let mut block = vec![0; 4096];
    assert_eq!(Fingerprint::of(&keys, &block).as_bytes(), &[0; 12]);
    assert_eq!(Fingerprint::of(&keys, &block), Fingerprint::ZERO);
    for place in [0, 1, 2048, 4095] {
        block[place] = 1;
        assert_ne!(Fingerprint::of(&keys, &block), Fingerprint::ZERO, "byte {place}");
        block[place] = 0;
    }
}

#[test]
#[should_panic(expected = "blocks are whole")]
fn s7_4_only_whole_blocks_have_fingerprints() {
    let _ = Fingerprint::of(&full_keys(), &[1; 4095]);
}

#[test]
fn s7_4_a_hook_begins_with_a_multiple_of_16_and_is_not_zero() {
    for first in 0..=255u8 {
        let mut bytes = [7; 12];
        bytes[0] = first;
        let hook = first & 0x0f == 0;
        assert_eq!(Fingerprint::from_bytes(bytes).is_hook(), hook, "{first}");
    }
    assert!(!Fingerprint::ZERO.is_hook());
    assert!(Fingerprint::from_bytes(*b"\0\0\0\0\0\0\0\0\0\0\0\x01").is_hook());
    assert!(!Fingerprint::from_bytes([0xff; 12]).is_hook());
}

#[test]
fn s7_4_about_one_fingerprint_in_16_is_a_hook() {
    let keys = full_keys();
    let segment = noise("hooks", SEGMENT_LEN);
    let hooks = segment.chunks(BLOCK_LEN).filter(|block| Fingerprint::of(&keys, block).is_hook());
    let hooks = hooks.count();
    assert!((32..=128).contains(&hooks), "{hooks} of 1,024");
}

// Prints

static ZEROS: LazyLock<Print> = LazyLock::new(|| Print::of_zeros(&full_keys()));

fn fingerprint(name: &str) -> Fingerprint {
    Fingerprint::from_bytes(array(name))
}

/// A print of which these blocks are not zero.
fn print(name: &str, blocks: &[usize]) -> Print {
    let units = std::array::from_fn(|unit| array(&format!("{name} unit {unit}")));
    let mut fingerprints = vec![Fingerprint::ZERO; BLOCKS];
    for block in blocks {
        fingerprints[*block] = fingerprint(&format!("{name} block {block}"));
    }
    Print::new(Units::from_values(units), fingerprints)
}

/// `print` with other values for these units, and other fingerprints of these blocks.
fn changed(print: &Print, units: &[usize], blocks: &[(usize, Fingerprint)]) -> Print {
    let mut values = *print.units().values();
    for unit in units {
        values[*unit] = *blake3::hash(&values[*unit]).as_bytes();
    }
    let mut fingerprints = print.fingerprints().to_vec();
    for (block, fingerprint) in blocks {
        fingerprints[*block] = *fingerprint;
    }
    Print::new(Units::from_values(values), fingerprints)
}

fn base() -> SegmentId {
    SegmentId::from_bytes(array("base"))
}

fn print_of(segment: &[u8]) -> Print {
    let keys = full_keys();
    let blocks = segment.chunks(BLOCK_LEN).map(|block| Fingerprint::of(&keys, block));
    Print::new(Units::of(&keys, segment), blocks.collect())
}

/// A print of which four units and four blocks are not zero, and what it is when stored full.
fn sample_full() -> (Print, Vec<u8>) {
    let block = |block| (block, fingerprint(&format!("x block {block}")));
    let print = changed(&ZEROS, &[0, 1, 9, 63], &[0, 17, 31, 1023].map(block));
    let bytes = print.encode(&ZEROS);
    (print, bytes)
}

/// A base, a print that is made of it, and what that is as a delta.
fn sample_delta() -> (Print, Print, Vec<u8>) {
    let before = print("x", &[48, 49, 50, 1023]);
    let new = [(50, fingerprint("new")), (63, fingerprint("other")), (1023, Fingerprint::ZERO)];
    let after = changed(&before, &[3, 8, 63], &new);
    let delta = after.encode_delta(base(), &before, 2);
    (before, after, delta)
}

#[test]
fn s7_4_a_full_print_is_laid_out_as_specified() {
    let (full, bytes) = sample_full();
    let mut wanted = vec![0, 0, 0, 0, 0, 0, 0, 0];
    wanted.extend([0; 32]);
    wanted.extend([0x03, 0x02, 0, 0, 0, 0, 0, 0x80]);
    for (unit, blocks) in [(0, [1, 0]), (1, [0x02, 0x80]), (9, [0, 0]), (63, [0x00, 0x80])] {
        wanted.extend(blake3::hash(&ZEROS.units().values()[unit]).as_bytes());
        wanted.extend(blocks);
    }
    for block in [0, 17, 31, 1023] {
        wanted.extend(array::<12>(&format!("x block {block}")));
    }
    assert_eq!(bytes, wanted);
    let stored = StoredPrint::parse(&wanted).unwrap();
    assert_eq!((stored.depth(), stored.base()), (0, None));
    let read = stored.over(&ZEROS);
    assert_eq!(read.units().values()[62], Units::value(&full_keys(), 62, &[0; UNIT_LEN]));
    assert_eq!(read, full);
}

#[test]
fn s7_4_a_full_print_may_give_all_units() {
    let full = print("x", &(0..BLOCKS).collect::<Vec<_>>());
    let bytes = full.encode(&ZEROS);
    assert_eq!((&bytes[40..48], bytes.len()), (&[0xff; 8][..], 48 + 64 * 34 + 1024 * 12));
    assert_eq!(StoredPrint::parse(&bytes).unwrap().over(&ZEROS), full);
}

#[test]
fn s7_4_the_print_below_a_full_one_is_that_of_4_mib_of_zeros() {
    let keys = full_keys();
    assert_eq!(*ZEROS, print_of(&vec![0; SEGMENT_LEN]));
    assert_eq!(ZEROS.units().segment_id(&keys), segment_id(&keys, &vec![0; SEGMENT_LEN]));
    assert_ne!(*ZEROS, Print::of_zeros(&foreign_keys()));
}

#[test]
fn s7_4_a_mostly_empty_segment_has_a_small_print() {
    let keys = full_keys();
    let mut segment = vec![0; SEGMENT_LEN];
    segment[700 * BLOCK_LEN + 5] = 1;
    let bytes = print_of(&segment).encode(&ZEROS);
    assert_eq!(bytes.len(), 48 + 34 + 12);
    let read = StoredPrint::parse(&bytes).unwrap().over(&ZEROS);
    assert_eq!(read.units().segment_id(&keys), segment_id(&keys, &segment));
}

#[test]
fn s7_4_a_delta_is_laid_out_as_specified() {
    let (before, after, delta) = sample_delta();
    let mut wanted = vec![2, 0, 0, 0, 0, 0, 0, 0];
    wanted.extend(array::<32>("base"));
    wanted.extend([0x08, 0x01, 0, 0, 0, 0, 0, 0x80]);
    for (unit, blocks) in [(3, [0x04, 0x80]), (8, [0, 0]), (63, [0x00, 0x80])] {
        wanted.extend(blake3::hash(&array::<32>(&format!("x unit {unit}"))).as_bytes());
        wanted.extend(blocks);
    }
    wanted.extend(array::<12>("new"));
    wanted.extend(array::<12>("other"));
    wanted.extend([0; 12]);
    assert_eq!(delta, wanted);
    let stored = StoredPrint::parse(&wanted).unwrap();
    assert_eq!((stored.depth(), stored.base()), (2, Some(base())));
    assert_eq!(stored.over(&before), after);
}

#[test]
fn s7_4_a_full_print_may_give_a_block_of_zeros() {
    let mut bytes = print("x", &[0, 1, 2]).encode(&ZEROS);
    let len = bytes.len();
    bytes[len - 12..].fill(0);
    let read = StoredPrint::parse(&bytes).unwrap().over(&ZEROS);
    assert_eq!(read.fingerprints()[2], Fingerprint::ZERO);
    assert_eq!(read.fingerprints()[1], fingerprint("x block 1"));
}

#[test]
fn s7_4_a_delta_over_another_base_does_not_lead_to_its_segment() {
    let keys = full_keys();
    let (_, after, delta) = sample_delta();
    for other in [&print("y", &[]), &ZEROS] {
        let wrong = StoredPrint::parse(&delta).unwrap().over(other);
        assert_ne!(wrong.units().segment_id(&keys), after.units().segment_id(&keys));
    }
}

#[test]
fn s7_4_a_print_leads_to_its_segment_over_32_deltas() {
    let keys = full_keys();
    let mut segment = sample_segment();
    let first = print_of(&segment);
    let (mut last, mut chain) = (first.clone(), vec![first.encode(&ZEROS)]);
    for depth in 1..=32u8 {
        let at = usize::from(depth) * 131_072 - 70_000;
        segment[at..at + 9000].fill(if depth % 3 == 0 { 0 } else { depth });
        let next = print_of(&segment);
        let base = last.units().segment_id(&keys);
        chain.push(next.encode_delta(base, &last, depth));
        last = next;
    }
    let mut read: Option<Print> = None;
    for (depth, entry) in (0..).zip(&chain) {
        let stored = StoredPrint::parse(entry).expect("a sound entry");
        assert_eq!(stored.depth(), depth);
        assert_eq!(stored.base(), read.as_ref().map(|print| print.units().segment_id(&keys)));
        read = Some(stored.over(read.as_ref().unwrap_or(&ZEROS)));
    }
    assert_eq!(read.as_ref(), Some(&last));
    assert_eq!(
        read.map(|print| print.units().segment_id(&keys)),
        Some(segment_id(&keys, &segment))
    );
}

/// Of a segment that is not all zero; units of zeros, and blocks of zeros in others, are frequent.
fn any_print() -> impl Strategy<Value = Print> {
    let blocks = || vec(prop_oneof![Just([0; 12]), any::<[u8; 12]>()], UNIT_BLOCKS);
    let units = vec(prop::option::of((any::<[u8; 32]>(), blocks())), UNITS);
    units.prop_filter("all zero", |units| units.iter().any(Option::is_some)).prop_map(|units| {
        let (mut values, mut fingerprints) = (*ZEROS.units().values(), Vec::new());
        for (value, unit) in values.iter_mut().zip(units) {
            let (new, blocks) = unit.unwrap_or_else(|| (*value, vec![[0; 12]; UNIT_BLOCKS]));
            *value = new;
            fingerprints.extend(blocks.into_iter().map(Fingerprint::from_bytes));
        }
        Print::new(Units::from_values(values), fingerprints)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn s7_4_every_full_print_is_read_back(print in any_print()) {
        let bytes = print.encode(&ZEROS);
        let pairs = print.units().values().iter().zip(ZEROS.units().values());
        let units = pairs.filter(|(value, zero)| value != zero).count();
        let blocks = print.fingerprints().iter().filter(|found| **found != Fingerprint::ZERO);
        prop_assert_eq!(bytes.len(), 48 + 34 * units + 12 * blocks.count());
        let read = StoredPrint::parse(&bytes).expect("a sound print");
        prop_assert_eq!(read.over(&ZEROS), print);
    }

    #[test]
    fn s7_4_every_delta_over_its_base_is_the_whole_print(
        before in any_print(),
        units in prop::collection::btree_set(0..UNITS, 1..UNITS),
        blocks in vec((any::<prop::sample::Index>(), 0..UNIT_BLOCKS, any::<Option<[u8; 12]>>()), 0..100),
        depth in 1..=32u8,
    ) {
        let units: Vec<usize> = units.into_iter().collect();
        let block = |(unit, place, found): &(prop::sample::Index, usize, Option<[u8; 12]>)| {
            let found = found.map_or(Fingerprint::ZERO, Fingerprint::from_bytes);
            (units[unit.index(units.len())] * UNIT_BLOCKS + place, found)
        };
        let after = changed(&before, &units, &blocks.iter().map(block).collect::<Vec<_>>());
        let bytes = after.encode_delta(base(), &before, depth);
        let pairs = after.fingerprints().iter().zip(before.fingerprints());
        let other = pairs.filter(|(after, before)| after != before).count();
        prop_assert_eq!(bytes.len(), 48 + 34 * units.len() + 12 * other);
        let read = StoredPrint::parse(&bytes).expect("a sound delta");
        prop_assert_eq!((read.depth(), read.base()), (depth, Some(base())));
        prop_assert_eq!(read.over(&before), after);
    }
}

#[test]
#[should_panic(expected = "every block")]
fn s7_4_a_print_has_1024_fingerprints() {
    let units = *print("x", &[]).units().values();
    let _ = Print::new(Units::from_values(units), vec![Fingerprint::ZERO; BLOCKS - 1]);
}

#[test]
#[should_panic(expected = "begin anew")]
fn s13_no_delta_is_written_above_32_others() {
    let (before, after, _) = sample_delta();
    let _ = after.encode_delta(base(), &before, 33);
}

/// The head of `bytes` overwritten from `place` on.
#[track_caller]
fn check_head(bytes: &[u8], place: usize, new: &[u8], sound: bool) {
    let mut bytes = bytes.to_vec();
    bytes[place..place + new.len()].copy_from_slice(new);
    assert_eq!(StoredPrint::parse(&bytes).is_ok(), sound, "{new:?} at {place}");
}

/// The 40 bytes before the unit mask, followed by no unit, and by one.
#[track_caller]
fn check_unit_masks(head: &[u8]) {
    let nothing = [head, &[0; 8]].concat();
    let wanted = Err(FormatError::Invalid { what: "head of a print" });
    assert_eq!(StoredPrint::parse(&nothing), wanted, "no units");
    assert!(StoredPrint::parse(&[&nothing[..], &[0; 34]].concat()).is_err(), "no units");
    for byte in 40..48 {
        let mut one = [&nothing[..], &[0; 34]].concat();
        one[byte] = 0x10;
        assert!(StoredPrint::parse(&one).is_ok(), "a unit of byte {byte}");
    }
}

#[test]
fn s7_4_a_full_print_has_a_unit_and_no_base() {
    let (_, full) = sample_full();
    check_head(&full, 0, &[0], true);
    for place in 1..8 {
        check_head(&full, place, &[1], false);
    }
    for place in 8..40 {
        check_head(&full, place, &[1], false);
    }
    check_unit_masks(&full[..40]);
}

#[test]
fn s7_4_a_delta_has_depth_1_to_32_and_a_unit() {
    let (_, _, delta) = sample_delta();
    for depth in 1..=255u8 {
        check_head(&delta, 0, &[depth], depth <= 32);
    }
    check_head(&delta, 0, &[0], false);
    for place in 1..8 {
        check_head(&delta, place, &[1], false);
    }
    for depth in 1..=32 {
        check_unit_masks(&[&[depth], &delta[1..40]].concat());
    }
}

#[test]
fn s7_4_prints_withstand_hostile_bytes() {
    for valid in [sample_full().1, sample_delta().2] {
        let stored = StoredPrint::parse(&valid).expect("a sound entry");
        // What is read of other bytes is another print: nothing is passed over.
        let verdict = |bytes: &[u8]| {
            let read = StoredPrint::parse(bytes).ok()?;
            assert_eq!(read == stored, bytes == valid, "two encodings");
            let _ = read.over(&ZEROS);
            Some(bytes.to_vec())
        };
        assert!(verdict(&valid).is_some());
        check_every_cut(&valid, verdict);
        check_additions(&valid, verdict);
        check_any_bytes(&valid, |bytes| StoredPrint::parse(bytes).ok().map(|_| bytes.to_vec()));
        for (_, flipped) in flips(&valid) {
            let _ = verdict(&flipped);
        }
    }
}
