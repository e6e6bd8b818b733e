//! Where to cut (SPEC 6). Pure: the same bytes and gear table give the same cuts for ever.
//!
//! The gear hash of a place depends on the 64 bytes before it alone, so places far apart can be hashed side by side:
//! four lanes keep the processor busy where one would wait for its own last step. Lanes only tell whether there is a cut
//! in a block; where it is, one lane finds out.

use fastcdc::v2020::{Normalization, select_masks};

use crate::limits::{CHUNK_AVERAGE, CHUNK_MAX, CHUNK_MIN};

/// Blocks that are hashed side by side.
const LANES: usize = 4;
/// Bytes that each lane goes through before somebody looks whether there was a cut.
const LANE_LEN: usize = 4096;
/// Bytes before a place that its hash depends on.
const MEMORY: usize = 64;

/// Cuts with a repository's own gear table.
#[derive(Clone)]
pub struct Chunker {
    gear: [u64; 256],
    gear_shifted: [u64; 256],
    mask_strict: u64,
    mask_loose: u64,
}

impl Chunker {
    /// A chunker with the table of [`crate::keys::Keys::gear`].
    #[must_use]
    pub fn new(gear: [u64; 256]) -> Self {
        let (mask_strict, mask_loose) = select_masks(CHUNK_AVERAGE, Normalization::Level1);
        Self { gear, gear_shifted: gear.map(|entry| entry << 1), mask_strict, mask_loose }
    }

    /// Length of the first chunk of `data`, which is not empty: 1 byte to 1 MiB.
    #[must_use]
    pub fn cut(&self, data: &[u8]) -> usize {
        if data.len() <= CHUNK_MIN {
            return data.len();
        }
        let data = &data[..data.len().min(CHUNK_MAX)];
        let center = data.len().min(CHUNK_AVERAGE) / 2 * 2;
        let found = self.search(data, CHUNK_MIN, center, self.mask_strict);
        let found =
            found.or_else(|| self.search(data, center, data.len() / 2 * 2, self.mask_loose));
        found.unwrap_or(data.len())
    }

    /// The first cut in `from..to`, both even.
    fn search(&self, data: &[u8], from: usize, to: usize, mask: u64) -> Option<usize> {
        let mut at = from;
        while at < to {
            let end = to.min(at + LANES * LANE_LEN);
            if end - at < LANES * LANE_LEN || self.any_cut(data, at, mask) {
                let found = self.first_cut(data, at, end, mask);
                if found.is_some() {
                    return found;
                }
            }
            at = end;
        }
        None
    }

    /// Whether there is a cut in the [`LANES`] blocks from `at` on.
    fn any_cut(&self, data: &[u8], at: usize, mask: u64) -> bool {
        let mask_shifted = mask << 1;
        let (blocks, _) = data[at..].as_chunks::<LANE_LEN>();
        let Some(blocks) = blocks.first_chunk::<LANES>() else { return true };
        let mut hashes: [u64; LANES] =
            std::array::from_fn(|lane| self.hash_before(data, at + lane * LANE_LEN));
        let mut any = false;
        for i in (0..LANE_LEN).step_by(2) {
            for lane in 0..LANES {
                let hash = (hashes[lane] << 2)
                    .wrapping_add(self.gear_shifted[usize::from(blocks[lane][i])]);
                let next = hash.wrapping_add(self.gear[usize::from(blocks[lane][i + 1])]);
                any |= (hash & mask_shifted == 0) | (next & mask == 0);
                hashes[lane] = next;
            }
        }
        any
    }

    /// The first cut in `from..to`, one step after the other.
    fn first_cut(&self, data: &[u8], from: usize, to: usize, mask: u64) -> Option<usize> {
        let mask_shifted = mask << 1;
        let mut hash = self.hash_before(data, from);
        for (pair, at) in data[from..to].chunks_exact(2).zip((from..).step_by(2)) {
            hash = (hash << 2).wrapping_add(self.gear_shifted[usize::from(pair[0])]);
            if hash & mask_shifted == 0 {
                return Some(at);
            }
            hash = hash.wrapping_add(self.gear[usize::from(pair[1])]);
            if hash & mask == 0 {
                return Some(at + 1);
            }
        }
        None
    }

    /// The hash with which the step at `at` begins: hashing starts at [`CHUNK_MIN`], and forgets.
    fn hash_before(&self, data: &[u8], at: usize) -> u64 {
        let start = at.saturating_sub(MEMORY).max(CHUNK_MIN);
        data[start..at].chunks_exact(2).fold(0u64, |hash, pair| {
            (hash << 2)
                .wrapping_add(self.gear_shifted[usize::from(pair[0])])
                .wrapping_add(self.gear[usize::from(pair[1])])
        })
    }

    /// The chunks of `data`, in order; together they are `data`.
    pub fn chunks<'a>(&'a self, mut data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        std::iter::from_fn(move || {
            if data.is_empty() {
                return None;
            }
            let (chunk, rest) = data.split_at(self.cut(data));
            data = rest;
            Some(chunk)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SPEC 6 written down once more, step by step.
    fn slow_cut(gear: &[u64; 256], data: &[u8]) -> usize {
        const STRICT: u64 = 0x0000_d917_0753_7000;
        const LOOSE: u64 = 0x0000_d907_0353_7000;
        if data.len() <= CHUNK_MIN {
            return data.len();
        }
        let end = data.len().min(CHUNK_MAX);
        let center = data.len().min(CHUNK_AVERAGE);
        let mut hash = 0u64;
        for i in CHUNK_MIN / 2..end / 2 {
            let mask = if i < center / 2 { STRICT } else { LOOSE };
            let a = 2 * i;
            hash = (hash << 2).wrapping_add(gear[usize::from(data[a])] << 1);
            if hash & (mask << 1) == 0 {
                return a;
            }
            hash = hash.wrapping_add(gear[usize::from(data[a + 1])]);
            if hash & mask == 0 {
                return a + 1;
            }
        }
        end
    }

    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn s6_cuts_are_those_of_the_specification() {
        let table = noise(1, 2048);
        let gear: [u64; 256] = std::array::from_fn(|i| {
            u64::from_le_bytes(table[8 * i..8 * i + 8].try_into().unwrap())
        });
        let chunker = Chunker::new(gear);
        let lens =
            [1, CHUNK_MIN, CHUNK_MIN + 1, 200_001, CHUNK_AVERAGE + 3, 4 << 20, (4 << 20) - 7];
        for (seed, len) in (2..).zip(lens.into_iter().cycle().take(40)) {
            let data = noise(seed, len);
            let mut rest = data.as_slice();
            for chunk in chunker.chunks(&data) {
                assert_eq!(chunk.len(), slow_cut(&gear, rest), "{len}");
                rest = &rest[chunk.len()..];
            }
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn s6_cuts_are_those_of_the_library_that_the_specification_names() {
        let gear: [u64; 256] =
            std::array::from_fn(|i| 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(i as u64 + 1));
        let chunker = Chunker::new(gear);
        for seed in 0..20 {
            // Noise with stretches of zeros and repetitions, in which cuts lie otherwise.
            let mut data = noise(seed, 3 << 20);
            data[500_000..900_000].fill(seed);
            data.copy_within(0..300_000, 1 << 20);
            let mut rest = data.as_slice();
            for chunk in chunker.chunks(&data) {
                let (strict, loose) = (chunker.mask_strict, chunker.mask_loose);
                let (_, len) = fastcdc::v2020::cut_gear(
                    rest,
                    CHUNK_MIN,
                    CHUNK_AVERAGE,
                    CHUNK_MAX,
                    strict,
                    loose,
                    strict << 1,
                    loose << 1,
                    &chunker.gear,
                    &chunker.gear_shifted,
                );
                assert_eq!(chunk.len(), len);
                rest = &rest[len..];
            }
        }
    }
}
