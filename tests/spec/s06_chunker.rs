//! SPEC 6: where bytes are cut.

use proptest::prelude::*;
use repo_format::chunker::Chunker;
use repo_format::limits::{CHUNK_AVERAGE, CHUNK_MAX, CHUNK_MIN};
use repo_tests::fixed::{foreign_keys, full_keys, noise};

/// SPEC 6 written down once more, step by step.
fn cut_again(gear: &[u64; 256], data: &[u8]) -> usize {
    const MASK_S: u64 = 0x0000_d917_0753_7000;
    const MASK_L: u64 = 0x0000_d907_0353_7000;
    let (min, average, max) = (65_536, 262_144, 1_048_576);
    let n = data.len();
    if n <= min {
        return n;
    }
    let (end, center) = (n.min(max), n.min(average));
    let g = |place: usize| gear[usize::from(data[place])];
    let mut h = 0u64;
    for i in min / 2..end / 2 {
        let mask = if i < center / 2 { MASK_S } else { MASK_L };
        let a = 2 * i;
        h = (h << 2).wrapping_add(g(a) << 1);
        if h & (mask << 1) == 0 {
            return a;
        }
        h = h.wrapping_add(g(a + 1));
        if h & mask == 0 {
            return a + 1;
        }
    }
    end
}

fn cuts(chunker: &Chunker, data: &[u8]) -> Vec<usize> {
    let ends = chunker.chunks(data).scan(0, |end, chunk| {
        *end += chunk.len();
        Some(*end)
    });
    ends.collect()
}

#[track_caller]
fn check_cuts(data: &[u8]) {
    let gear = full_keys().gear();
    let chunker = Chunker::new(gear);
    let (mut rest, mut joined) = (data, Vec::new());
    for chunk in chunker.chunks(data) {
        assert_eq!(chunk.len(), cut_again(&gear, rest), "{} bytes before the end", rest.len());
        assert!((1..=CHUNK_MAX).contains(&chunk.len()));
        assert!(chunk.len() >= CHUNK_MIN || chunk.len() == rest.len(), "only the last is short");
        rest = &rest[chunk.len()..];
        joined.extend_from_slice(chunk);
    }
    assert!(joined == data, "chunks together are the data");
}

#[test]
fn s6_cuts_are_those_of_the_specification() {
    for len in [
        0,
        1,
        CHUNK_MIN - 1,
        CHUNK_MIN,
        CHUNK_MIN + 1,
        CHUNK_MIN + 2,
        CHUNK_AVERAGE - 1,
        CHUNK_AVERAGE,
        CHUNK_AVERAGE + 1,
        CHUNK_MAX + 1,
        4 << 20,
    ] {
        check_cuts(&noise("data", len));
        check_cuts(&vec![0; len]);
        check_cuts(&vec![0xaa; len]);
    }
}

/// Bytes as disks have them: runs of noise, of one byte and of short patterns.
fn any_data() -> impl Strategy<Value = Vec<u8>> {
    let piece = (any::<u16>(), 1..500_000usize, 0..3u8).prop_map(|(seed, len, sort)| {
        let pattern_len = match sort {
            0 => len,
            1 => 1,
            _ => 61,
        };
        let pattern = noise(&seed.to_string(), pattern_len);
        pattern.into_iter().cycle().take(len).collect::<Vec<u8>>()
    });
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn s6_any_data_is_cut_as_specified(data in any_data()) {
        check_cuts(&data);
    }
}

#[test]
fn s6_bytes_that_never_match_are_cut_at_the_maximum() {
    let chunker = Chunker::new([1 << 12; 256]);
    assert_eq!(cuts(&chunker, &vec![0; 3 << 20]), [1 << 20, 2 << 20, 3 << 20]);
}

#[test]
fn s6_bytes_that_always_match_are_cut_at_the_minimum() {
    let chunker = Chunker::new([0; 256]);
    assert_eq!(cuts(&chunker, &[7; 200_000]), [65_536, 131_072, 196_608, 200_000]);
}

#[test]
fn s6_cuts_are_found_again_behind_an_insertion() {
    let chunker = Chunker::new(full_keys().gear());
    let data = noise("data", 16 << 20);
    let moved = [b"inserted", &data[..]].concat();
    let (before, after) = (cuts(&chunker, &data), cuts(&chunker, &moved));
    let kept = before.iter().filter(|cut| after.contains(&(*cut + 8))).count();
    assert!(kept * 10 >= before.len() * 8, "{kept} of {}", before.len());
}

#[test]
fn s6_two_repositories_cut_at_different_places() {
    let data = noise("data", 8 << 20);
    let ours = cuts(&Chunker::new(full_keys().gear()), &data);
    let theirs = cuts(&Chunker::new(foreign_keys().gear()), &data);
    let shared = ours.iter().filter(|cut| theirs.contains(cut)).count();
    assert_eq!(shared, 1, "only the end of the data");
}

#[test]
fn s6_the_average_is_near_a_quarter_of_a_mib() {
    let chunker = Chunker::new(full_keys().gear());
    let data = noise("data", 64 << 20);
    let average = data.len() / cuts(&chunker, &data).len();
    assert!((200_000..=400_000).contains(&average), "{average}");
}
