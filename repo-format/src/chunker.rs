//! Where to cut (SPEC 6). Pure: the same bytes and gear table give the same cuts for ever.

use fastcdc::v2020::{Normalization, cut_gear, select_masks};

use crate::limits::{CHUNK_AVERAGE, CHUNK_MAX, CHUNK_MIN};

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
        let (_, len) = cut_gear(
            data,
            CHUNK_MIN,
            CHUNK_AVERAGE,
            CHUNK_MAX,
            self.mask_strict,
            self.mask_loose,
            self.mask_strict << 1,
            self.mask_loose << 1,
            &self.gear,
            &self.gear_shifted,
        );
        len
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
        let gear: [u64; 256] = std::array::from_fn(|i| {
            u64::from_le_bytes(noise(1, 2048)[8 * i..8 * i + 8].try_into().unwrap())
        });
        let chunker = Chunker::new(gear);
        for len in [1, CHUNK_MIN, CHUNK_MIN + 1, 200_001, CHUNK_AVERAGE + 3, 4 << 20] {
            let data = noise(2, len);
            let mut rest = data.as_slice();
            for chunk in chunker.chunks(&data) {
                assert_eq!(chunk.len(), slow_cut(&gear, rest), "{len}");
                rest = &rest[chunk.len()..];
            }
            assert!(rest.is_empty());
        }
    }
}
