//! Dice for tests that try what nobody thought of.

/// Random numbers that are the same on every run.
pub struct Dice(blake3::OutputReader);

impl Dice {
    /// Those of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }

    /// Some of them, or all.
    pub fn some<T>(&mut self, all: Vec<T>) -> Vec<T> {
        match self.below(3) {
            0 => all,
            _ => all.into_iter().filter(|_| self.below(2) == 0).collect(),
        }
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}
