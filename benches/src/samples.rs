//! Bytes to measure with: made from a seed, the same in every run.

/// A small generator of numbers (`SplitMix64`): fast, and good enough to be incompressible.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A series of its own for each seed, also for seeds that follow each other.
    pub const fn new(seed: u64) -> Self {
        let mut seeds = Self(seed);
        Self(seeds.next())
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A number from 0 up to 1, which it never is.
    pub const fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What a sample looks like to a compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Words, numbers and some noise: shrinks to about a third.
    Compressible,
    /// Noise.
    Incompressible,
}

/// `len` bytes that look like this.
pub fn sample(look: Look, seed: u64, len: usize) -> Vec<u8> {
    match look {
        Look::Compressible => text(seed, len),
        Look::Incompressible => noise(seed, len),
    }
}

/// Noise.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill_noise(seed, &mut bytes);
    bytes
}

/// Fills `bytes` with noise.
pub fn fill_noise(seed: u64, bytes: &mut [u8]) {
    let mut random = Random::new(seed);
    for word in bytes.chunks_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes()[..word.len()]);
    }
}

/// Bytes of a block.
pub const BLOCK_LEN: usize = 4096;
/// A made block is records of this length: a phrase that its file has everywhere, and noise.
const RECORD_LEN: usize = 64;
/// What a compressor needs for a record besides the noise, found by trying.
const RECORD_COST: f64 = 2.0;

/// Fills `block` with the content number `number`, unlike any other. Sixteen numbers in a row are of one file, which
/// zstd -3 shrinks to one of the `shares` of its size.
pub fn fill_block(number: u64, shares: &[f64], block: &mut [u8]) {
    let mut file = Random::new(number >> 4 ^ 0xF11E);
    let share = shares[file.below(shares.len() as u64) as usize];
    let noise_len = (RECORD_LEN as f64 * share - RECORD_COST).round().max(1.0) as usize;
    fill_noise(number, block);
    if share >= 1.0 {
        return;
    }
    let phrase: Vec<u8> = (noise_len..RECORD_LEN).map(|_| b'a' + file.below(26) as u8).collect();
    for record in block.chunks_exact_mut(RECORD_LEN) {
        record[noise_len..].copy_from_slice(&phrase);
    }
}

/// Words of a vocabulary, common ones more often, with numbers and short binary records between.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words: Vec<Vec<u8>> = (0..8192).map(|_| word(&mut random)).collect();
    let mut bytes = Vec::with_capacity(len + 64);
    while bytes.len() < len {
        match random.below(16) {
            0 => bytes.extend_from_slice(&random.next().to_le_bytes()),
            1 => bytes.extend_from_slice(format!("{} ", random.below(100_000)).as_bytes()),
            2 => bytes.push(b'\n'),
            _ => {
                // The product of two shares makes low places common.
                let place = random.below(8192) * random.below(8192) / 8192;
                bytes.extend_from_slice(&words[place as usize]);
            }
        }
    }
    bytes.truncate(len);
    bytes
}

fn word(random: &mut Random) -> Vec<u8> {
    let letters = 2 + random.below(9);
    let mut word: Vec<u8> = (0..letters).map(|_| b'a' + random.below(26) as u8).collect();
    word.push(b' ');
    word
}
