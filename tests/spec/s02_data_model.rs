//! SPEC 2: segments and their names.

use repo_format::limits::{SEGMENT_LEN, UNIT_LEN};
use repo_format::segment::{Run, is_zero, runs, segment_id};
use repo_tests::fixed::{foreign_keys, full_keys, noise};

#[test]
fn s2_a_segment_id_is_the_keyed_hash_of_its_4_mib() {
    let (keys, bytes) = (full_keys(), noise("segment", SEGMENT_LEN));
    let wanted = blake3::keyed_hash(keys.segment.expose(), &bytes);
    assert_eq!(SEGMENT_LEN, 4_194_304);
    assert_eq!(segment_id(&keys, &bytes).as_bytes(), wanted.as_bytes());
}

#[test]
fn s2_two_repositories_name_one_segment_differently() {
    let bytes = noise("segment", SEGMENT_LEN);
    assert_ne!(segment_id(&full_keys(), &bytes), segment_id(&foreign_keys(), &bytes));
}

#[test]
#[should_panic(expected = "extended with zeros")]
fn s2_only_whole_segments_have_ids() {
    let _ = segment_id(&full_keys(), &[1; SEGMENT_LEN - 1]);
}

#[test]
fn s2_a_hole_is_found_whatever_byte_is_not_zero() {
    for len in [0, 1, 4095, 4096, 4097, UNIT_LEN] {
        let mut bytes = vec![0; len];
        assert!(is_zero(&bytes), "{len}");
        for place in (0..len).step_by(509).chain(len.checked_sub(1)) {
            bytes[place] = 0x80;
            assert!(!is_zero(&bytes), "{place} of {len}");
            bytes[place] = 0;
        }
    }
}

/// `units`: one letter for each unit, `.` for zeros.
#[track_caller]
fn check_runs(units: &str, wanted: &[(usize, usize, bool)]) {
    let unit = |letter: char| vec![if letter == '.' { 0 } else { letter as u8 }; UNIT_LEN];
    let segment: Vec<u8> = units.chars().flat_map(unit).collect();
    let wanted: Vec<Run> = wanted
        .iter()
        .map(|&(start, len, zero)| Run { start: start * UNIT_LEN, len: len * UNIT_LEN, zero })
        .collect();
    assert_eq!(runs(&segment), wanted, "{units}");
}

#[test]
fn s6_units_that_are_zero_are_told_from_the_others() {
    check_runs("", &[]);
    check_runs(".", &[(0, 1, true)]);
    check_runs("a", &[(0, 1, false)]);
    check_runs("ab..c.", &[(0, 2, false), (2, 2, true), (4, 1, false), (5, 1, true)]);
    check_runs(&".".repeat(64), &[(0, 64, true)]);
    check_runs(&format!("{}x", ".".repeat(63)), &[(0, 63, true), (63, 1, false)]);
}
