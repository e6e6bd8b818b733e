//! Which parts of a disk have changed, as the pool tells it, and what is read because of it
//! (contract 5.1).
//!
//! The pool may lie: logs of changed blocks have been wrong. So of the `n` segments that it calls
//! unchanged, `m` = `ceil(p n)` are read, too, each set of `m` as likely as any other. If `k` segments
//! have changed in secret, none of them is among those with the probability `C(n - k, m) / C(n, m)`,
//! which is at most `(1 - p)^k`: for `p` = 1 % and `k` = 100 that is 37 %, for `k` = 500 it is 1 %.
//! The choice is another one for every version of a disk.

use engine::source::SEGMENT_LEN;
use xxhash_rust::xxh64::xxh64;

use super::answer::Malformed;

/// Bytes that one bit stands for.
pub const UNIT_LEN: u64 = 64 << 10;
/// Units of a segment: a word has a bit for each.
pub const UNITS: u64 = SEGMENT_LEN as u64 / UNIT_LEN;

const _: () = assert!(UNITS == u64::BITS as u64, "a segment's units are the bits of a word");

/// The units of a disk that have changed since an earlier version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// For each segment a word; bit n stands for its n-th unit.
    segments: Vec<u64>,
    size_bytes: u64,
}

/// What is read of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// These units.
    Units(u64),
    /// These units; the others are zero.
    Allocated(u64),
    /// All of it, although it should be as it was.
    Sample,
}

impl Changed {
    /// Takes the answer of a pool: base64 of a bit for each unit, the highest bit of a byte first.
    /// What it says beyond the disk's end counts for nothing. Where the disk has grown since it had
    /// `earlier_bytes`, everything has changed: logs tell of writes only.
    ///
    /// # Errors
    ///
    /// It is no base64, or says nothing about the last units.
    pub fn parse(text: &str, size_bytes: u64, earlier_bytes: u64) -> Result<Self, Malformed> {
        let units = size_bytes.div_ceil(UNIT_LEN);
        let Ok(needed) = usize::try_from(units.div_ceil(8)) else {
            return Err(Malformed::of("the disk is too large"));
        };
        let mut bytes = base64(text, needed)?;
        if bytes.len() < needed {
            let what = format!("{} bytes instead of {needed}", bytes.len());
            return Err(Malformed::of(format!("the changed blocks are cut: {what}")));
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let words = bytes.as_chunks::<8>().0.iter();
        let mut segments: Vec<u64> =
            words.map(|word| u64::from_be_bytes(*word).reverse_bits()).collect();
        for unit in earlier_bytes / UNIT_LEN..if earlier_bytes < size_bytes { units } else { 0 } {
            if let Some(word) = segments.get_mut((unit / UNITS) as usize) {
                *word |= 1 << (unit % UNITS);
            }
        }
        for (number, word) in (0..).zip(&mut segments) {
            *word &= units_of(size_bytes, number);
        }
        Ok(Self { segments, size_bytes })
    }

    /// What is read of each segment of which anything is read, in order: all that has changed, and
    /// of the rest the share `sample` (0 to 1, rounded up to whole segments) that `seed` chooses.
    pub fn parts(&self, sample: f64, seed: u64) -> Vec<(u64, Part)> {
        let mut unchanged = self.segments.iter().filter(|word| **word == 0).count() as u64;
        let mut wanted = ((sample * unchanged as f64).ceil() as u64).min(unchanged);
        let mut part = |(number, word): (u64, &u64)| match *word {
            0 => {
                let is_chosen = below(unchanged, number, seed) < wanted;
                unchanged -= 1;
                wanted -= u64::from(is_chosen);
                is_chosen.then_some((number, Part::Sample))
            }
            units if units == units_of(self.size_bytes, number) => Some((number, Part::Whole)),
            units => Some((number, Part::Units(units))),
        };
        (0..).zip(&self.segments).filter_map(&mut part).collect()
    }
}

/// A number below `limit`, each as likely as any other; another one for every `number` and `seed`.
fn below(limit: u64, number: u64, seed: u64) -> u64 {
    let random = u128::from(xxh64(&number.to_le_bytes(), seed));
    ((random * u128::from(limit)) >> 64) as u64 // below `limit`
}

/// The bits of those units of a segment that the disk has.
fn units_of(size_bytes: u64, number: u64) -> u64 {
    let left = size_bytes.div_ceil(UNIT_LEN).saturating_sub(number.saturating_mul(UNITS));
    if left >= UNITS { u64::MAX } else { (1 << left) - 1 }
}

/// Where a part of a segment lies in it: runs of bytes, in order, none beyond `len`.
pub fn ranges(part: Part, len: usize) -> Vec<std::ops::Range<usize>> {
    let units = match part {
        Part::Units(units) | Part::Allocated(units) => units,
        Part::Whole | Part::Sample => u64::MAX,
    };
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    for unit in (0..UNITS).filter(|unit| units >> unit & 1 == 1) {
        let start = (unit * UNIT_LEN) as usize; // within a segment
        let end = (start + UNIT_LEN as usize).min(len);
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ if start < end => ranges.push(start..end),
            _ => {}
        }
    }
    ranges
}

/// The first `most` bytes of a text in base64. Line ends may stand anywhere.
fn base64(text: &str, most: usize) -> Result<Vec<u8>, Malformed> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return Err(Malformed::of("the changed blocks are no base64")),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8); // the latest eight
        }
        if bytes.len() >= most {
            break;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn encoded(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for place in 0..4 {
                let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
                text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
            }
        }
        text
    }

    /// The words of a bitmap, for a disk that was as large before.
    fn words(bytes: &[u8], size_bytes: u64) -> Vec<u64> {
        Changed::parse(&encoded(bytes), size_bytes, size_bytes).expect("a bitmap").segments
    }

    #[test]
    fn the_highest_bit_comes_first() {
        assert_eq!(words(&[0x80, 0x01, 0, 0, 0, 0, 0, 0], 4 * MIB), [1 | 1 << 15]);
        assert_eq!(words(&[0, 0, 0, 0, 0, 0, 0, 1, 0x40, 0], 5 * MIB), [1 << 63, 2]);
    }

    #[test]
    fn what_lies_beyond_the_end_counts_for_nothing() {
        assert_eq!(words(&[0xff; 16], 64 << 10), [1]);
        assert_eq!(words(&[0xff; 16], (64 << 10) + 512), [3]);
        assert_eq!(words(&[0xff; 16], 0), [0u64; 0]);
    }

    #[test]
    fn a_bitmap_that_is_cut_or_no_base64_is_refused() {
        assert!(Changed::parse(&encoded(&[0; 7]), 4 * MIB, 4 * MIB).is_err());
        assert!(Changed::parse("", 512, 512).is_err());
        assert!(Changed::parse("AAAA\u{e9}AAAAAAAA", 4 * MIB, 4 * MIB).is_err());
        assert!(Changed::parse("AAAAAAAA\nAAA=", 4 * MIB, 4 * MIB).is_ok());
    }

    #[test]
    fn where_a_disk_has_grown_everything_has_changed() {
        let grown = |earlier: u64| {
            Changed::parse(&encoded(&[0; 16]), 5 * MIB, earlier).expect("a bitmap").segments
        };
        assert_eq!(grown(5 * MIB), [0, 0]);
        assert_eq!(grown(6 * MIB), [0, 0]);
        assert_eq!(grown(4 * MIB), [0, 0xffff]);
        assert_eq!(grown(4 * MIB - 512), [1 << 63, 0xffff]);
    }

    #[test]
    fn changed_units_are_read_and_no_others() {
        let changed = Changed { segments: vec![0, 5, u64::MAX, 0xffff], size_bytes: 13 * MIB };
        let parts = [(1, Part::Units(5)), (2, Part::Whole), (3, Part::Whole)];
        assert_eq!(changed.parts(0.0, 1), parts);
    }

    /// The segments of a disk of `count` that are read although none has changed.
    fn sample(count: u64, share: f64, seed: u64) -> Vec<u64> {
        let segments = vec![0; count as usize];
        let changed = Changed { segments, size_bytes: count * 4 * MIB };
        let parts = changed.parts(share, seed);
        assert!(parts.iter().all(|(_, part)| *part == Part::Sample));
        parts.into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn exactly_a_share_of_the_unchanged_is_read_rounded_up() {
        let rows = [
            (1, 0.01, 1),
            (30, 1e-9, 1),
            (100, 0.01, 1),
            (101, 0.01, 2),
            (10_000, 0.01, 100),
            (10_000, 0.5, 5000),
            (3, 1.0, 3),
            (1000, 0.0, 0),
            (0, 0.5, 0),
        ];
        for (count, share, expected) in rows {
            for seed in 0..20 {
                assert_eq!(sample(count, share, seed).len(), expected, "{share} of {count}");
            }
        }
        let changed = Changed { segments: vec![0, 1, 0, 3, 0, 0], size_bytes: 24 * MIB };
        let parts = changed.parts(0.5, 9);
        assert_eq!(parts.iter().filter(|(_, part)| *part == Part::Sample).count(), 2);
        assert!(parts.contains(&(1, Part::Units(1))) && parts.contains(&(3, Part::Units(3))));
    }

    #[test]
    fn every_set_of_segments_is_as_likely_and_the_seed_chooses_it() {
        assert_eq!(sample(1000, 0.01, 1), sample(1000, 0.01, 1));
        assert_ne!(sample(1000, 0.01, 1), sample(1000, 0.01, 2));
        let mut found = std::collections::BTreeMap::new();
        for seed in 0..20_000 {
            *found.entry(sample(6, 0.5, seed)).or_insert(0u32) += 1;
        }
        // 20 sets of 3 of 6: 1,000 of each are expected, with a deviation of 31.
        assert_eq!(found.len(), 20);
        assert!(found.values().all(|count| (820..1180).contains(count)), "{found:?}");
    }

    #[test]
    fn neighbours_are_read_together() {
        let kib = |units: u64, len: usize| {
            let ranges = ranges(Part::Units(units), len).into_iter();
            ranges.map(|range| (range.start >> 10, range.end >> 10)).collect::<Vec<_>>()
        };
        assert_eq!(kib(0b1011, SEGMENT_LEN), [(0, 128), (192, 256)]);
        assert_eq!(kib(u64::MAX, SEGMENT_LEN), [(0, 4096)]);
        assert_eq!(kib(0b111, 129 << 10), [(0, 129)]);
        assert_eq!(kib(1 << 63, SEGMENT_LEN), [(4032, 4096)]);
        assert_eq!(ranges(Part::Sample, 512).first(), Some(&(0..512)));
        assert_eq!(ranges(Part::Whole, SEGMENT_LEN).len(), 1);
    }
}
